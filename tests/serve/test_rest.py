"""The REST API of the embedded server: as recorded from TensorFlow Serving, and what this package adds."""

from __future__ import annotations

import gzip
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recorded_model
import tiny_model
from certificates import Certificates
from scripted_server import TIMEOUT, drawings

httpx = pytest.importorskip("httpx")
pytest.importorskip("tensorflow_serving")
pytest.importorskip("rapidjson")
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from qdfast.errors import ServingError  # noqa: E402
from qdfast.serve import request_body, rest  # noqa: E402
from qdfast.serve.model_config import ModelConfig, VersionPolicy  # noqa: E402
from qdfast.serve.options import ServeOptions, TlsFiles  # noqa: E402
from qdfast.serve.server import Server  # noqa: E402
from qdfast.serve.tf_serving_process import run_tf_serving  # noqa: E402

pytestmark = pytest.mark.slow

ROW = {"deltas": [[3, 4, 0], [5, -2, 0], [1, 1, 1]], "lengths": 3}
SQUARE = [[[0, 0, 300.5, 300.5, 0], [0, 300.5, 300.5, 0, 0]]]


def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.rest_port}"


def send(server: Server, method: str, path: str, body: Any = None, **options: Any) -> Any:
    content = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
    return httpx.request(method, base(server) + path, content=content, timeout=TIMEOUT, **options)


def post(server: Server, path: str, body: Any, **options: Any) -> Any:
    return send(server, "POST", f"/v1/models/{path}", body, **options)


# ---- as recorded ----


@pytest.fixture(scope="module")
def doodles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model_dir = tmp_path_factory.mktemp("recorded") / "doodles"
    recorded_model.write_model(model_dir)
    with Server(model_dir, rest_port=0) as server:
        yield server


def without_nodes(text: str) -> str:
    """An error of the graph without the names of tensors and nodes, which differ between exports."""
    text = re.sub(r"\\n\\t \[\[.*\]\]", "", text)
    return re.sub(r"_arg_serving_default_(\w+?)_0_0", r"\1", text)


METADATA = ("metadata", "metadata version")


@pytest.mark.parametrize("name", [name for name in recorded_model.ROWS if name not in METADATA])
def test_as_recorded(doodles: Server, name: str) -> None:
    row = recorded_model.ROWS[name]
    response = send(doodles, row["method"], row["path"], row.get("body"), headers=row.get("headers"))
    assert response.status_code == row["status"]
    assert response.headers["content-type"] == row["content_type"]
    assert without_nodes(response.text) == without_nodes(row["answer"])


