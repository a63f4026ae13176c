"""A network of bitmaps, from files of either kind to answers over gRPC; and what happens where strokes are needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import tiny_model
from paths import python_path

import qdfast
from qdfast import DataError, cli
from qdfast.client import Client, InvalidRequest
from qdfast.dataset.prepare import prepare
from qdfast.dataset.sources import load_rows
from qdfast.learn.training.batches import BitmapInputSpec
from qdfast.learn.training.runs import Run, load_run
from qdfast.protocol.requests import ModelSpec, ProbabilitiesQuery

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_serving")
pytest.importorskip("grpc_health.v1")

from tiny_network import add_tiny  # noqa: E402

from qdfast.learn.evaluation.evaluate import evaluate  # noqa: E402
from qdfast.learn.export.export import export  # noqa: E402
from qdfast.learn.models import networks  # noqa: E402
from qdfast.learn.predict import predict_rows  # noqa: E402
from qdfast.learn.training.train import train  # noqa: E402
from qdfast.serve.server import Server  # noqa: E402

pytestmark = pytest.mark.slow

ARGUMENTS: dict[str, Any] = {"model": "bitmap_cnn", "batch": 32, "epochs": 2}


@pytest.fixture(scope="module")
def data(bitmap_files: Path, tmp_path_factory: pytest.TempPathFactory) -> qdfast.Prepared:
    return prepare(bitmap_files, tmp_path_factory.mktemp("bitmaps") / "data", validation=0.2)


@pytest.fixture(scope="module")
def run(data: qdfast.Prepared, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on bitmaps."""
    out = tmp_path_factory.mktemp("bitmaps") / "run"
    train(data, out, **ARGUMENTS, log=lambda line: None)
    return load_run(out)


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("models") / "pixels", top_k=3)


@pytest.fixture(scope="module")
def pixels(exported: Path) -> Iterator[str]:
    """The address of a server of the network of bitmaps, as "pixels"."""
    with Server(exported.parent) as server:
        yield f"{server.host}:{server.port}"


@pytest.fixture(scope="module")
def strokes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of a model of strokes, as "tiny"."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    path.mkdir()
    tiny_model.write_model(path)
    with Server(path) as server:
        yield f"{server.host}:{server.port}"


# ---- the network ----


def test_bitmap_cnn_is_the_blogs_network() -> None:
    net = networks.build("bitmap_cnn", classes=5)
    L = keras.layers
    body = [layer for layer in net.layers if not isinstance(layer, (L.InputLayer, L.Rescaling, L.Reshape))]
    assert [type(layer) for layer in body] == [
        L.Conv2D,
        L.MaxPooling2D,
        L.Conv2D,
        L.MaxPooling2D,
        L.Dropout,
        L.Flatten,
        L.Dense,
        L.Dense,
        L.Dense,
    ]
    assert [(c.filters, c.kernel_size) for c in body if isinstance(c, L.Conv2D)] == [(30, (5, 5)), (15, (3, 3))]
    assert [d.units for d in body if isinstance(d, L.Dense)] == [128, 50, 5]
    assert [d.rate for d in body if isinstance(d, L.Dropout)] == [0.2]
    assert [a.activation.__name__ for a in body if hasattr(a, "activation")] == ["relu"] * 4 + ["softmax"]
    scaled = keras.Model(net.inputs, net.get_layer("channel").output)
    grey = np.arange(784, dtype=np.int64).reshape(1, 28, 28).astype(np.uint8)
    np.testing.assert_allclose(scaled.predict_on_batch({"bitmaps": grey})[..., 0], grey / 255, rtol=1e-6)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_probabilities_are_float32_under_mixed_precision(run: Run, data: qdfast.Prepared, precision: str) -> None:
    net = run.load_model()
    mixed = networks.build("bitmap_cnn", classes=6, precision=precision)
    mixed.set_weights(net.get_weights())
    bitmaps = {"bitmaps": data.rows().bitmaps(np.arange(0, 720, 30))}
    got = mixed.predict_on_batch(bitmaps)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, net.predict_on_batch(bitmaps), atol=0.05)


# ---- training and judging ----


