"""Plain loops: the part of a map above a share of its maximum, and the box around its largest connected part."""

from __future__ import annotations

import math

import numpy as np


def mask(m, threshold):
    """One map."""
    peak = max([float(v) for v in m.flat if math.isfinite(v)], default=0.0)
    result = np.zeros(m.shape, bool)
    for index, value in np.ndenumerate(m):
        result[index] = peak > 0 and math.isfinite(value) and float(value) > threshold * peak
    return result


def parts(above):
    """Connected parts as lists of positions, in the order of their first positions."""
    left = {index for index, value in np.ndenumerate(above) if value}
    found = []
    for index in np.ndindex(above.shape):
        if index not in left:
            continue
        left.remove(index)
        part, todo = [], [index]
        while todo:
            place = todo.pop()
            part.append(place)
            for axis in range(above.ndim):
                for step in (-1, 1):
                    neighbour = (*place[:axis], place[axis] + step, *place[axis + 1 :])
                    if neighbour in left:
                        left.remove(neighbour)
                        todo.append(neighbour)
        found.append(part)
    return found


def box(m, threshold):
    """One map: start and stop along each axis."""
    best = None
    for part in parts(mask(m, threshold)):
        rank = (len(part), max(float(m[place]) for place in part))
        if best is None or rank > best[0]:
            best = rank, part
    if best is None:
        return [[0, 0]] * m.ndim
    return [[min(place[axis] for place in best[1]), max(place[axis] for place in best[1]) + 1] for axis in range(m.ndim)]
