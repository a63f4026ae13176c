"""One version of a model, loaded and callable.

The SavedModel is loaded into a session, as in TensorFlow Serving, and not with ``tf.saved_model.load``. So the embedded
server restores, runs and rejects the same as TensorFlow Serving, down to the messages of the graph's own checks. A
prepared session call also takes half the time of a signature function (0.24 against 0.46 ms for a network of two
convolutions and one drawing of 40 points).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2

from ..errors import DataError
from ..protocol.messages import STATUS_NAMES
from ..protocol.tensors import EncodedTensor
from ..storage.model_info import check_model, read_model_info
from ..storage.names import SAVED_MODEL

Inputs: TypeAlias = Mapping[str, NDArray[Any] | EncodedTensor]
"""Inputs by alias, before or after the values of their messages have been read."""


class RequestError(Exception):
    """A request that is rejected: ``code`` is the name of a gRPC status, ``message`` its details."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class TensorInfo:
    """An input of a signature.

    Attributes:
        name: name of the tensor in the graph.
        dtype: NumPy's dtype.
        shape: sizes, with None for a dimension of any size; None for any rank.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


class SignatureRunner:
    """A callable signature of the model.

    Attributes:
        inputs: ``TensorInfo`` by alias.
        outputs: names of the graph's tensors by alias.
        batchable: whether the first dimension of all inputs and outputs has any size. Whether their rows are
            independent cannot be seen from that.
        row_wise: whether each row is answered independently of the others: because the model says so.
    """

    inputs: dict[str, TensorInfo]
    outputs: dict[str, str]
    batchable: bool
    row_wise: bool

    def __init__(self, session: Any, definition: Any, *, independent_rows: bool) -> None:
        self._session = session
        self.inputs = {
            alias: TensorInfo(info.name, np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), _shape(info.tensor_shape))
            for alias, info in sorted(definition.inputs.items())
        }
        self.outputs = {alias: info.name for alias, info in sorted(definition.outputs.items())}
        shapes = [_shape(info.tensor_shape) for info in (*definition.inputs.values(), *definition.outputs.values())]
        self.batchable = bool(definition.inputs) and all(shape and shape[0] is None for shape in shapes)
        self.row_wise = self.batchable and independent_rows
        self._feeds = [i.name for i in self.inputs.values()]
        self._calls: dict[tuple[str, ...], Any] = {}

    def run(self, inputs: Inputs, outputs: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
        """Run the signature, computing only what the outputs need.

        Args:
            inputs: by alias.
            outputs: aliases of the outputs to return; empty for all.

        Returns:
            Arrays by alias.

        Raises:
            RequestError: as for ``check``, or an error in the graph, with its status.
        """
        arrays = self.check(inputs)
        fetches = sorted({self.outputs[alias] for alias in outputs or self.outputs})
        try:
            results = self._call(tuple(fetches))(*(arrays[alias] for alias in self.inputs))
        except tf.errors.OpError as e:
            raise RequestError(STATUS_NAMES[e.error_code], e.message) from e
        by_name = dict(zip(fetches, results, strict=True))
        return {alias: by_name[self.outputs[alias]] for alias in outputs or self.outputs}

    def check(self, inputs: Inputs) -> dict[str, NDArray[Any]]:
        """Check what TensorFlow's session does not: a wrong shape can abort the process.

        Types and shapes of all inputs are compared before the values of any are read.

        Returns:
            Arrays by alias.

        Raises:
            RequestError: an input has the wrong dtype or shape, or a value that is not finite or cannot be read.
        """
        for i, (alias, expected) in enumerate(self.inputs.items()):
            array = inputs[alias]
            if array.dtype != expected.dtype:
                want, got = _dtype_name(expected.dtype), _dtype_name(array.dtype)
                raise RequestError("INVALID_ARGUMENT", f"Expects arg[{i}] to be {want} but {got} is provided")
            if expected.shape is None:
                continue
            if array.ndim != len(expected.shape) or any(
                expected_size not in (None, size)
                for expected_size, size in zip(expected.shape, array.shape, strict=True)
            ):
                got = ",".join(map(str, array.shape))
                want = ",".join("?" if size is None else str(size) for size in expected.shape)
                # The name that TensorFlow gives to the tensor that is fed.
                fed = f"_arg_{expected.name.replace(':', '_')}_{i}"
                message = f"Shape of tensor {fed} [{got}] is not compatible with expected shape [{want}]."
                raise RequestError("INVALID_ARGUMENT", message)
        arrays = {}
        for alias in self.inputs:
            array = arrays[alias] = _decode(inputs[alias], alias)
            if array.dtype.kind in "fc" and not np.isfinite(array).all():
                raise RequestError("INVALID_ARGUMENT", f"Tensor {alias} has a value that is not finite.")
        return arrays

    def _call(self, fetches: tuple[str, ...]) -> Any:
        call = self._calls.get(fetches)
        if call is None:
            options = config_pb2.CallableOptions(feed=self._feeds, fetch=fetches)
            # Run all operations in this thread: dispatching them takes longer than most of them run.
            options.run_options.inter_op_thread_pool = -1
            call = self._calls[fetches] = self._session._make_callable_from_options(options)
        return call


class LoadError(DataError):
    """A version that cannot be loaded: ``code`` is the name of the gRPC status that TensorFlow Serving gives it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Servable:
    """A loaded version of a model.

    Args:
        path: the SavedModel's directory.
        version: the version's number.

    Attributes:
        definitions: the SignatureDefs by name.
        signatures: the ``SignatureRunner``s by name.

    Raises:
        LoadError: ``path`` holds no SavedModel for serving, a damaged one, or one that cannot be restored.
    """

    definitions: dict[str, Any]
    signatures: dict[str, SignatureRunner]

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        self.version = version
        graph = tf.Graph()
        # Without allow_growth the first model would take all of a GPU's memory and leave none for its successor. Cores
        # serve concurrent requests: the operations on a few drawings are too small to be split among cores, which
        # costs more (stroke_conv, one drawing of 40 points: 3.3 ms of CPU time instead of 2.0).
        options = tf.compat.v1.ConfigProto(
            gpu_options=tf.compat.v1.GPUOptions(allow_growth=True), intra_op_parallelism_threads=1
        )
        session = tf.compat.v1.Session(graph=graph, config=options)
        try:
            _check_file_types(path)
            check_model(path)
            with graph.as_default(), _quiet():
                meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        except (OSError, RuntimeError, ValueError, tf.errors.OpError) as e:
            lines = [
                line for line in str(getattr(e, "message", e)).splitlines() if line and not line.endswith("error:")
            ]
            message = f"{path}: cannot be served: {(lines or [type(e).__name__])[0]}"
            raise LoadError(message, _load_status(path, e)) from e
        # Copied, since a part of a message keeps the whole message alive, here with the graph.
        self.definitions = {name: deepcopy(definition) for name, definition in meta_graph.signature_def.items()}
        row_wise = _signatures_with_independent_rows(path)
        self.signatures = {
            name: SignatureRunner(session, definition, independent_rows=name in row_wise)
            for name, definition in self.definitions.items()
        }


