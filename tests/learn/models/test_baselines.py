"""scikit-learn's classifiers as runs: the same commands and figures as of networks, and what they refuse."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from earlier_versions import run_without_digests
from paths import ROOT

import qdfast
from qdfast import DataError, cli
from qdfast._hints import install
from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import Prepared
from qdfast.dataset.sources import load_rows
from qdfast.learn.evaluation.evaluate import evaluate
from qdfast.learn.export.export import export
from qdfast.learn.models.baselines import BASELINES, flatten_and_scale
from qdfast.learn.predict import predict_rows
from qdfast.learn.training.config import TrainConfig
from qdfast.learn.training.history import BASELINE_FIGURES, FIGURES
from qdfast.learn.training.runs import Run, load_run
from qdfast.learn.training.train import train
from qdfast.storage.versions import newest_version

sklearn = pytest.importorskip("sklearn")
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

pytestmark = pytest.mark.slow

# As the blog has them.
THEIRS: dict[str, Callable[[int], Any]] = {
    "random_forest": lambda seed: RandomForestClassifier(n_estimators=100, random_state=seed),
    "knn": lambda seed: KNeighborsClassifier(n_neighbors=5),
    "mlp": lambda seed: MLPClassifier(hidden_layer_sizes=(100, 100), learning_rate_init=0.001, random_state=seed),
}
NAMES = tuple(THEIRS)


def theirs(name: str, rows: qdfast.Rows) -> Any:
    """scikit-learn's own, fitted; on one core, since a sum's last bits depend on it, and with them what is learned."""
    with threadpool_limits(1):
        return THEIRS[name](3).fit(flatten_and_scale(every(rows)), rows.labels)


def silent(line: str) -> None:
    pass


def probabilities(run: Run, rows: qdfast.Rows) -> np.ndarray:
    return predict_rows(run.load_model(), rows, run.input_spec)


def every(rows: qdfast.Rows) -> np.ndarray:
    return rows.bitmaps(np.arange(len(rows)))


@pytest.fixture(scope="module")
def data(bitmap_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(bitmap_files, tmp_path_factory.mktemp("baselines") / "data", validation=0.2)


@pytest.fixture(scope="module")
def runs(data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A finished run of each, on bitmaps."""
    out = tmp_path_factory.mktemp("baselines")
    for name in NAMES:
        train(data, out / name, model=name, seed=3, log=silent)
    return {name: load_run(out / name) for name in NAMES}


@pytest.fixture
def copies(runs: dict[str, Run], tmp_path: Path) -> dict[str, Path]:
    """Copies of these runs, to be damaged. Without digests, which would tell of every damage before a reader does."""
    copied = {name: Path(shutil.copytree(run.path, tmp_path / name)) for name, run in runs.items()}
    for path in copied.values():
        run_without_digests(path)
    return copied


