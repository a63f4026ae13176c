"""Clients of a server that has no thread for every request, as TensorFlow Serving's `--grpc_max_threads` allows."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scripted_server import Awaited, Scripted, answer, drawings, expected, refuse

from qdfast import client
from qdfast.client.channel import CHANNEL_OPTIONS
from qdfast.errors import ServingError

EXHAUSTED = "Server Threadpool Exhausted"


@pytest.fixture(params=[client.Client, Awaited], ids=["Client", "AsyncClient"])
def scripted(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    s = Scripted()
    s.kind = request.param
    yield s
    s.server.stop(None).wait()


@pytest.mark.parametrize("details", [EXHAUSTED, "Concurrent RPC limit exceeded!"])
@pytest.mark.parametrize("options", [{}, {"max_batch": 1}, {"hedge_after": 60}])
def test_a_request_is_sent_again_until_there_is_a_thread(
    scripted: Scripted, details: str, options: dict[str, Any]
) -> None:
    def predict(request: Any, context: Any) -> Any:
        reject = len(scripted.requests) <= 6
        return refuse("RESOURCE_EXHAUSTED", details)(request, context) if reject else answer(request)

    scripted.predict = predict
    d = drawings([3, 4, 5])
    with scripted.client(**options) as c:
        assert np.array_equal(c.probabilities(d), expected(d))
    assert len(scripted.requests) == 6 + (3 if "max_batch" in options else 1)


@pytest.mark.parametrize("options", [{}, {"max_batch": 1}, {"hedge_after": 0.01}])
def test_it_is_not_sent_after_its_deadline(scripted: Scripted, options: dict[str, Any]) -> None:
    scripted.predict = refuse("RESOURCE_EXHAUSTED", EXHAUSTED)
    started = time.monotonic()
    with scripted.client(timeout=0.5, **options) as c, pytest.raises(client.Unavailable, match=EXHAUSTED):
        c.predict(drawings([3, 4, 5]))
    assert 0.3 < time.monotonic() - started < 3
    assert 3 < len(scripted.requests) < 200  # with back-off, but it does not give up early


@pytest.mark.parametrize("details", ["Received message larger than max (9 vs. 4)", "OOM when allocating tensor", "no"])
def test_other_exhausted_resources_are_final(scripted: Scripted, details: str) -> None:
    scripted.predict = refuse("RESOURCE_EXHAUSTED", details)
    with scripted.client() as c, pytest.raises(ServingError, match=details.split("(")[0]):
        c.predict(drawings([3]))
    assert len(scripted.requests) == 1


def test_status_requests_are_sent_again_too(scripted: Scripted) -> None:
    ready, rejected = scripted.status, iter(range(3))
    busy = refuse("RESOURCE_EXHAUSTED", EXHAUSTED)
    scripted.status = lambda r, c: busy(r, c) if next(rejected, None) is not None else ready(r, c)
    with scripted.client() as c:
        assert c.model_status()[0].state == "AVAILABLE"
        assert c.wait_ready() == 1


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.002, 0.05])
def test_many_clients_at_a_server_with_few_threads(scripted: Scripted, seconds: float) -> None:
    """Nobody fails, and nobody waits much longer than the others, whether requests are short or long."""
    threads = threading.Semaphore(2)

    def predict(request: Any, context: Any) -> Any:
        if not threads.acquire(blocking=False):
            return refuse("RESOURCE_EXHAUSTED", EXHAUSTED)(request, context)
        try:
            time.sleep(seconds)
            return answer(request)
        finally:
            threads.release()

    scripted.predict = predict
    d = drawings([3, 4, 5])
    until = time.monotonic() + 6
    answered: Counter[int] = Counter()

    def ask(i: int) -> None:
        with client.Client(scripted.target, model="tiny", max_batch=1, timeout=30) as c:
            while time.monotonic() < until:
                assert np.array_equal(c.probabilities(d), expected(d))
                answered[i] += 1

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(ask, i) for i in range(8)]:
            future.result()
    assert len(answered) == 8


def test_a_long_call_may_be_pinged_without_being_ended() -> None:
    """gRPC's servers count a ping within 5 minutes of another as abuse, and close the connection at the third."""
    (interval,) = [value for name, value in CHANNEL_OPTIONS if name == "grpc.keepalive_time_ms"]
    assert isinstance(interval, int)
    assert interval > 300_000
