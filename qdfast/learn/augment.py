"""Drawings altered, but still drawings of the same thing: what a network is shown instead of the same ones again.

A drawing may be cut off early, lack a stroke and some points, be mirrored, stretched, sheared, turned, bent and shaken
a little; then it is shifted and scaled to Google's simplified form again (see ``simplify``), which is what a network is
asked about.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

CUT = 0.1  # the share of drawings that is cut off, somewhere in the second half
STROKES = 0.04  # of strokes that are left out, where that leaves half of the points
POINTS = 0.08  # of points that are left out, on average; never the ends of a stroke
MIRRORED = 0.5
SCALE = 0.12  # standard deviations: of the logarithm of width and height,
SHEAR = 0.15
TURN = 0.17  # in radians
BEND = 5.0  # in units of the drawing
SHAKE = 1.5  # of the amount, which is a drawing's own

Floats: TypeAlias = "NDArray[np.floating[Any]]"


def altered(deltas: Floats, lengths: NDArray[np.int32], rng: np.random.Generator) -> tuple[Floats, NDArray[np.int32]]:
    """Raw steps float32 (m, T, 3) and lengths int32 (m,) of drawings to those of variants, which are not longer."""
    steps = np.arange(deltas.shape[1])
    there = steps < lengths[:, None]
    pen = (deltas[..., 2] > 0) & there
    stroke: NDArray[np.int64] = np.cumsum(pen, axis=1) - pen
    keep = there & _kept(there, pen, stroke, lengths, rng)
    order = np.argsort(~keep, axis=1, kind="stable")
    xy = np.take_along_axis(np.cumsum(deltas[..., :2], axis=1), order[..., None], axis=1)
    stroke = np.take_along_axis(stroke, order, axis=1)
    lengths = keep.sum(axis=1, dtype=np.int32)
    there = steps < lengths[:, None]
    xy = _normalized(_distorted(_centred(xy, there), rng), there)
    ends = np.ones_like(there)
    ends[:, :-1] = stroke[:, 1:] != stroke[:, :-1]
    ends[np.arange(len(lengths)), lengths - 1] = True
    moves = np.diff(xy, axis=1, prepend=np.float32(0))
    return np.concatenate([moves, ends[..., None]], axis=2, dtype=np.float32) * there[..., None], lengths


def _kept(
    there: NDArray[np.bool_],
    pen: NDArray[np.bool_],
    stroke: NDArray[np.int64],
    lengths: NDArray[np.int32],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    m, t = there.shape
    shares = np.where(rng.random(m) < CUT, 0.5 + rng.random(m) / 2, 1.0)
    keep = there & (np.arange(t) < np.maximum(np.ceil(lengths * shares), 2)[:, None])
    keep &= np.take_along_axis(rng.random((m, t)) >= STROKES, stroke, axis=1)
    few = keep.sum(axis=1) < np.maximum(0.5 * lengths, 2)
    keep[few] = there[few]
    begins = np.ones_like(pen)
    begins[:, 1:] = pen[:, :-1]
    return keep & (pen | begins | (rng.random((m, t)) >= 2 * POINTS * rng.random((m, 1))))


def _centred(xy: Floats, there: NDArray[np.bool_]) -> Floats:
    low, high = _box(xy, there)
    return xy - (low + high) / 2


def _box(xy: Floats, there: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    far = np.float32(1e6)
    inside = there[..., None]
    low = np.where(inside, xy, far).min(axis=1, keepdims=True)
    return low, np.where(inside, xy, -far).max(axis=1, keepdims=True)


def _distorted(xy: Floats, rng: np.random.Generator) -> Floats:
    m, t = xy.shape[:2]

    def normal(deviation: float) -> Floats:
        drawn = rng.standard_normal((m, 1), np.float32) * np.float32(deviation)
        return drawn.clip(-2.5 * deviation, 2.5 * deviation)

    x, y = xy[..., 0], xy[..., 1]
    for _ in range(2):
        across = rng.standard_normal((m, 2), np.float32) * np.float32(0.02)
        wave = np.sin(across[:, :1] * x + across[:, 1:] * y + 2 * np.pi * rng.random((m, 1), np.float32))
        x, y = x + normal(BEND) * wave, y + normal(BEND) * wave
    mirror = np.where(rng.random((m, 1)) < MIRRORED, -1, 1).astype(np.float32)
    x, y = x * np.exp(normal(SCALE)) * mirror + normal(SHEAR) * y, y * np.exp(normal(SCALE))
    turn = normal(TURN)
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    shake = np.abs(normal(SHAKE))[..., None]
    return np.stack([x, y], axis=-1) + shake * rng.standard_normal((m, t, 2), np.float32)


def _normalized(xy: Floats, there: NDArray[np.bool_]) -> Floats:
    low, high = _box(xy, there)
    size = np.maximum((high - low).max(axis=2, keepdims=True), 20)
    points: Floats = np.rint((xy - low) * (255 / size))
    return points
