"""How fast does a GPU train? Seconds an epoch and drawings a second, and seconds to an accuracy.

    KERAS_BACKEND=jax python benchmarks/bench_gpu.py [DIR]

Or with KERAS_BACKEND=tensorflow; without a GPU it runs as well, and says so. DIR holds .ndjson files (all drawings,
whatever their `recognized`). Every model and precision trains some epochs on 240,000 procedural doodles of 24 classes
(and is judged by some 27,000), and on DIR if it is given, by the function behind `qdfast train`, with the drawings
resident on the device. The first epoch compiles and is told apart; of the others the median counts, validation
included. Then, on DIR or else the doodles, the default model trains by its whole recipe: when had it reached --accuracy
on the validation split (compilation included), when was it done, and how good was it then?
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import write_result

from qdfast.doodles import CLASSES, write_doodles
from qdfast.prepare import prepare

BUCKETS = (48,)  # a shape more takes seconds to compile, and saves a GPU little


def device() -> str:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return f"{jax.devices()[0].device_kind}, jax {jax.__version__}, keras {keras.__version__}"
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    kinds = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in found]
    return f"{', '.join(kinds) or 'cpu'}, tensorflow {tf.__version__}, keras {keras.__version__}"


def draw_doodles(out: Path, per_class: int) -> None:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for drawn in [pool.submit(write_doodles, out, classes=[name], per_class=per_class) for name in CLASSES]:
            drawn.result()


def run(data: Any, out: Path, **arguments: Any) -> dict[str, Any]:
    from qdfast.learn.runs import load_run
    from qdfast.learn.train import train

    lines: list[str] = []
    begun = time.monotonic()
    train(data, out, buckets=BUCKETS, resident=True, log=lines.append, **arguments)
    return {"seconds": time.monotonic() - begun, "about": lines[1].partition(": ")[2], "history": load_run(out).history}


def speed(name: str, data: Any, out: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each model and precision."""
    rows = []
    drawings = len(data.rows("train"))
    for model in options.models:
        for precision in options.precisions:
            got = run(
                data,
                out / f"{name}-{model}-{precision}",
                model=model,
                precision=precision,
                epochs=options.epochs,
                batch=options.batch,
            )
            first, *others = got["history"]
            seconds = statistics.median(e["seconds"] for e in others)
            rate = statistics.median(e["drawings_per_s"] for e in others)
            row = {
                "data": name,
                "drawings": drawings,
                "model": model,
                "precision": precision,
                "first_epoch_s": first["seconds"],
                "epoch_s": round(seconds, 3),
                "drawings_per_s": round(rate),
                "val_top1": others[-1]["val_top1"],
                "about": got["about"],
            }
            rows.append(row)
            print(
                f"{name:8} {drawings:9,} {model:14} {precision:15} {first['seconds']:8.1f} {seconds:8.2f} {rate:12,.0f}"
                f"  {got['about']}",
                flush=True,
            )
    return rows


def to_accuracy(name: str, data: Any, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The default model by its recipe, on larger batches."""
    got = run(data, out / "whole", precision=options.precisions[-1], batch=options.batch, epochs=options.whole_epochs)
    passed, reached = 0.0, None
    for epoch in got["history"]:
        passed += epoch["seconds"]
        if reached is None and epoch["val_top1"] >= options.accuracy:
            reached = round(passed, 2)
    last = got["history"][-1]
    when = "not reached" if reached is None else f"reached after {reached:.1f} s of training"
    print(
        f"{name}: top-1 {options.accuracy:.1%} {when}; {len(got['history'])} epochs took {passed:.0f} s, "
        f"{got['seconds']:.0f} s with all else: top-1 {last['val_top1']:.2%}, top-3 {last['val_top3']:.2%}"
    )
    return {
        "data": name,
        "accuracy": options.accuracy,
        "reached_s": reached,
        "epochs": len(got["history"]),
        "batch": options.batch,
        "precision": options.precisions[-1],
        "training_s": round(passed, 2),
        "all_s": round(got["seconds"], 2),
        "val_top1": last["val_top1"],
        "val_top3": last["val_top3"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", nargs="?", type=Path, help="directory of .ndjson files")
    parser.add_argument("--models", nargs="+", default=["stroke_lstm", "stroke_conv"], metavar="NAME")
    parser.add_argument("--precisions", nargs="+", default=["float32", "mixed_bfloat16"], metavar="NAME")
    parser.add_argument("--doodles", type=int, default=240_000, metavar="N", help="doodles to train on; 0: none")
    parser.add_argument("--batch", type=int, default=1024, metavar="N")
    parser.add_argument("--epochs", type=int, default=4, metavar="N", help="of each measurement of speed, at least 2")
    parser.add_argument(
        "--whole-epochs", type=int, default=24, metavar="N", help="of the whole recipe; 0: leave it out"
    )
    parser.add_argument("--accuracy", type=float, default=0.847, metavar="SHARE", help="top-1 to reach")
    options = parser.parse_args()
    if options.epochs < 2 or not (options.dir or options.doodles):
        parser.error("at least 2 epochs, and DIR or doodles")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    result: dict[str, Any] = {"device": device(), "batch": options.batch, "buckets": BUCKETS, "speed": []}
    print(f"{result['device']}, batches of {options.batch}")
    print(f"{'':8} {'drawings':>9} {'model':14} {'precision':15} {'first s':>8} {'epoch s':>8} {'drawings/s':>12}")
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        data: dict[str, Any] = {}
        if options.doodles:
            draw_doodles(tmp / "doodles", round(options.doodles / 0.9 / len(CLASSES)))
            doodles = prepare(tmp / "doodles", tmp / "doodles-data", recognized="any", log=lambda line: None)
            data["doodles"] = doodles
        if options.dir:
            data[options.dir.name] = prepare(options.dir, tmp / "data", recognized="any", log=lambda line: None)
        for which, prepared in data.items():
            result["speed"] += speed(which, prepared, tmp / "runs", options)
            write_result("gpu", result)
        if options.whole_epochs:
            which, prepared = list(data.items())[-1]
            result["whole"] = to_accuracy(which, prepared, tmp / "runs", options)
        print(write_result("gpu", result))


if __name__ == "__main__":
    main()
