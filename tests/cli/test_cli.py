"""The command line: what bad input gets, and what is written where."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import refused, run
from limits import PROCESS_TIMEOUT
from paths import ROOT

from qdfast import cli
from qdfast._hints import install
from qdfast.storage.names import RECIPE_NAMES


def test_sources_that_are_not(doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.ndjson").write_bytes(b'{"word":"none","recognized":false,"drawing":[[[1,2],[3,4]]]}\n')
    (tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress((doodles / "star.ndjson").read_bytes())[:-20])
    cases = {
        "nowhere.ndjson": "nowhere.ndjson: no such file or directory",
        "empty": "empty: no files of drawings in this directory",
        "none.ndjson": "none.ndjson: no drawings: 0 drawings (left out: 1 not recognized (--recognized any keeps these)",
        "cut.ndjson.gz": "cut.ndjson.gz: corrupt gzip data",
    }
    for name, message in cases.items():
        out = tmp_path / "out"
        assert message in refused(capsys, "prepare", tmp_path / name, "--out", out)
        assert not out.exists() or not [f for f in out.rglob("*") if f.is_file()]


def test_runners(
    doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["prepare", doodles, "--out", tmp_path / "out"]
    assert "--beam-arg requires --runner beam" in refused(capsys, *command, "--beam-arg=--runner=FlinkRunner")
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    line = refused(capsys, *command, "--runner", "beam")
    assert line == f"qdfast prepare: error: apache_beam is not installed: {install('beam')}"
    assert not (tmp_path / "out").exists()


def test_backends_that_are_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for command in (["train", "data", "--out", "run"], ["train", "data", "--out", "run", "--model", "stroke_lstm"]):
        assert "KERAS_BACKEND is 'torch': it must be tensorflow or jax" in refused(capsys, *command)


def test_directories_that_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["train", tmp_path, "--out", tmp_path / "run"],
        ["evaluate", tmp_path, tmp_path, "--out", tmp_path / "report"],
        ["export", tmp_path / "nowhere", "--out", tmp_path / "model"],
        ["serve", tmp_path, "--port", 0],
        ["serve", "--models", tmp_path / "models.config", "--port", 0, "--embedded"],
        ["serve", "--models", tmp_path / "models.config", "--name", "x"],
        ["info", tmp_path],
        ["info", tmp_path / "nowhere"],
    ):
        assert str(tmp_path) in refused(capsys, *command)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "evaluate", "export"])
@pytest.mark.slow
def test_an_error_is_one_line_also_from_tensorflows_users(command: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    sources = [tmp_path] if command == "evaluate" else []
    done = run(command, tmp_path / "nowhere", *sources, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"qdfast {command}: error: {tmp_path / 'nowhere'}: no such directory\n"


@pytest.mark.parametrize("command", [["export"], ["convert", "--format", "tfrecord"]])
@pytest.mark.slow
def test_where_only_tensorflow_is_needed_the_backend_of_keras_does_not_matter(
    command: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow")
    environment = {**os.environ, "KERAS_BACKEND": "nothing"}
    done = run(*command, tmp_path / "nowhere", "--out", tmp_path / "out", env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"qdfast {command[0]}: error: {tmp_path / 'nowhere'}")
    assert done.stderr.count("\n") == 1


def test_an_output_that_cannot_be_written(doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "file" in refused(capsys, "prepare", doodles, "--out", tmp_path / "file")
    assert "file" in refused(capsys, "prepare", doodles, "--out", tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_port_in_use(doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model" / "1").mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(capsys, "serve", tmp_path / "model", "--port", port, "--embedded")
    assert str(port) in line


def test_no_server(doodles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = refused(capsys, "predict", doodles, "--target", f"127.0.0.1:{port}", "--wait", "0.3")
    assert f"127.0.0.1:{port}" in line


@pytest.mark.slow
def test_wrong_usage() -> None:
    prepare, predict = ["prepare", "x", "--out", "y"], ["predict", "x"]
    for arguments in (
        ["serve"], ["serve", "x", "--models", "y"], ["serve", "x", "--batching", "y", "--no-batching"],
        ["prepare"], ["fly"], [], [*prepare, "--label", "z"], [*prepare, "--threads", "0"], ["prepare", "", "--out", "y"],
        ["prepare", "x", "--out", ""], [*predict, "-k", "0"], [*predict, "--timeout", "inf"], [*predict, "--wait", "nan"],
        [*predict, "--model", "\udcff"],
    ):  # fmt: skip
        done = run(*arguments)
        assert done.returncode == 2
        assert "usage: qdfast" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["train", "x", "--out", "y", "--max-minutes", "0.0001"],
            "0.0001 is out of range: it must be from 0.001 to 2147483648",
        ),
        (["models", "--classes", "100000000000"], "100000000000 is out of range: it must be from 1 to 2147483648"),
        (["models", "--classes", "0"], "0 is out of range: it must be from 1 to 2147483648"),
    ],
)
def test_numbers_out_of_range(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["{", "[]", '{"format":1}', '{"format":1,"arguments":3}'])
def test_info_on_what_is_damaged(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("manifest.json", "run.json", "metrics.json"):
        path = tmp_path / name
        path.write_text(damage)
        if cli.main(["info", str(tmp_path)]):  # what is readable may be shown
            assert "Traceback" not in (err := capsys.readouterr().err)
            assert err.startswith(f"qdfast info: error: {tmp_path}")
        path.unlink()
    (tmp_path / "x.ndjson").write_bytes(b"\x7fELF\n")
    assert "no drawings" in refused(capsys, "info", tmp_path / "x.ndjson")


def test_standard_streams_that_are_closed(doodles: Path, tmp_path: Path) -> None:
    def shell(command: str) -> subprocess.CompletedProcess[str]:
        line = f"{sys.executable} -m qdfast {command}"
        return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=PROCESS_TIMEOUT)

    assert shell(f"prepare {doodles} --out {tmp_path}/out 2>&-").returncode == 0
    for command in (f"info {doodles} >&-", "predict - <&-"):
        done = shell(command)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "is closed" in done.stderr


def test_a_missing_extra_is_named(doodles: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "grpc.py"
    blocked.write_text("raise ModuleNotFoundError(\"No module named 'grpc'\", name='grpc')")
    done = run("predict", doodles, env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""})
    assert done.returncode == 1
    assert done.stderr == f"qdfast predict: error: grpc is not installed: {install('client')}\n"


def test_whoever_reads_may_stop(doodles: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "qdfast", "info", *[str(f) for f in sorted(doodles.iterdir())] * 20],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.slow
def test_interrupted(doodles: Path, tmp_path: Path) -> None:
    lines = (doodles / "star.ndjson").read_bytes()
    (tmp_path / "big.ndjson").write_bytes(lines * 4000)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "qdfast", "prepare", str(tmp_path / "big.ndjson"), "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(out.rglob("*.safetensors")) and not list(out.rglob(".tmp-*")):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PROCESS_TIMEOUT)
    assert process.returncode == 130
    assert err == "qdfast prepare: interrupted\n"
    assert [f for f in out.rglob("*") if f.is_file()] == []


def test_interrupted_before_the_command_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdfast.cli.commands.parser", interrupt)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr() == ("", "qdfast: interrupted\n")


def interrupt() -> None:
    raise KeyboardInterrupt


def test_quiet_in_a_pipe(doodles: Path, tmp_path: Path) -> None:
    done = run("prepare", doodles, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert "\r" not in done.stderr
    assert done.stderr.count("\n") == 6  # one line a source


def test_info(doodles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prepare", str(doodles), "--out", str(tmp_path / "data")]) == 0
    capsys.readouterr()
    assert cli.main(["info", str(doodles / "star.ndjson"), str(tmp_path / "data")]) == 0
    out = capsys.readouterr().out
    assert "120 drawings" in out
    assert "star" in out
    assert "6 classes" in out


def test_one_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doodles", "star", "--per-class", "1", "--out", str(tmp_path)]) == 0
    command = ["prepare", str(tmp_path / "star.ndjson"), "--recognized", "any", "--validation", "0"]
    assert cli.main([*command, "--out", str(tmp_path / "data")]) == 0
    assert cli.main(["info", str(tmp_path / "data")]) == 0
    out, err = capsys.readouterr()
    assert "1 + 0 drawings (training + validation) in 1 class\n" in out
    assert "1 drawing in 1 class, from 1 source\n" in out
    assert "1 drawing\n" in err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(
        '{"format":1,"arguments":{"model":"knn"},"classes":["star"],'
        '"stats":{"n":0,"sum":[0,0],"sum_sq":[0,0]},"data":{"path":"","digest":""},"parameters":1,"backend":"","versions":{}}'
    )
    line = refused(capsys, "evaluate", tmp_path / "run", tmp_path / "run", "--out", tmp_path / "report")
    assert line.endswith(f"no drawings to evaluate on: every SRC is a run directory: {tmp_path / 'run'}")


def test_doodles_and_their_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doodles", "star", "--per-class", "3", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'star.ndjson'}\n"
    assert (tmp_path / "star.ndjson").read_bytes().count(b"\n") == 3
    assert "unicorn" in refused(capsys, "doodles", "unicorn", "--out", tmp_path)


def test_download_needs_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--all" in refused(capsys, "download", "--out", tmp_path)


def test_download_of_some_and_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["download", "cat", "--all", "--out", tmp_path, "--base-url", "http://127.0.0.1:9", "--retries", 0]
    assert "name classes or use --all, not both" in refused(capsys, *command)


def test_recipes_are_those_of_the_trainer() -> None:
    from qdfast.learn.training.recipes import RECIPES

    assert tuple(RECIPES) == RECIPE_NAMES
