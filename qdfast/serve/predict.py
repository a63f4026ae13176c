"""A Predict request answered by a loaded version, in messages; and the warm-up requests that travel with a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from ..errors import DataError
from ..protocol import messages
from .batch_ops import Arrays
from .batching import always, run_alone
from .servable import RequestError, Servable, Signature

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"


def answer(
    servable: Servable, request: Any, run: Callable[..., Arrays] = run_alone, wanted: Callable[[], bool] = always
) -> Any:
    """The PredictResponse to a PredictRequest.

    Args:
        run: ``run_alone``, or ``run`` of a ``Batcher``.
        wanted: whether the asker still waits.

    Raises:
        RequestError: what TensorFlow Serving would refuse, with its status and message.
    """
    name = request.model_spec.signature_name or "serving_default"
    signature = servable.signatures.get(name)
    if signature is None:
        raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
    inputs = _inputs(signature, request.inputs)
    results = run(signature, inputs, _checked_filter(signature, list(request.output_filter)), wanted)
    response = predict_pb2.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = servable.version
    response.model_spec.signature_name = name
    for alias, array in results.items():
        messages.encode_tensor(array, response.outputs[alias], fields=True)
    return response


def _inputs(signature: Signature, protos: Any) -> dict[str, Any]:
    sent, wanted = set(protos), set(signature.inputs)
    if len(sent) != len(wanted):
        raise RequestError(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_braces(sent)}) != "
            f"len({_braces(wanted)}). Sent extra: {_braces(sent - wanted)}. "
            f"Missing but required: {_braces(wanted - sent)}.",
        )
    for alias, expected in signature.inputs.items():
        if alias not in sent:
            raise RequestError(
                "INVALID_ARGUMENT",
                f"Signature input alias: {alias}(feed name: {expected.feed}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_braces(sent)}, or default input alias set: ",
            )
    arrays = {}
    for alias in signature.inputs:
        try:
            arrays[alias] = messages.decode_tensor(protos[alias])
        except DataError as e:
            raise RequestError("INVALID_ARGUMENT", f"tensor parsing error: {alias}") from e
    return arrays


def _checked_filter(signature: Signature, outputs: list[str]) -> list[str]:
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
    """Answer the Predict requests that the model brings along, so that the first real one finds everything ready.

    Returns the number of requests.

    Raises:
        DataError: a record that is no request, or that the model refuses.
    """
    path = servable.path / WARM_UP_FILE
    if not path.exists():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") == "predict_log":
                answer(servable, log.predict_log.request)
                count += 1
    except Exception as e:
        reason = str(getattr(e, "message", e)).strip().partition("\n")[0]
        raise DataError(f"{path}: warm-up request {count + 1} failed: {reason}") from e
    return count
