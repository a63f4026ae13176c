"""Rejects Classify, Regress and MultiInference as TensorFlow Serving does for models with only Predict signatures.

These methods take tf.Examples, for which exported models have no signatures.
"""

from __future__ import annotations

from typing import NoReturn

from .servable import RequestError, Servable

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
TASKS = {CLASSIFY: "classification", REGRESS: "regression"}


def reject(servable: Servable, signature: str, method: str) -> NoReturn:
    """Reject a Classify or Regress request.

    Args:
        servable: the version asked for.
        signature: name of the signature; "" for the default.
        method: CLASSIFY or REGRESS.
    """
    name = signature or "serving_default"
    if name not in servable.definitions:
        raise RequestError("INVALID_ARGUMENT", f"No signature was found with the name: {name}")
    _reject(servable, name, method)


def reject_task(servable: Servable, signature: str, method: str) -> NoReturn:
    """Reject a MultiInference request because of its first task. Arguments as for ``reject``; ``method`` may be any."""
    name = signature or "serving_default"
    if name not in servable.definitions:
        raise RequestError("INVALID_ARGUMENT", f"Requested signature not found in model graph: {name}")
    if method not in TASKS:
        raise RequestError("UNIMPLEMENTED", f"Unsupported signature method_name: {method}")
    _reject(servable, name, method)


def _reject(servable: Servable, name: str, method: str) -> NoReturn:
    has = servable.definitions[name].method_name
    if has != method:
        message = f"Expected {TASKS[method]} signature method_name to be {method}. Was: {has}"
        raise RequestError("INVALID_ARGUMENT", message)
    raise RequestError("UNIMPLEMENTED", f"the embedded server does not support {TASKS[method]}, only Predict")