# ---- what they learn ----


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_blogs_classifier(runs: dict[str, Run], data: Prepared, name: str) -> None:
    """The run that was saved and loaded answers as scikit-learn's classifier does that was fitted here."""
    rows = data.rows("validation")
    got = probabilities(runs[name], rows)
    want = theirs(name, data.rows("train")).predict_proba(flatten_and_scale(every(rows)))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_pixels_are_scaled_as_for_the_networks() -> None:
    grey = np.arange(784, dtype=np.int64).reshape(1, 28, 28).astype(np.uint8)
    np.testing.assert_allclose(flatten_and_scale(grey), grey.reshape(1, 784) / 255, rtol=1e-6)
    assert flatten_and_scale(grey).max() == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_strokes_is_that_of_their_bitmaps(
    runs: dict[str, Run], doodles: Path, tmp_path: Path, name: str
) -> None:
    """The split is another, as it is one of strokes; so all drawings are asked about."""
    strokes = prepare(doodles, tmp_path / "data", recognized="any", validation=0.2)
    train(strokes, tmp_path / "run", model=name, seed=3, log=silent)
    run = load_run(tmp_path / "run")
    assert run.info["stats"] == strokes.stats("train").to_dict()
    assert run.history[0]["val_top1"] > 0.5
    rows = strokes.rows()
    want = theirs(name, strokes.rows("train")).predict_proba(flatten_and_scale(every(rows)))
    np.testing.assert_allclose(probabilities(run, rows), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(runs: dict[str, Run], data: Prepared, tmp_path: Path, name: str) -> None:
    rows = data.rows("validation")
    for seed in (3, 4):
        train(data, tmp_path / str(seed), model=name, seed=seed, log=silent)
    same, other = (probabilities(load_run(tmp_path / str(seed)), rows) for seed in (3, 4))
    np.testing.assert_array_equal(same, probabilities(runs[name], rows))
    assert np.array_equal(other, same) is (name == "knn")  # where nothing is left to chance


@pytest.mark.parametrize("name", NAMES)
def test_two_classes(data: Prepared, bitmap_files: Path, tmp_path: Path, name: str) -> None:
    """Of which scikit-learn's perceptron has one output."""
    files = [bitmap_files / f"{word}.npy" for word in ("circle", "star")]
    two = prepare(files, tmp_path / "data", validation=0.2)
    train(two, tmp_path / "run", model=name, log=silent)
    run, rows = load_run(tmp_path / "run"), two.rows("validation")
    got = probabilities(run, rows)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)
    assert (got.argmax(axis=1) == rows.labels).mean() > 0.8
    if name == "mlp":
        assert run.info["parameters"] == sum(a.size for a in run.load_model().arrays().values())


@pytest.mark.parametrize("name", NAMES)
def test_classes_of_few_drawings_keep_their_places(bitmap_files: Path, tmp_path: Path, name: str) -> None:
    """One drawing of a class that comes first, one of a class in the middle; neither is in the validation split."""
    (tmp_path / "src").mkdir()
    for word, n in (("circle", 1), ("house", 120), ("ladder", 1), ("star", 120)):
        pixels = np.load(bitmap_files / f"{word}.npy")
        if n == 1:  # one that is trained on
            hashes = qdfast.Bitmaps(pixels).hashes()
            pixels = pixels[[int(hashes.argmax())]]
        np.save(tmp_path / "src" / f"{word}.npy", pixels)
    few = prepare(tmp_path / "src", tmp_path / "data", validation=0.2)
    assert few.counts("train")["circle"] == few.counts("train")["ladder"] == 1
    lines: list[str] = []
    train(few, tmp_path / "run", model=name, log=lines.append)
    assert [line for line in lines if "no validation drawings, so no validation metrics: circle, ladder" in line]
    run, rows = load_run(tmp_path / "run"), few.rows("validation")
    assert run.classes == ("circle", "house", "ladder", "star")
    got = probabilities(run, rows)
    assert got.shape == (len(rows), 4)
    assert (got.argmax(axis=1) == rows.labels).mean() > 0.8
    metrics = evaluate(run, rows, tmp_path / "report")
    assert metrics["classes"]["circle"]["n"] == 0
    assert metrics["top1"] == run.history[0]["val_top1"]


# ---- the run ----


@pytest.mark.parametrize("name", NAMES)
def test_a_run_directory_explains_itself(runs: dict[str, Run], data: Prepared, name: str) -> None:
    run = runs[name]
    assert {p.name for p in run.path.iterdir()} == {"run.json", "history.json", "log.csv", "model.npz"}
    assert run.arguments == {"model": name, **BASELINES[name].options, "seed": 3}
    assert run.classes == data.classes
    assert run.info["data"]["digest"] == data.digest
    assert run.info["data"]["train"] == len(data.rows("train"))
    assert run.info["backend"] == "scikit-learn"
    assert run.info["versions"]["scikit-learn"] == sklearn.__version__
    assert "keras" not in run.info["versions"]
    learned = run.load_model().arrays()
    assert run.info["parameters"] == (sum(a.size for a in learned.values()) if name == "mlp" else None)
    (figures,) = run.history
    assert set(figures) == set(BASELINE_FIGURES)
    assert json.loads((run.path / "history.json").read_text())["checkpoint"] == "model.npz"
    (row,) = csv.DictReader((run.path / "log.csv").read_text().splitlines())
    assert tuple(row) == FIGURES
    assert {k: float(v) for k, v in row.items() if v} == figures


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_run_is_left_as_it_is(runs: dict[str, Run], data: Prepared, name: str) -> None:
    before = {p.name: p.read_bytes() for p in runs[name].path.iterdir()}
    lines: list[str] = []
    got = train(data, runs[name].path, model=name, seed=3, log=lines.append)
    assert {p.name: p.read_bytes() for p in runs[name].path.iterdir()} == before
    assert lines[0].endswith("; already finished")
    assert "finished in " in lines[-1]
    assert (got.epochs, got.best_epoch, got.figures) == (1, 1, runs[name].history[0])


