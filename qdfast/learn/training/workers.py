"""Data-parallel training: this process alone, several processes, or several devices.

Each step's drawings are split over the workers, and every worker applies the gradients of the whole batch to the same
weights. Seed and epoch alone decide what is in a batch, so a run gives the same result on any number of workers, up to
rounding, random numbers (dropout) and the part of a batch that batch normalization sees.

The first worker is the chief. It alone reads and writes the run directory, and its decisions hold for all.
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
from ...storage.names import DISTRIBUTE
from .batches import Group

T = TypeVar("T")


class WorkerError(Error):
    """Another worker has ended."""


class Workers:
    """A single process with one device. The subclasses stand for several processes or devices.

    Attributes:
        rank, world_size: the number of this process, and how many there are.
        devices: devices of all processes together.
        random_stream: part of the random seed; differs between workers that draw their own random numbers.
    """

    rank: int = 0
    world_size: int = 1
    devices: int = 1
    random_stream: int = 0

    @property
    def is_chief(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def shard(self, group: Group) -> Group:
        """This process's part of a group of drawings."""
        return group

    def broadcast(self, array: NDArray[Any]) -> NDArray[Any]:
        """The chief's array. Other workers pass any array of the same shape and dtype."""
        return array

    def broadcast_object(self, value: T) -> T:
        """The chief's ``value``, which must be JSON. Every worker must make the same calls in the same order."""
        if self.world_size == 1:
            return value
        data = np.frombuffer(orjson.dumps(value), np.uint8)
        size = int(self.broadcast(np.array([len(data)], np.int32))[0])
        received = self.broadcast(data if self.is_chief else np.zeros(size, np.uint8))
        told: T = orjson.loads(received.tobytes())
        return told

    @contextmanager
    def chief_errors(self) -> Iterator[None]:
        """If the chief raises DataError inside this context, every worker raises it."""
        try:
            yield
        except DataError as e:
            self.broadcast_object(str(e))
            raise
        if message := self.broadcast_object(""):
            raise DataError(f"error on the chief: {message}")

    @contextmanager
    def lost_workers(self) -> Iterator[None]:
        """Raises WorkerError if a collective operation fails because another worker has ended."""
        yield


class TensorFlowWorkers(Workers):
    """Processes with a device each, joined by the collective operations of MultiWorkerMirroredStrategy.

    The variables are not created under the strategy. Under one, Keras 3's optimizers clip gradients and check that they
    are finite before they sum them. So they clip differently than on one device, and if the gradients of only one
    worker overflow, the others wait for it forever. Here the optimizer gets the gradients of the whole batch.
    """

    rank: int
    world_size: int
    devices: int
    random_stream: int

    def __init__(self, cluster: Cluster) -> None:
        self.rank = self.random_stream = cluster.index
        self.world_size = self.devices = len(cluster.workers)
        self._strategy = _strategy(cluster)

    def shard(self, group: Group) -> Group:
        """This worker's rows; all rows if there are fewer rows than workers."""
        parts = self.row_parts(group)
        return Group(group.steps, parts[self.rank]) if all(map(len, parts)) else group

    def row_parts(self, group: Group) -> list[NDArray[np.int64]]:
        """The rows of each worker."""
        return np.array_split(group.rows, self.world_size)

    def all_reduce_sum(self, tensors: Sequence[Any]) -> list[Any]:
        """The sum of each tensor over the workers. All workers must run the graph that calls this."""
        import tensorflow as tf

        def reduce(*values: Any) -> Any:
            # Copies, since values from outside of ``run`` have no device, and the strategy needs one.
            copies = [tf.identity(value) for value in values]
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, copies)

        return list(self._strategy.run(reduce, tuple(tensors)))

    def all_reduce_mean(self, tensors: Sequence[Any], weight: float) -> list[Any]:
        """The weighted mean of each tensor over the workers, inside a graph."""
        import tensorflow as tf

        weighted = [t * tf.cast(weight, t.dtype) for t in tensors]
        *sums, weights = self.all_reduce_sum([*weighted, tf.constant(float(weight))])
        return [s / tf.cast(weights, s.dtype) for s in sums]

    def all_reduce_array(self, array: NDArray[Any]) -> NDArray[Any]:
        """The sum over the workers; all pass arrays of the same shape and dtype."""
        # In float64, which holds all of float32 and int32: collectives support few types.
        found = self._compiled_sum(array.ravel().astype(np.float64))
        return np.asarray(found).astype(array.dtype).reshape(array.shape)

    @cached_property
    def _compiled_sum(self) -> Any:
        import tensorflow as tf

        any_length = tf.TensorSpec((None,), tf.float64)
        return tf.function(lambda values: self.all_reduce_sum([values])[0], input_signature=[any_length])

    def broadcast(self, array: NDArray[Any]) -> NDArray[Any]:
        return self.all_reduce_array(array if self.is_chief else np.zeros_like(array))

    @contextmanager
    def lost_workers(self) -> Iterator[None]:
        import tensorflow as tf

        lost = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError
        try:
            yield
        except lost as e:
            raise _worker_lost() from e


