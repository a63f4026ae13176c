"""One epoch: every drawing of the training split once, then the validation split."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import keras
import numpy as np

from ...dataset.shards import Rows
from ...errors import DataError, Error
from ...storage.progress import Progress
from ..device import on_gpu
from ..metrics import score
from ..models.calibration import fit_temperature
from ..predict import predict_with
from .averaging import Averaging
from .batches import Feed, Group, filled, training_order
from .recipes import Recipe
from .runs import Epoch
from .shared import compiled
from .steps import CHANCE, Step, Steps
from .supply import ahead, resident_size, supply
from .workers import Workers

_ADVICE = "a lower learning rate may help, or float32 where precision is another"
_CUDNN = re.compile("cudnn_?rnn", re.IGNORECASE)  # what TensorFlow and JAX call it
_LOOK = 64  # steps after which the loss is looked at on a GPU, or by several workers: a look waits for them
_JUDGED = 512  # drawings that are validated together


class TrainingError(Error):
    """Training cannot go on."""


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raises TrainingError where a backend, or the host, has no memory left."""
    try:
        yield
    except Exception as e:
        # By their names: TensorFlow's, or JAX's with XLA's word for it; the other backend need not be there.
        kind = type(e).__name__
        if not isinstance(e, MemoryError) and kind != "ResourceExhaustedError" and "RESOURCE_EXHAUSTED" not in str(e):
            raise
        advice = "a smaller --batch needs less, and so does --no-resident on a GPU"
        raise TrainingError(f"out of memory ({kind}): {advice}") from e