def _check_file_types(path: Path) -> None:
    """Reject pipes and devices among the files of a version: reading one can take for ever."""
    for file in path.rglob("*"):
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise OSError(f"{file.relative_to(path)} is not a regular file")


def _signatures_with_independent_rows(path: Path) -> set[str]:
    """The signatures that answer each row independently, as `qdfast export` notes beside the SavedModel."""
    names = read_model_info(path).get("independent_rows")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _load_status(path: Path, error: Exception) -> str:
    """The status of a version that could not be loaded with this error."""
    if isinstance(error, tf.errors.OpError):
        return STATUS_NAMES[int(error.error_code)]
    if not any((path / name).exists() for name in (SAVED_MODEL, f"{SAVED_MODEL}txt")):
        return "NOT_FOUND"
    return "DATA_LOSS" if isinstance(error, OSError) else "NOT_FOUND" if "tags" in str(error) else "FAILED_PRECONDITION"


def _shape(proto: Any) -> tuple[int | None, ...] | None:
    return None if proto.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in proto.dim)


def _decode(tensor: NDArray[Any] | EncodedTensor, alias: str) -> NDArray[Any]:
    if not isinstance(tensor, EncodedTensor):
        return tensor
    try:
        return tensor.decode()
    except DataError as e:
        raise RequestError("INVALID_ARGUMENT", f"tensor parsing error: {alias}") from e


def _dtype_name(dtype: np.dtype[Any]) -> str:
    """TensorFlow's name of a dtype."""
    names = {"float16": "half", "float32": "float", "float64": "double", "object": "string"}
    return names.get(dtype.name, dtype.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings that loading into a session is deprecated."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
