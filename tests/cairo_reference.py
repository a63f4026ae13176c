"""The oracle of bitmaps: Google's recipe drawn by cairo, as published in quickdraw-dataset's issue 19. Never shipped.

Needs the package cairocffi and libcairo 1.16 or older: later ones join round lines differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cairocffi as cairo
import numpy as np

SIDE, LINE, PADDING, CANVAS = 28, 16, 16, 256.0

GOOGLES = cairo.cairo_version() < 11700
"""Whether this cairo draws as the one that Google used."""


def new_context() -> tuple[cairo.ImageSurface, cairo.Context]:
    surface = cairo.ImageSurface(cairo.FORMAT_ARGB32, SIDE, SIDE)
    context = cairo.Context(surface)
    context.set_antialias(cairo.ANTIALIAS_BEST)
    context.set_line_cap(cairo.LINE_CAP_ROUND)
    context.set_line_join(cairo.LINE_JOIN_ROUND)
    context.set_line_width(LINE)
    padding = PADDING * 2.0 + LINE
    context.scale(SIDE / (CANVAS + padding), SIDE / (CANVAS + padding))
    context.translate(padding / 2.0, padding / 2.0)
    return surface, context


def bitmaps(drawings: Iterable[Sequence[Any]]) -> np.ndarray:
    """uint8 (N, 28, 28) of drawings as lists of strokes (xs, ys)."""
    surface, context = new_context()
    out = []
    for strokes in drawings:
        context.set_source_rgb(0, 0, 0)
        context.paint()
        offset = (CANVAS - np.hstack(strokes).max(axis=1)) / 2.0
        context.set_source_rgb(1, 1, 1)
        for stroke in strokes:
            xs, ys = np.asarray(stroke) + offset[:, None]
            context.move_to(xs[0], ys[0])
            for x, y in zip(xs, ys, strict=True):
                context.line_to(x, y)
            context.stroke()
        surface.flush()
        out.append(np.asarray(surface.get_data())[::4].copy().reshape(SIDE, SIDE))
    return np.array(out, np.uint8).reshape(-1, SIDE, SIDE)
