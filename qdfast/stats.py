"""Statistics of deltas, kept as integer sums so that merging is exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DeltaStats:
    """Statistics of the steps (dx, dy) of drawings. ``a + b`` merges two without rounding.

    Args:
        n: number of steps.
        sum: Σdx and Σdy, in coordinate units.
        sum_sq: Σdx² and Σdy².

    >>> import qdfast
    >>> stats = qdfast.from_strokes([[[[0, 2, 4], [1, 1, 1]]]]).delta_stats()
    >>> stats
    DeltaStats(n=3, sum=(4, 1), sum_sq=(8, 1))
    >>> (stats + stats).n
    6
    """

    n: int = 0
    sum: tuple[int, int] = (0, 0)
    sum_sq: tuple[int, int] = (0, 0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 (2,): mean of dx and dy; 0 if there are no steps."""
        return np.array([s / self.n if self.n else 0.0 for s in self.sum])

    @property
    def std(self) -> NDArray[np.float64]:
        """float64 (2,): population standard deviation of dx and dy; 1 if all steps are equal.

        Computed from the integers with a single rounding, so that nothing cancels however many steps there are.
        """
        from fractions import Fraction

        out = []
        for s, sq in zip(self.sum, self.sum_sq, strict=True):
            variance = Fraction(self.n * sq - s * s, self.n * self.n) if self.n else Fraction(0)
            out.append(sqrt(variance) if variance else 1.0)
        return np.array(out)

    @property
    def count(self) -> int:
        """Number of steps (``n``)."""
        return self.n

    def __add__(self, other: DeltaStats) -> DeltaStats:
        return DeltaStats(
            self.n + other.n,
            (self.sum[0] + other.sum[0], self.sum[1] + other.sum[1]),
            (self.sum_sq[0] + other.sum_sq[0], self.sum_sq[1] + other.sum_sq[1]),
        )

    @classmethod
    def merge(cls, parts: Iterable[DeltaStats]) -> DeltaStats:
        """Merge any number of statistics."""
        n = sx = sy = qx = qy = 0
        for part in parts:
            n += part.n
            sx, sy = sx + part.sum[0], sy + part.sum[1]
            qx, qy = qx + part.sum_sq[0], qy + part.sum_sq[1]
        return cls(n, (sx, sy), (qx, qy))

    @classmethod
    def from_row(cls, row: NDArray[np.int64]) -> DeltaStats:
        """From a row of the kernel's sums: n, Σdx, Σdy, Σdx², Σdy²."""
        n, sx, sy, qx, qy = (int(v) for v in row)
        return cls(n, (sx, sy), (qx, qy))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; ``from_dict`` is its inverse."""
        return {"n": self.n, "sum": list(self.sum), "sum_sq": list(self.sum_sq)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> DeltaStats:
        """The inverse of ``to_dict``. ValueError: no steps have these statistics."""
        n, (sx, sy), (qx, qy) = d["n"], d["sum"], d["sum_sq"]
        if not type(n) is type(sx) is type(sy) is type(qx) is type(qy) is int:
            raise ValueError("statistics of steps that are not integers")
        # A step is within -255 and 255, and no variance is negative.
        if n < 0 or n * qx < sx * sx or n * qy < sy * sy or qx > n * 255**2 or qy > n * 255**2:
            raise ValueError(f"no {n} steps have the sums {sx}, {sy} and the sums of squares {qx}, {qy}")
        return cls(n, (sx, sy), (qx, qy))
