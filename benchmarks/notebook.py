"""The Kaggle notebook that qdfast is compared with: its preprocessing, network and training.

    python benchmarks/notebook.py DATA --out RUN --report DIR [--epochs N] [--seed N] [--judge SRC]

Reimplements what the notebook does: json.loads and Python loops, Keras' pad_sequences to 196 steps, statistics over
all steps other than (0, 0), no masking (convolutions and LSTMs see the padding), recurrent dropout, ``Model.fit`` on
arrays in memory. Only the split differs (the notebook's is 80/20 by scikit-learn): it is that of DATA, a prepared
directory, so that all contestants train on the same drawings.

As a program, it trains on DATA's training split and keeps the weights with the lowest validation loss. Repeat the
command to resume, or give more epochs to continue. It writes RUN/history.json, with one entry per epoch, and
``metrics.json`` as `qdfast evaluate` does, for the validation split or for the drawings in SRC.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qdfast.dataset.prepared import Prepared, open_prepared
from qdfast.dataset.rows import Rows
from qdfast.dataset.sources import load_rows
from qdfast.errors import Error
from qdfast.learn.evaluation.evaluate import map_labels
from qdfast.learn.metrics import score
from qdfast.learn.training.history import checkpoint_path, commit, finalize_run
from qdfast.learn.training.runs import Run, run_info, start_run
from qdfast.learn.training.schedule import plateau
from qdfast.stats import DeltaStats
from qdfast.storage.files import only_writer, replacing, write_bytes
from qdfast.storage.names import BEST, METRICS

if TYPE_CHECKING:
    import keras

MAX_LEN, BATCH, LEARNING_RATE, EPOCHS, PATIENCE = 196, 128, 1e-3, 100, 10


# ---- preprocessing ----


def sequences(lines: Iterable[str]) -> list[list[list[int]]]:
    """Steps [dx, dy, pen] of the drawings; lines that are not drawings are skipped silently."""
    found = []
    for line in lines:
        try:
            drawing = json.loads(line)["drawing"]
        except (ValueError, KeyError):
            continue
        steps, last_x, last_y = [], 0, 0
        for stroke in drawing:
            xs, ys = stroke[0], stroke[1]
            for i in range(len(xs)):
                steps.append([xs[i] - last_x, ys[i] - last_y, 1 if i == len(xs) - 1 else 0])
                last_x, last_y = xs[i], ys[i]
        if len(steps) > 1:
            found.append(steps[:MAX_LEN])
    return found


def standardize(batch: np.ndarray) -> tuple[Any, Any]:
    """Standardize in place; returns the mean and standard deviation. Steps of (0, 0) lose their pen value."""
    real = (batch[:, :, 0] != 0) | (batch[:, :, 1] != 0)
    steps = batch[:, :, :2][real].astype(np.float64)
    mean, std = steps.mean(axis=0), steps.std(axis=0)
    batch[:, :, :2][real] = (steps - mean) / std
    batch[~real] = 0
    return mean, std


def arrays(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Read one ndjson file per class; returns the network's input, float32 (N, 196, 3), and one-hot labels (N, C)."""
    import keras

    steps, labels = [], []
    for label, file in enumerate(files):
        with file.open(encoding="utf-8") as lines:
            found = sequences(lines)
        steps += found
        labels += [label] * len(found)
    batch = keras.utils.pad_sequences(steps, maxlen=MAX_LEN, padding="post", truncating="post", dtype="float32")
    standardize(batch)
    return batch, keras.utils.to_categorical(labels, len(files))


# ---- the network ----


def network(classes: int, recurrent_dropout: float = 0.3) -> keras.Model:
    """The notebook's network, compiled as in the notebook. It gets no lengths, so it cannot ignore the padding."""
    import keras
    from keras import layers

    net = keras.Sequential([keras.Input((MAX_LEN, 3))], name="notebook")
    for filters, kernel in ((48, 5), (64, 5), (96, 3)):
        net.add(layers.Conv1D(filters, kernel, padding="same"))
        net.add(layers.BatchNormalization())
        net.add(layers.ReLU())
        net.add(layers.Dropout(0.2))
    net.add(layers.LSTM(128, return_sequences=True, dropout=0.3, recurrent_dropout=recurrent_dropout))
    net.add(layers.LSTM(128, dropout=0.3, recurrent_dropout=recurrent_dropout))
    net.add(layers.Dense(128))
    net.add(layers.BatchNormalization())
    net.add(layers.ReLU())
    net.add(layers.Dropout(0.4))
    net.add(layers.Dense(classes, activation="softmax"))
    metrics = ["accuracy", keras.metrics.TopKCategoricalAccuracy(3, name="top3")]
    net.compile(keras.optimizers.Adam(LEARNING_RATE), "categorical_crossentropy", metrics=metrics)
    return net


