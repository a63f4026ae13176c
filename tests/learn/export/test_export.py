"""The SavedModel against the network it was made of, through every loader, and how it is published."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import python_path
from tiny_network import COMPILE_FAST, add_tiny

from qdfast import cli, from_strokes
from qdfast.dataset.prepared import Prepared
from qdfast.dataset.rows import Rows
from qdfast.errors import DataError
from qdfast.learn.export.export import export
from qdfast.learn.export.serving_graph import DeltaInput
from qdfast.learn.predict import predict_rows
from qdfast.learn.training.runs import Run, load_run
from qdfast.serve.servable import Servable
from qdfast.storage.files import only_writer
from qdfast.storage.model_info import check_model

pytestmark = pytest.mark.slow

tf = pytest.importorskip("tensorflow")

Signatures = Mapping[str, Callable[..., Any]]
Served = Callable[[np.ndarray, np.ndarray], np.ndarray]

LONG = 300  # points, more than the runs' max_len


@pytest.fixture(scope="module")
def rows(prepared: Prepared) -> Rows:
    """Some drawings, one of a single step in x, and one longer than any the network sees."""
    some = prepared.rows("validation").drawings(np.arange(20))
    x = np.random.default_rng(0).integers(0, 256, LONG).tolist()
    odd = from_strokes([[[[0, 255], [0, 0]]], [[x, x[::-1]]]])
    return Rows.from_drawings([(some, np.zeros(20, np.int32)), (odd, np.zeros(2, np.int32))], prepared.classes)


@pytest.fixture(scope="module")
def exported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    add_tiny()
    return export(tiny_run, tmp_path_factory.mktemp("models") / "doodles", top_k=4)


@pytest.fixture(scope="module")
def signatures(exported: Path) -> Signatures:
    found: Signatures = tf.saved_model.load(str(exported)).signatures
    return found


@pytest.fixture(scope="module")
def expected(tiny_run: Run, rows: Rows) -> np.ndarray:
    add_tiny()
    return predict_rows(tiny_run.load_model(), rows, tiny_run.input_spec)


def raw(rows: Rows, steps: int) -> dict[str, np.ndarray]:
    deltas, lengths = rows.deltas(np.arange(len(rows)), steps, dtype=np.int16)
    return {"deltas": deltas, "lengths": lengths}


def ask(signature: Callable[..., Any], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in signature(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


@pytest.mark.parametrize("steps", [LONG, LONG + 50, 96])
def test_it_answers_as_the_network_from_raw_deltas(
    signatures: Signatures, rows: Rows, expected: np.ndarray, steps: int
) -> None:
    """Also with more padding, and with drawings longer than the network takes, cut by it or by the client."""
    got = ask(signatures["serving_default"], raw(rows, steps))["probabilities"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=0)


def test_what_stands_in_the_padding_is_ignored(signatures: Signatures, rows: Rows, expected: np.ndarray) -> None:
    inputs = raw(rows, LONG)
    inputs["deltas"][np.arange(LONG) >= inputs["lengths"][:, None]] = 32767
    np.testing.assert_allclose(ask(signatures["serving_default"], inputs)["probabilities"], expected, atol=1e-5, rtol=0)


def test_top_k_is_sorted_and_named(signatures: Signatures, rows: Rows, expected: np.ndarray, tiny_run: Run) -> None:
    got = ask(signatures["top_k"], raw(rows, LONG))
    order = np.argsort(-expected, axis=1, kind="stable")[:, :4]
    assert got["labels"].shape == (len(rows), 4)
    assert [[label.decode() for label in row] for row in got["labels"]] == np.array(tiny_run.classes)[order].tolist()
    np.testing.assert_allclose(got["scores"], np.take_along_axis(expected, order, axis=1), atol=1e-5)


def test_standardization_in_the_graph_is_that_of_the_kernel_bit_for_bit(tiny_run: Run) -> None:
    """For every move there can be between two points."""
    flat = [v for i in range(256) for v in (i, 0)]  # 0 0 1 0 2 0 ...: every difference from -255 to 255
    drawings = from_strokes([[[flat, flat[::-1]]]])
    rows = Rows.from_drawings([(drawings, np.zeros(1, np.int32))], ["any"])
    want, lengths = rows.deltas(np.arange(1), len(flat), stats=tiny_run.stats)
    deltas, _ = rows.deltas(np.arange(1), len(flat), dtype=np.int16)
    assert len(np.unique(deltas[..., 0])) == 511
    got = tf.function(DeltaInput(tiny_run.stats, 96).standardize)(tf.constant(deltas), tf.constant(lengths))
    np.testing.assert_array_equal(got.numpy(), want)


BAD: dict[str, tuple[Callable[..., tuple[np.ndarray, np.ndarray]], str]] = {
    "rank 2 deltas": (lambda d, n: (d[0], n[:1]), "not compatible with expected shape"),
    "two columns": (lambda d, n: (d[..., :2], n), "not compatible with expected shape"),
    "rank 2 lengths": (lambda d, n: (d, n[None]), "not compatible with expected shape"),
    "other batch": (lambda d, n: (d, n[1:]), "differ in number of drawings"),
    "length 0": (lambda d, n: (d, n * 0), "a length is below 1"),
    "length too large": (lambda d, n: (d, n + LONG), "above the number of steps"),
}


@pytest.fixture(scope="module")
def served(exported: Path) -> Iterator[Served]:
    """Asks as TensorFlow Serving does: the graph restored by its own restore op, and run with whatever comes."""
    from tensorflow.python.client import pywrap_tf_session

    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    signature = tf.compat.v1.saved_model.load(session, ["serve"], str(exported)).signature_def["serving_default"]

    def tensor(info: Any) -> Any:
        return graph.get_tensor_by_name(info.name)._as_tf_output()

    def run(deltas: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        # Not session.run, which checks shapes in Python.
        feeds = {tensor(signature.inputs["deltas"]): deltas, tensor(signature.inputs["lengths"]): lengths}
        fetches = [tensor(signature.outputs["probabilities"])]
        answer: np.ndarray
        (answer,) = pywrap_tf_session.TF_SessionRun_wrapper(session._session, None, feeds, fetches, [], None)
        return answer

    yield run
    session.close()


def test_tensorflow_servings_loader_finds_every_weight(served: Served, rows: Rows, expected: np.ndarray) -> None:
    np.testing.assert_allclose(served(*raw(rows, LONG).values()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_the_graph(served: Served, rows: Rows, case: str) -> None:
    spoil, said = BAD[case]
    inputs = raw(rows, LONG)
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        served(*spoil(inputs["deltas"], inputs["lengths"]))


def test_it_explains_itself(exported: Path, tiny_run: Run) -> None:
    about = json.loads((exported / "assets.extra" / "qdfast.json").read_text())
    assert about["classes"] == list(tiny_run.classes)
    assert about["stats"] == tiny_run.stats.to_dict()
    assert (about["max_len"], about["top_k"], about["run"]) == (96, 4, tiny_run.name)
    assert set(about["signatures"]) == {"serving_default", "top_k"}


def test_it_says_that_its_rows_are_independent(exported: Path, tiny_run: Run) -> None:
    """To the embedded server, which otherwise neither batches nor splits."""
    pytest.importorskip("tensorflow_serving")
    from qdfast.serve.servable import Servable

    signatures = Servable(exported, 1).signatures
    assert {name for name, signature in signatures.items() if signature.row_wise} == {"serving_default", "top_k"}


def test_warm_up_requests_are_answered(exported: Path, signatures: Signatures) -> None:
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    asked = set()
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        ask(signatures[request.model_spec.signature_name], inputs)
        asked.add((request.model_spec.signature_name, *inputs["deltas"].shape[:2]))
    assert asked == {(s, b, t) for s in ("serving_default", "top_k") for b in (1, 32) for t in (64, 96)}


# ---- publishing ----


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports write an empty file instead of a SavedModel."""

    def write(run: Run, path: Path, top_k: int, log: Callable[[str], None]) -> None:
        path.mkdir()
        (path / "saved_model.pb").touch()

    monkeypatch.setattr("qdfast.learn.export.export._write", write)


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_versions_count_up_from_the_largest(written: None, tiny_run: Run, tmp_path: Path) -> None:
    assert [export(tiny_run.path, tmp_path).name for _ in range(2)] == ["1", "2"]
    assert export(tiny_run, tmp_path, version=9) == tmp_path / "9"
    (tmp_path / "notes").mkdir()
    assert export(tiny_run, tmp_path).name == "10"
    with pytest.raises(DataError, match="9: this version already exists"):
        export(tiny_run, tmp_path, version=9)
    assert names(tmp_path) == ["1", "10", "2", "9", "notes"]


