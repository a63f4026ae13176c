"""`serve`: which server it runs, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
import tiny_model
from certificates import write_certificates
from paths import TESTS
from scripted_server import TIMEOUT, arrived, busy, drawings, predict_call

import qdfast
from qdfast import client
from qdfast.errors import DataError, ServingError
from qdfast.protocol import messages
from qdfast.serve import ServeOptions, serve
from qdfast.serve.tf_serving_log import readable_lines

pytestmark = pytest.mark.slow

SERVE = "import sys; from qdfast.serve import ServeOptions, serve; serve(ServeOptions(sys.argv[1], port=0, name='tiny', grace=20))"


def start(
    model_dir: Path, code: str = SERVE, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(qdfast.__file__).parents[1]), **(environment or {})}
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)  # TensorFlow, imported by other tests, sets it to its default
    command = [sys.executable, "-c", code, str(model_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd)


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
            assert messages.predict_outputs(call.result())["rounds"] > 0
        out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err
        assert not [line for line in err.splitlines() if line.startswith(("E0", "ERROR"))]
    finally:
        process.kill()


def test_several_models_from_a_file_with_tls_and_metrics(publish: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    certificates = write_certificates(tmp_path)
    models = {name: publish(1, 2, name=name) for name in ("one", "two")}
    file = tmp_path / "models.config"

    def write(*names: str) -> None:
        configs = " ".join(
            f'config {{ name: "{name}" base_path: "{models[name]}" model_platform: "tensorflow" '
            f'model_version_policy {{ all {{}} }} version_labels {{ key: "old" value: 1 }} }}'
            for name in names
        )
        (tmp_path / "new").write_text(f"model_config_list {{ {configs} }}")
        (tmp_path / "new").rename(file)

    write("one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        metrics_port = free.getsockname()[1]
    code = (
        "import sys; from qdfast.serve import ServeOptions, serve; serve(ServeOptions(models=sys.argv[1], port=0, embedded=True, poll_seconds=0.05,"
        f"metrics_port={metrics_port}, tls_cert={str(certificates.server[0])!r}, tls_key={str(certificates.server[1])!r}))"
    )
    process = start(file, code)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        target = lines[0].split()[-1]
        assert lines == [f"serving one version {v} on {target}\n" for v in (1, 2)]
        with client.Client(target, model="one", version="old", timeout=TIMEOUT, ca=certificates.ca) as c:
            assert c.predict(drawings([3])).version == 1
        write("one", "two")
        assert [process.stdout.readline() for _ in "12"] == [f"serving two version {v} on {target}\n" for v in (1, 2)]
        with urlopen(f"http://127.0.0.1:{metrics_port}/monitoring/prometheus/metrics", timeout=TIMEOUT) as page:
            assert 'qdfast_model_loaded{model="two",version="2"} 1.0' in page.read().decode()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err
    finally:
        process.kill()


def test_arguments_that_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    for arguments, message in (
        ({}, "either a model directory or a file"),
        ({"model_dir": tmp_path, "models": tmp_path / "f"}, "either a model directory or a file"),
        ({"models": tmp_path / "f", "name": "x"}, "f: this file names its models"),
        ({"model_dir": tmp_path, "tls_cert": tmp_path / "c"}, "both a certificate and its key"),
        ({"model_dir": tmp_path, "tls_key": tmp_path / "k"}, "both a certificate and its key"),
        ({"model_dir": tmp_path, "tls_client_ca": tmp_path / "a"}, "both a certificate and its key"),
    ):
        with pytest.raises(DataError, match=message):
            serve(ServeOptions(**arguments))


STAND_IN = f"""#!{sys.executable}
# Takes tensorflow_model_server's flags, and says which, with what the files hold that have been written for it.
import json, os, sys
sys.path[:0] = {[str(TESTS), str(Path(qdfast.__file__).parents[1])]!r}
flags = dict(a.lstrip("-").split("=", 1) for a in sys.argv[1:])
files = {{name: open(value).read() for name, value in flags.items() if name.endswith("_file")}}
print(json.dumps([flags, files]), file=sys.stderr, flush=True)
if flags.get("model_base_path", "").endswith("broken"):
    sys.exit(7)
from scripted_server import Scripted
server = Scripted(port=int(flags["port"])).server
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


