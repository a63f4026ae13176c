"""Who trains one network together: this process alone, several processes, or several devices.

All training here is data parallel. Every step's drawings are dealt out, gradients are those of the whole batch, and
all change the same weights by them. What is in a batch is a function of seed and epoch alone, so a run takes the same
course whoever shares it, but for rounding, chance (dropout) and the share that batch normalization sees.

The first worker is the chief. It alone reads and writes the run directory, and what it decides holds for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from ...errors import DataError, Error
from .batches import Group

DISTRIBUTE = ("auto", "mirrored", "multiworker", "none")
T = TypeVar("T")


class WorkerError(Error):
    """Another worker is gone."""


class Workers:
    """One process with one device; the subclasses are more.

    Attributes:
        index, count: which process this is, and of how many.
        devices: of all processes together.
        stream: of random numbers; those that compute apart have different ones.
    """

    index, count, devices, stream = 0, 1, 1, 0

    @property
    def chief(self) -> bool:
        """Whether this is the first process."""
        return self.index == 0

    def share(self, group: Group) -> Group:
        """What this process makes ready of a group."""
        return group

    def chiefs(self, array: NDArray[Any]) -> NDArray[Any]:
        """The chief's array; the others give one of its shape and dtype."""
        return array

    def agreed(self, value: T) -> T:
        """The chief's ``value``, which JSON can hold; every worker asks for it, in the same order."""
        if self.count == 1:
            return value
        data = np.frombuffer(orjson.dumps(value), np.uint8)
        size = int(self.chiefs(np.array([len(data)], np.int32))[0])
        told: T = orjson.loads(self.chiefs(data if self.chief else np.zeros(size, np.uint8)).tobytes())
        return told

    @contextmanager
    def led(self) -> Iterator[None]:
        """Around what the chief does for all: a DataError that it has there, all have."""
        try:
            yield
        except DataError as e:
            self.agreed(str(e))
            raise
        if said := self.agreed(""):
            raise DataError(f"the chief says: {said}")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raises WorkerError where what is done together failed because another worker is gone."""
        yield


class TensorFlowWorkers(Workers):
    """Processes with a device each, which sum what they have computed by the collective operations of a strategy.

    The variables are not the strategy's. Under one, Keras' optimizers clip gradients, and look whether they are finite,
    before they sum them: that is another clipping than on one device, and where the gradients of one worker alone
    overflow, the others wait for it for ever. Here the optimizer is given what it would be given on one device.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.index = self.stream = cluster.index
        self.count = self.devices = len(cluster.workers)
        self._strategy = _strategy(cluster)

    def share(self, group: Group) -> Group:
        """Its part of the rows; all of them where there are fewer than workers."""
        return group if len(group.rows) < self.count else Group(group.steps, self.parts(group)[self.index])

    def parts(self, group: Group) -> list[NDArray[np.int64]]:
        """The rows of each worker."""
        return np.array_split(group.rows, self.count)

    def summed(self, tensors: Sequence[Any]) -> list[Any]:
        """Each tensor's sum over the workers; within a graph that all of them run."""
        import tensorflow as tf

        def total(*values: Any) -> Any:
            # A copy: what comes from outside of ``run`` has no device, which the strategy asks it for.
            copies = [tf.identity(value) for value in values]
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, copies)

        return list(self._strategy.run(total, tuple(tensors)))

    def mean(self, tensors: Sequence[Any], weight: float) -> list[Any]:
        """Each tensor's mean over the workers by their weights; within a graph."""
        import tensorflow as tf

        *sums, weights = self.summed([*(t * tf.cast(weight, t.dtype) for t in tensors), tf.constant(float(weight))])
        return [s / tf.cast(weights, s.dtype) for s in sums]

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        """The sum over the workers of arrays of one shape and dtype."""
        # In float64, which holds all of float32 and int32: collectives know few types.
        found = self._compiled_total(array.ravel().astype(np.float64))
        return np.asarray(found).astype(array.dtype).reshape(array.shape)

    @cached_property
    def _compiled_total(self) -> Any:
        import tensorflow as tf

        any_length = tf.TensorSpec((None,), tf.float64)
        return tf.function(lambda values: self.summed([values])[0], input_signature=[any_length])

    def chiefs(self, array: NDArray[Any]) -> NDArray[Any]:
        """As in ``Workers``."""
        return self.total(array if self.chief else np.zeros_like(array))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """As in ``Workers``."""
        import tensorflow as tf

        gone = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError
        try:
            yield
        except gone as e:
            raise _gone() from e


