"""Drawings as SVG, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray


def svg(strokes: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]], size: int = 96, title: str = "") -> str:
    """One drawing as an ``<svg>`` element of ``size`` pixels; strokes are lines in the text's colour."""
    lines = [" ".join(f"{a},{b}" for a, b in zip(x.tolist(), y.tolist(), strict=True)) for x, y in strokes]
    body = "".join(f'<polyline points="{points}"/>' for points in lines)
    name = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" viewBox="-8 -8 272 272" fill="none" '
        f'stroke="currentColor" stroke-width="6" stroke-linecap="round" stroke-linejoin="round">{name}{body}</svg>'
    )


def html(
    drawings: Sequence[Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]], titles: Sequence[str], caption: str
) -> str:
    """Drawings in a row, with their names on hovering and a caption below."""
    return "<div>" + "".join(map(svg, drawings, [96] * len(drawings), titles)) + f"<p>{escape(caption)}</p></div>"
