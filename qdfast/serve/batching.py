"""Batches concurrent requests: those that arrive while the model is busy are answered by one run.

Each request has a thread from gRPC, and that thread runs the model itself if no other run is in progress. So a lone
request involves no other thread and no timer, and is as fast as without batching. Meanwhile other requests wait in a
queue. A thread that finishes a run makes the request that has waited longest the leader of the next batch; the leader
adds queued requests to the same signature that are of similar length. If enough rows are queued to occupy another core,
their run starts in parallel. Batches therefore grow with the load only, and there are no threads besides gRPC's: an
unloaded version is freed with the last request that uses it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .batch_ops import (
    CHUNK_ROWS,
    Arrays,
    batchable_inputs,
    check_first_dimensions,
    chunks,
    concat_outputs,
    merge_inputs,
    num_rows,
    split_outputs,
)
from .batching_config import BatchingParameters
from .servable import Inputs, RequestError, SignatureRunner

MIN_PARALLEL_ROWS = 4
"""Rows for which a run is started beside another: from there on its rows cost more than its fixed overhead."""

MIN_SIZE_BITS = 6
"""Sizes up to 2**6 count as similar: below, a batch's fixed cost exceeds that of its padding."""


def always_active() -> bool:
    """``is_active`` for a request that cannot be cancelled."""
    return True


def run_unbatched(
    signature: SignatureRunner,
    inputs: Inputs,
    outputs: Sequence[str] = (),
    is_active: Callable[[], bool] = always_active,
) -> Arrays:
    """Run a request alone, in chunks if its rows are independent. Arguments and result as for ``Batcher.run``."""
    checked = batchable_inputs(signature, inputs) if signature.row_wise else None
    if checked is None:
        return signature.run(inputs, outputs)
    results = []
    for chunk in chunks(checked, CHUNK_ROWS):
        _require_active(is_active)
        results.append(signature.run(chunk, outputs))
    return concat_outputs(results)


