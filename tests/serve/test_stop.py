"""Nothing that a client sends or a model does keeps the embedded server from stopping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from scripted_server import TIMEOUT, arrived, ask, busy, drawings, predict_call

pytest.importorskip("tensorflow_serving")
import hostile
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import qdfast
from qdfast.client.channel import MODEL_SERVICE, PREDICTION_SERVICE
from qdfast.serve import manager as manager_module
from qdfast.serve.manager import ModelManager
from qdfast.serve.model_config import ModelConfig
from qdfast.serve.parse_interceptor import MAX_STREAMS, ParseInterceptor
from qdfast.serve.servable import LoadError, RequestError, Servable
from qdfast.serve.server import Server

pytestmark = pytest.mark.slow

REFLECTION = "grpc.reflection.{}.ServerReflection"
MALFORMED = b"\x01"


@contextmanager
def serving(model_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`qdfast serve --embedded` as a process, and its address."""
    environment = {**os.environ, "PYTHONPATH": str(Path(qdfast.__file__).parents[1])}
    command = [sys.executable, "-m", "qdfast", "serve", str(model_dir), "--embedded", "--port=0", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


def call(channel: grpc.Channel, version: str, *messages: bytes) -> grpc.StatusCode:
    method = f"/{REFLECTION.format(version)}/ServerReflectionInfo"
    replies = channel.stream_stream(method)(iter(messages), timeout=TIMEOUT)
    with suppress(grpc.RpcError):
        list(replies)
    return replies.code()


def test_malformed_reflection_requests_keep_neither_the_process_nor_memory(publish: Callable[..., Path]) -> None:
    statuses = {"v1alpha": grpc.StatusCode.INTERNAL, "v1": grpc.StatusCode.UNIMPLEMENTED}
    with serving(publish(1), "--grace=3") as (process, target):
        with grpc.insecure_channel(target) as channel:
            for version, status in statuses.items():
                unary = channel.unary_unary(f"/{REFLECTION.format(version)}/ServerReflectionInfo")
                for _ in range(500):
                    assert unary.future(MALFORMED, timeout=TIMEOUT).exception().code() is status
                before = hostile.memory(process.pid, "VmRSS")
                for _ in range(1000):
                    assert unary.future(MALFORMED, timeout=TIMEOUT).exception().code() is status
                assert hostile.memory(process.pid, "VmRSS") < before + 10  # MiB; it was 20 KB for each
                assert call(channel, version, MALFORMED) is status
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_malformed_message_ends_a_stream_after_the_answers_to_the_messages_before(
    publish: Callable[..., Path],
) -> None:
    good = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    with Server(publish(1)) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        method = f"/{REFLECTION.format('v1alpha')}/ServerReflectionInfo"
        replies = channel.stream_stream(method)(iter([good, MALFORMED, good]), timeout=TIMEOUT)
        listed = reflection_pb2.ServerReflectionResponse.FromString(next(replies)).list_services_response.service
        assert {PREDICTION_SERVICE, MODEL_SERVICE} < {service.name for service in listed}
        with pytest.raises(grpc.RpcError) as e:
            next(replies)
        assert (e.value.code(), e.value.details()) == (grpc.StatusCode.INTERNAL, "the request cannot be parsed")


def test_idle_streams_leave_threads_for_others_and_do_not_delay_a_stop(publish: Callable[..., Path]) -> None:
    never = threading.Event()
    server = Server(publish(1), threads=MAX_STREAMS + 4)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")

        def idle() -> Iterator[Any]:
            yield request
            never.wait(TIMEOUT)

        streams = [stub.ServerReflectionInfo(idle(), timeout=TIMEOUT) for _ in range(MAX_STREAMS)]
        for stream in streams:
            assert next(stream).HasField("list_services_response")
        for _ in range(8):
            assert call(channel, "v1alpha", request.SerializeToString()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        with ask(server) as c:
            assert c.predict(drawings()).version == 1
        streams.pop().cancel()
        deadline = time.monotonic() + TIMEOUT
        while call(channel, "v1alpha", request.SerializeToString()) is not grpc.StatusCode.OK:
            assert time.monotonic() < deadline
        start = time.monotonic()
        assert server.stop(grace=0.2) == 0
        assert time.monotonic() - start < 5
        never.set()


@pytest.mark.parametrize("responses", ["unary", "stream"])
def test_every_kind_of_handler_is_guarded(responses: str) -> None:
    """Also of kinds that the server has none of today."""
    from concurrent.futures import ThreadPoolExecutor

    from google.protobuf import wrappers_pb2

    kind = wrappers_pb2.UInt32Value
    codec = {"request_deserializer": kind.FromString, "response_serializer": kind.SerializeToString}

    def add(requests: Iterator[Any], context: Any) -> Any:
        return kind(value=sum(request.value for request in requests))

    def each(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        yield from requests

    handlers = {
        "unary": grpc.stream_unary_rpc_method_handler(add, **codec),
        "stream": grpc.stream_stream_rpc_method_handler(each, **codec),
    }
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[ParseInterceptor()])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("s", {"m": handlers[responses]})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    good = kind(value=7).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = getattr(channel, f"stream_{responses}")("/s/m")
        reply = method(iter([good, good]), timeout=TIMEOUT)
        values = [kind.FromString(data).value for data in ([reply] if responses == "unary" else reply)]
        assert values == ([14] if responses == "unary" else [7, 7])
        for _ in range(100):
            with pytest.raises(grpc.RpcError) as e:
                list(method(iter([good, MALFORMED]), timeout=TIMEOUT))
            assert e.value.code() is grpc.StatusCode.INTERNAL
    assert server.stop(0.1).wait(10)


def test_a_model_that_never_answers_does_not_keep_the_process(publish: Callable[..., Path]) -> None:
    with serving(publish(1), "--grace=0.5") as (process, target), grpc.insecure_channel(target) as channel:
        stuck = predict_call(channel).future(busy(1e9))
        arrived(channel)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert "1 call(s) did not end; ending the process without them" in process.stderr.read()
        assert stuck.exception().code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


def test_stop_tells_how_many_calls_still_run(publish: Callable[..., Path]) -> None:
    server = Server(publish(1))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = predict_call(channel).future(busy(4.0), timeout=TIMEOUT)
        arrived(channel)
        start = time.monotonic()
        assert server.stop(grace=0.1) == 1
        assert time.monotonic() - start < 4
        assert call.exception() is not None


def test_a_pipe_among_the_files_of_a_model_is_rejected(publish: Callable[..., Path]) -> None:
    version = publish(1) / "1"
    (version / "saved_model.pb").unlink()
    os.mkfifo(version / "saved_model.pb")
    with pytest.raises(LoadError, match=r"saved_model\.pb is not a regular file"):
        Servable(version, 1)


def test_a_reload_waits_with_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "RELOAD_SECONDS", 0.1)
    loading, done = threading.Event(), threading.Event()
    configs = [ModelConfig("m", tmp_path)]

    def on_change(name: str) -> None:
        loading.set()
        done.wait(TIMEOUT)

    manager = ModelManager(configs, on_change)
    thread = threading.Thread(target=manager.refresh)
    thread.start()
    assert loading.wait(TIMEOUT)
    with pytest.raises(RequestError, match="models are being loaded; try again later") as e:
        manager.reload(configs)
    assert e.value.code == "UNAVAILABLE"
    done.set()
    thread.join()
    assert set(manager.reload(configs)) == set()


def test_the_status_of_a_limited_number_of_removed_models_is_kept(tmp_path: Path) -> None:
    manager = ModelManager([])
    for i in range(300):
        manager.reload([ModelConfig(f"m{i}", tmp_path)])
    assert len(manager._removed) == manager_module.MAX_REMOVED
