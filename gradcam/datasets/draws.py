"""Random numbers that are the same bits on any machine and with any NumPy.

NumPy promises the stream of a bit generator, not that of every distribution, and a distribution that asks the C library for
a logarithm may round differently elsewhere. So everything is made of raw PCG64 output by arithmetic that IEEE 754 defines exactly.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draws"]

Shape = tuple[int, ...]


class Draws:
    """A stream of random numbers.

    Parameters
    ----------
    *key : int
        Non-negative numbers that name the stream.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, low: float, high: float, shape: Shape) -> NDArray[np.float64]:
        """Return numbers of [low, high)."""
        units = (self._raw(prod(shape)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * units.reshape(shape)

    def below(self, limit: NDArray[np.int64] | int, shape: Shape) -> NDArray[np.int64]:
        """Return integers of [0, limit); `limit` broadcasts."""
        return np.floor(self.uniform(0, 1, shape) * limit).astype(np.int64)

    def chance(self, share: float, shape: Shape) -> NDArray[np.bool_]:
        """Return True in a share of the cases."""
        return self.uniform(0, 1, shape) < share

    def distinct(self, rows: int, count: int, limit: int) -> NDArray[np.int64]:
        """Return `count` different integers of [0, limit) in each row."""
        return np.argsort(self.uniform(0, 1, (rows, limit)), axis=1, kind="stable")[:, :count].astype(np.int64)

    def directions(self, count: int) -> NDArray[np.float64]:
        """Return unit vectors (count, 2): points of a square, brought to the circle without sine and cosine."""
        points = self.uniform(-1, 1, (count, 2))
        length = np.sqrt(points[:, 0] ** 2 + points[:, 1] ** 2)
        return points / np.maximum(length, 2.0**-60)[:, None]

    def turns(self, limit: float, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return cosine and sine of angles whose half has a tangent of at most `limit`."""
        t = self.uniform(-limit, limit, (count,))
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)

    def noise(self, shape: Shape) -> NDArray[np.float32]:
        """Return numbers of mean 0 and standard deviation 1: sums of four random bytes, nearly normal."""
        size = prod(shape)
        octets = self._raw((size + 1) // 2).astype("<u8").view(np.uint8).reshape(-1, 4).astype(np.int16)
        sums = octets[:, 0] + octets[:, 1] + octets[:, 2] + octets[:, 3]
        return ((sums[:size] - np.int16(510)).astype(np.float32) / np.float32(147.8)).reshape(shape)

    def _raw(self, count: int) -> NDArray[np.uint64]:
        return np.asarray(self._bits.random_raw(count), np.uint64)
