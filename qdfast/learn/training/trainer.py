"""``Trainer``: one epoch of training, then validation."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ...dataset.rows import Rows
from ...errors import DataError, Error
from ...storage.progress import Progress
from ..device import on_gpu
from ..metrics import score
from ..models.calibration import fit_temperature
from ..predict import predict_with
from .batches import Group, InputSpec, filled, training_order
from .history import Epoch
from .inputs import batch_source, prefetch, resident_size
from .recipes import Recipe
from .step import SEED_STATE, CompiledSteps, TrainStep, compile_steps
from .workers import Workers

_ADVICE = "try a lower learning rate, or --precision float32"
_CUDNN_LSTM = re.compile("cudnn_?rnn", re.IGNORECASE)  # TensorFlow's and JAX's names
_CHECK_EVERY = 64  # steps between looks at the loss on a GPU or with several workers, which must wait for a look
_VALIDATION_BATCH = 512
_RATE_SECONDS = 12.0  # until the speed of training is estimated


class TrainingError(Error):
    """Training cannot continue."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raises TrainingError if the backend or the host runs out of memory."""
    try:
        yield
    except Exception as e:
        # Known by their names: TensorFlow's, or JAX's with XLA's word for it; the other backend may be missing.
        kind = type(e).__name__
        if not isinstance(e, MemoryError) and kind != "ResourceExhaustedError" and "RESOURCE_EXHAUSTED" not in str(e):
            raise
        raise TrainingError(f"out of memory ({kind}): use a smaller --batch or, on a GPU, --no-resident") from e


