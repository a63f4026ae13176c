"""The moving average of a network's weights is judged and kept; training goes on with the weights themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import replacing

if TYPE_CHECKING:
    import keras


class Averaging:
    """Exchanges a network's weights for their exponential moving average, and back.

    In its first steps, the average forgets faster: it is not to be that of what the network began with.

    Args:
        horizon: steps that it looks back on; 0: there is no average, and nothing is exchanged.
    """

    def __init__(self, net: keras.Model, horizon: float) -> None:
        self.net, self.horizon, self.step = net, horizon, 0
        self._weights: list[NDArray[Any]] | None = None  # while the network has the average
        self._average = self._values() if horizon else []

    def _values(self) -> list[NDArray[Any]]:
        return [np.array(v) for v in self.net.trainable_variables]

    def _assign(self, values: list[NDArray[Any]]) -> None:
        for variable, value in zip(self.net.trainable_variables, values, strict=True):
            variable.assign(value)

    def update(self) -> None:
        """After a step of training."""
        if not self.horizon:
            return
        kept = np.float32(min(1 - 1 / max(1.0, self.horizon), (1 + self.step) / (10 + self.step)))
        for average, variable in zip(self._average, self.net.trainable_variables, strict=True):
            average += (1 - kept) * (np.asarray(variable) - average)
        self.step += 1

    def begin(self) -> None:
        """The average into the network."""
        if self.horizon:
            self._weights = self._values()
            self._assign(self._average)

    def end(self) -> None:
        """The weights back."""
        if self._weights is not None:
            self._assign(self._weights)
            self._weights = None

    def save(self, path: Path) -> None:
        """Write the weights, while the network has the average."""
        if self._weights is not None:
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, *self._weights, step=self.step)

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote, for a network that has the average.

        Raises:
            DataError: it is not there, or not the weights of this network.
        """
        if not self.horizon:
            return
        try:
            with np.load(path, allow_pickle=False) as saved:
                self._weights = [saved[f"arr_{i}"] for i in range(len(saved.files) - 1)]
                self.step = int(saved["step"])
        except (OSError, ValueError, KeyError, EOFError) as e:
            raise DataError(f"{path}: not the weights of an epoch, or damaged: {e}") from e
        if [w.shape for w in self._weights] != [w.shape for w in self._average]:
            raise DataError(f"{path}: the weights of another network")
