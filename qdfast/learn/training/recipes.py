"""Recipes, by name: optimizer, learning rate, label smoothing, augmentation.

``notebook`` is the Kaggle notebook's: Adam, and a learning rate that falls on plateaus. ``strong`` suits larger
networks: augmented drawings (see ``augment``), AdamW, and a learning rate that rises for an epoch and falls along a
cosine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

if TYPE_CHECKING:
    import keras


_FINE_TUNING_BATCH = 32  # a few drawings of each class are few batches, and few steps, of the usual size


class Recipe(NamedTuple):
    """Defaults of ``TrainConfig``, and settings that go together.

    Attributes:
        epochs, batch, learning_rate: see ``TrainConfig``.
        patience: epochs without a lower validation loss after which training stops; the learning rate then falls on
            plateaus. None: it rises for ``warm_up`` epochs, at most a quarter of all, and falls along a cosine.
        label_smoothing: share of the target that is spread over all classes.
        augmented: whether drawings are augmented.
    """

    epochs: int
    batch: int
    learning_rate: float
    patience: int | None = None
    warm_up: int = 1
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    augmented: bool = False

    def optimizer(self, learning_rate: float) -> keras.Optimizer:
        """Adam; with weight decay AdamW, except for biases and the scales of normalization layers."""
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

    def fine_tuning(self) -> Recipe:
        """The recipe for a network that starts from trained weights: smaller batches, at the same learning rate."""
        return self._replace(batch=_FINE_TUNING_BATCH)

    def targets(self, labels: Any, classes: int) -> Any:
        """Labels int32 (m,) to smoothed one-hot targets float32 (m, classes), by ``keras.ops``."""
        from keras import ops

        return ops.one_hot(labels, classes) * (1 - self.label_smoothing) + self.label_smoothing / classes

    def rates(self, steps: int, epoch: int, epochs: int, learning_rate: float) -> NDArray[np.float64]:
        """float64 (steps,): the learning rate of each step of an epoch (from 1); ``learning_rate`` is the highest."""
        if self.patience is not None:
            return np.full(steps, learning_rate)
        step, all_ = (epoch - 1) * steps + np.arange(steps), epochs * steps
        warm = min(self.warm_up * steps, all_ / 4)  # a short training must have time to let it fall
        falling = 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, all_ - warm)))
        return learning_rate * np.where(step < warm, (step + 1) / max(1, warm), falling)


RECIPES = {
    "notebook": Recipe(100, 128, 1e-3, patience=10),
    "strong": Recipe(24, 256, 2e-3, weight_decay=0.05, label_smoothing=0.1, augmented=True),
}


def recipe(name: str) -> Recipe:
    """The recipe ``name``. DataError: there is none."""
    if name not in RECIPES:
        raise DataError(f"no recipe named {name!r}; choose from {', '.join(RECIPES)}")
    return RECIPES[name]
