"""Which instructions the kernels use: the best this CPU has, or what ``$QDFAST_SIMD`` says."""

from __future__ import annotations

import os

from ._core import LEVELS, best_level
from .errors import DataError

VARIABLE = "QDFAST_SIMD"


def level() -> int:
    """The index into ``LEVELS`` to work with. It changes the speed, never a result.

    Raises:
        DataError: ``$QDFAST_SIMD`` is no level, or one that this CPU has not.
    """
    best = best_level()
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return best
    if wanted not in LEVELS:
        raise DataError(f"{VARIABLE} is {wanted!r}: it must be one of {', '.join(LEVELS)}")
    if (chosen := LEVELS.index(wanted)) > best:
        raise DataError(f"{VARIABLE} is {wanted!r}: the best that this CPU and build have is {LEVELS[best]}")
    return chosen
