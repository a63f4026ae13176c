"""The exponential moving average of a network's weights, which is validated and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...errors import DataError
from ...storage.files import replacing
from .runs import UNREADABLE


class WeightAverage:
    """Keeps the average, and swaps it with the network's weights and back.

    Unlike Keras' ``use_ema``, its horizon is a share of all steps, and it forgets faster in its first steps, so that
    short trainings and first epochs are not dominated by the initial weights.

    Attributes:
        variables: the variables that ``update`` changes.

    Args:
        enabled: if false, there is no average, and nothing is swapped.
    """

    def __init__(self, net: keras.Model, enabled: bool) -> None:
        self.net, self.enabled = net, enabled
        self._weights: list[NDArray[Any]] | None = None  # while the network has the average
        self._step = keras.Variable(0, dtype="int32", trainable=False, name="averaging_step")
        self._average = (
            [keras.Variable(v, dtype=v.dtype, trainable=False, name="average") for v in net.trainable_variables]
            if enabled
            else []
        )
        self.variables = [self._step, *self._average]

    def update(self, horizon: Any) -> None:
        """After a training step: let the average look back on ``horizon`` steps; by ``keras.ops``."""
        if not self.enabled:
            return
        step = ops.cast(self._step, "float32")
        kept = ops.minimum(1 - 1 / ops.maximum(horizon, 1.0), (1 + step) / (10 + step))
        for average, variable in zip(self._average, self.net.trainable_variables, strict=True):
            average.assign(average + (1 - kept) * (variable - average))
        self._step.assign(self._step + 1)

    def swap_in(self) -> None:
        """Put the average into the network."""
        if self.enabled:
            self._weights = _values(self.net.trainable_variables)
            _assign(self.net.trainable_variables, _values(self._average))

    def swap_out(self) -> None:
        """Put the weights back into the network."""
        if self._weights is not None:
            _assign(self.net.trainable_variables, self._weights)
            self._weights = None

    def save(self, path: Path) -> None:
        """Write the weights, while the average is swapped in."""
        if self._weights is not None:
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, *self._weights, step=int(self._step))

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote, for a network that has the average.

        Raises:
            DataError: the file is missing or damaged, or has the weights of another network.
        """
        if not self.enabled:
            return
        try:
            with np.load(path, allow_pickle=False) as saved:
                self._weights = [saved[f"arr_{i}"] for i in range(len(saved.files) - 1)]
                step = int(saved["step"])
        except UNREADABLE as e:
            raise DataError(f"{path}: not the weights of an epoch, or damaged: {e}") from e
        if [w.shape for w in self._weights] != [tuple(v.shape) for v in self._average]:
            raise DataError(f"{path}: the weights of another network")
        self._step.assign(step)


def _values(variables: list[Any]) -> list[NDArray[Any]]:
    return [np.array(v) for v in variables]


def _assign(variables: list[Any], values: list[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
