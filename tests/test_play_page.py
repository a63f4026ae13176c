"""The page of `play` in a browser: drawing, guesses, the game, and servers that go away."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright")
pytest.importorskip("starlette")

import browser
import tiny_model
from playing import site
from playwright.sync_api import expect
from scripted_server import TIMEOUT, Scripted, refuse, respond_with

import qdfast
from qdfast.play import app
from qdfast.play.examples import Examples

pytestmark = pytest.mark.skipif(browser.executable() is None, reason="no chromium: apt-get install chromium")

SQUARE = [[[0, 200, 200, 0, 0], [0, 0, 200, 200, 0]], [[50, 150], [110, 110]]]


class Model(Scripted):
    """A server whose guess is ``says``, then the other classes of the tiny model."""

    says = "dog"

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.predict = self._answer

    def _answer(self, request: Any, context: Any) -> Any:
        labels = [self.says, *(c for c in tiny_model.CLASSES if c != self.says)]
        scores = np.linspace(0.6, 0.01, len(labels), dtype=np.float32)
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


def saved(page: Any) -> list[Any]:
    """The strokes of the board as the page's server simplifies them."""
    with page.expect_download() as download:
        page.click("#save")
    return json.loads(Path(download.value.path()).read_text())["drawing"]


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


# ---- drawing ----


