"""One step of training, and of prediction, compiled for the backend that Keras runs on.

What a step does is written once, with ``keras.ops`` and variables. The backends differ in how gradients are taken and
in how variables change: TensorFlow's do within the graph, JAX is given all of them and gives them back. Nothing is read
from the device but what is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ..device import compiler_options
from .averaging import Averaging
from .batches import Group
from .recipes import Recipe
from .supply import Supply

CHANCE = "seed_generator_state"  # what Keras names the state of a generator of random numbers


class Step:
    """What a step does: drawings altered, the loss, the optimizer, the moving average, the sums."""

    def __init__(self, net: keras.Model, recipe: Recipe, averaging: Averaging, classes: int) -> None:
        self.net, self.recipe, self.averaging, self.classes = net, recipe, averaging, classes
        self.alteration = None
        if recipe.augmented:
            from .augment import Alteration

            self.alteration = Alteration()
        self.sums = keras.Variable(np.zeros(2, np.float32), trainable=False, name="sums")

    @property
    def others(self) -> list[Any]:
        """The variables that a step changes, without the trainable ones and the optimizer's."""
        drawn = self.alteration.variables if self.alteration else []
        return [*self.net.non_trainable_variables, *drawn, *self.averaging.variables, self.sums]

    def loss(self, inputs: dict[str, Any], labels: Any) -> Any:
        """The mean loss of a batch, scaled as the optimizer wants it."""
        if self.alteration:
            inputs = dict(zip(("deltas", "lengths"), self.alteration(**inputs), strict=True))
        probabilities = self.net(inputs, training=True)
        losses = ops.categorical_crossentropy(self.recipe.targets(labels, self.classes), probabilities)
        hits = ops.cast(ops.argmax(probabilities, axis=-1), labels.dtype) == labels
        plain = ops.sparse_categorical_crossentropy(labels, probabilities) if self.recipe.label_smoothing else losses
        self.sums.assign(self.sums + ops.stack([ops.sum(plain), ops.sum(ops.cast(hits, "float32"))]))
        return self.net.optimizer.scale_loss(ops.mean(losses))


class Steps(ABC):
    """Compiled steps; a new shape of batch is compiled when it first comes.

    Between ``begin`` and ``end`` of some steps of training, Keras' variables are not up to date on every backend.
    """

    def __init__(self, step: Step, training: Supply, validation: Supply) -> None:
        self.step, self.training, self.validation = step, training, validation

    def begin(self) -> None:  # noqa: B027 - TensorFlow has nothing to do
        """Before steps of training."""

    def end(self) -> None:  # noqa: B027
        """After them."""

    @abstractmethod
    def train(self, batch: dict[str, NDArray[Any]], group: Group, rate: float, horizon: float) -> None:
        """One step on what ``training.batch(group)`` gave."""

    @abstractmethod
    def predict(self, batch: dict[str, NDArray[Any]], group: Group) -> Any:
        """Probabilities (m, C) of what ``validation.batch(group)`` gave, perhaps still to be computed."""

    @abstractmethod
    def sums(self) -> tuple[float, float]:
        """Loss and hits, summed over the drawings since this was last asked."""

    @abstractmethod
    def lowered(self, batch: dict[str, NDArray[Any]], group: Group) -> str:
        """The step of training as the backend's compiler is given it."""


class TensorFlowSteps(Steps):
    """Each shape is a graph of its own: one for any shape would be slower, and be taken or not by what came before."""

    def __init__(self, step: Step, training: Supply, validation: Supply, *, xla: bool) -> None:
        super().__init__(step, training, validation)
        self._xla = xla
        self._graphs: dict[tuple[Callable[..., Any], int, int], Any] = {}

    def _graph(self, run: Callable[..., Any], group: Group) -> Any:
        """``run`` compiled for groups like this one."""
        import tensorflow as tf

        key = (run, group.steps, len(group.rows))
        if key not in self._graphs:
            self._graphs[key] = tf.function(partial(run, group.steps), jit_compile=self._xla)
        return self._graphs[key]

    def _trained(self, steps: int, batch: dict[str, Any], rate: Any, horizon: Any) -> None:
        import tensorflow as tf

        net, optimizer = self.step.net, self.step.net.optimizer
        inputs, labels = self.training.made(self.training.held, batch, steps)
        with tf.GradientTape() as tape:
            loss = self.step.loss(inputs, labels)
        gradients = self._together(tape.gradient(loss, net.trainable_variables), labels.shape[0])
        optimizer.learning_rate = rate
        optimizer.apply(gradients, net.trainable_variables)
        self.step.averaging.update(horizon)

    def _together(self, gradients: list[Any], drawings: int) -> list[Any]:
        """The gradients of the whole batch, from those of the ``drawings`` seen here: these are all."""
        return gradients

    def _predicted(self, steps: int, batch: dict[str, Any]) -> Any:
        inputs, _ = self.validation.made(self.validation.held, batch, steps)
        return self.step.net(inputs, training=False)

    def train(self, batch: dict[str, NDArray[Any]], group: Group, rate: float, horizon: float) -> None:
        """As in ``Steps``."""
        self._graph(self._trained, group)(_tensors(batch), np.float32(rate), np.float32(horizon))

    def predict(self, batch: dict[str, NDArray[Any]], group: Group) -> Any:
        """As in ``Steps``."""
        return self._graph(self._predicted, group)(_tensors(batch))

    def sums(self) -> tuple[float, float]:
        """As in ``Steps``."""
        loss, hits = np.asarray(self.step.sums).tolist()
        self.step.sums.assign(np.zeros(2, np.float32))
        return loss, hits

    def lowered(self, batch: dict[str, NDArray[Any]], group: Group) -> str:
        """As in ``Steps``."""
        graph = self._graph(self._trained, group).get_concrete_function(_tensors(batch), np.float32(0), np.float32(0))
        return str(graph.graph.as_graph_def())


