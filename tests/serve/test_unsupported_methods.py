"""How Classify, Regress and MultiInference are refused: as TensorFlow Serving does, by the signature's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("tensorflow_serving")
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from qdfast.serve.servable import RequestError
from qdfast.serve.unsupported_methods import CLASSIFY, REGRESS, reject, reject_task


class Model:
    """A model with one signature of these inputs and outputs."""

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        definition = SignatureDef(method_name="tensorflow/serving/predict")
        for names, tensors in ((inputs, definition.inputs), (outputs, definition.outputs)):
            for name in names:
                tensors[name].name = f"{name}:0"
        self.definitions = {"serving_default": definition}


@pytest.mark.parametrize(
    ("method", "inputs", "outputs", "code", "message"),
    [
        (CLASSIFY, ["deltas", "lengths"], ["p"], "INVALID_ARGUMENT", "Expected one input Tensor."),
        (REGRESS, [], ["p"], "INVALID_ARGUMENT", "Expected one input Tensor."),
        (CLASSIFY, ["bitmaps"], [], "INVALID_ARGUMENT", "Expected one or two output Tensors, found 0"),
        (CLASSIFY, ["bitmaps"], ["a", "b", "c"], "INVALID_ARGUMENT", "Expected one or two output Tensors, found 3"),
        (REGRESS, ["bitmaps"], ["labels", "scores"], "INVALID_ARGUMENT", "Expected one output Tensor."),
        (CLASSIFY, ["bitmaps"], ["p"], "FAILED_PRECONDITION", "No classification inputs found in SignatureDef: "),
        (REGRESS, ["bitmaps"], ["p"], "FAILED_PRECONDITION", "No regression inputs found in SignatureDef: "),
        (
            CLASSIFY,
            ["inputs"],
            ["p"],
            "FAILED_PRECONDITION",
            'Expected classification signature outputs to contain at least one of "classes" or "scores".',
        ),
        (REGRESS, ["inputs"], ["p"], "FAILED_PRECONDITION", "No regression outputs found in SignatureDef: "),
        (CLASSIFY, ["inputs"], ["scores"], "UNIMPLEMENTED", "the embedded server does not support classification"),
        (REGRESS, ["inputs"], ["outputs"], "UNIMPLEMENTED", "the embedded server does not support regression"),
    ],
)
def test_it_is_refused(method: str, inputs: Sequence[str], outputs: Sequence[str], code: str, message: str) -> None:
    model: Any = Model(inputs, outputs)
    for refuse in (reject, reject_task):
        with pytest.raises(RequestError) as e:
            refuse(model, "", method)
        assert e.value.code == code
        assert e.value.message.startswith(message)
