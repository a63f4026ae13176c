"""How clients reach servers: several of them, those that come and go, slow ones, and by TLS."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from certificates import Certificates
from paths import TESTS
from scripted_server import Awaited, Scripted, answer, drawings, expected, refuse, status

from qdfast import client
from qdfast.client import channel
from qdfast.client.grpc_client import MAX_HEDGE_TOKENS
from qdfast.errors import ServingError

pytestmark = pytest.mark.slow

LOOPBACKS = ["127.0.0.1", "[::1]"]


@pytest.fixture(params=[client.Client, Awaited], ids=["Client", "AsyncClient"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def serve(kind: Any) -> Iterator[Callable[..., Scripted]]:
    """Start a scripted server."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Scripted:
            s = Scripted(*args, **options)
            s.kind = kind
            stack.callback(lambda: s.server.stop(None).wait())
            return s

        yield start


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


# ---- several servers ----


@pytest.mark.parametrize(
    "hosts",
    [
        ["127.0.0.1", "127.0.0.1"],
        ["localhost", "127.0.0.1"],
        pytest.param(["[::1]", "[::1]"], marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")),
        pytest.param(["127.0.0.1", "[::1]"], marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")),
    ],
)
def test_several_targets_are_asked_in_turn(serve: Callable[..., Scripted], hosts: list[str]) -> None:
    servers = [serve(host="127.0.0.1" if host == "localhost" else host) for host in hosts]
    targets = [f"{host}:{s.target.rpartition(':')[2]}" for host, s in zip(hosts, servers, strict=True)]
    d = drawings([4] * 20)
    with servers[0].client(target=targets, max_batch=1, in_flight=1) as c:
        while not all(s.requests for s in servers):  # both are connected
            c.predict(drawings([3]))
        before = [len(s.requests) for s in servers]
        assert np.array_equal(c.probabilities(d), expected(d))
        assert [len(s.requests) - b for s, b in zip(servers, before, strict=True)] == [10, 10]


def test_an_ipv6_address_alone(serve: Callable[..., Scripted]) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6")
    s = serve(host="[::1]")
    with s.client() as c:
        assert c.wait_ready(20) == 1


def test_what_grpc_is_told_to_connect_to() -> None:
    def of(*targets: str) -> str:
        return channel.channel_config(targets).target

    assert of("example.org:8500") == "example.org:8500"
    assert of("dns:///example.org:8500") == "dns:///example.org:8500"
    assert of("unix:/run/served") == "unix:/run/served"
    assert of("10.0.0.1:1", "10.0.0.2:2", "10.0.0.1:1") == "ipv4:10.0.0.1:1,10.0.0.2:2"
    assert of("[2001:db8::1]:1", "10.0.0.2:2") == "ipv6:[2001:db8::1]:1,[::ffff:10.0.0.2]:2"


def test_a_name_that_cannot_be_resolved(kind: Any) -> None:
    with pytest.raises(client.Unavailable, match=r"no-such-host\.invalid:1 cannot be resolved: "):
        kind(["127.0.0.1:1", "no-such-host.invalid:1"], model="tiny")


# ---- servers that refuse for a while, or go ----


@pytest.mark.parametrize("points", [5, 120_000])
def test_what_is_unavailable_is_asked_again(serve: Callable[..., Scripted], points: int) -> None:
    """Also a request of more than 256 KiB, which gRPC would not keep by itself."""
    s = serve()
    s.predict = lambda r, c: refuse("UNAVAILABLE", "full")(r, c) if len(s.requests) < 3 else answer(r)
    d = drawings([points, 3])
    with s.client(max_batch=1, in_flight=1) as c:
        assert np.array_equal(c.probabilities(d), expected(d))
    assert len(s.requests) == 4


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"])
def test_other_refusals_are_final(serve: Callable[..., Scripted], code: str) -> None:
    s = serve()
    s.predict = refuse(code, "no")
    with s.client() as c, pytest.raises(ServingError):
        c.predict(drawings([3]))
    assert len(s.requests) == 1


def test_a_call_in_a_dying_connection_is_made_again(serve: Callable[..., Scripted]) -> None:
    """A server that reads the request and is gone, as one that is killed; the other has the answer."""
    s = serve()
    with socket.create_server(("127.0.0.1", 0)) as dying:
        accepted = threading.Event()

        def die() -> None:
            connection, _ = dying.accept()
            connection.sendall(bytes.fromhex("000000040000000000"))  # HTTP/2: SETTINGS
            received = b""
            while b"Predict" not in received and (part := connection.recv(1 << 16)):
                received += part
            accepted.set()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
            connection.close()
            dying.close()

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(die)
            with s.client(target=[s.target, f"127.0.0.1:{dying.getsockname()[1]}"], timeout=30) as c:
                while not accepted.is_set():
                    assert len(c.predict(drawings([3]))) == 1
            ended.result(20)


SERVER = """
import signal, sys, threading
sys.path.insert(0, sys.argv[1])
from scripted_server import Scripted
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
server = Scripted(int(sys.argv[2]))
print(server.target, flush=True)
stop.wait()
server.server.stop(10).wait()
"""


def server_process(port: int = 0) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-c", SERVER, str(TESTS), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_no_call_fails_while_servers_come_and_go(kind: Any) -> None:
    """Two servers under load: each in turn is killed, or stopped as Kubernetes does, and started anew."""
    processes, targets = map(list, zip(*(server_process() for _ in range(2)), strict=True))
    d, over = drawings(), threading.Event()
    asked = [0] * 4

    def ask(i: int) -> None:
        while not over.is_set():
            assert np.array_equal(c.probabilities(d), expected(d))
            asked[i] += 1

    def some_more() -> None:
        goal = [n + 20 for n in asked]
        while any(n < g for n, g in zip(asked, goal, strict=True)) and not any(f.done() for f in running):
            over.wait(0.01)

    try:
        with kind(targets, model="tiny", max_batch=3) as c, ThreadPoolExecutor(4) as pool:
            running = [pool.submit(ask, i) for i in range(4)]
            try:
                for i, end in ((0, "kill"), (1, "kill"), (0, "terminate"), (1, "terminate")):
                    some_more()
                    getattr(processes[i], end)()
                    some_more()
                    processes[i].wait()
                    processes[i], targets[i] = server_process(int(targets[i].rpartition(":")[2]))
                    with client.Client(targets[i], model="tiny") as one:
                        one.wait_ready()
                    # As long as a client takes to find it again (at most a second): the other is next.
                    over.wait(1.5)
            finally:
                over.set()
            for future in running:
                future.result()
    finally:
        for process in processes:
            process.kill()
            process.wait()


# ---- slow servers ----


def test_a_slow_request_is_sent_again(serve: Callable[..., Scripted]) -> None:
    s = serve()
    given_up = threading.Event()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        if len(s.requests) == 1:
            context.add_callback(given_up.set)
            given_up.wait(20)
        return answer(request)

    s.predict = predict
    d = drawings([3])
    with s.client(hedge_after=0.05, timeout=60) as c:
        assert np.array_equal(c.probabilities(d), expected(d))
        assert given_up.wait(20)  # the slow one is cancelled
    assert len(s.requests) == 2


def test_the_other_answer_is_waited_for_if_one_is_unavailable(serve: Callable[..., Scripted]) -> None:
    s = serve()
    refused = threading.Event()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        if len(s.requests) == 1:
            assert refused.wait(20)
            return answer(request)
        if len(s.requests) == 6:  # five attempts of the second
            refused.set()
        context.abort(grpc.StatusCode.UNAVAILABLE, "no")

    s.predict = predict
    d = drawings([3])
    with s.client(hedge_after=0.01, timeout=60) as c:
        assert np.array_equal(c.probabilities(d), expected(d))


def test_hedging_does_not_double_the_work_of_slow_servers(serve: Callable[..., Scripted]) -> None:
    s = serve()
    pause = threading.Event()
    s.predict = lambda request, context: pause.wait(0.02) or answer(request)
    n = 60
    with s.client(hedge_after=0.001, max_batch=1, timeout=60) as c:
        for _ in range(n):
            c.predict(drawings([3]))
    assert n < len(s.requests) <= n + MAX_HEDGE_TOKENS + n / 10


def test_what_is_fast_is_sent_once(serve: Callable[..., Scripted]) -> None:
    s = serve()
    d = drawings([3, 4, 5])
    with s.client(hedge_after=60, max_batch=1) as c:
        assert np.array_equal(c.probabilities(d), expected(d))
        assert c.wait_ready() == 1
    assert len(s.requests) == 3


# ---- who asks ----


@pytest.mark.parametrize("form", [dict, list])
def test_metadata_goes_with_every_call(serve: Callable[..., Scripted], form: Any) -> None:
    s = serve()
    sent = {"authorization": "Bearer abc", "trace-bin": b"\x00\xff"}
    seen: list[dict[str, Any]] = []

    def noting(reply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def respond(request: Any, context: grpc.ServicerContext) -> Any:
            seen.append(dict(context.invocation_metadata()))
            return reply(request, context)

        return respond

    s.predict, s.status, s.metadata = map(noting, (s.predict, s.status, s.metadata))
    with s.client(metadata=sent if form is dict else list(sent.items()), max_batch=1) as c:
        c.predict(drawings([3, 4]))
        c.predict(drawings([3]))
        c.model_status()
        c.metadata()
    assert len(seen) == 5
    assert all(sent.items() <= m.items() for m in seen)


# ---- TLS ----


def credentials(pems: Certificates, mutual: bool) -> grpc.ServerCredentials:
    certificate, key = (path.read_bytes() for path in pems.server)
    ca = pems.ca.read_bytes() if mutual else None
    return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=mutual)


def test_tls(serve: Callable[..., Scripted], pems: Certificates) -> None:
    servers = [serve(credentials=credentials(pems, mutual=False)) for _ in range(2)]
    s, port = servers[0], servers[0].target.rpartition(":")[2]
    d = drawings([3])
    for target in (
        s.target,
        f"localhost:{port}",
        [x.target for x in servers],
        [f"localhost:{port}", servers[1].target],
    ):
        for given in (pems.ca, str(pems.ca), pems.ca.read_bytes()):
            with s.client(target=target, ca=given) as c:
                assert np.array_equal(c.probabilities(d), expected(d))


@pytest.mark.parametrize("options", [{}, {"tls": True}, {"ca": "other_ca"}])
def test_without_the_right_authority_there_is_no_answer(
    serve: Callable[..., Scripted], pems: Certificates, options: dict[str, Any]
) -> None:
    s = serve(credentials=credentials(pems, mutual=False))
    options = {name: getattr(pems, value) if name == "ca" else value for name, value in options.items()}
    with s.client(**options) as c:
        with pytest.raises(client.Unavailable) as e:
            c.predict(drawings([3]))
        with pytest.raises(client.Unavailable):
            c.wait_ready(0.5)
    if options:
        assert "that `ca`, `certificate` and `key` match the server's" in str(e.value)
    assert not s.requests


def test_a_certificate_for_another_name(serve: Callable[..., Scripted], pems: Certificates) -> None:
    s = serve(credentials=credentials(pems, mutual=False), host="127.0.0.2")
    with s.client(ca=pems.ca) as c, pytest.raises(client.Unavailable):
        c.predict(drawings([3]))
    assert not s.requests


def test_mutual_tls(serve: Callable[..., Scripted], pems: Certificates) -> None:
    s = serve(credentials=credentials(pems, mutual=True))
    d = drawings([3])
    with s.client(ca=pems.ca, certificate=pems.client[0], key=pems.client[1]) as c:
        assert np.array_equal(c.probabilities(d), expected(d))
    answered = len(s.requests)
    for options in ({}, {"certificate": pems.stranger[0], "key": pems.stranger[1]}):
        with s.client(ca=pems.ca, **options) as c, pytest.raises(client.Unavailable):
            c.predict(drawings([3]))
    assert len(s.requests) == answered == 1


def test_tls_with_a_server_that_does_not_speak_it(serve: Callable[..., Scripted], pems: Certificates) -> None:
    s = serve()
    with s.client(ca=pems.ca) as c, pytest.raises(client.Unavailable, match="check that both sides use TLS"):
        c.predict(drawings([3]))
    assert not s.requests


def test_a_missing_file_is_named(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ca\.pem"):
        kind(model="tiny", ca=tmp_path / "ca.pem")


def test_a_status_that_is_asked_for_is_of_a_server_that_is_there(serve: Callable[..., Scripted]) -> None:
    s = serve()
    attempts: Iterator[Callable[..., Any]] = iter([refuse("UNAVAILABLE", "going"), lambda r, c: status("AVAILABLE")])
    s.status = lambda r, c: next(attempts)(r, c)
    with s.client() as c:
        assert c.model_status()[0].state == "AVAILABLE"
