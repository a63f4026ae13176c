"""Steps that several workers take together, each with its share of the drawings; see ``workers``."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ..device import compiler_options
from .batches import Group
from .steps import CHANCE, JaxSteps, Step, Steps, TensorFlowSteps
from .supply import Arrays, Supply
from .workers import JaxWorkers, TensorFlowWorkers, Workers


class Share(Supply):
    """A supply of which this process makes its share only."""

    def __init__(self, whole: Supply, workers: Workers) -> None:
        self.rows, self.held, self._whole, self._workers = whole.rows, whole.held, whole, workers

    def batch(self, group: Group) -> dict[str, NDArray[Any]]:
        """As in ``Supply``, of its share of the group."""
        return self._whole.batch(self._workers.share(group))

    def made(self, held: Arrays, batch: Arrays, steps: int) -> tuple[Arrays, Any]:
        """As in ``Supply``."""
        return self._whole.made(held, batch, steps)


class SharedTensorFlowSteps(TensorFlowSteps):
    """Gradients, moving statistics, sums and predictions are put together; all else each worker does for itself.

    Batch normalization takes its statistics from the share, as is usual: to have those of the batch would cost two
    exchanges for every such layer. The moving ones, which are what counts later, are their mean over the workers.
    """

    def __init__(self, step: Step, training: Supply, validation: Supply, workers: TensorFlowWorkers) -> None:
        # Without XLA, which does not compile what the workers tell each other.
        super().__init__(step, Share(training, workers), Share(validation, workers), xla=False)
        self.workers = workers

    def begin(self) -> None:
        """All variables as the chief has them: it may have read them from a file, or run on other hardware."""
        net = self.step.net
        variables = [*net.trainable_variables, *_without_chance(self.step.others), *net.optimizer.variables]
        values = [np.asarray(v) for v in variables]
        told = self.workers.chiefs(np.concatenate([value.ravel().astype(np.float64) for value in values]))
        parts = np.split(told, np.cumsum([value.size for value in values])[:-1])
        for variable, value, part in zip(variables, values, parts, strict=True):
            variable.assign(part.reshape(value.shape).astype(value.dtype))

    def _together(self, gradients: list[Any], drawings: int) -> list[Any]:
        statistics = _without_chance(self.step.net.non_trainable_variables)
        mean = self.workers.mean([*gradients, *(v.value for v in statistics)], drawings)
        for variable, value in zip(statistics, mean[len(gradients) :], strict=True):
            variable.assign(value)
        return mean[: len(gradients)]

    def predict(self, batch: dict[str, NDArray[Any]], group: Group) -> Any:
        """As in ``Steps``: of the whole group, to every worker."""
        own = super().predict(batch, group)
        parts = self.workers.parts(group)
        if not all(map(len, parts)):
            return own
        places = np.cumsum([0, *map(len, parts)])
        whole = np.zeros((len(group.rows), own.shape[-1]), np.float32)
        whole[places[self.workers.index] : places[self.workers.index + 1]] = own
        return self.workers.total(whole)

    def sums(self) -> tuple[float, float]:
        """As in ``Steps``: over all drawings."""
        loss, hits = self.workers.total(np.array(super().sums())).tolist()
        return loss, hits


def _without_chance(variables: list[Any]) -> list[Any]:
    return [v for v in variables if v.name != CHANCE]


class SharedJaxSteps(JaxSteps):
    """The same program with its batches dealt to the devices, and its state on every one."""

    def __init__(self, step: Step, training: Supply, validation: Supply, workers: JaxWorkers) -> None:
        import jax

        super().__init__(step, Share(training, workers), Share(validation, workers))
        self.workers = workers
        for supply in (self.training, self.validation):
            supply.held = workers.held(supply.held)
        kept = workers.everywhere
        options: dict[str, Any] = {"static_argnums": 3, "out_shardings": kept, "compiler_options": compiler_options()}
        self._train = jax.jit(self._trained, donate_argnums=0, **options)
        self._predict = jax.jit(self._predicted, **options)

    def begin(self) -> None:
        """The state as the chief has it."""
        self._state = tuple(self.workers.spread([v.value for v in variables]) for variables in self._variables())

    def end(self) -> None:
        """As in ``Steps``; a variable is on one device."""
        self._state = tuple([np.asarray(value) for value in values] for values in self._state)
        super().end()

    def _sent(self, batch: dict[str, NDArray[Any]], group: Group) -> dict[str, Any]:
        return self.workers.dealt(batch, group)


def compiled(workers: Workers, step: Step, training: Supply, validation: Supply, *, xla: bool) -> Steps:
    """Steps on Keras' backend; ``xla`` is TensorFlow's choice, JAX has no other compiler."""
    if isinstance(workers, TensorFlowWorkers):
        return SharedTensorFlowSteps(step, training, validation, workers)
    if isinstance(workers, JaxWorkers):
        return SharedJaxSteps(step, training, validation, workers)
    if keras.backend.backend() == "jax":
        return JaxSteps(step, training, validation)
    return TensorFlowSteps(step, training, validation, xla=xla)
