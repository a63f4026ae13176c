"""Measures the latency of a SavedModel in this process, without a server.

    python benchmarks/bench_latency.py [--cores 2]

Trains each network for one epoch on a few procedural doodles (the training does not affect the latency), exports it as
`qdfast export` does, and loads it: plain graphs, no XLA. Drawings have 40 points and are padded to the length in the
table. After a warm-up, models take turns, one call each. The table gives milliseconds per call.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import cores, write_result

from qdfast._quiet import import_quietly
from qdfast.dataset.prepare import prepare
from qdfast.quickdraw.doodles import write_doodles

SHAPES = ((1, 40), (1, 128), (32, 40))  # (drawings, padded length)
POINTS = 40


def exported(tmp: Path, model: str, data: Any) -> Any:
    import tensorflow as tf

    from qdfast.learn.export.export import export
    from qdfast.learn.training.train import train

    train(data, tmp / model, model=model, epochs=1, max_len=128, buckets=(), log=lambda line: None)
    return tf.saved_model.load(str(export(tmp / model, tmp / "models" / model))).signatures["serving_default"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["stroke_conv", "stroke_bilstm", "stroke_lstm"], metavar="NAME")
    parser.add_argument("--calls", type=int, default=500, help="timed calls per model (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="cores to use (default: %(default)s)")
    options = parser.parse_args()
    with cores(options.cores), tempfile.TemporaryDirectory() as name:
        import_quietly("tensorflow")
        import tensorflow as tf

        tmp = Path(name)
        write_doodles(tmp / "doodles", per_class=20)
        data = prepare(tmp / "doodles", tmp / "data", log=lambda line: None)
        answers = {model: exported(tmp, model, data) for model in options.models}
        rows = []
        print(f"{'':16} {'drawings':>8} {'padded to':>9} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8}")
        for batch, steps in SHAPES:
            deltas = np.zeros((batch, steps, 3), np.int16)
            deltas[:, :POINTS, :2] = np.random.default_rng(0).integers(-9, 9, (batch, POINTS, 2))
            inputs = {"deltas": tf.constant(deltas), "lengths": tf.constant(np.full(batch, POINTS, np.int32))}
            times: dict[str, list[float]] = {model: [] for model in answers}
            for call in range(options.calls + 20):
                for model, answer in answers.items():
                    begun = time.perf_counter()
                    answer(**inputs)["probabilities"].numpy()
                    if call >= 20:
                        times[model].append(1000 * (time.perf_counter() - begun))
            for model, took in times.items():
                p50, p90, p99 = (round(float(q), 2) for q in np.percentile(took, (50, 90, 99)))
                rows.append(
                    {"model": model, "drawings": batch, "steps": steps, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}
                )
                print(f"{model:16} {batch:8} {steps:9} {p50:8.2f} {p90:8.2f} {p99:8.2f}")
        print(write_result("latency", {"cores_used": options.cores, "points": POINTS, "rows": rows}))


if __name__ == "__main__":
    main()
