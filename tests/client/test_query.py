"""How drawings are split into requests, and what predictions look like."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import drawings as scripted_drawings

from qdfast.protocol import messages, requests


@given(st.lists(st.one_of(st.integers(2, 400), st.integers(2, 10**6)), max_size=300), st.integers(1, 300))
def test_split(lengths: list[int], max_batch: int) -> None:
    array = np.array(lengths, np.int64)
    parts = requests.split_into_requests(array, max_batch)
    assert sorted(np.concatenate([*parts, np.empty(0, int)]).tolist()) == list(range(len(lengths)))
    longest = [int(array[p].max()) for p in parts]
    assert longest == sorted(longest, reverse=True)
    for part, width in zip(parts, longest, strict=True):
        assert 1 <= len(part) <= max_batch
        assert len(part) == 1 or len(part) * width * 6 <= requests.MAX_REQUEST_BYTES
        # Beyond what makes a request worth while, nothing is padded to more than twice its length.
        assert (array[part[requests.MIN_REQUEST_ROWS :]] * 2 >= width).all()


def test_split_does_not_split_without_need() -> None:
    assert len(requests.split_into_requests(np.full(256, 100), 256)) == 1
    assert len(requests.split_into_requests(np.arange(2, 34), 256)) == 1


def test_many_drawings_are_split_in_the_time_of_few_times_as_many() -> None:
    """Also the requests themselves: one of a million drawings costs what one of a few thousand costs."""

    def seconds(n: int) -> float:
        drawings = some[np.resize(np.arange(len(some)), n)]
        started = time.process_time()
        query = requests.TopKQuery(drawings, 3, requests.ModelSpec("", "m"))
        for i in range(len(query)):
            query.request(i)
        return time.process_time() - started

    some = scripted_drawings([5 + i % 50 for i in range(1000)])
    n = 25_000
    assert min(seconds(16 * n) for _ in range(3)) < 1.5 * 16 * min(seconds(n) for _ in range(3))


def test_bitmaps_are_split_into_consecutive_rows() -> None:
    drawings = scripted_drawings([3, 4, 5, 6, 7])
    query = requests.TopKQuery(drawings, 3, requests.ModelSpec("", "m"), max_batch=2, input_kind="bitmaps")
    sent = [messages.decode_tensor(query.request(i).inputs["bitmaps"]) for i in range(len(query))]
    assert list(map(len, sent)) == [2, 2, 1]
    assert np.array_equal(np.concatenate(sent), drawings.bitmaps())


def test_predictions_as_a_collection() -> None:
    p = requests.Predictions(np.array([["cat", "dog"]] * 10), np.tile(np.array([0.75, 0.25], np.float32), (10, 1)), 3)
    assert len(p) == len(list(p)) == 10
    assert p[0] == next(iter(p)) == [("cat", 0.75), ("dog", 0.25)]
    lines = repr(p).split("\n")
    assert lines[0] == "Predictions(10 drawings, version 3)"
    assert lines[1].split() == ["cat", "75.0%,", "dog", "25.0%"]
    assert len(lines) == 10
    assert lines[-1].strip() == "…"