class Batcher:
    """Runs requests to any signatures, in batches where possible.

    Args:
        parameters: sizes and limits.
        on_batch: called with the number of rows of every run.
    """

    def __init__(self, parameters: BatchingParameters, on_batch: Callable[[int], None] = lambda rows: None) -> None:
        self._parameters = parameters
        self._on_batch = on_batch
        self._timeout = parameters.batch_timeout_micros / 1e6
        self._running = 0  # runs in progress
        self._queues: dict[Any, deque[_Task]] = {}  # by batch key (signature, outputs, sizes); no deque is empty
        self._collecting: set[Any] = set()  # keys of batches that are started and still wait for more requests
        self._queued_rows = 0
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)

    @property
    def queued_rows(self) -> int:
        """Rows that wait for the model."""
        return self._queued_rows

    def run(
        self,
        signature: SignatureRunner,
        inputs: Inputs,
        outputs: Sequence[str] = (),
        is_active: Callable[[], bool] = always_active,
    ) -> Arrays:
        """Return what ``signature.run(inputs, outputs)`` returns.

        Requests whose rows are not known to be independent are run alone, and never in chunks, unless the parameters
        say ``all_models``.

        Args:
            is_active: whether the client still waits; called before the model is run.

        Raises:
            RequestError: as for ``signature.run``; INVALID_ARGUMENT if there are more rows than the parameters allow;
                UNAVAILABLE if the queue is full; CANCELLED if not ``is_active``.
        """
        parameters = self._parameters
        checked = None
        if signature.row_wise or (signature.batchable and parameters.all_models):
            if parameters.all_models:
                check_first_dimensions(inputs)
            checked = batchable_inputs(signature, inputs, parameters.max_batch_size)
        if checked is None:
            return signature.run(inputs, outputs)
        size = parameters.rows_per_batch
        tasks = (_Task(signature, chunk, outputs, is_active) for chunk in chunks(checked, size))
        return concat_outputs([self._run_task(task) for task in tasks])

    def _run_task(self, task: _Task) -> Arrays:
        key = task.signature, tuple(task.outputs), self._size_class(task.inputs)
        with self._lock:
            if key not in self._collecting and self._may_start(task.rows + self._rows_queued_for(key)):
                self._running += 1
                task.is_leader = True
            else:
                self._enqueue(key, task)
        if not task.is_leader:
            task.wakeup.acquire()
        if task.is_leader:
            self._lead_batch(key, task)
        if task.error:
            raise task.error
        return task.results

    def _size_class(self, inputs: Arrays) -> tuple[Any, ...]:
        """Equal for inputs that may be merged."""
        shapes = tuple(array.shape[1:] for array in inputs.values())
        if not self._parameters.pad_variable_length_inputs:
            return shapes
        return tuple(tuple(max((size - 1).bit_length(), MIN_SIZE_BITS) for size in shape) for shape in shapes)

    def _may_start(self, rows: int) -> bool:
        return not self._running or (self._running < self._parameters.num_batch_threads and rows >= MIN_PARALLEL_ROWS)

    def _rows_queued_for(self, key: Any) -> int:
        return sum(task.rows for task in self._queues.get(key, ()))

    def _enqueue(self, key: Any, task: _Task) -> None:
        size, limit = self._parameters.rows_per_batch, self._parameters.max_enqueued_batches
        if self._queued_rows + task.rows > size * limit:
            message = (
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{-(-self._queued_rows // size)} batches enqueued and max_enqueued_batches is {limit}"
            )
            raise RequestError("UNAVAILABLE", message)
        self._queues.setdefault(key, deque()).append(task)
        self._queued_rows += task.rows
        self._arrived.notify_all()

    def _dequeue(self, key: Any) -> _Task:
        queue = self._queues[key]
        task = queue.popleft()
        self._queued_rows -= task.rows
        if not queue:
            del self._queues[key]  # the key keeps a model version alive
        return task

    def _lead_batch(self, key: Any, task: _Task) -> None:
        """Run ``task`` with queued tasks of the same key, then start the next batch."""
        batch = [task]
        try:
            with self._lock:
                self._collect(key, batch)
            _run_batch([t for t in batch if t.check_active()], self._on_batch)
        finally:
            self._start_next()
            for finished in batch[1:]:
                finished.wakeup.release()

    def _collect(self, key: Any, batch: list[_Task]) -> None:
        """Move tasks that fit from the queue to ``batch``; wait for more until its first task has timed out."""
        room = self._parameters.rows_per_batch - batch[0].rows
        deadline = batch[0].arrived + self._timeout
        self._collecting.add(key)
        while True:
            while key in self._queues and self._queues[key][0].rows <= room:
                batch.append(self._dequeue(key))
                room -= batch[-1].rows
            remaining = deadline - time.monotonic()
            if key in self._queues or not room or remaining <= 0:
                break
            self._arrived.wait(remaining)
        self._collecting.discard(key)

    def _start_next(self) -> None:
        """End a run, and make the task that has waited longest, and may start, the leader of the next one."""
        with self._lock:
            self._running -= 1
            keys = sorted(self._queues, key=lambda key: self._queues[key][0].arrived)
            key = next((key for key in keys if self._may_start(self._rows_queued_for(key))), None)
            if key is None:
                return
            task = self._dequeue(key)
            self._running += 1
        task.is_leader = True
        task.wakeup.release()


class _Task:
    """A request, or a chunk of one. Its thread waits until it has ``results`` or an ``error``, or is made leader."""

    def __init__(
        self, signature: SignatureRunner, inputs: Arrays, outputs: Sequence[str], is_active: Callable[[], bool]
    ) -> None:
        self.signature = signature
        self.inputs = inputs
        self.outputs = outputs
        self.is_active = is_active
        self.rows = num_rows(inputs)
        self.arrived = time.monotonic()
        self.is_leader = False
        self.wakeup = threading.Lock()  # released once, by the thread that answers this task or makes it leader
        self.wakeup.acquire()
        self.results: Arrays = {}
        self.error: Exception | None = None

    def check_active(self) -> bool:
        """Return whether to run the task; set its error if not."""
        try:
            _require_active(self.is_active)
        except RequestError as e:
            self.error = e
        return self.error is None


def _require_active(is_active: Callable[[], bool]) -> None:
    if not is_active():
        raise RequestError("CANCELLED", "the client cancelled the request while it was queued")


def _run_batch(batch: list[_Task], on_batch: Callable[[int], None]) -> None:
    """Run tasks of the same signature and outputs together; if that fails, run each alone."""
    if not batch:
        return
    counts = [task.rows for task in batch]
    try:
        outputs = batch[0].signature.run(merge_inputs([task.inputs for task in batch]), batch[0].outputs)
        results = split_outputs(outputs, counts) if len(batch) > 1 else [outputs]
    except Exception as e:
        if len(batch) == 1:
            batch[0].error = e
            return
        for task in batch:
            _run_batch([task], on_batch)
        return
    for task, result in zip(batch, results, strict=True):
        task.results = result
    on_batch(sum(counts))
