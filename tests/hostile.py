"""Requests that nobody should send, sent to a server of the tiny model; the answers are judged by what was sent.

    python tests/hostile.py 100000 [--seed N]     (of all surfaces: hostile_all.py)

Hypothesis makes the messages: random bytes, well-formed nonsense, valid requests with one thing wrong, and valid requests
with bytes changed. Of each it is known whether it must be answered, and with what numbers, or must be refused. ``IN_FLIGHT``
of them are under way at once together with a good one, so that the server may batch them together.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tiny_model
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from qdfast.client.channel import PREDICT
from qdfast.errors import DataError
from qdfast.protocol import messages
from qdfast.protocol import tfs_pb2 as pb

IN_FLIGHT = 8
TIMEOUT = 60
STOP = 30  # seconds that SIGTERM takes at most
EXAMPLES = 250  # of one run of Hypothesis, which remembers them all
MAY_GROW, MAY_PEAK = 256, 1024  # MiB, however many requests there were: of them all, and while they are answered

REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED"}
UNREADABLE = REFUSALS | {"INTERNAL"}  # for bytes that are no message of the method's type, as gRPC has it

OTHER_METHODS = (
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.PredictionService/Regress",
    "/tensorflow.serving.PredictionService/MultiInference",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.PredictionService/NoSuchMethod",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/grpc.health.v1.Health/Check",
)


# ---- what is sent ----

ODD_SIZES = (-1, 0, -(2**63), 2**31, 2**40, 2**59, 2**62, 2**63 - 1)
NUMBERS = [t for t in pb.DataType.values() if t not in (pb.DT_INVALID, pb.DT_STRING)]


@st.composite
def valid_requests(draw: st.DrawFn) -> pb.PredictRequest:
    """A request that the tiny model answers."""
    lengths = np.array(draw(st.lists(st.integers(1, 12), min_size=1, max_size=6)), np.int32)
    steps = int(lengths.max()) + draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    deltas = rng.integers(-255, 256, (len(lengths), steps, 3)).astype(np.int16)
    signature = draw(st.sampled_from(["serving_default", "top_k", ""]))
    request = messages.predict_request("tiny", draw(st.sampled_from([None, 1])), signature, {})
    for name, array in (("deltas", deltas), ("lengths", lengths)):
        messages.encode_tensor(array, request.inputs[name], fields=draw(st.booleans()))
    return request


def odd_shapes() -> st.SearchStrategy[list[int]]:
    size = st.integers(0, 9) | st.sampled_from(ODD_SIZES)
    return st.lists(size, max_size=5) | st.lists(size, min_size=30, max_size=40)


@st.composite
def odd_tensors(draw: st.DrawFn) -> pb.TensorProto:
    """A tensor whose type, shape and content need not fit together."""
    dtype: Any = draw(st.sampled_from(pb.DataType.values()) | st.integers(-3, 130))
    tensor = pb.TensorProto(dtype=dtype)
    for size in draw(odd_shapes()):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_shape.unknown_rank = draw(st.sampled_from([False] * 9 + [True]))
    tensor.tensor_content = draw(st.just(b"") | st.binary(max_size=64))
    tensor.int_val.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)))
    tensor.float_val.extend(draw(st.lists(st.floats(width=32), max_size=4)))
    tensor.string_val.extend(draw(st.lists(st.binary(max_size=8), max_size=2)))
    return tensor


@st.composite
def nonsense(draw: st.DrawFn) -> pb.PredictRequest:
    """Well-formed, and that is all."""
    names = st.sampled_from(["deltas", "lengths", "", "serving_default_deltas:0"]) | st.text(max_size=20)
    request = pb.PredictRequest(output_filter=draw(st.lists(names, max_size=3)))
    if draw(st.booleans()):
        request.model_spec.name = draw(st.sampled_from(["tiny", "tiny\0", "../tiny", ""]) | st.text(max_size=50))
        request.model_spec.signature_name = draw(st.sampled_from(["", "top_k", "__saved_model_init_op"]) | names)
    for name in draw(st.lists(names, max_size=4)):
        request.inputs[name].CopyFrom(draw(odd_tensors()))
    return request


def _set_array(request: pb.PredictRequest, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = change(messages.decode_tensor(request.inputs[name]).copy())
    request.inputs[name].Clear()
    messages.encode_tensor(array, request.inputs[name])


@st.composite
def damaged(draw: st.DrawFn) -> pb.PredictRequest:
    """A valid request with one thing wrong."""
    request = draw(valid_requests())
    name = draw(st.sampled_from(["deltas", "lengths"]))
    tensor, dims = request.inputs[name], request.inputs[name].tensor_shape.dim

    def put(value: int) -> Callable[[np.ndarray], np.ndarray]:
        def change(array: np.ndarray) -> np.ndarray:
            array.flat[draw(st.integers(0, array.size - 1))] = value
            return array

        return change

    def to_float(array: np.ndarray) -> np.ndarray:
        array = array.astype(draw(st.sampled_from([np.float16, np.float32, np.float64])))
        array.flat[0] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
        return array

    def reshape() -> None:
        del dims[:]
        for size in draw(odd_shapes()):
            dims.add(size=size)

    def resize() -> None:
        dims[draw(st.integers(0, len(dims) - 1))].size = draw(st.sampled_from(ODD_SIZES))

    def huge_with_little_content() -> None:
        tensor.ClearField("tensor_content")
        tensor.int_val[:] = [1]
        dims[0].size = draw(st.sampled_from([10**5, 10**7, 10**9, 2**40]))

    def remove_drawings() -> None:
        for each in ("deltas", "lengths"):
            _set_array(request, each, lambda array: array[:0])

    damages: dict[str, Callable[[], object]] = {
        "another type": lambda: setattr(tensor, "dtype", draw(st.sampled_from(NUMBERS))),
        "another shape": reshape,
        "another size": resize,
        "huge with little content": huge_with_little_content,
        "not finite": lambda: _set_array(request, name, to_float),
        "a length out of range": lambda: _set_array(
            request, "lengths", put(draw(st.sampled_from([0, -1, 13, 99, 2**31 - 1, -(2**31)])))
        ),
        "one drawing less": lambda: _set_array(request, name, lambda array: array[1:]),
        "an axis more": lambda: _set_array(request, name, lambda array: array[None]),
        "an axis less": lambda: _set_array(request, name, lambda array: array[0]),
        "no drawings": remove_drawings,
        "a missing input": lambda: request.inputs.pop(name),
        "an input too many": lambda: request.inputs[draw(st.text(max_size=9))].CopyFrom(draw(odd_tensors())),
        "outputs": lambda: request.output_filter.extend(
            draw(st.lists(st.sampled_from(["labels", "scores", "probabilities", "", "no"]), min_size=1, max_size=3))
        ),
        "another model": lambda: setattr(request.model_spec, "name", draw(st.text(max_size=9))),
        "another signature": lambda: setattr(request.model_spec, "signature_name", draw(st.text(max_size=9))),
        "another version": lambda: setattr(request.model_spec.version, "value", draw(st.integers(-(2**63), 2**63 - 1))),
        "a label": lambda: setattr(request.model_spec, "version_label", draw(st.text(max_size=9))),
        "no model": lambda: request.ClearField("model_spec"),
    }
    damages[draw(st.sampled_from(sorted(damages)))]()
    return request


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The bytes of a valid request, some of them changed."""
    data = bytearray(draw(valid_requests()).SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["set", "flip", "insert", "delete", "cut", "double"])):
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del data[at : at + draw(st.integers(1, 8))]
            case "cut":
                del data[at:]
            case "double":
                data += data[at:]
    return bytes(data)


