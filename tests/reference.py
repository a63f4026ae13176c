"""The slow oracle: what a line holds and what the notebook makes of it, in plain Python. Never shipped."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

Drawing = list[list[list[int]]]
RawDrawing = Sequence[Sequence[Sequence[float]]]


def drawings(data: bytes) -> list[dict[str, Any]]:
    """The objects of all lines that are good beyond doubt (for files known to be good)."""
    return [json.loads(line) for line in data.decode().splitlines()]


def steps(drawing: Drawing) -> list[tuple[int, int, int]]:
    """(dx, dy, pen) of every point: relative to the point before, the first to (0, 0); pen 1 on the last of a stroke."""
    out = []
    last_x = last_y = 0
    for xs, ys in drawing:
        for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
            out.append((x - last_x, y - last_y, 1 if i == len(xs) - 1 else 0))
            last_x, last_y = x, y
    return out


def padded(batch: Sequence[Drawing], max_len: int = 196) -> np.ndarray:
    """float64 (N, max_len, 3): cut from the start, zeros behind the end."""
    out = np.zeros((len(batch), max_len, 3))
    for i, drawing in enumerate(batch):
        for k, step in enumerate(steps(drawing)[:max_len]):
            out[i, k] = step
    return out


def notebook(batch: Sequence[Drawing], max_len: int = 196) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The notebook's input: mean and standard deviation over the steps that are not (0, 0), these standardized, all
    others blanked with their pen. Returns the array (float64), mean (2,), std (2,)."""
    x = padded(batch, max_len)
    real = (x[:, :, 0] != 0) | (x[:, :, 1] != 0)
    mean, std = x[real][:, :2].mean(axis=0), x[real][:, :2].std(axis=0)
    x[:, :, :2] = (x[:, :, :2] - mean) / std
    x[~real] = 0
    return x, mean, std


def hash64(drawing: Drawing) -> int:
    """The hash of a drawing's strokes: splitmix64's finalizer over the stroke lengths and 8 coordinates at a time."""

    def mix(h: int) -> int:
        h &= (1 << 64) - 1
        h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
        h = (h ^ h >> 27) * 0x94D049BB133111EB & (1 << 64) - 1
        return h ^ h >> 31

    h = 0
    for xs, ys in drawing:
        h = mix(h + len(xs))
        for axis in (xs, ys):
            for k in range(0, len(axis), 8):
                h = mix(h + 0x9E3779B97F4A7C15 + int.from_bytes(bytes(axis[k : k + 8]), "little"))
    return mix(h)


def simplify(drawing: RawDrawing) -> Drawing:
    """Google's recipe for one drawing, by every sample and every distance; times are not looked at."""
    low, high = (np.array([f([f(stroke[axis]) for stroke in drawing]) for axis in (0, 1)], float) for f in (min, max))
    unit = 1.0 if (high / 4 - low / 4).max() < 2.0**998 else 2.0**-16  # what would overflow
    size = (high * unit - low * unit).max()
    out = []
    for stroke in drawing:
        points = np.array(stroke[:2], float).T
        points = (points * unit - low * unit) * 255 / size if size else points * 0
        samples = _samples(points)
        out.append(np.rint(samples[_farthest(samples)]).astype(int).T.tolist())
    return out


def _samples(points: np.ndarray) -> np.ndarray:
    """(M, 2): the points at arc lengths 0, 1, 2, ... of the line through ``points`` (N, 2), and its end."""
    steps = np.diff(points, axis=0)
    lengths = np.sqrt(steps[:, 0] ** 2 + steps[:, 1] ** 2)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.arange(1, math.floor(arc[-1]) + 1)
    line = np.searchsorted(arc, at)  # of the points, the first that is not before
    t = ((at - arc[line - 1]) / lengths[line - 1])[:, None]
    return np.concatenate([points[:1], (1 - t) * points[line - 1] + t * points[line], points[-1:]])


def _farthest(samples: np.ndarray, epsilon: float = 2.0) -> list[int]:
    """Ramer-Douglas-Peucker: the numbers of the samples to keep."""
    keep, ranges = {0, len(samples) - 1}, [(0, len(samples) - 1)]
    while ranges:
        first, last = ranges.pop()
        a, inner = samples[first], samples[first + 1 : last]
        dx, dy = samples[last] - a
        length = math.sqrt(Fraction(dx) ** 2 + Fraction(dy * dy))  # the sum rounded once
        away = a - inner
        if length:
            distances = np.abs(dx * away[:, 1] - dy * away[:, 0]) / length
        else:
            distances = np.sqrt(away[:, 0] ** 2 + away[:, 1] ** 2)
        if distances.max(initial=0) > epsilon:
            cut = first + 1 + int(distances.argmax())
            keep.add(cut)
            ranges += [(first, cut), (cut, last)]
    return sorted(keep)
