"""The training step: augment, loss, gradients, all-reduce, optimizer; and prediction.

``TrainStep`` says what a step computes, once, with ``keras.ops``. ``TensorFlowSteps`` and ``JaxSteps`` compile it: they
differ in how gradients are taken, in how variables change (TensorFlow's change inside the graph, JAX's state goes in
and comes out), and in what several workers exchange. Nothing is read back from the device unless it is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ..device import compiler_options
from .batches import Group
from .inputs import BatchSource
from .recipes import Recipe
from .workers import JaxWorkers, TensorFlowWorkers, Workers

if TYPE_CHECKING:
    from .augment import RandomStrokeAugment

SEED_STATE = "seed_generator_state"  # Keras' name for the state of a random generator


class TrainStep:
    """What a step computes, and the variables that it changes."""

    net: Any
    recipe: Recipe
    classes: int
    augment: RandomStrokeAugment | None
    sums: Any

    def __init__(self, net: keras.Model, recipe: Recipe, classes: int) -> None:
        self.net, self.recipe, self.classes = net, recipe, classes
        self.augment = None
        if recipe.augmented:
            from .augment import RandomStrokeAugment

            self.augment = RandomStrokeAugment()
        self.sums = keras.Variable(np.zeros(2, np.float32), trainable=False, name="sums")

    @property
    def other_variables(self) -> list[Any]:
        """The variables that a step changes, except weights and the optimizer's."""
        augment = self.augment.variables if self.augment else []
        return [*self.net.non_trainable_variables, *augment, self.sums]

    def loss(self, inputs: dict[str, Any], labels: Any) -> Any:
        """The mean loss of a batch, scaled for the optimizer; adds loss and hits to ``sums``."""
        if self.augment:
            inputs = dict(zip(("deltas", "lengths"), self.augment(**inputs), strict=True))
        probabilities = self.net(inputs, training=True)
        losses = ops.categorical_crossentropy(self.recipe.targets(labels, self.classes), probabilities)
        hits = ops.cast(ops.argmax(probabilities, axis=-1), labels.dtype) == labels
        plain = ops.sparse_categorical_crossentropy(labels, probabilities) if self.recipe.label_smoothing else losses
        self.sums.assign(self.sums + ops.stack([ops.sum(plain), ops.sum(ops.cast(hits, "float32"))]))
        return self.net.optimizer.scale_loss(ops.mean(losses))


class CompiledSteps(ABC):
    """Compiled steps of training and prediction; each shape of a batch is compiled when it first occurs.

    Between ``begin`` and ``end`` of training, Keras' variables may be out of date.
    """

    step: TrainStep
    training: BatchSource
    validation: BatchSource

    def __init__(self, step: TrainStep, training: BatchSource, validation: BatchSource, workers: Workers) -> None:
        self.step, self.training, self.validation = step, training, validation
        self._shard = workers.shard

    @abstractmethod
    def begin(self) -> None:
        """Call before training steps. Afterwards every worker has the chief's state."""

    def end(self) -> None:  # noqa: B027 - TensorFlow has nothing to do
        """Call after training steps."""

    def batch(self, source: BatchSource, group: Group) -> dict[str, NDArray[Any]]:
        """What this worker sends to its devices for a group."""
        return source.batch(self._shard(group))

    @abstractmethod
    def train(self, batch: dict[str, NDArray[Any]], group: Group, rate: float) -> None:
        """One step on ``batch(training, group)`` with this learning rate."""

    @abstractmethod
    def predict(self, group: Group) -> Any:
        """Probabilities (m, C) of a group of the validation split, perhaps still being computed."""

    @abstractmethod
    def take_sums(self) -> tuple[float, float]:
        """Loss and hits, summed over the drawings since the last call."""

    @abstractmethod
    def program(self, group: Group) -> str:
        """The training step as the compiler gets it."""


