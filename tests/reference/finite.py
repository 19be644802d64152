"""Channels with NaN or infinity, found and left out by loops: numbers [k][x] of C channels at n positions."""

from __future__ import annotations

import math

import numpy as np


def mask(*arrays):
    found = np.zeros(len(arrays[0]))
    for array in arrays:
        for k, channel in enumerate(array):
            for value in channel:
                if not math.isfinite(value):
                    found[k] = 1
    return found


def drop(array, dropped):
    kept = np.zeros_like(array)
    for k, channel in enumerate(array):
        for x, value in enumerate(channel):
            if not dropped[k]:
                kept[k, x] = value
    return kept