def _tensors(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.constant(array) for name, array in batch.items()}


class JaxSteps(Steps):
    """The variables' values go in, the old ones' memory is given up, and new ones come out."""

    def __init__(self, step: Step, training: Supply, validation: Supply) -> None:
        import jax

        super().__init__(step, training, validation)
        self._train = jax.jit(self._trained, static_argnums=3, donate_argnums=0, compiler_options=compiler_options())
        self._predict = jax.jit(self._predicted, static_argnums=3, compiler_options=compiler_options())
        self._state: Any = None

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        net = self.step.net
        return net.trainable_variables, self.step.others, net.optimizer.variables

    def begin(self) -> None:
        """As in ``Steps``."""
        import jax

        # Copied: some variables share their memory, which can be given up but once.
        self._state = tuple([jax.numpy.array(v.value) for v in variables] for variables in self._variables())

    def end(self) -> None:
        """As in ``Steps``."""
        for variables, values in zip(self._variables(), self._state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def _trained(self, state: Any, held: Any, batch: Any, steps: int, rate: Any, horizon: Any) -> Any:
        import jax

        weights, others, optimizer = state
        of_weights, of_others, of_optimizer = self._variables()
        inputs, labels = self.training.made(held, batch, steps)

        def loss(weights: Any) -> Any:
            known = [*zip(of_weights, weights, strict=True), *zip(of_others, others, strict=True)]
            known += zip(of_optimizer, optimizer, strict=True)  # the scale of the loss
            with keras.StatelessScope(state_mapping=known) as scope:
                value = self.step.loss(inputs, labels)
            return value, [scope.get_current_value(v) for v in of_others]

        gradients, others = jax.grad(loss, has_aux=True)(weights)
        with keras.StatelessScope(state_mapping=zip(of_optimizer, optimizer, strict=True)) as scope:
            self.step.net.optimizer.learning_rate = rate
        optimizer = [scope.get_current_value(v) for v in of_optimizer]
        weights, optimizer = self.step.net.optimizer.stateless_apply(optimizer, gradients, weights)
        known = [*zip(of_weights, weights, strict=True), *zip(of_others, others, strict=True)]
        with keras.StatelessScope(state_mapping=known) as scope:
            self.step.averaging.update(horizon)
        return weights, [scope.get_current_value(v) for v in of_others], optimizer

    def _predicted(self, values: Any, held: Any, batch: Any, steps: int) -> Any:
        net = self.step.net
        inputs, _ = self.validation.made(held, batch, steps)
        return net.stateless_call(*values, inputs, training=False)[0]

    def train(self, batch: dict[str, NDArray[Any]], group: Group, rate: float, horizon: float) -> None:
        """As in ``Steps``."""
        given = (self.training.held, self._sent(batch, group), group.steps, np.float32(rate), np.float32(horizon))
        self._state = self._train(self._state, *given)

    def predict(self, batch: dict[str, NDArray[Any]], group: Group) -> Any:
        """As in ``Steps``."""
        net = self.step.net
        values = [v.value for v in net.trainable_variables], [v.value for v in net.non_trainable_variables]
        return self._predict(values, self.validation.held, self._sent(batch, group), group.steps)

    def _sent(self, batch: dict[str, NDArray[Any]], group: Group) -> dict[str, Any]:
        """What the compiled step is given for a batch."""
        return batch

    def sums(self) -> tuple[float, float]:
        """As in ``Steps``."""
        import jax

        weights, others, optimizer = self._state
        loss, hits = np.asarray(others[-1]).tolist()
        self._state = weights, [*others[:-1], jax.numpy.zeros_like(others[-1])], optimizer
        return loss, hits

    def lowered(self, batch: dict[str, NDArray[Any]], group: Group) -> str:
        """As in ``Steps``."""
        given = (self.training.held, self._sent(batch, group), group.steps, np.float32(0), np.float32(0))
        return str(self._train.lower(self._state, *given).as_text())