def as_bytes(messages: st.SearchStrategy[pb.PredictRequest]) -> st.SearchStrategy[bytes]:
    return messages.map(lambda message: message.SerializeToString())


CALLS = st.one_of(
    st.tuples(st.just(PREDICT), as_bytes(damaged())),
    st.tuples(st.just(PREDICT), as_bytes(nonsense())),
    st.tuples(st.just(PREDICT), mutated()),
    st.tuples(st.sampled_from((PREDICT, *OTHER_METHODS)), st.binary(max_size=200) | mutated()),
)


# ---- what must become of it ----


def expected(data: bytes) -> dict[str, np.ndarray] | None:
    """The outputs by name that the bytes of a Predict request must be answered with; None if it must be refused."""
    try:
        request = predict_pb2.PredictRequest.FromString(data)
        arrays = {name: messages.decode_tensor(tensor, strict=False) for name, tensor in request.inputs.items()}
    except (DecodeError, DataError):
        return None
    spec = request.model_spec
    signature = spec.signature_name or "serving_default"
    if spec.name != "tiny" or spec.HasField("version_label"):
        return None
    if (spec.HasField("version") and spec.version.value != 1) or set(arrays) != {"deltas", "lengths"}:
        return None
    deltas, lengths = arrays["deltas"], arrays["lengths"]
    if deltas.dtype != np.int16 or lengths.dtype != np.int32 or (deltas.ndim, lengths.ndim) != (3, 1):
        return None
    if deltas.shape[2] != 3 or not 0 < len(lengths) == len(deltas):
        return None
    if lengths.min() < 1 or lengths.max() > deltas.shape[1]:
        return None
    p = tiny_model.probabilities(deltas, lengths)
    outputs = {
        "serving_default": {"probabilities": p},
        "top_k": {"labels": p, "scores": -np.sort(-p, axis=1)[:, : tiny_model.K]},
    }.get(signature)
    wanted = list(request.output_filter)
    if outputs is None or not set(wanted) <= set(outputs) or len(set(wanted)) < len(wanted):
        return None
    return {name: outputs[name] for name in wanted or outputs}


