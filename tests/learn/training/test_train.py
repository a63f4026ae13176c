"""Training: the schedule against Keras' callbacks, and runs that go on as if nothing had happened."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from earlier_versions import run_without_digests
from hypothesis import given
from hypothesis import strategies as st
from paths import python_path
from tiny_network import add_tiny

from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import Prepared, open_prepared
from qdfast.errors import DataError
from qdfast.learn.training.history import FIGURES, checkpoint_path
from qdfast.learn.training.runs import Run, load_run
from qdfast.quickdraw.doodles import write_doodles
from qdfast.storage.files import only_writer

keras = pytest.importorskip("keras")

from qdfast.learn.evaluation.evaluate import evaluate  # noqa: E402
from qdfast.learn.training.schedule import plateau  # noqa: E402
from qdfast.learn.training.train import train  # noqa: E402
from qdfast.learn.training.trainer import Trainer, TrainingError  # noqa: E402

pytestmark = pytest.mark.slow

ARGUMENTS: dict[str, Any] = {"model": "tiny", "batch": 32, "max_len": 96, "learning_rate": 3e-3}

# A ninth of the drawings: each size of a batch is another graph, which takes a second to trace.
ONE_SIZE = {**ARGUMENTS, "batch": 73}


@pytest.fixture(autouse=True)
def _tiny() -> None:
    add_tiny()


def silent(line: str) -> None:
    pass


def timeless(run: Run) -> list[dict[str, float]]:
    return [{k: v for k, v in e.items() if k not in ("seconds", "drawings_per_s")} for e in run.history]


def last_state(run: Run) -> list[np.ndarray]:
    """Weights and optimizer state after the last epoch."""
    net = keras.saving.load_model(checkpoint_path(run.path, len(run.history)))
    return [np.asarray(v) for v in [*net.weights, *net.optimizer.variables]]


def assert_equal_runs(a: Run, b: Run) -> None:
    assert timeless(a) == timeless(b)
    states = last_state(a), last_state(b)
    assert len(states[0]) == len(states[1]) > 20
    for x, y in zip(*states, strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(a.load_model().weights, b.load_model().weights, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


# ---- the schedule ----


@given(st.lists(st.sampled_from([1.0, 0.9, 0.89995, 0.8, 0.5, 0.3]), max_size=40), st.integers(1, 12))
def test_the_schedule_is_that_of_keras_callbacks(losses: list[float], patience: int) -> None:
    model = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=1e-3), stop_training=False)
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(factor=0.2, patience=5, min_lr=1e-6),
        keras.callbacks.EarlyStopping(patience=patience),
    ]
    for c in callbacks:
        c.set_model(model)
        c.on_train_begin()
    for n in range(len(losses) + 1):
        plan = plateau(losses[:n], learning_rate=1e-3, patience=patience)
        assert plan.learning_rate == pytest.approx(model.optimizer.learning_rate, rel=1e-4)
        assert plan.stop == model.stop_training
        if plan.stop or n == len(losses):
            break
        for c in callbacks:
            c.on_epoch_end(n, {"val_loss": losses[n]})


def test_the_learning_rate_falls_to_its_floor_and_never_rises() -> None:
    assert plateau([1.0] * 100, learning_rate=1e-3, patience=1000).learning_rate == 1e-6
    assert plateau([1.0] * 100, learning_rate=1e-7, patience=1000).learning_rate == 1e-7


# ---- a run ----


def test_a_run_directory_explains_itself(tiny_run: Run, prepared: Prepared) -> None:
    path = tiny_run.path
    names = {p.name for p in path.iterdir()}
    assert names - {"tensorboard"} == {"run.json", "history.json", "log.csv", "best.keras", "checkpoint-0002.keras"}
    info = json.loads((path / "run.json").read_text())
    assert info["classes"] == list(prepared.classes)
    assert info["stats"] == prepared.stats("train").to_dict()
    assert info["data"] == {
        "path": str(prepared.path.resolve()),
        "digest": prepared.digest,
        "train": len(prepared.rows("train")),
        "validation": len(prepared.rows("validation")),
    }
    assert info["parameters"] == tiny_run.load_model().count_params()
    assert info["backend"] == keras.backend.backend()
    assert info["versions"]["keras"] == keras.__version__
    table = list(csv.DictReader((path / "log.csv").read_text().splitlines()))
    assert tuple(table[0]) == FIGURES
    assert [{k: float(v) for k, v in row.items()} for row in table] == tiny_run.history


def test_tensorboard_reads_it(tiny_run: Run) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tiny_run.path / "tensorboard"))
    events.Reload()
    for tag, name in {
        "loss/validation": "val_loss",
        "top-1/training": "top1",
        "learning rate": "learning_rate",
    }.items():
        assert [(e.step, e.value) for e in events.Scalars(tag)] == [
            (e["epoch"], pytest.approx(e[name])) for e in tiny_run.history
        ]


def test_it_learns(tiny_run: Run) -> None:
    first, second = tiny_run.history
    assert second["loss"] < first["loss"] < math.log(6) + 0.3
    assert second["val_top1"] > 2 / 6
    assert second["val_top3"] > second["val_top1"]


def test_the_validation_figures_are_those_of_evaluate(tiny_run: Run, prepared: Prepared, tmp_path: Path) -> None:
    best = min(tiny_run.history, key=lambda e: e["val_loss"])
    got = evaluate(tiny_run, prepared.rows("validation"), tmp_path)
    assert got["top1"] == best["val_top1"]
    assert got["top3"] == best["val_top3"]
    assert got["calibration"]["loss"] == pytest.approx(best["val_loss"], abs=1e-6)
    assert got["calibration"]["temperature"] == best["temperature"]


def test_a_finished_run_says_so_and_is_left_as_it_is(tiny_run: Run, prepared: Prepared) -> None:
    before = {p.name: p.read_bytes() for p in tiny_run.path.rglob("*") if p.is_file()}
    lines: list[str] = []
    got = train(prepared, tiny_run.path, **ARGUMENTS, epochs=2, log=lines.append)
    assert {p.name: p.read_bytes() for p in tiny_run.path.rglob("*") if p.is_file()} == before
    assert "; finished so far: 2 epochs" in lines[0]
    assert "finished, 2 epochs; the best is epoch" in lines[-1]
    assert (got.epochs, got.figures) == (2, tiny_run.history[got.best_epoch - 1])


def test_more_epochs_go_on_as_if_they_had_been_asked_for_at_once(prepared: Prepared, tmp_path: Path) -> None:
    arguments = {**ONE_SIZE, "precision": "mixed_float16", "seed": 7, "log": silent}
    for epochs in (1, 3):
        train(prepared, tmp_path / "two calls", **arguments, epochs=epochs)
    figures: list[dict[str, float]] = []
    train(prepared, tmp_path / "one call", **arguments, epochs=3, on_epoch=figures.append)
    assert figures == load_run(tmp_path / "one call").history
    assert_equal_runs(load_run(tmp_path / "two calls"), load_run(tmp_path / "one call"))


def start(data: Path, out: Path) -> subprocess.Popen[str]:
    """Train in another process."""
    code = (
        "from tiny_network import add_tiny; from qdfast.learn.training.train import train; add_tiny(); "
        f"train({str(data)!r}, {str(out)!r}, epochs=4, **{ONE_SIZE!r})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_a_killed_run_ends_as_an_undisturbed_one(prepared: Prepared, tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    with start(prepared.path, killed) as process:
        while not (killed / "history.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finished = len(load_run(killed).history)
    assert 1 <= finished < 4
    with start(prepared.path, killed) as process:
        said, _ = process.communicate()
        assert process.returncode == 0
    assert f"; finished so far: {finished} epoch" in said
    train(prepared, undisturbed, **ONE_SIZE, epochs=4, log=silent)
    assert_equal_runs(load_run(killed), load_run(undisturbed))
    assert {p.name for p in killed.iterdir()} == {p.name for p in undisturbed.iterdir()}


def test_a_damaged_checkpoint_costs_nothing_else(prepared: Prepared, tmp_path: Path) -> None:
    train(prepared, tmp_path, **ONE_SIZE, epochs=1, log=silent)
    best = (tmp_path / "best.keras").read_bytes()
    checkpoint_path(tmp_path, 1).write_bytes(b"")
    with pytest.raises(DataError, match=r"checkpoint-0001\.keras: damaged: its digest is"):
        train(prepared, tmp_path, **ONE_SIZE, epochs=2, log=silent)
    run_without_digests(tmp_path)
    with pytest.raises(DataError, match=r"checkpoint-0001\.keras: not a checkpoint, or damaged"):
        train(prepared, tmp_path, **ONE_SIZE, epochs=2, log=silent)
    assert (tmp_path / "best.keras").read_bytes() == best


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_damaged_data_are_not_trained_on(prepared: Prepared, tmp_path: Path) -> None:
    data = Path(shutil.copytree(prepared.path, tmp_path / "data"))
    flip(open_prepared(data).shard_paths[0])
    for model in ({**ARGUMENTS}, {"model": "knn"}):
        with pytest.raises(DataError, match=r"damaged: its digest is .*: run qdfast prepare again"):
            train(data, tmp_path / "run", **model, log=silent)
    assert not (tmp_path / "run").exists()


def test_only_one_process_trains_in_a_directory(prepared: Prepared, tmp_path: Path) -> None:
    with only_writer(tmp_path, "training in"), pytest.raises(DataError, match="another process is training in it"):
        train(prepared, tmp_path, **ARGUMENTS)


def test_another_run_in_the_directory_is_refused(tiny_run: Run, prepared: Prepared) -> None:
    with pytest.raises(DataError, match=r"\(batch 32, not 16\)"):
        train(prepared, tiny_run.path, **{**ARGUMENTS, "batch": 16}, log=silent)


def test_a_time_budget_ends_after_an_epoch_and_the_next_call_goes_on(prepared: Prepared, tmp_path: Path) -> None:
    for epochs in (1, 2):
        got = train(prepared, tmp_path, **ONE_SIZE, max_minutes=1e-6, log=silent)
        assert got.epochs == epochs
        assert got.stopped == "stopped, another epoch would not fit into 1e-06 minutes"


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(1e-6, "that is more than --max-minutes 1e-06 leaves, but this epoch runs to its end"), (None, "at most 1 epoch")],
)
def test_the_time_of_an_epoch_is_estimated_before_its_end(
    minutes: float | None, said: str, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdfast.learn.training.trainer._RATE_SECONDS", 0.0)
    lines: list[str] = []
    train(prepared, tmp_path, **ONE_SIZE, epochs=1, max_minutes=minutes, log=lines.append)
    (number,) = (i for i, line in enumerate(lines) if "an epoch or less, and its validation (" in line)
    assert lines[number].startswith(f"{tmp_path}: about ")
    assert lines[number].endswith(f"; {said}")
    assert lines[number + 1].startswith("epoch 1/1")


def test_patience_learning_rate_and_best_epoch(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop with given validation losses."""
    losses = itertools.chain([0.9, 0.5, 0.4], itertools.repeat(0.45))
    rates: list[float] = []

    def epoch(_trainer: Trainer, number: int, _epochs: int, learning_rate: float) -> dict[str, float]:
        rates.append(learning_rate)
        return dict.fromkeys(FIGURES, 0.0) | {"epoch": number, "val_loss": next(losses)}

    monkeypatch.setattr(Trainer, "epoch", epoch)
    got = train(prepared, tmp_path, **ARGUMENTS, patience=7, log=silent)
    assert (got.epochs, got.best_epoch) == (10, 3)
    assert got.stopped == "stopped, no lower validation loss for 7 epochs"
    assert rates == [3e-3] * 8 + [pytest.approx(6e-4)] * 2
    assert train(prepared, tmp_path, **ARGUMENTS, patience=7, epochs=500, log=silent) == got


