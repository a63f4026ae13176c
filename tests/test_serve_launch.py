"""`serve`: which server it runs, what it prints, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import tiny_model
from scripted_server import TIMEOUT, arrived, busy, drawings, predict_call

import qdfast
from qdfast import client, wire
from qdfast.errors import ServingError
from qdfast.serve import serve

SERVE = "import sys; from qdfast.serve import serve; serve(sys.argv[1], port=0, name='tiny', grace=20)"


def start(model_dir: Path, code: str = SERVE, **environment: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(qdfast.__file__).parents[1]), **environment}
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)  # TensorFlow, imported by other tests, sets it to its default
    command = [sys.executable, "-c", code, str(model_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_the_process_serves_drains_and_exits_with_0(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    model_dir = tmp_path / "m"
    model_dir.mkdir()
    tiny_model.write_model(model_dir, 1)
    process = start(model_dir, SERVE.replace("port=0", "port=0, embedded=True"))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving tiny version 1 on 127.0.0.1:")
        target = line.split()[-1]
        with client.Client(target, model="tiny", timeout=TIMEOUT) as c, grpc.insecure_channel(target) as channel:
            p = c.predict(drawings())
            assert set(p.labels.ravel()) <= set(tiny_model.CLASSES)
            tiny_model.write_model(model_dir, 2)
            assert process.stdout.readline() == f"serving tiny version 2 on {target}\n"
            call = predict_call(channel).future(busy(1.0), timeout=TIMEOUT)
            arrived(channel)
            process.send_signal(signal.SIGTERM)
            assert wire.predict_outputs(call.result())["rounds"] > 0
        out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err
        assert not [line for line in err.splitlines() if line.startswith(("E0", "ERROR"))]
    finally:
        process.kill()


STAND_IN = f"""#!{sys.executable}
# Takes tensorflow_model_server's flags, and says when it has the model.
import sys, time
sys.path[:0] = {[str(Path(__file__).parent), str(Path(qdfast.__file__).parents[1])]!r}
flags = dict(a.lstrip("-").split("=") for a in sys.argv[1:])
print(sorted(flags), flags["model_name"], flags["model_base_path"], file=sys.stderr, flush=True)
if flags["model_base_path"].endswith("broken"):
    sys.exit(7)
from scripted_server import Scripted
server = Scripted(int(flags["port"])).server
server.wait_for_termination()
"""


@pytest.fixture
def binary(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has a ``tensorflow_model_server``."""
    path = tmp_path / "bin" / "tensorflow_model_server"
    path.parent.mkdir()
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return {"PATH": f"{path.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tensorflow_serving_is_run_where_it_is_installed(tmp_path: Path, binary: dict[str, str], number: int) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    process = start(tmp_path / "m", **binary)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving tiny version 1 on 127.0.0.1:")
        with client.Client(line.split()[-1], model="tiny") as c:
            assert c.wait_ready() == 1
            process.send_signal(number)
            out, err = process.communicate(timeout=TIMEOUT)
            assert (process.returncode, out) == (0, "")
            with pytest.raises(client.Unavailable):  # the server has gone with it
                c.model_status()
        flags = ["model_base_path", "model_name", "port"]
        assert f"{flags} tiny {tmp_path / 'm'}" in err
        assert "listens on all interfaces, not only on 127.0.0.1" in err
    finally:
        process.kill()


def test_tensorflow_serving_that_ends_is_an_error(tmp_path: Path, binary: dict[str, str]) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    process = start(tmp_path / "broken", **binary)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "ServingError: tensorflow_model_server ended with status 7" in err


def test_tensorflow_serving_is_demanded_but_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServingError, match="tensorflow_model_server is not on the PATH"):
        serve(tmp_path, embedded=False)


def test_starting_looks_at_the_directory_before_anything_heavy(tmp_path: Path) -> None:
    code = "import sys, qdfast.serve\ntry: qdfast.serve.serve(sys.argv[1])\nexcept qdfast.DataError as e: print(e)\n"
    process = start(tmp_path, code + "print('tensorflow' in sys.modules)")
    out, err = process.communicate(timeout=TIMEOUT)
    assert err == ""
    assert out.splitlines()[0].startswith(f"{tmp_path}: no version of a model in it")
    assert out.splitlines()[1] == "False"
