"""Compares the training speed of qdfast with the Kaggle notebook's code.

    python benchmarks/bench_train.py [DATA_DIR]

Everything runs in one process, on the same drawings and cores: the notebook's network and recipe (notebook.py) with
``Model.fit`` on arrays in memory, and ours with ``qdfast.learn.training.train.train`` from a prepared directory. A
round is one epoch of every contestant over all training drawings, followed by validation. Rounds alternate between the
contestants, and the table gives medians.

    drawings/s      training drawings divided by the seconds of training alone, as the trainer reports them (for the
                    notebook: between Keras' callbacks, from the start of the epoch to its last batch)
    whole epoch     the same by the wall clock from epoch to epoch. This includes validation and, for ours, writing the
                    checkpoint, and checks what the trainer reports
    start           extra seconds before epochs reach full speed: building, tracing, compiling. No other column includes
                    them: the notebook's network first trains on a few batches, and ours for one epoch

Before anything is timed, the notebook's arrays must equal ours to float32 rounding, drawing by drawing. The benchmark
stops if a loss is not finite, or if one of ours does not fall from one epoch to the next. Two more contestants separate
the causes of the difference: the notebook's network without recurrent dropout, and ours with it. The notebook pads all
drawings to 196 points. Ours pads to a few lengths, and truncates at the ``max_len`` in the table.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import notebook
import numpy as np
from common import Variant, cores, sample_lines, seconds, write_result

import qdfast
from qdfast._quiet import import_quietly
from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import Prepared
from qdfast.dataset.shards import read_shard
from qdfast.quickdraw.doodles import write_doodles
from qdfast.storage.names import SPLITS

MODELS = ("stroke_lstm", "stroke_conv", "stroke_bilstm", "stroke_lstm@mixed_bfloat16", "stroke_conv@mixed_bfloat16")


class Epoch(NamedTuple):
    """Seconds of training alone, of the whole epoch by the wall clock, and of the start before it."""

    trained: float
    whole: float
    start: float


class Data(NamedTuple):
    """``prepared``, and its two splits as the notebook's arrays."""

    prepared: Prepared
    training: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]


# ---- contestants ----


