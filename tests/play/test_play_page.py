"""The page of `play` in a browser: drawing, by all that draws, and what is guessed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright")
pytest.importorskip("starlette")

import browser
from browser_fixtures import SQUARE, Model, assert_drawn, shares, simplified
from scripted_server import TIMEOUT

pytestmark = pytest.mark.skipif(browser.executable() is None, reason="no chromium: apt-get install chromium")


def saved(page: Any) -> list[Any]:
    """The strokes of the board as the page's server simplifies them."""
    with page.expect_download() as download:
        page.click("#save")
    drawing: list[Any] = json.loads(Path(download.value.path()).read_text())["drawing"]
    return drawing


@pytest.fixture(scope="module")
def trained(doodles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of a small network, made by the commands."""
    pytest.importorskip("tensorflow")
    from qdfast import cli

    out = tmp_path_factory.mktemp("play")
    for command in (
        ["prepare", doodles, "--out", out / "data", "--recognized", "any"],
        [
            "train",
            out / "data",
            "--out",
            out / "run",
            *["--epochs", "3", "--batch", "32", "--max-len", "128", "--buckets", "128"],
        ],
        ["export", out / "run", "--out", out / "shapes"],
    ):
        assert cli.main([str(part) for part in command]) == 0
    return out / "shapes"


def test_a_drawing_gets_the_guess_of_its_twin(
    quickdraw: Path, trained: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    """Raw strokes on the canvas, and `predict` on Google's own simplified form of them: one answer."""
    raw, twins = pairs(quickdraw, 40)
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
    assert sum(a == b for a, b in zip(seen, expected, strict=True)) >= 38


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
    """What `predict` says of each line."""
    command = [sys.executable, "-m", "qdfast", "predict", str(file), "-k", "1", "--model-dir", str(model_dir)]
    done = subprocess.run(command, capture_output=True, check=True)
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