def command_line(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[dict[str, str], dict[str, str]]:
    """End ``serve``; what it gave to the stand-in: flags, and the content of the files that they name."""
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (0, "")
    (given,) = [line for line in err.splitlines() if line.startswith("[{")]
    flags, files = json.loads(given)
    scratch = [path for name, path in flags.items() if "qdfast-serve-" in path]
    assert not any(Path(path).parent.exists() for path in scratch)
    return flags, files


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tensorflow_serving_is_run_where_it_is_installed(tmp_path: Path, binary: dict[str, str], number: int) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    process = start(tmp_path / "m", environment=binary)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving tiny version 1 on 127.0.0.1:")
        target = line.split()[-1]
        with client.Client(target, model="tiny") as c:
            assert c.wait_ready() == 1
            flags, files = command_line(process, number)
            with pytest.raises(client.Unavailable):  # the server has gone with it
                c.model_status()
        assert flags == {
            "port": target.rpartition(":")[2],
            "model_name": "tiny",
            "model_base_path": str(tmp_path / "m"),
            "file_system_poll_wait_seconds": "1",
            "grpc_max_threads": "256",
            "grpc_channel_arguments": "grpc.http2.min_ping_interval_without_data_ms=5000",
        }
        assert files == {}
    finally:
        process.kill()


def test_all_that_tensorflow_serving_can_be_told(tmp_path: Path, binary: dict[str, str]) -> None:
    certificates = write_certificates(tmp_path)
    listed = "model_config_list {{ {} }}".format(
        " ".join(f'config {{ name: "{name}" base_path: "gs://b" model_platform: "tensorflow" }}' for name in "ab")
    )
    (tmp_path / "models.config").write_text(listed)
    (tmp_path / "batching.config").write_text("max_batch_size { value: 3 }")
    (certificate, key), ca = certificates.server, certificates.ca
    code = (
        "import sys; from qdfast.serve import ServeOptions, serve; serve(ServeOptions(models=sys.argv[1], port=0, metrics_port=0, poll_seconds=5,"
        f"batching='batching.config', tls_cert={str(certificate)!r}, tls_key={str(key)!r}, tls_client_ca={str(ca)!r}))"
    )
    process = start(tmp_path / "models.config", code, cwd=tmp_path, environment=binary)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in "ab"]
        assert [line.rpartition(":")[0] for line in lines] == ["serving a on 127.0.0.1", "serving b on 127.0.0.1"]
        flags, files = command_line(process)
        assert flags["port"] == lines[0].split(":")[-1].strip() != flags["rest_api_port"]
        assert (flags["model_config_file"], files["model_config_file"]) == (str(tmp_path / "models.config"), listed)
        assert flags["batching_parameters_file"] == str(tmp_path / "batching.config")
        assert flags["model_config_file_poll_wait_seconds"] == flags["file_system_poll_wait_seconds"] == "5"
        assert flags["enable_batching"] == flags["allow_version_labels_for_unavailable_models"] == "true"
        assert "model_name" not in flags
        monitoring = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }'
        assert files["monitoring_config_file"] == monitoring
        for field, file in {"server_cert": certificate, "server_key": key, "custom_ca": ca}.items():
            escaped = file.read_text().replace("\n", r"\n")
            assert f'{field}: "{escaped}"\n' in files["ssl_config_file"]
        assert files["ssl_config_file"].endswith("client_verify: true")
    finally:
        process.kill()


def test_tensorflow_serving_without_batching(tmp_path: Path, binary: dict[str, str]) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    process = start(tmp_path / "m", SERVE.replace("port=0", "port=0, batching=False"), environment=binary)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert not [flag for flag in command_line(process)[0] if "batching" in flag]
    finally:
        process.kill()


def test_what_tensorflow_serving_cannot_be_told(
    tmp_path: Path, binary: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    monkeypatch.setenv("PATH", binary["PATH"])
    with pytest.raises(ServingError, match=r"needs whole seconds between polls, not 0\.5"):
        serve(ServeOptions(tmp_path / "m", port=0, poll_seconds=0.5))


def models_file(path: Path, models: dict[str, Path], more: str = "") -> Path:
    configs = " ".join(
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more} }}'
        for name, base in models.items()
    )
    path.write_text(f"model_config_list {{ {configs} }}")
    return path


