"""Which instructions the kernels use: the best that this CPU has, or those that ``$QDFAST_SIMD`` names."""

from __future__ import annotations

import os

from ._core import LEVELS, best_level
from .errors import DataError

VARIABLE = "QDFAST_SIMD"


def level() -> int:
    """The index into ``LEVELS`` that kernels shall use. It changes their speed, never their results.

    Raises:
        DataError: ``$QDFAST_SIMD`` is not the name of a level, or this CPU does not have it.
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
