"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Node, Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form
from gradcam.graph.operators import Mixes, operator
from gradcam.ops._call import Attributes
from gradcam.ops.blocked import function_code
from gradcam.ops.matmul import FEW_ROWS, matmul_attributes, matmul_shape

if TYPE_CHECKING:
    from gradcam.graph.plan import PlanBuilder


@operator("MatMul", learned=True)
class MatMul:
    """y = op(a) op(b) over broadcast leading axes; `trans_a`, `trans_b` transpose the last two."""

    @staticmethod
    def shape(node: Node) -> Shape:
        a, b = node.input(0), node.input(1)
        return matmul_shape(a.shape, b.shape, node.attrs["trans_a"], node.attrs["trans_b"])

    @staticmethod
    def picture_axis(node: Node, axes: list[int | None]) -> int | None:
        a, b = node.input(0), node.input(1)
        rights = [None if axis is None else axis - len(v.shape) for axis, v in zip(axes, (a, b), strict=True)]
        # Rows of a (columns of b) are independent of each other; its other matrix axis is summed over.
        row = -1 if node.attrs["trans_a"] else -2
        column = -2 if node.attrs["trans_b"] else -1
        found = set()
        for right, own, out in ((rights[0], row, -2), (rights[1], column, -1)):
            if right is not None:
                if right >= -2 and right != own:
                    raise Mixes
                found.add(out if right == own else right)
        for right, other in zip(rights, (b, a), strict=True):
            if right is not None and right < -2 and len(other.shape) >= -right and other.shape[right] != 1 and None in rights:
                raise Mixes
        if len(found) > 1:
            raise Mixes
        return found.pop() + len(node.outputs[0].shape) if found else None

    @staticmethod
    def gradient(node: Node, dy: Value, g: Builder) -> list[Value | None]:
        a, b = node.input(0), node.input(1)
        ta, tb = node.attrs["trans_a"], node.attrs["trans_b"]
        da = db = None
        if a.data is None:
            product = g.emit("MatMul", b, dy, trans_a=tb, trans_b=True) if ta else g.emit("MatMul", dy, b, trans_a=False, trans_b=not tb)
            da = g.sum_to(product, a.shape)
        if b.data is None:
            product = g.emit("MatMul", dy, a, trans_a=True, trans_b=ta) if tb else g.emit("MatMul", a, dy, trans_a=not ta, trans_b=False)
            db = g.sum_to(product, b.shape)
        return [da, db]

    @staticmethod
    def evaluate(node: Node, arrays: list[NDArray[Any] | None]) -> NDArray[Any]:
        a, b = arrays
        assert a is not None
        assert b is not None
        a = np.swapaxes(a, -1, -2) if node.attrs["trans_a"] else a
        return np.asarray(a @ (np.swapaxes(b, -1, -2) if node.attrs["trans_b"] else b))

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        """Rows of finite weights whose factors are 0 are not read: behind a ReLU most of a gradient is."""
        a, b, y = node.input(0), node.input(1), node.outputs[0]
        attributes = matmul_attributes(a.shape, b.shape, trans_a=node.attrs["trans_a"], trans_b=node.attrs["trans_b"])
        live = y.shape[-2] <= FEW_ROWS and not node.attrs["trans_b"] and p.is_finite(b)
        count = y.size * a.shape[-2 if node.attrs["trans_a"] else -1]
        p.step("matmul_live_output" if live else "matmul_output", attributes, node.inputs, node.outputs, products=count)


@operator("Linear", learned=True)
class Linear:
    """f(x W + b + residual) of float32 rows and constant weights, plain on both sides: inputs x, w, b, residual."""

    @staticmethod
    def shape(node: Node) -> Shape:
        x, w = node.input(0), node.input(1)
        return (*x.shape[:-1], w.shape[0 if node.attrs["trans_b"] else 1])

    @staticmethod
    def lower(node: Node, p: PlanBuilder) -> None:
        x, _, b, residual = node.inputs
        w = node.input(1)
        attributes, key = linear_kernel(node)
        packed = p.packed("linear_pack", attributes, w, key)
        p.step("linear_output", attributes, (x, packed, b, residual), node.outputs, products=products(node))


