"""The slow oracle: what a line holds and what the notebook makes of it, in plain Python. Never shipped."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

Drawing = list[list[list[int]]]


def drawings(data: bytes) -> list[dict]:
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
