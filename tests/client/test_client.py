"""What both clients do, against a server that answers as each test tells it to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any

import grpc
import numpy as np
import pytest
import tiny_model
from scripted_server import LENGTHS, Awaited, Scripted, answer, drawings, expected, refuse, respond_with, status

import qdfast
from qdfast import client
from qdfast.protocol import messages
from qdfast.protocol import tfs_pb2 as pb


@pytest.fixture(params=[client.Client, Awaited], ids=["Client", "AsyncClient"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def scripted(kind: Any) -> Iterator[Scripted]:
    s = Scripted()
    s.kind = kind
    yield s
    s.server.stop(None).wait()


# ---- questions and answers ----


@pytest.mark.parametrize("max_batch", [1, 3, 256])
def test_predictions_are_in_the_order_of_the_drawings(scripted: Scripted, max_batch: int) -> None:
    d = drawings()
    with scripted.client(max_batch=max_batch) as c:
        p = c.predict(d, k=3)
        everything = c.probabilities(d)
    assert np.array_equal(everything, expected(d))
    assert everything.dtype == np.float32
    best = np.argsort(-everything, axis=1, kind="stable")[:, :3]
    assert p.labels.tolist() == np.array(tiny_model.CLASSES)[best].tolist()
    assert p.labels.dtype.kind == "U"
    assert np.array_equal(p.scores, np.take_along_axis(everything, best, axis=1))
    assert p.version == 1
    sizes = [messages.decode_tensor(r.inputs["lengths"]).tolist() for r in scripted.requests]
    assert max(map(len, sizes)) <= max_batch
    assert sorted(chain(*sizes)) == sorted(LENGTHS * 2)


def test_what_is_sent_is_raw_and_uncut(scripted: Scripted) -> None:
    d = drawings([300, 250])
    with scripted.client(version=4) as c:
        c.predict(d)
    (request,) = scripted.requests
    deltas, lengths = d.deltas(dtype=np.int16)
    assert np.array_equal(messages.decode_tensor(request.inputs["deltas"]), deltas)
    assert messages.decode_tensor(request.inputs["lengths"]).tolist() == lengths.tolist() == [300, 250]
    assert (request.model_spec.name, request.model_spec.version.value) == ("tiny", 4)


def test_drawings_may_be_lists_or_ndjson(scripted: Scripted) -> None:
    d = drawings()
    lists = [[[x.tolist(), y.tolist()] for x, y in one] for one in d]
    lines = qdfast.format_ndjson(d).replace(b'"recognized":true', b'"recognized":false')
    with scripted.client() as c:
        for form in (lists, lines, bytearray(lines), memoryview(lines)):
            assert np.array_equal(c.probabilities(form), expected(d))


def test_a_bad_drawing_is_an_error_before_anything_is_sent(scripted: Scripted) -> None:
    good = qdfast.format_ndjson(drawings([5]))
    with scripted.client() as c:
        with pytest.raises(qdfast.ParseError, match="line 2"):
            c.predict(good + b'{"drawing":[[[1,2],[3]]]}\n')
        with pytest.raises(qdfast.DataError, match="drawing 1"):
            c.predict([[[[1, 2], [3, 4]]], [[[1, 2], [3]]]])
    assert not scripted.requests


def test_no_drawings_need_no_server(kind: Any) -> None:
    with kind("127.0.0.1:1", model="tiny") as c:
        p = c.predict([], k=2)
        assert (p.labels.shape, p.scores.shape, p.version) == ((0, 2), (0, 2), None)
        assert p.labels.dtype.kind == "U"
        assert c.probabilities(b"").shape == (0, 0)


def test_k(scripted: Scripted) -> None:
    d = drawings([5, 6])
    with scripted.client() as c:
        three, one = c.predict(d, k=3), c.predict(d, k=1)
        assert np.array_equal(one.labels, three.labels[:, :1])
        assert np.array_equal(one.scores, three.scores[:, :1])
        for many in (4, 10**11):  # the model gives three
            assert np.array_equal(c.predict(d, k=many).labels, three.labels)
        with pytest.raises(client.InvalidRequest, match="at least 1"):
            c.predict(d, k=0)


def test_a_version_change_within_a_question(scripted: Scripted) -> None:
    scripted.predict = lambda request, context: answer(request, version=len(scripted.requests))
    with scripted.client(max_batch=5, in_flight=1) as c:
        assert c.predict(drawings()).version is None


def test_big_answers_pass(scripted: Scripted) -> None:
    big = np.random.default_rng(0).random((3, 500_000), np.float32)
    big /= big.sum(axis=1, keepdims=True)
    scripted.predict = lambda request, context: respond_with({"probabilities": big})
    with scripted.client() as c:
        assert np.array_equal(c.probabilities(drawings([4, 4, 4])), big)


# ---- requests in flight ----


def test_several_requests_are_in_flight_but_not_more_than_allowed(scripted: Scripted) -> None:
    lock, now, most = threading.Lock(), 0, 0
    three = threading.Barrier(3, timeout=20)  # breaks unless three requests are there at once

    def predict(request: Any, context: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        three.wait()
        with lock:
            now -= 1
        return answer(request)

    scripted.predict = predict
    d = drawings([4] * 12)
    with scripted.client(max_batch=1, in_flight=3) as c:
        assert np.array_equal(c.probabilities(d), expected(d))
    assert most == 3


def test_a_failure_cancels_what_is_in_flight(scripted: Scripted) -> None:
    both_here = threading.Barrier(2, timeout=20)
    ended = threading.Event()

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        first = messages.decode_tensor(request.inputs["lengths"])[0] == 9
        if not first:
            context.add_callback(ended.set)
        both_here.wait()
        if first:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        ended.wait(20)
        return answer(request)

    scripted.predict = predict
    with scripted.client(max_batch=1, in_flight=2, timeout=60) as c:
        with pytest.raises(client.InvalidRequest):
            c.predict(drawings([9, 4]))
        assert ended.wait(20)


def test_threads_share_a_client(scripted: Scripted) -> None:
    questions = [drawings([3, 9, 4], seed) for seed in range(16)]
    with scripted.client(max_batch=2) as c, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(c.probabilities, questions))
    assert all(np.array_equal(a, expected(d)) for a, d in zip(answers, questions, strict=True))


# ---- what is asked for ----


@pytest.mark.parametrize("version", ["1", 1, np.int64(1)])
def test_a_version_in_digits_is_a_number(scripted: Scripted, version: Any) -> None:
    with scripted.client(version=version) as c:
        c.predict(drawings([3]))
    (request,) = scripted.requests
    assert request.model_spec.version.value == 1
    assert not request.model_spec.version_label


def test_a_version_that_is_text_is_a_label(scripted: Scripted) -> None:
    with scripted.client(version="v1") as c:
        c.predict(drawings([3]))
    assert scripted.requests[0].model_spec.version_label == "v1"


@pytest.mark.parametrize("version", [-1, 1 << 63, str(1 << 63), "", 1.0, True, b"1"])
def test_a_version_that_is_none(kind: Any, version: Any) -> None:
    with pytest.raises(qdfast.DataError, match=r"^version is .*: it must be"):
        kind(model="tiny", version=version)


@pytest.mark.parametrize(
    "target", [("127.0.0.1", 8500), ["127.0.0.1", 8500], 8500, None, b"127.0.0.1:8500", [("127.0.0.1", 8500)]]
)
def test_a_target_that_is_no_text(kind: Any, target: Any) -> None:
    with pytest.raises(qdfast.DataError, match=r"^target is .*: it must be text such as '127\.0\.0\.1:8500'") as e:
        kind(target, model="tiny")
    assert repr(target) in str(e.value)


@pytest.mark.parametrize("model", ["", None, 3, b"tiny"])
def test_a_model_that_is_no_name(kind: Any, model: Any) -> None:
    with pytest.raises(qdfast.DataError, match=r"^model is "):
        kind(model=model)


# ---- what goes wrong ----


def test_every_call_has_a_deadline(scripted: Scripted) -> None:
    left = []

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        left.append(context.time_remaining())
        return answer(request)

    def model_status(request: Any, context: grpc.ServicerContext) -> Any:
        left.append(context.time_remaining())
        return status("AVAILABLE")

    scripted.predict = predict
    scripted.status = model_status
    with scripted.client(timeout=50, max_batch=1) as c:
        c.predict(drawings([3, 4]))
        c.probabilities(drawings([5]))
        c.model_status()
    assert len(left) == 4
    assert all(t is not None and 0 < t < 60 for t in left)  # gRPC rounds up on its way


def test_no_answer_in_time(kind: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        with kind(target, model="tiny", timeout=0.2) as c:
            with pytest.raises(client.DeadlineExceeded, match=f"model 'tiny' at {target}: DEADLINE_EXCEEDED"):
                c.predict(drawings([3]))
            with pytest.raises(client.DeadlineExceeded):
                c.wait_ready(0.3)


@pytest.mark.parametrize(
    ("code", "details", "advice"),
    [
        (
            "UNAVAILABLE",
            "The batch scheduling queue to which this task was submitted is full; currently 64 batches enqueued",
            "the server gets more requests than it can answer",
        ),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (5 vs. 4)", "use a smaller `max_batch`"),
        ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted", r"more threads \(--grpc_max_threads\)"),
        (
            "INVALID_ARGUMENT",
            "Task size 256 is larger than maximum input batch size 64",
            "use a `max_batch` of at most 64, or set enable_large_batch_splitting",
        ),
        (
            "FAILED_PRECONDITION",
            "Tensors with name 'deltas:0' from different tasks have different shapes and padding is turned off.",
            "turn batching off",
        ),
        ("UNIMPLEMENTED", "Method not found!", "the server does not have this method"),
    ],
)
def test_advice(scripted: Scripted, code: str, details: str, advice: str) -> None:
    scripted.predict = refuse(code, details)
    timeout = 1 if details == "Server Threadpool Exhausted" else 20  # the former is retried until its time is over
    with scripted.client(timeout=timeout) as c, pytest.raises(qdfast.ServingError, match=advice) as e:
        c.predict(drawings([3]))
    assert "is the server running" not in str(e.value)


def test_a_port_that_is_not_of_grpc(kind: Any) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        message = r"use the server's gRPC port \(8500\), not its REST port"
        with (
            kind(f"127.0.0.1:{http.server_address[1]}", model="tiny") as c,
            pytest.raises(client.Unavailable, match=message),
        ):
            c.predict(drawings([3]))
        http.shutdown()


def test_no_server(kind: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        target = f"127.0.0.1:{free.getsockname()[1]}"
    with kind(target, model="tiny") as c:
        with pytest.raises(client.Unavailable, match=r"UNAVAILABLE.*is the server running\? `qdfast serve MODEL_DIR`"):
            c.predict(drawings([3]))
        with pytest.raises(client.Unavailable, match="refused"):
            c.wait_ready(0.2)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("UNAVAILABLE", client.Unavailable),
        ("RESOURCE_EXHAUSTED", client.Unavailable),
        ("DEADLINE_EXCEEDED", client.DeadlineExceeded),
        ("NOT_FOUND", client.ModelNotFound),
        ("INVALID_ARGUMENT", client.InvalidRequest),
        ("FAILED_PRECONDITION", client.InvalidRequest),
        ("UNIMPLEMENTED", client.InvalidRequest),
        ("UNAUTHENTICATED", client.InvalidRequest),
        ("PERMISSION_DENIED", client.InvalidRequest),
        ("INTERNAL", qdfast.ServingError),
    ],
)
def test_statuses(scripted: Scripted, code: str, error: type[Exception]) -> None:
    scripted.predict = scripted.status = refuse(code, "What happened.\n\t [[{{node a}}]]")
    with scripted.client(version="stable") as c:
        for ask in (lambda: c.predict(drawings([3])), lambda: c.probabilities(drawings([3])), c.model_status):
            with pytest.raises(qdfast.ServingError) as e:
                ask()
            assert type(e.value) is error
            head, _, advice = str(e.value).partition("; ")
            assert head == f"model 'tiny' (version stable) at {scripted.target}: {code}: What happened"
            assert advice
            assert "\n" not in advice


SCORES = np.zeros((2, 3), np.float32)
LABELS = np.full((2, 3), b"cat", dtype=object)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"labels": LABELS}, "returned no output 'scores'"),
        ({"labels": LABELS, "scores": SCORES[:1]}, r"returned 'scores' of shape \[1, 3\] for 2 drawings"),
        ({"labels": LABELS[0], "scores": SCORES}, r"'labels' of shape \[3\]"),
        ({"labels": LABELS, "scores": SCORES[:, :2]}, "and scores float32"),
        ({"labels": LABELS, "scores": SCORES.astype(np.float64)}, "scores float64"),
        ({"labels": SCORES, "scores": SCORES}, "labels float32"),
    ],
)
def test_answers_that_are_none(scripted: Scripted, outputs: dict[str, np.ndarray], message: str) -> None:
    scripted.predict = lambda request, context: respond_with(outputs)
    with scripted.client() as c, pytest.raises(client.BadResponse, match=message):
        c.predict(drawings([3, 4]))


def test_a_malformed_answer(scripted: Scripted) -> None:
    broken = pb.TensorProto(dtype=pb.DT_FLOAT, tensor_content=b"abc")
    scripted.predict = lambda request, context: pb.PredictResponse(outputs={"probabilities": broken})
    with scripted.client() as c, pytest.raises(client.BadResponse, match="malformed tensor: output probabilities"):
        c.probabilities(drawings([3]))


def test_an_answer_that_is_no_message(scripted: Scripted) -> None:
    scripted.predict = scripted.status = scripted.metadata = lambda request, context: b"\xff"
    with scripted.client(max_batch=1) as c:
        for ask in (lambda: c.predict(drawings([3])), lambda: c.predict(drawings([3, 4])), c.model_status, c.metadata):
            with pytest.raises(client.BadResponse, match="returned an invalid "):
                ask()


def test_the_number_of_classes_changes_within_a_question(scripted: Scripted) -> None:
    def predict(request: Any, context: Any) -> Any:
        return respond_with({"probabilities": np.zeros((1, 1 + len(scripted.requests)), np.float32)})

    scripted.predict = predict
    with scripted.client(max_batch=1, in_flight=1) as c, pytest.raises(client.BadResponse, match="of 3 classes"):
        c.probabilities(drawings([3, 4]))


P = np.array([[0.5, 0.3, 0.2]] * len(LENGTHS), np.float32)


@pytest.mark.parametrize(
    ("row", "best", "said"),
    [
        ([0.5, np.nan, 0.2], True, "scores that are not from 0 to 1: 0.5, nan, 0.2; check that `qdfast export`"),
        ([np.inf, 0.3, 0.2], True, "scores that are not from 0 to 1: inf, 0.3, 0.2; "),
        ([0.5, 0.3, -0.2], True, "scores that are not from 0 to 1: 0.5, 0.3, -0.2; "),
        ([50, 30, 20], True, "scores that are not from 0 to 1: 50, 30, 20; "),
        ([0.9, 0.9, 0.9], True, "scores with a sum of more than 1: 0.9, 0.9, 0.9; "),
        ([0.3, 0.5, 0.2], True, "scores that do not decrease: 0.3, 0.5, 0.2; "),
        ([0.5, np.nan, 0.2], False, "scores that are not from 0 to 1: 0.5, nan, 0.2; "),
        ([-np.inf, 0.3, 0.2], False, "scores that are not from 0 to 1: -inf, 0.3, 0.2; "),
        ([50, 30, 20], False, "scores that are not from 0 to 1: 50, 30, 20; "),
        ([0.3, 0.3, 0.3], False, "scores with a sum other than 1: 0.3, 0.3, 0.3; "),
        ([0.9, 0.9, 0.9], False, "scores with a sum other than 1: 0.9, 0.9, 0.9; "),
        ([0, 0, 0], False, "scores with a sum other than 1: 0, 0, 0; "),
    ],
)
def test_scores_that_are_no_probabilities(scripted: Scripted, row: list[float], best: bool, said: str) -> None:
    """One row among good ones."""
    p = P.copy()
    p[4] = row
    labels = np.full(p.shape, b"cat", object)
    scripted.predict = lambda request, context: respond_with(
        {"labels": labels, "scores": p} if best else {"probabilities": p}
    )
    with scripted.client() as c, pytest.raises(client.BadResponse) as error:
        c.predict(drawings()) if best else c.probabilities(drawings())
    assert str(error.value).startswith(f"model 'tiny' at {scripted.target} returned {said}")


def test_scores_of_half_precision_are_probabilities(scripted: Scripted) -> None:
    p = P.copy()
    p[:5], p[5:] = [0.33, 0.33, 0.33], [1.001, 0, 0]
    labels = np.full(p.shape, b"cat", object)
    scripted.predict = lambda request, context: respond_with(
        {"labels": labels, "scores": p} if "scores" in request.output_filter else {"probabilities": p}
    )
    with scripted.client() as c:
        for scores in (c.predict(drawings()).scores, c.probabilities(drawings())):
            assert sorted(scores.tolist()) == sorted(p.tolist())


@pytest.mark.parametrize(
    "option",
    [
        {"timeout": 0},
        {"timeout": 1e300},
        {"timeout": float("nan")},
        {"max_batch": 0},
        {"in_flight": -1},
        {"version": -1},
        {"version": 2**63},
        {"hedge_after": 0},
        {"target": "http://127.0.0.1:8500"},
        {"target": "127.0.0.1"},
        {"target": "::1:8500"},
        {"target": "127.0.0.1:65536"},
        {"target": "dns:///\udcff:1"},
        {"target": []},
        {"target": ["127.0.0.1:1", "dns:///b:1"]},
        {"certificate": b"-----BEGIN "},
        {"ca": b"none"},
        {"metadata": {"Token": "a"}},
        {"metadata": {"grpc-token": "a"}},
        {"metadata": {"token": "a\nb"}},
        {"metadata": {"token": b"a"}},
    ],
)
def test_impossible_options(kind: Any, option: dict[str, Any]) -> None:
    with pytest.raises(qdfast.DataError, match=f"^{next(iter(option))}"):
        kind(**{"model": "tiny", **option})


def test_a_closed_client(scripted: Scripted) -> None:
    here, leave = threading.Event(), threading.Event()

    def predict(request: Any, context: Any) -> Any:
        here.set()
        leave.wait(20)
        return answer(request)

    scripted.predict = predict
    with ThreadPoolExecutor(1) as pool, scripted.client(max_batch=1) as c:
        for count in (1, 3):
            here.clear()
            leave.clear()
            asked = scripted.client(max_batch=1)
            under_way = pool.submit(asked.predict, drawings([3] * count))
            assert here.wait(20)
            asked.close()
            with pytest.raises(client.Unavailable, match=r"connection was closed|client was closed"):
                under_way.result(20)
            with pytest.raises(client.Unavailable, match="the client was closed"):
                asked.predict(drawings([3]))
            leave.set()
        assert len(c.predict(drawings([3]))) == 1


# ---- the model's state ----


def test_metadata(scripted: Scripted) -> None:
    with scripted.client() as c:
        m = c.metadata()
        assert list(m.signatures) == ["serving_default"]
        signature = m.signatures["serving_default"]
        assert signature.inputs["deltas"] == messages.TensorSpec("int16", (None, None, 3))
        assert str(m) == (
            "version 1\n  serving_default: deltas int16 [?, ?, 3], lengths int32 [?] -> probabilities float32 [?, 5]"
        )
        scripted.metadata = lambda request, context: pb.GetModelMetadataResponse()
        with pytest.raises(client.BadResponse, match="metadata without signatures"):
            c.metadata()
        scripted.metadata = refuse("NOT_FOUND", "no such model")
        with pytest.raises(client.ModelNotFound):
            c.metadata()


def test_model_status(scripted: Scripted) -> None:
    scripted.status = lambda request, context: status("END", "corrupt")
    with scripted.client() as c:
        assert c.model_status() == [client.ModelVersion(1, "END", "corrupt")]


def test_wait_ready_waits_for_the_model(scripted: Scripted) -> None:
    steps = iter([refuse("UNAVAILABLE", "starting"), refuse("NOT_FOUND", "none yet"), lambda r, c: status("LOADING")])
    scripted.status = lambda r, c: next(steps, lambda r, c: status("AVAILABLE"))(r, c)
    with scripted.client() as c:
        assert c.wait_ready(20) == 1
    assert next(steps, None) is None


def test_wait_ready_says_what_hinders(scripted: Scripted) -> None:
    with scripted.client() as c:
        scripted.status = lambda request, context: status("END", "corrupt")
        with pytest.raises(client.Unavailable, match="is not loaded: version 1 is END corrupt"):
            c.wait_ready(0.1)
        scripted.status = refuse("NOT_FOUND", "Could not find any versions of model tiny")
        with pytest.raises(client.ModelNotFound, match="any versions of model tiny"):
            c.wait_ready(0.1)
        scripted.status = scripted.predict = refuse("UNIMPLEMENTED", "")
        with pytest.raises(client.InvalidRequest):  # at once: this is no server that is about to be ready
            c.wait_ready(60)


@pytest.mark.parametrize("answered", ["INVALID_ARGUMENT", "UNKNOWN", "INTERNAL", None])
def test_a_server_that_has_predict_alone(scripted: Scripted, answered: str | None) -> None:
    """As pythie-serving: it is ready when it answers Predict, even if only to reject a request without inputs."""
    scripted.status = scripted.metadata = refuse("UNIMPLEMENTED", "Method not found!")
    empty = refuse(answered, "no inputs") if answered else lambda r, c: pb.PredictResponse()
    scripted.predict = lambda request, context: answer(request) if request.inputs else empty(request, context)
    d = drawings()
    with scripted.client() as c:
        assert c.wait_ready(20) == 0
        assert np.array_equal(c.probabilities(d), expected(d))
        with pytest.raises(client.InvalidRequest, match="Method not found!; the server does not have this method"):
            c.model_status()


def test_a_server_that_has_predict_alone_is_waited_for(scripted: Scripted) -> None:
    scripted.status = refuse("UNIMPLEMENTED", "Method not found!")
    steps = iter([refuse("NOT_FOUND", "no such model"), refuse("INVALID_ARGUMENT", "no inputs")])
    scripted.predict = lambda r, c: next(steps)(r, c)
    with scripted.client() as c:
        assert c.wait_ready(20) == 0
        scripted.predict = refuse("NOT_FOUND", "no such model")
        with pytest.raises(client.ModelNotFound):
            c.wait_ready(0.1)


def test_wait_ready_waits_for_the_server(kind: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with kind(f"127.0.0.1:{port}", model="tiny") as c, ThreadPoolExecutor(1) as pool:
        with pytest.raises(client.Unavailable):
            c.model_status()
        ready = pool.submit(c.wait_ready, 30)
        server = Scripted(port).server
        assert ready.result() == 1
        server.stop(None).wait()
