"""Operators that move, repeat or resample positions, in small models, and plain loops where ONNX's evaluator differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from graph.onnx_cases import NEWEST, Case, build, expected, f32, ints
from model.networks import normal
from reference import resize as loops
from reference.conv_transpose import conv_transpose

LINE, PICTURE, VOLUME = (1, 2, 7), (1, 2, 5, 4), (1, 2, 3, 4, 2)
RESIZE = (11, 13, 18, 19, NEWEST)
TRANSFORMS = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric", "tf_half_pixel_for_nn")
ROI = f32([0, 0, 0.2, -0.35, 1, 1, 0.9, 1.2])


def _resizes() -> list[Case]:
    cases = []
    for mode in ("nearest", "linear", "cubic"):
        for transform in TRANSFORMS:
            attrs = {"mode": mode, "coordinate_transformation_mode": transform}
            opsets = (11,) if transform == "tf_half_pixel_for_nn" else RESIZE
            for scales in ([1, 1, 2.0, 3.0], [1, 1, 0.6, 1.3], [1, 1, 0.3, 1]):
                cases.append(Case("Resize", PICTURE, (None, f32(scales)), attrs, opsets[:1]))
            for sizes in ((1, 2, 9, 3), (1, 2, 1, 1), (1, 2, 5, 4)):
                cases.append(Case("Resize", PICTURE, (None, None, ints(*sizes)), attrs, opsets))
        crop = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.5}
        cases.append(Case("Resize", PICTURE, (ROI, None, ints(1, 2, 4, 6)), crop, RESIZE))
        cases.append(Case("Resize", PICTURE, (ROI, None, ints(1, 2, 1, 7)), {**crop, "extrapolation_value": 0.0}, (11, NEWEST)))
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        for transform in ("half_pixel", "asymmetric", "align_corners"):
            attrs = {"mode": "nearest", "nearest_mode": rounding, "coordinate_transformation_mode": transform}
            cases += [Case("Resize", LINE, (None, None, ints(1, 2, n)), attrs, (11, NEWEST)) for n in (3, 5, 14, 15)]
    for attrs in ({"cubic_coeff_a": -0.5}, {"exclude_outside": 1}, {"exclude_outside": 1, "cubic_coeff_a": -0.5}):
        cases.append(Case("Resize", PICTURE, (None, None, ints(1, 2, 8, 3)), {"mode": "cubic", **attrs}, RESIZE))
    for mode in ("linear", "cubic"):
        for more in ({}, {"exclude_outside": 1}, {"coordinate_transformation_mode": "align_corners"}):
            attrs = {"mode": mode, "antialias": 1, **more}
            cases += [Case("Resize", (1, 2, 11, 4), (None, None, ints(1, 2, *n)), attrs, (18, NEWEST)) for n in ((3, 9), (1, 2), (11, 4))]
            cases.append(Case("Resize", (1, 2, 11, 4), (None, f32([1, 1, 0.37, 0.5])), attrs, (18, NEWEST)))
    for policy in ("stretch", "not_larger", "not_smaller"):
        attrs = {"mode": "linear", "axes": [2, -1], "keep_aspect_ratio_policy": policy}
        cases.append(Case("Resize", PICTURE, (None, None, ints(7, 8)), attrs, (18, NEWEST)))
    cases.append(Case("Resize", PICTURE, (None, f32([0.5, 2])), {"mode": "linear", "axes": [3, 2]}, (18, NEWEST)))
    cases.append(Case("Resize", VOLUME, (None, None, ints(1, 2, 5, 3, 4)), {"mode": "linear"}, (11, NEWEST)))
    cases.append(
        Case("Resize", LINE, (None, f32([1, 1, 1 / 3])), {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})
    )
    cases.append(Case("Resize", (1, 3, 4), (None, f32([1, 2, 1])), {"mode": "linear"}, (11, NEWEST)))
    for mode in ("nearest", "linear"):
        for scales in ([1, 1, 2.0, 1.5], [1, 1, 0.6, 0.5]):
            cases.append(Case("Resize", PICTURE, (f32(scales),), {"mode": mode}, (10,)))
        cases.append(Case("Upsample", PICTURE, (), {"mode": mode, "scales": [1.0, 1.0, 2.0, 1.5]}, (7, 8)))
        cases.append(Case("Upsample", PICTURE, (f32([1, 1, 3, 2]),), {"mode": mode}, (9,)))
    return [case if case.opsets != (8, 13, NEWEST) else Case(case.op, case.x, case.constants, case.attrs, (11, NEWEST)) for case in cases]


def _pads() -> list[Case]:
    cases = []
    for mode in ("reflect", "edge", "wrap"):
        since = 19 if mode == "wrap" else 11
        cases.append(Case("Pad", (1, 3, 4), (ints(0, 1, 2, 0, 0, 3),), {"mode": mode}, (since, NEWEST)))
        cases.append(Case("Pad", (1, 3, 4), (ints(0, 2, 0, 0, -2, 3),), {"mode": mode}, (since, NEWEST)))
        cases.append(Case("Pad", (1, 3, 4), (ints(2, 9), None, ints(-1)), {"mode": mode}, (max(since, 18), NEWEST)))
        if mode != "wrap":
            cases.append(Case("Pad", PICTURE, (), {"mode": mode, "pads": [0, 0, 1, 2, 0, 0, 3, 0]}, (8, 10)))
    return cases


def _transposed() -> list[Case]:
    w1, w2, w3, grouped = normal((2, 3, 3), 1), normal((2, 3, 3, 2), 2), normal((2, 1, 2, 2, 2), 3), normal((4, 2, 3, 3), 4)
    bias = normal((3,), 5)
    attributes: list[dict[str, object]] = [
        {},
        {"strides": [2, 3]},
        {"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]},
        {"dilations": [2, 3], "pads": [0, 1, 2, 0]},
        {"strides": [3, 2], "output_shape": [14, 9]},
        {"strides": [3, 2], "output_shape": [10, 7], "auto_pad": "SAME_UPPER"},
        {"strides": [3, 2], "output_shape": [10, 6], "auto_pad": "SAME_LOWER"},
        {"strides": [3, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 3], "auto_pad": "SAME_LOWER"},
        {"strides": [2, 1], "auto_pad": "VALID", "kernel_shape": [3, 2]},
        {"strides": [1, 1], "output_padding": [2, 1], "dilations": [3, 2]},
        {"strides": [2, 2], "pads": [-1, 0, 1, -2]},
    ]
    cases = [Case("ConvTranspose", PICTURE, (w2, bias), attrs, (8, 11, NEWEST)) for attrs in attributes]
    cases.append(Case("ConvTranspose", PICTURE, (w2,), {"strides": [2, 2]}, (11, NEWEST)))
    cases.append(Case("ConvTranspose", LINE, (w1, bias), {"strides": [2], "pads": [1, 0]}, (11, NEWEST)))
    cases.append(Case("ConvTranspose", VOLUME, (w3,), {"strides": [1, 2, 2], "group": 2, "pads": [0, 1, 0, 1, 0, 0]}, (11, NEWEST)))
    cases.append(Case("ConvTranspose", (1, 4, 3, 4), (grouped, normal((4,), 6)), {"group": 2, "strides": [2, 1]}, (11, NEWEST)))
    return cases


def _moves() -> list[Case]:
    cases = [
        *(Case("DepthToSpace", (1, 12, 2, 3), (), {"blocksize": 2, "mode": mode}, (11, 13, NEWEST)) for mode in ("DCR", "CRD")),
        Case("DepthToSpace", (1, 9, 2, 3), (), {"blocksize": 3}, (8, 13)),
        Case("SpaceToDepth", (1, 2, 4, 6), (), {"blocksize": 2}, (8, 13)),
        *(Case("SpaceToDepth", (1, 2, 4, 6), (), {"blocksize": 2, "mode": "CRD"}, (NEWEST,)) for _ in range(NEWEST >= 28)),
        *(Case("LpPool", PICTURE, (), {"kernel_shape": [3, 2], "p": p}, (11, 18, NEWEST)) for p in (1, 2, 3)),
        Case("LpPool", PICTURE, (), {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 0, 0, 1], "p": 2}, (11, NEWEST)),
        Case("LpPool", (1, 2, 8, 7), (), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, (11, NEWEST)),
        Case("LpPool", (1, 2, 8, 8), (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "p": 3}, (18, NEWEST)),
        Case("LpPool", LINE, (), {"kernel_shape": [2], "dilations": [3]}, (18, NEWEST)),
        *(Case("GlobalLpPool", x, (), {"p": p}, (8, NEWEST)) for x in (LINE, VOLUME) for p in (1, 2, 3)),
        Case("Tile", (1, 3, 2), (ints(1, 2, 3),), {}, (8, 13, NEWEST)),
        Case("Tile", (1, 3, 2), (ints(2, 1, 2),), {}, (8, NEWEST)),
        Case("Tile", (1, 3, 2), (ints(1, 1, 1),), {}, (8, NEWEST)),
        *(Case("CenterCropPad", (1, 5, 6), (ints(1, *n),), {}, (18, NEWEST)) for n in ((5, 6), (2, 9), (8, 3), (4, 4))),
        Case("CenterCropPad", (1, 5, 6), (ints(9),), {"axes": [-2]}, (18, NEWEST)),
        Case("ReverseSequence", (1, 5, 3), (ints(4),), {"batch_axis": 0, "time_axis": 1}, (10, NEWEST)),
        Case("ReverseSequence", (4, 3, 2), (ints(1, 4, 2),), {"batch_axis": 1, "time_axis": 0}, (10, NEWEST)),
        Case("ReverseSequence", (3, 4, 2), (ints(1, 4, 2),), {"batch_axis": 0, "time_axis": 1}, (10, NEWEST)),
        Case("Compress", (1, 4, 3), (np.array([False, True, False, True]),), {"axis": 1}, (9, 11, NEWEST)),
        Case("Compress", (1, 4, 3), (np.array([True, False, True]),), {"axis": -1}, (11, NEWEST)),
        Case("Compress", (1, 4, 3), (np.array([False, True, True, False, True]),), {}, (9, NEWEST)),
        *(
            Case("CumSum", (1, 4, 3), (np.array(axis),), {"exclusive": e, "reverse": r}, (11, 14, NEWEST))
            for axis in (1, -1)
            for e in (0, 1)
            for r in (0, 1)
        ),
        Case("CumSum", (3, 2, 2), (np.array(0),), {}, (11, NEWEST)),
        Case("CumSum", (4,), (np.array(0, np.int32),), {"reverse": 1}, (11, NEWEST)),
        *(
            Case("Trilu", (1, 4, 3), () if k is None else (np.array(k),), {"upper": u}, (14, NEWEST))
            for u in (0, 1)
            for k in (None, -1, 2, 9)
        ),
        Case("Trilu", (3, 3), (), {}, (14, NEWEST)),
        Case("Col2Im", (1, 8, 6), (ints(3, 4), ints(2, 2)), {}, (18, NEWEST)),
        Case("Col2Im", (1, 4, 6), (ints(5, 4), ints(2, 2)), {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 1, 0, 0]}, (18, NEWEST)),
        Case(
            "Col2Im",
            (1, 6, 4),
            (
                ints(
                    6,
                ),
                ints(3),
            ),
            {},
            (18, NEWEST),
        ),
        Case("AveragePool", PICTURE, (), {"kernel_shape": [2, 2], "dilations": [2, 3], "pads": [1, 0, 0, 1]}, (19, NEWEST)),
    ]
    return cases


def _reductions() -> list[Case]:
    cases = []
    for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"):
        positive = op == "ReduceLogSum"
        for x, axes, keep in (((1, 3, 4), (1,), 1), ((1, 2, 3, 5), (-1, 1), 0), ((1, 7), (1,), 0), ((2, 3), (), 1)):
            attrs = {"keepdims": keep} | ({"axes": list(axes)} if axes else {})
            cases.append(Case(op, x, (), attrs, (8, 13), positive=positive))
            cases.append(Case(op, x, (ints(*axes),) if axes else (), {"keepdims": keep}, (18, NEWEST), positive=positive))
        cases.append(Case(op, (1, 3), (), {"noop_with_empty_axes": 1}, (18,), positive=positive))
    cases += [Case("Mean", (1, 3, 4), (normal((3, 1), 1), normal((4,), 2)), {}, (8, 13)), Case("Mean", (1, 3), (), {}, (13,))]
    cases += [Case("Det", x, (), {}, (11, NEWEST)) for x in ((1, 1, 1), (2, 2, 2), (1, 3, 3, 3), (2, 4, 4))]
    return [*cases, *(Case("Shrink", (1, 3, 4), (), a, (9, NEWEST)) for a in ({}, {"lambd": 0.8, "bias": 0.3}, {"bias": -1.5}))]


POSITION_CASES = [*_resizes(), *_pads(), *_transposed(), *_moves(), *_reductions()]


def by_definition(case: Case, opset: int, x: np.ndarray) -> np.ndarray | None:
    """What ONNX defines, where its evaluator does something else or lacks the operator (seen with onnx 1.23.2)."""
    if case.op in ("Resize", "Upsample"):
        return _resized(case, opset, x)
    if case.op == "Pad" and np.min(case.constants[0] if case.constants else 0) < 0:  # negative paddings crop: NumPy refuses them
        lo, hi = case.constants[0][: x.ndim], case.constants[0][x.ndim :]
        kept = x[tuple(slice(max(-a, 0), n + min(b, 0)) for a, b, n in zip(lo, hi, x.shape, strict=True))]
        return np.pad(kept, [(max(a, 0), max(b, 0)) for a, b in zip(lo, hi, strict=True)], case.attrs["mode"])
    if case.op == "ConvTranspose":
        return _transposed_by_loops(case, x)
    if case.op == "GlobalLpPool":  # no implementation
        return (np.abs(x) ** case.attrs["p"]).sum(tuple(range(2, x.ndim)), keepdims=True) ** (1 / case.attrs["p"])
    if case.op == "LpPool" and case.attrs.get("ceil_mode"):  # it enlarges cut windows: their mean times the cells of a whole one
        zeros = np.pad(np.abs(x) ** 3, ((0, 0), (0, 0), (0, 1), (0, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(zeros, (3, 3), (2, 3))[:, :, ::2, ::2]
        return windows.sum((-1, -2)) ** (1 / 3)
    return None


def _resized(case: Case, opset: int, x: np.ndarray) -> np.ndarray | None:
    """Plain loops for opsets before 11, tf_half_pixel_for_nn and negative axes, which the evaluator refuses, and where it
    takes fractional lengths (pytorch_half_pixel to one output) and factors (a third) as they come in float32.
    """
    attrs, mode = case.attrs, case.attrs.get("mode", "nearest")
    transform = attrs.get("coordinate_transformation_mode", "half_pixel")
    third = "axes" not in attrs and len(case.constants) > 1 and case.constants[1] is not None and case.constants[1][-1] == np.float32(1 / 3)
    if "axes" in attrs and min(attrs["axes"]) < 0:
        positive = replace(case, attrs={**attrs, "axes": [a % x.ndim for a in attrs["axes"]]})
        return expected(build(positive, opset)[0], x)[0]
    if not third and opset > 10 and transform not in ("tf_half_pixel_for_nn", "pytorch_half_pixel"):
        return None
    sizes = case.constants[2] if len(case.constants) == 3 else None
    scales = attrs.get("scales", case.constants[0] if opset < 11 and case.constants else None)
    scales = case.constants[1] if scales is None and sizes is None else scales
    if sizes is not None:
        factors = [n / old for n, old in zip(sizes, x.shape, strict=True)]
    else:
        factors = [1 / 3 if np.float32(s) == np.float32(1 / 3) else round(float(s), 6) for s in scales]
        sizes = [int(n * s + 1e-9) for n, s in zip(x.shape, factors, strict=True)]
    if opset < 11:
        return loops.resize(x, sizes, factors, mode, "asymmetric", "simple")
    return loops.resize(x, sizes, factors, mode, transform, attrs.get("nearest_mode", "round_prefer_floor"))


def _transposed_by_loops(case: Case, x: np.ndarray) -> np.ndarray | None:
    """The evaluator gives every group the bias of the first, forgets the cropping that output_shape asks for, and places
    rows wrongly where output_padding is not smaller than the stride.
    """
    attrs, w = case.attrs, case.constants[0]
    bias = case.constants[1] if len(case.constants) > 1 else None
    rank = x.ndim - 2
    stride, dilation = attrs.get("strides", [1] * rank), attrs.get("dilations", [1] * rank)
    more, pads = attrs.get("output_padding", [0] * rank), attrs.get("pads", [0] * (2 * rank))
    axes = list(zip(x.shape[2:], w.shape[2:], stride, dilation, more, strict=True))
    whole = [s * (n - 1) + d * (k - 1) + 1 + m for n, k, s, d, m in axes]
    auto_pad = attrs.get("auto_pad", "NOTSET")
    if "output_shape" in attrs or auto_pad.startswith("SAME"):
        size = attrs.get("output_shape", [n * s for n, s in zip(x.shape[2:], stride, strict=True)])
        total = [a - b for a, b in zip(whole, size, strict=True)]
        lo = [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in total]
    else:
        lo, size = pads[:rank], [n - a - b for n, a, b in zip(whole, pads[:rank], pads[rank:], strict=True)]
    return conv_transpose(x, w, bias, stride, dilation, lo, size, attrs.get("group", 1))
