"""Headless Chromium, and ways to draw in it, for the tests of the page and its benchmark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")

# Play strokes as pointer events, each with the time to itself: [[[x, y], …], …] in pixels of the page.
_REPLAY = """strokes => {
  const canvas = document.getElementById("canvas");
  const fire = (name, [x, y], buttons) => canvas.dispatchEvent(new PointerEvent(name, {
    clientX: x, clientY: y, buttons, button: name === "pointermove" ? -1 : 0, bubbles: true, cancelable: true,
    pointerId: 1, pointerType: "mouse", isPrimary: true,  // 1: the mouse, which can be captured
  }));
  for (const points of strokes) {
    fire("pointerdown", points[0], 1);
    for (const point of points.slice(1)) fire("pointermove", point, 1);
    fire("pointerup", points.at(-1), 0);
  }
}"""


def executable() -> str | None:
    """Where Chromium is; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's ``Browser`` of the system's Chromium."""
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox does not work for root; the page is our own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=arguments)
        yield browser
        browser.close()


def on_canvas(page: Any, drawing: Sequence[Any], share: float = 0.9) -> list[list[list[float]]]:
    """A drawing's strokes as [[x, y], …] in pixels of the page: in the middle of the canvas, ``share`` of it."""
    box = page.locator("#canvas").bounding_box()
    xs, ys = [[v for stroke in drawing for v in stroke[axis]] for axis in (0, 1)]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    scale = share * box["width"] / (max(right - left, bottom - top) or 1)
    x0 = box["x"] + (box["width"] - scale * (right - left)) / 2
    y0 = box["y"] + (box["height"] - scale * (bottom - top)) / 2
    return [
        [[x0 + (x - left) * scale, y0 + (y - top) * scale] for x, y in zip(stroke[0], stroke[1], strict=True)]
        for stroke in drawing
    ]


def replay(page: Any, strokes: Sequence[Any]) -> None:
    """Draw at once, by pointer events of the page's own making; ``strokes`` as ``on_canvas`` gives them."""
    page.evaluate(_REPLAY, strokes)


def draw(page: Any, strokes: Sequence[Any]) -> None:
    """Draw with the mouse, through all of the browser."""
    for (x, y), *others in strokes:
        page.mouse.move(x, y)
        page.mouse.down()
        for point in others:
            page.mouse.move(*point)
        page.mouse.up()


def guesses(page: Any) -> list[str]:
    """The labels of the bars, likeliest first, as soon as they are of the drawing as it is."""
    page.wait_for_selector("#guesses[aria-busy=false]", state="attached")
    return [label.strip() for label in page.locator("#guesses .label").all_text_contents()]
