"""`Classifier` against the same network as a SavedModel, and the commands that use it without TensorFlow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from commands import BLOCKED, refused
from exported import add_wide, load, skip_without, untrained
from limits import PROCESS_TIMEOUT
from paths import python_path

import qdfast
from qdfast import Classifier, cli
from qdfast.errors import DataError
from qdfast.learn.export.export import export
from qdfast.learn.training.runs import Run
from qdfast.protocol.errors import InvalidRequest
from qdfast.protocol.requests import Predictions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of one network: `saved`, and `doodles` as an ONNX file, both in version 7."""
    skip_without("onnx")
    add_wide()
    out = tmp_path_factory.mktemp("models")
    run = untrained(tiny_run, "wide", 96)
    export(run, out / "saved", version=7)
    export(run, out / "doodles", version=7, format="onnx")
    return out


@pytest.fixture(scope="module")
def classifier(models: Path) -> Classifier:
    return Classifier(models / "doodles")


@pytest.fixture(scope="module")
def drawings(doodles: Path) -> qdfast.Drawings:
    return qdfast.read_ndjson(sorted(doodles.iterdir()), recognized="any")


def test_it_answers_as_the_saved_model(classifier: Classifier, models: Path, drawings: qdfast.Drawings) -> None:
    """In several requests, whose answers come in any order."""
    deltas, lengths = drawings.deltas(196, dtype=np.int16)
    want = load("savedmodel", models / "saved" / "7")({"deltas": deltas, "lengths": lengths})
    got = classifier.probabilities(drawings)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)
    predictions = classifier.predict(drawings, k=2)
    assert isinstance(predictions, Predictions)
    assert predictions.version == 7
    best = np.argsort(-got, axis=1, kind="stable")[:, :2]
    assert predictions.labels.tolist() == np.array(classifier.classes)[best].tolist()
    np.testing.assert_array_equal(predictions.scores, np.take_along_axis(got, best, axis=1))


def test_it_answers_what_a_client_answers(classifier: Classifier) -> None:
    strokes = [[[[0, 255], [0, 255]]], [[[9, 9, 8], [1, 2, 3]], [[7, 7], [1, 9]]]]
    lines = b'{"drawing":[[[0,255],[0,255]]]}\n{"drawing":[[[9,9,8],[1,2,3]],[[7,7],[1,9]]]}\n'
    assert classifier.predict(strokes)[1] == classifier.predict(lines)[1]
    assert classifier.predict(strokes, k=99).labels.shape == (2, 6)
    assert len(classifier.predict([])) == 0
    assert classifier.probabilities([]).shape == (0, 0)
    with pytest.raises(InvalidRequest, match="k is 0"):
        classifier.predict(strokes, k=0)
    with pytest.raises(DataError, match="needs strokes, but only bitmaps were given"):
        classifier.predict(qdfast.Bitmaps(np.zeros((1, 28, 28), np.uint8)))


def test_a_file_a_version_or_a_directory(models: Path, classifier: Classifier, tmp_path: Path) -> None:
    one = [[[[0, 255], [0, 255]]]]
    version = models / "doodles" / "7"
    file = Path(shutil.copy(version / "model.onnx", tmp_path / "mine.onnx"))
    for path, number in ((version, 7), (file, None), (str(models / "doodles"), 7)):
        found = Classifier(path)
        assert found.version == number
        assert found.predict(one).version == number
        assert found.predict(one)[0] == classifier.predict(one)[0]
        assert found.info["temperature"] == 0.8
    assert Classifier(models / "doodles", "7").model_spec.version == 7
    assert repr(Classifier(file)) == f"Classifier(model 'mine' at {file})"


def test_a_network_of_bitmaps(tiny_run: Run, tmp_path: Path, drawings: qdfast.Drawings) -> None:
    skip_without("onnx")
    export(untrained(tiny_run, "bitmap_cnn", 1), tmp_path, format="onnx")
    classifier = Classifier(tmp_path)
    few = drawings[:9]
    bitmaps = qdfast.Bitmaps(few.bitmaps())
    np.testing.assert_array_equal(classifier.probabilities(few), classifier.probabilities(bitmaps))


