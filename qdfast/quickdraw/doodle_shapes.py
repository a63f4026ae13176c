"""What the procedural doodles depict: one function per class, each telling a ``Pen`` what to draw.

The canvas is about -1..1 in both directions, y down; only proportions matter, because the result is scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin, tau

import numpy as np

from .doodle_pen import Pen


def car(p: Pen) -> None:
    roof, hood = p.between(-0.55, -0.4), p.between(-0.05, 0.1)
    a, b = p.between(-0.6, -0.4), p.between(0.25, 0.5)
    if p.maybe(0.55):  # one outline
        p.polygon(-1, 0.45, -1, hood, a, hood, a + 0.2, roof, b, roof, b + 0.25, hood, 1, hood + 0.05, 1,
                  0.45, whole=True)  # fmt: skip
    else:
        p.box(-1, hood, 1, 0.45)
        p.line(a, hood, a + 0.2, roof, b, roof, b + 0.22, hood)
    r = p.between(0.17, 0.26)
    for x in (-0.55, 0.55):
        p.oval(x, 0.48, r)
        if p.maybe(0.3):
            p.oval(x, 0.48, r * 0.4)
    if p.maybe(0.45):
        p.polygon(a + 0.12, hood - 0.05, a + 0.25, roof + 0.08, -0.02, roof + 0.08, -0.02, hood - 0.05)
        p.polygon(0.08, hood - 0.05, 0.08, roof + 0.08, b - 0.02, roof + 0.08, b + 0.12, hood - 0.05)
    if p.maybe(0.2):
        p.line(0.12, 0.15, 0.25, 0.15)
    p.mirror(0.35)


def cat(p: Pen) -> None:
    w = p.between(0.72, 0.9)
    if p.maybe(0.4):  # ears belong to the outline
        p.curve(-w, 0, -0.8, -0.55, -0.75, -0.95, -0.35, -0.65, 0.3, -0.65, 0.75, -0.95, 0.8, -0.5, w, 0, 0.6,
                0.6, 0, 0.8, -0.6, 0.6, -w, 0)  # fmt: skip
    else:
        p.oval(0, 0, w, p.between(0.65, 0.8))
        h = p.between(0.9, 1.1)
        for side in (-1, 1):
            p.line(side * 0.75, -0.38, side * 0.68, -h, side * 0.25, -0.65)
    p.eyes(0, -0.15, 0.3, 0.09)
    if p.maybe(0.8):
        p.polygon(-0.09, 0.1, 0.09, 0.1, 0, 0.2, whole=True)
    if p.maybe(0.6):
        p.arc(-0.12, 0.25, 0.12, 0.12, 0, 180)
        p.arc(0.12, 0.25, 0.12, 0.12, 0, 180)
    n = p.count(2, 3)
    if p.maybe(0.85):
        for side in (-1, 1):
            for k in range(n):
                y = 0.22 + 0.11 * k
                p.line(side * 0.28, y, side * p.between(0.85, 1.15), y + 0.16 * (k - 1))
    if p.maybe(0.12):
        p.oval(0.1, 1.4, 0.55, 0.7)
        p.curve(0.6, 1.7, 1, 1.6, 0.95, 1.2, 1.2, 1.0)


def circle(p: Pen) -> None:
    p.oval(0, 0, 1, p.between(0.8, 1.2), rounds=p.between(1.5, 2.3) if p.maybe(0.07) else 1.0)
    if p.maybe(0.03):
        p.oval(0, 0, 0.9, 0.9)


def clock(p: Pen) -> None:
    p.oval(0, 0, 1)
    style = p.random()
    if style < 0.45:
        p.rays(0, 0, 0.8, 0.95, 4 if style < 0.2 else 12, start=-pi / 2)
    elif style < 0.8:
        for k in range(4):  # 12, 3, 6, 9, or what is meant for them
            x, y = 0.74 * sin(k * pi / 2), -0.74 * cos(k * pi / 2)
            if k == 0:
                p.line(x - 0.08, y - 0.12, x - 0.08, y + 0.12)
                p.curve(x, y - 0.08, x + 0.1, y - 0.1, x + 0.02, y + 0.1, x + 0.14, y + 0.1)
            elif k == 1:
                p.curve(x - 0.05, y - 0.12, x + 0.06, y - 0.06, x, y, x + 0.06, y + 0.07, x - 0.06, y + 0.12)
            elif k == 2:
                p.curve(x + 0.05, y - 0.12, x - 0.05, y, x, y + 0.12, x + 0.06, y + 0.05, x - 0.04, y + 0.04)
            else:
                p.curve(x + 0.05, y - 0.03, x - 0.06, y - 0.06, x + 0.04, y - 0.12, x + 0.05, y, x, y + 0.14)
    a, b = p.between(0, tau), p.between(0, tau)
    if p.maybe(0.5):
        p.line(0.7 * sin(a), -0.7 * cos(a), 0, 0, 0.45 * sin(b), -0.45 * cos(b))
    else:
        p.line(0, 0, 0.7 * sin(a), -0.7 * cos(a))
        p.line(0, 0, 0.45 * sin(b), -0.45 * cos(b))
    if p.maybe(0.12):
        p.dot(0, 0)


def envelope(p: Pen) -> None:
    h = p.between(0.55, 0.75)
    p.box(-1, -h, 1, h)
    y = p.between(0, 0.3)
    p.line(-1, -h, 0, y, 1, -h)
    if p.maybe(0.3):
        p.line(-1, h, -0.25, y - 0.1)
        p.line(1, h, 0.25, y - 0.1)
    if p.maybe(0.1):
        p.box(0.6, -h + 0.1, 0.85, -h + 0.4)


def face(p: Pen) -> None:
    ry = p.between(0.95, 1.3)
    p.oval(0, 0, 0.9, ry)
    p.eyes(0, -0.3, p.between(0.28, 0.42), p.between(0.08, 0.15))
    if p.maybe(0.8):
        if p.maybe(0.6):
            p.line(0.02, -0.15, -0.12, 0.2, 0.05, 0.22)
        else:
            p.arc(0, 0.12, 0.12, 0.1, 0, 180)
    mouth = p.random()
    if mouth < 0.45:
        p.arc(0, 0.4, 0.35, 0.2, 10, 170)
    elif mouth < 0.7:
        p.line(-0.3, 0.55, 0.3, 0.55)
    else:
        p.oval(0, 0.55, 0.3, 0.12)
    if p.maybe(0.35):
        for side in (-1, 1):
            p.arc(side * 0.95, 0, 0.15, 0.25, 90 - side * 180, 90)
    if p.maybe(0.3):
        for side in (-1, 1):
            p.line(side * 0.2, -0.52, side * 0.5, -0.55)
    if p.maybe(0.3):
        n = p.count(4, 9)
        for k in range(n):
            a = pi * (1.15 + 0.7 * k / (n - 1))
            x, y = 0.9 * cos(a), ry * sin(a)
            p.line(x, y, x * 1.1, y * p.between(1.1, 1.35))


def fish(p: Pen) -> None:
    h = p.between(0.38, 0.6)
    t = p.between(0.3, 0.5)
    if p.maybe(0.55):  # body and tail in one go
        p.curve(1, -t, 0.5, -0.05, 0, -h, -0.6, -h * 0.75, -1, 0, -0.6, h * 0.75, 0, h, 0.5, 0.05, 1, t)
        p.line(1, t, p.between(0.8, 1.05), 0, 1, -t)
    else:
        p.oval(-0.25, 0, 0.75, h)
        p.polygon(0.48, 0, 1, -t, p.between(0.8, 1), 0, 1, t, whole=True)
    if p.maybe(0.5):
        p.dot(-0.65, -h * 0.25)
    else:
        p.oval(-0.62, -h * 0.25, 0.08)
    if p.maybe(0.4):
        p.curve(-0.95, 0.12, -0.8, 0.15, -0.7, 0.08)
    if p.maybe(0.4):
        p.arc(-0.55, 0, 0.18, h * 0.8, -70, 70)
    if p.maybe(0.35):
        p.line(-0.35, -h * 0.95, -0.05, -h - 0.3, 0.15, -h * 0.85)
    if p.maybe(0.2):
        p.line(-0.3, 0.1, -0.1, 0.3, 0, 0.1)
    if p.maybe(0.15):
        for k in range(p.count(3, 8)):
            p.arc(-0.3 + 0.22 * (k % 4), (k // 4 - 0.3) * 0.3, 0.09, 0.12, -80, 80)
    if p.maybe(0.1):
        for k in range(3):
            p.oval(-1.15 - 0.1 * k, -0.3 - 0.2 * k, 0.06)
    p.mirror(0.4)


def flower(p: Pen) -> None:
    r, n = p.between(0.16, 0.3), p.count(4, 7)
    p.oval(0, 0, r)
    style = p.random()
    start = p.between(0, 1)
    if style < 0.35:  # round petals
        for k in range(n):
            a = start + p.turn * tau * k / n
            p.oval((r + 0.24) * cos(a), (r + 0.24) * sin(a), 0.25, 0.25)
    elif style < 0.8:  # petals as loops in one line
        xy: list[float] = []
        for k in range(n + 1):
            for turn, d in ((0.0, r), (0.3, r + 0.45), (0.7, r + 0.45)):
                a = start + p.turn * tau * (k + turn) / n
                xy += [d * cos(a), d * sin(a)]
        p.curve(*xy[: 6 * n + 2])
    else:  # narrow petals, one by one
        for k in range(n):
            a, d = start + p.turn * tau * k / n, r + p.between(0.45, 0.6)
            petal = ((r, -0.25), (0.8 * d, -0.3), (d, 0), (0.8 * d, 0.3), (r, 0.25))
            p.curve(*[v for e, b in petal for v in (e * cos(a + b), e * sin(a + b))])
    if p.maybe(0.8):
        bottom = p.between(1.4, 2.1)
        bend = p.between(-0.15, 0.15)
        p.curve(0, r + 0.45, bend, (r + 0.45 + bottom) / 2, 0, bottom)
        for side in (-1, 1):
            if p.maybe(0.45):
                y = p.between(1.1, 1.4)
                p.curve(0, y, side * 0.3, y - 0.28, side * 0.5, y - 0.22, side * 0.3, y, 0, y + 0.06)


def house(p: Pen) -> None:
    w, top = p.between(0.75, 0.95), p.between(-0.25, 0)
    if p.maybe(0.12):
        p.line(-w, top, -w, 0.95, w, 0.95, w, top, 0, -0.95, -w, top, w, top)
    else:
        p.box(-w, top, w, 0.95)
        eaves = p.between(0, 0.15)
        if p.maybe(0.4):
            p.polygon(-w - eaves, top, 0, -0.95, w + eaves, top)
        else:
            p.line(-w - eaves, top, 0, -0.95, w + eaves, top)
    if p.maybe(0.88):
        x = p.between(-0.3, 0.3)
        p.line(x - 0.16, 0.95, x - 0.16, 0.4, x + 0.16, 0.4, x + 0.16, 0.95)
        if p.maybe(0.35):
            p.dot(x + 0.1, 0.7)
    for side in (-1, 1):
        if p.maybe(0.45):
            x, y, s = side * 0.58, top + 0.35, 0.14
            p.box(x - s, y - s, x + s, y + s)
            if p.maybe(0.5):
                p.line(x, y - s, x, y + s)
                p.line(x - s, y, x + s, y)
    if p.maybe(0.25):
        p.line(0.35, -0.68, 0.35, -1.0, 0.58, -1.0, 0.58, -0.42)
        if p.maybe(0.4):
            p.curve(0.45, -1.05, 0.55, -1.2, 0.4, -1.3, 0.55, -1.5)


def ladder(p: Pen) -> None:
    lean, w = p.between(-0.25, 0.25), p.between(0.28, 0.45)
    p.line(-w - lean, 1, -w + lean, -1)
    p.line(w - lean, 1, w + lean, -1)
    n = p.count(3, 7)
    for k in range(n):
        y = -0.8 + 1.6 * k / (n - 1)
        p.line(-w - lean * y, y, w - lean * y, y + p.between(-0.05, 0.05))


def lightning(p: Pen) -> None:
    style = p.random()
    if style < 0.7:  # the bolt as an outline
        p.polygon(0.1, -1, -0.45, 0.1, -0.05, 0.1, -0.35, 1, 0.5, -0.2, 0.08, -0.2, 0.5, -1, whole=True)
    elif style < 0.85:
        p.polygon(-0.3, -1, 0.1, -0.4, -0.1, -0.3, 0.3, 0.2, 0.1, 0.3, 0.7, 1, 0.25, 0.05, 0.42, -0.05, 0.1,
                  -0.55, 0.3, -0.65, whole=True)  # fmt: skip
    else:  # a mere zigzag, downward
        x = p.between(-0.3, 0.3)
        p.line(x + 0.2, -1, x - 0.25, -0.25, x + 0.25, -0.15, x - 0.15, 0.45, x + 0.2, 0.5, x - 0.2, 1)
    if p.maybe(0.12):
        p.curve(-0.9, -0.8, -1, -1.2, -0.5, -1.4, 0, -1.5, 0.6, -1.4, 0.9, -1.1, 0.7, -0.85)
    p.mirror(0.3)


def lollipop(p: Pen) -> None:
    r = p.between(0.5, 0.7)
    if p.maybe(0.55):  # the sweet is a spiral
        n = p.count(3, 4)
        t = np.arange(16 * n) / (16 * n - 1)
        angle = p.between(0, tau) + p.turn * tau * n * t
        p.strokes.append(r * t * np.exp(1j * angle) - 0.5j)
        if p.maybe(0.5):
            p.oval(0, -0.5, r)
    else:
        p.oval(0, -0.5, r)
        if p.maybe(0.4):
            p.curve(-r * 0.6, -0.6, -0.1, -0.9, 0.2, -0.5, -0.1, -0.3, -0.2, -0.5)
    w = p.between(0.04, 0.09)
    bottom = p.between(1, 1.4)
    if p.maybe(0.55):
        p.line(0, r - 0.5, p.between(-0.1, 0.1), bottom)
    else:
        p.line(-w, r - 0.5, -w, bottom, w, bottom, w, r - 0.5)


def moon(p: Pen) -> None:
    if p.maybe(0.86):  # a crescent
        side = 1 if p.maybe(0.5) else -1
        tip, deep = side * 0.35, p.between(-0.5, 0.15)
        near, far = side * (0.8 * deep + 0.12), side * deep
        outside = (tip, -1, -side * 0.3, -0.85, -side * 0.72, 0, -side * 0.3, 0.85, tip, 1)
        if p.maybe(0.6):
            p.curve(*outside, near, 0.55, far, 0, near, -0.55, tip, -1)
        else:
            p.curve(*outside)
            p.curve(tip, -1, near, -0.5, far, 0, near, 0.5, tip, 1)
    else:
        p.oval(0, 0, 1)
    if p.maybe(0.22):
        for _ in range(p.count(2, 5)):
            p.oval(p.between(-0.5, -0.2), p.between(-0.5, 0.5), p.between(0.06, 0.15))


def mug(p: Pen) -> None:
    h, taper = p.between(0.6, 0.9), p.between(-0.03, 0.15)
    if p.maybe(0.5):
        p.oval(0, -h, 0.65, p.between(0.1, 0.2))
        p.curve(-0.65, -h, -0.65 + taper, h * 0.85, -0.3, h, 0.3, h, 0.65 - taper, h * 0.85, 0.65, -h)
    else:
        p.polygon(-0.65, -h, 0.65, -h, 0.65 - taper, h, -0.65 + taper, h)
    reach = p.between(0.95, 1.15)
    p.curve(0.65, -h * 0.6, reach, -h * 0.55, reach, h * 0.4, 0.62 - taper, h * 0.5)
    if p.maybe(0.6):
        p.curve(0.65, -h * 0.38, reach - 0.15, -h * 0.35, reach - 0.15, h * 0.22, 0.62 - taper, h * 0.28)
    if p.maybe(0.3):
        for k in range(p.count(2, 3)):
            x = -0.3 + 0.3 * k
            p.curve(x, -h - 0.2, x + 0.08, -h - 0.35, x - 0.05, -h - 0.5, x + 0.05, -h - 0.7)
    p.mirror(0.25)


def smiley_face(p: Pen) -> None:
    if p.maybe(0.9):
        p.oval(0, 0, 1)
    p.eyes(0, -0.3, p.between(0.28, 0.42), p.between(0.07, 0.16))
    y, w, h = p.between(0.05, 0.25), p.between(0.45, 0.62), p.between(0.3, 0.48)
    p.arc(0, y, w, h, 5, 175)
    if p.maybe(0.13):
        p.line(-w, y, w, y)
    if p.maybe(0.1):
        p.line(0.02, -0.1, -0.08, 0.12, 0.04, 0.14)


def snowman(p: Pen) -> None:
    balls = 3 if p.maybe(0.7) else 2
    radii = [p.between(0.26, 0.34), p.between(0.36, 0.46), p.between(0.48, 0.6)][:balls]
    centres: list[float] = []
    edge = -1.0
    for r in radii:
        centres.append(edge + r)
        edge += 2 * r - p.between(0, 0.06)
    up = p.maybe(0.4)
    for y, r in list(zip(centres, radii, strict=True))[:: -1 if up else 1]:
        p.oval(0, y, r)
    if p.maybe(0.7):
        p.eyes(0, centres[0] - 0.06, 0.11, 0.035)
    if p.maybe(0.5):
        p.line(0.02, centres[0], 0.28, centres[0] + 0.07, 0.02, centres[0] + 0.09)
    if p.maybe(0.45):
        p.arc(0, centres[0] + 0.05, 0.15, 0.12, 15, 165)
    if p.maybe(0.5):
        for k in range(p.count(2, 3)):
            p.dot(0, centres[1] - 0.2 + 0.18 * k)
    if p.maybe(0.5):
        for side in (-1, 1):
            x, y = side * radii[1], centres[1] - 0.1
            p.line(x, y, x + side * 0.5, y - p.between(-0.1, 0.35))
    if p.maybe(0.35):
        w = radii[0]
        p.line(-w * 1.2, -0.98, w * 1.2, -0.98)
        p.line(-w * 0.7, -0.98, -w * 0.7, -1.45, w * 0.7, -1.45, w * 0.7, -0.98)


def square(p: Pen) -> None:
    h = p.between(0.8, 1.15)
    p.box(-1, -h, 1, h)


def star(p: Pen) -> None:
    style, turn = p.random(), p.between(-0.15, 0.15)
    if style < 0.6:  # without lifting the pen, across the middle
        tips = [turn - pi / 2 + 0.8 * pi * p.turn * (k + (1 if style < 0.3 else 3)) for k in range(6)]
        p.line(*[v for a in tips for v in (cos(a), sin(a))])
    elif style < 0.95:
        inner = p.between(0.35, 0.5)
        corners = [(inner if k % 2 else 1, turn - pi / 2 + pi / 5 * k) for k in range(10)]
        p.polygon(*[v for r, a in corners for v in (r * cos(a), r * sin(a))], whole=True)
    else:
        p.polygon(-0.85, 0.5, 0, -1, 0.85, 0.5)
        p.polygon(-0.85, -0.5, 0.85, -0.5, 0, 1)


def sun(p: Pen) -> None:
    r = p.between(0.4, 0.6)
    p.oval(0, 0, r)
    n = p.count(6, 12)
    style = p.random()
    if style < 0.88:
        p.rays(0, 0, r + 0.1, p.between(0.9, 1.15), n, start=p.between(-2, 0))
    else:  # spikes in one line
        xy: list[float] = []
        for k in range(2 * n + 1):
            a, d = p.turn * pi * k / n, (1.0 if k % 2 else r + 0.08)
            xy += [d * cos(a), d * sin(a)]
        p.line(*xy)
    if p.maybe(0.12):
        p.eyes(0, -0.12, 0.15, 0.05)
        p.arc(0, 0.05, 0.22, 0.17, 10, 170)


def tree(p: Pen) -> None:
    w = p.between(0.1, 0.2)
    style = p.random()
    if style < 0.5:  # a leafy crown of bumps
        n = p.count(6, 10)
        xy: list[float] = []
        for k in range(2 * n + 1):
            a, d = p.turn * pi * k / n + pi / 2, (1.0 if k % 2 else 0.82)
            xy += [0.75 * d * cos(a), -0.45 + 0.6 * d * sin(a)]
        p.curve(*xy)
        top = 0.05
    elif style < 0.75:  # a round crown
        p.oval(0, -0.4, p.between(0.5, 0.75), p.between(0.5, 0.7))
        top = 0.18
    elif style < 0.92:  # a fir
        for k in range(n := p.count(1, 3)):
            y = -1 + 1.15 * k / n
            p.polygon(0, y - 0.1, 0.35 + 0.12 * k, y + 1.2 / n, -0.35 - 0.12 * k, y + 1.2 / n, whole=True)
        top = 0.2
    else:  # bare branches
        for _ in range(p.count(3, 6)):
            y, side = p.between(-0.4, 0.3), 1 if p.maybe(0.5) else -1
            p.line(0, y, side * p.between(0.3, 0.7), y - p.between(0.3, 0.6))
        top = -0.3
    bottom = p.between(0.9, 1.2)
    if p.maybe(0.85):
        for side in (-1, 1):
            p.curve(side * w, top, side * w, 0.6, side * w * p.between(1, 1.5), bottom)
    else:
        p.line(-w, top, -w, bottom, w, bottom, w, top)
    if p.maybe(0.2):
        for _ in range(p.count(2, 5)):
            p.oval(p.between(-0.4, 0.4), p.between(-0.75, -0.1), 0.07)
    if p.maybe(0.15):
        p.line(-0.8, bottom, 0.8, bottom)


def triangle(p: Pen) -> None:
    x = p.between(-1, 1) if p.maybe(0.25) else p.between(-0.15, 0.15)
    p.polygon(x, -0.9, 1, 0.75, -1, 0.75)


def umbrella(p: Pen) -> None:
    h, n = p.between(0.7, 0.95), p.count(3, 5)
    p.arc(0, 0, 1, h, 180, 360)
    if p.maybe(0.6):
        for k in range(n):
            p.arc(-1 + (2 * k + 1) / n, 0, 1 / n, 0.14, 180, 360)
    else:
        p.line(-1, 0, 1, 0)
    if p.maybe(0.3):
        for k in range(1, n):
            p.curve(0, -h, (-1 + 2 * k / n) * 0.7, -h * 0.55, -1 + 2 * k / n, 0)
    hook = 1 if p.maybe(0.6) else -1
    if p.maybe(0.85):
        p.curve(0, -0.05, 0, 0.5, 0, 0.95, hook * 0.12, 1.12, hook * 0.28, 1.05, hook * 0.3, 0.85)
    else:
        p.line(0, -h, 0, 1)
    if p.maybe(0.2):
        p.line(0, -h, 0, -h - 0.18)


def wheel(p: Pen) -> None:
    p.oval(0, 0, 1)
    if p.maybe(0.55):
        p.oval(0, 0, p.between(0.7, 0.88))
    hub = p.between(0.1, 0.25)
    if p.maybe(0.6):
        p.oval(0, 0, hub)
    style = p.random()
    if style < 0.5:
        p.rays(0, 0, hub, 0.85, p.count(4, 8), start=p.between(0, 1))
    elif style < 0.88:
        n, start = p.count(2, 4), p.between(0, 1)
        for k in range(n):
            a = start + pi * k / n
            p.line(-cos(a), -sin(a), cos(a), sin(a))


def zigzag(p: Pen) -> None:
    n = p.count(4, 9)
    h = p.between(0.25, 0.6)
    grow = p.between(-0.3, 0.3)
    xy: list[float] = []
    for k in range(n + 1):
        up = h * (1 + grow * (k / n - 0.5)) * p.between(0.75, 1.2)
        xy += [-1 + 2 * (k + p.between(-0.15, 0.15)) / n, up if k % 2 else -up]
    if p.maybe(0.2):  # upright
        xy = [v for x, y in zip(xy[::2], xy[1::2], strict=True) for v in (y, x)]
    p.line(*xy)


SHAPES: dict[str, Callable[[Pen], None]] = {
    shape.__name__.replace("_", " "): shape
    for shape in (
        car, cat, circle, clock, envelope, face, fish, flower, house, ladder, lightning, lollipop, moon, mug,
        smiley_face, snowman, square, star, sun, tree, triangle, umbrella, wheel, zigzag,
    )
}  # fmt: skip