class JaxWorkers(Workers):
    """One program over all devices of all processes; JAX's compiler inserts the communication.

    Random numbers and batch normalization are the same as on one device.
    """

    rank: int
    world_size: int
    devices: int
    replicated: Any

    def __init__(self, cluster: Cluster | None) -> None:
        import jax

        if cluster is not None:
            _initialize(cluster)
        self.rank, self.world_size, self.devices = jax.process_index(), jax.process_count(), jax.device_count()
        mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
        spec: Any = jax.sharding.PartitionSpec
        self.replicated = jax.sharding.NamedSharding(mesh, spec())
        self._sharded = jax.sharding.NamedSharding(mesh, spec("batch"))

    def shard(self, group: Group) -> Group:
        """This process's rows; all rows if the devices cannot share them evenly, so that each computes everything."""
        if len(group.rows) % self.devices:
            return group
        return Group(group.steps, np.split(group.rows, self.world_size)[self.rank])

    def place_batch(self, batch: dict[str, NDArray[Any]], group: Group) -> dict[str, Any]:
        """Place the arrays of ``shard(group)``, one row per drawing, on the devices."""
        sharding = self.replicated if len(group.rows) % self.devices else self._sharded
        return {name: self._place(array, sharding) for name, array in batch.items()}

    def replicate(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Place equal arrays of all processes on every device."""
        return {name: self._place(np.asarray(array), self.replicated) for name, array in arrays.items()}

    def broadcast_state(self, arrays: Sequence[Any]) -> list[Any]:
        """The chief's arrays, on every device."""
        from jax.experimental import multihost_utils

        known = multihost_utils.broadcast_one_to_all([np.asarray(array) for array in arrays])
        return [self._place(array, self.replicated) for array in known]

    def _place(self, array: NDArray[Any], sharding: Any) -> Any:
        import jax

        make: Any = jax.make_array_from_process_local_data
        return make(sharding, array)

    def broadcast(self, array: NDArray[Any]) -> NDArray[Any]:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.broadcast_one_to_all(array))

    @contextmanager
    def lost_workers(self) -> Iterator[None]:
        import jax

        try:
            yield
        except jax.errors.JaxRuntimeError as e:
            if self.world_size == 1:
                raise
            raise _worker_lost() from e


def _worker_lost() -> WorkerError:
    return WorkerError(
        "another worker ended or cannot be reached; start all workers again with the same command to resume after the "
        "last finished epoch"
    )


# ---- which workers ----


@dataclass(frozen=True)
class Cluster:
    """The addresses (HOST:PORT) of all workers, and the index of this process."""

    workers: tuple[str, ...]
    index: int


def cluster() -> Cluster | None:
    """The cluster in TF_CONFIG; None if that is not set.

    Raises:
        DataError: TF_CONFIG is malformed, or this process is not a worker.
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
        raise DataError(f"TF_CONFIG: invalid cluster or task: {e}") from e
    if kind not in ("chief", "worker"):
        raise DataError(f"TF_CONFIG: the task type is {kind}; it must be worker or chief")
    return Cluster(addresses, index + len(chiefs) * (kind == "worker"))


def cluster_for(distribute: str) -> Cluster | None:
    """The cluster of several workers to join, as for ``join``; None if there is none.

    Raises:
        DataError: TF_CONFIG names no such cluster, but ``distribute`` asks for it, or has an unknown value.
    """
    if distribute not in DISTRIBUTE:
        raise DataError(f"distribute is {distribute!r}: it must be one of {', '.join(DISTRIBUTE)}")
    known = cluster() if distribute in ("auto", "multiworker") else None
    if known and len(known.workers) > 1:
        return known
    if distribute == "multiworker":
        raise DataError("distribute is multiworker, but TF_CONFIG names no other worker")
    return None


def join(distribute: str) -> Workers:
    """Join the workers that train together. Waits until all have started.

    Args:
        distribute: "multiworker": the workers in TF_CONFIG; "mirrored": all devices of this process (JAX only); "none":
            this device alone; "auto": the workers in TF_CONFIG, else all devices of this process.

    Raises:
        DataError: there are no such workers or devices, or ``distribute`` has another value.
    """
    import keras

    jax = keras.backend.backend() == "jax"
    if known := cluster_for(distribute):
        return JaxWorkers(known) if jax else TensorFlowWorkers(known)
    if jax and distribute in ("auto", "mirrored"):
        here = JaxWorkers(None)
        if here.devices > 1:
            return here
    if distribute == "mirrored":
        what = "JAX has only one device" if jax else "with TensorFlow it needs `qdfast train` and several GPUs"
        raise DataError(f"distribute is mirrored, but {what}")
    return Workers()


@cache  # it can only be made once, before anything is computed
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
