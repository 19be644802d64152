"""RNN, GRU and LSTM, unrolled over the steps of their sequence into products and activations.

Inside, arrays are (batch, step, ...), so that the pictures of a batch stay on axis 0 in both layouts of ONNX. The inputs
of all steps and directions are projected in one product; each step adds the product of its state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradcam.graph.builder import Builder
from gradcam.graph.ir import Shape, Value
from gradcam.graph.onnx_form import Inputs, OnnxNode, Unsupported, onnx_form

MAX_STEPS = 4096
"""Most steps, over all directions, that are unrolled: each is some twenty nodes, and as many again for the gradient."""

Activation = Callable[[Builder, Value], Value]
State = tuple[Value, ...]


# Activations ---------------------------------------------------------------------------------------------------------

_UNARY = {name.lower(): name for name in ("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus")}
_SCALED: dict[str, tuple[str, tuple[float, ...]]] = {  # alpha and beta where none is given
    "affine": ("Affine", (1.0, 0.0)),
    "leakyrelu": ("LeakyRelu", (0.01,)),
    "thresholdedrelu": ("ThresholdedRelu", (1.0,)),
    "scaledtanh": ("ScaledTanh", (1.0, 1.0)),
    "hardsigmoid": ("HardSigmoid", (0.2, 0.5)),
    "elu": ("Elu", (1.0,)),
}


def _activation(op: str, alpha: float, beta: float, clip: float) -> Activation:
    """Return the function that emits an activation of an input limited to [-clip, clip]."""

    def emit(g: Builder, x: Value) -> Value:
        if np.isfinite(clip):
            x = g.emit("Clip", x, alpha=-clip, beta=clip)
        if op == "ScaledTanh":
            return g.scale(g.emit("Tanh", g.scale(x, beta), alpha=0.0, beta=0.0), alpha)
        return g.emit(op, x, alpha=alpha, beta=beta)

    return emit


def _activations(node: OnnxNode, defaults: tuple[str, ...], directions: int) -> list[list[Activation]]:
    """Return the activations of each direction; those that have an alpha or a beta take the next one of its list."""
    names = [str(name).lower() for name in node.attrs.get("activations", ())] or [name.lower() for name in defaults] * directions
    if len(names) != len(defaults) * directions:
        raise node.bad(f"attribute 'activations': expected {len(defaults) * directions} names, got {len(names)}")
    clip = float(node.attrs.get("clip", np.inf))
    if not clip >= 0:
        raise node.bad(f"attribute 'clip': expected a number of at least 0, got {clip}")
    given = [_numbers(node, "activation_alpha"), _numbers(node, "activation_beta")]
    found = []
    for name in names:
        if name not in _UNARY and name not in _SCALED:
            raise Unsupported(f"activation '{name}'")
        op, standard = _SCALED.get(name) or (_UNARY[name], ())
        values = [next(given[i], number) for i, number in enumerate(standard)] + [0.0, 0.0]
        found.append(_activation(op, values[0], values[1], clip))
    return [found[i : i + len(defaults)] for i in range(0, len(found), len(defaults))]


def _numbers(node: OnnxNode, name: str) -> Iterator[float]:
    return iter([float(v) for v in node.attrs.get(name, ())])


# Operands ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Layer:
    """Checked operands of a node; `x` is (batch, steps, features)."""

    node: OnnxNode
    inputs: Inputs
    g: Builder
    x: Value
    gates: int
    hidden: int
    reverse: tuple[bool, ...]

    @property
    def batch_first(self) -> bool:
        """Layout 1 of ONNX."""
        return bool(self.node.attrs.get("layout", 0))

    def weights(self, index: int, shape: Shape) -> Value:
        """Return weights of all directions after a look at their shape."""
        value = self.node.required(self.inputs, index)
        if value.shape != shape:
            raise self.node.bad(f"input {index}: expected shape {shape}, got {value.shape}")
        return value

    def row(self, value: Value, direction: int) -> Value:
        """Return the part of one direction, without that axis."""
        return self.g.reshape(self.g.part(value, 0, direction, 1), value.shape[1:])

    def biases(self, direction: int) -> tuple[Value, Value] | None:
        """Return the biases of the input and of the state, (gates * hidden,) each."""
        if self.node.optional(self.inputs, 3) is None:
            return None
        size = self.gates * self.hidden
        both = self.row(self.weights(3, (len(self.reverse), 2 * size)), direction)
        return self.g.part(both, 0, 0, size), self.g.part(both, 0, size, size)

    def initial(self, index: int, direction: int) -> Value:
        """Return a state before the first step, (batch, hidden) or, equal for all of the batch, (1, hidden)."""
        given, batch, g = self.node.optional(self.inputs, index), self.x.shape[0], self.g
        if given is None:
            return g.constant(np.zeros((1, self.hidden), g.real))
        axis = 0 if self.batch_first else 1
        if len(given.shape) == 3 and given.shape[axis] != batch and _same_along(given.data, axis):
            batch = given.shape[axis]  # the size of the batch in the file, which the model may be run without
        directions = len(self.reverse)
        state = self.weights(index, (batch, directions, self.hidden) if self.batch_first else (directions, batch, self.hidden))
        state = g.reshape(g.part(state, 1 - axis, direction, 1), (batch, self.hidden))
        return g.part(state, 0, 0, 1) if _same_along(state.data, 0) else state

    def lengths(self) -> NDArray[np.int64] | None:
        """Return the length of every sequence of the batch, or None if all have all steps."""
        if self.node.optional(self.inputs, 4) is None:
            return None
        lengths = self.node.array(self.inputs, 4).astype(np.int64)
        batch, steps = self.x.shape[:2]
        if lengths.size and lengths.ndim == 1 and len(lengths) != batch and _same_along(lengths, 0):
            lengths = np.repeat(lengths[:1], batch)
        if lengths.shape != (batch,) or lengths.min(initial=0) < 0 or lengths.max(initial=0) > steps:
            raise self.node.bad(f"input 4: expected {batch} lengths from 0 to {steps}, got {lengths.tolist()}")
        return None if bool((lengths == steps).all()) else lengths


def _same_along(data: NDArray[np.generic] | None, axis: int) -> bool:
    """Whether a constant is the same at all indices of an axis."""
    return data is not None and data.shape[axis] > 0 and bool((data == np.take(data, [0], axis)).all())


def _layer(node: OnnxNode, inputs: Inputs, g: Builder, gates: int) -> _Layer:
    x, recurrence = node.required(inputs, 0), node.required(inputs, 2)
    direction = node.attrs.get("direction", "forward")
    reverse = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(str(direction))
    if reverse is None:
        raise node.bad(f"attribute 'direction': expected forward, reverse or bidirectional, got '{direction}'")
    if len(x.shape) != 3 or len(recurrence.shape) != 3 or 0 in x.shape or 0 in recurrence.shape:
        raise node.bad(f"expected a sequence and weights of 3 axes, none empty, got {x.shape} and {recurrence.shape}")
    hidden = recurrence.shape[2]
    if int(node.attrs.get("hidden_size", hidden)) != hidden:
        raise node.bad(f"attribute 'hidden_size': expected {hidden} as in the weights, got {node.attrs['hidden_size']}")
    if not node.attrs.get("layout", 0):
        x = g.transpose(x, (1, 0, 2))
    if x.shape[1] * len(reverse) > MAX_STEPS:
        raise Unsupported(f"{x.shape[1]} steps in {len(reverse)} directions are more than the {MAX_STEPS} that are unrolled")
    layer = _Layer(node, inputs, g, x, gates, hidden, reverse)
    layer.weights(1, (len(reverse), gates * hidden, x.shape[2]))
    layer.weights(2, (len(reverse), gates * hidden, hidden))
    return layer


# Unrolling -----------------------------------------------------------------------------------------------------------

Cell = Callable[[Value, State], State]
"""From the projected input (batch, gates * hidden) and the state before a step to the state after it; the first is h."""


def _projections(layer: _Layer, added: list[Value | None]) -> list[Value]:
    """Return the projected inputs (batch, steps, gates * hidden) of each direction; `added` has their biases."""
    g, weights = layer.g, layer.node.required(layer.inputs, 1)
    count, size, features = weights.shape
    projected = g.emit("MatMul", layer.x, g.reshape(weights, (count * size, features)), trans_a=False, trans_b=True)
    parts = [g.part(projected, 2, i * size, size) for i in range(count)]
    return [part if bias is None else g.add(part, bias) for part, bias in zip(parts, added, strict=True)]


def _steps(g: Builder, x: Value, reverse: bool) -> Iterator[Value]:
    """Yield x (batch, steps, size) step by step, cut off when it is asked for.

    Halves of halves: the gradient of a slice is as large as what it was cut from, so cutting each step from the whole
    would make the work of the gradient grow with the square of the length.
    """
    count = x.shape[1]
    if count == 1:
        yield g.reshape(x, (x.shape[0], x.shape[2]))
        return
    half = count // 2
    parts = [(0, half), (half, count - half)]
    for start, size in reversed(parts) if reverse else parts:
        yield from _steps(g, g.part(x, 1, start, size), reverse)


@dataclass(slots=True)
class _Stack:
    """Joins steps along axis 1 as they come: pieces of equal length at once, so that few are kept apart."""

    g: Builder
    reverse: bool
    pieces: list[tuple[int, Value]] = field(default_factory=list)

    def push(self, step: Value) -> None:
        """Add a step (batch, size)."""
        length, piece = 1, self.g.reshape(step, (step.shape[0], 1, step.shape[1]))
        while self.pieces and self.pieces[-1][0] == length:
            piece = self._joined(self.pieces.pop()[1], piece)
            length *= 2
        self.pieces.append((length, piece))

    def whole(self) -> Value:
        """Return all steps in the order of their time."""
        _, result = self.pieces[-1]
        for _, piece in reversed(self.pieces[:-1]):
            result = self._joined(piece, result)
        return result

    def _joined(self, before: Value, after: Value) -> Value:
        return self.g.emit("Concat", *((after, before) if self.reverse else (before, after)), axis=1)


def _unroll(layer: _Layer, projected: Value, state: State, cell: Cell, reverse: bool) -> tuple[Value, State]:
    """Return h of all steps (batch, steps, hidden) and the last state."""
    g, (batch, steps, _), lengths = layer.g, layer.x.shape, layer.lengths()
    stack, nothing = _Stack(g, reverse), g.constant(np.zeros((batch, layer.hidden), g.real))
    times = range(steps - 1, -1, -1) if reverse else range(steps)
    for t, x in zip(times, _steps(g, projected, reverse), strict=True):
        alive = np.ones(batch, bool) if lengths is None else lengths > t
        if not alive.any():
            stack.push(nothing)
            continue
        after = cell(x, state)
        if alive.all():
            state = after
            stack.push(after[0])
        else:
            on, off = (g.constant(mask.astype(g.real)[:, None]) for mask in (alive, ~alive))
            stack.push(g.mul(after[0], on))
            state = tuple(g.add(g.mul(new, on), g.mul(old, off)) for new, old in zip(after, state, strict=True))
    return stack.whole(), state


def _run(layer: _Layer, added: list[Value | None], initial: list[State], cells: list[Cell]) -> list[Value]:
    """Run all directions and stack what they give: Y, Y_h and, for an LSTM, Y_c."""
    g, (batch, steps), directions = layer.g, layer.x.shape[:2], len(layer.reverse)
    projected = _projections(layer, added)
    found = [_unroll(layer, *each) for each in zip(projected, initial, cells, layer.reverse, strict=True)]
    sequences = [g.reshape(y, (batch, steps, 1, layer.hidden)) for y, _ in found]
    y = sequences[0] if directions == 1 else g.emit("Concat", *sequences, axis=2)
    results = [y if layer.batch_first else g.transpose(y, (1, 2, 0, 3))]
    for values in zip(*(state for _, state in found), strict=True):
        parts = [g.reshape(g.expand(v, (batch, layer.hidden)), (batch, 1, layer.hidden)) for v in values]
        last = parts[0] if directions == 1 else g.emit("Concat", *parts, axis=1)
        results.append(last if layer.batch_first else g.transpose(last, (1, 0, 2)))
    return results


def _sum(g: Builder, pair: tuple[Value, Value] | None) -> Value | None:
    return None if pair is None else g.add(*pair)


def _product(g: Builder, h: Value, recurrence: Value) -> Value:
    return g.emit("MatMul", h, recurrence, trans_a=False, trans_b=True)


# Cells ---------------------------------------------------------------------------------------------------------------


@onnx_form("RNN")
def rnn(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """Simple units: h = f(x W' + h R' + b) (Elman 1990)."""
    layer = _layer(node, inputs, g, 1)
    count = len(layer.reverse)

    def cell(direction: int, f: Activation) -> Cell:
        recurrence = layer.row(layer.node.required(inputs, 2), direction)
        return lambda x, state: (f(g, g.add(x, _product(g, state[0], recurrence))),)

    cells = [cell(i, *functions) for i, functions in enumerate(_activations(node, ("Tanh",), count))]
    return _run(layer, [_sum(g, layer.biases(i)) for i in range(count)], [(layer.initial(5, i),) for i in range(count)], cells)


@onnx_form("GRU")
def gru(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """Gated units (Cho et al. 2014): h = (1 - z) k + z h, gates in the order z, r, k.

    `linear_before_reset` resets the state's part of k after its product, not the state before it.
    """
    layer = _layer(node, inputs, g, 3)
    count = len(layer.reverse)
    late = bool(node.attrs.get("linear_before_reset", 0))
    functions = _activations(node, ("Sigmoid", "Tanh"), count)
    added: list[Value | None] = []
    for i in range(count):
        pair = layer.biases(i)
        added.append(_sum(g, pair) if pair is None or not late else _late_bias(g, *pair, layer.hidden))
    cells = [_gru_cell(layer, i, *functions[i], late=late) for i in range(count)]
    return _run(layer, added, [(layer.initial(5, i),) for i in range(count)], cells)


def _late_bias(g: Builder, own: Value, recurrent: Value, hidden: int) -> Value:
    """Biases that can be added to the input if the state's bias of the candidate is reset with its product."""
    kept = g.part(recurrent, 0, 0, 2 * hidden)
    return g.add(own, g.emit("Concat", kept, g.constant(np.zeros(hidden, g.real)), axis=0))


