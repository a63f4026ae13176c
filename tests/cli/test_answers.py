"""Answers for programs (`--json`), for shells (`--print-completion`), and to misspelt words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import refused

import qdfast
from qdfast import cli
from qdfast._suggest import did_you_mean, similar_path
from qdfast.cli.arguments import parser
from qdfast.learn.models.baselines import BASELINES
from qdfast.learn.models.network_table import MODELS
from qdfast.storage.directories import choices


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[Any]:
    """The JSON of each line that a command prints."""
    capsys.readouterr()
    assert cli.main([str(a) for a in arguments]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    return [json.loads(line) for line in out.splitlines()]


# ---- JSON ----


def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    (facts,) = answer(capsys, "models", "--json", "--classes", 20)
    assert {*BASELINES} < set(facts)
    assert facts["stroke_conv"]["parameters"] == 858_052 + 257 * 20
    assert facts["stroke_conv"]["recipe"] == MODELS["stroke_conv"].recipe
    assert facts["knn"] == {
        "takes": "bitmaps",
        "parameters": None,
        "recipe": None,
        "summary": BASELINES["knn"].summary,
        "purpose": BASELINES["knn"].purpose,
    }


def test_info_as_json(
    prepared: qdfast.Prepared, doodles: Path, bitmap_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "models" / "animals"
    for version in (2, 10):
        (model / str(version)).mkdir(parents=True)
        (model / str(version) / "saved_model.pb").touch()
    star = doodles / "star.ndjson"
    paths = (prepared.path, star, bitmap_files, model, model / "2", model.parent)
    data, drawings, bitmaps, one, version, several = answer(capsys, "info", "--json", *paths)
    assert [found["path"] for found in (data, drawings, bitmaps, one, version, several)] == list(map(str, paths))
    assert (data["contains"], data["kind"], data["digest"]) == ("prepared data", "strokes", prepared.digest)
    assert data["classes"]["star"] == {split: prepared.counts(split)["star"] for split in ("train", "validation")}
    np.testing.assert_array_equal(data["steps"]["std"], prepared.stats("train").std)
    read = qdfast.read_ndjson(star, recognized="any")
    assert (drawings["contains"], drawings["classes"]) == ("drawings", ["star"])
    assert (drawings["drawings"], drawings["points"]) == (len(read), len(read.x))
    assert drawings["recognized"]["true"] == int((read.recognized == 1).sum())
    assert (bitmaps["kind"], sum(bitmaps["classes"].values())) == ("bitmaps", bitmaps["drawings"])
    assert (one["contains"], one["versions"]) == ("a model", [2, 10])
    assert version["contains"] == "a version of a model"
    assert several["models"] == {str(model): [2, 10]}
    (here,) = answer(capsys, "info", "--json")
    assert here["qdfast"] == qdfast.__version__


def test_info_verifies_as_json(prepared: qdfast.Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = answer(capsys, "info", prepared.path, "--json", "--verify")
    assert found["verified"].startswith("all bytes of")


@pytest.mark.slow
def test_runs_and_reports_as_json(
    prepared: qdfast.Prepared, tmp_path: Path, no_charts: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    run, report = tmp_path / "run", tmp_path / "report"
    assert cli.main(["train", str(prepared.path), "--out", str(run), "--model", "knn"]) == 0
    (metrics,) = answer(capsys, "evaluate", run, prepared.path, "--out", report, "--json")
    assert metrics == json.loads((report / "metrics.json").read_bytes())
    of_run, of_report = answer(capsys, "info", run, report, "--json")
    assert (of_run["contains"], of_run["arguments"]["model"]) == ("a training run", "knn")
    assert [epoch["epoch"] for epoch in of_run["epochs"]] == [1]
    assert of_report == {"path": str(report), "contains": "a report", "metrics": metrics}


# ---- completion ----


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_has_all_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--print-completion", shell])
    out = capsys.readouterr().out
    for command in cli.commands.COMMANDS:
        assert command in out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["tra"], ["train"]),
        (["train", "--preci"], ["--precision"]),
        (["train", "--precision", "mixed_b"], ["mixed_bfloat16"]),
        (["train", "da"], ["data"]),
        (["info", "--gal"], ["--gallery"]),
    ],
)
@pytest.mark.slow
def test_bash_completes(words: list[str], completed: list[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    (tmp_path / "data").touch()
    line = f"COMP_WORDS=(qdfast {' '.join(words)}); COMP_CWORD={len(words)}; _shtab_qdfast; echo ${{COMPREPLY[@]}}"
    command = f'source <("{sys.executable}" -m qdfast --print-completion bash); {line}'
    done = subprocess.run([bash, "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == completed, done.stderr


# ---- misspelt words ----


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "invalid choice: 'trian' (did you mean train?)"),
        (["Evaluate", "run"], "(did you mean evaluate?)"),
        (["fly"], "invalid choice: 'fly' (choose from"),
        (["train", "data", "--out", "x", "--epoch", "3"], "unrecognized arguments: --epoch 3 (did you mean --epochs?)"),
        (["train", "data", "--out", "x", "--learning_rate=1"], "--learning_rate=1 (did you mean --learning-rate?)"),
        (["train", "data", "--out", "x", "--zzz"], "unrecognized arguments: --zzz\n"),
        (["train", "data", "--out", "x", "--precision", "bfloat16"], "'bfloat16' (did you mean mixed_bfloat16?)"),
        (["convert", "data", "--out", "x", "--format", "parket"], "'parket' (did you mean parquet?)"),
    ],
)
def test_misspelt_words(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(arguments)
    err = capsys.readouterr().err
    assert said in err
    assert f"usage: qdfast {arguments[0]}" in err or arguments[0] not in cli.commands.COMMANDS


def test_similar_names() -> None:
    assert did_you_mean("Stroke_Conv", MODELS) == " (did you mean stroke_conv?)"
    assert did_you_mean("resnet", MODELS) == ""
    assert did_you_mean("knn", ["knn"]) == ""


def test_similar_paths(tmp_path: Path) -> None:
    (tmp_path / "drawings" / "deep").mkdir(parents=True)
    (tmp_path / "drawings" / "cat.ndjson").touch()
    (tmp_path / "dra\x1bwings").mkdir()
    for wrong, right in (
        ("drawings/cat.ndjsn", "drawings/cat.ndjson"),
        ("drawing/cat.ndjson", "drawings/cat.ndjson"),
        ("drawing/dog.ndjson", "drawings"),
        ("Drawings", "drawings"),
    ):
        assert similar_path(tmp_path / wrong) == f" (did you mean {tmp_path / right}?)"
    for wrong in ("elephant", "drawings/cat.ndjson/x"):
        assert similar_path(tmp_path / wrong) == ""


def test_directories_of_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(25):
        (tmp_path / f"run{i:02}").mkdir()
        (tmp_path / f"run{i:02}" / "run.json").touch()
    said = choices(tmp_path, "a training run")
    assert said.startswith(f"; a training run is in {tmp_path / 'run00'}, {tmp_path / 'run01'}, ")
    assert said.endswith("run19, … (25 in all)")
    assert said in refused(capsys, "export", tmp_path, "--out", tmp_path / "model")
    assert choices(tmp_path, "a model") == choices(tmp_path / "nowhere", "a model") == ""
