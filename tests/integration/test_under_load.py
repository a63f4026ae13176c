"""Clients under steady load notice nothing of new versions, killed and stopped servers: the short form of bench_reload.py."""

from __future__ import annotations

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tiny_model
from paths import ROOT
from scripted_server import drawings, expected

import qdfast
from qdfast.client import Client

pytest.importorskip("tensorflow_serving")
from qdfast.serve import server

sys.path.insert(0, str(ROOT / "benchmarks"))
from bench_reload import Phase, run_events
from load import TOP, Call, LoadResult, percentiles, questions

pytestmark = pytest.mark.slow


def test_nothing_is_lost_while_versions_and_servers_come_and_go(tmp_path: Path) -> None:
    first, second = (tiny_model.write_model(tmp_path, version) for version in (1, 2))
    file = tmp_path / "drawings.ndjson"
    file.write_bytes(qdfast.format_ndjson(drawings()))
    phases, result = run_events(first, second, file, clients=4, pause=1.0)

    assert not Counter(call.error for call in result.calls if call.error)
    # The phase after a change begins with answers to what was asked before it.
    steady, published, _, taken_back, _, *later = (phase.calls(result) for phase in phases)
    assert {call.version for call in steady} == {1}
    assert {call.version for call in [*published, *taken_back]} == {1, 2}
    assert all({call.version for call in calls} == {1} for calls in later)
    assert all(len(calls) >= 20 for calls in (steady, *later))

    asked = questions(str(file), 1)
    assert {version for _, version in result.answers} == {1, 2}
    for (question, version), scores in result.answers.items():
        p = tiny_model.probabilities(*asked[question].deltas(dtype=np.int16), version=version)
        np.testing.assert_allclose(scores, -np.sort(-p, axis=1)[:, :TOP], atol=1e-5)


def test_clients_of_a_server_with_few_threads_all_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a TensorFlow Serving that runs 8 calls at once, and rejects the others with RESOURCE_EXHAUSTED."""
    tiny_model.write_model(tmp_path)
    monkeypatch.setattr(server, "MAX_CALLS", 8)
    d = drawings([3 + i % 90 for i in range(600)])
    answers = expected(d)
    with server.Server(tmp_path) as s:

        def ask(until: float) -> int:
            calls = 0
            with Client(f"127.0.0.1:{s.port}", model=tmp_path.name, timeout=30) as c:
                while time.monotonic() < until:
                    np.testing.assert_allclose(c.probabilities(d), answers, atol=1e-6)
                    calls += 1
            return calls

        with ThreadPoolExecutor(32) as pool:
            assert min(pool.map(ask, [time.monotonic() + 5] * 32)) > 0


def test_percentiles() -> None:
    calls = [Call(0, seconds / 1000, 1, "") for seconds in range(1001)]
    assert percentiles(calls) == {"p50_ms": 500, "p99_ms": 990, "p99.9_ms": 999}
    assert Phase("", 1, 2).calls(LoadResult([Call(ended, 1, 1, "") for ended in (0.5, 1, 1.5, 2)], {}, 0)) == [
        Call(1, 1, 1, ""),
        Call(1.5, 1, 1, ""),
    ]


def test_nothing_is_lost_when_connections_grow_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model.write_model(tmp_path)
    ages = {"grpc.max_connection_age_ms": 100}
    monkeypatch.setattr(server, "SERVER_OPTIONS", [(key, ages.get(key, value)) for key, value in server.SERVER_OPTIONS])
    d = drawings()
    with server.Server(tmp_path) as s, Client(f"127.0.0.1:{s.port}", model=tmp_path.name) as c:
        states: list[grpc.ChannelConnectivity] = []
        c._channel.subscribe(states.append)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            np.testing.assert_allclose(c.probabilities(d), expected(d), atol=1e-6)
        assert states.count(grpc.ChannelConnectivity.READY) > 2
