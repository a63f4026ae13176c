"""Exports of every format, and how they answer in their own runtimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from qdfast._telemetry import import_onnxruntime
from qdfast.learn.training.runs import Run

Inputs: TypeAlias = Mapping[str, np.ndarray]
Answer: TypeAlias = Callable[[Inputs], np.ndarray]
"""From the inputs of the signature `serving_default` to the probabilities."""

FORMATS = {"onnx": "onnxruntime", "litert": "ai_edge_litert", "openvino": "openvino"}
"""The formats, and the modules that run them."""


def skip_without(format: str) -> None:
    """Skip the test where a format cannot be written or run. Nothing is imported: some would report it at once."""
    modules = {"onnx": ("tf2onnx", "onnxruntime"), "openvino": ("openvino", "nncf")}
    for module in modules.get(format, (FORMATS[format],)):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def load(format: str, version: Path) -> Answer:
    """A version of a model in its own runtime. LiteRT gets one drawing at a time, without padding."""
    return {"savedmodel": _saved_model, "onnx": _onnx, "litert": _litert, "openvino": _openvino}[format](version)


def _saved_model(version: Path) -> Answer:
    import tensorflow as tf

    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    return lambda inputs: np.asarray(signature(**{k: tf.constant(v) for k, v in inputs.items()})["probabilities"])


def _onnx(version: Path) -> Answer:
    session = import_onnxruntime().InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(["probabilities"], dict(inputs))[0])


def _litert(version: Path) -> Answer:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(version / "model.tflite")).get_signature_runner("serving_default")

    def answer(inputs: Inputs) -> np.ndarray:
        one_by_one = []
        for i in range(len(next(iter(inputs.values())))):
            one = {name: array[i : i + 1] for name, array in inputs.items()}
            if "lengths" in one:
                one["deltas"] = one["deltas"][:, : max(1, int(one["lengths"][0]))]
            one_by_one.append(run(**one)["probabilities"])
        return np.concatenate(one_by_one)

    return answer


def _openvino(version: Path) -> Answer:
    import openvino

    model = openvino.Core().compile_model(version / "model.xml", "CPU")
    return lambda inputs: np.asarray(model(dict(inputs))["probabilities"])


def add_wide() -> None:
    """Make ``wide`` known: converted in a second, but with weights that a quantizer does not leave as they are."""
    import keras
    from keras import layers

    from qdfast.learn.models import networks
    from qdfast.learn.models.layers import AttentionPooling, MaskSteps, SequenceMask, StepFeatures

    def wide(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
        deltas = keras.Input((None, 3), dtype="float32", name="deltas")
        lengths = keras.Input((), dtype="int32", name="lengths")
        mask = SequenceMask(name="mask")(deltas, lengths)
        x = MaskSteps(name="masked")(StepFeatures(name="features")(MaskSteps(name="steps")(deltas, mask)), mask)
        x = layers.Conv1D(64, 5, padding="same", activation="relu", name="conv")(x)
        x = AttentionPooling(4, name="attention")(x, mask)
        x = layers.Dense(256, activation="relu", name="dense")(x)
        x = layers.Dense(classes, activation="softmax", name="probabilities")(x)
        return keras.Model({"deltas": deltas, "lengths": lengths}, x, name="wide")

    networks.MODELS.setdefault("wide", networks.Network(wide, "for tests", standardized=False))


WIDE_WEIGHTS = 8 * 5 * 64 + 64 * 5 * 256
"""Of the matrices of ``wide`` that do not depend on the number of classes."""


class UntrainedRun(Run):
    """A run whose network has random weights: as slow and as large as a trained one, without training."""

    def finished_epochs(self) -> list[Any]:
        return []

    @property
    def temperature(self) -> float:
        return 0.8

    def load_model(self, *, export: bool = False, calibrated: bool = True) -> Any:
        import keras

        from qdfast.learn.models.networks import build, with_temperature

        keras.utils.set_random_seed(0)
        net = build(self.arguments["model"], classes=len(self.classes), export=export)
        rng = np.random.default_rng(0)
        for weight in net.weights:
            if weight.path.endswith("moving_variance"):
                weight.assign(rng.uniform(0.5, 2, weight.shape))
            elif len(weight.shape) == 1:
                weight.assign(weight + rng.normal(0, 0.2, weight.shape))
        return with_temperature(net, self.temperature if calibrated else None)


def untrained(like: Run, model: str, max_len: int) -> UntrainedRun:
    """A run of ``model``, otherwise as ``like``."""
    arguments = {**like.arguments, "model": model, "max_len": max_len, "buckets": []}
    return UntrainedRun(like.path, {**like.info, "arguments": arguments})
