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
    """Reject a signature for the reasons, and in the order, of TensorFlow Serving, which ignores its method_name."""
    definition, task = servable.definitions[name], TASKS[method]
    inputs, outputs = definition.inputs, definition.outputs
    if len(inputs) != 1:
        raise RequestError("INVALID_ARGUMENT", "Expected one input Tensor.")
    if method == CLASSIFY and len(outputs) not in (1, 2):
        raise RequestError("INVALID_ARGUMENT", f"Expected one or two output Tensors, found {len(outputs)}")
    if method == REGRESS and len(outputs) != 1:
        raise RequestError("INVALID_ARGUMENT", "Expected one output Tensor.")
    if "inputs" not in inputs:
        raise RequestError("FAILED_PRECONDITION", f"No {task} inputs found in SignatureDef: {definition}")
    if method == CLASSIFY and not {"classes", "scores"}.intersection(outputs):
        message = 'Expected classification signature outputs to contain at least one of "classes" or "scores".'
        raise RequestError("FAILED_PRECONDITION", f"{message} Signature was: {definition}")
    if method == REGRESS and "outputs" not in outputs:
        raise RequestError("FAILED_PRECONDITION", f"No regression outputs found in SignatureDef: {definition}")
    raise RequestError("UNIMPLEMENTED", f"the embedded server does not support {task}, only Predict")