def test_another_run_in_the_directory_is_refused(
    runs: dict[str, Run], data: Prepared, bitmap_files: Path, tmp_path: Path
) -> None:
    other = prepare([bitmap_files / "star.npy", bitmap_files / "tree.npy"], tmp_path)
    for model, seed, said in (("knn", 4, "seed 3, not 4"), ("mlp", 3, "model knn, not mlp")):
        with pytest.raises(DataError, match=said):
            train(data, runs["knn"].path, model=model, seed=seed, log=silent)
    with pytest.raises(DataError, match=r"contains a run with other settings \(data "):
        train(other, runs["knn"].path, model="knn", seed=3, log=silent)


def test_a_killed_run_begins_again(runs: dict[str, Run], data: Prepared, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qdfast", "train"]
    command += [str(data.path), "--out", str(tmp_path), "--model", "mlp", "--seed", "3"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "run.json").exists():
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "history.json").exists()
    (tmp_path / ".tmp-1-model.npz").write_bytes(b"what it was writing")
    with pytest.raises(DataError, match="no epoch of this run has finished"):
        load_run(tmp_path).load_model()
    lines: list[str] = []
    train(data, tmp_path, model="mlp", seed=3, log=lines.append)
    assert not lines[0].endswith("; already finished")
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in runs["mlp"].path.iterdir()}
    for mine, undisturbed in zip(
        load_run(tmp_path).load_model().arrays().values(), runs["mlp"].load_model().arrays().values(), strict=True
    ):
        np.testing.assert_array_equal(mine, undisturbed)


def test_what_scikit_learn_warns_about_is_said(data: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASELINES["mlp"].options, "max_iter", 2)
    lines: list[str] = []
    train(data, tmp_path, model="mlp", log=lines.append)
    assert "warning from scikit-learn: Stochastic Optimizer: Maximum iterations (2) reached" in lines[1]


# ---- judged ----


def test_strokes_and_bitmaps_are_judged_alike_by_the_command(
    runs: dict[str, Run],
    doodles: Path,
    bitmap_files: Path,
    data: Prepared,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = []
    for i, source in enumerate((doodles, bitmap_files)):
        command = ["evaluate", runs["random_forest"].path, source, "--recognized", "any", "--out", tmp_path / str(i)]
        assert cli.main([str(part) for part in command]) == 0
        figures.append(json.loads((tmp_path / str(i) / "metrics.json").read_text()))
        assert "random_forest of run random_forest on " in capsys.readouterr().out
    of_strokes = {name for name in figures[0] if name.startswith("by_")}
    assert {name for name in figures[1] if figures[1][name] is None} == {*of_strokes, "calibration"}
    for name in figures[0].keys() - of_strokes - {"source", "mistakes", "runs"}:  # a time, and the drawings' ids
        assert figures[0][name] == figures[1][name], name
    assert figures[0]["n"] == 720
    assert figures[0]["top1"] > 0.9  # most of these it was trained on
    metrics = evaluate(runs["random_forest"], data.rows("validation"), tmp_path / "validation")
    (epoch,) = runs["random_forest"].history
    assert (metrics["top1"], metrics["top3"]) == (epoch["val_top1"], epoch["val_top3"])
    assert metrics["loss"] == epoch["val_loss"]


def test_a_class_that_it_does_not_know(runs: dict[str, Run], bitmap_files: Path, tmp_path: Path) -> None:
    shutil.copy(bitmap_files / "star.npy", tmp_path / "comet.npy")
    with pytest.raises(DataError, match="the model was not trained on comet; its classes are circle"):
        evaluate(runs["knn"], load_rows([tmp_path / "comet.npy"]), tmp_path / "report")


def test_info(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(runs["random_forest"].path)]) == 0
    out = capsys.readouterr().out
    assert "arguments: {model: random_forest, n_estimators: 100, seed: 3}" in out
    assert f"scikit-learn: {sklearn.__version__}" in out
    assert "val_top1" in out


