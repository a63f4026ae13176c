"""How networks are trained: optimizers, schedules and what goes with them, by name.

``notebook`` is what the notebook does with its network. ``strong`` is what suits larger networks: drawings are shown
altered (see ``augment``), so that none is seen twice; the learning rate rises for an epoch and falls along a cosine to
nothing; and what is judged and kept is the exponential moving average of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

if TYPE_CHECKING:
    import keras


class Recipe(NamedTuple):
    """Defaults of ``train``, and what is not to be chosen one by one.

    Attributes:
        patience: epochs without a lower validation loss after which to stop; the learning rate falls on plateaus. None:
            it rises for ``warm_up`` epochs, at most a quarter of all, then falls along a cosine; all are trained.
        label_smoothing: share of the target spread over all classes.
        averaging: the share of all steps that the moving average of the weights looks back on; 0: no average.
        augmented: whether drawings are altered.
    """

    epochs: int
    batch: int
    learning_rate: float
    patience: int | None = None
    warm_up: int = 1
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    averaging: float = 0.0
    augmented: bool = False

    def optimizer(self, learning_rate: float) -> keras.Optimizer:
        """Adam, or with weight decay AdamW, which decays no biases and no scales of normalization."""
        import keras

        if not self.weight_decay:
            return keras.optimizers.Adam(learning_rate)
        optimizer = keras.optimizers.AdamW(
            learning_rate,
            weight_decay=self.weight_decay,
            beta_1=0.9,
            beta_2=0.98,
            global_clipnorm=1.0,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
        return optimizer

    def targets(self, labels: Any, classes: int) -> Any:
        """Labels int32 (m,) to float32 (m, classes): what the network shall answer; made of ``keras.ops``."""
        from keras import ops

        return ops.one_hot(labels, classes) * (1 - self.label_smoothing) + self.label_smoothing / classes

    def rates(self, steps: int, epoch: int, epochs: int, learning_rate: float) -> NDArray[np.float64]:
        """float64 (steps,): the learning rate of each step of an epoch (from 1), ``learning_rate`` the highest."""
        if self.patience is not None:
            return np.full(steps, learning_rate)
        step, all_ = (epoch - 1) * steps + np.arange(steps), epochs * steps
        warm = min(self.warm_up * steps, all_ / 4)  # in a short training it must fall, too
        falling = 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, all_ - warm)))
        return learning_rate * np.where(step < warm, (step + 1) / max(1, warm), falling)


RECIPES = {
    "notebook": Recipe(100, 128, 1e-3, patience=10),
    "strong": Recipe(24, 256, 2e-3, weight_decay=0.05, label_smoothing=0.1, averaging=0.1, augmented=True),
}


def recipe(name: str) -> Recipe:
    """The recipe ``name``. DataError: there is none."""
    if name not in RECIPES:
        raise DataError(f"no recipe named {name!r}; there is {', '.join(RECIPES)}")
    return RECIPES[name]


class Plan(NamedTuple):
    """What the figures so far mean for the next epoch."""

    learning_rate: float
    stop: bool


def schedule(
    losses: Sequence[float],
    *,
    learning_rate: float,
    patience: int,
    flat: int = 5,
    factor: float = 0.2,
    lowest: float = 1e-6,
    margin: float = 1e-4,
) -> Plan:
    """The next epoch's learning rate, and whether there is to be one.

    After every ``flat`` epochs without a loss lower by ``margin`` than before the rate is multiplied by ``factor``,
    down to ``lowest``; after ``patience`` epochs without a lower loss at all, training stops.

    Args:
        losses: validation losses of the epochs so far.
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
    return Plan(learning_rate, since_lowest >= patience)