class TensorFlowSteps(CompiledSteps):
    """A graph for each shape: one graph for all shapes would be slower.

    With several workers, gradients, moving statistics, sums and predictions are reduced; each worker does the rest
    itself. Batch normalization uses the statistics of the worker's part of a batch, as is usual: those of the whole
    batch would cost two exchanges per layer. The moving statistics are the mean over the workers.
    """

    workers: TensorFlowWorkers | None

    def __init__(
        self, step: TrainStep, training: BatchSource, validation: BatchSource, workers: Workers, *, xla: bool
    ) -> None:
        import tensorflow as tf

        super().__init__(step, training, validation, workers)
        self.workers = workers if isinstance(workers, TensorFlowWorkers) else None
        self._update = tf.function(self._apply)  # traced once for all shapes of a batch, which takes seconds
        self._xla = xla and self.workers is None  # XLA does not compile collective operations
        self._graphs: dict[tuple[Callable[..., Any], int, int], Any] = {}

    def begin(self) -> None:
        if self.workers is None:
            return
        net = self.step.net
        variables = [
            *net.trainable_variables,
            *_without_seeds(self.step.other_variables),
            *net.optimizer.variables,
        ]
        values = [np.asarray(v) for v in variables]
        told = self.workers.broadcast(np.concatenate([value.ravel().astype(np.float64) for value in values]))
        parts = np.split(told, np.cumsum([value.size for value in values])[:-1])
        for variable, value, part in zip(variables, values, parts, strict=True):
            variable.assign(part.reshape(value.shape).astype(value.dtype))

    def train(self, batch: dict[str, NDArray[Any]], group: Group, rate: float) -> None:
        self._graph(self._train, group)(_tensors(batch), np.float32(rate))

    def _train(self, steps: int, batch: dict[str, Any], rate: Any) -> None:
        import tensorflow as tf

        inputs, labels = self.training.inputs(self.training.device_arrays, batch, steps)
        with tf.GradientTape() as tape:
            loss = self.step.loss(inputs, labels)
        gradients = tape.gradient(loss, self.step.net.trainable_variables)
        self._update(self._all_reduce(gradients, labels.shape[0]), rate)

    def _apply(self, gradients: list[Any], rate: Any) -> None:
        net = self.step.net
        net.optimizer.learning_rate = rate
        net.optimizer.apply(gradients, net.trainable_variables)

    def _all_reduce(self, gradients: list[Any], drawings: int) -> list[Any]:
        """The gradients of the whole batch from those of this worker's ``drawings``."""
        if self.workers is None:
            return gradients
        statistics = _without_seeds(self.step.net.non_trainable_variables)
        mean = self.workers.all_reduce_mean([*gradients, *(v.value for v in statistics)], drawings)
        for variable, value in zip(statistics, mean[len(gradients) :], strict=True):
            variable.assign(value)
        return mean[: len(gradients)]

    def predict(self, group: Group) -> Any:
        found = self._graph(self._predict, group)(_tensors(self.batch(self.validation, group)))
        if self.workers is None:
            return found
        parts = self.workers.row_parts(group)
        if not all(map(len, parts)):
            return found
        places = np.cumsum([0, *map(len, parts)])
        whole = np.zeros((len(group.rows), found.shape[-1]), np.float32)
        whole[places[self.workers.rank] : places[self.workers.rank + 1]] = found
        return self.workers.all_reduce_array(whole)

    def _predict(self, steps: int, batch: dict[str, Any]) -> Any:
        inputs, _ = self.validation.inputs(self.validation.device_arrays, batch, steps)
        return self.step.net(inputs, training=False)

    def take_sums(self) -> tuple[float, float]:
        sums = np.asarray(self.step.sums)
        self.step.sums.assign(np.zeros(2, np.float32))
        if self.workers:
            sums = self.workers.all_reduce_array(np.array(sums.tolist()))
        loss, hits = sums.tolist()
        return loss, hits

    def program(self, group: Group) -> str:
        graph = self._graph(self._train, group)
        batch = _tensors(self.batch(self.training, group))
        return str(graph.get_concrete_function(batch, np.float32(0)).graph.as_graph_def())

    def _graph(self, run: Callable[..., Any], group: Group) -> Any:
        """``run`` compiled for groups of this shape."""
        import tensorflow as tf

        key = (run, group.steps, len(group.rows))
        if key not in self._graphs:
            self._graphs[key] = tf.function(partial(run, group.steps), jit_compile=self._xla)
        return self._graphs[key]


def _tensors(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.constant(array) for name, array in batch.items()}


def _without_seeds(variables: list[Any]) -> list[Any]:
    return [v for v in variables if v.name != SEED_STATE]


