"""The page of `play` in a browser: the game, servers that go away, and a phone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("starlette")

import browser
import tiny_model
from browser_fixtures import SQUARE, Model, assert_drawn, shares, simplified
from play_fixtures import site
from playwright.sync_api import expect
from scripted_server import TIMEOUT, refuse

from qdfast.play import app
from qdfast.play.examples import Examples

pytestmark = pytest.mark.skipif(browser.executable() is None, reason="no chromium: apt-get install chromium")

# ---- the game ----


def begin(page: Any) -> str:
    """Close the card; the word to draw."""
    page.wait_for_selector("#card[open]")
    word = page.text_content("#card-word")
    assert page.evaluate("document.activeElement.value") == "go"  # Enter does it too
    page.get_by_role("button", name="Got it!").click()
    page.wait_for_selector("#card:not([open])", state="attached")
    return str(word)


def test_a_whole_game(server: Model, url: str, visit: Callable[..., Any]) -> None:
    """Known at once, after a wrong guess, never (the time is over), and skipped; then looked at and saved."""
    page = visit(url)
    page.clock.install(time=0)
    page.clock.pause_at(1000)  # it now goes on only as it is told
    page.click("#six")
    words = [begin(page)]
    server.says = words[0]
    strokes = browser.on_canvas(page, SQUARE)
    browser.replay(page, strokes)
    expect(page.locator("#says")).to_have_text(f"Oh, I know: it’s {words[-1]}!")
    page.clock.run_for(2000)

    words.append(begin(page))
    server.says = other = next(c for c in tiny_model.CLASSES if c != words[1])
    browser.draw(page, strokes[:1])
    assert browser.guesses(page)[0] == other
    assert page.text_content("#says") == f"I see {other}"
    server.says = words[1]
    page.clock.run_for(3000)
    browser.replay(page, strokes[1:])
    expect(page.locator("#says")).to_have_text(f"Oh, I know: it’s {words[-1]}!")
    page.clock.run_for(2000)

    words.append(begin(page))
    server.says = next(c for c in tiny_model.CLASSES if c != words[2])
    browser.draw(page, strokes)
    browser.guesses(page)
    page.clock.run_for(15_000)
    assert page.text_content("#clock") == "5"
    page.clock.run_for(5000)
    expect(page.locator("#says")).to_have_text(f"Sorry, I did not see {words[-1]} in it.")
    assert page.text_content("#clock") == "0"
    browser.replay(page, strokes)  # too late
    page.clock.run_for(2000)

    words.append(begin(page))
    page.click("#skip")
    page.clock.run_for(2000)
    words.append(begin(page))
    page.click("#end")
    page.wait_for_selector("#results:not([hidden])")
    assert len(set(words)) == len(tiny_model.CLASSES)

    assert page.text_content("#score") == "The model knew 2 of 3 drawings"
    tiles = page.locator("#rounds button")
    assert tiles.all_text_contents() == [f"✓ {words[0]}", f"✓ {words[1]}", f"✗ {words[2]}"]
    tiles.nth(1).click()
    assert page.text_content("#round h3") == f"You were asked to draw {words[1]}"
    assert page.locator("#round .yours svg polyline").count() == 2
    assert page.locator("#round .wanted .label").all_text_contents() == [words[1]]
    with page.expect_download() as download:
        page.click("#save-all")
    lines = list(map(json.loads, Path(download.value.path()).read_text().splitlines()))
    assert [(line["word"], line["recognized"]) for line in lines] == list(
        zip(words[:3], [True, True, False], strict=True)
    )
    assert [line["drawing"] for line in lines] == [simplified(SQUARE)] * 3
    page.click("#free")
    assert browser.guesses(page) == []


def test_afterwards_others_drawings_are_shown(server: Model, doodles: Path, visit: Callable[..., Any]) -> None:
    server.says = "house"
    examples = Examples([doodles])
    with server.client(timeout=TIMEOUT) as client, site(client, words=["house"], examples=examples) as url:
        page = visit(url)
        page.click("#one")
        assert begin(page) == "house"
        browser.draw(page, browser.on_canvas(page, SQUARE))
        page.wait_for_selector("#results:not([hidden])")
        assert page.text_content("#score") == "The model knew 1 of 1 drawing"
        expect(page.locator("#round .drawings").first.locator("figure")).to_have_count(app.EXAMPLES)
        expect(page.get_by_role("heading", name="How others draw house")).to_be_visible()
        expect(page.locator("#round figcaption")).to_have_text(["cat", "sun"])  # there are no dogs


def test_without_words_there_is_no_game(server: Model, visit: Callable[..., Any]) -> None:
    with server.client() as client, site(client, words=[]) as url:
        page = visit(url)
        assert page.locator("#six").is_disabled()
        assert page.locator("#no-game").is_visible()


# ---- servers that go away ----


def test_a_server_that_dies_and_comes_back(server: Model, url: str, visit: Callable[..., Any]) -> None:
    """The page says so, the clock waits, and the guess comes by itself."""
    page = visit(url)
    page.click("#one")
    word = begin(page)
    port = int(server.target.rpartition(":")[2])
    server.server.stop(None).wait()
    strokes = browser.on_canvas(page, SQUARE)
    browser.draw(page, strokes)
    page.wait_for_selector("#trouble:not([hidden])")
    assert "UNAVAILABLE" in str(page.text_content("#trouble"))
    left = page.text_content("#clock")
    page.wait_for_timeout(1500)
    assert page.text_content("#clock") == left
    again = Model(port)
    try:
        again.says = word
        page.wait_for_selector("#trouble", state="hidden")
        page.wait_for_selector("#results:not([hidden])")
        assert page.text_content("#score") == "The model knew 1 of 1 drawing"
    finally:
        again.server.stop(None).wait()


def test_the_pages_own_server_goes_away(server: Model, visit: Callable[..., Any]) -> None:
    with server.client() as client:
        with site(client) as url:
            page = visit(url)
        browser.draw(page, browser.on_canvas(page, SQUARE))
        page.wait_for_selector("#trouble:not([hidden])")
        assert "is qdfast play still running?" in str(page.text_content("#trouble"))


def test_too_many_requests_are_waited_out(server: Model, url: str, visit: Callable[..., Any]) -> None:
    page = visit(url)
    refused = []

    def refuse_twice(route: Any) -> None:
        refused.append(route)
        if len(refused) > 2:
            route.continue_()
        else:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "try again"})

    page.route("**/api/guess", refuse_twice)
    browser.replay(page, browser.on_canvas(page, SQUARE))
    assert browser.guesses(page)[0] == "dog"
    assert len(refused) > 2
    assert page.locator("#trouble").is_hidden()


def test_a_model_that_refuses(server: Model, url: str, visit: Callable[..., Any]) -> None:
    page = visit(url)
    server.predict = refuse("INTERNAL", "the network fell over")
    browser.draw(page, browser.on_canvas(page, SQUARE[:1]))
    page.wait_for_selector("#trouble:not([hidden])")
    assert "the network fell over" in str(page.text_content("#trouble"))


# ---- a phone ----


def test_a_phone(server: Model, url: str, visit: Callable[..., Any]) -> None:
    """Everything is in reach, nothing scrolls sideways, and a finger draws instead of scrolling."""
    page = visit(url, viewport={"width": 360, "height": 640}, device_scale_factor=3, is_mobile=True, has_touch=True)
    box = page.locator("#canvas").bounding_box()
    assert box["width"] > 300
    assert box["x"] + box["width"] <= 360
    assert box["y"] + box["height"] < 640
    strokes = browser.on_canvas(page, SQUARE)
    touch(page, strokes)
    assert browser.guesses(page)[0] == "dog"
    assert page.evaluate("[scrollX, scrollY, document.documentElement.scrollWidth]") == [0, 0, 360]
    assert_drawn(page, shares(page, strokes))
    for button in page.locator("#drawing button:visible").all():
        size = button.bounding_box()
        assert size["height"] >= 44  # a finger's
        assert size["x"] + size["width"] <= 360


def touch(page: Any, strokes: Any) -> None:
    """Draw with a finger, through all of the browser."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, *points: Any) -> None:
        at = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    for first, *others in strokes:
        send("touchStart", first)
        for point in others:
            send("touchMove", point)
        send("touchEnd")