def judge(method: str, data: bytes, call: Any) -> str:
    """The status of a call that has gone as it must. AssertionError: it has not."""
    error = call.exception()
    if method != PREDICT:
        assert error is None or error.code().name in UNREADABLE, (error.code(), error.details())
        return "OK" if error is None else error.code().name
    outputs = expected(data)
    if error is not None:
        status: str = error.code().name
        assert outputs is None, f"a good request was refused: {status} {error.details()}"
        try:
            predict_pb2.PredictRequest.FromString(data)
        except DecodeError:
            assert status in UNREADABLE, (status, error.details())
        else:
            assert status in REFUSALS, (status, error.details())
        return status
    assert outputs is not None, "a bad request was answered"
    got = messages.predict_outputs(pb.PredictResponse.FromString(call.result()))
    assert set(got) == set(outputs)
    if "labels" in outputs:
        _check_labels(got.pop("labels"), outputs.pop("labels"))
    for name, array in outputs.items():
        np.testing.assert_allclose(got[name], array, atol=1e-5)
    return "OK"


def _check_labels(labels: np.ndarray, p: np.ndarray) -> None:
    """That ``labels`` (N, K) name the most probable classes by ``p`` (N, C), in any order of equal ones."""
    names = [name.encode() for name in tiny_model.CLASSES]
    index = np.array([[names.index(label) for label in row] for row in labels])
    np.testing.assert_allclose(np.take_along_axis(p, index, 1), -np.sort(-p, axis=1)[:, : tiny_model.K], atol=1e-5)


# ---- driving ----


@dataclass
class Driven:
    """What came of it: calls by status, and the server's memory in MiB (0 where /proc is missing)."""

    statuses: Counter[str] = field(default_factory=Counter)
    rss_before: float = 0.0
    rss_after: float = 0.0
    rss_peak: float = 0.0

    def __str__(self) -> str:
        by_status = ", ".join(f"{n} {status}" for status, n in self.statuses.most_common())
        memory = f"RSS {self.rss_before:.0f} -> {self.rss_after:.0f} MiB, at most {self.rss_peak:.0f}"
        return f"{self.statuses.total()} requests: {by_status}; {memory}"


def drive(target: str, pid: int, count: int, first_seed: int = 0) -> Driven:
    """Send at least ``count`` hostile requests to ``target``, the server process ``pid``.

    Raises:
        AssertionError: the first batch of requests, made as small as it gets, that is not treated as it must be.
    """
    good = messages.predict_request("tiny", None, "serving_default", _good_inputs()).SerializeToString()
    driven = Driven()
    with grpc.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:

        def send(method: str, data: bytes) -> Any:
            return channel.unary_unary(method).future(data, timeout=TIMEOUT)

        def send_all(calls: list[tuple[str, bytes]]) -> None:
            futures = [send(method, data) for method, data in calls]
            assert judge(PREDICT, good, send(PREDICT, good)) == "OK"
            for (method, data), future in zip(calls, futures, strict=True):
                driven.statuses[judge(method, data, future)] += 1

        # What the first requests make the server set up once is no leak.
        _search(send_all, min(EXAMPLES, math.ceil(count / IN_FLIGHT / 4)), first_seed)
        driven.rss_before = memory(pid, "VmRSS")
        while (left := count - driven.statuses.total()) > 0:
            first_seed += 1
            _search(send_all, min(EXAMPLES, math.ceil(left / IN_FLIGHT)), first_seed)
        driven.rss_after, driven.rss_peak = memory(pid, "VmRSS"), memory(pid, "VmHWM")
    return driven


def _search(send_all: Callable[[list[tuple[str, bytes]]], None], examples: int, number: int) -> None:
    """Let Hypothesis make so many batches of calls and, if one fails, find the smallest that does."""

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.lists(CALLS, min_size=IN_FLIGHT, max_size=IN_FLIGHT))
    def run(calls: list[tuple[str, bytes]]) -> None:
        send_all(calls)

    run()


def _good_inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"deltas": rng.integers(-255, 256, (2, 9, 3)).astype(np.int16), "lengths": np.array([9, 4], np.int32)}


def memory(pid: int, key: str) -> float:
    """MiB that process ``pid`` has (VmRSS) or had at most (VmHWM)."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key)) / 1024


@contextmanager
def server(model_dir: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Target and pid of an embedded server of a model directory, or a file of models, in a process of its own."""
    what = [str(model_dir), "--name=tiny"] if model_dir.is_dir() else [f"--models={model_dir}"]
    command = [sys.executable, "-m", "qdfast", "serve", *what, "--port=0", "--embedded", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1], process.pid
        assert process.poll() is None, f"the server ended with {process.returncode}"
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"the server did not end within {STOP} s") from None


if __name__ == "__main__":
    from hostile_all import main

    main()
