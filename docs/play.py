"""The picture of the game in the README.

    python docs/play.py MODEL_DIR FILE [--line 1]      # writes docs/play.png

Starts `qdfast play`, is asked for the class of FILE (<class>.ndjson), and draws the drawing of one of its lines.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from qdfast.play.examples import exported_classes
from qdfast.storage.class_names import label_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import browser

OUT = Path(__file__).with_suffix(".png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--line", type=int, default=1)
    options = parser.parse_args()
    words = exported_classes(options.model_dir)
    chance = (words.index(label_of(options.file)) + 0.5) / len(words)  # that chooses this word
    drawing = json.loads(options.file.read_text().splitlines()[options.line - 1])["drawing"]
    command = [sys.executable, "-m", "qdfast", "play", "--model-dir", str(options.model_dir), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with browser.chromium() as running:
            page = running.new_page(viewport={"width": 940, "height": 640})
            page.add_init_script(f"Math.random = () => {chance}")
            page.goto(url)
            page.click("#one")
            page.get_by_role("button", name="Got it!").click()
            browser.replay(page, browser.on_canvas(page, drawing, 0.8))
            page.get_by_text("Oh, I know").wait_for()
            page.screenshot(path=OUT)
    finally:
        process.terminate()
        process.wait()
    print(OUT)


if __name__ == "__main__":
    main()
