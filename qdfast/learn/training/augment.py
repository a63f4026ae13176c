"""Random augmentation of stroke drawings, with ``keras.ops``, so that it runs on the network's device.

A drawing may lose its end, strokes and points, and be mirrored, scaled, sheared, rotated, bent and jittered. Then it is
shifted and scaled to Google's simplified form (see ``simplify``), the form of the drawings to be classified.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

CUT = 0.1  # the share of drawings that is cut off, somewhere in the second half
STROKES = 0.04  # of strokes that are left out, where that leaves half of the points
POINTS = 0.08  # of points that are left out, on average; never the ends of a stroke
MIRRORED = 0.5
SCALE = 0.12  # standard deviations: of the logarithm of width and height,
SHEAR = 0.15
TURN = 0.17  # in radians
BEND = 5.0  # in units of the drawing
SHAKE = 1.5  # of the amount, which is a drawing's own


class RandomStrokeAugment(layers.Layer):  # type: ignore[misc]
    """Maps raw deltas float32 (B, T, 3) and lengths int32 (B,) to those of augmented drawings, which are not longer.

    The random numbers depend only on the layer's one variable, the state of its generator.
    """

    generator: Any

    def __init__(self) -> None:
        super().__init__(dtype="float32", name="augment")
        self.generator = keras.random.SeedGenerator(0)

    def call(self, deltas: Any, lengths: Any) -> tuple[Any, Any]:
        batch, count = ops.shape(deltas)[:2]
        number = ops.arange(count, dtype="int32")[None, :]
        there = number < lengths[:, None]
        pen = ops.logical_and(deltas[..., 2] > 0, there)
        stroke = ops.cumsum(ops.cast(pen, "int32"), axis=1) - ops.cast(pen, "int32")
        keep = self._kept(there, pen, stroke, lengths)
        order = ops.argsort(ops.where(keep, number, number + count), axis=1)
        xy = ops.take_along_axis(ops.cumsum(deltas[..., :2], axis=1), order[..., None], axis=1)
        stroke = ops.take_along_axis(stroke, order, axis=1)
        lengths = ops.sum(ops.cast(keep, "int32"), axis=1)
        there = number < lengths[:, None]
        xy = _normalized(self._distorted(_centred(xy, there)), there)
        after = ops.concatenate([stroke[:, 1:], ops.full((batch, 1), -1, dtype=stroke.dtype)], axis=1)
        ends = ops.logical_or(after != stroke, number == lengths[:, None] - 1)
        moves = xy - ops.concatenate([ops.zeros_like(xy[:, :1]), xy[:, :-1]], axis=1)
        steps = ops.concatenate([moves, ops.cast(ends, "float32")[..., None]], axis=2)
        return ops.where(there[..., None], steps, 0.0), lengths

    def _uniform(self, *shape: int) -> Any:
        return keras.random.uniform(shape, seed=self.generator)

    def _normal(self, *shape: int) -> Any:
        return keras.random.normal(shape, seed=self.generator)

    def _bounded(self, deviation: float, batch: int) -> Any:
        """Normal (B, 1), cut at 2.5 deviations."""
        return deviation * ops.clip(self._normal(batch, 1), -2.5, 2.5)

    def _kept(self, there: Any, pen: Any, stroke: Any, lengths: Any) -> Any:
        batch, count = ops.shape(there)
        points = ops.cast(lengths, "float32")[:, None]
        share = ops.where(self._uniform(batch, 1) < CUT, 0.5 + self._uniform(batch, 1) / 2, 1.0)
        early = ops.arange(count, dtype="float32")[None, :] < ops.maximum(ops.ceil(points * share), 2)
        drawn = ops.take_along_axis(self._uniform(batch, count) >= STROKES, stroke, axis=1)
        keep = ops.logical_and(there, ops.logical_and(early, drawn))
        few = ops.sum(ops.cast(keep, "float32"), axis=1, keepdims=True) < ops.maximum(0.5 * points, 2)
        keep = ops.where(few, there, keep)
        begins = ops.concatenate([ops.ones_like(pen[:, :1]), pen[:, :-1]], axis=1)
        spared = self._uniform(batch, count) >= 2 * POINTS * self._uniform(batch, 1)
        return ops.logical_and(keep, ops.logical_or(ops.logical_or(pen, begins), spared))

    def _distorted(self, xy: Any) -> Any:
        batch = ops.shape(xy)[0]
        x, y = xy[..., 0], xy[..., 1]
        for _ in range(2):
            across = 0.02 * self._normal(batch, 2)
            wave = ops.sin(across[:, :1] * x + across[:, 1:] * y + 2 * np.pi * self._uniform(batch, 1))
            x, y = x + self._bounded(BEND, batch) * wave, y + self._bounded(BEND, batch) * wave
        mirror = ops.where(self._uniform(batch, 1) < MIRRORED, -1.0, 1.0)
        wide, high = ops.exp(self._bounded(SCALE, batch)), ops.exp(self._bounded(SCALE, batch))
        x, y = x * wide * mirror + self._bounded(SHEAR, batch) * y, y * high
        turn = self._bounded(TURN, batch)
        x, y = ops.cos(turn) * x - ops.sin(turn) * y, ops.sin(turn) * x + ops.cos(turn) * y
        shake = ops.abs(self._bounded(SHAKE, batch))[..., None]
        return ops.stack([x, y], axis=-1) + shake * self._normal(*ops.shape(xy))


def _box(xy: Any, there: Any) -> tuple[Any, Any]:
    low = ops.min(ops.where(there[..., None], xy, 1e6), axis=1, keepdims=True)
    return low, ops.max(ops.where(there[..., None], xy, -1e6), axis=1, keepdims=True)


def _centred(xy: Any, there: Any) -> Any:
    low, high = _box(xy, there)
    return xy - (low + high) / 2


def _normalized(xy: Any, there: Any) -> Any:
    low, high = _box(xy, there)
    size = ops.maximum(ops.max(high - low, axis=2, keepdims=True), 20)
    return ops.round((xy - low) * (255 / size))
