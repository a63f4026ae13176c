"""``TrainConfig``: everything that a training run depends on, apart from the drawings."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ...errors import DataError
from ...storage.names import PRECISIONS
from .batches import bucket_lengths, check_range
from .recipes import Recipe, recipe

if TYPE_CHECKING:
    from ..models.network_table import Network
    from .initial import InitialRun

DEFAULT_MODEL = "stroke_conv"


@dataclass(frozen=True)
class TrainConfig:
    """The options of ``train``. None means the default of the recipe, of the model or of the device.

    Attributes:
        model: a name in ``networks.MODELS``, or in ``baselines.BASELINES``, which only take a ``seed`` (default: the
            network of ``init``, else stroke_conv).
        init: the run directory of a trained network to start from (see ``initial``). Its classes may be other ones.
            ``max_len`` and ``buckets`` are its too, unless given, and the recipe's defaults are those for fine-tuning.
        recipe: a name in ``recipes.RECIPES`` (default: the model's).
        epochs: maximum number of epochs (default: the recipe's).
        batch: drawings per step, over all workers (default: the recipe's).
        learning_rate: the highest learning rate (default: the recipe's); the recipe decides how it changes.
        max_len: points after which a drawing is cut, for stroke models (default: the model's).
        precision: "float32", "mixed_float16" or "mixed_bfloat16".
        recurrent_dropout: share of an LSTM's state to drop; the notebook uses 0.3. Above 0, cuDNN cannot be used.
        patience: epochs without a lower validation loss after which training stops (default: the recipe's).
        seed: seed of initial weights, dropout, augmentation and order.
        max_minutes: start no epoch that would end later than this, except the first of the call.
        buckets: lengths below ``max_len`` to pad to (default: the model's; on a GPU none).
        resident: keep the drawings on the device (default: on a GPU, if they take at most 8 GiB there).
        distribute: "auto", "mirrored", "multiworker" or "none"; see ``workers.join``.
    """

    model: str | None = None
    recipe: str | None = None
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    max_len: int | None = None
    precision: str = "float32"
    recurrent_dropout: float = 0.0
    patience: int | None = None
    seed: int = 42
    max_minutes: float | None = None
    buckets: Sequence[int] | None = None
    resident: bool | None = None
    distribute: str = "auto"
    init: str | os.PathLike[str] | None = None

    def changed(self) -> list[str]:
        """The names of the options that differ from their defaults."""
        return [f.name for f in fields(self) if getattr(self, f.name) != f.default]

    def settle(self, initial: InitialRun | None = None) -> SettledConfig:
        """Look up model and recipe, and take their defaults where an option is None.

        Args:
            initial: the run that ``init`` names.

        Raises:
            DataError: an unknown model or recipe, options that they do not take, or a number out of range.
        """
        from ..models.network_table import network

        model = self.model or DEFAULT_MODEL
        if initial:
            model = initial.run.arguments["model"]
            if self.model not in (None, model):
                raise DataError(f"{self.init}: a run of {model}, not of {self.model}: leave out --model")
        net = network(model)
        max_len, buckets = (initial or net).max_len, (initial or net).buckets
        name = net.recipe if self.recipe is None else self.recipe
        how = recipe(name)
        if initial:
            how = how.fine_tuning()
        self._check_combination(model, net, how, name)
        epochs = how.epochs if self.epochs is None else self.epochs
        arguments: dict[str, Any] = {
            "model": model,
            "recipe": name,
            "batch": how.batch if self.batch is None else self.batch,
            "learning_rate": how.learning_rate if self.learning_rate is None else self.learning_rate,
            "max_len": max_len if self.max_len is None else self.max_len,
            "precision": self.precision,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
            "buckets": list(buckets if self.buckets is None else self.buckets),
        }
        if how.patience is None:
            arguments["epochs"] = epochs
        else:
            arguments["patience"] = how.patience if self.patience is None else self.patience
        _check_ranges(arguments, epochs)
        fits_epochs = self.max_minutes is not None and self.epochs is None and how.patience is None
        return SettledConfig(self, how, net, arguments, epochs, fits_epochs, initial)

    def _check_combination(self, model: str, net: Network, how: Recipe, name: str) -> None:
        if how.augmented and (net.takes == "bitmaps" or net.standardized):
            raise DataError(f"recipe {name} augments unstandardized strokes, which {model} does not take")
        if self.patience is not None and how.patience is None:
            raise DataError(f"recipe {name} has a fixed number of epochs, so patience does not apply")
        if self.recurrent_dropout and not net.recurrent:
            raise DataError(f"{model} has no LSTM, so recurrent_dropout does not apply")
        if net.takes == "bitmaps" and (self.max_len is not None or self.buckets is not None):
            raise DataError(f"{model} takes bitmaps, so max_len and buckets do not apply")


def _check_ranges(arguments: dict[str, Any], epochs: int) -> None:
    for name, low in (("batch", 2), ("patience", 1), ("seed", 0)):
        if name in arguments:
            check_range(name, arguments[name], low)
    bucket_lengths(arguments["max_len"], arguments["buckets"])
    if epochs < 1:
        raise DataError(f"epochs is {epochs}: it must be at least 1")
    if not 0 < arguments["learning_rate"] < math.inf:
        raise DataError(f"learning_rate is {arguments['learning_rate']}: it must be positive")
    if not 0 <= arguments["recurrent_dropout"] < 1:
        raise DataError(f"recurrent_dropout is {arguments['recurrent_dropout']}: it must be at least 0 and below 1")
    if arguments["precision"] not in PRECISIONS:
        raise DataError(f"precision is {arguments['precision']!r}: it must be one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True)
class SettledConfig:
    """A configuration in which all defaults are filled in.

    Attributes:
        recipe, network: the entries that the names stand for.
        arguments: the settings that the result depends on, as kept in ``run.json``. A resumed run has the same.
        epochs: maximum number of epochs.
        fits_epochs: whether ``max_minutes`` decides the number of epochs, so that the learning rate falls in time.
        initial: the run to start from, if any.
    """

    config: TrainConfig
    recipe: Recipe
    network: Network
    arguments: dict[str, Any]
    epochs: int
    fits_epochs: bool
    initial: InitialRun | None = None

    def with_one_length(self) -> SettledConfig:
        """Pad all drawings to one length, unless the caller gave ``buckets``."""
        if self.config.buckets is not None:
            return self
        return replace(self, arguments={**self.arguments, "buckets": []})