class Course:
    """Epochs of one network on the same drawings, each a function of seed and number alone.

    Args:
        resident: whether the device keeps the drawings; see ``supply``.
        batch: drawings a step of training, of all workers together.

    Raises:
        DataError: too few drawings a step for so many workers.
    """

    def __init__(
        self,
        net: keras.Model,
        recipe: Recipe,
        averaging: Averaging,
        training: Rows,
        validation: Rows,
        feed: Feed,
        *,
        batch: int,
        seed: int,
        resident: bool,
        workers: Workers,
    ) -> None:
        self.net, self.recipe, self.averaging, self.feed = net, recipe, averaging, feed
        self.training, self.validation, self.batch, self.seed = training, validation, batch, seed
        self.resident, self.workers = resident, workers
        if (least := min(len(group.rows) for group in self._groups(1))) < 2 * workers.count:
            raise DataError(
                f"a step has {least} of the drawings, and each of {workers.count} workers needs 2: give a larger batch"
            )
        supplies = (supply(rows, feed, resident=resident) for rows in (training, validation))
        # On a CPU, XLA's convolutions and LSTMs are slower than TensorFlow's own; on a GPU it has no cuDNN LSTM.
        step = Step(net, recipe, averaging, len(training.classes))
        self.steps: Steps = compiled(workers, step, *supplies, xla=on_gpu() and not _lstms(net))

    def epoch(self, number: int, epochs: int, learning_rate: float) -> Epoch:
        """Train for one epoch, then validate.

        Args:
            number: which, from 1.
            epochs: how many there are to be.
            learning_rate: the first, or the highest, as the recipe has it.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        begun = time.monotonic()
        self.averaging.end()
        self._reseed(number)
        groups = self._groups(number)
        rates = self.recipe.rates(len(groups), number, epochs, learning_rate)
        loss, hits = self._train(groups, rates.tolist(), f"epoch {number}/{epochs}", epochs)
        trained = time.monotonic() - begun
        self.averaging.begin()
        with self._progress(f"epoch {number}/{epochs}, validation", len(self.validation)) as progress:
            probabilities = predict_with(
                self._predict,
                self.validation,
                self.feed,
                classes=len(self.validation.classes),
                batch=_JUDGED,
                progress=progress,
            )
        if not np.isfinite(probabilities).all():
            raise TrainingError(f"epoch {number}: the network's answers are no longer finite numbers; {_ADVICE}")
        judged = score(probabilities, self.validation.labels, self.validation.classes)
        n = sum(len(group.rows) for group in groups)
        return {
            "epoch": number,
            "loss": loss / n,
            "top1": hits / n,
            "val_loss": judged["loss"],
            "val_top1": judged["top1"],
            "val_top3": judged["top3"],
            "temperature": fit_temperature(probabilities, self.validation.labels),
            "learning_rate": float(rates[-1]),
            "seconds": round(time.monotonic() - begun, 3),
            "drawings_per_s": round(n / trained, 1),
        }

    def _predict(self, group: Group) -> Any:
        """Probabilities of a group; on a GPU every group is of one size, so that there is one shape to compile."""
        size = len(group.rows)
        if self._one_shape and size < _JUDGED:
            group = Group(group.steps, np.resize(group.rows, _JUDGED))
        return self.steps.predict(self.steps.validation.batch(group), group)[:size]

    @property
    def _one_shape(self) -> bool:
        return on_gpu() and not self.feed.buckets

    def _groups(self, number: int) -> list[Group]:
        groups = training_order(
            self.feed.lengths(self.training),
            batch=self.batch,
            max_len=self.feed.max_len,
            buckets=self.feed.buckets,
            seed=self.seed,
            epoch=number,
        )
        return filled(groups, self.batch) if self._one_shape else groups

    def _train(self, groups: list[Group], rates: list[float], what: str, epochs: int) -> tuple[float, float]:
        """Loss and hits, summed over all drawings."""
        horizon = self.recipe.averaging * epochs * len(groups)
        seen, loss, hits = 0, 0.0, 0.0
        look = _LOOK if on_gpu() or self.workers.count > 1 else 1
        with self._progress(what, len(self.training)) as progress, ahead(self.steps.training.batch, groups) as made:
            self.steps.begin()
            pairs = zip(groups, made, rates, strict=True)
            drawings = sum(len(group.rows) for group in groups)
            while seen < drawings:
                new = 0
                for group, batch, rate in islice(pairs, look):  # not a list: batches are made while the device works
                    self.steps.train(batch, group, rate, horizon)
                    new += len(group.rows)
                more = self.steps.sums()
                loss, hits, seen = loss + more[0], hits + more[1], seen + new
                if not math.isfinite(loss):
                    raise TrainingError(f"{what}: the loss is {loss} after {seen:,} drawings; {_ADVICE}")
                progress.update(new, f"loss {loss / seen:.4f}")
            self.steps.end()
        return loss, hits

    def _progress(self, what: str, total: int) -> Progress:
        progress = Progress(what, total)
        progress.shown &= self.workers.chief
        return progress

    def _reseed(self, number: int) -> None:
        """Chance as a function of seed and epoch, whatever was drawn before."""
        generators = [v for v in self.steps.step.others if v.name == CHANCE]
        source = np.random.SeedSequence([self.seed, number, self.workers.stream])
        states = source.generate_state(len(generators)) >> 1  # some are int32
        for variable, state in zip(generators, states, strict=True):
            variable.assign([int(state), 0])

    def about(self) -> str:
        """What computes, and how, in words."""
        where = f"{keras.backend.backend()} on a {'GPU' if on_gpu() else 'CPU'}, {self.net.dtype_policy.name}"
        size = sum(resident_size(rows, self.feed) for rows in (self.training, self.validation))
        kept = f"resident there ({size / 1e6:,.1f} MB)" if self.resident else "sent batch by batch"
        parts = [where, f"drawings {kept}"]
        if self.workers.devices > 1:
            parts.append(f"{self.workers.devices} devices, {self.workers.count} processes")
        if _lstms(self.net):
            group = self._groups(1)[0]
            self.steps.begin()
            lowered = self.steps.lowered(self.steps.training.batch(group), group)
            parts.append(f"LSTMs {'by' if _CUDNN.search(lowered) else 'without'} cuDNN")
        return ", ".join(parts)


def _lstms(net: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.LSTM) for layer in net.layers)