def _gru_cell(layer: _Layer, direction: int, f: Activation, h: Activation, *, late: bool) -> Cell:
    g, size = layer.g, layer.hidden
    recurrence, pair = layer.row(layer.node.required(layer.inputs, 2), direction), layer.biases(direction)
    gates, candidate = g.part(recurrence, 0, 0, 2 * size), g.part(recurrence, 0, 2 * size, size)
    bias = None if pair is None else g.part(pair[1], 0, 2 * size, size)

    def cell(x: Value, state: State) -> State:
        before = state[0]
        product = _product(g, before, recurrence if late else gates)
        both = f(g, g.add(g.part(x, 1, 0, 2 * size), g.part(product, 1, 0, 2 * size)))
        z, r = g.part(both, 1, 0, size), g.part(both, 1, size, size)
        if late:
            inner = g.part(product, 1, 2 * size, size)
            inner = g.mul(r, inner if bias is None else g.add(inner, bias))
        else:
            inner = _product(g, g.mul(r, before), candidate)
        new = h(g, g.add(g.part(x, 1, 2 * size, size), inner))
        return (g.add(new, g.mul(z, g.sub(before, new))),)

    return cell


@onnx_form("LSTM")
def lstm(node: OnnxNode, inputs: Inputs, g: Builder) -> list[Value]:
    """Long short-term memory (Hochreiter and Schmidhuber 1997): c = f c + i k, h = o tanh(c).

    Gates in the order i, o, f, k, peepholes in the order i, o, f; `input_forget` makes f = 1 - i.
    """
    layer = _layer(node, inputs, g, 4)
    count = len(layer.reverse)
    functions = _activations(node, ("Sigmoid", "Tanh", "Tanh"), count)
    initial: list[State] = [(layer.initial(5, i), layer.initial(6, i)) for i in range(count)]
    cells = [_lstm_cell(layer, i, *functions[i]) for i in range(count)]
    return _run(layer, [_sum(g, layer.biases(i)) for i in range(count)], initial, cells)


def _lstm_cell(layer: _Layer, direction: int, f: Activation, k: Activation, h: Activation) -> Cell:
    g, size, coupled = layer.g, layer.hidden, bool(layer.node.attrs.get("input_forget", 0))
    recurrence = layer.row(layer.node.required(layer.inputs, 2), direction)
    peepholes: list[Value | None] = [None] * 3
    if layer.node.optional(layer.inputs, 7) is not None:
        row = layer.row(layer.weights(7, (len(layer.reverse), 3 * size)), direction)
        peepholes = [g.part(row, 0, i * size, size) for i in range(3)]

    def gate(sums: Value, index: int, c: Value) -> Value:
        x, peephole = g.part(sums, 1, index * size, size), peepholes[index]
        return f(g, x if peephole is None else g.add(x, g.mul(peephole, c)))

    def cell(x: Value, state: State) -> State:
        before, c = state
        sums = g.add(x, _product(g, before, recurrence))
        i = gate(sums, 0, c)
        new = g.mul(i, k(g, g.part(sums, 1, 3 * size, size)))
        c = g.add(new, g.sub(c, g.mul(i, c)) if coupled else g.mul(gate(sums, 2, c), c))
        return g.mul(gate(sums, 1, c), h(g, c)), c

    return cell
