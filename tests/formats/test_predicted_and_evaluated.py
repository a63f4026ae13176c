"""Files in every form are classified and evaluated as the ndjson of the same drawings."""

from __future__ import annotations

import json
from pathlib import Path

import forms
import pytest
from commands import refused

from qdfast import cli
from qdfast.learn.training.runs import Run

pytestmark = pytest.mark.slow

COMPLETE: dict[str, forms.Make] = {name.replace("cat", "star", 1): make for name, make in forms.FORMS.items()}
NAMELESS: dict[str, forms.Make] = {  # without words
    "full_binary_star.bin": forms.google_binary,
    "star.bin.gz": forms.BINARY["cat.bin.gz"],
    "stars.zip": lambda lines: forms.zipped({"star.bin": forms.google_binary(lines)}),
    "sketchrnn_star.full.npz": forms.sketch_rnn,
}


@pytest.fixture(scope="module")
def lines(doodles: Path) -> bytes:
    return b"".join((doodles / "star.ndjson").read_bytes().splitlines(keepends=True)[:50])


@pytest.fixture(scope="module")
def model(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from qdfast.learn.export.export import export

    out = tmp_path_factory.mktemp("forms") / "tiny"
    export(tiny_run.path, out)
    return out


def predicted(path: Path, model: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> list[dict[str, object]]:
    assert cli.main(["predict", str(path), "--model-dir", str(model)]) == 0
    said = capfdbinary.readouterr()
    assert said.err.decode().splitlines()[-1] == "50 drawings"
    return [json.loads(line) for line in said.out.splitlines()]


def test_predict(lines: bytes, model: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    expected = predicted(forms.write(tmp_path / "plain", "star.ndjson", lines), model, capfdbinary)
    assert [answer["key_id"] for answer in expected] == [fields["key_id"] for fields in forms.fields_of(lines)]
    test_form = forms.kaggle(lines, "key_id,countrycode,timestamp,drawing")  # Kaggle's test_simplified
    every: dict[str, forms.Make] = {**COMPLETE, **NAMELESS, "test_simplified.csv": lambda _: test_form}
    for name, make in every.items():
        found = predicted(forms.write(tmp_path / name, name, make(lines)), model, capfdbinary)
        assert len(found) == 50
        if name.endswith(".npz"):  # moved to minimum 0, and without key_ids
            assert all("key_id" not in answer for answer in found)
            continue
        assert found == expected, name


@pytest.mark.usefixtures("no_charts")
def test_evaluate(lines: bytes, tiny_run: Run, tmp_path: Path) -> None:
    def evaluated(name: str, data: bytes, label: str) -> dict[str, object]:
        path, out = forms.write(tmp_path / name, name, data), tmp_path / "out"
        command = ["evaluate", tiny_run.path, path.parent, "--recognized", "any", "--label", label, "--out", out]
        assert cli.main([str(argument) for argument in command]) == 0
        found: dict[str, object] = json.loads((out / "metrics.json").read_bytes())
        return {key: value for key, value in found.items() if key not in ("source", "runs")}

    expected = evaluated("star.ndjson", lines, "file")
    for name, make in COMPLETE.items():
        assert evaluated(name, make(lines), "word") == expected, name
    for name, make in NAMELESS.items():
        found = evaluated(name, make(lines), "file")
        assert name.endswith(".npz") or found == expected, name


def test_what_cannot_be_classified(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    np.save(tmp_path / "star.npy", np.full((3, 784), 9, np.uint8))
    for path, why in (
        (tmp_path / "star.npy", "needs strokes, but only bitmaps were given"),
        (forms.write(tmp_path, "star.json.gz", b"<html>404</html>"), "an HTML or XML page"),
        (forms.write(tmp_path, "empty.zip", forms.zipped({})), "no files of drawings in this archive"),
    ):
        assert why in refused(capsys, "predict", path, "--model-dir", model)