def test_it_learns_from_bitmaps(run: Run, data: qdfast.Prepared) -> None:
    assert isinstance(run.input_spec, BitmapInputSpec)
    assert run.history[-1]["val_top1"] > 0.5
    assert run.info["data"]["train"] == len(data.rows("train"))


def test_it_learns_from_strokes(prepared: qdfast.Prepared, run: Run, tmp_path: Path) -> None:
    train(prepared, tmp_path / "run", **ARGUMENTS, log=lambda line: None)
    learned = load_run(tmp_path / "run")
    assert learned.history[-1]["val_top1"] > 0.5
    rows = prepared.rows("validation")
    assert predict_rows(learned.load_model(), rows, learned.input_spec).shape == (len(rows), 6)


def test_strokes_and_bitmaps_of_the_same_drawings_are_judged_alike(
    run: Run,
    doodles: Path,
    bitmap_files: Path,
    prepared: qdfast.Prepared,
    tmp_path: Path,
) -> None:
    figures = []
    for i, sources in enumerate([[doodles], [bitmap_files], [prepared.path], [doodles / "star.ndjson"]]):
        command = ["evaluate", run.path, *sources, "--recognized", "any", "--split", "all", "--out", tmp_path / str(i)]
        assert cli.main([str(part) for part in command]) == 0
        metrics = orjson.loads((tmp_path / str(i) / "metrics.json").read_bytes())
        figures.append({key: metrics[key] for key in ("n", "top1", "loss", "confusion")})
    assert figures[0] == figures[1] == figures[2]
    assert figures[0]["n"] == 720
    assert figures[3]["n"] == 120


def test_it_knows_the_files_it_was_trained_on(run: Run, bitmap_files: Path) -> None:
    said: list[str] = []
    load_rows([bitmap_files / "star.npy"], trained_on=[run.info["data"]], log=said.append)
    assert said[0] == f"{bitmap_files / 'star.npy'}: 120 drawings"
    assert "the network was trained on most of these" in said[1]


def test_a_killed_run_ends_as_an_undisturbed_one(data: qdfast.Prepared, run: Run, tmp_path: Path) -> None:
    code = (
        f"from qdfast.learn.training.train import train; train({str(data.path)!r}, {str(tmp_path)!r}, **{ARGUMENTS!r})"
    )
    command = [sys.executable, "-c", code]
    options: dict[str, Any] = {
        "env": {**os.environ, "PYTHONPATH": python_path()},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    with subprocess.Popen(command, **options) as process:
        while not (tmp_path / "history.json").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, **options)
    again = load_run(tmp_path)
    timeless = [[(e["loss"], e["val_loss"], e["val_top1"]) for e in r.history] for r in (again, run)]
    assert timeless[0] == timeless[1]
    for mine, undisturbed in zip(again.load_model().weights, run.load_model().weights, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(undisturbed))


# ---- served ----


def test_the_saved_model_answers_as_the_network(exported: Path, run: Run, data: qdfast.Prepared) -> None:
    signatures = tf.saved_model.load(str(exported)).signatures
    rows = data.rows("validation")
    want = predict_rows(run.load_model(), rows, run.input_spec)
    bitmaps = tf.constant(rows.bitmaps(np.arange(len(rows))))
    got = signatures["serving_default"](bitmaps=bitmaps)["probabilities"].numpy()
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)
    best = signatures["top_k"](bitmaps=bitmaps)
    assert best["labels"].shape == (len(rows), 3)
    about = orjson.loads((exported / "assets.extra" / "qdfast.json").read_bytes())
    assert about["signatures"]["serving_default"].startswith("bitmaps uint8 (B, 28, 28) -> ")
    assert "stats" not in about


def test_what_does_not_fit_is_refused_in_the_graph(exported: Path) -> None:
    """As TensorFlow Serving does it: without the session's own check of shapes."""
    from tensorflow.python.client import pywrap_tf_session

    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    signature = tf.compat.v1.saved_model.load(session, ["serve"], str(exported)).signature_def["serving_default"]
    feed, fetch = signature.inputs["bitmaps"].name, signature.outputs["probabilities"].name
    for shape in ((2, 28, 27), (2, 784), (28, 28), (0, 28, 28)):
        feeds = {graph.get_tensor_by_name(feed)._as_tf_output(): np.zeros(shape, np.uint8)}
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"not compatible with expected shape|no drawings"):
            pywrap_tf_session.TF_SessionRun_wrapper(
                session._session, None, feeds, [graph.get_tensor_by_name(fetch)._as_tf_output()], [], None
            )
    session.close()


