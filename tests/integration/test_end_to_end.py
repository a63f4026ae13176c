"""The whole job by its commands, and that every way to an answer gives the same answer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from tiny_network import add_tiny

import qdfast
from qdfast import cli
from qdfast.client import Client
from qdfast.dataset.prepare import prepare
from qdfast.dataset.sources import load_rows
from qdfast.learn.training.batches import DeltaInputSpec
from qdfast.learn.training.runs import load_run
from qdfast.learn.training.train import train

pytest.importorskip("tensorflow")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(doodles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data, run, report and model, made by the commands a user types."""
    out = tmp_path_factory.mktemp("job")
    for command in (
        ["prepare", doodles, "--out", out / "data", "--recognized", "any", "--validation", "0.2"],
        [  # one length: each is another graph, which takes seconds to trace
            *["train", out / "data", "--out", out / "run", "--epochs", "3", "--batch", "32"],
            *["--max-len", "96", "--buckets", "96"],
        ],
        ["evaluate", out / "run", out / "data", "--out", out / "report"],
        ["export", out / "run", "--out", out / "models" / "shapes"],
    ):
        assert cli.main([str(part) for part in command]) == 0
    return out


@pytest.fixture(scope="module")
def target(job: Path) -> Iterator[str]:
    """The address of `qdfast serve`."""
    command = [sys.executable, "-m", "qdfast", "serve", str(job / "models" / "shapes"), "--port", "0", "--embedded"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    ready = server.stdout.readline().split()
    assert ready[:4] == ["serving", "shapes", "version", "1"], ready
    yield ready[-1]
    server.terminate()
    assert server.wait(30) == 0
    server.stdout.close()


@pytest.fixture(scope="module")
def drawings(doodles: Path) -> qdfast.Drawings:
    """All of them, and a few at the extremes: two points, a step of (0, 0), more points than the network takes."""
    long = [[list(range(256)) * 2, [i % 7 for i in range(512)]]]
    odd = qdfast.from_strokes([[[[0, 255], [0, 255]]], [[[0, 0, 9], [0, 0, 9]], [[9], [9]]], long])
    return qdfast.concat([qdfast.read_ndjson(doodles, recognized="any"), odd])


def test_no_skew(job: Path, target: str, drawings: qdfast.Drawings) -> None:
    """Drawings.deltas and the Keras network, or client and server: equal probabilities."""
    run = load_run(job / "run")
    assert isinstance(run.input_spec, DeltaInputSpec)
    deltas, lengths = drawings.deltas(run.max_len, stats=run.input_spec.stats)
    keras = np.asarray(run.load_model().predict_on_batch({"deltas": deltas, "lengths": lengths}))
    with Client(target, model="shapes") as client:
        served = client.probabilities(drawings)
        best = client.predict(drawings, k=6)
    np.testing.assert_allclose(served, keras, rtol=0, atol=1e-5)
    np.testing.assert_allclose(best.scores, -np.sort(-served), rtol=0, atol=1e-5)
    assert np.ptp(served.argmax(axis=1)) > 0  # the network tells something apart
    certain = -np.diff(-np.sort(-served), axis=1)[:, 0] > 1e-4
    classes = np.array(run.classes)
    assert np.array_equal(best.labels[certain, 0], classes[served.argmax(axis=1)][certain])
    assert set(best.labels[0]) == set(run.classes)


def test_evaluate_says_what_the_server_says(job: Path, target: str) -> None:
    """top1 of metrics.json is the share of right answers over gRPC."""
    metrics = orjson.loads((job / "report" / "metrics.json").read_bytes())
    held_out = qdfast.open_prepared(job / "data").rows("validation")
    assert metrics["n"] == len(held_out)
    drawings = held_out.drawings(slice(None))
    with Client(target, model="shapes") as client:
        answers = client.predict(drawings, k=3)
    right = answers.labels == np.asarray(drawings.word)[:, None]
    assert metrics["top1"] == pytest.approx(right[:, 0].mean(), abs=1.5 / len(held_out))  # one may be a near tie
    assert metrics["top3"] == pytest.approx(right.any(axis=1).mean(), abs=1.5 / len(held_out))


def parsed(lines: bytes) -> list[Any]:
    return [orjson.loads(line) for line in lines.splitlines()]


def test_predict(job: Path, target: str, doodles: Path) -> None:
    file = doodles / "star.ndjson"
    command = [sys.executable, "-m", "qdfast", "predict", "--target", target, "--model", "shapes", "-k", "2"]
    from_file = subprocess.run([*command, str(file)], capture_output=True, check=True)
    answers = parsed(from_file.stdout)
    drawings = qdfast.read_ndjson(file, recognized="any")
    assert [a["key_id"] for a in answers] == list(map(str, drawings.key_id.tolist()))
    with Client(target, model="shapes") as client:
        expected = client.predict(drawings, k=2)
    assert [a["labels"] for a in answers] == expected.labels.tolist()
    # What they are batched with in the server is chance, and so is how they are rounded.
    np.testing.assert_allclose([a.pop("scores") for a in answers], expected.scores, rtol=0, atol=1e-5)
    from_stdin = parsed(
        subprocess.run([*command, "-"], input=file.read_bytes(), capture_output=True, check=True).stdout
    )
    np.testing.assert_allclose([a.pop("scores") for a in from_stdin], expected.scores, rtol=0, atol=1e-5)
    assert from_stdin == answers
    prepared = subprocess.run([*command, str(job / "data")], capture_output=True, check=True)
    assert len(prepared.stdout.splitlines()) == 720


def test_predict_with_bad_lines_and_a_wrong_name(target: str, doodles: Path, tmp_path: Path) -> None:
    good = (doodles / "star.ndjson").read_bytes().splitlines()[0]
    (tmp_path / "mixed.ndjson").write_bytes(b"nonsense\n" + good + b'\n{"drawing":[]}\n')
    command = [sys.executable, "-m", "qdfast", "predict", str(tmp_path / "mixed.ndjson"), "--target", target, "--model"]
    done = subprocess.run([*command, "shapes"], capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == "1 drawing (left out: 1 no points (first in line 3), 1 not JSON (first in line 1))\n"
    wrong = subprocess.run([*command, "nothing", "--wait", "1"], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert wrong.stdout == ""
    assert "nothing" in wrong.stderr.splitlines()[-1]
    assert "Traceback" not in wrong.stderr


def test_predict_asks_the_version_it_is_told_to(target: str, doodles: Path) -> None:
    command = [sys.executable, "-m", "qdfast", "predict", "--target", target, "--model", "shapes", "--wait", "1"]
    for version, status, said in (("1", 0, "120 drawings"), ("2", 1, "version 2"), ("canary", 1, "label")):
        done = subprocess.run(
            [*command, str(doodles / "star.ndjson"), "--version", version], capture_output=True, text=True
        )
        assert done.returncode == status
        assert len(done.stdout.splitlines()) == (0 if status else 120)
        assert said in done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def tiny(job: Path) -> Path:
    """A run on the same data, of a network that is evaluated in a second."""
    add_tiny()
    return train(job / "data", job / "tiny", model="tiny", epochs=1, batch=32, log=lambda line: None).path


@pytest.mark.usefixtures("no_charts")
def test_evaluate_knows_what_was_trained_on(
    job: Path, tiny: Path, doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def judged(*arguments: object) -> tuple[int, str]:
        """How many drawings, and what was said of them."""
        capsys.readouterr()
        command = ["evaluate", tiny, *arguments, "--recognized", "any", "--out", tmp_path / "report"]
        assert cli.main(list(map(str, command))) == 0
        return orjson.loads((tmp_path / "report" / "metrics.json").read_bytes())["n"], capsys.readouterr().err

    held_out = len(qdfast.open_prepared(job / "data").rows("validation"))
    n, said = judged(job / "data")
    assert n == held_out
    assert "trained on" not in said
    n, said = judged(job / "data", "--split", "all")
    assert n == 720
    assert "trained on some of these" in said
    n, said = judged(doodles / "star.ndjson")
    assert n == 120
    assert "trained on most of these" in said
    shutil.copytree(job / "data", tmp_path / "moved")
    assert judged(tmp_path / "moved")[0] == held_out
    known = {"path": str((job / "data").resolve()), "digest": "of before more was prepared there"}
    assert len(load_rows([job / "data"], trained_on=[known])) == held_out
    other = prepare(doodles / "star.ndjson", tmp_path / "other", recognized="any")
    n, said = judged(other.path)
    assert n == 120
    assert "all splits" in said


@pytest.mark.usefixtures("no_charts")
def test_evaluate_takes_files_and_words(
    tiny: Path, doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mixed.ndjson").write_bytes(
        b"".join((doodles / f"{name}.ndjson").read_bytes() for name in ("tree", "circle"))
    )
    report = tmp_path / "report"
    command = ["evaluate", tiny, "--recognized", "any", "--out", report]
    assert cli.main([str(a) for a in (*command, tmp_path / "mixed.ndjson", "--label", "word")]) == 0
    by_word = orjson.loads((report / "metrics.json").read_bytes())
    assert cli.main([str(a) for a in (*command, doodles / "tree.ndjson", doodles / "circle.ndjson")]) == 0
    by_file = orjson.loads((report / "metrics.json").read_bytes())
    assert by_word["n"] == by_file["n"] == 240
    assert by_word["classes"] == by_file["classes"]
    capsys.readouterr()
    assert cli.main([str(a) for a in (*command, tmp_path / "mixed.ndjson")]) == 1  # no class "mixed" was learned
    assert "mixed" in capsys.readouterr().err.splitlines()[-1]


def test_info_explains_them_all(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [job / "data", job / "run", job / "report", job / "models" / "shapes"]
    assert cli.main(["info", *map(str, paths)]) == 0
    out = capsys.readouterr().out
    for expected in ("6 classes", "stroke_conv", "top-1", "versions 1"):
        assert expected in out
