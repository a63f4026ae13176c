"""The configuration of batching: TensorFlow Serving's BatchingParameters, with our defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from ..errors import DataError

_NUMBERS = {"max_batch_size": 1, "batch_timeout_micros": 2, "max_enqueued_batches": 3, "num_batch_threads": 4}
_PAD = "pad_variable_length_inputs"


@dataclass(frozen=True)
class BatchingParameters:
    """Batching parameters, named as in TensorFlow Serving, so that one file configures either server.

    Attributes:
        max_batch_size: maximum rows (drawings) of a batch; a larger request is run in chunks of this size.
        batch_timeout_micros: microseconds that a batch waits to fill up after its first request. 0: a batch consists of
            what arrived while the model was busy, and a lone request never waits.
        max_enqueued_batches: full batches that may be queued; further requests are rejected with UNAVAILABLE.
        num_batch_threads: maximum concurrent runs of the model, each on one core; another run is started only if enough
            rows are queued.
        pad_variable_length_inputs: whether requests of different length are padded and batched together. As in
            TensorFlow Serving, padding repeats the tensor's first element.

    Raises:
        DataError: a value is too small.
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 64
    num_batch_threads: int = os.cpu_count() or 1
    pad_variable_length_inputs: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            minimum = 0 if field.name == "batch_timeout_micros" else 1
            value = getattr(self, field.name)
            if field.name != _PAD and value < minimum:
                raise DataError(f"{field.name} is {value}: it must be at least {minimum}")


DEFAULTS = BatchingParameters()


def read_parameters(path: str | os.PathLike[str]) -> BatchingParameters:
    """Read parameters from a file in TensorFlow Serving's text format; missing ones have our defaults.

    Raises:
        DataError: the file cannot be read or parsed, has a field that only TensorFlow Serving supports, or an invalid
            value.
    """
    message = _message_class()()
    try:
        text_format.Parse(Path(path).read_text(), message)
        values = {name: getattr(message, name).value for name in _NUMBERS if message.HasField(name)}
        if message.HasField(_PAD):
            values[_PAD] = message.pad_variable_length_inputs
        return BatchingParameters(**values)
    except (OSError, UnicodeDecodeError, text_format.ParseError, DataError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise DataError(f"{path}: invalid batching parameters: {reason}") from e


def as_text(parameters: BatchingParameters) -> str:
    """Format parameters as text that ``read_parameters`` and TensorFlow Serving read."""
    message = _message_class()()
    for name in _NUMBERS:
        getattr(message, name).value = getattr(parameters, name)
    message.pad_variable_length_inputs = parameters.pad_variable_length_inputs
    return str(text_format.MessageToString(message))


@cache
def _message_class() -> Any:
    """The BatchingParameters message, which tensorflow-serving-api does not include."""
    file = descriptor_pb2.FileDescriptorProto(
        name="qdfast/batching_parameters.proto", package="qdfast", syntax="proto2"
    )
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    kind = descriptor_pb2.FieldDescriptorProto
    for name, number in _NUMBERS.items():
        field = message.field.add(name=name, number=number, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE)
        field.type_name = ".google.protobuf.Int64Value"
    message.field.add(name=_PAD, number=7, label=kind.LABEL_OPTIONAL, type=kind.TYPE_BOOL)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("qdfast.BatchingParameters"))
