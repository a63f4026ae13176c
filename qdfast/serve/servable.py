"""One version of a model, loaded and callable.

The SavedModel is loaded into a session, as TensorFlow Serving does it, not with ``tf.saved_model.load``: what the one
can restore, run and refuse is then the same as with the other, down to the messages of the graph's own checks. A
prepared call of the session also takes half the time of a signature function (0.24 against 0.46 ms for a net of two
convolutions, one drawing of 40 points).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2

from ..errors import DataError


class RequestError(Exception):
    """A request that cannot be answered: ``code`` is the name of a gRPC status, ``message`` its text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Input:
    """An input of a signature; ``shape`` has None where any size will do, and is None where any rank will."""

    feed: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


class Signature:
    """A function of the model.

    Attributes:
        inputs: by alias.
        outputs: names of the graph's tensors by alias.
        by_row: whether all inputs and outputs have a first dimension of any size, as where each row is answered for
            itself.
    """

    def __init__(self, session: Any, definition: Any) -> None:
        self._session = session
        self.inputs = {
            alias: Input(info.name, np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), _shape(info.tensor_shape))
            for alias, info in sorted(definition.inputs.items())
        }
        self.outputs = {alias: info.name for alias, info in sorted(definition.outputs.items())}
        shapes = [_shape(info.tensor_shape) for info in (*definition.inputs.values(), *definition.outputs.values())]
        self.by_row = bool(definition.inputs) and all(shape and shape[0] is None for shape in shapes)
        self._feeds = [i.feed for i in self.inputs.values()]
        self._calls: dict[tuple[str, ...], Any] = {}

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
        """The outputs asked for (all, if none are named) by alias. Only what they need is computed.

        Raises:
            RequestError: as of ``check``, or an error of the graph with its own status.
        """
        self.check(inputs)
        fetches = sorted({self.outputs[alias] for alias in outputs or self.outputs})
        try:
            results = self._call(tuple(fetches))(*(inputs[alias] for alias in self.inputs))
        except tf.errors.OpError as e:
            raise RequestError(_STATUS[e.error_code], e.message) from e
        by_name = dict(zip(fetches, results, strict=True))
        return {alias: by_name[self.outputs[alias]] for alias in outputs or self.outputs}

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """What TensorFlow's session takes on trust: a wrong shape can end the process.

        Raises:
            RequestError: an input of the wrong dtype or shape, or with a value that is not finite.
        """
        for i, (alias, expected) in enumerate(self.inputs.items()):
            array = inputs[alias]
            if array.dtype != expected.dtype:
                wanted, got = _dtype_name(expected.dtype), _dtype_name(array.dtype)
                raise RequestError("INVALID_ARGUMENT", f"Expects arg[{i}] to be {wanted} but {got} is provided")
            if array.dtype.kind in "fc" and not np.isfinite(array).all():
                raise RequestError("INVALID_ARGUMENT", f"Tensor {alias} has a value that is not finite.")
            if expected.shape is None:
                continue
            if array.ndim != len(expected.shape) or any(
                want not in (None, size) for want, size in zip(expected.shape, array.shape, strict=True)
            ):
                got = ",".join(map(str, array.shape))
                wanted = ",".join("?" if size is None else str(size) for size in expected.shape)
                message = f"Shape of tensor {alias} [{got}] is not compatible with expected shape [{wanted}]."
                raise RequestError("INVALID_ARGUMENT", message)

    def _call(self, fetches: tuple[str, ...]) -> Any:
        call = self._calls.get(fetches)
        if call is None:
            options = config_pb2.CallableOptions(feed=self._feeds, fetch=fetches)
            # All in this thread: handing operations on takes longer than most of them do.
            options.run_options.inter_op_thread_pool = -1
            call = self._calls[fetches] = self._session._make_callable_from_options(options)
        return call


class Servable:
    """Version ``version`` of a model, from the SavedModel in ``path``.

    Attributes:
        definitions: the SignatureDefs by name.
        signatures: the same, to be run.

    Raises:
        DataError: ``path`` holds no SavedModel for serving, or it cannot be restored.
    """

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        self.version = version
        graph = tf.Graph()
        # Without growth the first model would take all of a GPU's memory, and none were left for its successor.
        # Cores are for requests at once: the operations of a few drawings are too small to be shared out, and cost
        # more if they are (stroke_conv, one drawing of 40 points: 3.3 ms of two cores' time instead of 2.0).
        options = tf.compat.v1.ConfigProto(
            gpu_options=tf.compat.v1.GPUOptions(allow_growth=True), intra_op_parallelism_threads=1
        )
        session = tf.compat.v1.Session(graph=graph, config=options)
        try:
            with graph.as_default(), _quiet():
                meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        except (OSError, RuntimeError, ValueError, tf.errors.OpError) as e:
            lines = [
                line for line in str(getattr(e, "message", e)).splitlines() if line and not line.endswith("error:")
            ]
            raise DataError(f"{path}: cannot be served: {(lines or [type(e).__name__])[0]}") from e
        # Copies: a part of a message keeps all of it, here the whole graph.
        self.definitions = {name: deepcopy(definition) for name, definition in meta_graph.signature_def.items()}
        self.signatures = {
            name: Signature(session, definition)
            for name, definition in self.definitions.items()
            if not name.startswith("__saved_model_")
        }


_STATUS = {
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}


def _shape(proto: Any) -> tuple[int | None, ...] | None:
    return None if proto.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in proto.dim)


def _dtype_name(dtype: np.dtype[Any]) -> str:
    """TensorFlow's own name of a dtype."""
    names = {"float16": "half", "float32": "float", "float64": "double", "object": "string"}
    return names.get(dtype.name, dtype.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that loading into a session is deprecated in favour of eager execution."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
