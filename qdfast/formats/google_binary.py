"""Writes Google's binary format. ``csrc/qd.h`` tells its layout.

Times are whole seconds, and there is no place for the word: it is the name of the file. As in Google's files, a time of
0 is not given; so is a ``recognized`` of 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..drawings import NO_TIMESTAMP, Drawings
from ..errors import DataError

_HEADER = np.dtype(
    [("key_id", "<u8"), ("countrycode", "S2"), ("recognized", "u1"), ("seconds", "<u4"), ("strokes", "<u2")]
)
_MOST = (1 << 16) - 1


def format_binary(drawings: Drawings) -> bytes:
    """The drawings as Google writes them.

    Raises:
        DataError: a drawing of more than 65,535 strokes, or a stroke of more points.
    """
    strokes = np.diff(drawings.drawing_offsets)
    points = np.diff(drawings.stroke_offsets)
    if len(points) and max(strokes.max(), points.max()) > _MOST:
        raise DataError(
            f"a drawing has more than {_MOST:,} strokes, or points in a stroke: Google's format has no room"
        )
    header = np.zeros(len(drawings), _HEADER)
    seconds = np.where(drawings.timestamp == NO_TIMESTAMP, 0, drawings.timestamp // 1_000_000)
    header["seconds"] = np.where((seconds > 0) & (seconds < 1 << 32), seconds, 0)
    header["key_id"], header["countrycode"] = drawings.key_id, drawings.countrycode
    header["recognized"], header["strokes"] = drawings.recognized, strokes

    # Where everything goes: record i starts after all before it, and each stroke after those before it.
    first_points = drawings.stroke_offsets[drawings.drawing_offsets[:-1]]
    first_strokes = drawings.drawing_offsets[:-1]
    record_starts = np.arange(len(drawings)) * _HEADER.itemsize + 2 * first_strokes + 2 * first_points
    of_stroke = np.repeat(np.arange(len(drawings)), strokes)
    stroke_starts = (of_stroke + 1) * _HEADER.itemsize + 2 * np.arange(len(points)) + 2 * drawings.stroke_offsets[:-1]
    out = np.empty(len(drawings) * _HEADER.itemsize + 2 * len(points) + 2 * len(drawings.x), np.uint8)
    _put(out, record_starts, header.view(np.uint8).reshape(-1, _HEADER.itemsize))
    _put(out, stroke_starts, points.astype("<u2").view(np.uint8).reshape(-1, 2))
    x_places = np.repeat(stroke_starts + 2 - drawings.stroke_offsets[:-1], points) + np.arange(len(drawings.x))
    out[x_places] = drawings.x
    out[x_places + np.repeat(points, points)] = drawings.y
    return out.tobytes()


def _put(out: NDArray[np.uint8], starts: NDArray[Any], rows: NDArray[np.uint8]) -> None:
    out[starts[:, None] + np.arange(rows.shape[1])] = rows


def write_binary(path: Path, drawings: Drawings) -> None:
    """Write a file of one class. Errors as for ``format_binary``."""
    path.write_bytes(format_binary(drawings))