@pytest.mark.parametrize("name", METADATA)
def test_metadata_as_recorded(doodles: Server, name: str) -> None:
    """The recording is cut, and lists signatures and their inputs in any order."""
    row = recorded_model.ROWS[name]
    response = send(doodles, "GET", row["path"])
    assert (response.status_code, response.headers["content-type"]) == (row["status"], row["content_type"])
    head = row["answer"].partition(' "signature_def": {\n')[0]
    assert response.text.startswith(head)
    assert response.text.endswith("\n}\n}\n}\n")
    signatures = response.json()["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "top_k"} <= set(signatures)
    compared = 0
    for signature in ("top_k", "__saved_model_init_op"):
        text = row["answer"].partition(f'"{signature}": ')[2]
        try:
            recorded, _ = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError:  # cut, or not there
            continue
        compared += 1
        assert signatures[signature] == recorded
    assert compared


def test_every_row_is_tested() -> None:
    assert len(recorded_model.RECORDED["answers"]) == len(recorded_model.ROWS) == 52


# ---- of the same kind ----


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Versions 1 and 2 of the tiny model, with labels, and metrics on the same port."""
    model_dir = tmp_path_factory.mktemp("rest") / "tiny"
    model_dir.mkdir()
    for version in (1, 2):
        tiny_model.write_model(model_dir, version)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = ModelConfig("tïny", model_dir, VersionPolicy(latest=None), {"stable": 1, "a b": 2, "gone": 7})
    with Server([config], rest_port=port, metrics_port=port) as server:
        yield server


NAME = "t%C3%AFny"


def probabilities(version: int) -> list[float]:
    deltas, lengths = np.array([ROW["deltas"]], np.int16), np.array([3], np.int32)
    found: list[float] = tiny_model.probabilities(deltas, lengths, version)[0].tolist()
    return found


@pytest.mark.parametrize(
    ("choice", "version"),
    [("", 2), ("/versions/1", 1), ("/labels/stable", 1), ("/labels/a%20b", 2), ("/versions/0002", 2)],
)
def test_versions_and_labels(tiny: Server, choice: str, version: int) -> None:
    answer = post(tiny, f"{NAME}{choice}:predict", {"instances": [ROW]}).json()
    np.testing.assert_allclose(answer["predictions"], [probabilities(version)], atol=1e-6)
    metadata = send(tiny, "GET", f"/v1/models/{NAME}{choice}/metadata").json()
    assert metadata["model_spec"] == {"name": "tïny", "version": str(version), "signature_name": ""}
    drawn = post(tiny, f"{NAME}{choice}:draw", {"drawing": SQUARE}).json()
    assert drawn["version"] == version


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("POST", f"{NAME}/versions/9:predict", 404, "Servable not found for request: Specific(tïny, 9)"),
        ("POST", f"{NAME}/labels/x:predict", 400, "Unrecognized servable version label: x"),
        ("POST", f"{NAME}/labels/gone:predict", 404, "Servable not found for request: Specific(tïny, 7)"),
        ("POST", f"{NAME}/labels/gone:draw", 404, "Servable not found for request: Specific(tïny, 7)"),
        ("GET", f"{NAME}/labels/gone/metadata", 404, "Servable not found for request: Specific(tïny, 7)"),
        ("GET", f"{NAME}/versions/9/metadata", 404, "Servable not found for request: Specific(tïny, 9)"),
        ("GET", "tiny", 404, "Could not find any versions of model tiny"),
        ("GET", f"{NAME}?x=1", 404, "Could not find any versions of model tïny?x=1"),
        ("GET", f"{NAME}/versions/x", 400, f"Malformed request: GET /v1/models/{NAME}/versions/x"),
        ("GET", f"{NAME}/metadata/", 400, f"Malformed request: GET /v1/models/{NAME}/metadata/"),
        ("POST", f"{NAME}:PREDICT", 400, f"Malformed request: POST /v1/models/{NAME}:PREDICT"),
        ("POST", f"{NAME}:predict?x=1", 400, f"Malformed request: POST /v1/models/{NAME}:predict?x=1"),
        ("POST", f"{NAME}/versions/1/labels/stable:predict", 400, f"Malformed request: POST /v1/models/{NAME}/versions/1/labels/stable:predict"),
        ("PUT", f"{NAME}:predict", 400, f"Malformed request: PUT /v1/models/{NAME}:predict"),
        ("PATCH", NAME, 400, f"Malformed request: PATCH /v1/models/{NAME}"),
    ],
)  # fmt: skip
def test_errors_of_paths(tiny: Server, method: str, path: str, status: int, error: str) -> None:
    response = send(tiny, method, f"/v1/models/{path}", b"{}" if method == "POST" else None)
    assert (response.status_code, response.json()) == (status, {"error": error})


def test_paths_ignore_case(tiny: Server) -> None:
    assert send(tiny, "GET", f"/V1/Models/{NAME}/Versions/1").json()["model_version_status"][0]["version"] == "1"


def test_a_version_that_is_no_64_bit_integer_has_an_empty_answer(tiny: Server) -> None:
    for version in (1 << 63, "9" * 5000):
        response = send(tiny, "GET", f"/v1/models/{NAME}/versions/{version}")
        assert (response.status_code, response.headers["content-type"], response.text) == (400, "application/json", "")


def test_status_lists_all_versions(tiny: Server) -> None:
    answer = send(tiny, "GET", f"/v1/models/{NAME}").json()["model_version_status"]
    assert [(v["version"], v["state"]) for v in answer] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]


def test_options_and_unknown_methods(tiny: Server) -> None:
    path = f"/v1/models/{NAME}"
    assert send(tiny, "OPTIONS", path, headers={"Origin": "https://example.com"}).status_code == 200
    assert send(tiny, "OPTIONS", path).status_code == 400
    response = send(tiny, "TRACE", path)
    assert (response.status_code, response.headers["content-type"]) == (501, "text/html")


def test_a_signature_with_one_input(tiny: Server) -> None:
    for body in ({"inputs": 0.05}, {"inputs": {"seconds": 0.05}}):
        answer = post(tiny, f"{NAME}:predict", {"signature_name": "busy", **body})
        assert answer.json()["outputs"] > 0
    answer = post(tiny, f"{NAME}:predict", {"signature_name": "busy", "instances": [0.001]})
    assert answer.status_code == 400
    assert "Shape of tensor" in answer.json()["error"]


def test_a_body_may_be_compressed(tiny: Server) -> None:
    body = gzip.compress(json.dumps({"instances": [ROW]}).encode())
    headers = {"Content-Encoding": "gzip"}
    assert "predictions" in post(tiny, f"{NAME}:predict", body, headers=headers).json()
    broken = post(tiny, f"{NAME}:predict", b"no gzip", headers=headers)
    assert broken.json() == {"error": "JSON Parse error: The document is empty"}
    bomb = gzip.compress(b" " * (rest.MAX_BODY_BYTES + 1))
    assert post(tiny, f"{NAME}:predict", bomb, headers=headers).status_code == 413


def test_requests_share_the_batcher_with_grpc(tiny: Server) -> None:
    def ask(_: int) -> Any:
        return post(tiny, f"{NAME}:predict", {"instances": [ROW]}).json()["predictions"][0]

    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(ask, range(32)):
            np.testing.assert_allclose(answer, probabilities(2), atol=1e-6)


# ---- what this package adds ----


def test_raw_strokes(tiny: Server) -> None:
    answer = post(tiny, f"{NAME}:draw", {"drawing": SQUARE}).json()
    assert answer.keys() == {"guesses", "version"}
    assert answer["version"] == 2
    assert len(answer["guesses"]) == tiny_model.K
    assert {label for label, _ in answer["guesses"]} <= set(tiny_model.CLASSES)
    scores = [score for _, score in answer["guesses"]]
    assert scores == sorted(scores, reverse=True)
    assert post(tiny, f"{NAME}:draw", {"drawing": SQUARE, "k": 99}).json() == answer
    assert post(tiny, f"{NAME}:draw", {"drawing": SQUARE, "k": 1}).json()["guesses"] == answer["guesses"][:1]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{", "not JSON"),
        ("[]", "the body must be a JSON object"),
        ({}, "`drawing` must be a list of strokes"),
        ({"drawing": []}, "."),
        ({"drawing": [[[1, 2], [3]]]}, "."),
        ({"drawing": [[[1e9], [3]]]}, "it must be within"),
        ({"drawing": SQUARE, "k": 0}, "`k` must be an integer of at least 1"),
        ({"drawing": SQUARE, "k": True}, "`k` must be an integer of at least 1"),
        ({"drawing": [[[0], [0]]] * (request_body.MAX_STROKES + 1)}, "a drawing may have at most"),
    ],
)
def test_strokes_that_are_rejected(tiny: Server, body: Any, error: str) -> None:
    response = post(tiny, f"{NAME}:draw", body)
    assert response.status_code == 400
    assert re.search(error, response.json()["error"])
    assert "\n" not in response.json()["error"]


def test_models_of_bitmaps_and_of_neither(tmp_path: Path) -> None:
    import tensorflow as tf

    class Ink(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None, 28, 28), tf.uint8, "bitmaps")])  # type: ignore[untyped-decorator]
        def top_k(self, bitmaps: Any) -> Any:
            ink = tf.reduce_mean(tf.cast(bitmaps, tf.float32), axis=(1, 2))[:, None] / 255
            labels = tf.constant([["ink", "paper"]])
            return {"labels": tf.repeat(labels, tf.shape(ink)[0], axis=0), "scores": tf.concat([1 - ink, ink], 1)}

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[
                tf.TensorSpec((None, None, 3), tf.int16, "deltas"),
                tf.TensorSpec((None,), tf.int32, "lengths"),
            ]
        )
        def numbers(self, deltas: Any, lengths: Any) -> Any:
            return {"labels": lengths[:, None], "scores": deltas[:, 0, :1]}

    model = Ink()
    tf.saved_model.save(model, str(tmp_path / "numbers" / "1"), signatures={"top_k": model.numbers})
    with Server(tmp_path / "numbers", rest_port=0) as server:
        answer = post(server, "numbers:draw", {"drawing": SQUARE})
        assert answer.status_code == 400
        assert "returned labels" in answer.json()["error"]
    tf.saved_model.save(
        model, str(tmp_path / "ink" / "1"), signatures={"top_k": model.top_k, "serving_default": model.top_k}
    )
    with Server(tmp_path / "ink", rest_port=0) as server:
        answer = post(server, "ink:draw", {"drawing": SQUARE}).json()
        assert [label for label, _ in answer["guesses"]] == ["ink", "paper"]
        assert 0 < answer["guesses"][0][1] < 1


def test_probes(tiny: Server) -> None:
    def probe(path: str) -> tuple[int, Any]:
        response = send(tiny, "GET", f"/v2/{path}")
        return response.status_code, response.json()

    assert probe("health/live") == (200, {"live": True})
    assert probe("health/ready") == (200, {"ready": True})
    assert probe(f"models/{NAME}/ready") == (200, {"name": "tïny", "ready": True})
    assert probe(f"models/{NAME}/versions/1/ready") == (200, {"name": "tïny", "ready": True})
    assert probe(f"models/{NAME}/versions/9/ready") == (503, {"name": "tïny", "ready": False})
    assert probe("models/nope/ready") == (404, {"error": "Could not find any versions of model nope"})
    assert send(tiny, "GET", "/v2/models").status_code == 404


def test_metrics(tiny: Server) -> None:
    def requests() -> dict[tuple[str, ...], float]:
        text = send(tiny, "GET", "/monitoring/prometheus/metrics").text
        samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
        return {
            tuple(v for _, v in sorted(s.labels.items())): s.value for s in samples if s.name == "qdfast_requests_total"
        }

    before = requests()
    post(tiny, f"{NAME}:predict", {"instances": [ROW]})
    post(tiny, f"{NAME}:predict", {})
    post(tiny, f"{NAME}:draw", {"drawing": SQUARE})
    post(tiny, "nope:predict", {"instances": [ROW]})
    after = requests()
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == {
        ("Predict", "tïny", "OK", "2"): 1,
        ("Predict", "tïny", "INVALID_ARGUMENT", ""): 1,
        ("Draw", "tïny", "OK", "2"): 1,
        ("Predict", "", "NOT_FOUND", ""): 1,
    }


# ---- limits ----


def test_an_error_in_the_server_is_logged_and_not_shown(
    tiny: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(rest, "parse_object", fail)
    response = post(tiny, f"{NAME}:predict", {"instances": [ROW]})
    assert (response.status_code, response.json()) == (500, {"error": "internal error; see the server's log"})
    assert "secret" in caplog.text


def test_a_body_that_is_too_large(tiny: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_BODY_BYTES", 1000)
    response = post(tiny, f"{NAME}:predict", b" " * 1001)
    assert (response.status_code, response.json()) == (413, {"error": "the body has more than 1,000 bytes"})


def test_a_body_that_is_too_slow(tiny: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", tiny.rest_port), TIMEOUT) as connection:
        connection.sendall(
            f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode()
        )
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not arrive within" in answer


def test_requests_in_progress_are_limited(tiny: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_CALLS", 0)
    response = send(tiny, "GET", f"/v1/models/{NAME}")
    assert response.status_code == 429
    assert "try again later" in response.json()["error"]


def test_a_client_that_leaves_is_not_answered(tiny: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    gone = threading.Event()

    def wait(body: bytes) -> None:
        deadline = time.monotonic() + TIMEOUT
        while calls[0].is_active() and time.monotonic() < deadline:
            time.sleep(0.01)
        gone.set()

    monkeypatch.setattr(rest, "parse_object", wait)

    def remembered() -> Any:
        calls.append(call_type())
        return calls[-1]

    monkeypatch.setattr(rest, "_Call", remembered)
    with socket.create_connection(("127.0.0.1", tiny.rest_port), TIMEOUT) as connection:
        connection.sendall(
            f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        while not calls:
            time.sleep(0.01)
    assert gone.wait(TIMEOUT)
    assert not calls[0].is_active()


call_type = rest._Call


def test_a_stop_lets_requests_finish(tmp_path: Path) -> None:
    tiny_model.write_model(tmp_path)
    server = Server(tmp_path, name="tiny", rest_port=0)
    server.start()
    body = {"signature_name": "busy", "inputs": 1.0}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, server, "tiny:predict", body)
        time.sleep(0.3)
        server.stop(TIMEOUT)
        assert answer.result().json()["outputs"] > 0
    with pytest.raises(httpx.ConnectError):
        send(server, "GET", "/v1/models/tiny")


def test_a_stop_does_not_wait_longer_than_its_grace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny_model.write_model(tmp_path)
    server = Server(tmp_path, name="tiny", rest_port=0)
    server.start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, server, "tiny:predict", {"signature_name": "busy", "inputs": 4.0})
        time.sleep(0.3)
        start = time.monotonic()
        server.stop(0.2)
        assert time.monotonic() - start < 3
        response = answer.result()
    assert (response.status_code, response.json()) == (503, {"error": "the server is shutting down"})
    assert not caplog.records or "Traceback" not in caplog.text


def test_ports(tmp_path: Path) -> None:
    tiny_model.write_model(tmp_path)
    with Server(tmp_path) as server:
        assert server.rest_port is None
        with pytest.raises(ServingError, match=f"cannot listen on 127.0.0.1:{server.port}: "):
            Server(tmp_path, rest_port=server.port).start()
    with Server(tmp_path, rest_port=0, metrics_port=0) as server:
        assert server.rest_port != server.metrics_port
        url = f"http://127.0.0.1:{server.metrics_port}"
        for path, status in (
            ("/metrics", 200),
            ("/monitoring/prometheus/metrics", 200),
            ("/", 404),
            ("/v1/models/x", 404),
        ):
            assert httpx.get(url + path).status_code == status
        assert send(server, "GET", "/monitoring/prometheus/metrics").status_code == 200


def test_tls(tmp_path: Path, pems: Certificates) -> None:
    tiny_model.write_model(tmp_path)
    with Server(
        tmp_path, name="tiny", rest_port=0, rest_tls=TlsFiles(pems.server[0], pems.server[1], pems.ca)
    ) as server:
        url = f"https://127.0.0.1:{server.rest_port}/v1/models/tiny"
        context = ssl.create_default_context(cafile=str(pems.ca))
        with pytest.raises(httpx.HTTPError):  # no client certificate
            httpx.get(url, verify=context)
        context.load_cert_chain(*map(str, pems.client))
        assert httpx.get(url, verify=context).json()["model_version_status"][0]["state"] == "AVAILABLE"
        with pytest.raises(httpx.HTTPError):
            send(server, "GET", "/v1/models/tiny")


def test_tensorflow_serving_has_one_http_port(tmp_path: Path, pems: Certificates) -> None:
    tiny_model.write_model(tmp_path)
    options = ServeOptions(tmp_path, port=0, rest_port=8501, metrics_port=8502)
    with pytest.raises(ServingError, match="has one HTTP port"):
        run_tf_serving("unused", options, threading.Event())
    options = ServeOptions(tmp_path, port=0, rest_port=8501, tls_cert=pems.server[0], tls_key=pems.server[1])
    with pytest.raises(ServingError, match="serves REST without TLS"):
        run_tf_serving("unused", options, threading.Event())


def test_many_rows(tiny: Server) -> None:
    deltas, lengths = drawings().deltas(dtype=np.int16)
    instances = [{"deltas": d, "lengths": n} for d, n in zip(deltas.tolist(), lengths.tolist(), strict=True)]
    by_row = post(tiny, f"{NAME}:predict", {"instances": instances}).json()["predictions"]
    by_column = post(
        tiny, f"{NAME}:predict", {"inputs": {"deltas": deltas.tolist(), "lengths": lengths.tolist()}}
    ).json()
    expected = tiny_model.probabilities(deltas, lengths, 2)
    np.testing.assert_allclose(by_row, expected, atol=1e-6)
    np.testing.assert_allclose(by_column["outputs"], expected, atol=1e-6)
