"""Fixtures of the tests that visit the page of `play` by a browser, and what they draw there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
import tiny_model
from play_fixtures import site
from playwright.sync_api import expect
from scripted_server import TIMEOUT, Scripted, respond_with

import qdfast
from qdfast.play.examples import Examples

SQUARE = [[[0, 200, 200, 0, 0], [0, 0, 200, 200, 0]], [[50, 150], [110, 110]]]


class Model(Scripted):
    """A server whose guess is ``says``, then the other classes of the tiny model."""

    says = "dog"

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.predict = self._answer

    def _answer(self, request: Any, context: Any) -> Any:
        labels = [self.says, *(c for c in tiny_model.CLASSES if c != self.says)]
        others = np.linspace(2, 1, len(labels) - 1)
        scores = np.array([0.6, *(0.4 * others / others.sum())], np.float32)
        return respond_with({"labels": np.array([labels], dtype=object), "scores": scores[None]})


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as running:
        yield running


@pytest.fixture
def server() -> Iterator[Model]:
    model = Model()
    yield model
    model.server.stop(None).wait()


@pytest.fixture
def url(server: Model, doodles: Path) -> Iterator[str]:
    with (
        server.client(timeout=TIMEOUT) as client,
        site(client, examples=Examples([doodles / "house.ndjson"])) as address,
    ):
        yield address


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page in a new window; at the end, that nothing went wrong on it."""
    contexts, wrong = [], []

    def open_page(url: str, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(1000 * TIMEOUT)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        # A refused request is logged by the browser itself.
        page.on(
            "console", lambda m: wrong.append(m.text) if m.type == "error" and "Failed to load" not in m.text else 0
        )
        page.goto(url)
        expect(page.locator("#model")).to_contain_text("version 1")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def assert_drawn(page: Any, strokes: Any) -> None:
    """That the board has these strokes, [[[x, y], …], …] in shares of the paper, to a hundredth of a pixel or so."""
    with page.expect_request("**/api/ndjson") as request:
        page.click("#save")
    (drawn,) = request.value.post_data_json["drawings"]
    assert len(drawn["drawing"]) == len(strokes)
    for (xs, ys), expected in zip(drawn["drawing"], strokes, strict=True):
        np.testing.assert_allclose(np.transpose([xs, ys]) / 1000, expected, rtol=0, atol=3e-5)


def shares(page: Any, strokes: Any) -> Any:
    """Strokes in pixels of the page in shares of the paper."""
    box = page.locator("#canvas").bounding_box()
    return [(np.array(stroke) - [box["x"], box["y"]]) / box["width"] for stroke in strokes]


def simplified(drawing: Any) -> list[Any]:
    return [[x.tolist(), y.tolist()] for x, y in qdfast.simplify([drawing])[0]]
