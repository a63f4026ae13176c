"""Measures the time and the peak memory of writing a report from a model's predictions.

    python benchmarks/bench_report.py [--drawings N] [--classes C] [--keep DIR]

Makes up predictions for made-up drawings that are about as long as Google's. A separate process reads the
probabilities, computes the metrics and writes the whole report, as `qdfast evaluate` does after the network has
predicted. The output gives the seconds of each round, from reading to the last file, and the peak resident memory of
the process, including imports.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from common import write_result

from qdfast import Drawings
from qdfast.dataset.rows import Rows

POINTS, STROKES = 45, 5  # per drawing, on average
RIGHT = (
    5.5  # added to the logit of the true class; the others are standard normal. Gives 90 % accuracy with 345 classes
)


def probabilities(rng: np.random.Generator, labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 (n, classes), slightly overconfident."""
    out = rng.standard_normal((len(labels), classes), np.float32)
    out[np.arange(len(labels)), labels] += rng.normal(RIGHT, 1.5, len(labels)).astype(np.float32)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)
    return out


def drawings(rng: np.random.Generator, n: int) -> Drawings:
    """Scribbles of all lengths."""
    strokes = rng.geometric(1 / STROKES, n)
    points = 1 + rng.geometric(STROKES / POINTS, strokes.sum())
    x, y = rng.integers(0, 256, (2, points.sum()), np.uint8)
    return Drawings(
        x,
        y,
        np.concatenate([[0], points.cumsum()]),
        np.concatenate([[0], strokes.cumsum()]),
        key_id=np.arange(1, n + 1, dtype=np.uint64),
        countrycode=rng.choice(np.array([b"US", b"FI", b"DE", b"", b"SA", b"BR"]), n),
    )


def make(directory: Path, n: int, classes: int) -> None:
    """Write a run with that many classes, and its predictions for ``n`` drawings."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n).astype(np.int32)
    np.save(directory / "labels.npy", labels)
    np.save(directory / "probabilities.npy", probabilities(rng, labels, classes))
    epoch = {"loss": 0.5, "val_loss": 0.4, "top1": 0.8, "val_top1": 0.85, "val_top3": 0.95, "seconds": 60.0}
    history = [{"epoch": i, "temperature": 1.1, **epoch} for i in range(1, 25)]
    run = {
        "arguments": {"model": "made_up"}, "classes": [f"class {i}" for i in range(classes)],
        "stats": {"n": 0, "sum": [0, 0], "sum_sq": [0, 0]}, "data": {"path": "", "digest": "", "train": n},
        "parameters": 1, "backend": "none", "versions": {},
    }  # fmt: skip
    for name, content in (("run.json", run), ("history.json", {"epochs": history})):
        (directory / name).write_bytes(orjson.dumps({"format": 1, **content}))


def report(directory: Path) -> dict[str, Any]:
    """Write the report on what ``make`` has written; returns seconds and peak resident MiB."""
    from qdfast.learn.evaluation.predictions import Predictions, summarize, summarize_run
    from qdfast.learn.evaluation.report import write_report
    from qdfast.learn.models.calibration import scale_by_temperature
    from qdfast.learn.training.runs import load_run

    run, labels = load_run(directory), np.load(directory / "labels.npy")
    rng = np.random.default_rng(1)
    rows = Rows.from_drawings([(drawings(rng, len(labels)), labels)], run.classes)
    begun = time.perf_counter()
    raw = np.load(directory / "probabilities.npy")
    predictions = Predictions(
        run, rows, labels, raw, scale_by_temperature(raw, run.temperature or 1.0), 1.0,
        lambda some: probabilities(rng, some.labels, len(run.classes)),
    )  # fmt: skip
    metrics = {**summarize(predictions, "made-up drawings"), "runs": [summarize_run(predictions)]}
    write_report(metrics, predictions, directory / "report")
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--classes", type=int, default=345, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the inputs and the report in DIR")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(orjson.dumps(report(options.child)).decode())
        return
    with tempfile.TemporaryDirectory() as tmp:
        directory = options.keep or Path(tmp)
        directory.mkdir(parents=True, exist_ok=True)
        make(directory, options.drawings, options.classes)
        command = [sys.executable, __file__, "--child", str(directory)]
        rounds = [orjson.loads(subprocess.check_output(command)) for _ in range(options.rounds)]
        page = (directory / "report" / "report.html").stat().st_size
    for r in rounds:
        print(f"{r['seconds']:6.2f} s  {r['peak_rss_mib']:6.0f} MiB")
    print(f"report.html: {page / 1e6:.1f} MB")
    result = {
        "drawings": options.drawings, "classes": options.classes, "seconds": [round(r["seconds"], 2) for r in rounds],
        "peak_rss_mib": round(max(r["peak_rss_mib"] for r in rounds)), "page_mb": round(page / 1e6, 2),
    }  # fmt: skip
    print(write_result("report", result))


if __name__ == "__main__":
    main()
