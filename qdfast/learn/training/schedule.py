"""When training stops, and the learning rate until then: functions of the finished epochs and of the time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...storage.progress import counted
from .config import SettledConfig
from .history import Epoch, planned_epochs

if TYPE_CHECKING:
    from .workers import Workers


class Plateau(NamedTuple):
    """The learning rate of the next epoch, and whether training stops instead."""

    learning_rate: float
    stop: bool


def plateau(
    losses: Sequence[float],
    *,
    learning_rate: float,
    patience: int,
    flat: int = 5,
    factor: float = 0.2,
    lowest: float = 1e-6,
    margin: float = 1e-4,
) -> Plateau:
    """Keras' ReduceLROnPlateau and EarlyStopping as one function of the epochs so far, so that runs can be continued.

    After every ``flat`` epochs without a loss lower by ``margin``, the rate is multiplied by ``factor``, down to
    ``lowest``. After ``patience`` epochs without any lower loss, training stops.

    Args:
        losses: the validation losses of the epochs so far.
    """
    lowest_loss = level = math.inf
    since_lowest = since_level = 0
    for loss in losses:
        since_lowest = 0 if loss < lowest_loss else since_lowest + 1
        lowest_loss = min(loss, lowest_loss)
        if loss < level - margin:
            level, since_level = loss, 0
        else:
            since_level += 1
        if since_level >= flat:
            learning_rate, since_level = max(learning_rate * factor, min(lowest, learning_rate)), 0
    return Plateau(learning_rate, since_lowest >= patience)


class Schedule:
    """Decides whether there is another epoch, how many are planned, and the learning rate.

    Args:
        started: when this call of ``train`` started, by ``time.monotonic``.
    """

    settled: SettledConfig
    workers: Workers
    deadline: float
    slowest: float

    def __init__(self, settled: SettledConfig, workers: Workers, started: float) -> None:
        self.settled, self.workers, self.slowest = settled, workers, 0.0
        minutes = settled.config.max_minutes
        self.deadline = math.inf if minutes is None else started + 60 * minutes

    def learning_rate(self, history: list[Epoch]) -> float:
        """The highest learning rate of the next epoch."""
        return self._plateau(history).learning_rate

    def planned(self, history: list[Epoch]) -> int:
        """The number of planned epochs, as known after the last finished one."""
        epochs = self.settled.epochs
        return planned_epochs(history, epochs) if self.settled.recipe.patience is None else epochs

    def reason_to_stop(self, history: list[Epoch]) -> str:
        """Why there is no further epoch; "" if there is one."""
        if self._plateau(history).stop:
            return f"stopped, no lower validation loss for {counted(self.settled.arguments['patience'], 'epoch')}"
        planned, epochs = self.planned(history), self.settled.epochs
        if len(history) >= planned:
            reason = f"finished, {counted(len(history), 'epoch')}"
            if planned < epochs:
                reason += f" of {epochs}, because of the time limit"
            if self.settled.fits_epochs and planned == 1 < epochs:
                reason += " (too short for the learning rate to fall)"
            return reason
        late = not self.settled.fits_epochs and self.slowest > max(0.0, self._time_left())
        if self.workers.broadcast_object(late):
            return f"stopped, another epoch would not fit into {self.settled.config.max_minutes:g} minutes"
        return ""

    def overruns(self, seconds: float) -> bool:
        """Whether work of so many seconds, begun now, would end after the time limit."""
        return seconds > self._time_left()

    def fit_epochs(self, figures: Epoch, history: list[Epoch]) -> Epoch:
        """An epoch's metrics; if the time limit sets the number of epochs, also how many fit into it.

        The first epoch is slower than the others, so the second may still raise the number; later it only falls.
        """
        self.slowest = max(self.slowest, figures["seconds"])
        if not self.settled.fits_epochs:
            return figures
        number, fitting = len(history) + 1, self._time_left() / figures["seconds"]
        if number <= 2:
            epochs = min(self.settled.epochs, number + int(0.95 * fitting))
        else:
            epochs = min(self.planned(history), number + int(fitting))
        return {**figures, "epochs": max(number, epochs)}

    def _plateau(self, history: list[Epoch]) -> Plateau:
        arguments = self.settled.arguments
        if "patience" not in arguments:
            return Plateau(arguments["learning_rate"], False)
        losses = [e["val_loss"] for e in history]
        return plateau(losses, learning_rate=arguments["learning_rate"], patience=arguments["patience"])

    def _time_left(self) -> float:
        return self.deadline - time.monotonic()
