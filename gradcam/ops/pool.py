"""Max and average pooling over 1 to 3 spatial axes, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from gradcam.ops import reduce
from gradcam.ops._call import Attributes, array, call

__all__ = [
    "average_pool",
    "average_pool_input_grad",
    "global_average_pool",
    "global_max_pool",
    "max_pool",
    "max_pool_input_grad",
    "max_pool_pick",
    "pool_attributes",
    "pool_output_shape",
]

Ints = Sequence[int]
Padding = int | Sequence[int] | Sequence[tuple[int, int]]


def pool_attributes(
    x_shape: Ints,
    kernel: Ints,
    *,
    stride: Ints,
    pad_lo: Ints,
    pad_hi: Ints,
    dilation: Ints,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Attributes:
    """Return the attributes of the pooling kernels for x of shape ``(n, c, *in)``; one number per spatial axis each."""
    sizes = (*x_shape[2:], *kernel, *stride, *pad_lo, *pad_hi, *dilation)
    return Attributes((len(x_shape) - 2, *x_shape[:2], *sizes, int(ceil_mode), int(count_include_pad)))


def pool_output_shape(
    x_shape: Ints,
    kernel: Ints,
    *,
    stride: Ints,
    pad_lo: Ints,
    pad_hi: Ints,
    dilation: Ints,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> tuple[int, ...]:
    """Return the shape ``(n, c, *out)`` of the pooled array.

    ``out = (in + pad_lo + pad_hi - dilation (kernel - 1) - 1) / stride + 1``, rounded down, or up in ceil mode, where the last
    window is dropped if it would start behind the input (the rule of PyTorch and ONNX). `count_include_pad` has no influence.

    Raises
    ------
    ValueError
        No window fits, a parameter is too small, or padding is not smaller than the dilated kernel.
    """
    axes = zip(x_shape[2:], kernel, stride, pad_lo, pad_hi, dilation, strict=True)
    return (*x_shape[:2], *(_output_size("pool_output_shape", ceil_mode, *axis) for axis in axes))


def _output_size(function: str, ceil_mode: bool, size: int, kernel: int, stride: int, pad_lo: int, pad_hi: int, dilation: int) -> int:
    if size < 1:
        raise ValueError(f"{function}: x: expected spatial sizes of at least 1, got {size}")
    for argument, value in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if value < 1:
            raise ValueError(f"{function}: {argument}: expected at least 1, got {value}")
    extent = dilation * (kernel - 1) + 1
    if not (0 <= pad_lo < extent and 0 <= pad_hi < extent):
        raise ValueError(f"{function}: padding: expected 0 to {extent - 1} (less than the dilated kernel), got {pad_lo, pad_hi}")
    room = size + pad_lo + pad_hi - extent + (stride - 1 if ceil_mode else 0)
    if room < 0:
        raise ValueError(
            f"{function}: kernel: expected a window within the {size + pad_lo + pad_hi} cells of the padded input, got {extent}"
        )
    out = room // stride + 1
    return out - 1 if ceil_mode and (out - 1) * stride >= size + pad_lo else out


class _Window:
    """The parameters of one public call, one number per spatial axis."""

    def __init__(
        self,
        function: str,
        shape: Ints,
        kernel: int | Ints,
        stride: int | Ints | None,
        padding: Padding,
        dilation: int | Ints,
        ceil_mode: bool,
        count_include_pad: bool = False,
    ) -> None:
        rank = len(shape) - 2
        if not 1 <= rank <= 3:
            raise ValueError(f"{function}: x: expected 3 to 5 axes (n, c, 1 to 3 spatial axes), got shape {tuple(shape)}")
        if shape[0] < 0 or shape[1] < 1:
            raise ValueError(f"{function}: x: expected at least 1 channel (axis 1), got shape {tuple(shape)}")
        kernels = _per_axis(function, "kernel", kernel, rank)
        strides = kernels if stride is None else _per_axis(function, "stride", stride, rank)
        pad_lo, pad_hi = _pads(function, padding, rank)
        dilations = _per_axis(function, "dilation", dilation, rank)
        axes = zip(shape[2:], kernels, strides, pad_lo, pad_hi, dilations, strict=True)
        self.output = (*shape[:2], *(_output_size(function, ceil_mode, *axis) for axis in axes))
        self.attributes = pool_attributes(
            shape,
            kernels,
            stride=strides,
            pad_lo=pad_lo,
            pad_hi=pad_hi,
            dilation=dilations,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )


def _per_axis(function: str, argument: str, value: int | Ints, rank: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * rank
    if len(values) != rank:
        raise ValueError(f"{function}: {argument}: expected one number or {rank} (one per spatial axis), got {value}")
    return values


def _pads(function: str, padding: Padding, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pads = tuple(padding) if isinstance(padding, Sequence) else (padding,) * rank
    pairs = [tuple(pad) if isinstance(pad, Sequence) else (pad, pad) for pad in pads]
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{function}: padding: expected one number, or {rank} numbers or (low, high) pairs, got {padding}")
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


def _check_gradient(function: str, dy: NDArray[Any], window: _Window) -> None:
    if dy.shape != window.output:
        raise ValueError(f"{function}: dy: expected shape {window.output}, got {dy.shape}")


def max_pool(
    x: object,
    kernel: int | Ints,
    *,
    stride: int | Ints | None = None,
    padding: Padding = 0,
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
) -> NDArray[Any]:
    """Return the maximum of each window.

    Padding never wins; a window without a cell of the input (possible with dilation only) gives -inf. A NaN counts as the maximum.

    Parameters
    ----------
    x : array_like, shape (n, c, in...)
        float32 or float64, 1 to 3 spatial axes.
    kernel : int or sequence of int
        Window size.
    stride : int or sequence of int, optional
        Step from window to window; by default the window size.
    padding : int, sequence of int, or sequence of (int, int)
        Cells around the input, on both sides or (low, high); less than the dilated kernel.
    dilation : int or sequence of int
        Step from tap to tap.
    ceil_mode : bool
        Also use a last window that the input cuts off.

    Returns
    -------
    ndarray, shape (n, c, out...)
        Of the dtype of `x`; see `pool_output_shape` for the sizes.

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, shapes or parameters.
    """
    x = array("max_pool", "x", x)
    window = _Window("max_pool", x.shape, kernel, stride, padding, dilation, ceil_mode)
    return call("pool_max_output", window.attributes, [x], [window.output])[0]


def max_pool_input_grad(
    x: object,
    dy: object,
    kernel: int | Ints,
    *,
    stride: int | Ints | None = None,
    padding: Padding = 0,
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * max_pool(x, ...))`` with respect to `x`.

    The first maximum of a window in scan order takes its gradient; a NaN counts as the maximum.

    Parameters
    ----------
    x : array_like, shape (n, c, in...)
        What was pooled.
    dy : array_like, shape (n, c, out...)
        Gradient at the output, of the dtype of `x`.
    kernel, stride, padding, dilation, ceil_mode
        As in `max_pool`.

    Returns
    -------
    ndarray, shape (n, c, in...)

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, shapes or parameters.
    """
    name = "max_pool_input_grad"
    x = array(name, "x", x)
    window = _Window(name, x.shape, kernel, stride, padding, dilation, ceil_mode)
    dy = array(name, "dy", dy, like=x)
    _check_gradient(name, dy, window)
    return call("pool_max_input_grad", window.attributes, [x, dy], [x.shape])[0]