def test_a_failed_export_leaves_nothing(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    add_tiny()
    monkeypatch.setattr("qdfast.learn.export.export._write_warmup", fail)
    with pytest.raises(OSError, match="disk full"):
        export(tiny_run, tmp_path)
    assert names(tmp_path) == []


def test_what_a_killed_export_left_is_removed(written: None, tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-1" / "variables").mkdir(parents=True)
    export(tiny_run, tmp_path)
    assert names(tmp_path) == ["1"]


def test_what_is_not_its_own_is_left_alone(written: None, tiny_run: Run, tmp_path: Path) -> None:
    for name in (".tmp-upload", ".tmp-1-1-notes", "99999999999999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").touch()
    (tmp_path / ".tmp-2-2").touch()
    assert export(tiny_run, tmp_path).name == "1"
    assert names(tmp_path) == [".tmp-1-1-notes", ".tmp-2-2", ".tmp-upload", "1", "7", "99999999999999999999"]


def test_only_one_process_exports_to_a_directory(written: None, tiny_run: Run, tmp_path: Path) -> None:
    with only_writer(tmp_path, "exporting to"), pytest.raises(DataError, match="another process is exporting to it"):
        export(tiny_run, tmp_path)


def test_without_tensorflow_serving_apis_it_says_so(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tiny()
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    lines: list[str] = []
    version = export(tiny_run, tmp_path, log=lines.append)
    assert names(version / "assets.extra") == ["qdfast.json"]
    assert "no warm-up requests" in lines[0]


def test_its_files_have_digests(exported: Path, tmp_path: Path) -> None:
    files = json.loads((exported / "assets.extra" / "qdfast.json").read_text())["files"]
    assert {"saved_model.pb", "variables/variables.index"} <= files.keys()
    assert not [name for name in files if name.startswith("assets.extra")]
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001", "assets.extra/qdfast.json"):
        version = Path(shutil.copytree(exported, tmp_path / name.replace("/", " ") / "1"))
        assert check_model(version)
        data = bytearray((version / name).read_bytes())
        data[len(data) // 2] ^= 1
        (version / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name}: damaged: "):
            check_model(version)
        with pytest.raises(DataError, match=f"cannot be served: .*{name}: damaged"):
            Servable(version, 1)
        assert cli.main(["info", "--verify", str(version.parent)]) == 1


def test_a_model_without_digests_is_served(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = Path(shutil.copytree(exported, tmp_path / "1"))
    about = version / "assets.extra" / "qdfast.json"
    known = json.loads(about.read_text())
    about.write_text(json.dumps({name: value for name, value in known.items() if name not in ("digest", "files")}))
    assert not check_model(version)
    assert Servable(version, 1).signatures
    shutil.copytree(exported, tmp_path / "2")
    assert cli.main(["info", "--verify", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(
        "verified: version 2; 1: no digests were recorded, by an earlier version of qdfast\n"
    )


@pytest.mark.parametrize(("arguments", "said"), [({"top_k": 0}, "top_k is 0"), ({"version": 0}, "version is 0")])
def test_arguments_out_of_range_are_refused(
    tiny_run: Run, tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        export(tiny_run, tmp_path, **arguments)


def test_a_run_without_an_epoch_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes((tiny_run.path / "run.json").read_bytes())
    with pytest.raises(DataError, match="no epoch of this run has finished"):
        export(tmp_path / "run", tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_a_network_trained_on_jax_answers_alike(prepared: Prepared, rows: Rows, tmp_path: Path) -> None:
    code = f"""
from tiny_network import COMPILE_FAST, add_tiny
from qdfast.errors import DataError
from qdfast.learn.export.export import export
from qdfast.learn.training.train import train
add_tiny()
for epochs in (1, 2):
    train({str(prepared.path)!r}, "run", model="tiny", batch=32, max_len=96, epochs=epochs)
try:
    export("run", "models")
except DataError as e:
    assert "KERAS_BACKEND=tensorflow" in str(e)
else:
    raise AssertionError
"""
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **COMPILE_FAST, "PYTHONPATH": python_path(), "KERAS_BACKEND": "jax"},
        cwd=tmp_path,
        check=True,
    )
    add_tiny()
    run: Run = load_run(tmp_path / "run")
    assert run.info["backend"] == "jax"
    version = export(run, tmp_path / "models")
    got = ask(tf.saved_model.load(str(version)).signatures["serving_default"], raw(rows, LONG))["probabilities"]
    want = predict_rows(run.load_model(), rows, run.input_spec)
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)
    assert run.history[1]["loss"] < run.history[0]["loss"]
