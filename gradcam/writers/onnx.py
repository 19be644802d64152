"""Models as ONNX files: the nodes of a source as they were read, its weights, and the metadata that gradcam reads back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import GradcamError, UnsupportedOpError, require
from gradcam.graph.ir import Shape
from gradcam.graph.module_paths import module_paths
from gradcam.graph.onnx_form import Body, OnnxNode
from gradcam.graph.ops.adaptive import pooled_averages
from gradcam.graph.source import Source

__all__ = ["onnx_bytes"]

FLOAT, FLOAT16, DOUBLE, BFLOAT16 = 1, 10, 11, 16
"""ONNX's codes of real types."""
_TYPES = ("to", "dtype", "output_dtype", "output_datatype")
"""Attributes that hold a type."""
_DEFAULT = ("", "ai.onnx")


def onnx_bytes(source: Source, shapes: Mapping[str, Shape]) -> bytes:
    """Return the content of an ONNX file.

    All real numbers are float32, whatever the file that was read had: that is how gradcam computes. The opset is that of the
    nodes.

    Parameters
    ----------
    source : Source
        What is written.
    shapes : mapping of str to tuple
        Shapes of tensors at the declared sizes of the inputs: operators that ONNX lacks are written for these.

    Raises
    ------
    UnsupportedOpError
        An operator has no form in ONNX.
    GradcamError
        The file would hold more than the 2 GiB that the format allows.
    MissingExtraError
        The ``onnx`` extra is not installed.
    """
    onnx = require("onnx", "onnx")
    writer = _Writer(onnx, source, shapes)
    nodes = [plain for node in source.needed(source.outputs) for plain in writer.in_onnx(node)]
    opset = max((node.opset for node in nodes), default=onnx.defs.onnx_opset_version())
    used = {name for node in nodes for name in node.reads} | set(source.outputs)
    weights = {name: array for name, array in source.initializers.items() if name in used} | writer.constants
    if sum(array.nbytes for array in weights.values()) >= 2**31:
        raise GradcamError("Model.save: the weights take 2 GiB or more, which an ONNX file cannot hold")
    helper = onnx.helper
    graph = helper.make_graph(
        [writer.node(node) for node in nodes],
        "gradcam",
        [helper.make_tensor_value_info(spec.name, FLOAT, list(spec.dims)) for spec in source.inputs],
        [onnx.ValueInfoProto(name=name) for name in source.outputs],
        [writer.tensor(name, array) for name, array in weights.items()],
    )
    others = sorted({node.domain for node in nodes} - set(_DEFAULT))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in others)]
    version = helper.find_min_ir_version_for(imports, ignore_unknown=True)
    model = helper.make_model(graph, opset_imports=imports, ir_version=version, producer_name="gradcam")
    helper.set_model_props(model, source.metadata)
    model = onnx.shape_inference.infer_shapes(model)  # gives the outputs their types
    del model.graph.value_info[:]
    for value in model.graph.output:
        writer.complete(value.type.tensor_type, value.name)
    return bytes(model.SerializeToString())


class _Writer:
    """Nodes and tensors as protobuf objects."""

    def __init__(self, onnx: Any, source: Source, shapes: Mapping[str, Shape]) -> None:
        self.onnx, self.source, self.shapes = onnx, source, shapes
        self.constants: dict[str, NDArray[Any]] = {}

    def in_onnx(self, node: OnnxNode) -> Iterable[OnnxNode]:
        """Nodes of ONNX that do what a node does."""
        if node.domain != "gradcam":
            return [node]
        if node.op_type != "AdaptiveAveragePool":
            raise UnsupportedOpError([f"{node.label}: ONNX has no such operator"])
        return self._adaptive_pool(node)

    def complete(self, tensor_type: Any, name: str) -> None:
        """Give an output what ONNX could not infer: real numbers, and as many axes of unknown size as gradcam finds."""
        if not tensor_type.elem_type:
            tensor_type.elem_type = FLOAT
        if not tensor_type.HasField("shape"):
            tensor_type.shape.SetInParent()
            for _ in self.shapes.get(name, ()):
                tensor_type.shape.dim.add()

    def _adaptive_pool(self, node: OnnxNode) -> Iterable[OnnxNode]:
        """Means over all, else products with matrices of averages, which only hold for the declared sizes."""
        counts, x, y = tuple(node.attrs["output_size"]), node.inputs[0], node.outputs[0]
        if set(counts) == {1}:
            return [replace(node, op_type="GlobalAveragePool", domain="", attrs={})]
        if any(isinstance(size, str) for spec in self.source.inputs for size in spec.dims[1:]):
            raise UnsupportedOpError([f"{node.label}: ONNX has no such operator for inputs of any size: declare their sizes"])
        size, last = self.shapes[x][2:], len(self.shapes[x]) - 1
        written, tensor = [], x
        for axis, count in enumerate(counts, start=2):
            swapped = [last if i == axis else axis if i == last else i for i in range(last + 1)]
            matrix, turned, product = (f"{y}.{part}{axis}" for part in ("averages", "turned", "product"))
            self.constants[matrix] = pooled_averages(size[axis - 2], count)
            result = y if axis == last else f"{y}.pooled{axis}"
            for op, inputs, output, attrs in (
                ("Transpose", (tensor,), turned, {"perm": tuple(swapped)}),
                ("MatMul", (turned, matrix), product, {}),
                ("Transpose", (product,), result, {"perm": tuple(swapped)}),
            ):
                written.append(replace(node, op_type=op, name=output, domain="", inputs=inputs, outputs=(output,), attrs=attrs))
            tensor = result
        return written

    def node(self, node: OnnxNode) -> Any:
        """Node with its attributes."""
        result = self.onnx.helper.make_node(node.op_type, node.inputs, node.outputs, name=node.name, domain=node.domain)
        for name, value in node.attrs.items():
            result.attribute.append(self._attribute(node, name, value))
        if node.scopes != module_paths(node.name, None):
            text = repr([*node.scopes, node.name])
            result.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=text)
        return result

    def _attribute(self, node: OnnxNode, name: str, value: Any) -> Any:
        kinds, make = self.onnx.AttributeProto, self.onnx.helper.make_attribute
        if value is None:
            raise UnsupportedOpError([f"{node.label}: attribute '{name}' holds a sparse tensor, which is not kept"])
        if isinstance(value, Body):
            return make(name, self._body(value))
        if isinstance(value, np.ndarray):
            return make(name, self.tensor(name, value))
        if isinstance(value, tuple) and not value:
            return make(name, value, attr_type=kinds.INTS)
        if name in _TYPES and value in (FLOAT16, DOUBLE, BFLOAT16):
            return make(name, FLOAT)
        return make(name, value)

    def _body(self, body: Body) -> Any:
        info = self.onnx.ValueInfoProto
        return self.onnx.helper.make_graph(
            [self.node(plain) for node in body.nodes for plain in self.in_onnx(node)],
            "body",
            [info(name=name) for name in body.inputs],
            [info(name=name) for name in body.outputs],
            [self.tensor(name, array) for name, array in body.initializers.items()],
        )

    def tensor(self, name: str, array: NDArray[Any]) -> Any:
        """Real numbers are narrowed to float32."""
        wide = array.dtype.kind == "f" and array.dtype.itemsize > 1
        return self.onnx.numpy_helper.from_array(array.astype(np.float32) if wide else array, name)
