"""Answers Predict requests from a loaded version, and replays the warm-up requests of an exported model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from ..errors import DataError
from ..protocol import messages
from ..protocol.tensors import EncodedTensor
from ..storage.names import WARM_UP
from .batch_ops import Arrays
from .batching import always_active, run_unbatched
from .servable import LoadError, RequestError, Servable, SignatureRunner


def predict(
    servable: Servable,
    request: Any,
    run: Callable[..., Arrays] = run_unbatched,
    is_active: Callable[[], bool] = always_active,
) -> Any:
    """Answer a PredictRequest.

    Args:
        servable: the version that answers.
        request: the PredictRequest.
        run: ``run_unbatched``, or ``run`` of a ``Batcher``.
        is_active: whether the client still waits.

    Returns:
        The PredictResponse.

    Raises:
        RequestError: TensorFlow Serving would reject the request, with this status and message.
    """
    name = request.model_spec.signature_name or "serving_default"
    signature = servable.signatures.get(name)
    if signature is None:
        raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
    inputs = _read_inputs(signature, request.inputs)
    results = run(signature, inputs, _check_output_filter(signature, list(request.output_filter)), is_active)
    response = predict_pb2.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = servable.version
    response.model_spec.signature_name = name
    for alias, array in results.items():
        messages.encode_tensor(array, response.outputs[alias], fields=True)
    return response


def _read_inputs(signature: SignatureRunner, protos: Any) -> dict[str, EncodedTensor]:
    sent, expected = set(protos), set(signature.inputs)
    if len(sent) != len(expected):
        raise RequestError(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(sent)}!={len(expected)} len({_braces(sent)}) != "
            f"len({_braces(expected)}). Sent extra: {_braces(sent - expected)}. "
            f"Missing but required: {_braces(expected - sent)}.",
        )
    for alias, info in signature.inputs.items():
        if alias not in sent:
            raise RequestError(
                "INVALID_ARGUMENT",
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_braces(sent)}, or default input alias set: ",
            )
    tensors = {}
    for alias in signature.inputs:
        try:
            tensors[alias] = EncodedTensor(protos[alias], strict=False)
        except DataError as e:
            raise RequestError("INVALID_ARGUMENT", f"tensor parsing error: {alias}") from e
    return tensors


def _check_output_filter(signature: SignatureRunner, outputs: list[str]) -> list[str]:
    for i, alias in enumerate(outputs):
        if alias not in signature.outputs:
            raise RequestError(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_braces(signature.outputs)}.",
            )
        if alias in outputs[:i]:
            raise RequestError("INVALID_ARGUMENT", f"duplicate output tensor alias: {alias}")
    return outputs


def _braces(names: Any) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def warm_up(servable: Servable) -> int:
    """Replay the warm-up requests in the model directory, so that the first real request is fast.

    Returns:
        The number of requests.

    Raises:
        LoadError: a record is not a request, or the model rejects it.
    """
    path = servable.path / WARM_UP
    if not path.exists():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") == "predict_log":
                predict(servable, log.predict_log.request)
                count += 1
    except Exception as e:
        reason = str(getattr(e, "message", e)).strip().partition("\n")[0]
        code = getattr(e, "code", None) or "DATA_LOSS"
        raise LoadError(f"{path}: warm-up request {count + 1} failed: {reason}", code) from e
    return count
