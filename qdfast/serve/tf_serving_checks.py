"""Checks what ``tensorflow_model_server`` would reject, or wait for without a word, before it is started."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from ..errors import DataError
from ..protocol import tfs_pb2 as pb
from ..storage.names import WARM_UP
from ..storage.versions import find_versions, newest_version
from .batching_config import BatchingParameters, read_for_tf_serving
from .model_config import ModelConfig, ModelConfigFile, single_model
from .options import ServeOptions


def check(options: ServeOptions) -> list[ModelConfig]:
    """Check the models and the batching parameters.

    Returns:
        The models to be served.

    Raises:
        DataError: ``tensorflow_model_server`` would not start, or would serve nothing, with these options.
    """
    models: list[ModelConfig]
    if options.model_name is None:
        models = ModelConfigFile(options.path).read(remote=True)
    else:
        models = list(single_model(options.path.resolve(), options.model_name))
    parameters = read_for_tf_serving(options.batching) if options.batching else None
    for model in models:
        if not model.path.is_absolute():
            continue  # a URI, which only the server can read
        try:
            selected = _selected_versions(model)
        except DataError as e:
            source = "" if options.model_name is not None else f"{options.path}: model {model.name}: "
            raise DataError(f"{source}{e}; tensorflow_model_server would serve no model at all") from e
        for path in selected if parameters else ():
            _check_warm_up(path, parameters, options)
    return models


def _selected_versions(model: ModelConfig) -> list[Path]:
    versions = find_versions(model.path)
    selected = model.policy.choose(versions)
    if not selected:
        newest_version(model.path)  # raises an error that says why
        listed = ", ".join(map(str, sorted(model.policy.specific)))
        raise DataError(f"{model.path}: none of the versions that the policy lists: {listed}")
    return [versions[number] for number in selected]


def _check_warm_up(version: Path, parameters: BatchingParameters | None, options: ServeOptions) -> None:
    """A warm-up request that is too large for batching keeps the version from loading."""
    rows = max(map(_rows, warm_up_requests(version)), default=0)
    if parameters and rows > parameters.max_batch_size:
        raise DataError(
            f"{options.batching}: max_batch_size is {parameters.max_batch_size}, but {version} has warm-up requests of "
            f"{rows} drawings, so it could not be loaded: set max_batch_size to at least {rows}; for smaller batches, "
            "set max_execution_batch_size and enable_large_batch_splitting"
        )


def _rows(request: pb.PredictRequest) -> int:
    return max((t.tensor_shape.dim[0].size for t in request.inputs.values() if t.tensor_shape.dim), default=0)


def warm_up_requests(version: Path) -> Iterator[pb.PredictRequest]:
    """Yield the Predict requests in the warm-up file of a version; none if there is no file or it is damaged.

    It is a TFRecord file of PredictionLogs. TensorFlow, which would read it, takes seconds to import.
    """
    path = version / WARM_UP
    if not path.exists():
        return
    records, at = path.read_bytes(), 0
    while at + 12 <= len(records):
        size = struct.unpack_from("<Q", records, at)[0]
        try:
            for log in _embedded_messages(records[at + 12 : at + 12 + size], 6):  # predict_log
                for request in _embedded_messages(log, 1):
                    yield pb.PredictRequest.FromString(request)
        except DecodeError:
            return
        at += 12 + size + 4  # size, its checksum, the record, its checksum


def _embedded_messages(message: bytes, field: int) -> list[bytes]:
    return [f.data for f in UnknownFieldSet(Empty.FromString(message)) if f.field_number == field]
