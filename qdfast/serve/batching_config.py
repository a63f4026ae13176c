"""How requests are put together into batches: TensorFlow Serving's BatchingParameters, and our defaults."""

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
    """Named as in TensorFlow Serving's file, so that one file configures either server.

    Attributes:
        max_batch_size: rows (drawings) of a batch; a request of more is run in pieces of so many.
        batch_timeout_micros: how long a batch that is not full waits for more after its first request. 0: it takes what
            came while the engine was busy, and a lone request never waits.
        max_enqueued_batches: full batches that may wait; more requests are refused with UNAVAILABLE.
        num_batch_threads: runs of the model at once, each on one core; one more is begun only where enough rows wait.
        pad_variable_length_inputs: whether requests that differ in a size the model leaves open are padded to go
            together, as TensorFlow Serving does it: with the tensor's first element.
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 64
    num_batch_threads: int = os.cpu_count() or 1
    pad_variable_length_inputs: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name == "batch_timeout_micros" else 1
            value = getattr(self, field.name)
            if field.name != _PAD and value < least:
                raise DataError(f"{field.name} is {value}: it must be at least {least}")


DEFAULTS = BatchingParameters()


def read_parameters(path: str | os.PathLike[str]) -> BatchingParameters:
    """The parameters in a file of TensorFlow Serving's text format; those it does not give are our defaults.

    Raises:
        DataError: it cannot be read or parsed, has a field that only TensorFlow Serving knows, or an impossible value.
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
        raise DataError(f"{path}: no batching parameters: {reason}") from e


def as_text(parameters: BatchingParameters) -> str:
    """What ``read_parameters`` reads, and TensorFlow Serving."""
    message = _message_class()()
    for name in _NUMBERS:
        getattr(message, name).value = getattr(parameters, name)
    message.pad_variable_length_inputs = parameters.pad_variable_length_inputs
    return str(text_format.MessageToString(message))


@cache
def _message_class() -> Any:
    """BatchingParameters; tensorflow-serving-api is shipped without it."""
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