def products(node: Node) -> int:
    """Products of a Linear."""
    return node.input(0).size * node.outputs[0].shape[-1]


def linear_kernel(node: Node) -> tuple[Attributes, tuple[int, ...]]:
    """Attributes of the kernel of a Linear, and what its pack depends on."""
    _, _, b, residual = node.inputs
    w, a, y = node.input(1), node.attrs, node.outputs[0]
    m = y.shape[-1]
    rows, k, transposed = y.size // m, w.size // m, int(a["trans_b"])
    ints = (rows, k, m, transposed, function_code(a["function"]), int(b is not None), int(residual is not None))
    return Attributes(ints, (a["alpha"], a["beta"])), (k, m, transposed)


@onnx_form("MatMul")
def matmul(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """NumPy's rules: a vector gets an axis of 1, which the result loses again."""
    a, b = node.required(inputs, 0), node.required(inputs, 1)
    rank_a, rank_b = len(a.shape), len(b.shape)
    a = g.reshape(a, (1, *a.shape)) if rank_a == 1 else a
    b = g.reshape(b, (*b.shape, 1)) if rank_b == 1 else b
    if a.shape[-1] != b.shape[-2]:
        raise node.bad(f"shapes {a.shape} and {b.shape} cannot be multiplied")
    result = g.emit("MatMul", a, b, trans_a=False, trans_b=False)
    if rank_a == 1 or rank_b == 1:
        kept = result.shape[:-2] + (() if rank_a == 1 else result.shape[-2:-1]) + (() if rank_b == 1 else result.shape[-1:])
        result = g.reshape(result, kept)
    return result


@onnx_form("Gemm")
def gemm(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Y = alpha op(a) op(b) + beta c."""
    a, b, c = node.required(inputs, 0), node.required(inputs, 1), node.optional(inputs, 2)
    ta, tb = bool(node.attrs.get("transA", 0)), bool(node.attrs.get("transB", 0))
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0 if ta else 1] != b.shape[1 if tb else 0]:
        raise node.bad(f"shapes {a.shape} and {b.shape} cannot be multiplied")
    result = g.scale(g.emit("MatMul", a, b, trans_a=ta, trans_b=tb), float(node.attrs.get("alpha", 1.0)))
    if c is None or node.attrs.get("beta", 1.0) == 0:
        return result
    beta = float(node.attrs.get("beta", 1.0))
    c = g.constant(c.data * beta) if c.data is not None and beta != 1 else c if beta == 1 else g.scale(c, beta)
    return g.add(result, c)


MAX_DETERMINANT = 4
"""Largest matrices whose determinant is written out."""


@onnx_form("Det")
def determinant(node: OnnxNode, inputs: Inputs, g: Builder) -> Value:
    """Of the last two axes, expanded along the first row of each minor."""
    x = node.required(inputs, 0)
    n = x.shape[-1] if x.shape else 0
    if n < 1 or len(x.shape) < 2 or x.shape[-2] != n:
        raise node.bad(f"expected square matrices, got {x.shape}")
    if n > MAX_DETERMINANT:
        raise Unsupported(f"determinants of matrices of {n} rows: at most {MAX_DETERMINANT}")
    lead = x.shape[:-2]

    def element(row: int, column: int) -> Value:
        part = g.emit("Slice", x, starts=(*(0 for _ in lead), row, column), steps=(1,) * len(x.shape), sizes=(*lead, 1, 1))
        return g.reshape(part, lead)

    def minor(row: int, columns: tuple[int, ...]) -> Value:
        if len(columns) == 1:
            return element(row, columns[0])
        total = g.mul(element(row, columns[0]), minor(row + 1, columns[1:]))
        for i in range(1, len(columns)):
            term = g.mul(element(row, columns[i]), minor(row + 1, (*columns[:i], *columns[i + 1 :])))
            total = g.sub(total, term) if i % 2 else g.add(total, term)
        return total

    return minor(0, tuple(range(n)))
