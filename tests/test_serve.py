"""The embedded server's life: versions, warm-up, listening, health, stopping.

How it is started as a process is in test_serve_launch.py. What it answers is checked in test_serving_integration.py, by the same tests as TensorFlow Serving.
"""

from __future__ import annotations

import gc
import shutil
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_model
from scripted_server import TIMEOUT, arrived, busy, drawings, predict_call

from qdfast import client, wire
from qdfast import tfs_pb2 as pb
from qdfast.errors import DataError, ServingError
from qdfast.serve import serve
from qdfast.serve.versions import find_versions, newest_version

pytest.importorskip("tensorflow_serving")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
from grpc_health.v1 import health_pb2_grpc  # noqa: E402

from qdfast.serve.manager import Manager  # noqa: E402
from qdfast.serve.predict import answer, warm_up  # noqa: E402
from qdfast.serve.servable import RequestError, Servable  # noqa: E402
from qdfast.serve.server import Server  # noqa: E402

SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels 1, 2 and 10, to be copied from."""
    path = tmp_path_factory.mktemp("versions")
    for version in (1, 2, 10):
        tiny_model.write_model(path, version)
    return path


@pytest.fixture
def publish(versions: Path, tmp_path: Path) -> Callable[..., Path]:
    """Put versions into a fresh model directory, by rename; returns the directory."""

    def put(*numbers: int) -> Path:
        model_dir = tmp_path / "tiny"
        model_dir.mkdir(exist_ok=True)
        for number in numbers:
            shutil.copytree(versions / str(number), tmp_path / "part")
            (tmp_path / "part").rename(model_dir / str(number))
        return model_dir

    return put


@pytest.fixture
def server(publish: Callable[..., Path]) -> Iterator[Server]:
    with Server(publish(1), poll_seconds=0.05) as s:
        yield s


def ask(s: Server, **options: Any) -> client.Client:
    return client.Client(f"{s.host}:{s.port}", **({"model": "tiny", "timeout": TIMEOUT} | options))


def eventually(true: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(600):
        if true():
            return
        done.wait(0.05)
    raise AssertionError("it did not come true within half a minute")


# ---- versions ----


def test_versions_are_directories_named_by_numbers(tmp_path: Path) -> None:
    for name in ("1", "0010", "9", "x", "3.part", "-4", "٣", "99999999999999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").touch()
    assert find_versions(tmp_path) == {1: tmp_path / "1", 9: tmp_path / "9", 10: tmp_path / "0010"}
    assert newest_version(tmp_path) == 10


def test_no_version(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no version of a model in it"):
        newest_version(tmp_path)
    with pytest.raises(DataError, match="no such directory"):
        newest_version(tmp_path / "missing")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(DataError, match="give its parent"):
        newest_version(tmp_path)


def test_the_highest_version_answers(publish: Callable[..., Path]) -> None:
    d = drawings()
    with Server(publish(2, 1, 10)) as s, ask(s) as c:
        assert np.allclose(c.probabilities(d), tiny_model.probabilities(*d.deltas(dtype=np.int16), 10), atol=1e-6)
        assert c.predict(d).version == c.wait_ready() == 10


def test_a_new_version_replaces_the_old_one(server: Server, publish: Callable[..., Path]) -> None:
    d = drawings()
    with ask(server) as c:
        assert c.predict(d).version == 1
        publish(2)
        eventually(lambda: c.predict(d).version == 2)
        assert c.model_status() == [wire.ModelVersion(2, "AVAILABLE"), wire.ModelVersion(1, "END")]
        with ask(server, version=1) as old, pytest.raises(client.ModelNotFound, match=r"Specific\(tiny, 1\)"):
            old.predict(d)


def test_requests_during_a_change_are_all_answered(server: Server, publish: Callable[..., Path]) -> None:
    d = drawings()
    raw = d.deltas(dtype=np.int16)
    by_version = {v: tiny_model.probabilities(*raw, v) for v in (1, 2)}
    changed = threading.Event()
    with ask(server, max_batch=4) as c:

        def change() -> None:
            try:
                publish(2)
                eventually(lambda: c.wait_ready() == 2)
            finally:
                changed.set()

        publisher = threading.Thread(target=change)
        publisher.start()
        rows = []
        while not changed.is_set():
            rows.append(c.probabilities(d))
        publisher.join()
        rows.append(c.probabilities(d))
    answered = np.zeros(2, bool)
    for p in rows:
        close = np.stack([np.isclose(p, q, atol=1e-6).all(axis=1) for q in by_version.values()])
        assert close.any(axis=0).all()
        answered |= close.any(axis=1)
    assert answered.all()


def test_taking_a_version_away_brings_back_the_one_before(publish: Callable[..., Path]) -> None:
    model_dir = publish(1, 2)
    with Server(model_dir, poll_seconds=0.05) as s, ask(s) as c:
        assert c.wait_ready() == 2
        shutil.rmtree(model_dir / "2")
        eventually(lambda: c.wait_ready() == 1)
        shutil.rmtree(model_dir / "1")  # nothing left to take its place: it stays
        publish(10)
        eventually(lambda: c.wait_ready() == 10)


def test_a_broken_version_is_reported_and_passed_over(
    server: Server, publish: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    (publish() / "part").mkdir()
    (publish() / "part" / "saved_model.pb").write_bytes(b"nonsense")
    (publish() / "part").rename(publish() / "7")
    with ask(server) as c:
        eventually(lambda: len(c.model_status()) == 2)
        eventually(lambda: c.model_status()[0].state == "END")
        broken, working = c.model_status()
        assert broken.version == 7
        assert "cannot be served" in broken.error
        assert working == wire.ModelVersion(1, "AVAILABLE")
        assert c.predict(drawings([3])).version == 1
        publish(2)  # lower than the broken one, yet the highest that works
        eventually(lambda: c.wait_ready() == 2)
    assert len([r for r in caplog.records if "cannot be served" in r.getMessage()]) == 1


def test_a_mended_version_is_loaded(publish: Callable[..., Path]) -> None:
    model_dir = publish(1, 2)
    broken = model_dir / "2" / "saved_model.pb"
    content = broken.read_bytes()
    broken.write_bytes(b"nonsense")
    manager = Manager(model_dir, "tiny")
    with pytest.raises(DataError, match="2: cannot be served"):
        manager.refresh()
    assert manager.refresh() == 1
    (model_dir / "2").rename(model_dir / "2.away")
    assert manager.refresh() is None
    (model_dir / "2.away" / "saved_model.pb").write_bytes(content)
    (model_dir / "2.away").rename(model_dir / "2")
    assert manager.refresh() == 2
    assert manager.status(pb.ModelSpec(name="tiny")) == [
        wire.ModelVersion(2, "AVAILABLE"),
        wire.ModelVersion(1, "END"),
    ]


def test_a_version_copied_into_place_is_loaded_when_complete(
    server: Server, publish: Callable[..., Path], versions: Path
) -> None:
    model_dir = publish()
    with ask(server) as c:
        shutil.copytree(versions / "2", model_dir / "2", ignore=shutil.ignore_patterns("variables.*"))
        eventually(lambda: c.model_status()[0].state == "END")
        shutil.copytree(versions / "2", model_dir / "2", dirs_exist_ok=True)
        eventually(lambda: c.predict(drawings([3])).version == 2)


def test_a_lower_version_is_served_where_the_highest_is_broken(
    publish: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    model_dir = publish(1, 2)
    (model_dir / "10").mkdir()
    (model_dir / "10" / "saved_model.pb").write_bytes(b"nonsense")
    with Server(model_dir) as s, ask(s) as c:
        assert c.predict(drawings([3])).version == 2
    assert [r.getMessage().endswith("version 2 is served instead") for r in caplog.records] == [True]


def test_a_replaced_version_is_freed(publish: Callable[..., Path]) -> None:
    manager = Manager(publish(1), "tiny")
    assert manager.refresh() == 1
    old = weakref.ref(manager.find(pb.ModelSpec(name="tiny")))
    publish(2)
    assert manager.refresh() == 2
    assert manager.refresh() is None
    gc.collect()
    assert old() is None


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_not_a_saved_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(content)
    with pytest.raises(DataError, match="cannot be served") as e:
        Server(tmp_path).start()
    assert "\n" not in str(e.value)
    with pytest.raises(DataError, match="give its parent"):
        Server(tmp_path / "1").start()


# ---- warm-up ----


def test_warm_up_requests_are_answered_at_load(tmp_path: Path) -> None:
    deltas, lengths = drawings([3, 4]).deltas(dtype=np.int16)
    inputs = {"deltas": deltas, "lengths": lengths}
    requests = [wire.predict_request("tiny", None, s, inputs) for s in ("serving_default", "top_k")]
    servable = Servable(tiny_model.write_model(tmp_path, 1, warm_up=requests), 1)
    assert warm_up(servable) == 2
    assert warm_up(Servable(tiny_model.write_model(tmp_path, 2), 2)) == 0


def test_a_refused_warm_up_request_refuses_the_version(tmp_path: Path) -> None:
    tiny_model.write_model(tmp_path, 1, warm_up=[wire.predict_request("tiny", None, "no_such", {})])
    with pytest.raises(DataError, match='warm-up request 1 failed: Serving signature key "no_such" not found'):
        Server(tmp_path).start()


def test_a_damaged_warm_up_file_refuses_the_version(tmp_path: Path) -> None:
    path = tiny_model.write_model(tmp_path, 1, warm_up=[])
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no TFRecord at all")
    with pytest.raises(DataError, match="warm-up request 1 failed"):
        Server(tmp_path).start()


# ---- a graph that does not check its inputs ----


def test_shapes_are_checked_for_a_graph_that_does_not(tmp_path: Path) -> None:
    servable = Servable(tiny_model.write_model(tmp_path, 1, checked=False), 1)
    request = wire.predict_request(
        "tiny", None, "top_k", {"deltas": np.ones((5, 3), np.int16), "lengths": np.array([5], np.int32)}
    )
    with pytest.raises(RequestError) as e:
        answer(servable, request)
    assert e.value.code == "INVALID_ARGUMENT"
    assert e.value.message == "Shape of tensor deltas [5,3] is not compatible with expected shape [?,?,3]."


# ---- listening ----


def test_a_taken_port_is_an_error(server: Server, publish: Callable[..., Path]) -> None:
    message = f"cannot listen on 127.0.0.1:{server.port}: Address already in use"
    with pytest.raises(ServingError, match=message):
        Server(publish(2), port=server.port).start()
    with pytest.raises(ServingError, match=message):
        serve(publish(), port=server.port, embedded=True)


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 70000), ("192.0.2.1", 0)])
def test_an_impossible_address_is_an_error(publish: Callable[..., Path], host: str, port: int) -> None:
    with pytest.raises(ServingError, match="cannot listen on"):
        serve(publish(1), host=host, port=port, embedded=True)


def test_ipv6(publish: Callable[..., Path]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Server(publish(1), host="::1") as s, client.Client(f"[::1]:{s.port}", model="tiny") as c:
        assert c.wait_ready() == 1


def test_the_name(publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert Server(publish(1)).model.name == "tiny"
    assert Server(publish(), name="other").model.name == "other"
    monkeypatch.chdir(publish())
    assert Server(Path()).model.name == "tiny"


# ---- health ----


def test_health(server: Server) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in SERVICES:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as e:
            stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=TIMEOUT)
        assert e.value.code() is grpc.StatusCode.NOT_FOUND


def test_stop_says_so_and_finishes_what_is_under_way(publish: Callable[..., Path]) -> None:
    server = Server(publish(1))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        call = predict_call(channel).future(busy(2.0), timeout=TIMEOUT)
        arrived(channel)
        stop = threading.Thread(target=server.stop, args=(1000,))
        stop.start()
        assert [reply.status for reply in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]  # and it ends
        eventually(lambda: predict_call(channel).future(busy(0), timeout=TIMEOUT).exception() is not None)
        assert not call.done()
        assert wire.predict_outputs(call.result())["rounds"] > 0
        stop.join(TIMEOUT)
        assert not stop.is_alive()


def test_stop_waits_no_longer_than_the_grace(publish: Callable[..., Path]) -> None:
    server = Server(publish(1))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = predict_call(channel).future(busy(2.0), timeout=TIMEOUT)
        arrived(channel)
        server.stop(grace=0.1)
        assert call.exception().code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