# ---- a run ----


def fed(rows: Rows, stats: DeltaStats) -> np.ndarray:
    """The same input as from ``arrays``, to float32 rounding; bench_train.py compares the two."""
    return rows.drawings(slice(None)).deltas(MAX_LEN, stats=stats, blank_zero_steps=True)[0]


def train(data: Prepared, out: Path, epochs: int, seed: int) -> Run:
    """The notebook's fit, one epoch at a time, so that it can resume after any epoch."""
    import keras

    training, validation = data.rows("train"), data.rows("validation")
    stats = statistics_of(data)
    keras.utils.set_random_seed(seed)
    net = network(len(data.classes))
    backend = keras.backend.backend()
    about = run_info(
        {"model": "notebook", "seed": seed}, data, training, validation,
        parameters=net.count_params(), backend=backend, packages=("keras", backend),
    )  # fmt: skip
    run = start_run(out, {**about, "stats": stats.to_dict()})
    history = run.history
    finalize_run(out, history)
    x, y = fed(training, stats), keras.utils.to_categorical(training.labels, len(data.classes))
    judged = fed(validation, stats)
    if history:
        net = keras.saving.load_model(checkpoint_path(out, len(history)))
    for epoch in range(len(history) + 1, epochs + 1):
        plan = plateau([e["val_loss"] for e in history], learning_rate=LEARNING_RATE, patience=PATIENCE)
        if plan.stop:
            break
        keras.utils.set_random_seed(1000 * seed + epoch)
        net.optimizer.learning_rate = plan.learning_rate
        begun = time.monotonic()
        fitted = net.fit(x, y, batch_size=BATCH, verbose=0).history
        trained = time.monotonic() - begun
        found = score(net.predict(judged, batch_size=512, verbose=0), validation.labels, data.classes)
        figures = {
            "epoch": epoch, "loss": fitted["loss"][0], "top1": fitted["accuracy"][0],
            "val_loss": found["loss"], "val_top1": found["top1"], "val_top3": found["top3"],
            "learning_rate": plan.learning_rate, "seconds": round(time.monotonic() - begun, 3),
            "drawings_per_s": round(len(x) / trained, 1),
        }  # fmt: skip
        history = [*history, figures]
        with replacing(checkpoint_path(out, epoch)) as temporary:
            net.save(temporary)
        commit(out, history)
        print(figures, flush=True)
    return run


def statistics_of(data: Prepared) -> DeltaStats:
    """Statistics of training and validation drawings together, as in the notebook."""
    return data.rows("all").drawings(slice(None)).delta_stats(MAX_LEN, blank_zero_steps=True)


def judge(run: Run, rows: Rows, out: Path, source: str) -> None:
    """``metrics.json`` as of ``qdfast.learn.evaluation.evaluate.evaluate``."""
    import keras

    net = keras.saving.load_model(run.path / BEST)
    probabilities = net.predict(fed(rows, run.stats), batch_size=512, verbose=0)
    metrics = {"run": run.name, "model": "notebook", "source": source}
    metrics |= score(probabilities, map_labels(rows, run.classes), run.classes)
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / METRICS, json.dumps(metrics, indent=2).encode() + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a prepared directory")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run directory")
    parser.add_argument("--report", type=Path, required=True, metavar="DIR", help="directory for metrics.json")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="maximum number of epochs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="(default: %(default)s)")
    parser.add_argument(
        "--judge", type=Path, metavar="SRC", help="drawings to evaluate on; default: the validation split"
    )
    options = parser.parse_args()
    source = options.judge or options.data
    try:
        with only_writer(options.out, "training in"):
            run = train(open_prepared(options.data), options.out, options.epochs, options.seed)
        rows = load_rows([source], recognized="any", trained_on=[run.info["data"]])
        judge(run, rows, options.report, str(source))
    except Error as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
