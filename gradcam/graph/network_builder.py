"""The operators of `gradcam.GraphBuilder`: each is one ONNX node, or a few, with PyTorch's argument names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradcam.graph.source_builder import SourceBuilder

__all__ = ["NetworkBuilder"]

Sizes = int | Sequence[int]
Operand = str | ArrayLike


class NetworkBuilder(SourceBuilder):
    """One method per operator. `x` is the name of a tensor, `name` names the result; the result is a name."""

    # Layers with weights ----------------------------------------------------------------------------------------------

    def conv(
        self,
        x: str,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        name: str | None = None,
    ) -> str:
        """Convolve: weight (C_out, C_in / groups, *kernel), bias (C_out,)."""
        space = self._space("conv", x)
        pads = self._sizes("conv", "padding", padding, space, least=0)
        return self._emit(
            "conv",
            "Conv",
            name,
            [x],
            {"weight": weight, "bias": bias},
            strides=self._sizes("conv", "stride", stride, space),
            pads=pads + pads,
            dilations=self._sizes("conv", "dilation", dilation, space),
            group=int(groups),
        )

    def linear(self, x: str, weight: ArrayLike, bias: ArrayLike | None = None, *, name: str | None = None) -> str:
        """Return x weight' + bias along the last axis: weight (out, in), bias (out,)."""
        if self._known("linear", "x", x) == 2:
            return self._emit("linear", "Gemm", name, [x], {"weight": weight, "bias": bias}, transB=1)
        weight = self._real("linear", "weight", weight)
        if weight.ndim != 2:
            raise ValueError(f"GraphBuilder.linear: weight: expected 2 axes, got {weight.ndim} (shape {weight.shape})")
        label = self._new_name("linear", name)
        if bias is None:
            return self._emit("linear", "MatMul", label, [x], {"weight": weight.T})
        product = self._emit("linear", "MatMul", f"{label}.product", [x], {"weight": weight.T})
        return self._emit("linear", "Add", label, [product], {"bias": bias})

    def batch_norm(
        self,
        x: str,
        running_mean: ArrayLike,
        running_var: ArrayLike,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        eps: float = 1e-5,
        name: str | None = None,
    ) -> str:
        """Normalise each channel by fixed statistics: all parameters (C,)."""
        mean = self._real("batch_norm", "running_mean", running_mean)
        parameters = {
            "weight": np.ones_like(mean) if weight is None else weight,
            "bias": np.zeros_like(mean) if bias is None else bias,
            "running_mean": mean,
            "running_var": running_var,
        }
        return self._emit("batch_norm", "BatchNormalization", name, [x], parameters, epsilon=float(eps))

    def layer_norm(self, x: str, weight: ArrayLike, bias: ArrayLike | None = None, *, eps: float = 1e-5, name: str | None = None) -> str:
        """Normalise over the last axes, as many as weight and bias have."""
        weight = self._real("layer_norm", "weight", weight)
        parameters = {"weight": weight, "bias": bias}
        return self._emit("layer_norm", "LayerNormalization", name, [x], parameters, axis=-max(1, weight.ndim), epsilon=float(eps))

    # Elementwise functions ---------------------------------------------------------------------------------------------

    def relu(self, x: str, *, name: str | None = None) -> str:
        """Return max(x, 0)."""
        return self._emit("relu", "Relu", name, [x])

    def leaky_relu(self, x: str, negative_slope: float = 0.01, *, name: str | None = None) -> str:
        """Return x where it is positive, negative_slope x elsewhere."""
        return self._emit("leaky_relu", "LeakyRelu", name, [x], alpha=float(negative_slope))

    def elu(self, x: str, alpha: float = 1.0, *, name: str | None = None) -> str:
        """Return x where it is positive, alpha (e^x - 1) elsewhere."""
        return self._emit("elu", "Elu", name, [x], alpha=float(alpha))

    def sigmoid(self, x: str, *, name: str | None = None) -> str:
        """Return 1 / (1 + e^-x)."""
        return self._emit("sigmoid", "Sigmoid", name, [x])

    def tanh(self, x: str, *, name: str | None = None) -> str:
        """Return the hyperbolic tangent."""
        return self._emit("tanh", "Tanh", name, [x])

    def softplus(self, x: str, *, name: str | None = None) -> str:
        """Return log(1 + e^x)."""
        return self._emit("softplus", "Softplus", name, [x])

    def hardsigmoid(self, x: str, *, name: str | None = None) -> str:
        """Return x / 6 + 1 / 2, clipped to [0, 1]."""
        return self._emit("hardsigmoid", "HardSigmoid", name, [x], alpha=1 / 6, beta=0.5)

    def hardswish(self, x: str, *, name: str | None = None) -> str:
        """Return x hardsigmoid(x)."""
        return self._emit("hardswish", "HardSwish", name, [x])

    def silu(self, x: str, *, name: str | None = None) -> str:
        """Return x sigmoid(x)."""
        label = self._new_name("silu", name)
        return self.mul(x, self.sigmoid(x, name=f"{label}.sigmoid"), name=label)

    def gelu(self, x: str, approximate: str = "none", *, name: str | None = None) -> str:
        """Return x times the normal distribution's function of x; `approximate` is "none" or "tanh"."""
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GraphBuilder.gelu: approximate: expected 'none' or 'tanh', got {approximate!r}")
        return self._emit("gelu", "Gelu", name, [x], approximate=approximate)

    def clip(self, x: str, min: float | None = None, max: float | None = None, *, name: str | None = None) -> str:
        """Return x, not less than min and not more than max (ReLU6: 0 and 6)."""
        return self._emit("clip", "Clip", name, [x], {"min": min, "max": max})

    def softmax(self, x: str, dim: int = -1, *, name: str | None = None) -> str:
        """Return e^x / sum of e^x along an axis."""
        return self._emit("softmax", "Softmax", name, [x], axis=self._axis("softmax", x, dim))

    def log_softmax(self, x: str, dim: int = -1, *, name: str | None = None) -> str:
        """Return the logarithm of `softmax`."""
        return self._emit("log_softmax", "LogSoftmax", name, [x], axis=self._axis("log_softmax", x, dim))

    # Several operands: tensors, arrays or numbers --------------------------------------------------------------------------

    def add(self, a: Operand, b: Operand, *, name: str | None = None) -> str:
        """Return a + b, broadcast."""
        return self._binary("add", "Add", a, b, name)

    def sub(self, a: Operand, b: Operand, *, name: str | None = None) -> str:
        """Return a - b, broadcast."""
        return self._binary("sub", "Sub", a, b, name)

    def mul(self, a: Operand, b: Operand, *, name: str | None = None) -> str:
        """Return a b, broadcast."""
        return self._binary("mul", "Mul", a, b, name)

    def div(self, a: Operand, b: Operand, *, name: str | None = None) -> str:
        """Return a / b, broadcast."""
        return self._binary("div", "Div", a, b, name)

    def matmul(self, a: Operand, b: Operand, *, name: str | None = None) -> str:
        """Return the matrix product over the last two axes; leading axes are broadcast."""
        return self._binary("matmul", "MatMul", a, b, name)

    def concat(self, tensors: Sequence[Operand], dim: int = 1, *, name: str | None = None) -> str:
        """Join tensors along an axis."""
        if isinstance(tensors, str) or not tensors:
            raise ValueError(f"GraphBuilder.concat: tensors: expected a sequence of tensors, got {tensors!r}")
        operands = [self._tensor("concat", tensor) for tensor in tensors]
        return self._emit("concat", "Concat", name, operands, axis=self._axis("concat", operands[0], dim))

    # Pooling ---------------------------------------------------------------------------------------------------------------

    def max_pool(
        self,
        x: str,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        *,
        name: str | None = None,
    ) -> str:
        """Return the maximum of each window; the stride is the window's size unless given."""
        dilations = self._sizes("max_pool", "dilation", dilation, self._space("max_pool", x))
        return self._pool("max_pool", "MaxPool", x, kernel_size, stride, padding, ceil_mode, name, dilations=dilations)

    def average_pool(
        self,
        x: str,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        name: str | None = None,
    ) -> str:
        """Return the mean of each window; the stride is the window's size unless given."""
        counted = int(count_include_pad)
        return self._pool("average_pool", "AveragePool", x, kernel_size, stride, padding, ceil_mode, name, count_include_pad=counted)

    def global_average_pool(self, x: str, *, name: str | None = None) -> str:
        """Return the mean over all positions: (N, C, 1, ...)."""
        return self._emit("global_average_pool", "GlobalAveragePool", name, [x])

    def adaptive_average_pool(self, x: str, output_size: Sizes, *, name: str | None = None) -> str:
        """Return means of windows such that `output_size` positions are left, whatever the input's size."""
        size = self._sizes("adaptive_average_pool", "output_size", output_size, self._space("adaptive_average_pool", x))
        return self._emit("adaptive_average_pool", "AdaptiveAveragePool", name, [x], domain="gradcam", output_size=size)

    # Shape -----------------------------------------------------------------------------------------------------------------

    def flatten(self, x: str, start_dim: int = 1, *, name: str | None = None) -> str:
        """Merge all axes from `start_dim` on."""
        start = self._axis("flatten", x, start_dim)
        if start == 1:
            return self._emit("flatten", "Flatten", name, [x], rank=2, axis=1)
        return self._emit("flatten", "Reshape", name, [x], sizes={"shape": (0,) * start + (-1,)}, rank=start + 1)

    def reshape(self, x: str, shape: Sequence[int], *, name: str | None = None) -> str:
        """Return the elements in another shape; 0 keeps the size of that axis (the batch), one -1 takes what is left."""
        sizes = tuple(int(n) for n in shape)
        return self._emit("reshape", "Reshape", name, [x], sizes={"shape": sizes}, rank=len(sizes))

    def transpose(self, x: str, dims: Sequence[int], *, name: str | None = None) -> str:
        """Return the axes in the order `dims` (`torch.permute`)."""
        perm = tuple(self._axis("transpose", x, dim) for dim in dims)
        if sorted(perm) != list(range(self._ranks[x])):
            raise ValueError(f"GraphBuilder.transpose: dims: expected each of {self._ranks[x]} axes once, got {tuple(dims)}")
        return self._emit("transpose", "Transpose", name, [x], perm=perm)

    def slice(self, x: str, dim: int, start: int, end: int, *, name: str | None = None) -> str:
        """Return x[start:end] along an axis."""
        bounds = {"starts": (int(start),), "ends": (int(end),), "axes": (self._axis("slice", x, dim),)}
        return self._emit("slice", "Slice", name, [x], sizes=bounds)

    def select(self, x: str, dim: int, index: int, *, name: str | None = None) -> str:
        """Return x[index] along an axis, which is lost."""
        label = self._new_name("select", name)
        axis = self._axis("select", x, dim)
        end = index + 1 if index != -1 else np.iinfo(np.int64).max
        one = self.slice(x, axis, index, int(end), name=f"{label}.slice")
        return self._emit("select", "Squeeze", label, [one], sizes={"axes": (axis,)}, rank=self._ranks[x] - 1)

    def identity(self, x: str, *, name: str | None = None) -> str:
        """Give a tensor one more name."""
        return self._emit("identity", "Identity", name, [x])

    # -------------------------------------------------------------------------------------------------------------------------

    def _binary(self, method: str, op: str, a: Operand, b: Operand, name: str | None) -> str:
        operands = [self._tensor(method, a), self._tensor(method, b)]
        rank = max(self._known(method, argument, tensor) for argument, tensor in zip("ab", operands, strict=True))
        return self._emit(method, op, name, operands, rank=rank)

    def _pool(
        self,
        method: str,
        op: str,
        x: str,
        kernel_size: Sizes,
        stride: Sizes | None,
        padding: Sizes,
        ceil: bool,
        name: str | None,
        **attrs: Any,
    ) -> str:
        space = self._space(method, x)
        kernel = self._sizes(method, "kernel_size", kernel_size, space)
        strides = kernel if stride is None else self._sizes(method, "stride", stride, space)
        pads = self._sizes(method, "padding", padding, space, least=0)
        return self._emit(method, op, name, [x], kernel_shape=kernel, strides=strides, pads=pads + pads, ceil_mode=int(ceil), **attrs)

    def _space(self, method: str, x: str) -> int:
        """Number of axes after batch and channels."""
        rank = self._known(method, "x", x)
        if not 3 <= rank <= 5:
            raise ValueError(f"GraphBuilder.{method}: x: expected a tensor with 3 to 5 axes, got {rank} ('{x}')")
        return rank - 2

    def _sizes(self, method: str, argument: str, value: Sizes, count: int, least: int = 1) -> tuple[int, ...]:
        """One number per axis, from one for all or one each."""
        sizes = (value,) * count if isinstance(value, int | np.integer) else tuple(value)
        if len(sizes) != count or not all(isinstance(n, int | np.integer) and n >= least for n in sizes):
            raise ValueError(f"GraphBuilder.{method}: {argument}: expected one integer or {count}, each at least {least}, got {value!r}")
        return tuple(int(n) for n in sizes)