def test_neither_keras_nor_tensorflow_is_imported(data: Prepared, tmp_path: Path) -> None:
    for name in ("keras", "tensorflow"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('blocked', name={name!r})")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    for command in (
        ["train", data.path, "--out", tmp_path / "run", "--model", "knn"],
        ["evaluate", tmp_path / "run", data.path, "--out", tmp_path / "report"],
        ["info", tmp_path / "run"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "qdfast", *map(str, command)], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, "-m", "qdfast", "models"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["train", data.path, "--out", tmp_path / "network", "--model", "bitmap_cnn"]
    done = subprocess.run([sys.executable, "-m", "qdfast", *map(str, command)], env=env, capture_output=True, text=True)
    assert done.stderr == f"qdfast train: error: keras is not installed: {install('train')}\n"


# ---- refused ----


def test_options_of_networks_are_refused(data: Prepared, tmp_path: Path) -> None:
    """All of them: an option that were passed over would be believed to have had an effect."""
    values: dict[str, Any] = {
        "recipe": "notebook",
        "precision": "mixed_bfloat16",
        "recurrent_dropout": 0.3,
        "buckets": (32,),
    }
    options = {field.name for field in fields(TrainConfig)} - {"model", "seed"}
    assert {"epochs", "batch", "max_minutes", *values} < options
    for option in options:
        with pytest.raises(DataError, match=f"^these options are for networks, and knn is not one: {option}$"):
            train(data, tmp_path / "run", model="knn", **{option: values.get(option, 2)}, log=silent)
    assert not (tmp_path / "run").exists()


def test_and_on_the_command_line(data: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(data.path), "--out", str(tmp_path / "run"), "--model", "random_forest"]
    assert cli.main([*command, "--epochs", "3", "--max-minutes", "5", "--recipe", "strong"]) == 1
    said = (
        "qdfast train: error: these options are for networks, and random_forest is not one: "
        "recipe, epochs, max_minutes\n"
    )
    assert capsys.readouterr().err == said
    assert cli.main([*command, "--seed", "-1"]) == 1
    assert capsys.readouterr().err == "qdfast train: error: seed is -1: it must be 0 to 2147483647\n"
    assert not (tmp_path / "run").exists()


def test_names_that_there_are_not_are_told_from_all_that_there_are(data: Prepared, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    with pytest.raises(DataError, match=r"no model named 'svm'; choose from .*bitmap_cnn.*, random_forest, knn, mlp"):
        train(data, tmp_path / "run", model="svm", log=silent)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_not_exported_or_served(runs: dict[str, Run], tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name} is a scikit-learn model, which cannot be exported or served"):
        export(runs[name], tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(DataError, match=r"is a training run: .*\(scikit-learn's models cannot be served\)"):
        newest_version(runs[name].path)


def test_data_that_is_not_enough(bitmap_files: Path, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for word in ("circle", "star"):
        pixels = np.load(bitmap_files / f"{word}.npy")
        order = np.argsort(qdfast.Bitmaps(pixels).hashes())  # which decides the split
        np.save(tmp_path / "src" / f"{word}.npy", pixels[order[[0, -2, -1]]])
    few = prepare(tmp_path / "src", tmp_path / "few", validation=0.5)
    with pytest.raises(DataError, match="/few: knn: 4 drawings are fewer than the 5 neighbours to look at"):
        train(few, tmp_path / "run", model="knn", log=silent)
    one = prepare(bitmap_files / "star.npy", tmp_path / "one")
    with pytest.raises(DataError, match="at least two classes"):
        train(one, tmp_path / "run", model="mlp", log=silent)
    assert not (tmp_path / "run").exists()


def test_more_drawings_than_memory(data: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        assert BASELINES[name].fit_problem(50_000, 20) == ""
        reason = BASELINES[name].fit_problem(50_000_000_000, 345)
        assert reason.startswith("50,000,000,000 drawings of 345 classes would take about ")
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 100}[name])
    with pytest.raises(
        DataError, match=r"/data: random_forest: .* would take about .* GB of memory, and this machine has 0"
    ):
        train(data, tmp_path / "run", model="random_forest", log=silent)
    assert not (tmp_path / "run").exists()


# ---- damaged ----


def refused(path: Path, said: str) -> None:
    with pytest.raises(DataError, match=said) as e:
        load_run(path).load_model()
    assert str(path / "model.npz") in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_model_is_refused(copies: dict[str, Path], name: str) -> None:
    model = copies[name] / "model.npz"
    whole = model.read_bytes()
    rng = np.random.default_rng(0)
    for damaged in (b"", b"\x7fELF", whole[:100], whole[:-50], b"\x00" * len(whole)):
        model.write_bytes(damaged)
        refused(copies[name], f"not a {name} model, or damaged: ")
    for place in rng.integers(0, len(whole), 40).tolist():  # none may crash; a few bytes of a .zip mean nothing
        model.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            load_run(copies[name]).load_model()
        except DataError as e:
            assert str(model) in str(e)  # noqa: PT017
    model.unlink()
    refused(copies[name], "model.npz: no such file")


def test_the_version_that_wrote_it_is_named_where_it_may_be_the_reason(copies: dict[str, Path]) -> None:
    about = copies["random_forest"] / "run.json"
    about.write_text(about.read_text().replace(sklearn.__version__, "0.11"))
    rows = np.zeros((1, 28, 28), np.uint8)
    answer = load_run(copies["random_forest"]).load_model().predict_on_batch({"bitmaps": rows})
    assert answer.shape == (1, 6)  # it can be read: no reason to complain
    saved = dict(np.load(copies["random_forest"] / "model.npz"))
    saved["nodes7"] = saved["nodes7"].astype([(n, "f4") for n in saved["nodes7"].dtype.names])
    np.savez(copies["random_forest"] / "model.npz", **saved)
    refused(
        copies["random_forest"], rf"or damaged \(written by scikit-learn 0\.11; installed is {sklearn.__version__}\): "
    )


def test_the_model_of_another_is_refused(
    copies: dict[str, Path], data: Prepared, bitmap_files: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        shutil.copy(copies[NAMES[NAMES.index(name) - 1]] / "model.npz", tmp_path / "other.npz")
        shutil.copy(tmp_path / "other.npz", copies[name] / "model.npz")
        if name != NAMES[-1]:  # whose neighbour has been replaced by then
            refused(copies[name], f"not a {name} model, or damaged")
    fewer = prepare([bitmap_files / f"{w}.npy" for w in ("star", "tree", "zigzag")], tmp_path / "fewer")
    for name in NAMES:
        train(fewer, tmp_path / "fewer" / name, model=name, seed=3, log=silent)
        shutil.copy(tmp_path / "fewer" / name / "model.npz", copies[name] / "model.npz")
        refused(copies[name], f"not a {name} model, or damaged")


def test_a_model_that_would_run_code_is_refused(copies: dict[str, Path], tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    for name in NAMES:
        saved: dict[str, Any] = dict(np.load(copies[name] / "model.npz"))
        saved[sorted(saved)[0]] = np.array([Code()], dtype=object)
        np.savez(copies[name] / "model.npz", **saved)
        refused(copies[name], f"not a {name} model")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left_child", 10**6),
        ("right_child", 10**6),
        ("right_child", -7),
        ("left_child", 0),
        ("feature", 784),
        ("feature", -3),
    ],
)
def test_a_tree_that_leads_out_of_itself_is_refused(copies: dict[str, Path], field: str, value: int) -> None:
    """scikit-learn's own code follows it without a look."""
    saved = dict(np.load(copies["random_forest"] / "model.npz"))
    inner = np.flatnonzero(saved["nodes0"]["left_child"] != -1)[-1]
    saved["nodes0"][field][inner] = value
    np.savez(copies["random_forest"] / "model.npz", **saved)
    refused(copies["random_forest"], "a tree ")
