"""Measures the time from the end of a stroke to its guess on the screen.

    python benchmarks/bench_play.py MODEL_DIR [--data DIR] [--drawings 100]

Runs `qdfast play` with the embedded server, and headless Chromium on the same cores. The mouse draws the drawings
(from --data, else procedural) in the browser. The page measures from the time stamp of the event that ends a stroke
until the frame with the guess for that drawing is painted, in milliseconds. The screen refreshes 60 times a second, so
up to 17 ms are the wait for the next frame.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from common import QDFAST, cores, write_result

from qdfast.play.examples import Examples
from qdfast.quickdraw.doodles import CLASSES, doodle

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import browser

WARM_UP = 5  # drawings

# aria-busy is "false" when the guesses belong to the current drawing. A task queued by a frame's callback runs after
# that frame has been painted.
MEASURE = """() => {
  const guesses = document.getElementById("guesses");
  window.times = [];
  let begun = null;
  document.getElementById("canvas").addEventListener("pointerup", (event) => { begun = event.timeStamp; }, true);
  const painted = (since) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => window.times.push(performance.now() - since);
    port2.postMessage(null);
  });
  new MutationObserver(() => {
    if (begun === null || guesses.getAttribute("aria-busy") !== "false") return;
    painted(begun);
    begun = null;
  }).observe(guesses, { attributes: true });
}"""


def drawings_of(data: Path | None, count: int) -> list[Any]:
    examples = Examples([data] if data else ())
    rng = np.random.default_rng(0)
    if data is None:
        return [doodle(CLASSES[i % len(CLASSES)], rng) for i in range(count)]
    return [examples.sample(examples.classes[i % len(examples.classes)], 1)[0][0] for i in range(count)]


def measure(url: str, drawings: list[Any]) -> list[float]:
    """Milliseconds from the end of each stroke to its guess."""
    times: list[float] = []
    with browser.chromium() as running:
        page = running.new_page()
        page.goto(url)
        page.evaluate(MEASURE)
        for i, drawing in enumerate(drawings):
            page.click("#clear")
            for stroke in browser.on_canvas(page, drawing):
                browser.draw(page, [stroke])
                browser.guesses(page)
                page.evaluate("() => new Promise((done) => setTimeout(done, 50))")  # wait until it has been painted
            if i < WARM_UP:
                page.evaluate("() => { window.times = []; }")
        times += page.evaluate("() => window.times")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, help="written by `qdfast export`")
    parser.add_argument("--data", type=Path, metavar="DIR", help="directory of .ndjson files, or a prepared one")
    parser.add_argument("--drawings", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="cores to use (default: %(default)s)")
    options = parser.parse_args()
    if browser.executable() is None:
        sys.exit(f"none of {', '.join(browser.NAMES)} is on the PATH")
    drawings = drawings_of(options.data, options.drawings + WARM_UP)
    with cores(options.cores):
        command = [*QDFAST, "play", "--model-dir", str(options.model_dir), "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            times = measure(process.stdout.readline().split()[-1], drawings)
        finally:
            process.terminate()
            process.wait()
    strokes = sum(map(len, drawings[WARM_UP:]))
    if len(times) != strokes:
        sys.exit(f"only {len(times)} guesses were painted for {strokes} strokes; no result is written")
    p50, p90, p99 = (round(float(q), 1) for q in np.percentile(times, (50, 90, 99)))
    print(f"{strokes:,} strokes, end to painted guess: p50 {p50} ms, p90 {p90} ms, p99 {p99} ms")
    chromium = subprocess.run([str(browser.executable()), "--version"], capture_output=True, text=True).stdout.strip()
    about = {"chromium": chromium, "playwright": version("playwright"), "cores_used": options.cores}
    print(write_result("play", {**about, "strokes": strokes, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}))


if __name__ == "__main__":
    main()