class Notebook:
    """The notebook's network and fit."""

    batch, max_len = notebook.BATCH, notebook.MAX_LEN

    def __init__(self, data: Data, recurrent_dropout: float) -> None:
        import keras

        self.data = data
        x, y = data.training
        few = notebook.BATCH + len(x) % notebook.BATCH  # covers both batch shapes
        begun = time.perf_counter()
        keras.utils.set_random_seed(0)
        self.net = notebook.network(len(data.prepared.classes), recurrent_dropout)
        self.parameters = self.net.count_params()
        self._fit(x[:few], y[:few])
        self.start = time.perf_counter() - begun

    def round(self, number: int) -> Epoch:
        trained, whole, loss = self._fit(*self.data.training)
        if not math.isfinite(loss):
            sys.exit(f"the notebook's network: the loss is {loss}")
        return Epoch(trained, whole, self.start)

    def _fit(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
        """Seconds of training, seconds of the whole epoch, and the loss."""
        import keras

        class Clock(keras.callbacks.Callback):  # type: ignore[misc]
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                self.begun = time.perf_counter()

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                self.trained = time.perf_counter()

        clock = Clock()
        history = self.net.fit(
            x, y, batch_size=notebook.BATCH, validation_data=self.data.validation, callbacks=[clock], verbose=0
        )
        return clock.trained - clock.begun, time.perf_counter() - clock.begun, history.history["loss"][0]


class Ours:
    """``train`` with ``arguments``: one epoch to warm up, and one that is measured."""

    def __init__(self, data: Data, folder: Path, arguments: dict[str, Any]) -> None:
        self.data, self.folder, self.arguments = data, folder, arguments
        self.parameters = self.batch = self.max_len = 0  # known after a round

    def round(self, number: int) -> Epoch:
        from qdfast.learn.training.runs import load_run
        from qdfast.learn.training.train import train

        ends: list[float] = []  # of the epochs

        def log(line: str) -> None:
            if line.startswith("epoch"):
                ends.append(time.perf_counter())

        out = Path(tempfile.mkdtemp(dir=self.folder))
        begun = time.perf_counter()
        train(self.data.prepared, out, epochs=2, seed=number, log=log, **self.arguments)
        run = load_run(out)
        first, second = run.history
        self.parameters, self.batch, self.max_len = run.info["parameters"], run.arguments["batch"], run.max_len
        whole = ends[1] - ends[0]
        trained = run.info["data"]["train"] / second["drawings_per_s"]
        if run.info["data"]["train"] != len(self.data.training[0]):
            sys.exit(f"{self.arguments}: trained on {run.info['data']['train']} drawings")
        if not second["loss"] < first["loss"]:
            sys.exit(f"{self.arguments}: the loss does not fall: {first['loss']} {second['loss']}")
        if trained > whole:
            sys.exit(f"{self.arguments}: the trainer reports {trained:.2f} s, but the wall clock {whole:.2f} s")
        return Epoch(trained, whole, ends[0] - begun - whole)


def contestants(data: Data, folder: Path, models: list[Variant]) -> dict[str, Notebook | Ours]:
    dropout = {"model": "stroke_lstm", "recurrent_dropout": 0.3}
    return {
        "the notebook, Model.fit": Notebook(data, 0.3),
        "  without recurrent dropout": Notebook(data, 0.0),
        "qdfast stroke_lstm, recurrent dropout": Ours(data, folder, dropout),
        **{f"qdfast {v.name}": Ours(data, folder, v.arguments) for v in models},
    }


# ---- preprocessing ----


def notebook_data(files: list[Path], prepared: Prepared) -> Data:
    """The notebook's arrays in the splits of ``prepared``; exits if the drawings differ."""
    x, y = notebook.arrays(files)
    stats = notebook.statistics_of(prepared)
    splits = []
    sides = np.concatenate([split for _, split in map(read_shard, prepared.shard_paths)])
    for side, name in enumerate(SPLITS):
        rows, mine = prepared.rows(name), sides == side
        same = np.array_equal(y[mine].argmax(axis=1), rows.labels)
        if not same or not np.allclose(notebook.fed(rows, stats), x[mine], rtol=1e-5, atol=1e-6):
            sys.exit(f"{name}: the notebook's drawings differ")
        splits.append((x[mine], y[mine]))
    return Data(prepared, *splits)


def preprocessing(files: list[Path], folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds from ndjson files in the page cache to training data."""

    def arrays() -> None:
        drawings = qdfast.read_ndjson(files, recognized="any")
        stats = drawings.delta_stats(notebook.MAX_LEN, blank_zero_steps=True)
        drawings.deltas(notebook.MAX_LEN, stats=stats, blank_zero_steps=True)

    ways: dict[str, Callable[[], object]] = {
        "the notebook, to arrays": lambda: notebook.arrays(files),
        "qdfast, to the same arrays": arrays,
        "qdfast prepare, to shards": lambda: prepare(files, tempfile.mkdtemp(dir=folder), recognized="any"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + rounds):
        for name, run in ways.items():
            times[name].append(seconds(run))
    return {name: took[1:] for name, took in times.items()}  # the first warmed up


# ---- the report ----


def report_preprocessing(times: dict[str, list[float]], drawings: int) -> list[dict[str, Any]]:
    slow = statistics.median(next(iter(times.values())))
    print(f"\n{'ndjson to training data':40} {'drawings/s':>12} {'ratio':>7}")
    rows = []
    for name, took in times.items():
        median = statistics.median(took)
        rows.append({"name": name, "drawings_per_s": round(drawings / median), "seconds": [round(t, 4) for t in took]})
        print(f"{name:40} {drawings / median:12,.0f} {slow / median:6.1f}x")
    return rows


def report_training(rounds: dict[str, list[Epoch]], by: dict[str, Any], drawings: int) -> list[dict[str, Any]]:
    base = [statistics.median(column) for column in zip(*next(iter(rounds.values())), strict=True)]
    print(
        f"\n{'training':40} {'parameters':>10} {'batch':>6} {'max_len':>7} {'drawings/s':>11} {'ratio':>7} "
        f"{'whole epoch':>12} {'ratio':>7} {'start s':>8}"
    )
    rows = []
    for name, epochs in rounds.items():
        trained, whole, start = (statistics.median(column) for column in zip(*epochs, strict=True))
        rows.append({
            "name": name.strip(), "parameters": by[name].parameters, "batch": by[name].batch,
            "max_len": by[name].max_len,
            "drawings_per_s": round(drawings / trained, 1), "ratio": round(base[0] / trained, 2),
            "whole_epoch_drawings_per_s": round(drawings / whole, 1), "whole_epoch_ratio": round(base[1] / whole, 2),
            "start_s": round(start, 1), "seconds": [[round(s, 3) for s in e[:2]] for e in epochs],
        })  # fmt: skip
        print(
            f"{name:40} {by[name].parameters:10,} {by[name].batch:6} {by[name].max_len:7} {drawings / trained:11,.0f} "
            f"{base[0] / trained:6.1f}x {drawings / whole:12,.0f} {base[1] / whole:6.1f}x {start:8.1f}"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="directory of .ndjson files; default: procedural doodles")
    parser.add_argument(
        "--drawings", type=int, default=8000, help="drawings to sample from all files (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="cores to use (default: %(default)s)")
    parser.add_argument(
        "--models", nargs="+", type=Variant.parse, default=[Variant.parse(name) for name in MODELS],
        metavar="MODEL[+RECIPE][@PRECISION]", help=f"default: {' '.join(MODELS)}",
    )  # fmt: skip
    options = parser.parse_args()
    with cores(options.cores), tempfile.TemporaryDirectory() as tmp:
        import_quietly("keras")  # only now: at import, TensorFlow starts as many threads as there are usable cores
        import keras

        folder = Path(tmp)
        sources = sorted(options.data.glob("*.ndjson")) if options.data else write_doodles(folder / "doodles")
        files = sample_lines(sources, folder / "drawings", options.drawings)
        data = notebook_data(files, prepare(files, folder / "data", recognized="any"))
        n = len(data.training[0])
        lengths = data.prepared.rows("train").lengths
        print(
            f"{n:,} training drawings, {len(data.validation[0]):,} validation drawings, {len(files)} classes, "
            f"{lengths.mean():.1f} points each (median {np.median(lengths):.0f}); {options.cores} cores, "
            f"{keras.backend.backend()} on {', '.join(keras.distribution.list_devices())}",
            flush=True,
        )
        times = preprocessing(files, folder, options.rounds)
        before = report_preprocessing(times, sum(data.prepared.counts().values()))
        entries = contestants(data, folder, options.models)
        rounds: dict[str, list[Epoch]] = {name: [] for name in entries}
        for number in range(options.rounds):
            for name, contestant in entries.items():
                rounds[name].append(contestant.round(number))
                print(f"round {number + 1}/{options.rounds}: {name.strip()}", file=sys.stderr, flush=True)
        rows = report_training(rounds, entries, n)
        result = {
            "input": options.data.name if options.data else "doodles", "drawings": n,
            "validation_drawings": len(data.validation[0]), "points_a_drawing": round(float(lengths.mean()), 1),
            "cores_used": options.cores, "backend": keras.backend.backend(),
            "devices": keras.distribution.list_devices(), "preprocessing": before, "training": rows,
        }  # fmt: skip
    print(write_result("train", result))


if __name__ == "__main__":
    main()
