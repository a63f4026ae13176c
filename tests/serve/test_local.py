"""An exported model asked without a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
import tiny_model
from scripted_server import TIMEOUT, ask, drawings

import qdfast
from qdfast import cli, client

pytest.importorskip("tensorflow_serving")
from qdfast.serve.local_model import LocalModel
from qdfast.serve.server import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 2 and 3."""
    path = tmp_path_factory.mktemp("local") / "tiny"
    path.mkdir()
    for version in (2, 3):
        tiny_model.write_model(path, version)
    return path


def test_it_answers_as_the_server_does(model_dir: Path) -> None:
    d = drawings()
    local = LocalModel(model_dir, max_batch=3)
    with Server(model_dir) as server, ask(server) as c:
        np.testing.assert_allclose(local.probabilities(d), c.probabilities(d), rtol=0, atol=1e-6)
        ours, theirs = local.predict(d, k=2), c.predict(d, k=2)
    assert np.array_equal(ours.labels, theirs.labels)
    assert ours.version == theirs.version == 3


def test_the_version(model_dir: Path) -> None:
    d = drawings()
    for version, answers in ((None, 3), (3, 3), (2, 2), ("2", 2)):
        expected = tiny_model.probabilities(*d.deltas(dtype=np.int16), version=answers)
        np.testing.assert_allclose(LocalModel(model_dir, version).probabilities(d), expected, atol=1e-6)
    with pytest.raises(qdfast.DataError, match="this model has no version 7; the newest is 3"):
        LocalModel(model_dir, 7)


def test_what_the_model_refuses(model_dir: Path) -> None:
    bitmaps = qdfast.Bitmaps(np.zeros((2, 28, 28), np.uint8))
    with pytest.raises(qdfast.DataError, match="needs strokes"):
        LocalModel(model_dir).predict(bitmaps)
    with pytest.raises(client.InvalidRequest, match="at least 1"):
        LocalModel(model_dir).predict(drawings(), k=0)


def test_predict_without_a_server(model_dir: Path, tmp_path: Path) -> None:
    """Also where there is no gRPC, and where Keras is told to run on what is not there."""
    d = drawings()
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError(\"No module named 'grpc'\", name='grpc')")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from qdfast import cli; sys.exit(cli.main())"
    command = [sys.executable, "-c", program, "predict", "-", "--model-dir", str(model_dir)]
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}  # set by TensorFlow, in this process
    env["KERAS_BACKEND"] = "nothing"
    done = subprocess.run(command, input=qdfast.format_ndjson(d), capture_output=True, timeout=TIMEOUT, env=env)
    assert done.stderr == b"10 drawings\n"
    expected = tiny_model.probabilities(*d.deltas(dtype=np.int16), version=3)
    answers = [orjson.loads(line) for line in done.stdout.splitlines()]
    np.testing.assert_allclose([a["scores"] for a in answers], -np.sort(-expected)[:, :3], atol=1e-6)
    best = np.array(tiny_model.CLASSES)[np.argsort(-expected)[:, :3]]
    assert [a["labels"] for a in answers] == best.tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model-dir", "{}/3"], "is one version of a model"),
        (["--model-dir", "{}", "--version", "7"], "no version 7"),
        (["--model-dir", "{}", "--version", "stable"], "no version stable"),
    ],
)
def test_what_is_no_model(
    model_dir: Path, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "some.ndjson").write_bytes(qdfast.format_ndjson(drawings()))
    assert cli.main(["predict", str(tmp_path / "some.ndjson"), *(a.format(model_dir) for a in arguments)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
