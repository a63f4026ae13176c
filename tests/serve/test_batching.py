"""Requests run together are answered as each would be alone; and who waits for whom, and for how long."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from qdfast import DataError
from qdfast.serve.batching_config import DEFAULTS, MAX_ROWS, BatchingParameters

pytest.importorskip("tensorflow_serving")
from qdfast.serve.batch_ops import CHUNK_ROWS, batchable_inputs
from qdfast.serve.batching import MIN_PARALLEL_ROWS, Batcher, run_unbatched
from qdfast.serve.servable import RequestError, Servable, SignatureRunner

pytestmark = pytest.mark.slow

TIMEOUT = 60


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return Servable(tiny_model.write_model(tmp_path_factory.mktemp("tiny"), 1), 1)


def parameters(**options: Any) -> BatchingParameters:
    """The embedded server's, with some changed."""
    return replace(DEFAULTS, **options)


class Gated(SignatureRunner):
    """A signature that notes what it is run with, and does so only while its gate is open."""

    def __init__(self, signature: SignatureRunner) -> None:
        self.signature = signature
        self.gate = threading.Event()
        self.gate.set()
        self.shapes: list[tuple[int, ...]] = []  # of deltas, one for each run
        self.threads: list[int] = []
        self.entered = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.signature, name)

    def run(self, inputs: Any, outputs: Sequence[str] = ()) -> Any:
        self.entered.set()
        assert self.gate.wait(TIMEOUT)
        self.threads.append(threading.get_ident())
        self.shapes.append(inputs["deltas"].shape)
        return self.signature.run(inputs, outputs)


