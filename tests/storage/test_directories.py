"""What directories are, and that no command writes to one that is something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import refused
from digests import tree

from qdfast import cli
from qdfast.dataset.prepare import prepare
from qdfast.dataset.prepared import Prepared
from qdfast.errors import DataError
from qdfast.learn.training.runs import Run
from qdfast.storage.directories import CONVERTED, DRAWINGS, MODEL, PREPARED, REPORT, RUN, VERSION, contents_of, output

MADE_OF = {
    PREPARED: "manifest.json",
    RUN: "run.json",
    REPORT: "metrics.json",
    CONVERTED: "converted.json",
    VERSION: "saved_model.pb",
    MODEL: "12/saved_model.pb",
    DRAWINGS: "cat.ndjson.gz",
}
"""A file that makes a directory one of a kind."""


@pytest.fixture(params=MADE_OF)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(kind: str, tmp_path: Path) -> Path:
    """A directory of that kind, which has drawings, too."""
    mark = tmp_path / "out" / MADE_OF[kind]
    mark.parent.mkdir(parents=True)
    mark.write_bytes(b"")
    (tmp_path / "out" / "dog.npy").write_bytes(b"")
    return tmp_path / "out"


def test_kinds(path: Path, kind: str) -> None:
    assert contents_of(path) == kind
    (path.parent / ".tmp-1-train-00000-of-00001.ndjson").touch()  # of a command that was killed
    assert contents_of(path.parent) is None
    assert contents_of(path / "absent") is None
    assert output(path, kind) == path


@pytest.mark.parametrize("other", [PREPARED, REPORT, MODEL, CONVERTED])
def test_a_directory_of_another_kind_is_refused(path: Path, kind: str, other: str) -> None:
    if kind != other:
        with pytest.raises(DataError, match=f"out: contains {kind}: {other} needs a directory of its own"):
            output(path, other)
    assert output(path / "absent" / "below", other) == path / "absent" / "below"
    assert not (path / "absent").exists()


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="file: not a directory"):
            output(out, REPORT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_what_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=f"{tmp_path.name}: cannot be written to"):
        output(tmp_path / "new" / "below", REPORT)


def test_prepare_and_convert_leave_other_directories_alone(
    doodles: Path, prepared: Prepared, path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(path)
    for command, own in (
        (["prepare", doodles, "--out", path], PREPARED),
        (["convert", prepared.path, "--format", "ndjson", "--out", path], CONVERTED),
    ):
        if kind != own:
            assert f"{path}: contains {kind}" in refused(capsys, *command)
            assert tree(path) == before


def test_evaluate_and_export_leave_other_directories_alone(
    tiny_run: Run, doodles: Path, path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow")
    before = tree(path)
    for command, own in ((["evaluate", tiny_run.path, doodles], REPORT), (["export", tiny_run.path], MODEL)):
        if kind != own:
            assert f"{path}: contains {kind}" in refused(capsys, *command, "--out", path)
            assert tree(path) == before


def test_evaluate_looks_where_it_writes_before_it_reads(
    tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    command = ["evaluate", tiny_run.path, tmp_path / "absent.ndjson", "--out", tmp_path / "file"]
    assert f"{tmp_path / 'file'}: not a directory" in refused(capsys, *command)


def test_a_report_is_replaced_by_a_report(tiny_run: Run, doodles: Path, tmp_path: Path) -> None:
    command = ["evaluate", str(tiny_run.path), str(doodles / "star.ndjson"), "--out", str(tmp_path / "report")]
    for _ in range(2):
        assert cli.main(command) == 0


def test_urls_are_no_paths_of_this_machine(
    doodles: Path,
    prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    url, why = "gs://bucket/z3", "gs://bucket/z3: a URL, which works only with `qdfast prepare --runner beam`"
    for arguments in (["prepare", doodles, "--out", url], ["prepare", url, "--out", "data"]):
        assert refused(capsys, *arguments) == f"qdfast prepare: error: {why}"
    for command in ("train", "evaluate x", "convert --format ndjson", "export"):
        for arguments in ([*command.split(), url, "--out", "x"], [*command.split(), "x", "--out", url]):
            with pytest.raises(SystemExit, match="2"):
                cli.main(arguments)
            assert capsys.readouterr().err.endswith(f"{why}\n")
    with pytest.raises(DataError, match="a URL"):
        prepare(doodles, url)
    assert list(tmp_path.iterdir()) == []
