"""Statistics of deltas: exact integer sums, so that merging is exact too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DeltaStats:
    """Number of steps, Σ and Σ² of (dx, dy) over them, in coordinate units; ``a + b`` merges without rounding."""

    n: int = 0
    sum: tuple[int, int] = (0, 0)
    sum_sq: tuple[int, int] = (0, 0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 (2,): mean of dx and dy; 0 of no steps."""
        return np.array([s / self.n if self.n else 0.0 for s in self.sum])

    @property
    def std(self) -> NDArray[np.float64]:
        """float64 (2,): population standard deviation of dx and dy; 1 where all steps are equal.

        From the integers, in one rounding: no cancellation however many steps there are.
        """
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
        """The statistics of all ``parts`` together."""
        return sum(parts, cls())

    @classmethod
    def from_row(cls, row: NDArray[np.int64]) -> DeltaStats:
        """From one row of the kernel's sums: n, Σdx, Σdy, Σdx², Σdy²."""
        n, sx, sy, qx, qy = (int(v) for v in row)
        return cls(n, (sx, sy), (qx, qy))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; ``from_dict`` is its inverse."""
        return {"n": self.n, "sum": list(self.sum), "sum_sq": list(self.sum_sq)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> DeltaStats:
        """The inverse of ``to_dict``."""
        (sx, sy), (qx, qy) = d["sum"], d["sum_sq"]
        return cls(int(d["n"]), (int(sx), int(sy)), (int(qx), int(qy)))
