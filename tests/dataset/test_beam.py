"""Preparing by Apache Beam gives the files that preparing here gives, whatever is done twice or killed on the way."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forms
import numpy as np
import pytest
from digests import tree
from limits import PROCESS_TIMEOUT

from qdfast import DataError
from qdfast.dataset.prepare import prepare
from qdfast.storage.files import TEMPORARY, only_writer
from qdfast.storage.names import SHARDS

pytest.importorskip("apache_beam", reason="Apache Beam is not installed: pip install 'qdfast[beam]'")

import apache_beam
from apache_beam.io.localfilesystem import LocalFileSystem

from qdfast.dataset import beam

pytestmark = pytest.mark.slow

CHUNK = 20_000  # bytes: some chunks of each file

COMMAND = [sys.executable, "-m", "qdfast", "prepare", "--runner", "beam"]
TWO_PROCESSES = ["--beam-arg=--direct_running_mode=multi_processing", "--beam-arg=--direct_num_workers=2"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdfast.storage.digests.CHUNK", CHUNK)


@pytest.mark.parametrize("options", [{}, {"recognized": "any", "label": "word", "validation": 0.3}])
def test_the_same_files_as_here(small: None, doodles: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    src = tmp_path / "src"
    shutil.copytree(doodles, src)
    (src / "star.ndjson.gz").write_bytes(gzip.compress((src / "star.ndjson").read_bytes()))
    (src / "star.ndjson").unlink()
    with (src / "tree.ndjson").open("ab") as file:
        file.write(b'nonsense\n{"drawing":[]}\n{"word":"no end')
    said: dict[str, list[str]] = {"here": [], "beam": []}
    here = prepare(src, tmp_path / "here", **options, log=said["here"].append)
    assert len(here.shard_paths) > 6
    manifest = beam.prepare([str(src)], str(tmp_path / "beam"), **options, log=said["beam"].append)
    assert manifest == here.manifest
    assert tree(tmp_path / "beam") == tree(tmp_path / "here")
    assert said["beam"] == said["here"]


def test_other_formats(small: None, doodles: Path, tmp_path: Path) -> None:
    lines = {path.stem: path.read_bytes() for path in sorted(doodles.glob("*.ndjson"))}
    src = tmp_path / "src"
    forms.write(src, "circle.csv", forms.kaggle(lines["circle"]))
    forms.write(src, "house.bin", forms.google_binary(lines["house"]))
    forms.write(src, "ladder.npz", forms.sketch_rnn(lines["ladder"]))
    forms.write(src, "a.tar.gz", forms.tarred({"star.ndjson": lines["star"], "tree.ndjson": lines["tree"]}, "w:gz"))
    forms.write(src, "zigzag.zip", forms.zipped({"zigzag.json": forms.json_array(lines["zigzag"])}))
    forms.write(src, "README.md", b"# about\n")
    said: dict[str, list[str]] = {"here": [], "beam": []}
    here = prepare(src, tmp_path / "here", log=said["here"].append)
    assert list(here.classes) == list(lines)
    beam.prepare([str(src)], str(tmp_path / "beam"), log=said["beam"].append)
    assert tree(tmp_path / "beam") == tree(tmp_path / "here")
    assert said["beam"] == said["here"]


def test_real_drawings(quickdraw: Path, tmp_path: Path) -> None:
    manifest = beam.prepare([str(quickdraw / "qd20")], str(tmp_path / "beam"), recognized="any")
    assert manifest["drawings"] > 60_000
    prepare(quickdraw / "qd20", tmp_path / "here", recognized="any")
    assert tree(tmp_path / "beam") == tree(tmp_path / "here")


def test_only_what_changed_is_done_again(small: None, doodles: Path, tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    shutil.copytree(doodles, src)
    beam.prepare([str(src)], str(out))
    times = {f.name: f.stat().st_mtime_ns for f in (out / SHARDS).iterdir()}
    changed = bytearray((src / "star.ndjson").read_bytes())
    changed[-10] ^= 1  # as long as before
    (src / "star.ndjson").write_bytes(changed)
    (out / SHARDS / f"{TEMPORARY}1-stale").write_bytes(b"half")
    said: list[str] = []
    beam.prepare([str(src), str(src / "tree.ndjson")], str(out), log=said.append)
    assert len([line for line in said if "as prepared before" in line]) == 5
    assert said[-1].endswith(f"left out: duplicate of {src / 'tree.ndjson'}")
    assert {n for n, t in times.items() if "star" not in n} == {
        f.name for f in (out / SHARDS).iterdir() if times.get(f.name) == f.stat().st_mtime_ns
    }
    prepare([src, src / "tree.ndjson"], tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")
    prepare([src, src / "tree.ndjson"], out, log=said.append)  # each knows what the other did
    assert len([line for line in said if "as prepared before" in line]) == 11


@pytest.mark.parametrize("step", ["write", "digest", "commit", "look_up", "report"])
def test_a_step_done_twice_changes_nothing(
    small: None, step: str, doodles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a worker is lost with what it had done, and another does that again."""
    once = getattr(beam._Job, step)

    def twice(self: beam._Job, element: Any) -> Any:
        first = once(self, element)
        _ = list(first) if isinstance(first, Iterator) else first
        return once(self, element)

    monkeypatch.setattr(beam._Job, step, twice)
    for _ in range(2):
        beam.prepare([str(doodles)], str(tmp_path / "out"))
    prepare(doodles, tmp_path / "here")
    assert tree(tmp_path / "out") == tree(tmp_path / "here")


