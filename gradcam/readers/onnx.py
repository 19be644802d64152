"""ONNX files. The content is never trusted: every size and name is checked before memory is taken for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcam.errors import MemoryBudgetError, ModelFormatError, UnsupportedOpError, nearest, require
from gradcam.graph.module_paths import module_paths
from gradcam.graph.onnx_form import Body, OnnxNode
from gradcam.graph.source import Dim, InputSpec, Source
from gradcam.readers.file import read_file

__all__ = ["read_onnx"]

MAX_COUNT = 100_000
"""Most nodes and most tensors of a file."""

_TOGETHER = {"int4": 2, "uint4": 2, "float4_e2m1fn": 2, "int2": 4, "uint2": 4}
"""Numbers of less than a byte: how many share one."""


def read_onnx(source: str | os.PathLike[str] | bytes, *, outputs: Sequence[str] | None = None, max_bytes: int | None = 2**32) -> Source:
    """Read an ONNX model.

    Parameters
    ----------
    source : path or bytes
        The file, or its content (then without external data).
    outputs : sequence of str, optional
        Tensors to regard as the model's outputs; what only others need is not read.
    max_bytes : int, optional
        Most bytes that the file, its external data and its weights may take; None for no cap.

    Raises
    ------
    ModelFormatError
        The content is not a well-formed model.
    UnsupportedOpError
        Tensor types or opsets that gradcam does not read.
    MemoryBudgetError
        It needs more than `max_bytes`.
    """
    onnx = require("onnx", "onnx")
    path = None if isinstance(source, bytes) else Path(source)
    content = source if isinstance(source, bytes) else read_file("load", Path(source), max_bytes)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf has its own hierarchy
        raise ModelFormatError("this is no ONNX model", path=path) from error
    return _Reader(onnx, model, path, max_bytes, len(content)).read(outputs)


class _Reader:
    """One model on its way from protobuf to a Source."""

    def __init__(self, onnx: Any, model: Any, path: Path | None, max_bytes: int | None, used: int) -> None:
        self.onnx, self.model, self.graph, self.path, self.max_bytes, self.used = onnx, model, model.graph, path, max_bytes, used
        self.opset, self.count = 0, 0

    def error(self, text: str, where: str | None = None) -> ModelFormatError:
        return ModelFormatError(text, path=self.path, where=where)

    def read(self, outputs: Sequence[str] | None) -> Source:
        """Return the source."""
        graph = self.graph
        if not graph.node or not graph.output:
            raise self.error("this is no ONNX model, or one without nodes or outputs")
        if len(graph.node) > MAX_COUNT or len(graph.initializer) > MAX_COUNT:
            raise self.error(f"more than {MAX_COUNT} nodes or tensors")
        self.opset = self._opset()
        nodes = self._sorted([self._node(n) for n in graph.node])
        initializers = self._initializers(self._needed(nodes, outputs))
        given = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
        inputs = [self._input(v) for v in graph.input if v.name not in given]
        for spec in inputs:
            if sum(other.name == spec.name for other in inputs) > 1:
                raise self.error(f"input '{spec.name}' is given twice", spec.name)
        names = list(outputs) if outputs is not None else [v.name for v in graph.output]
        known = [o for n in nodes for o in n.outputs]
        for name in names:
            if name not in known and name not in initializers and all(name != spec.name for spec in inputs):
                raise self.error(f"outputs: no tensor is called '{name}'; nearest: {', '.join(nearest(name, known))}", name)
        metadata = {p.key: p.value for p in self.model.metadata_props}
        source = Source(nodes, initializers, inputs, names, metadata, str(self.path) if self.path else None, self.max_bytes)
        used = {i for n in source.needed(names) for i in n.reads}
        source.inputs = [spec for spec in inputs if spec.name in used or spec.name in names] or inputs
        return source

    def _opset(self) -> int:
        versions = {imported.domain: imported.version for imported in self.model.opset_import}
        version = int(versions.get("", versions.get("ai.onnx", 1 if self.model.ir_version < 3 else 0)))
        newest = self.onnx.defs.onnx_opset_version()
        if not 7 <= version <= newest:
            raise UnsupportedOpError([f"opset {version}: gradcam reads opsets 7 to {newest}"])
        return version

    # Nodes -------------------------------------------------------------------------------------------------------

    def _node(self, node: Any) -> OnnxNode:
        attrs: dict[str, Any] = {}
        for attribute in node.attribute:
            attrs[attribute.name] = self._attribute(node, attribute)
        metadata = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), None)
        scopes = module_paths(node.name, metadata)
        return OnnxNode(node.op_type, node.name, node.domain, self.opset, tuple(node.input), tuple(node.output), attrs, scopes)

    def _attribute(self, node: Any, attribute: Any) -> Any:
        kinds = self.onnx.AttributeProto
        where = node.name or node.op_type
        if attribute.type == kinds.INT:
            return int(attribute.i)
        if attribute.type == kinds.FLOAT:
            return float(attribute.f)
        if attribute.type == kinds.STRING:
            return attribute.s.decode("utf-8", "replace")
        if attribute.type == kinds.INTS:
            return tuple(int(v) for v in attribute.ints)
        if attribute.type == kinds.FLOATS:
            return tuple(float(v) for v in attribute.floats)
        if attribute.type == kinds.TENSOR:
            return self._tensor(attribute.t, f"attribute '{attribute.name}' of node '{where}'")
        if attribute.type == kinds.STRINGS:
            return tuple(text.decode("utf-8", "replace") for text in attribute.strings)
        if attribute.type == kinds.GRAPH:
            return self._body(attribute.g, f"attribute '{attribute.name}' of node '{where}'")
        return None  # sparse tensors: operators that have them are not run

    def _body(self, graph: Any, where: str) -> Body:
        """A graph inside a node."""
        self.count += len(graph.node) + len(graph.initializer)
        if self.count > MAX_COUNT:
            raise self.error(f"more than {MAX_COUNT} nodes or tensors", where)
        if graph.sparse_initializer:
            raise UnsupportedOpError([f"sparse initializer in {where}"])
        nodes = [self._node(n) for n in graph.node]
        initializers = {t.name: self._tensor(t, f"initializer '{t.name}' in {where}") for t in graph.initializer}
        inputs, outputs = tuple(v.name for v in graph.input), tuple(v.name for v in graph.output)
        own = {*initializers, *inputs, *(name for n in nodes for name in n.outputs)}
        captured = dict.fromkeys(name for n in nodes for name in n.reads if name and name not in own)
        captured |= dict.fromkeys(name for name in outputs if name not in own)
        return Body(nodes, initializers, inputs, outputs, tuple(captured))

    def _sorted(self, nodes: list[OnnxNode]) -> list[OnnxNode]:
        """Topological order (files are sorted; this repairs or refuses the others), names checked."""
        given = {v.name for v in self.graph.input} | {t.name for t in self.graph.initializer}
        producer: dict[str, int] = {}
        for i, node in enumerate(nodes):
            for name in node.outputs:
                if name and (name in producer or name in given):
                    raise self.error(f"{node.label}: tensor '{name}' is computed twice", node.name)
                if name:
                    producer[name] = i
        waiting = [0] * len(nodes)
        readers: dict[int, list[int]] = {}
        for i, node in enumerate(nodes):
            for source in {producer[name] for name in node.reads if name in producer}:
                waiting[i] += 1
                readers.setdefault(source, []).append(i)
        ready = [i for i, count in enumerate(waiting) if count == 0]
        if all(producer.get(name, -1) < i for i, node in enumerate(nodes) for name in node.reads):
            return nodes
        order = []
        while ready:
            i = ready.pop()
            order.append(nodes[i])
            for reader in readers.get(i, ()):
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    ready.append(reader)
        if len(order) != len(nodes):
            raise self.error("the nodes form a cycle")
        return order

    def _needed(self, nodes: list[OnnxNode], outputs: Sequence[str] | None) -> set[str] | None:
        if outputs is None:
            return None
        kept = Source(nodes, {}, [], list(outputs)).needed(outputs)
        return {name for node in kept for name in node.reads} | set(outputs)

    # Inputs and tensors --------------------------------------------------------------------------------------------

    def _input(self, value: Any) -> InputSpec:
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type"):
            raise UnsupportedOpError([f"input '{value.name}' is no tensor"])
        real = (self.onnx.TensorProto.FLOAT, self.onnx.TensorProto.FLOAT16, self.onnx.TensorProto.DOUBLE, self.onnx.TensorProto.BFLOAT16)
        if kind.elem_type not in real:
            raise UnsupportedOpError([f"input '{value.name}' holds {self._type_name(kind.elem_type)}, not real numbers"])
        if not kind.HasField("shape"):
            raise UnsupportedOpError([f"input '{value.name}' has no declared rank"])
        dims: list[Dim] = []
        for i, dim in enumerate(kind.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                dims.append(int(dim.dim_value))
            elif dim.HasField("dim_value") and dim.dim_value < -1:
                raise self.error(f"input '{value.name}': negative size {dim.dim_value}", value.name)
            else:
                dims.append(dim.dim_param or f"axis{i}")
        return InputSpec(value.name, tuple(dims))

    def _type_name(self, code: int) -> str:
        names = self.onnx.TensorProto.DataType
        return str(names.Name(code)).lower() if code in names.values() else f"type {code}"

    def _initializers(self, wanted: set[str] | None) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        if self.graph.sparse_initializer:
            raise UnsupportedOpError([f"sparse initializer '{t.values.name}'" for t in self.graph.sparse_initializer])
        for tensor in self.graph.initializer:
            if tensor.name in arrays:
                raise self.error(f"initializer '{tensor.name}' is given twice", tensor.name)
            if wanted is None or tensor.name in wanted:
                arrays[tensor.name] = self._tensor(tensor, f"initializer '{tensor.name}'")
        return arrays

    def _tensor(self, tensor: Any, where: str) -> NDArray[Any]:
        """Decode a tensor after checking that it carries what it declares.

        float16 and bfloat16 are widened; numbers of 2, 4 and 8 bits stay what they are.
        """
        onnx, types = self.onnx, self.onnx.TensorProto
        dims = tuple(int(n) for n in tensor.dims)
        if any(n < 0 for n in dims):
            raise self.error(f"{where}: negative size in {dims}", where)
        try:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        except (KeyError, TypeError, ValueError):
            raise self.error(f"{where}: unknown type code {tensor.data_type}", where) from None
        if tensor.data_type == types.STRING or dtype.kind not in "fiubV":
            raise UnsupportedOpError([f"{where} holds {self._type_name(tensor.data_type)}"])
        together = _TOGETHER.get(dtype.name, 1)
        count = -(-prod(dims) // together)
        need = count * dtype.itemsize
        if self.max_bytes is not None and self.used + need * together > self.max_bytes:
            raise MemoryBudgetError(f"load: {where} of {need} bytes goes beyond max_bytes={self.max_bytes}")
        external = tensor.data_location == types.EXTERNAL
        if external or tensor.HasField("raw_data"):
            raw = self._external(tensor, need, where) if external else tensor.raw_data  # a copy each time it is asked for
            self._check_count(tensor, len(raw), need, where)
            if together > 1:
                array = onnx.numpy_helper.to_array(types(data_type=tensor.data_type, dims=dims, raw_data=raw))
            else:
                array = np.frombuffer(raw, dtype.newbyteorder("<") if dtype.kind != "V" else dtype).reshape(dims)
        else:
            fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
            self._check_count(tensor, sum(len(getattr(tensor, name)) for name in fields), count, where)
            try:
                array = onnx.numpy_helper.to_array(tensor)
            except (TypeError, ValueError) as error:
                raise self.error(f"{where}: {error}", where) from error
        self.used += need * together
        if array.dtype.itemsize == 1:
            return np.ascontiguousarray(array).reshape(dims)
        if tensor.data_type in (types.FLOAT16, types.BFLOAT16):
            array = array.astype(np.float32)
        if array.dtype.kind == "f" and array.size and np.isnan(array.max()):
            raise self.error(f"{where} holds NaN", where)
        return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(dims)

    def _check_count(self, tensor: Any, carried: int, wanted: int, where: str) -> None:
        if carried != wanted:
            raise self.error(f"{where}: declares {tuple(tensor.dims)}, hence {wanted} bytes or numbers, but carries {carried}", where)

    def _external(self, tensor: Any, need: int, where: str) -> bytes:
        """Bytes from a regular file inside the model's folder."""
        if self.path is None:
            raise self.error(f"{where}: external data cannot be read when the model is given as bytes", where)
        entries = {e.key: e.value for e in tensor.external_data}
        if set(entries) - {"location", "offset", "length", "checksum"}:
            raise self.error(f"{where}: unknown external data key in {sorted(entries)}", where)
        location = entries.get("location", "")
        folder = self.path.resolve().parent
        target = folder / location.replace("\0", "")
        if not location or "\0" in location or os.path.isabs(location) or ".." in Path(location).parts or target.resolve() != target:
            raise self.error(f"{where}: external data must be a plain file inside the model's folder, not '{location}'", where)
        try:
            offset, length = int(entries.get("offset", "0") or 0), int(entries.get("length", need) or need)
        except ValueError:
            raise self.error(f"{where}: offset and length of external data must be numbers", where) from None
        if offset < 0 or length != need:
            raise self.error(f"{where}: external data of {length} bytes at {offset}, but the tensor needs {need}", where)
        try:
            descriptor = os.open(target, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            raise self.error(f"{where}: external data '{location}' cannot be opened: {error.strerror}", where) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise self.error(f"{where}: external data '{location}' is not a plain file of its own", where)
            if offset > status.st_size or need > status.st_size - offset:
                raise self.error(f"{where}: external data '{location}' ends before {offset} + {need} bytes", where)
            data = os.pread(descriptor, need, offset) if need < 2**30 else _pread_all(descriptor, need, offset)
        finally:
            os.close(descriptor)
        if len(data) != need:
            raise self.error(f"{where}: external data '{location}' could not be read whole", where)
        return data


def _pread_all(descriptor: int, size: int, offset: int) -> bytes:
    """Read more than one system call gives."""
    parts = []
    while size:
        part = os.pread(descriptor, min(size, 2**30), offset)
        if not part:
            break
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)