class JaxWorkers(Workers):
    """One program over all devices of all processes; the compiler puts in what they tell each other.

    So chance and batch normalization are those of one device.
    """

    def __init__(self, cluster: Cluster | None) -> None:
        import jax

        if cluster is not None:
            _initialize(cluster)
        self.index, self.count, self.devices = jax.process_index(), jax.process_count(), jax.device_count()
        mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
        spec: Any = jax.sharding.PartitionSpec
        self.everywhere = jax.sharding.NamedSharding(mesh, spec())
        self._dealt = jax.sharding.NamedSharding(mesh, spec("batch"))

    def share(self, group: Group) -> Group:
        """What its devices take; all rows where they cannot be dealt evenly: then every device computes everything."""
        if len(group.rows) % self.devices:
            return group
        return Group(group.steps, np.split(group.rows, self.count)[self.index])

    def dealt(self, batch: dict[str, NDArray[Any]], group: Group) -> dict[str, Any]:
        """Arrays of ``share(group)``, a row for each drawing, to the devices."""
        sharding = self.everywhere if len(group.rows) % self.devices else self._dealt
        return {name: self._placed(array, sharding) for name, array in batch.items()}

    def held(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Arrays that all processes have, on every device."""
        return {name: self._placed(np.asarray(array), self.everywhere) for name, array in arrays.items()}

    def spread(self, arrays: Sequence[Any]) -> list[Any]:
        """The chief's arrays, on every device."""
        from jax.experimental import multihost_utils

        known = multihost_utils.broadcast_one_to_all([np.asarray(array) for array in arrays])
        return [self._placed(array, self.everywhere) for array in known]

    def _placed(self, array: NDArray[Any], sharding: Any) -> Any:
        import jax

        make: Any = jax.make_array_from_process_local_data
        return make(sharding, array)

    def chiefs(self, array: NDArray[Any]) -> NDArray[Any]:
        """As in ``Workers``."""
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.broadcast_one_to_all(array))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """As in ``Workers``."""
        import jax

        try:
            yield
        except jax.errors.JaxRuntimeError as e:
            if self.count == 1:
                raise
            raise _gone() from e


def _gone() -> WorkerError:
    return WorkerError(
        "another worker has ended or cannot be reached; the same command, given to every worker again, goes on after "
        "the last finished epoch"
    )


# ---- which ----


@dataclass(frozen=True)
class Cluster:
    """The addresses (HOST:PORT) of all workers, and which of them this process is."""

    workers: tuple[str, ...]
    index: int


def cluster() -> Cluster | None:
    """What TF_CONFIG says; None where it is not set.

    Raises:
        DataError: it is not what TensorFlow's guide says, or this process is not a worker.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return None
    try:
        config = orjson.loads(text)
        jobs, kind, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
        addresses = tuple(map(str, [*chiefs, *workers]))
        if not 0 <= index < len(jobs[kind]):
            raise ValueError(f"there is no {kind} {index}")
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"TF_CONFIG does not name the workers, and which of them this is: {e}") from e
    if kind not in ("chief", "worker"):
        raise DataError(f"TF_CONFIG makes this a {kind}: there are only workers here")
    return Cluster(addresses, index + len(chiefs) * (kind == "worker"))


def join(distribute: str) -> Workers:
    """Those that this process trains with; waits for them.

    Args:
        distribute: "multiworker": those in TF_CONFIG; "mirrored": the devices of this process, which JAX alone can use;
            "none"; "auto": what there is.

    Raises:
        DataError: there are none, or no such way.
    """
    import keras

    jax = keras.backend.backend() == "jax"
    if distribute not in DISTRIBUTE:
        raise DataError(f"distribute is {distribute!r}: it must be one of {', '.join(DISTRIBUTE)}")
    known = cluster() if distribute in ("auto", "multiworker") else None
    if known and len(known.workers) > 1:
        return JaxWorkers(known) if jax else TensorFlowWorkers(known)
    if distribute == "multiworker":
        raise DataError("distribute is multiworker, and TF_CONFIG names no other worker")
    if jax and distribute in ("auto", "mirrored"):
        here = JaxWorkers(None)
        if here.devices > 1:
            return here
    if distribute == "mirrored":
        what = "JAX has one device here" if jax else "`qdfast train` starts a process for each of several GPUs"
        raise DataError(f"distribute is mirrored: {what}")
    return Workers()


@cache  # it can be made but once, and before anything is computed
def _strategy(cluster: Cluster) -> Any:
    import tensorflow as tf

    if gpus := tf.config.list_physical_devices("GPU"):
        hosts = [address.rpartition(":")[0] for address in cluster.workers]
        mine = hosts[: cluster.index].count(hosts[cluster.index])
        tf.config.set_visible_devices(gpus[mine % len(gpus)], "GPU")
    return tf.distribute.MultiWorkerMirroredStrategy()


@cache
def _initialize(cluster: Cluster) -> None:
    import jax

    jax.distributed.initialize(cluster.workers[0], len(cluster.workers), cluster.index)
