"""The configuration of batching: TensorFlow Serving's BatchingParameters, with our defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from ..errors import DataError

MAX_ROWS = 1 << 14
"""Maximum rows of a request whose rows are independent. Its cost depends on its rows, and a small message can have many
of them."""

_NUMBERS = {
    "max_batch_size": 1,
    "batch_timeout_micros": 2,
    "max_enqueued_batches": 3,
    "num_batch_threads": 4,
    "max_execution_batch_size": 9,
}
_SPLIT, _PAD = "enable_large_batch_splitting", "pad_variable_length_inputs"


@dataclass(frozen=True)
class BatchingParameters:
    """Batching parameters: those of TensorFlow Serving, with its names and defaults, and one of the embedded server.

    Attributes:
        max_batch_size: maximum rows (drawings) of a request, and of a batch unless ``max_execution_batch_size`` is set.
        batch_timeout_micros: microseconds that a batch waits to fill up after its first request. 0: a batch consists of
            what arrived while the model was busy, and a lone request never waits.
        max_enqueued_batches: full batches that may be queued; further requests are rejected with UNAVAILABLE.
        num_batch_threads: maximum concurrent runs of the model, each on one core; another run is started only if enough
            rows are queued.
        max_execution_batch_size: maximum rows of a batch if large requests are split; 0: ``max_batch_size``.
        enable_large_batch_splitting: whether a request of more rows is run in several batches.
        pad_variable_length_inputs: whether requests of different length are padded and batched together. As in
            TensorFlow Serving, padding repeats the tensor's first element.
        all_models: whether models are batched that do not say that their rows are independent, as TensorFlow Serving
            does. If their rows are not, their responses are wrong.

    Raises:
        DataError: a value is too small, or a batch may be larger than a request.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    max_execution_batch_size: int = 0
    enable_large_batch_splitting: bool = False
    pad_variable_length_inputs: bool = False
    all_models: bool = True

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            minimum = 0 if name in ("batch_timeout_micros", "max_execution_batch_size") else 1
            value = getattr(self, name)
            if value < minimum:
                raise DataError(f"{name} is {value}: it must be at least {minimum}")
        if self.enable_large_batch_splitting and self.max_execution_batch_size > self.max_batch_size:
            raise DataError(
                f"max_execution_batch_size is {self.max_execution_batch_size}: it must be at most max_batch_size, "
                f"which is {self.max_batch_size}"
            )

    @property
    def rows_per_batch(self) -> int:
        """Maximum rows of a batch."""
        return (self.enable_large_batch_splitting and self.max_execution_batch_size) or self.max_batch_size


DEFAULTS = BatchingParameters(
    max_batch_size=MAX_ROWS,
    max_enqueued_batches=64,
    max_execution_batch_size=64,
    enable_large_batch_splitting=True,
    pad_variable_length_inputs=True,
    all_models=False,
)
"""How the embedded server batches unless a file says otherwise: only models whose rows are independent."""


def read_parameters(path: str | os.PathLike[str]) -> BatchingParameters:
    """Read parameters from a file in TensorFlow Serving's text format; missing ones have its defaults.

    Raises:
        DataError: the file cannot be read or parsed, has a field that only TensorFlow Serving supports, or an invalid
            value.
    """
    return _read(path, allow_unknown_field=False)


def read_for_tf_serving(path: str | os.PathLike[str]) -> BatchingParameters:
    """Like ``read_parameters``, but ignore fields that only TensorFlow Serving supports."""
    return _read(path, allow_unknown_field=True)


def _read(path: str | os.PathLike[str], *, allow_unknown_field: bool) -> BatchingParameters:
    message = _message_class()()
    try:
        text_format.Parse(Path(path).read_text(), message, allow_unknown_field=allow_unknown_field)
        values = {name: getattr(message, name).value for name in _NUMBERS if message.HasField(name)}
        return BatchingParameters(
            **values,
            enable_large_batch_splitting=message.enable_large_batch_splitting.value,
            pad_variable_length_inputs=message.pad_variable_length_inputs,
        )
    except (OSError, UnicodeDecodeError, text_format.ParseError, DataError) as e:
        reason = getattr(e, "strerror", None) or " ".join(str(e).split())
        raise DataError(f"{path}: invalid batching parameters: {reason}") from e


@cache
def _message_class() -> Any:
    """The BatchingParameters message, which tensorflow-serving-api does not include."""
    file = descriptor_pb2.FileDescriptorProto(
        name="qdfast/batching_parameters.proto", package="qdfast", syntax="proto2"
    )
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    kind = descriptor_pb2.FieldDescriptorProto
    wrapped = {name: (number, "Int64Value") for name, number in _NUMBERS.items()} | {_SPLIT: (8, "BoolValue")}
    for name, (number, wrapper) in wrapped.items():
        field = message.field.add(name=name, number=number, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE)
        field.type_name = f".google.protobuf.{wrapper}"
    message.field.add(name=_PAD, number=7, label=kind.LABEL_OPTIONAL, type=kind.TYPE_BOOL)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("qdfast.BatchingParameters"))
