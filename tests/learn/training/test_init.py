"""Training that starts from a trained network: what it takes over, what it refuses, and how it resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_network import add_tiny

from qdfast.cli.info import describe
from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import Prepared
from qdfast.dataset.sources import load_rows
from qdfast.errors import DataError
from qdfast.learn.training.config import TrainConfig
from qdfast.learn.training.history import checkpoint_path
from qdfast.learn.training.runs import Run, load_run
from qdfast.quickdraw.doodles import write_doodles
from qdfast.storage import sealed_json
from qdfast.storage.digests import file_xxh3

keras = pytest.importorskip("keras")

from qdfast.learn.training.initial import open_initial  # noqa: E402
from qdfast.learn.training.train import check, new_network, train  # noqa: E402

pytestmark = pytest.mark.slow

# One shape of a batch is one graph, which takes a second to trace.
OPTIONS: dict[str, Any] = {"batch": 64, "buckets": [], "epochs": 2, "log": lambda line: None}


@pytest.fixture(autouse=True)
def _tiny() -> None:
    add_tiny()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Drawings of three classes, two of which ``tiny_run`` does not know."""
    out = tmp_path_factory.mktemp("other")
    write_doodles(out / "drawings", classes=["moon", "star", "wheel"], per_class=30, seed=2)
    return prepare(out / "drawings", out / "data", recognized="any")