@pytest.fixture(scope="module")
def trained(doodles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of a small network, made by the commands."""
    pytest.importorskip("tensorflow")
    from qdfast import cli

    out = tmp_path_factory.mktemp("play")
    for command in (
        ["prepare", doodles, "--out", out / "data", "--recognized", "any"],
        ["train", out / "data", "--out", out / "run", "--epochs", "1", "--batch", "32"],
        ["export", out / "run", "--out", out / "shapes"],
    ):
        assert cli.main([str(part) for part in command]) == 0
    return out / "shapes"


def test_a_drawing_gets_the_guess_of_its_twin(
    quickdraw: Path, trained: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    """Raw strokes on the canvas, and `predict` on Google's own simplified form of them: one answer."""
    raw, twins = pairs(quickdraw, 100)
    (tmp_path / "twins.ndjson").write_text("\n".join(map(json.dumps, twins)))
    command = [sys.executable, "-m", "qdfast", "play", "--model-dir", str(trained), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        page = visit(process.stdout.readline().split()[-1])
        seen = []
        for line in raw:
            page.click("#clear")
            browser.replay(page, browser.on_canvas(page, line["drawing"]))
            seen.append(browser.guesses(page)[0])
        expected = predicted(trained, tmp_path / "twins.ndjson")
    finally:
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    assert len(set(expected)) > 2  # the network tells some apart
    assert sum(a == b for a, b in zip(seen, expected, strict=True)) >= 95


def pairs(quickdraw: Path, count: int) -> tuple[list[Any], list[Any]]:
    """Lines of raw drawings of many classes, and the lines of the same drawings as Google has simplified them."""
    raw, twins = [], []
    for file in sorted((quickdraw / "raw").glob("*.ndjson")):
        lines = map(json.loads, (quickdraw / "simplified" / file.name).read_text().splitlines())
        known = {line["key_id"]: line for line in lines}
        for line in map(json.loads, file.read_text().splitlines()):
            if line["key_id"] in known:
                raw.append(line)
                twins.append(known[line["key_id"]])
                break
        if len(raw) == count:
            return raw, twins
    pytest.skip(f"{quickdraw}: only {len(raw)} raw drawings have a simplified twin")


def predicted(model_dir: Path, file: Path) -> list[str]:
    """What `predict` says of each line, by a server of the same model."""
    from qdfast.serve.server import Server

    with Server(model_dir) as server:
        command = [sys.executable, "-m", "qdfast", "predict", str(file), "-k", "1", "--model", server.name]
        done = subprocess.run([*command, "--target", f"127.0.0.1:{server.port}"], capture_output=True, check=True)
    return [json.loads(line)["labels"][0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("density", [1, 2.625])
def test_the_mouse_draws_what_it_does(url: str, visit: Callable[..., Any], density: float) -> None:
    """Through all of the browser, to a fraction of a pixel, and wherever the canvas happens to lie."""
    angles = np.linspace(0, 9, 60)
    spiral = [[(angles * np.cos(angles)).tolist(), (angles * np.sin(angles)).tolist()], [[9, 3], [-9, -9]]]
    page = visit(url, device_scale_factor=density, viewport={"width": 1023, "height": 777})
    strokes = browser.on_canvas(page, spiral)
    browser.draw(page, strokes)
    browser.guesses(page)
    assert_drawn(page, shares(page, strokes))


def test_a_pen_that_leaves_the_paper(url: str, visit: Callable[..., Any]) -> None:
    """The stroke goes on along the edge, is one stroke, and ends where the pen is lifted outside."""
    page = visit(url)
    box = page.locator("#canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 300, middle[1], steps=5)
    page.mouse.move(box["x"] + box["width"] + 300, box["y"] - 50, steps=5)
    page.mouse.up()
    page.mouse.move(*middle, steps=3)  # draws nothing
    with page.expect_request("**/api/ndjson") as request:
        page.click("#save")
    ((xs, ys),) = request.value.post_data_json["drawings"][0]["drawing"]
    assert (max(xs), min(ys)) == (1000, 0)
    assert (xs[-1], ys[-1]) == (1000, 0)


def test_pens_and_fingers(url: str, server: Model, visit: Callable[..., Any]) -> None:
    """Many points in one event, and the palm beside the pen."""
    page = visit(url)
    page.evaluate("""() => {
      const canvas = document.getElementById("canvas");
      const { left, top, width } = canvas.getBoundingClientRect();
      canvas.setPointerCapture = () => {};  // there is no such pen
      const event = (name, id, x, y, more) => new PointerEvent(name, {
        pointerId: id, pointerType: id === 7 ? "pen" : "touch", clientX: left + x * width, clientY: top + y * width,
        buttons: name === "pointerup" ? 0 : 1, bubbles: true, ...more,
      });
      const fire = (...what) => canvas.dispatchEvent(event(...what));
      fire("pointerdown", 7, 0.1, 0.1);
      fire("pointerdown", 8, 0.9, 0.9);
      fire("pointermove", 8, 0.8, 0.9);
      fire("pointermove", 7, 0.3, 0.3, { coalescedEvents: [
        event("pointermove", 7, 0.1, 0.2), event("pointermove", 7, 0.1, 0.3), event("pointermove", 7, 0.3, 0.3)] });
      fire("pointerup", 8, 0.8, 0.9);
      fire("pointermove", 7, 0.3, 0.1);
      fire("pointerup", 7, 0.3, 0.1);
      fire("pointerdown", 7, 0.5, 0.5, { button: 2 });
      fire("pointermove", 7, 0.5, 0.6);
    }""")
    assert_drawn(page, [[[0.1, 0.1], [0.1, 0.2], [0.1, 0.3], [0.3, 0.3], [0.3, 0.1]]])


def test_undo_clear_and_what_is_guessed_then(url: str, server: Model, visit: Callable[..., Any]) -> None:
    page = visit(url)
    browser.draw(page, browser.on_canvas(page, SQUARE))
    assert browser.guesses(page) == ["dog", "cat", "house", "sun", "árbol"]
    assert page.text_content("#says") == "I see dog"
    server.says = "sun"
    page.keyboard.press("Control+z")
    assert browser.guesses(page)[0] == "sun"
    assert saved(page) == simplified(SQUARE[:1])
    page.click("#clear")
    assert browser.guesses(page) == []
    assert page.text_content("#says") == ""
    assert page.evaluate(
        "() => { const c = document.getElementById('canvas');"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every(v => v === 0) }"
    )


def test_guesses_come_while_a_stroke_is_drawn(url: str, visit: Callable[..., Any]) -> None:
    page = visit(url)
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 200, steps=5)
    assert browser.guesses(page)[0] == "dog"
    page.mouse.up()


def test_the_keyboard_draws(url: str, visit: Callable[..., Any]) -> None:
    page = visit(url)
    assert page.locator("#pen").is_hidden()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "canvas"
    assert page.locator("#pen").is_visible()
    page.keyboard.press("Space")
    assert page.text_content("#pen-says") == "Pen down"
    for key in ["ArrowRight"] * 4 + ["Shift+ArrowRight"] * 5 + ["ArrowDown"] * 5:
        page.keyboard.press(key)
    page.keyboard.press("Space")
    assert page.text_content("#pen-says") == "Pen up"
    page.keyboard.press("ArrowLeft")
    assert browser.guesses(page)[0] == "dog"
    order = []
    for _ in range(6):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert order == ["undo", "clear", "what", "save", "six", "one"]
    right = [[0.5 + x, 0.5] for x in (0, 0.025, 0.05, 0.075, 0.1, 0.105, 0.11, 0.115, 0.12, 0.125)]
    assert_drawn(page, [[*right, *([0.625, 0.5 + y] for y in (0.025, 0.05, 0.075, 0.1, 0.125))]])


def test_what_is_saved_has_its_word(url: str, visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit(url)
    browser.draw(page, browser.on_canvas(page, SQUARE))
    page.fill("#what", "house")
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "house.ndjson"
    line = json.loads(Path(download.value.path()).read_text())
    assert line["word"] == "house"
    assert line["drawing"] == simplified(SQUARE)


def test_labels_are_text(server: Model, url: str, visit: Callable[..., Any]) -> None:
    server.says = "<img src=x onerror=alert(1)>"
    page = visit(url)
    browser.draw(page, browser.on_canvas(page, SQUARE))
    assert browser.guesses(page)[0] == server.says
    assert page.locator("#guesses img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_are_seen_in_light_and_dark(url: str, visit: Callable[..., Any], scheme: str) -> None:
    page = visit(url, color_scheme=scheme)
    browser.draw(page, browser.on_canvas(page, SQUARE))
    ink, paper, text, ground = page.evaluate("""() => {
      const canvas = document.getElementById("canvas");
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const at = pixels.findIndex((v, i) => i % 4 === 3 && v === 255) - 3;
      const of = (id, name) => getComputedStyle(document.querySelector(id))[name].match(/\\d+/g).slice(0, 3).map(Number);
      return [[...pixels.slice(at, at + 3)], of("#paper", "backgroundColor"), of("#how", "color"),
              of("body", "backgroundColor")];
    }""")
    assert contrast(ink, paper) > 7
    assert contrast(text, ground) > 4.5  # WCAG's AA
    assert (sum(paper) > sum(ink)) == (scheme == "light")


def contrast(a: list[int], b: list[int]) -> float:
    """WCAG's, of two colours (r, g, b)."""

    def luminance(colour: list[int]) -> float:
        c = np.array(colour) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted([luminance(a), luminance(b)])
    return (light + 0.05) / (dark + 0.05)


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
