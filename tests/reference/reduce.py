"""Reductions as loops over elements, in float64."""

from __future__ import annotations

import math

import numpy as np


def groups(shape, axes):
    """Output index -> indices of the elements that are reduced to it, in row-major order."""
    found = {}
    for index in np.ndindex(*shape):
        kept = tuple(i for axis, i in enumerate(index) if axis not in axes)
        found.setdefault(kept, []).append(index)
    return found


def one(op, values):
    if op in ("sum", "mean"):
        total = 0.0
        for value in values:
            total += value
        return total / len(values) if op == "mean" else total
    best = values[0]
    for value in values:
        if math.isnan(value) or (value > best if op == "max" else value < best):
            best = value
        if math.isnan(best):
            break
    return best


def reduce(op, x, axes):
    y = np.empty([size for axis, size in enumerate(x.shape) if axis not in axes])
    for kept, members in groups(x.shape, axes).items():
        y[kept] = one(op, [float(x[index]) for index in members])
    return y


def reduce_input_grad(op, x, dy, axes):
    dx = np.zeros(x.shape)
    for kept, members in groups(x.shape, axes).items():
        y = one(op, [float(x[index]) for index in members])
        if op in ("sum", "mean"):
            chosen = members
        else:
            chosen = [index for index in members if x[index] == y or (np.isnan(x[index]) and np.isnan(y))]
        for index in chosen:
            dx[index] = dy[kept] if op == "sum" else dy[kept] / len(chosen)
    return dx


def argmax(x, axis):
    y = np.empty([*x.shape[:axis], *x.shape[axis + 1 :]], np.int64)
    for kept in np.ndindex(*y.shape):
        line = x[(*kept[:axis], slice(None), *kept[axis:])]
        best = 0
        for i, value in enumerate(line):
            if np.isnan(line[best]):
                break
            if np.isnan(value) or value > line[best]:
                best = i
        y[kept] = best
    return y


COMPOSED = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")


def composed(op, x, axes, keepdims):
    """ONNX reductions by their definition, one result at a time."""
    formulas = {
        "ReduceL1": lambda values: sum(abs(v) for v in values),
        "ReduceL2": lambda values: math.sqrt(sum(v * v for v in values)),
        "ReduceSumSquare": lambda values: sum(v * v for v in values),
        "ReduceLogSum": lambda values: math.log(sum(values)),
        "ReduceLogSumExp": lambda values: math.log(sum(math.exp(v) for v in values)),
        "ReduceProd": math.prod,
    }
    y = np.empty([size for axis, size in enumerate(x.shape) if axis not in axes])
    for kept, members in groups(x.shape, axes).items():
        y[kept] = formulas[op]([float(x[index]) for index in members])
    return y.reshape([1 if axis in axes else size for axis, size in enumerate(x.shape)]) if keepdims else y
