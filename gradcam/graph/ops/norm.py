"""Batch normalisation at inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.operators import keeps_axis_0, operator, same_shape
from gradcam.ops.batch_norm import batch_norm_attributes

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


@operator("BatchNorm", learned=True)
class BatchNorm:
    """y = (x - mean) gamma / sqrt(var + epsilon) + beta per channel; x (N, C, *S)."""

    picture_axis = staticmethod(keeps_axis_0)

    shape = staticmethod(same_shape)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        _, gamma, _, _, var = node.inputs
        return [g.emit("BatchNormGrad", dy, gamma, var, **node.attrs), None, None, None, None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step(
            "batch_norm_output",
            batch_norm_attributes(node.outputs[0].shape, node.attrs["epsilon"]),
            node.inputs,
            node.outputs,
            inplace=(0,),
        )


@operator("BatchNormGrad")
class BatchNormGrad:
    """dx = dy gamma / sqrt(var + epsilon)."""

    picture_axis = staticmethod(keeps_axis_0)

    shape = staticmethod(same_shape)

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        _, gamma, var = node.inputs
        return [g.emit("BatchNormGrad", dy, gamma, var, **node.attrs), None, None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step(
            "batch_norm_input_grad",
            batch_norm_attributes(node.outputs[0].shape, node.attrs["epsilon"]),
            node.inputs,
            node.outputs,
            inplace=(0,),
        )


@onnx_form("BatchNormalization")
def batch_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Inference form only."""
    x = node.required(inputs, 0)
    if node.attrs.get("training_mode", 0):
        raise Unsupported("attribute 'training_mode' = 1 (batch statistics)")
    parameters = [node.required(inputs, i) for i in range(1, 5)]
    for value in parameters:
        if value.shape != (x.shape[1],):
            raise node.bad(f"expected parameters of shape {(x.shape[1],)}, got {value.shape}")
    return g.emit("BatchNorm", x, *parameters, epsilon=float(node.attrs.get("epsilon", 1e-5)))
