"""Classify, Regress and MultiInference: refused, as TensorFlow Serving does where all signatures are for Predict.

They take tf.Examples, which no model of drawings has signatures for.
"""

from __future__ import annotations

from typing import NoReturn

from .servable import RequestError, Servable

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
KINDS = {CLASSIFY: "classification", REGRESS: "regression"}


def refuse(servable: Servable, signature: str, method: str) -> NoReturn:
    """Refuse a Classify or a Regress with a signature, by name.

    Args:
        method: the one that the signature must be for: CLASSIFY or REGRESS.
    """
    name = signature or "serving_default"
    if name not in servable.definitions:
        raise RequestError("INVALID_ARGUMENT", f"No signature was found with the name: {name}")
    _refuse(servable, name, method)


def refuse_task(servable: Servable, signature: str, method: str) -> NoReturn:
    """Refuse a MultiInference because of its first task. Arguments as those of ``refuse``; any method may be asked."""
    name = signature or "serving_default"
    if name not in servable.definitions:
        raise RequestError("INVALID_ARGUMENT", f"Requested signature not found in model graph: {name}")
    if method not in KINDS:
        raise RequestError("UNIMPLEMENTED", f"Unsupported signature method_name: {method}")
    _refuse(servable, name, method)


def _refuse(servable: Servable, name: str, method: str) -> NoReturn:
    has = servable.definitions[name].method_name
    if has != method:
        message = f"Expected {KINDS[method]} signature method_name to be {method}. Was: {has}"
        raise RequestError("INVALID_ARGUMENT", message)
    raise RequestError("UNIMPLEMENTED", f"the embedded server does no {KINDS[method]}, only Predict")
