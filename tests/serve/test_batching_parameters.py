"""Batching parameters from a file of TensorFlow Serving's."""

from __future__ import annotations

from pathlib import Path

import pytest
from paths import ROOT

from qdfast.errors import DataError
from qdfast.serve.batching_config import BatchingParameters, read_for_tf_serving, read_parameters


def test_the_file_in_serving_is_read() -> None:
    path = ROOT / "serving" / "batching.config"
    assert read_parameters(path) == BatchingParameters(4096, 1000, 64, 2, 64, True, False)


def test_what_a_file_leaves_out_is_as_in_tensorflow_serving(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("pad_variable_length_inputs: false max_batch_size { value: 7 }")
    expected = BatchingParameters(max_batch_size=7, pad_variable_length_inputs=False)
    assert read_parameters(tmp_path / "b") == expected
    (tmp_path / "b").write_text("")
    empty = read_parameters(tmp_path / "b")
    assert (empty.max_batch_size, empty.max_enqueued_batches, empty.pad_variable_length_inputs) == (1000, 10, False)
    assert not empty.enable_large_batch_splitting
    assert empty.rows_per_batch == 1000


def test_large_requests_are_split_where_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "b").write_text(
        "max_batch_size { value: 4096 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 64 }"
    )
    read = read_parameters(tmp_path / "b")
    assert (read.max_batch_size, read.rows_per_batch) == (4096, 64)
    (tmp_path / "b").write_text("max_batch_size { value: 40 } enable_large_batch_splitting { value: true }")
    assert read_parameters(tmp_path / "b").rows_per_batch == 40


def test_fields_that_only_tensorflow_serving_supports(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("max_batch_size { value: 8 } allowed_batch_sizes: 8")
    assert read_for_tf_serving(tmp_path / "b") == BatchingParameters(max_batch_size=8)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size is 0: it must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1: it must be at least 0"),
        ("allowed_batch_sizes: 8", 'no field named "allowed_batch_sizes"'),
        ("max_batch_size", "invalid batching parameters"),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 9 }",
            "max_execution_batch_size is 9: it must be at most max_batch_size, which is 8",
        ),
    ],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "b").write_text(text)
    with pytest.raises(DataError, match=reason) as e:
        read_parameters(tmp_path / "b")
    assert "\n" not in str(e.value)
    with pytest.raises(DataError, match="No such file"):
        read_parameters(tmp_path / "missing")