def test_what_tensorflow_serving_would_wait_for_without_a_word(
    tmp_path: Path, binary: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", binary["PATH"])
    (tmp_path / "good" / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    good, file = tmp_path / "good", tmp_path / "models.config"
    specific = "model_version_policy { specific { versions: 7 } }"
    for base, more, message in (
        (tmp_path / "gone", "", "gone: no such directory"),
        (tmp_path / "empty", "", "empty: no model version found; expected a numbered directory"),
        (good, specific, "good: none of the versions that the policy lists: 7"),
    ):
        models_file(file, {"a": good, "b": base}, more)
        expected = rf"models\.config: model [ab]: .*{message}.*; tensorflow_model_server would serve no model at all"
        with pytest.raises(DataError, match=expected) as e:
            serve(ServeOptions(models=file, port=0, embedded=False))
        assert "\n" not in str(e.value)
    for text, message in (
        ('name: "a" base_path: "m" model_platform: "tensorflow"', "Expected model a to have an absolute path"),
        ('name: "a" base_path: "/m"', "model_platform is not set"),
        ("", "a model without a name"),
    ):
        file.write_text(f"model_config_list {{ config {{ {text} }} }}")
        with pytest.raises(DataError, match=message):
            serve(ServeOptions(models=file, port=0, embedded=False))


def test_warm_up_requests_that_batching_would_refuse(
    tmp_path: Path, binary: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow_serving")
    from qdfast.serve.tf_serving_checks import check, warm_up_requests

    monkeypatch.setenv("PATH", binary["PATH"])
    model_dir, batching = tmp_path / "m", tmp_path / "batching.config"
    model_dir.mkdir()
    d = drawings([3] * 32)
    deltas, lengths = d.deltas(dtype=np.int16)
    one, all_ = (
        messages.predict_request("m", None, "top_k", {"deltas": deltas[:n], "lengths": lengths[:n]}) for n in (1, 32)
    )
    version = tiny_model.write_model(model_dir, warm_up=[one, all_])
    assert [len(messages.decode_tensor(r.inputs["lengths"])) for r in warm_up_requests(version)] == [1, 32]
    batching.write_text("max_batch_size { value: 31 } allowed_batch_sizes: 31")
    with pytest.raises(DataError, match=r"batching.config: max_batch_size is 31, but .*m/1 has warm-up requests of 32"):
        serve(ServeOptions(model_dir, port=0, embedded=False, batching=batching))
    for text in (
        "max_batch_size { value: 32 }",
        "max_batch_size { value: 64 } max_execution_batch_size { value: 8 } enable_large_batch_splitting { value: true }",
    ):
        batching.write_text(text)
        assert [m.path for m in check(ServeOptions(model_dir, batching=batching))] == [model_dir]
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no TFRecord at all")
    assert list(warm_up_requests(version)) == []


LOG = """2026-01-31 12:00:00.1: I tensorflow_serving/model_servers/server.cc:1] Building single TensorFlow model file config
2026-01-31 12:00:00.1: E external/local_xla/xla/cuda_driver.cc:152] failed call to cuInit: no GPU
2026-01-31 12:00:00.2: W external/local_tsl/tsl/cpu.cc:2] rebuild for speed
2026-01-31 12:00:00.3: W tensorflow_serving/sources/storage_path/source.cc:268] No versions of servable m found under base path
2026-01-31 12:00:00.4: E tensorflow_serving/util/retrier.cc:37] Loading servable: {name: m version: 2} failed: INVALID: a
\t [[{{node x}}]]

2026-01-31 12:00:01.4: E tensorflow_serving/util/retrier.cc:37] Loading servable: {name: m version: 2} failed: INVALID: a
\t [[{{node x}}]]
E0131 12:00:00.123456      77 chttp2_server.cc:1053] No address added
Failed to start server. Error: NOT_FOUND: b
"""


def test_the_log_of_tensorflow_serving_is_one_line_for_each_error() -> None:
    assert list(readable_lines(LOG.splitlines(keepends=True))) == [
        "tensorflow_model_server: No versions of servable m found under base path",
        "tensorflow_model_server: Loading servable: {name: m version: 2} failed: INVALID: a",
        "tensorflow_model_server: No address added",
        "Failed to start server. Error: NOT_FOUND: b",
    ]


def test_its_errors_are_passed_on(tmp_path: Path, binary: dict[str, str]) -> None:
    """Whatever the log level of qdfast is: at that one the server would not say them."""
    path = Path(binary["PATH"].partition(os.pathsep)[0]) / "tensorflow_model_server"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\nassert os.environ['TF_CPP_MIN_LOG_LEVEL'] == '1'\n"
        f"sys.stderr.write({LOG!r})\nsys.exit(1)\n"
    )
    (tmp_path / "m" / "1").mkdir(parents=True)
    process = start(tmp_path / "m", environment=binary)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (1, "")
    assert err.count("Loading servable") == 1
    assert "tensorflow_model_server: Loading servable: {name: m version: 2} failed: INVALID: a\n" in err
    assert "cuInit" not in err


def test_tensorflow_serving_that_ends_is_an_error(tmp_path: Path, binary: dict[str, str]) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    process = start(tmp_path / "broken", environment=binary)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "ServingError: tensorflow_model_server exited with status 7" in err


def test_tensorflow_serving_is_demanded_but_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServingError, match="tensorflow_model_server is not on the PATH"):
        serve(ServeOptions(tmp_path, embedded=False))


def test_starting_looks_at_its_files_before_anything_heavy(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    file = tmp_path / "models.config"
    for arguments, message in (
        ("sys.argv[1]", "no model version found"),
        (f"models={str(file)!r}", f"{file}: No such file or directory"),
        (
            f"{str(tmp_path)!r}, batching={str(file)!r}",
            f"{file}: invalid batching parameters: No such file or directory",
        ),
        (f"{str(tmp_path)!r}, tls_cert={str(file)!r}, tls_key={str(file)!r}", "cannot be used for TLS: No such file"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        code = f"""
import sys, qdfast.serve
try:
    qdfast.serve.serve(qdfast.serve.ServeOptions({arguments}, port=0, embedded=True))
except qdfast.DataError as e:
    print(e, 'tensorflow' in sys.modules, sep='|')
"""
        process = start(tmp_path / "empty", code)
        out, err = process.communicate(timeout=TIMEOUT)
        assert err == ""
        said, imported = out.strip().split("|")
        assert message in said
        assert imported == "False"
