"""Batch normalisation, at inference and in training form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.operators import keeps_axis_0, operator, same_shape, sums_pictures
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
        x, gamma, beta, mean, var = (node.input(i) for i in range(5))
        axes = (0, *range(2, len(dy.shape)))
        dgamma = dbeta = None
        if gamma.data is None:
            normalised = g.emit("BatchNorm", x, *(g.constant(np.full(gamma.shape, n)) for n in (1.0, 0.0)), mean, var, **node.attrs)
            dgamma = g.sum(g.mul(dy, normalised), axes)
        if beta.data is None:
            dbeta = g.sum(dy, axes)
        return [g.emit("BatchNormGrad", dy, gamma, var, **node.attrs), dgamma, dbeta, None, None]

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
        x, gamma, var = (node.input(i) for i in range(3))
        dgamma = None
        if gamma.data is None:
            scaled = g.emit("BatchNormGrad", x, g.constant(np.ones(gamma.shape)), var, **node.attrs)
            dgamma = g.sum(g.mul(dy, scaled), (0, *range(2, len(dy.shape))))
        return [g.emit("BatchNormGrad", dy, gamma, var, **node.attrs), dgamma, None]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        p.step(
            "batch_norm_input_grad",
            batch_norm_attributes(node.outputs[0].shape, node.attrs["epsilon"]),
            node.inputs,
            node.outputs,
            inplace=(0,),
        )


@operator("BatchNormTrain", learned=True)
class BatchNormTrain:
    """As `BatchNorm` with the statistics of the batch: x, gamma, beta -> y, mean, var. Only y is differentiated."""

    picture_axis = staticmethod(sums_pictures)

    @staticmethod
    def shape(node: Node) -> list[Shape]:
        return [node.input(0).shape, node.input(1).shape, node.input(1).shape]

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        _, mean, var = node.outputs
        return list(g.emit_all("BatchNormTrainGrad", dy, *node.inputs[:2], mean, var, **node.attrs))

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes = batch_norm_attributes(node.outputs[0].shape, node.attrs["epsilon"])
        p.step("batch_norm_train_output", attributes, node.inputs, node.outputs)


@operator("BatchNormTrainGrad")
class BatchNormTrainGrad:
    """Gradients of x, gamma and beta, through the statistics too: dy, x, gamma, mean, var -> dx, dgamma, dbeta."""

    picture_axis = staticmethod(sums_pictures)

    @staticmethod
    def shape(node: Node) -> list[Shape]:
        return [node.input(0).shape, node.input(2).shape, node.input(2).shape]

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        attributes = batch_norm_attributes(node.outputs[0].shape, node.attrs["epsilon"])
        p.step("batch_norm_train_grad", attributes, node.inputs, node.outputs)


@onnx_form("BatchNormalization")
def batch_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Inference form only."""
    if node.attrs.get("training_mode", 0):
        raise Unsupported("attribute 'training_mode' = 1 (batch statistics)")
    return g.emit("BatchNorm", *_operands(node, inputs), epsilon=float(node.attrs.get("epsilon", 1e-5)))


@onnx_form("gradcam::TrainingBatchNormalization")
def training_batch_normalization(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """Training form, which `gradcam.train` puts in the place of the other: also hands out the next running statistics.

    ``running = momentum running + (1 - momentum) batch`` (ONNX's momentum), the variance of the batch divided by the count
    less one, as PyTorch has it.
    """
    x, gamma, beta, *running = _operands(node, inputs)
    momentum, count = float(node.attrs.get("momentum", 0.9)), x.size // x.shape[1]
    y, mean, var = g.emit_all("BatchNormTrain", x, gamma, beta, epsilon=float(node.attrs.get("epsilon", 1e-5)))
    batch = (mean, g.scale(var, count / max(1, count - 1)))
    return [y, *(g.add(g.scale(old, momentum), g.scale(new, 1 - momentum)) for old, new in zip(running, batch, strict=True))]


def _operands(node: OnnxNode, inputs: Inputs) -> list[Value]:
    """Return x, and scale, bias, mean and variance of its channels."""
    x = node.required(inputs, 0)
    parameters = [node.required(inputs, i) for i in range(1, 5)]
    for value in parameters:
        if value.shape != (x.shape[1],):
            raise node.bad(f"expected parameters of shape {(x.shape[1],)}, got {value.shape}")
    return [x, *parameters]