def test_a_loss_that_is_no_number_stops_with_the_reason(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"epoch 1/100: the loss is nan after .* try a lower learning rate"):
        train(prepared, tmp_path, **{**ARGUMENTS, "learning_rate": 3e38}, log=silent)
    assert {p.name for p in tmp_path.iterdir()} == {"run.json"}


def out_of_memory() -> None:
    import tensorflow as tf

    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9999999,128]")


def no_memory() -> None:
    np.empty(1 << 60, np.uint8)


@pytest.mark.parametrize("fail", [out_of_memory, no_memory])
def test_too_little_memory_is_said_in_a_line(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None]
) -> None:
    monkeypatch.setattr(Trainer, "epoch", lambda *_: fail())
    with pytest.raises(TrainingError, match=r"out of memory \(\w+\): use a smaller --batch"):
        train(prepared, tmp_path, **ARGUMENTS, log=silent)


def test_the_loss_is_without_label_smoothing(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qdfast.learn.training.recipes

    smooth = qdfast.learn.training.recipes.RECIPES["notebook"]._replace(label_smoothing=0.9)
    monkeypatch.setitem(qdfast.learn.training.recipes.RECIPES, "smooth", smooth)
    shown = train(prepared, tmp_path, **ARGUMENTS, recipe="smooth", epochs=4, log=silent).figures
    assert shown["loss"] == pytest.approx(shown["val_loss"], rel=0.2)


def test_classes_that_nothing_can_be_known_of_are_named(tmp_path: Path) -> None:
    write_doodles(tmp_path / "src", classes=["star", "circle"], per_class=60)
    write_doodles(tmp_path / "src", classes=["house"], per_class=1, seed=1)
    data = prepare(tmp_path / "src", tmp_path / "data", recognized="any", validation=0.1)
    assert data.counts("validation")["house"] == 0
    lines: list[str] = []
    train(data, tmp_path / "run", **ARGUMENTS, epochs=1, log=lines.append)
    assert [
        line for line in lines if "these classes have no validation drawings, so no validation metrics: house" in line
    ]


# ---- what cannot be trained on ----


def test_data_without_a_class_or_a_split_are_refused(tmp_path: Path) -> None:
    write_doodles(tmp_path / "src", classes=["star", "circle"], per_class=60)
    write_doodles(tmp_path / "src", classes=["house"], per_class=2)
    data = prepare(tmp_path / "src", tmp_path / "data", recognized="any", validation=0.9)
    with pytest.raises(DataError, match="these classes have no training drawings: house"):
        train(data, tmp_path / "run", **ARGUMENTS)
    data = prepare(tmp_path / "src" / "star.ndjson", tmp_path / "one", recognized="any")
    with pytest.raises(DataError, match="at least two classes are needed, but there is 1"):
        train(data, tmp_path / "run", **ARGUMENTS)
    files = [tmp_path / "src" / f"{name}.ndjson" for name in ("star", "circle")]
    data = prepare(files, tmp_path / "unsplit", recognized="any", validation=0)
    with pytest.raises(DataError, match="no drawings in the validation split"):
        train(data, tmp_path / "run", **ARGUMENTS)
    with pytest.raises(DataError, match="not a prepared directory"):
        train(tmp_path / "src", tmp_path / "run", **ARGUMENTS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch": 1}, "batch is 1: it must be 2 to"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"max_len": 0}, "max_len is 0"),
        ({"max_len": 2_000_000_000}, "max_len is 2000000000: it must be 1 to 10000"),
        ({"patience": 0}, "patience is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"model": "stroke_lstm", "recurrent_dropout": 1.0}, "recurrent_dropout is 1.0"),
        ({"precision": "float16"}, "precision is 'float16': it must be one of float32, mixed_float16, mixed_bfloat16"),
        ({"buckets": (0, 64)}, "buckets are"),
        ({"model": "resnet"}, "no model named 'resnet'"),
        ({"model": "stroke_conv", "recurrent_dropout": 0.3}, "stroke_conv has no LSTM"),
        ({"model": "bitmap_cnn"}, "bitmap_cnn takes bitmaps, so max_len and buckets do not apply"),
    ],
)
def test_arguments_out_of_range_are_refused(
    prepared: Prepared, tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        train(prepared, tmp_path, **{**ARGUMENTS, **arguments}, log=silent)
    assert not list(tmp_path.iterdir())


# ---- on a GPU ----


def test_on_a_gpu_there_is_one_shape_and_it_is_said_what_is_resident(
    monkeypatch: pytest.MonkeyPatch, prepared: Prepared, tmp_path: Path
) -> None:
    import qdfast.learn.device
    import qdfast.learn.training.trainer

    for module in (qdfast.learn.device, qdfast.learn.training.trainer):
        monkeypatch.setattr(module, "on_gpu", lambda: True)
    shapes: list[set[tuple[int, int]]] = []
    epoch = Trainer.epoch

    def seen(trainer: Trainer, *arguments: Any) -> dict[str, float]:
        shapes.append({(group.steps, len(group.rows)) for group in trainer.groups(1)})
        return epoch(trainer, *arguments)

    monkeypatch.setattr(Trainer, "epoch", seen)
    lines: list[str] = []
    run = load_run(train(prepared, tmp_path / "run", **ARGUMENTS, epochs=1, log=lines.append).path)
    assert shapes == [{(96, 32)}]
    assert run.arguments["buckets"] == []
    assert " on a GPU, float32, drawings kept in its memory (0.1 MB)" in lines[1]
    assert run.history[0]["loss"] > 0