def test_what_is_not_one(models: Path, tmp_path: Path) -> None:
    whole = (models / "doodles" / "7" / "model.onnx").read_bytes()
    cut, other, changed = (tmp_path / f"{name}.onnx" for name in ("cut", "other", "changed"))
    cut.write_bytes(whole[:-5000])
    other.write_bytes(whole.replace(b"qdfast", b"nobody"))
    changed.write_bytes(whole.replace(b'"temperature": 0.8', b'"temperature": 0.9'))
    damaged = Path(shutil.copytree(models / "doodles", tmp_path / "damaged"))
    data = bytearray(whole)
    data[len(data) // 2] ^= 1
    (damaged / "7" / "model.onnx").write_bytes(data)
    for path, said in (
        (cut, "cut.onnx: cannot be loaded: "),
        (other, "other.onnx: has no class names: it is not from `qdfast export --format onnx`"),
        (changed, "changed.onnx: its description is damaged: changed after it was written"),
        (damaged, r"model.onnx: damaged: .*export the run again"),
        (tmp_path / "mine.onnx", "mine.onnx: no such file"),
        (tmp_path / "nowhere", "nowhere: no such directory"),
        (tmp_path, "no model version found"),
        (models / "saved", "7: not an ONNX file, but saved_model.pb"),
    ):
        with pytest.raises(DataError, match=said) as error:
            Classifier(path)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="has no version 8; the newest is 7"):
        Classifier(models / "doodles", 8)
    with pytest.raises(DataError, match="a file has no versions"):
        Classifier(models / "doodles" / "7" / "model.onnx", 7)


# ---- the commands ----


def without(missing: str, *arguments: object) -> list[str]:
    code = f"{BLOCKED}from qdfast.cli import main\nstatus = main(sys.argv[2:])\n"
    code += (
        "import json\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    return [sys.executable, "-c", f"{code}sys.exit(status)", missing, *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": python_path()}


def test_predict_needs_onnxruntime_alone(models: Path, doodles: Path, classifier: Classifier, tmp_path: Path) -> None:
    """Which would write a file to $HOME for its reports to Microsoft."""
    source = doodles / "star.ndjson"
    command = without("tensorflow,keras,grpc,google", "predict", source, "--model-dir", models / "doodles")
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI")
    env = {**{k: v for k, v in environment().items() if k not in unset}, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=PROCESS_TIMEOUT)
    assert list(tmp_path.iterdir()) == []
    assert done.returncode == 0, done.stderr
    assert not {"tensorflow", "keras", "grpc", "google"} & set(json.loads(done.stderr.splitlines()[-1]))
    want = classifier.predict(source.read_bytes())
    got = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert [line["labels"] for line in got] == want.labels.tolist()
    np.testing.assert_allclose([line["scores"] for line in got], want.scores, rtol=1e-6)


def test_play_needs_no_tensorflow(models: Path) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("uvicorn")
    command = without("tensorflow,keras", "play", "--model-dir", models / "doodles", "--port", 0)
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment()) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("play doodles at http://"), process.communicate()[1]
        url = line.split()[-1]
        known = httpx.get(f"{url}/api/model").json()
        assert (known["model"], known["version"], len(known["words"])) == ("doodles", 7, 6)
        guess = httpx.post(f"{url}/api/guess", json={"drawing": [[[1, 200], [1, 90]]]}, timeout=60).json()
        assert (len(guess["guesses"]), guess["version"]) == (5, 7)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PROCESS_TIMEOUT)
    assert not {"tensorflow", "keras"} & set(json.loads(err.splitlines()[-1]))


def test_play_takes_the_newest_export_that_it_can_ask(models: Path, tmp_path: Path) -> None:
    from qdfast.play.examples import newest_export

    shutil.copytree(models / "doodles", tmp_path / "a")
    shutil.copytree(models / "doodles", tmp_path / "b")
    (tmp_path / "b" / "7" / "model.onnx").rename(tmp_path / "b" / "7" / "model.tflite")
    (tmp_path / "b" / "7" / "assets.extra" / "qdfast.json").touch()
    assert newest_export(tmp_path) == tmp_path / "a"


def test_info_explains_it(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (models / "doodles", models / "doodles" / "7", models / "doodles" / "7" / "model.onnx"):
        assert cli.main(["info", str(path)]) == 0
        out = capsys.readouterr().out
        assert "format: onnx\nweights: float32\n" in out
        assert "classes: circle, house, ladder, star, tree, zigzag\n" in out


def test_formats_that_the_commands_do_not_run(
    models: Path, doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "phone" / "1").mkdir(parents=True)
    (tmp_path / "phone" / "1" / "model.tflite").touch()
    for command in (["predict", doodles], ["play", "--port", 0]):
        line = refused(capsys, *command, "--model-dir", tmp_path / "phone")
        assert "version 1 is in the format litert" in line
    line = refused(capsys, "predict", doodles, "--model-dir", models / "doodles", "--model", "cats")
    assert line.endswith("is called doodles")
