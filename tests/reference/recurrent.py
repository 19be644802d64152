"""RNN, GRU and LSTM of ONNX in float64: one picture, one direction, one step at a time."""

import math

import numpy as np

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
FUNCTIONS = {  # name: (f(x, alpha, beta), default alpha, default beta); None where it has none
    "Relu": (lambda x, a, b: max(x, 0.0), None, None),
    "Tanh": (lambda x, a, b: math.tanh(x), None, None),
    "Sigmoid": (lambda x, a, b: 1 / (1 + math.exp(-x)), None, None),
    "Affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "LeakyRelu": (lambda x, a, b: x if x >= 0 else a * x, 0.01, None),
    "ThresholdedRelu": (lambda x, a, b: x if x >= a else 0.0, 1.0, None),
    "ScaledTanh": (lambda x, a, b: a * math.tanh(b * x), 1.0, 1.0),
    "HardSigmoid": (lambda x, a, b: min(max(a * x + b, 0.0), 1.0), 0.2, 0.5),
    "Elu": (lambda x, a, b: x if x >= 0 else a * math.expm1(x), 1.0, None),
    "Softsign": (lambda x, a, b: x / (1 + abs(x)), None, None),
    "Softplus": (lambda x, a, b: math.log1p(math.exp(x)), None, None),
}


def activations(op, directions, names=None, alpha=(), beta=(), clip=math.inf):
    """Functions of every direction; alpha and beta are consumed by those that have them."""
    alpha, beta, found = list(alpha), list(beta), []
    for name in names or DEFAULTS[op] * directions:
        function, a, b = FUNCTIONS[next(n for n in FUNCTIONS if n.lower() == name.lower())]
        a = alpha.pop(0) if a is not None and alpha else a
        b = beta.pop(0) if b is not None and beta else b
        found.append(lambda x, f=function, a=a, b=b: np.array([f(min(max(float(v), -clip), clip), a, b) for v in x]))
    each = len(DEFAULTS[op])
    return [found[i : i + each] for i in range(0, len(found), each)]


def step(op, functions, x, h, c, w, r, wb, rb, p, late, coupled):
    if op == "RNN":
        return functions[0](w @ x + r @ h + wb + rb), c
    n = len(h)
    w, r, wb, rb = (np.split(array, len(array) // n) for array in (w, r, wb, rb))
    if op == "GRU":
        f, g = functions
        z, reset = (f(w[i] @ x + r[i] @ h + wb[i] + rb[i]) for i in (0, 1))
        new = g(w[2] @ x + wb[2] + (reset * (r[2] @ h + rb[2]) if late else r[2] @ (reset * h) + rb[2]))
        return (1 - z) * new + z * h, c
    f, g, out = functions
    i, o, forget, cell = (w[k] @ x + r[k] @ h + wb[k] + rb[k] for k in range(4))
    i, forget = f(i + p[:n] * c), f(forget + p[2 * n :] * c)
    c = (1 - i if coupled else forget) * c + i * g(cell)
    return f(o + p[n : 2 * n] * c) * out(c), c


def run(op, x, w, r, b=None, lengths=None, h0=None, c0=None, p=None, **attrs):
    """Outputs Y, Y_h and, for an LSTM, Y_c."""
    x, directions, n = np.float64(x), w.shape[0], r.shape[2]
    batch_first = attrs.get("layout", 0)
    x = x if batch_first else x.swapaxes(0, 1)
    batch, steps, _ = x.shape
    h0, c0 = (np.zeros((directions, batch, n)) if s is None else s.swapaxes(0, 1) if batch_first else s for s in (h0, c0))
    b = np.zeros((directions, 2 * GATES[op] * n)) if b is None else b
    p = np.zeros((directions, 3 * n)) if p is None else p
    keywords = [attrs.get(name, default) for name, default in (("activation_alpha", ()), ("activation_beta", ()), ("clip", math.inf))]
    functions = activations(op, directions, attrs.get("activations"), *keywords)
    y, y_h, y_c = np.zeros((steps, directions, batch, n)), np.zeros((directions, batch, n)), np.zeros((directions, batch, n))
    for d in range(directions):
        reverse = d == 1 or attrs.get("direction") == "reverse"
        for k in range(batch):
            h, c = np.float64(h0[d, k]), np.float64(c0[d, k])
            length = steps if lengths is None else int(lengths[k])
            for t in reversed(range(length)) if reverse else range(length):
                wb, rb = np.split(np.float64(b[d]), 2)
                options = attrs.get("linear_before_reset", 0), attrs.get("input_forget", 0)
                h, c = step(op, functions[d], x[k, t], h, c, np.float64(w[d]), np.float64(r[d]), wb, rb, np.float64(p[d]), *options)
                y[t, d, k] = h
            y_h[d, k], y_c[d, k] = h, c
    results = [y, y_h, y_c] if op == "LSTM" else [y, y_h]
    if batch_first:
        results = [results[0].transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in results[1:])]
    return results