def max_pool_pick(
    x: object,
    values: object,
    kernel: int | Ints,
    *,
    stride: int | Ints | None = None,
    padding: Padding = 0,
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
) -> NDArray[Any]:
    """Return the elements of `values` where the windows of `x` have their maxima: the transpose of `max_pool_input_grad`.

    The first maximum of a window in scan order counts, a NaN as the maximum; a window without a cell of the input gives 0.

    Parameters
    ----------
    x : array_like, shape (n, c, in...)
        What is pooled.
    values : array_like, shape (n, c, in...)
        What is picked from, of the dtype of `x`.
    kernel, stride, padding, dilation, ceil_mode
        As in `max_pool`.

    Returns
    -------
    ndarray, shape (n, c, out...)

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, shapes or parameters.
    """
    name = "max_pool_pick"
    x = array(name, "x", x)
    window = _Window(name, x.shape, kernel, stride, padding, dilation, ceil_mode)
    values = array(name, "values", values, like=x)
    if values.shape != x.shape:
        raise ValueError(f"{name}: values: expected shape {x.shape} like x, got {values.shape}")
    return call("pool_max_pick", window.attributes, [x, values], [window.output])[0]


def average_pool(
    x: object,
    kernel: int | Ints,
    *,
    stride: int | Ints | None = None,
    padding: Padding = 0,
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> NDArray[Any]:
    """Return the mean of each window.

    Parameters
    ----------
    x : array_like, shape (n, c, in...)
        float32 or float64, 1 to 3 spatial axes.
    kernel, stride, padding, dilation, ceil_mode
        As in `max_pool`.
    count_include_pad : bool
        Divide by the cells of the window inside the padded input, not by those inside the input. What `ceil_mode` adds
        beyond the padding is never counted. The mean of no cell is 0.

    Returns
    -------
    ndarray, shape (n, c, out...)

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, shapes or parameters.
    """
    x = array("average_pool", "x", x)
    window = _Window("average_pool", x.shape, kernel, stride, padding, dilation, ceil_mode, count_include_pad)
    return call("pool_average_output", window.attributes, [x], [window.output])[0]


def average_pool_input_grad(
    dy: object,
    input_size: Ints,
    kernel: int | Ints,
    *,
    stride: int | Ints | None = None,
    padding: Padding = 0,
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> NDArray[Any]:
    """Return the gradient of ``sum(dy * average_pool(x, ...))`` with respect to `x`.

    Parameters
    ----------
    dy : array_like, shape (n, c, out...)
        Gradient at the output.
    input_size : sequence of int
        Spatial sizes of `x`.
    kernel, stride, padding, dilation, ceil_mode, count_include_pad
        As in `average_pool`.

    Returns
    -------
    ndarray, shape (n, c, input_size...)

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes, shapes or parameters.
    """
    name = "average_pool_input_grad"
    dy = array(name, "dy", dy, ndim=(3, 5))
    shape = (*dy.shape[:2], *input_size)
    window = _Window(name, shape, kernel, stride, padding, dilation, ceil_mode, count_include_pad)
    _check_gradient(name, dy, window)
    return call("pool_average_input_grad", window.attributes, [dy], [shape])[0]


def _global(function: str, op: str, x: object) -> NDArray[Any]:
    x = array(function, "x", x, ndim=(3, 5))
    if 0 in x.shape[1:]:
        raise ValueError(f"{function}: x: expected sizes of at least 1 (0 is allowed on the batch axis only), got shape {x.shape}")
    shape = (*x.shape[:2], *(1 for _ in x.shape[2:]))
    return call("reduce_output", reduce.reduce_attributes(op, x.shape, range(2, x.ndim)), [x], [shape])[0]


def global_average_pool(x: object) -> NDArray[Any]:
    """Return the mean over the spatial axes, summed in double: ``(n, c, *in) -> (n, c, *1)``.

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes or shapes.
    """
    return _global("global_average_pool", "mean", x)


def global_max_pool(x: object) -> NDArray[Any]:
    """Return the maximum over the spatial axes, NaN if there is one: ``(n, c, *in) -> (n, c, *1)``.

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes or shapes.
    """
    return _global("global_max_pool", "max", x)