def test_a_client_sends_what_the_model_takes(pixels: str, run: Run, doodles: Path, bitmap_files: Path) -> None:
    drawings, bitmaps = qdfast.read_ndjson(doodles / "star.ndjson", recognized="any"), bitmap_files / "star.npy"
    want = predict_rows(run.load_model(), load_rows([bitmaps]), run.input_spec)
    with Client(pixels, model="pixels", max_batch=50) as client:
        for asked in (
            drawings,
            qdfast.read_bitmaps(bitmaps),
            [[[x.tolist(), y.tolist()] for x, y in d] for d in drawings],
        ):
            np.testing.assert_allclose(client.probabilities(asked), want, atol=1e-5, rtol=0)
            best = client.predict(asked, k=2)
            assert best.labels.shape == (120, 2)
        assert len(client.predict(drawings[:0])) == 0


def test_predict_takes_either(
    pixels: str, doodles: Path, bitmap_files: Path, data: qdfast.Prepared, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    answers = []
    for source in (doodles / "star.ndjson", bitmap_files / "star.npy", data.path):
        assert cli.main(["predict", str(source), "--target", pixels, "--model", "pixels"]) == 0
        lines = [orjson.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
        answers.append([(a["labels"], np.round(a["scores"], 4).tolist()) for a in lines])
    assert answers[0] == answers[1]
    assert len(answers[2]) == 720


# ---- where strokes are needed ----


def test_a_network_of_strokes_learns_nothing_from_bitmaps(data: qdfast.Prepared, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/data: these are bitmaps, and stroke_conv needs strokes") as e:
        train(data, tmp_path / "run")
    assert str(data.path) in str(e.value)
    assert not (tmp_path / "run").exists()


def test_nor_is_it_judged_by_them(
    tiny_run: Run, bitmap_files: Path, doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_tiny()
    for sources in ([bitmap_files / "star.npy"], [doodles / "tree.ndjson", bitmap_files / "star.npy"]):
        command = ["evaluate", tiny_run.path, *sources, "--recognized", "any", "--out", tmp_path / "out"]
        assert cli.main([str(part) for part in command]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert "star.npy: these are bitmaps, and tiny of " in line
        assert str(tiny_run.path) in line
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="needs strokes"):
        evaluate(tiny_run, load_rows([bitmap_files / "star.npy"]), tmp_path / "out")


def test_nor_asked_about_them(strokes: str, bitmap_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(strokes, model="tiny") as client:
        bitmaps = qdfast.read_bitmaps(bitmap_files / "star.npy")
        for _ in range(2):
            with pytest.raises(DataError, match=r"model 'tiny' at .* needs strokes, but only bitmaps were given"):
                client.predict(bitmaps)
    command = ["predict", str(bitmap_files / "star.npy"), "--target", strokes, "--model", "tiny"]
    assert cli.main(command) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"qdfast predict: error: {bitmap_files / 'star.npy'}: model 'tiny' at ")


def test_a_client_follows_a_model_that_changes(pixels: str, strokes: str, doodles: Path) -> None:
    """What it has learned of one version may be wrong of the next."""
    drawings = qdfast.read_ndjson(doodles / "star.ndjson", recognized="any")
    with Client(strokes, model="tiny") as client:
        client._input_kind = "bitmaps"
        assert client.probabilities(drawings).shape == (120, 5)
        assert str(client._input_kind) == "strokes"


def test_a_model_that_takes_neither(strokes: str) -> None:
    """Its refusal is told as it is."""
    question = ProbabilitiesQuery(qdfast.from_strokes([[[[1, 2], [3, 4]]]]), ModelSpec(strokes, "tiny"))
    question.signature_name = "busy"
    with Client(strokes, model="tiny") as client, pytest.raises(InvalidRequest, match=r"required: \{seconds\}"):
        client._run(client._query(question.drawings, lambda sends: question))
