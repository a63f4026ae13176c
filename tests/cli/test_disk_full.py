"""Every command that writes says in one line what could not be written, and leaves no unfinished files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import run
from limits import PROCESS_TIMEOUT, no_big_files

import qdfast
from qdfast.dataset.prepare import prepare


@pytest.fixture(scope="module")
def data(doodles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared drawings of two classes, more than 8 KiB of each."""
    out = tmp_path_factory.mktemp("disk_full") / "data"
    return prepare([doodles / "star.ndjson", doodles / "tree.ndjson"], out, recognized="any").path


def check(done: subprocess.CompletedProcess[str], command: str, out: Path) -> None:
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"qdfast {command}: error: {out}")
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert {f.name for f in out.parent.rglob("*") if f.is_file()} <= {"run.json"}  # which is small, and whole


@pytest.mark.parametrize("format", ["ndjson", "parquet", "arrow", "tfrecord"])
@pytest.mark.slow
def test_convert(format: str, data: Path, tmp_path: Path) -> None:
    pytest.importorskip({"ndjson": "qdfast", "tfrecord": "tensorflow"}.get(format, "pyarrow"))
    out = tmp_path / "here" / "out"
    check(run("convert", data, "--format", format, "--out", out, preexec_fn=no_big_files), "convert", out)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
@pytest.mark.slow
def test_gallery(suffix: str, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = (tmp_path / "here").joinpath(f"gallery{suffix}")
    out.parent.mkdir()
    check(run("info", data, "--gallery", out, "--count", 200, preexec_fn=no_big_files), "info", out)


@pytest.mark.slow
def test_doodles_and_baselines_and_reports(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    out = tmp_path / "here" / "out"
    check(run("doodles", "star", "--out", out, preexec_fn=no_big_files), "doodles", out)
    check(run("train", data, "--model", "knn", "--out", out, preexec_fn=no_big_files), "train", out)
    done = run("train", data, "--model", "knn", "--out", tmp_path / "run")
    assert done.returncode == 0
    out = tmp_path / "there" / "out"
    check(run("evaluate", tmp_path / "run", data, "--out", out, preexec_fn=no_big_files), "evaluate", out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_standard_output(doodles: Path) -> None:
    for command in (["info", str(doodles)], ["info"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "qdfast", *command], stdout=full, stderr=-1, text=True, timeout=PROCESS_TIMEOUT
            )
        assert done.returncode == 1
        assert done.stderr == "qdfast info: error: <stdout>: No space left on device\n"


def test_a_record_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    """TensorFlow has errors of its own."""
    pytest.importorskip("tensorflow")
    from qdfast.formats.tfrecord import write_tfrecord

    path = tmp_path / "nowhere" / "x.tfrecord"
    with pytest.raises(FileNotFoundError) as error:
        write_tfrecord(path, qdfast.from_strokes([[[[0, 9], [0, 9]]]], words=["cat"]), ["cat"])
    assert error.value.filename == str(path)
