"""Some of the requests of hostile.py; `make hostile` sends all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tiny_model

pytest.importorskip("tensorflow_serving")
import hostile

from qdfast.client.channel import PREDICT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    model_dir = tmp_path_factory.mktemp("tiny")
    tiny_model.write_model(model_dir)
    with hostile.server(model_dir) as (target, pid):
        yield target, pid


def test_hostile_requests_are_refused_and_good_ones_answered(server: tuple[str, int]) -> None:
    driven = hostile.drive(*server, count=800)
    assert driven.statuses.total() >= 800
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"} <= set(driven.statuses)
    assert driven.rss_after <= driven.rss_before + hostile.MAY_GROW
    assert driven.rss_peak <= driven.rss_before + hostile.MAY_PEAK


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
@pytest.mark.parametrize("method", [PREDICT, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"])
def test_what_cannot_be_parsed_leaves_nothing_behind(server: tuple[str, int], method: str) -> None:
    target, pid = server
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(method)

        def send(count: int) -> None:
            for _ in range(count):
                error = call.future(b"\0", timeout=hostile.TIMEOUT).exception()
                assert error.code() is grpc.StatusCode.INTERNAL

        send(500)
        before = hostile.memory(pid, "VmRSS")
        send(2000)
        assert hostile.memory(pid, "VmRSS") < before + 10  # MiB; gRPC's own parsing keeps 19 KB each
