"""What the embedded server tells Prometheus."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_model
from scripted_server import TIMEOUT, drawings, predict_call

from qdfast import client
from qdfast.errors import ServingError
from qdfast.protocol import messages

pytest.importorskip("tensorflow_serving")
parser = pytest.importorskip("prometheus_client.parser")
from qdfast.serve.server import Server  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    model_dir = tmp_path / "tiny"
    model_dir.mkdir()
    tiny_model.write_model(model_dir, 3)
    with Server(model_dir, metrics_port=0) as s:
        yield s


def scrape(server: Server, path: str = "/metrics") -> dict[str, dict[tuple[str, ...], float]]:
    """Values by name and by those of the labels: method, model, status, version."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}{path}", timeout=TIMEOUT) as reply:
        text = reply.read().decode()
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            values.setdefault(sample.name, {})[tuple(v for _, v in sorted(sample.labels.items()))] = sample.value
    return values


def test_requests_are_counted(server: Server) -> None:
    d = drawings()
    options: dict[str, Any] = {"timeout": TIMEOUT, "max_batch": 4}
    with client.Client(f"127.0.0.1:{server.port}", model="tiny", **options) as c:
        c.predict(d)
        c.model_status()
    with client.Client(f"127.0.0.1:{server.port}", model="tiny", version=9, **options) as c:
        for _ in range(2):
            with pytest.raises(client.ModelNotFound):
                c.model_status()
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        values = scrape(server, path)
        requests = values["qdfast_requests_total"]
        assert requests[("Predict", "tiny", "OK", "3")] >= len(d) / 4
        assert requests[("GetModelStatus", "tiny", "OK", "")] == 1
        assert requests[("GetModelStatus", "tiny", "NOT_FOUND", "")] == 2
        answered = values["qdfast_request_seconds_count"]
        assert answered[("Predict", "tiny")] == requests[("Predict", "tiny", "OK", "3")]
        assert values["qdfast_request_seconds_sum"][("Predict", "tiny")] > 0
        assert values["qdfast_batch_rows_sum"][()] == len(d)
        assert values["qdfast_model_loaded"] == {("tiny", "3"): 1}
        assert values["qdfast_queue_rows"] == values["qdfast_requests_in_flight"] == {(): 0}


def test_a_client_cannot_make_the_server_remember_names(server: Server) -> None:
    deltas, lengths = drawings([3]).deltas(dtype=np.int16)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for i in range(20):
            request = messages.predict_request(f"m{i}", None, "top_k", {"deltas": deltas, "lengths": lengths})
            with pytest.raises(grpc.RpcError):
                predict_call(channel)(request, timeout=TIMEOUT)
    assert scrape(server)["qdfast_requests_total"] == {("Predict", "", "NOT_FOUND", ""): 20}


def test_the_port_is_closed_with_the_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=f"cannot listen on 127.0.0.1:{server.metrics_port}: Address already in use"):
        Server(tmp_path / "tiny", metrics_port=server.metrics_port).start()
    scrape(server)
    server.stop()
    with pytest.raises(urllib.error.URLError):
        scrape(server)


def test_nothing_is_counted_unless_told(tmp_path: Path) -> None:
    tiny_model.write_model(tmp_path, 1)
    with Server(tmp_path) as s:
        assert s.metrics_port is None