class JaxSteps(CompiledSteps):
    """State in, state out; the old state's memory is reused.

    With several devices, batches are sharded over them and the state is on every one.
    """

    workers: JaxWorkers | None

    def __init__(self, step: TrainStep, training: BatchSource, validation: BatchSource, workers: Workers) -> None:
        import jax

        super().__init__(step, training, validation, workers)
        self.workers = workers if isinstance(workers, JaxWorkers) else None
        options: dict[str, Any] = {"static_argnums": 3, "compiler_options": compiler_options()}
        if self.workers:
            options["out_shardings"] = self.workers.replicated
            for source in (training, validation):
                source.device_arrays = self.workers.replicate(source.device_arrays)
        self._compiled_train = jax.jit(self._train, donate_argnums=0, **options)
        self._compiled_predict = jax.jit(self._predict, **options)
        self._state: Any = None

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        net = self.step.net
        return net.trainable_variables, self.step.other_variables, net.optimizer.variables

    def begin(self) -> None:
        import jax

        if self.workers:
            self._state = tuple(self.workers.broadcast_state([v.value for v in vs]) for vs in self._variables())
        else:
            # Copied: some variables share their memory, which can be donated only once.
            self._state = tuple([jax.numpy.array(v.value) for v in vs] for vs in self._variables())

    def end(self) -> None:
        for variables, values in zip(self._variables(), self._state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(np.asarray(value) if self.workers else value)

    def train(self, batch: dict[str, NDArray[Any]], group: Group, rate: float) -> None:
        self._state = self._compiled_train(self._state, *self._arguments(batch, group, rate))

    def _arguments(self, batch: dict[str, NDArray[Any]], group: Group, rate: float) -> tuple[Any, ...]:
        return self.training.device_arrays, self._place(batch, group), group.steps, np.float32(rate)

    def _place(self, batch: dict[str, NDArray[Any]], group: Group) -> dict[str, Any]:
        return self.workers.place_batch(batch, group) if self.workers else batch

    def _train(self, state: Any, device_arrays: Any, batch: Any, steps: int, rate: Any) -> Any:
        import jax

        weights, others, optimizer = state
        weight_variables, other_variables, optimizer_variables = self._variables()
        inputs, labels = self.training.inputs(device_arrays, batch, steps)

        def loss(weights: Any) -> Any:
            known = [*zip(weight_variables, weights, strict=True), *zip(other_variables, others, strict=True)]
            known += zip(optimizer_variables, optimizer, strict=True)  # the scale of the loss
            with keras.StatelessScope(state_mapping=known) as scope:
                value = self.step.loss(inputs, labels)
            return value, [scope.get_current_value(v) for v in other_variables]

        gradients, others = jax.grad(loss, has_aux=True)(weights)
        with keras.StatelessScope(state_mapping=zip(optimizer_variables, optimizer, strict=True)) as scope:
            self.step.net.optimizer.learning_rate = rate
        optimizer = [scope.get_current_value(v) for v in optimizer_variables]
        weights, optimizer = self.step.net.optimizer.stateless_apply(optimizer, gradients, weights)
        return weights, others, optimizer

    def predict(self, group: Group) -> Any:
        net = self.step.net
        values = [v.value for v in net.trainable_variables], [v.value for v in net.non_trainable_variables]
        placed = self._place(self.batch(self.validation, group), group)
        return self._compiled_predict(values, self.validation.device_arrays, placed, group.steps)

    def _predict(self, values: Any, device_arrays: Any, batch: Any, steps: int) -> Any:
        inputs, _ = self.validation.inputs(device_arrays, batch, steps)
        return self.step.net.stateless_call(*values, inputs, training=False)[0]

    def take_sums(self) -> tuple[float, float]:
        import jax

        weights, others, optimizer = self._state
        loss, hits = np.asarray(others[-1]).tolist()
        self._state = weights, [*others[:-1], jax.numpy.zeros_like(others[-1])], optimizer
        return loss, hits

    def program(self, group: Group) -> str:
        batch = self.batch(self.training, group)
        return str(self.lower(batch, group).as_text())

    def lower(self, batch: dict[str, NDArray[Any]], group: Group) -> Any:
        """JAX's lowered training step, to be compiled or inspected."""
        return self._compiled_train.lower(self._state, *self._arguments(batch, group, 0.0))


def compile_steps(
    workers: Workers, step: TrainStep, training: BatchSource, validation: BatchSource, *, xla: bool
) -> CompiledSteps:
    """Steps on Keras' backend. ``xla`` is for TensorFlow; JAX has no other compiler."""
    if keras.backend.backend() == "jax":
        return JaxSteps(step, training, validation, workers)
    return TensorFlowSteps(step, training, validation, workers, xla=xla)
