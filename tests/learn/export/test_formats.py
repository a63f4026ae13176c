"""ONNX, LiteRT and OpenVINO against the SavedModel, each in its own runtime."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from exported import FORMATS, WIDE_WEIGHTS, Answer, add_wide, load, skip_without, untrained
from tiny_network import add_tiny

from qdfast import Drawings, cli, concat, from_strokes
from qdfast.dataset.prepared import Prepared
from qdfast.errors import DataError
from qdfast.learn.export.export import export
from qdfast.learn.training.runs import Run
from qdfast.storage import sealed_json
from qdfast.storage.model_info import check_model, read_model_info

pytestmark = pytest.mark.slow

pytest.importorskip("tensorflow")

MAX_LEN = 96  # of tiny_run


@pytest.fixture(scope="module")
def inputs(prepared: Prepared) -> dict[str, np.ndarray]:
    """Drawings of lengths from 1 to above the maximum, with random values in the padding."""
    rng = np.random.default_rng(0)
    cut = [1, 2, 3, 31, 64, MAX_LEN - 1, MAX_LEN, MAX_LEN + 1, 150]
    x, y = np.clip(np.cumsum(rng.integers(-15, 16, (2, 160)), axis=1) + 128, 0, 255).tolist()
    long = from_strokes([[[x[:90], y[:90]], [x[90:], y[90:]]]] * len(cut))
    drawings: Drawings = concat([prepared.rows("validation").drawings(np.arange(20)), long])
    deltas, lengths = drawings.deltas(160, dtype=np.int16)
    lengths[20:] = cut
    deltas[np.arange(160) >= lengths[:, None]] = 99
    return {"deltas": deltas, "lengths": lengths}


class Exports:
    """The exports of a run, each made once."""

    def __init__(self, run: Run, directory: Path) -> None:
        self.run, self.directory = run, directory
        self._made: dict[tuple[str, str | None], Path] = {}

    def version(self, format: str, quantize: str | None = None) -> Path:
        if format != "savedmodel":
            skip_without(format)
        key = format, quantize
        if key not in self._made:
            out = self.directory / f"{format}-{quantize}"
            self._made[key] = export(self.run, out, format=format, quantize=quantize)
        return self._made[key]

    def load(self, format: str, quantize: str | None = None) -> Answer:
        return load(format, self.version(format, quantize))


@pytest.fixture(scope="module")
def tiny(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    add_tiny()
    return Exports(tiny_run, tmp_path_factory.mktemp("formats"))


@pytest.fixture(scope="module")
def conv(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    return Exports(untrained(tiny_run, "stroke_conv", MAX_LEN), tmp_path_factory.mktemp("formats"))


@pytest.fixture(scope="module")
def wide(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    add_wide()
    return Exports(untrained(tiny_run, "wide", MAX_LEN), tmp_path_factory.mktemp("formats"))


@pytest.mark.parametrize(
    ("network", "format"), [*(("tiny", format) for format in FORMATS), ("conv", "onnx"), ("conv", "litert")]
)
def test_a_format_answers_as_the_saved_model(
    network: str, format: str, inputs: dict[str, np.ndarray], request: pytest.FixtureRequest
) -> None:
    exports: Exports = request.getfixturevalue(network)
    answer = exports.load(format)
    got, want = answer(inputs), exports.load("savedmodel")(inputs)
    assert got.dtype == np.float32
    assert np.ptp(want, axis=0).max() > 0.05  # the drawings differ
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("format", FORMATS)
def test_lengths_out_of_range_are_clipped(tiny: Exports, format: str, inputs: dict[str, np.ndarray]) -> None:
    """No check is left in a converted graph, and a wrong length must not read past the end."""
    answer, deltas = tiny.load(format), inputs["deltas"][:1, :20]
    for given, meant in ((0, 1), (-5, 1), (21, 20), (2**31 - 1, 20)):
        got, want = (answer({"deltas": deltas, "lengths": np.array([n], np.int32)}) for n in (given, meant))
        if format == "litert":  # `load` shortens the deltas
            continue
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("quantize", ["float16", "int8"])
@pytest.mark.parametrize("format", FORMATS)
def test_quantized_weights_are_small_and_close(
    wide: Exports, format: str, quantize: str, inputs: dict[str, np.ndarray]
) -> None:
    got, want = wide.load(format, quantize)(inputs), wide.load("savedmodel")(inputs)
    assert 0 < np.abs(got - want).max() < {"float16": 0.005, "int8": 0.03}[quantize]
    file = wide.version(format, quantize) / {"litert": "model.tflite", "openvino": "model.bin"}.get(
        format, "model.onnx"
    )
    assert file.stat().st_size < {"float16": 2.6, "int8": 1.6}[quantize] * WIDE_WEIGHTS


@pytest.mark.parametrize("format", FORMATS)
def test_what_an_answer_depends_on_travels_along(
    tiny: Exports, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    version, run = tiny.version(format), tiny.run
    about = read_model_info(version)
    assert (about["classes"], about["temperature"]) == (list(run.classes), run.temperature)
    assert (about["stats"], about["max_len"]) == (run.stats.to_dict(), MAX_LEN)
    assert (about["format"], about["weights"], about["run"]) == (format, "float32", run.name)
    assert check_model(version)
    assert cli.main(["info", "--verify", str(version.parent)]) == 0
    shown = capsys.readouterr().out
    assert f"format: {format}\n" in shown
    assert shown.endswith("verified: version 1\n")
    if format == "onnx":
        import onnx

        (inside,) = onnx.load(version / "model.onnx").metadata_props
        assert sealed_json.load(inside.value.encode()) == {k: v for k, v in about.items() if k != "files"}


def test_bitmaps(tiny_run: Run, tmp_path: Path) -> None:
    skip_without("onnx")
    exports = Exports(untrained(tiny_run, "bitmap_cnn", 1), tmp_path)
    bitmaps = {"bitmaps": np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)}
    want = exports.load("savedmodel")(bitmaps)
    np.testing.assert_allclose(exports.load("onnx")(bitmaps), want, atol=1e-5, rtol=0)


def test_openvino_reports_nothing(tiny: Exports) -> None:
    """Its tools send what they do to Google Analytics, unless told otherwise."""
    tiny.version("openvino")
    telemetry = pytest.importorskip("openvino_telemetry")
    assert not telemetry.Telemetry().consent
    assert os.environ.get("CI") in (None, "true", "false")


# ---- what is refused ----


def test_a_directory_has_versions_of_one_format(tiny_run: Run, tmp_path: Path) -> None:
    """A server that watches it would try to load the others."""
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "model.tflite").touch()
    for format in ("savedmodel", "onnx"):
        with pytest.raises(
            DataError, match=f"contains versions in the format litert: .* another directory for {format}"
        ):
            export(tiny_run, tmp_path, format=format)
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_what_is_not_a_format(tiny_run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="format is 'tflite': it must be savedmodel, onnx, litert or openvino"):
        export(tiny_run, tmp_path, format="tflite")
    with pytest.raises(DataError, match="quantize is 'int4': it must be int8 or float16"):
        export(tiny_run, tmp_path, format="onnx", quantize="int4")
    with pytest.raises(DataError, match="a SavedModel cannot be quantized: choose the format onnx, litert, openvino"):
        export(tiny_run, tmp_path, quantize="int8")


@pytest.mark.parametrize("format", ["onnx", "litert", "openvino"])
def test_a_server_does_not_load_it(format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / {"onnx": "model.onnx", "litert": "model.tflite", "openvino": "model.xml"}[format]).touch()
    assert cli.main(["serve", str(tmp_path), "--embedded", "--port", "0"]) == 1
    assert f"{tmp_path}: version 2 is in the format {format}, which cannot be served" in capsys.readouterr().err


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can become larger than 2 KiB, as it were on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_one_line(format: str, wide: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without(format)
    with full_disk(), pytest.raises((OSError, DataError)) as error:
        export(wide.run, tmp_path, format=format)
    text = str(error.value)
    assert str(tmp_path) in text
    assert "\n" not in text
    assert "too large" in text or format == "openvino"  # which gives no reason
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_fails_is_one_line(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qdfast.learn.export import convert

    def fail(*_: object) -> None:
        raise RuntimeError("no kernel\nfor this")

    add_tiny()
    monkeypatch.setitem(convert._WRITERS, "litert", fail)
    assert cli.main(["export", str(tiny_run.path), "--format", "litert", "--out", str(tmp_path / "m")]) == 1
    line = f"{tmp_path / 'm'}: tiny of {tiny_run.path} cannot be converted to litert: no kernel"
    assert capsys.readouterr().err == f"qdfast export: error: {line}\n"
    assert list((tmp_path / "m").iterdir()) == []


def test_the_description_is_json(tiny: Exports) -> None:
    about = json.loads((tiny.version("litert") / "assets.extra" / "qdfast.json").read_text())
    assert about["signatures"]["serving_default"].startswith("deltas int16 (1, T, 3), lengths int32 (1,) -> ")