def test_bundles_done_twice(small: None, doodles: Path, tmp_path: Path) -> None:
    beam.prepare([str(doodles)], str(tmp_path / "out"), beam_args=["--direct_runner_bundle_repeat=1"])
    prepare(doodles, tmp_path / "here")
    assert tree(tmp_path / "out") == tree(tmp_path / "here")


class Elsewhere(LocalFileSystem):  # type: ignore[misc]
    """A file system of its own scheme: test://… is below ``root``. Like some, it does not rename onto a file."""

    root: Path

    @classmethod
    def scheme(cls) -> str:
        return "test"

    def _here(self, url: str) -> str:
        return url.replace("test:/", str(self.root), 1)

    def _there(self, path: str) -> str:
        return path.replace(str(self.root), "test:/", 1)

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join((basepath.rstrip("/"), *paths))

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def _list(self, dir_or_prefix: str) -> Iterator[Any]:
        for found in super()._list(self._here(dir_or_prefix)):
            yield type(found)(self._there(found.path), found.size_in_bytes, found.last_updated_in_seconds)

    def exists(self, path: str) -> bool:
        return bool(super().exists(self._here(path)))

    def metadata(self, path: str) -> Any:
        found = super().metadata(self._here(path))
        return type(found)(path, found.size_in_bytes, found.last_updated_in_seconds)

    def _path_open(self, path: str, *arguments: Any, **options: Any) -> Any:
        return super()._path_open(self._here(path), *arguments, **options)

    def create(self, path: str, *arguments: Any, **options: Any) -> Any:
        Path(self._here(path)).parent.mkdir(parents=True, exist_ok=True)
        return super().create(self._here(path), *arguments, **options)

    def rename(self, names: list[str], new: list[str]) -> None:
        if any(map(self.exists, new)):
            raise apache_beam.io.filesystem.BeamIOError("there is such a file")
        super().rename([*map(self._here, names)], [*map(self._here, new)])

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            Path(self._here(path)).unlink()


def test_other_file_systems(small: None, doodles: Path, tmp_path: Path) -> None:
    Elsewhere.root = tmp_path / "elsewhere"
    shutil.copytree(doodles, Elsewhere.root / "src")
    said: list[str] = []
    for _ in range(2):
        beam.prepare(["test://src"], "test://out", log=said.append)
    assert len([line for line in said if "as prepared before" in line]) == 6
    here = prepare(doodles, tmp_path / "here")
    got = tree(Elsewhere.root / "out")
    assert {n: d for n, d in got.items() if n != "manifest.json"} == {
        n: d for n, d in tree(tmp_path / "here").items() if n != "manifest.json"
    }  # the manifest has the sources' names
    manifest = beam.prepare(["test://src/s*.ndjson", "test://src/tree.ndjson"], "test://out")
    assert [s["source"] for s in manifest["sources"]] == ["test://src/star.ndjson", "test://src/tree.ndjson"]
    assert manifest["classes"] == {name: here.manifest["classes"][name] for name in ("star", "tree")}
    with pytest.raises(DataError, match=r"test://nowhere: no files of drawings there"):
        beam.prepare(["test://nowhere"], "test://out")


