"""Projection of one picture's activations on their first singular vector, and kernel PCA: one operator, six steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcam import _core
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.operators import operator
from gradcam.graph.ops.cam import spatial_shape, strided
from gradcam.ops import _call
from gradcam.ops.cam import eigen_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


@operator("CamEigen")
class CamEigen:
    """(activations, gradients or None, weights (1, C) or None, reference (1, *S) or None) -> map (1, *S), info (1, 2)."""

    @staticmethod
    def shape(node: Node) -> list[Shape]:
        array = node.inputs[0]
        assert array is not None
        return [(array.shape[0], *spatial_shape(array, node.attrs["channel_axis"])), (array.shape[0], 2)]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        array, gradients, weights, reference = node.inputs
        assert array is not None
        options = dict(node.attrs)
        axis = options.pop("channel_axis")
        channels, positions, strides = strided(array, axis)
        attributes = eigen_attributes(channels, positions, strides, strides, reference=reference is not None, **options)

        def step(kernel: str, *reads: Value | None, products: int = 0) -> list[Value]:
            """Emit a step that writes memory of its own."""
            sizes = _core.operands(kernel, _call.isa, p.real.char, attributes.ints, attributes.reals)[1]
            writes = [p.temporary((size,)) for size in sizes]
            p.step(kernel, attributes, reads, writes, products=products)
            return writes

        matrix, stats = step("eigen_matrix", array, gradients, weights)
        (panels,) = step("eigen_pack", matrix, stats)
        small = positions if options.get("kernel_pca") else min(channels, positions)
        (gram,) = step("eigen_gram", panels, products=small * (small + 1) // 2 * (channels * positions // small))
        vector, _ = step("eigen_vector", gram, stats)
        projection, energy = step("eigen_project", matrix, stats, vector)
        p.step("eigen_sign", attributes, (matrix, stats, vector, projection, energy, reference), node.outputs)
