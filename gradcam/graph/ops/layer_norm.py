"""Layer norm as one node, and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING


from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Value
from gradcam.graph.operators import Mixes, operator, same_shape
from gradcam.ops.layer_norm import layer_norm_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


def _rows_apart(node: Node, axes: list[int | None]) -> int | None:
    """Refuse pictures along a normalised axis, or in the factors."""
    pictures = {axis for value, axis in zip(node.inputs, axes, strict=True) if value is not None and value.shape == node.outputs[0].shape}
    if len(pictures) > 1 or any(axis is not None and axis >= node.attrs["axis"] for axis in axes):
        raise Mixes
    return axes[0]


@operator("LayerNorm", learned=True)
class LayerNorm:
    """y = (x - mean) gamma / sqrt(var + epsilon) + beta over the axes from `axis` on; made by the pass `fuse_layer_norm`.

    gamma and beta are constants with one number for each of a row, or absent.
    """

    shape = staticmethod(same_shape)
    picture_axis = staticmethod(_rows_apart)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        return [g.emit("LayerNormGrad", node.input(0), node.inputs[1], dy, **node.attrs), None, None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        _, gamma, beta = node.inputs
        attributes = layer_norm_attributes(node.outputs[0].shape, **node.attrs, gamma=gamma is not None, beta=beta is not None)
        p.step("layer_norm_output", attributes, node.inputs, node.outputs, inplace=(0,))


@operator("LayerNormGrad", learned=True)
class LayerNormGrad:
    """dx = J(x) g from x, gamma and dy, with g = dy gamma and J = s (1 - (1 1' + h h') / n).

    s = 1 / sqrt(var + epsilon), h = (x - mean) s, n numbers in a row.
    """

    shape = staticmethod(same_shape)
    picture_axis = staticmethod(_rows_apart)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        """With v = `dy`: J is symmetric, and v J(x) g = s (v g - n mean(v) mean(g) - n p q), p and q the means of v h and g h.

        The derivative of s is -s s h / n, those of p and q are J v / n and J g / n.
        """
        x, gamma, first = node.input(0), node.inputs[1], node.input(2)
        axis, epsilon = node.attrs["axis"], node.attrs["epsilon"]
        axes = range(axis, len(x.shape))

        def times_gamma(value: Value) -> Value:
            return value if gamma is None else g.mul(value, g.reshape(gamma, x.shape[axis:]))

        def mean(value: Value) -> Value:
            return g.reduce("ReduceMean", value, axes, True)

        def jacobian(value: Value) -> Value:
            return g.emit("LayerNormGrad", x, None, value, **node.attrs)

        seed = times_gamma(first)
        deviation = g.sub(x, mean(x))
        variance = mean(g.mul(deviation, deviation))
        inverse = g.unary("Reciprocal", g.unary("Sqrt", g.unary("Affine", variance, 1.0, epsilon)))
        h = g.mul(deviation, inverse)
        of_dy, of_seed = jacobian(dy), jacobian(seed)
        p, q = mean(g.mul(dy, h)), mean(g.mul(seed, h))
        # s (mean(v g) - mean(v) mean(g) - p q) is the mean of v J g
        by_scale = g.mul(g.mul(h, inverse), mean(g.mul(dy, of_seed)))
        by_means = g.mul(inverse, g.add(g.mul(q, of_dy), g.mul(p, of_seed)))
        return [g.scale(g.add(by_scale, by_means), -1), None, times_gamma(of_dy)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes = layer_norm_attributes(node.outputs[0].shape, **node.attrs, gamma=node.inputs[1] is not None, beta=False)
        p.step("layer_norm_input_grad", attributes, node.inputs, node.outputs, inplace=(2,))