# ---- what is killed ----


def _workers(pid: int) -> list[int]:
    """The processes below ``pid`` that do Beam's work."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, below = [], [pid]
    while below:
        below = [child for one in below for child in children.get(one, [])]
        for one in below:
            words = Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0")
            if b"apache_beam.runners.worker.sdk_worker_main" in words:
                found.append(one)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")
@pytest.mark.parametrize("victim", ["worker", "whole run"])
def test_killed(victim: str, doodles: Path, tmp_path: Path) -> None:
    """A process is killed in the middle of writing; the same command again ends as an undisturbed run."""
    src, out = tmp_path / "src", tmp_path / "out"
    src.mkdir()
    lines = b"".join(f.read_bytes() for f in sorted(doodles.iterdir()))
    for i in range(8):
        with (src / f"class {i}.ndjson").open("wb") as file:
            for _ in range((24 << 20) // len(lines)):
                file.write(lines)
    command = [*COMMAND, *TWO_PROCESSES, str(src), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list((out / SHARDS).glob(f"{TEMPORARY}*"))) < 3:
        time.sleep(0.005)
    assert process.poll() is None
    os.kill(_workers(process.pid)[0] if victim == "worker" else process.pid, signal.SIGKILL)
    _, said = process.communicate(timeout=PROCESS_TIMEOUT)
    assert process.returncode == (1 if victim == "worker" else -signal.SIGKILL)
    assert not (out / "manifest.json").exists()
    if victim == "worker":
        assert "qdfast prepare: error: the pipeline failed: " in said
    subprocess.run(command, check=True, capture_output=True, timeout=PROCESS_TIMEOUT)
    here = prepare(src, tmp_path / "here")
    assert tree(out) == tree(tmp_path / "here")
    ids = here.rows().key_id
    assert len(ids) == here.manifest["drawings"] > 100_000
    assert np.all(np.diff(np.unique(ids, return_counts=True)[1]) == 0)


# ---- what goes wrong ----


def test_errors(doodles: Path, bitmap_files: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").write_bytes(b"")
    (tmp_path / "bad.ndjson").write_bytes(b"{}\n" * 3)
    (tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress((doodles / "star.ndjson").read_bytes())[:-9])
    out = tmp_path / "out"
    cases = [
        ("empty.ndjson", r"empty\.ndjson: no drawings"),
        ("bad.ndjson", r"no drawings: 0 drawings .left out: 3 no drawing .first in line 1"),
        ("cut.ndjson.gz", "the pipeline failed: .*corrupt gzip data"),
        (str(bitmap_files), "only the local runner can prepare bitmaps"),
        (os.devnull, "not a regular file"),
    ]
    for source, message in cases:
        with pytest.raises(DataError, match=message) as caught:
            beam.prepare([str(doodles / "star.ndjson"), str(tmp_path / source)], str(out))
        assert "\n" not in str(caught.value)
        assert not (out / "manifest.json").exists()
        assert not list(out.rglob(f"{TEMPORARY}*"))
    with pytest.raises(DataError, match="Unexpected pipeline runner"):
        beam.prepare([str(doodles)], str(out), beam_args=["--runner=Nobody"])
    with only_writer(out, "preparing"), pytest.raises(DataError, match="another process is preparing"):
        beam.prepare([str(doodles)], str(out))


def test_the_command(doodles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run([*COMMAND, str(doodles), "--out", str(out)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{out}: {sum_of(prepare(doodles, tmp_path / 'here'))} in 6 classes\n"
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [str(f) for f in sorted(doodles.iterdir())]
    assert tree(out) == tree(tmp_path / "here")
    wrong = subprocess.run(
        [*COMMAND, str(doodles), "--out", str(out), "--threads", "2"], capture_output=True, text=True
    )
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "--threads works with --runner local only" in wrong.stderr


def sum_of(data: Any) -> str:
    train, validation = (sum(data.counts(split).values()) for split in ("train", "validation"))
    return f"{train:,} + {validation:,} drawings (training + validation)"
