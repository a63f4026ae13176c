"""Prepared data that somebody overwrites, cuts short or replaces while it is in use."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from kills import Command, tree
from limits import PROCESS_TIMEOUT

import qdfast
from qdfast.dataset.prepare import prepare
from qdfast.errors import DataError
from qdfast.quickdraw.doodles import write_doodles


@pytest.fixture
def data(tmp_path: Path) -> qdfast.Prepared:
    write_doodles(tmp_path / "drawings", classes=["star", "tree"], per_class=2000, seed=1)
    return prepare(tmp_path / "drawings", tmp_path / "data", recognized="any")


def test_a_shard_that_is_cut_short_is_an_error(data: qdfast.Prepared) -> None:
    rows = data.rows("all")
    every = np.arange(len(rows))
    rows.check_files(every)
    os.truncate(data.shard_paths[0], 5000)
    with pytest.raises(DataError, match=r"circle|star.*: it was cut short while in use, from [\d,]+ to 5,000 bytes"):
        rows.check_files(every)
    with pytest.raises(DataError, match="was cut short"):
        rows[:10].check_files(np.arange(10))
    rows.check_files(every[rows.labels == 1])  # of another file


def test_what_is_in_memory_or_replaced_is_no_error(data: qdfast.Prepared, tmp_path: Path) -> None:
    rows = data.rows("all")
    every = np.arange(len(rows))
    before = rows.deltas(every, 20)[0]
    path = data.shard_paths[0]
    (tmp_path / "new").write_bytes(b"other")
    (tmp_path / "new").rename(path)
    rows.check_files(every)
    assert np.array_equal(rows.deltas(every, 20)[0], before)
    pickle.loads(pickle.dumps(rows)).check_files(every)


def test_bitmaps(bitmap_files: Path, tmp_path: Path) -> None:
    data = prepare(bitmap_files, tmp_path / "data")
    rows = data.rows("all")
    rows.check_files(np.arange(len(rows)))
    for path in data.shard_paths:
        os.truncate(path, 4096)
    with pytest.raises(DataError, match="was cut short"):
        rows.check_files(np.arange(len(rows)))


@pytest.mark.slow
def test_training_ends_with_an_error_or_a_result(data: qdfast.Prepared, tmp_path: Path) -> None:
    """Never by a signal. The three run at once, since most of the time is the start of TensorFlow."""
    pytest.importorskip("tensorflow")
    processes: dict[str, subprocess.Popen[bytes]] = {}
    for how in ("overwritten", "cut short", "replaced"):
        shutil.copytree(data.path, tmp_path / how)
        train = Command(
            ("train", str(tmp_path / how), "--model", "tiny", "--epochs", "60", "--batch", "32", "--max-len", "64"),
            True,
            tree,
        )
        processes[how] = train.start(tmp_path / f"run of {how}")
    for how, process in processes.items():
        deadline = time.monotonic() + PROCESS_TIMEOUT
        while not (tmp_path / f"run of {how}" / "history.json").exists():
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for path in qdfast.open_prepared(tmp_path / how).shard_paths:
            whole = path.read_bytes()
            if how == "overwritten":
                with path.open("r+b") as file:
                    file.write(whole[:3000] + bytes(len(whole) - 3000))
            elif how == "cut short":
                os.truncate(path, 3000)
            else:
                (tmp_path / "new").write_bytes(whole[:3000])
                (tmp_path / "new").rename(path)
    time.sleep(2)
    for how, process in processes.items():
        if how != "cut short" and process.poll() is None:
            process.send_signal(signal.SIGTERM)  # enough of it
        err = process.communicate(timeout=PROCESS_TIMEOUT)[1].decode()
        if how == "cut short":
            assert process.returncode == 1, err
            assert "it was cut short while in use" in err
        else:
            assert process.returncode in (0, -signal.SIGTERM, 143), err  # training goes on
        assert "Traceback" not in err
