"""Batching parameters from a file of TensorFlow Serving's."""

from __future__ import annotations

from pathlib import Path

import pytest
from paths import ROOT

from qdfast.errors import DataError
from qdfast.serve.batching_config import BatchingParameters, read_parameters


def test_the_file_in_serving_is_read() -> None:
    path = ROOT / "serving" / "batching.config"
    assert read_parameters(path) == BatchingParameters(256, 1000, 64, 2, True)


def test_what_a_file_leaves_out_is_as_by_default(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("pad_variable_length_inputs: false max_batch_size { value: 7 }")
    expected = BatchingParameters(max_batch_size=7, pad_variable_length_inputs=False)
    assert read_parameters(tmp_path / "b") == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size is 0: it must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1: it must be at least 0"),
        ("allowed_batch_sizes: 8", 'no field named "allowed_batch_sizes"'),
        ("max_batch_size", "invalid batching parameters"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "b").write_text(text)
    with pytest.raises(DataError, match=reason) as e:
        read_parameters(tmp_path / "b")
    assert "\n" not in str(e.value)
    with pytest.raises(DataError, match="No such file"):
        read_parameters(tmp_path / "missing")
