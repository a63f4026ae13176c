"""Several workers on this host: with TensorFlow, `qdfast train` starts a process for each GPU."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import wait

import orjson

from .workers import WorkerError, cluster

_GRACE = 30.0  # seconds for the others to notice a lost worker and to report it


def processes_wanted(distribute: str) -> int:
    """The number of workers to start for ``--distribute``; 0 if this process trains itself."""
    import keras

    here = distribute == "mirrored" or (distribute == "auto" and cluster() is None)
    if keras.backend.backend() != "tensorflow" or not here:
        return 0
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    return gpus if gpus > 1 else 0


def on_workers(work: Callable[[], int], count: int) -> None:
    """Call ``work`` in ``count`` new processes, whose TF_CONFIG names them all. It returns the exit status.

    Raises:
        WorkerError: a process ended with a status other than 0. The others are stopped.
    """
    addresses = _free_addresses(count)
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    workers = [spawn.Process(target=_work, args=(work, addresses, index), daemon=True) for index in range(count)]
    for worker in workers:
        worker.start()
    try:
        running = workers
        while running and not any(w.exitcode for w in workers):
            wait([w.sentinel for w in running])
            running = [w for w in running if w.exitcode is None]
        until = time.monotonic() + _GRACE
        for worker in workers:
            worker.join(max(0.0, until - time.monotonic()))
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    if failed := [f"{i} (exit status {w.exitcode})" for i, w in enumerate(workers) if w.exitcode]:
        raise WorkerError(f"{len(failed)} of {count} workers failed: {', '.join(failed)}")


def _free_addresses(count: int) -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return ["{}:{}".format(*one.getsockname()) for one in sockets]


def _work(work: Callable[[], int], addresses: list[str], index: int) -> None:
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = orjson.dumps(config).decode()
    sys.exit(work())