@pytest.fixture(scope="module")
def tuned(tiny_run: Run, other: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run that started from ``tiny_run``."""
    add_tiny()
    out = tmp_path_factory.mktemp("tuned") / "run"
    train(other, out, init=tiny_run.path, **OPTIONS)
    return load_run(out)


def weights(net: Any) -> list[np.ndarray]:
    return [np.asarray(v) for layer in net.layers for v in layer.get_weights()]


def changed(path: Path, **values: Any) -> None:
    """Change entries of a ``run.json``."""
    info = sealed_json.load((path / "run.json").read_bytes())
    (path / "run.json").write_bytes(sealed_json.dump({**info, **values}))


# ---- what it takes over ----


@pytest.mark.parametrize("same", [False, True])
def test_all_weights_are_copied_but_those_of_the_last_layer_if_classes_differ(tiny_run: Run, same: bool) -> None:
    classes = tiny_run.classes if same else tiny_run.classes[::-1]
    net = new_network(tiny_run.arguments, len(classes))
    fresh, trained = weights(net), weights(tiny_run.load_model(calibrated=False))
    line = open_initial(tiny_run.path, "x").copy_weights(net, classes)
    copied = len(trained) if same else len(trained) - 2  # the last layer has a kernel and a bias
    assert ("new last layer" in line) == (not same)
    for i, found in enumerate(weights(net)):
        np.testing.assert_array_equal(found, trained[i] if i < copied else fresh[i])
    assert not np.array_equal(fresh[0], trained[0])


def test_the_network_its_lengths_and_statistics_are_those_of_the_run(
    tiny_run: Run, tuned: Run, other: Prepared
) -> None:
    source = tiny_run.path / "best.keras"
    assert tuned.arguments["model"] == "tiny"
    assert tuned.max_len == tiny_run.max_len == 96
    assert tuned.stats == tiny_run.stats != other.stats("train")
    assert tuned.classes == other.classes
    assert tuned.info["init"] == {
        "path": str(tiny_run.path.resolve()),
        "digest": file_xxh3(source),
        "data": tiny_run.info["data"],
    }
    assert f"digest: {file_xxh3(source)}" in describe(tuned.path)
    settled = TrainConfig(init=tiny_run.path).settle(open_initial(tiny_run.path, "x"))
    assert settled.arguments["buckets"] == tiny_run.arguments["buckets"]
    assert (settled.arguments["batch"], settled.arguments["learning_rate"]) == (32, 1e-3)
    without = open_initial(tuned.path, "x")  # as of a run on a GPU
    assert list(without.buckets) == list(TrainConfig("tiny").settle().arguments["buckets"])


def test_what_it_was_trained_on_is_known_through_several_runs(tiny_run: Run, tuned: Run, other: Prepared) -> None:
    third = {**tuned.info, "init": open_initial(tuned.path, "x").record, "data": {"path": "/third", "digest": "3"}}
    paths = [data["path"] for data in Run(Path("x"), third).trained_on]
    assert paths == ["/third", str(other.path.resolve()), tiny_run.info["data"]["path"]]
    assert [data["path"] for data in tiny_run.trained_on] == paths[2:]
    held_out = load_rows([paths[2]], trained_on=tuned.trained_on)
    assert len(held_out) == tiny_run.info["data"]["validation"]


# ---- how it resumes ----


def test_a_killed_run_ends_as_an_undisturbed_one_without_the_first(
    tiny_run: Run, tuned: Run, other: Prepared, tmp_path: Path
) -> None:
    source, out = Path(shutil.copytree(tiny_run.path, tmp_path / "source")), tmp_path / "run"

    def kill(epoch: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(other, out, init=source, on_epoch=kill, **OPTIONS)
    shutil.rmtree(source)
    train(other, out, init=source, **OPTIONS)
    run = load_run(out)
    assert [e["loss"] for e in run.history] == [e["loss"] for e in tuned.history]
    states = [keras.saving.load_model(checkpoint_path(r.path, 2)) for r in (run, tuned)]
    for a, b in zip(*([*s.weights, *s.optimizer.variables] for s in states), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    with pytest.raises(DataError, match="elsewhere: no such directory"):
        train(other, out, init=tmp_path / "elsewhere", **OPTIONS)


def test_it_needs_the_first_run_until_an_epoch_is_finished(tiny_run: Run, other: Prepared, tmp_path: Path) -> None:
    source, out = Path(shutil.copytree(tiny_run.path, tmp_path / "source")), tmp_path / "run"
    initial = open_initial(source, out)
    shutil.copytree(tiny_run.path, out)
    (out / "history.json").unlink()
    changed(out, **initial.info)
    shutil.rmtree(source)
    with pytest.raises(DataError, match="source: no such directory"):
        check(other, out, TrainConfig(init=source))


def test_a_run_from_other_weights_is_refused(tiny_run: Run, tuned: Run, other: Prepared) -> None:
    options: dict[str, Any] = {"batch": 64, "buckets": [], "epochs": 2}
    for init in (None, tuned.path):
        config = TrainConfig("tiny", max_len=96, init=init, learning_rate=tuned.arguments["learning_rate"], **options)
        with pytest.raises(DataError, match=r"a run with other settings \(init "):
            check(other, tuned.path, config)
    check(other, tuned.path, TrainConfig(init=tiny_run.path, **options))


def test_weights_that_are_replaced_while_they_are_read_are_refused(tiny_run: Run) -> None:
    initial = open_initial(tiny_run.path, "x")
    initial.record["digest"] = "0" * 32
    with pytest.raises(DataError, match=r"checkpoint-0002\.keras: damaged: .* start again"):
        initial.copy_weights(new_network(tiny_run.arguments, 6), tiny_run.classes)


# ---- what it refuses ----


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "stroke_conv"}, "a run of tiny, not of stroke_conv: leave out --model"),
        ({"model": "knn"}, "these options are for networks, and knn is not one: init"),
        ({"recipe": "strong"}, "recipe strong augments unstandardized strokes, which tiny does not take"),
        ({"init": "https://x"}, "a URL"),
    ],
)
def test_options_that_contradict_are_refused(
    tiny_run: Run, other: Prepared, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        train(other, tmp_path / "x", **{"init": tiny_run.path, **options})
    assert not (tmp_path / "x").exists()


def test_bitmaps_are_refused_for_a_network_of_strokes(tiny_run: Run, bitmap_files: Path, tmp_path: Path) -> None:
    data = prepare(bitmap_files, tmp_path / "data", recognized="any")
    with pytest.raises(DataError, match="tiny"):
        check(data, tmp_path / "x", TrainConfig(init=tiny_run.path))


def test_a_run_without_a_network_is_refused(tiny_run: Run, other: Prepared, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run.path, tmp_path / "run"))
    (run / "history.json").unlink()
    with pytest.raises(DataError, match="run: no epoch of this run has finished"):
        check(other, tmp_path / "x", TrainConfig(init=run))
    changed(run, arguments={"model": "knn", "seed": 1})
    with pytest.raises(DataError, match="run: a run of knn: only a network"):
        check(other, tmp_path / "x", TrainConfig(init=run))
    with pytest.raises(DataError, match=r"not a run directory: it has no run\.json; a training run is in .*run"):
        check(other, tmp_path / "x", TrainConfig(init=tmp_path))


@pytest.mark.parametrize("init", [3, {}, {"path": "a", "digest": "b"}, {"path": 1, "digest": "b", "data": {}}])
def test_a_damaged_record_is_told(tuned: Run, tmp_path: Path, init: object) -> None:
    shutil.copy(tuned.path / "run.json", tmp_path)
    changed(tmp_path, init=init)
    with pytest.raises(DataError, match=r"run\.json: damaged: init "):
        load_run(tmp_path)
    assert json.loads((tuned.path / "run.json").read_text())["init"] == tuned.info["init"]