class Trainer:
    """Trains and validates a network, epoch by epoch. Each epoch depends on its number and the seed alone.

    Args:
        resident: whether the device keeps the drawings; see ``inputs``.
        batch: drawings per step, over all workers.
        on_rate: called once, some seconds after the first step, with the number of drawings per second.

    Raises:
        DataError: too few drawings per step for the number of workers.
    """

    net: Any
    recipe: Recipe
    spec: InputSpec
    training: Rows
    validation: Rows
    batch: int
    seed: int
    resident: bool
    workers: Workers
    one_shape: bool
    steps: CompiledSteps

    def __init__(
        self,
        net: keras.Model,
        recipe: Recipe,
        training: Rows,
        validation: Rows,
        spec: InputSpec,
        *,
        batch: int,
        seed: int,
        resident: bool,
        workers: Workers,
        on_rate: Callable[[float], None] | None = None,
    ) -> None:
        self.net, self.recipe, self.spec = net, recipe, spec
        self.training, self.validation, self.batch, self.seed = training, validation, batch, seed
        self.resident, self.workers, self._on_rate = resident, workers, on_rate
        self.one_shape = on_gpu() and not spec.buckets
        smallest = min(len(group.rows) for group in self.groups(1))
        if smallest < 2 * workers.world_size:
            raise DataError(
                f"a step has {smallest} drawings for {workers.world_size} workers, but each needs 2: use a larger batch"
            )
        step = TrainStep(net, recipe, len(training.classes))
        sources = (batch_source(rows, spec, resident=resident) for rows in (training, validation))
        # On a CPU, XLA's convolutions and LSTMs are slower than TensorFlow's own; on a GPU it has no cuDNN LSTM.
        self.steps = compile_steps(workers, step, *sources, xla=on_gpu() and not _has_lstm(net))

    def epoch(self, number: int, epochs: int, learning_rate: float) -> Epoch:
        """Train for one epoch, then validate.

        Args:
            number: which epoch, from 1.
            epochs: how many epochs are planned.
            learning_rate: the highest learning rate, as the recipe uses it.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        begun = time.monotonic()
        self._set_seeds(number)
        groups = self.groups(number)
        drawings = sum(len(group.rows) for group in groups)
        rates = self.recipe.rates(len(groups), number, epochs, learning_rate)
        loss, hits = self._train(groups, rates.tolist(), f"epoch {number}/{epochs}")
        trained = time.monotonic() - begun
        probabilities = self._validate(f"epoch {number}/{epochs}, validation")
        if not np.isfinite(probabilities).all():
            raise TrainingError(f"epoch {number}: the network's probabilities are not finite; {_ADVICE}")
        scores = score(probabilities, self.validation.labels, self.validation.classes)
        return {
            "epoch": number,
            "loss": loss / drawings,
            "top1": hits / drawings,
            "val_loss": scores["loss"],
            "val_top1": scores["top1"],
            "val_top3": scores["top3"],
            "temperature": fit_temperature(probabilities, self.validation.labels),
            "learning_rate": float(rates[-1]),
            "seconds": round(time.monotonic() - begun, 3),
            "drawings_per_s": round(drawings / trained, 1),
        }

    def groups(self, number: int) -> list[Group]:
        """The batches of an epoch."""
        groups = training_order(
            self.spec.lengths(self.training),
            batch=self.batch,
            max_len=self.spec.max_len,
            buckets=self.spec.buckets,
            seed=self.seed,
            epoch=number,
        )
        return filled(groups, self.batch) if self.one_shape else groups

    def _train(self, groups: list[Group], rates: list[float], title: str) -> tuple[float, float]:
        """Loss and hits, summed over all drawings."""
        steps = self.steps
        every = _CHECK_EVERY if on_gpu() or self.workers.world_size > 1 else 1
        seen, loss, hits = 0, 0.0, 0.0
        begun, first = time.monotonic(), (math.inf, 0)  # when the first step has ended, and how many drawings it had
        total = sum(len(group.rows) for group in groups)
        with (
            self._progress(title, total) as progress,
            prefetch(lambda group: steps.batch(steps.training, group), groups) as batches,
        ):
            steps.begin()
            work = zip(groups, batches, rates, strict=True)
            while seen < total:
                new = 0
                for group, batch, rate in islice(work, every):  # not a list: batches are made while the device works
                    steps.train(batch, group, rate)
                    new += len(group.rows)
                more = steps.take_sums()
                loss, hits, seen = loss + more[0], hits + more[1], seen + new
                if not math.isfinite(loss):
                    raise TrainingError(f"{title}: the loss is {loss} after {seen:,} drawings; {_ADVICE}")
                progress.update(new, f"loss {loss / seen:.4f}")
                now = time.monotonic()
                if math.isinf(first[0]):  # the first step is slow: it is compiled
                    first = now, seen
                elif self._on_rate and now - begun >= _RATE_SECONDS:
                    progress.close()  # the line is drawn again below what is printed
                    self._on_rate((seen - first[1]) / (now - first[0]))
                    self._on_rate = None
            steps.end()
        return loss, hits

    def _validate(self, title: str) -> NDArray[np.float32]:
        """Probabilities (n, C) of the validation split."""

        def predict(group: Group) -> object:
            size = len(group.rows)
            if self.one_shape and size < _VALIDATION_BATCH:
                group = Group(group.steps, np.resize(group.rows, _VALIDATION_BATCH))
            return self.steps.predict(group)[:size]

        with self._progress(title, len(self.validation)) as progress:
            return predict_with(
                predict,
                self.validation,
                self.spec,
                classes=len(self.validation.classes),
                batch=_VALIDATION_BATCH,
                progress=progress,
            )

    def _progress(self, title: str, total: int) -> Progress:
        progress = Progress(title, total)
        progress.shown &= self.workers.is_chief
        return progress

    def _set_seeds(self, number: int) -> None:
        """Make random numbers depend on seed and epoch alone."""
        generators = [v for v in self.steps.step.other_variables if v.name == SEED_STATE]
        source = np.random.SeedSequence([self.seed, number, self.workers.random_stream])
        states = source.generate_state(len(generators)) >> 1  # some are int32
        for variable, state in zip(generators, states, strict=True):
            variable.assign([int(state), 0])

    def describe(self) -> str:
        """Backend, device, precision, where the drawings are, and which LSTM kernel runs."""
        size = sum(resident_size(rows, self.spec) for rows in (self.training, self.validation))
        parts = [
            f"{keras.backend.backend()} on a {'GPU' if on_gpu() else 'CPU'}, {self.net.dtype_policy.name}",
            f"drawings kept in its memory ({size / 1e6:,.1f} MB)" if self.resident else "drawings sent batch by batch",
        ]
        if self.workers.devices > 1:
            parts.append(f"{self.workers.devices} devices, {self.workers.world_size} processes")
        if _has_lstm(self.net):
            self.steps.begin()
            cudnn = _CUDNN_LSTM.search(self.steps.program(self.groups(1)[0]))
            parts.append(f"LSTMs {'on' if cudnn else 'without'} cuDNN")
        return ", ".join(parts)


def _has_lstm(net: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.LSTM) for layer in net.layers)
