"""The pen that draws procedural doodles: exact shapes first, then the tremor of a human hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import cos, sin, tau
from typing import Any

import numpy as np
import numpy.typing as npt

Stroke = npt.NDArray[np.complex128]  # (points,), x + iy, y down

# Catmull-Rom weights of four neighbouring points at six places between the middle two.
_T = np.arange(6)[:, None] / 6
_SPLINE = (
    (-_T + 2 * _T**2 - _T**3) / 2,
    (2 - 5 * _T**2 + 3 * _T**3) / 2,
    (_T + 4 * _T**2 - 3 * _T**3) / 2,
    (-(_T**2) + _T**3) / 2,
)


class Pen:
    """Collects the strokes of one drawing.

    All randomness is ``rng.random()``, the generator's plain doubles, which no NumPy version is likely to change.
    """

    random: Callable[..., Any]
    loose: float
    parts: float

    def __init__(self, rng: np.random.Generator) -> None:
        self.random = rng.random
        self.strokes: list[Stroke] = []
        self.turn = 1 if self.maybe(0.5) else -1  # people have a habit of going round one way
        self.loose = self.between(0.4, 2.3)  # how carelessly lines meet
        self.parts = self.random()  # inclination to draw a polygon side by side

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.random())

    def maybe(self, probability: float) -> bool:
        return bool(self.random() < probability)

    def count(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return low + int(self.random() * (high - low + 1))

    def near(self, x: float, y: float, size: float = 0.03) -> complex:
        size *= self.loose
        return complex(x + self.between(-size, size), y + self.between(-size, size))

    def dot(self, x: float, y: float) -> None:
        self.strokes.append(np.array([self.near(x, y)]))

    def line(self, *xy: float) -> None:
        """A polyline through (x, y, x, y, ...) whose ends overshoot or fall short."""
        points = [self.near(x, y) for x, y in zip(xy[::2], xy[1::2], strict=True)]
        for end, inner in ((0, 1), (-1, -2)):
            d = points[end] - points[inner]
            reach = min(self.between(-0.04, 0.06) * self.loose, 0.2 * abs(d))
            points[end] += d * (reach / max(abs(d), 1e-9))
        self.strokes.append(np.array(points))

    def polygon(self, *xy: float, whole: bool = False) -> None:
        """A closed outline: in one stroke, in two, or (unless ``whole``) side by side."""
        corners = list(zip(xy[::2], xy[1::2], strict=True))
        first = self.count(0, len(corners) - 1) if self.maybe(0.4) else 0
        corners = (corners[first:] + corners[:first])[:: self.turn]
        corners.append(corners[0])
        if not whole and self.parts > 0.78:
            for a, b in pairwise(corners):
                self.line(*a, *b)
        elif not whole and self.parts > 0.65:
            self.line(*[v for corner in corners[:3] for v in corner])
            self.line(*[v for corner in corners[2:] for v in corner])
        else:
            self.line(*[v for corner in corners for v in corner])

    def box(self, left: float, top: float, right: float, bottom: float) -> None:
        self.polygon(left, top, right, top, right, bottom, left, bottom)

    def oval(self, x: float, y: float, rx: float, ry: float | None = None, rounds: float = 1.0) -> None:
        """Once round (or ``rounds`` times), not quite round, and seldom closed exactly."""
        ry = rx * self.between(0.85, 1.15) if ry is None else ry
        turn = self.turn if self.maybe(0.9) else -self.turn
        start = self.between(-2.3, -0.9)  # most start near the top
        sweep = tau * (rounds + self.between(-0.05, 0.09) * self.loose)
        n = max(7, int(rounds * (9 + 20 * max(rx, ry))))
        s = np.arange(n) / (n - 1)
        angle = start + turn * sweep * s
        radius = 1 + self.between(-0.1, 0.1) * self.loose * s
        radius += self.between(0, 0.05) * self.loose * np.sin(2 * angle + self.between(0, tau))
        radius += self.between(0, 0.035) * self.loose * np.sin(3 * angle + self.between(0, tau))
        self.strokes.append(self.near(x, y) + radius * (rx * np.cos(angle) + 1j * ry * np.sin(angle)))

    def arc(self, x: float, y: float, rx: float, ry: float, start: float, stop: float) -> None:
        """Part of an ellipse, angles in degrees: 0 right, 90 down."""
        start, stop = start + self.between(-8, 8) * self.loose, stop + self.between(-8, 8) * self.loose
        if self.maybe(0.3):
            start, stop = stop, start
        n = max(5, int(abs(stop - start) * max(rx, ry) / 15))
        angle = np.radians(start + (stop - start) * (np.arange(n) / (n - 1)))
        self.strokes.append(self.near(x, y) + rx * np.cos(angle) + 1j * ry * np.sin(angle))

    def curve(self, *xy: float) -> None:
        """A smooth line through (x, y, x, y, ...)."""
        p = np.array([self.near(x, y) for x, y in zip(xy[::2], xy[1::2], strict=True)])
        p = np.concatenate([p[:1], p, p[-1:]])
        q = sum(w * p[i : len(p) - 3 + i] for i, w in enumerate(_SPLINE))
        self.strokes.append(np.append(np.asarray(q).T.ravel(), p[-1]))

    def rays(self, x: float, y: float, inner: float, outer: float, n: int, start: float = 0.0) -> None:
        for k in range(n):
            a = start + self.turn * tau * k / n + self.between(-0.12, 0.12)
            r0, r1 = inner * self.between(0.92, 1.12), outer * self.between(0.8, 1.15)
            self.line(x + r0 * cos(a), y + r0 * sin(a), x + r1 * cos(a), y + r1 * sin(a))

    def scribble(self, x: float, y: float, rx: float, ry: float, n: int) -> None:
        """One line back and forth over an area: colouring in, or crossing out."""
        xy: list[float] = []
        for k in range(n):
            xy += [x + (rx if k % 2 else -rx) * self.between(0.7, 1.1), y + ry * (2 * k / max(n - 1, 1) - 1)]
        self.line(*xy)

    def mirror(self, probability: float) -> None:
        """Mirror the drawing left to right."""
        if self.maybe(probability):
            self.strokes[:] = [-s.conj() for s in self.strokes]

    def eyes(self, x: float, y: float, apart: float, size: float) -> None:
        style = self.random()
        for side in (-1, 1):
            ex = x + side * apart
            if style < 0.35:
                self.dot(ex, y)
            elif style < 0.8:
                self.oval(ex, y, size, size * self.between(0.8, 1.5))
                if style > 0.6:
                    self.dot(ex, y)
            else:
                self.line(ex, y - size, ex, y + size)


def tremble(pen: Pen, wild: bool) -> list[Stroke]:
    """Draw the shapes by hand: sampled by time, displaced part by part, wobbling, and askew as a whole."""
    strokes = pen.strokes
    z = np.concatenate(strokes)
    ends = np.cumsum([len(s) for s in strokes])
    step = np.abs(np.diff(z, prepend=z[:1]))
    step[ends[:-1]] = 1.0  # a gap between strokes keeps the positions along the line increasing
    position = np.cumsum(step)
    first = position[np.concatenate([[0], ends[:-1]])]
    length = position[ends - 1] - first

    # The device samples at equal times: far apart where the pen is fast, in the middle of a stroke.
    spacing = pen.between(0.025, 0.09)
    haste = pen.between(0, 0.8)
    n = np.maximum(np.ceil(length / spacing).astype(np.int64), 1) + 1
    n[length < 1e-6] = 1
    stroke = np.repeat(np.arange(len(n)), n)
    t = (np.arange(len(stroke)) - np.repeat(np.cumsum(n) - n, n)) / np.maximum(n - 1, 1)[stroke]
    t -= haste / (2 * np.pi) * np.sin(2 * np.pi * t)
    along = first[stroke] + t * length[stroke]
    z = np.interp(along, position, z)

    random = pen.random(12 + 5 * len(n))
    part = random[12:].reshape(5, len(n)) - 0.5
    shift = 0.05 * pen.loose * (part[0] + 1j * part[1])
    turn = 1 + 0.1 * pen.loose * (part[2] + 1j * part[3])
    pivot = np.interp(first + length / 2, position, np.concatenate(strokes))
    z = (z - pivot[stroke]) * turn[stroke] + (pivot + shift)[stroke]

    # Slow waves over the whole stroke and faster ones a few per drawing, x and y apart.
    skill = (0.6 + 2.4 * random[0] ** 2) * (3.0 if wild else 1.0)
    rate = np.array([[2.1], [5.3], [13.0], [2.6], [6.1], [11.0]]) * (0.75 + 0.5 * random[1])
    size = np.array([[0.02], [0.011], [0.0055]]) * skill
    waves = np.sin(rate * (along + 40 * part[4][stroke]) + 6.28 * random[2:8, None])
    z = z + (size * waves[:3]).sum(0) + 1j * (size * waves[3:]).sum(0)

    # Rotation, aspect ratio and shear at once: any linear map of the plane is a z + b conj(z).
    a = np.exp(0.5j * (random[8] - 0.5) * (0.4 if random[9] < 0.9 else 1.5))
    b = 0.4 * (random[10] - 0.5) + 0.12j * (random[11] - 0.5)
    z = a * z + b * np.conj(z)
    return np.split(z, np.cumsum(n)[:-1])