def inputs(lengths: Sequence[int], padding: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    deltas = rng.integers(-99, 100, (len(lengths), max(lengths) + padding, 3)).astype(np.int16)
    return {"deltas": deltas, "lengths": np.array(lengths, np.int32)}


def outcome(run: Callable[..., Any], *arguments: Any) -> Any:
    """The outputs, or status and message of the refusal."""
    try:
        return dict(run(*arguments))
    except RequestError as e:
        return e.code, e.message


def assert_same(got: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        assert got == expected
        return
    assert got.keys() == expected.keys()
    for alias in expected:
        if expected[alias].dtype == object:
            assert got[alias].tolist() == expected[alias].tolist()
        else:
            np.testing.assert_allclose(got[alias], expected[alias], atol=1e-6)


def together(
    batcher: Batcher,
    gated: Gated,
    calls: Sequence[Callable[[], Any]],
    rows: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[Any]:
    """What ``calls`` return that are made while the engine is busy, with so many ``rows`` in all."""
    gated.gate.clear()
    gated.entered.clear()
    with ThreadPoolExecutor(len(calls) + 1) as threads:
        first = threads.submit(batcher.run, gated, inputs([1]))
        assert gated.entered.wait(TIMEOUT)
        futures = [threads.submit(call) for call in calls]
        try:
            wait_for(lambda: batcher.queued_rows == rows)
            meanwhile()
        finally:
            gated.gate.set()
        first.result(TIMEOUT)
        return [f.result(TIMEOUT) for f in futures]


def wait_for(true: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(TIMEOUT * 1000):
        if true():
            return
        tick.wait(0.001)
    raise AssertionError("it did not come true")


# ---- answers ----


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, np.ndarray], tuple[str, ...]]:
    """A signature, inputs that may be wrong, and outputs asked for."""
    lengths = draw(st.lists(st.integers(1, 90), min_size=1, max_size=9))
    given = inputs(lengths, draw(st.integers(0, 40)), draw(st.integers(0, 9)))
    signature, outputs = draw(
        st.sampled_from(
            [
                ("serving_default", ()),
                ("top_k", ()),
                ("top_k", ("labels",)),
                ("top_k", ("scores", "labels")),
            ]
        )
    )
    at = draw(st.integers(0, len(lengths) - 1))
    match draw(st.sampled_from(["", "", "", "zero", "long", "fewer", "none", "rank", "dtype", "last"])):
        case "zero":
            given["lengths"][at] = 0
        case "long":
            given["lengths"][at] = given["deltas"].shape[1] + 1
        case "fewer":
            given["lengths"] = given["lengths"][1:]
        case "none":
            given = {name: array[:0] for name, array in given.items()}
        case "rank":
            given["deltas"] = given["deltas"][0]
        case "dtype":
            given["deltas"] = given["deltas"].astype(np.float32)
        case "last":
            given["deltas"] = given["deltas"][:, :, :2]
    return signature, given, outputs


@settings(max_examples=60)
@given(
    mixture=st.lists(requests(), min_size=1, max_size=12),
    parameters=st.builds(
        parameters,
        max_execution_batch_size=st.integers(1, 20),
        batch_timeout_micros=st.sampled_from([0, 0, 500]),
        num_batch_threads=st.integers(1, 2),
        pad_variable_length_inputs=st.booleans(),
    ),
)
def test_every_mixture_is_answered_as_each_request_alone(
    servable: Servable, mixture: list[Any], parameters: BatchingParameters
) -> None:
    calls = [(servable.signatures[name], given, outputs) for name, given, outputs in mixture]
    expected = [outcome(signature.run, given, outputs) for signature, given, outputs in calls]
    batcher = Batcher(parameters)
    start = threading.Barrier(len(calls))

    def ask(call: Any) -> Any:
        start.wait(TIMEOUT)
        return outcome(batcher.run, *call)

    with ThreadPoolExecutor(len(calls)) as threads:
        for got, wanted in zip(threads.map(ask, calls), expected, strict=True):
            assert_same(got, wanted)
    for call, wanted in zip(calls, expected, strict=True):
        assert_same(outcome(run_unbatched, *call), wanted)
    assert batcher.queued_rows == 0


def test_what_arrives_while_the_engine_is_busy_is_run_together(servable: Servable) -> None:
    gated = Gated(servable.signatures["top_k"])
    sizes: list[int] = []
    batcher = Batcher(parameters(num_batch_threads=1), sizes.append)
    asked = [inputs(lengths, seed=i) for i, lengths in enumerate(([5], [7, 2], [30, 1, 4]))]
    got = together(batcher, gated, [partial(batcher.run, gated, i) for i in asked], rows=6)
    assert sizes == [1, 6]
    assert gated.shapes == [(1, 1, 3), (6, 30, 3)]
    for answer, i in zip(got, asked, strict=True):
        assert_same(answer, servable.signatures["top_k"].run(i))


def test_a_long_drawing_does_not_pad_the_short_ones(servable: Servable) -> None:
    gated = Gated(servable.signatures["top_k"])
    batcher = Batcher(parameters(num_batch_threads=1))
    asked = [inputs([n]) for n in (20, 150, 25, 140, 10)]
    together(batcher, gated, [partial(batcher.run, gated, i) for i in asked], rows=5)
    assert sorted(gated.shapes) == [(1, 1, 3), (2, 150, 3), (3, 25, 3)]


def test_without_padding_only_equal_shapes_go_together(servable: Servable) -> None:
    gated = Gated(servable.signatures["top_k"])
    batcher = Batcher(parameters(num_batch_threads=1, pad_variable_length_inputs=False))
    asked = [inputs([n]) for n in (20, 21, 20)]
    together(batcher, gated, [partial(batcher.run, gated, i) for i in asked], rows=3)
    assert sorted(gated.shapes) == [(1, 1, 3), (1, 21, 3), (2, 20, 3)]


def test_other_outputs_are_another_batch(servable: Servable) -> None:
    gated = Gated(servable.signatures["top_k"])
    batcher = Batcher(parameters(num_batch_threads=1))
    calls = [lambda o=o: batcher.run(gated, inputs([5]), o) for o in (("labels",), ("scores",), ("labels",))]
    got = together(batcher, gated, calls, rows=3)
    assert [tuple(answer) for answer in got] == [("labels",), ("scores",), ("labels",)]
    assert sorted(gated.shapes) == [(1, 1, 3), (1, 5, 3), (2, 5, 3)]


def test_a_large_request_is_run_in_pieces(servable: Servable) -> None:
    gated = Gated(servable.signatures["serving_default"])
    asked = inputs([3, 9, 4, 5, 40, 2, 7], padding=10)
    assert_same(Batcher(parameters(max_execution_batch_size=3)).run(gated, asked), gated.signature.run(asked))
    assert gated.shapes == [(3, 40, 3), (3, 40, 3), (1, 40, 3)]
    gated.shapes.clear()
    many = inputs([2] * (CHUNK_ROWS + 1))
    assert_same(run_unbatched(gated, many), gated.signature.run(many))
    assert gated.shapes == [(CHUNK_ROWS, 2, 3), (1, 2, 3)]


def test_a_request_of_too_many_rows_is_refused(servable: Servable) -> None:
    signature = servable.signatures["top_k"]
    refusal = "INVALID_ARGUMENT", f"Task size {MAX_ROWS + 1} is larger than maximum input batch size {MAX_ROWS}"
    many = inputs([1] * (MAX_ROWS + 1))
    assert outcome(Batcher(parameters()).run, signature, many) == refusal
    assert outcome(run_unbatched, signature, many) == refusal


def test_padding_that_no_length_reaches_is_not_run(servable: Servable) -> None:
    whole = batchable_inputs(servable.signatures["top_k"], inputs([3, 9], padding=500))
    assert whole is not None
    assert whole["deltas"].shape == (2, 9, 3)


def test_a_model_that_does_not_answer_row_by_row_is_not_batched(servable: Servable) -> None:
    busy = servable.signatures["busy"]
    assert not busy.row_wise
    assert Batcher(parameters()).run(busy, {"seconds": np.array(0.0)})["rounds"] >= 0


# ---- models that do not say that their rows are independent ----


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> SignatureRunner:
    """``f(x) = softmax(sum(x, 1), axis=0)``: each answer depends on all rows of its request."""
    import tensorflow as tf

    class Foreign(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def serving_default(self, x: Any) -> Any:
            return {"y": tf.nn.softmax(tf.reduce_sum(x, 1), axis=0)}

    path = tmp_path_factory.mktemp("foreign") / "1"
    model = Foreign()
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.serving_default})
    return Servable(path, 1).signatures["serving_default"]


def rows(n: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(n).random((n, 3), np.float32)}


def test_such_a_model_is_neither_split_nor_batched(foreign: SignatureRunner) -> None:
    assert foreign.batchable
    assert not foreign.row_wise
    batcher = Batcher(DEFAULTS)
    for n in (1, 200, MAX_ROWS + 1):
        for run in (batcher.run, run_unbatched):
            answer = run(foreign, rows(n))["y"]
            assert answer.shape == (n,)
            assert answer.sum() == pytest.approx(1, abs=1e-4)
    start = threading.Barrier(8)

    def ask(n: int) -> float:
        start.wait(TIMEOUT)
        return max(abs(float(batcher.run(foreign, rows(n))["y"].sum()) - 1) for _ in range(20))

    with ThreadPoolExecutor(8) as threads:
        assert max(threads.map(ask, range(1, 9))) < 1e-4


def test_such_a_model_is_batched_and_split_as_a_file_says(foreign: SignatureRunner) -> None:
    sizes: list[int] = []
    batcher = Batcher(BatchingParameters(max_batch_size=200), sizes.append)
    assert batcher.run(foreign, rows(200))["y"].sum() == pytest.approx(1, abs=1e-4)
    assert sizes == [200]
    refusal = "INVALID_ARGUMENT", "Task size 201 is larger than maximum input batch size 200"
    assert outcome(batcher.run, foreign, rows(201)) == refusal
    split = BatchingParameters(max_batch_size=200, max_execution_batch_size=50, enable_large_batch_splitting=True)
    sizes.clear()
    assert Batcher(split, sizes.append).run(foreign, rows(200))["y"].sum() == pytest.approx(4, abs=1e-4)
    assert sizes == [50] * 4


def test_a_file_that_does_not_say_so_splits_no_request(servable: Servable) -> None:
    signature = servable.signatures["top_k"]
    batcher = Batcher(BatchingParameters(max_batch_size=64))
    assert_same(batcher.run(signature, inputs([3] * 64)), signature.run(inputs([3] * 64)))
    refusal = "INVALID_ARGUMENT", "Task size 65 is larger than maximum input batch size 64"
    assert outcome(batcher.run, signature, inputs([3] * 65)) == refusal


def test_a_mark_that_is_no_list_of_names_marks_nothing(tmp_path: Path) -> None:
    for i, content in enumerate(("{}", '{"independent_rows": true}', '{"independent_rows": [1, null]}'), 1):
        path = tiny_model.write_model(tmp_path, i)
        (path / "assets.extra" / "qdfast.json").write_text(content)
        assert not any(s.row_wise for s in Servable(path, i).signatures.values())


@pytest.mark.parametrize("content", ["", "[1]", "null", '{"independent_rows"'])
def test_a_damaged_description_is_refused(tmp_path: Path, content: str) -> None:
    path = tiny_model.write_model(tmp_path, 1)
    (path / "assets.extra" / "qdfast.json").write_text(content)
    with pytest.raises(DataError, match=r"qdfast\.json: damaged"):
        Servable(path, 1)


# ---- the faults of one request, and of the model ----


class Moody(Gated):
    """Refuses every run with a step of 99 in it, and answers with one row too many where there is one of 98."""

    def run(self, inputs: Any, outputs: Sequence[str] = ()) -> Any:
        answers = super().run(inputs, outputs)
        if (inputs["deltas"] == 99).any():
            raise RequestError("INTERNAL", "moody")
        if (inputs["deltas"] == 98).any() and len(inputs["lengths"]) > 1:
            return {alias: np.concatenate([array, array[:1]]) for alias, array in answers.items()}
        return answers


@pytest.mark.parametrize("value", [98, 99])
def test_a_run_that_fails_is_repeated_for_each_request(servable: Servable, value: int) -> None:
    moody = Moody(servable.signatures["top_k"])
    batcher = Batcher(parameters(num_batch_threads=1))
    asked = [inputs([n]) for n in (3, 4, 5)]
    for i in asked:
        i["deltas"] %= 50
    asked[1]["deltas"][0, 0, 0] = value
    got = together(batcher, moody, [partial(outcome, batcher.run, moody, i) for i in asked], rows=3)
    expected: list[Any] = [servable.signatures["top_k"].run(i) for i in asked]
    if value == 99:
        expected[1] = "INTERNAL", "moody"
    for answer, wanted in zip(got, expected, strict=True):
        assert_same(answer, wanted)
    assert len(moody.shapes) == 1 + 1 + 3


def test_an_exception_reaches_its_request_and_frees_the_place(servable: Servable) -> None:
    class Broken(Gated):
        def run(self, inputs: Any, outputs: Sequence[str] = ()) -> Any:
            raise MemoryError

    batcher = Batcher(parameters(num_batch_threads=1))
    for _ in range(2):
        with pytest.raises(MemoryError):
            batcher.run(Broken(servable.signatures["top_k"]), inputs([3]))
    assert batcher.run(servable.signatures["top_k"], inputs([3]))["scores"].shape == (1, tiny_model.K)


# ---- waiting ----


def test_a_lone_request_is_run_at_once_in_its_own_thread(servable: Servable) -> None:
    gated = Gated(servable.signatures["top_k"])
    batcher = Batcher(parameters())
    for _ in range(3):
        batcher.run(gated, inputs([3]))
    assert gated.threads == [threading.get_ident()] * 3


def test_another_run_is_begun_only_where_enough_rows_wait(servable: Servable) -> None:
    slow, gated = Gated(servable.signatures["serving_default"]), Gated(servable.signatures["top_k"])
    slow.gate.clear()
    batcher = Batcher(parameters(num_batch_threads=2))
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(batcher.run, slow, inputs([1]))
        assert slow.entered.wait(TIMEOUT)
        try:
            few = threads.submit(batcher.run, gated, inputs([2] * (MIN_PARALLEL_ROWS - 1)))
            wait_for(lambda: batcher.queued_rows == MIN_PARALLEL_ROWS - 1)
            assert not gated.shapes
            one_more = threads.submit(batcher.run, gated, inputs([2]))
            one_more.result(TIMEOUT)
            few.result(TIMEOUT)
            assert not first.done()
            assert gated.shapes == [(MIN_PARALLEL_ROWS, 2, 3)]
        finally:
            slow.gate.set()
        first.result(TIMEOUT)


def test_a_full_queue_is_unavailable(servable: Servable) -> None:
    gated = Gated(servable.signatures["top_k"])
    batcher = Batcher(parameters(max_execution_batch_size=2, max_enqueued_batches=3, num_batch_threads=1))
    late: list[Any] = []
    calls = [lambda: batcher.run(gated, inputs([2, 3])) for _ in range(3)]
    together(batcher, gated, calls, 6, lambda: late.append(outcome(batcher.run, gated, inputs([4]))))
    assert late == [
        (
            "UNAVAILABLE",
            "The batch scheduling queue to which this task was submitted is full; currently 3 batches enqueued and "
            "max_enqueued_batches is 3",
        )
    ]
    assert_same(batcher.run(gated, inputs([4])), gated.signature.run(inputs([4])))


def test_who_has_given_up_is_not_run(servable: Servable) -> None:
    gated = Gated(servable.signatures["top_k"])
    batcher = Batcher(parameters(num_batch_threads=1))
    gone = [True, False, True]
    calls = [
        lambda g=g, n=n: outcome(batcher.run, gated, inputs([n]), (), lambda: not g) for n, g in enumerate(gone, 3)
    ]
    got = together(batcher, gated, calls, rows=3)
    assert got[0] == got[2] == ("CANCELLED", "the client cancelled the request while it was queued")
    assert_same(got[1], gated.signature.run(inputs([4])))
    assert gated.shapes == [(1, 1, 3), (1, 4, 3)]
    assert outcome(run_unbatched, gated, inputs([4]), (), lambda: False)[0] == "CANCELLED"


def test_a_batch_waits_for_more_if_told_to(servable: Servable) -> None:
    gated = Gated(servable.signatures["top_k"])
    hour = 3_600_000_000
    batcher = Batcher(parameters(max_execution_batch_size=3, batch_timeout_micros=hour, num_batch_threads=2))
    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(batcher.run, gated, inputs([n])) for n in (3, 4, 5)]
        for future in futures:
            future.result(TIMEOUT)
    assert gated.shapes == [(3, 5, 3)]


def test_a_version_goes_with_its_last_request(tmp_path: Path) -> None:
    batcher = Batcher(parameters(num_batch_threads=1))

    def use() -> weakref.ref[SignatureRunner]:
        gated = Gated(Servable(tiny_model.write_model(tmp_path, 1), 1).signatures["top_k"])
        together(batcher, gated, [lambda: batcher.run(gated, inputs([4])) for _ in range(3)], rows=3)
        return weakref.ref(gated.signature)

    used = use()
    gc.collect()
    assert used() is None


# ---- checks ----


def test_values_that_are_not_finite_are_refused(servable: Servable) -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(RequestError) as e:
            servable.signatures["busy"].run({"seconds": np.array(value)})
        assert e.value.message == "Tensor seconds has a value that is not finite."
        assert e.value.code == "INVALID_ARGUMENT"
