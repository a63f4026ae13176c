"""Requests that arrive together, answered by one run of the model.

The thread of a request runs the model itself if nobody else does: a lone request meets no other thread and no timer,
and is answered as soon as it would be without batching. Meanwhile others wait; the thread that has finished hands its
place to the one that has waited longest, and this one takes along what has come for the same function of the model and
is of like length. Where so many wait that their run is worth a core of its own, it begins beside the one under way.
So batches grow with the load and with nothing else, and the threads that gRPC gives to the requests are all there are:
a version that is unloaded goes with the last request that holds it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .batch_ops import PIECE, Arrays, as_rows, joined, merge, pieces, rows, split
from .batching_config import BatchingParameters
from .servable import RequestError, Signature

WORTH_A_PLACE = 4
"""Rows from which on a run is begun beside another: it then costs more by its rows than by the fact of being one."""

LEAST_OCTAVE = 6
"""Sizes up to 2**6 are of like length: there, a batch's fixed cost is more than its padding's."""


def always() -> bool:
    """Of a request whose asker cannot give up."""
    return True


def run_alone(
    signature: Signature, inputs: Arrays, outputs: Sequence[str] = (), wanted: Callable[[], bool] = always
) -> Arrays:
    """What ``Batcher.run`` answers, without other requests."""
    whole = as_rows(signature, inputs)
    if whole is None:
        return signature.run(inputs, outputs)
    results = []
    for piece in pieces(whole, PIECE):
        _require(wanted)
        results.append(signature.run(piece, outputs))
    return joined(results)


class Batcher:
    """Runs requests to any signatures, together where they can be.

    Args:
        parameters: sizes and limits.
        observe: called with the rows of every batch that is run.
    """

    def __init__(self, parameters: BatchingParameters, observe: Callable[[int], None] = lambda rows: None) -> None:
        self._parameters = parameters
        self._observe = observe
        self._timeout = parameters.batch_timeout_micros / 1e6
        self._running = 0
        self._waiting: dict[Any, deque[_Task]] = {}  # by what may go together; no deque is empty
        self._open: set[Any] = set()  # what a batch is waiting for, with its place taken
        self._rows = 0  # of all that wait
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)

    @property
    def waiting(self) -> int:
        """Rows that wait for the engine."""
        return self._rows

    def run(
        self, signature: Signature, inputs: Arrays, outputs: Sequence[str] = (), wanted: Callable[[], bool] = always
    ) -> Arrays:
        """The outputs asked for, as ``signature.run(inputs, outputs)`` gives them; large requests are run in pieces.

        Args:
            wanted: whether the asker still waits; asked before the model is run.

        Raises:
            RequestError: as of ``signature.run``; UNAVAILABLE if too many wait; CANCELLED if not ``wanted``.
        """
        whole = as_rows(signature, inputs)
        if whole is None:
            return signature.run(inputs, outputs)
        size = self._parameters.max_batch_size
        tasks = (_Task(signature, piece, outputs, wanted) for piece in pieces(whole, size))
        return joined([self._answer(task) for task in tasks])

    def _answer(self, task: _Task) -> Arrays:
        key = task.signature, tuple(task.outputs), self._like(task.inputs)
        with self._lock:
            if key not in self._open and self._may_run(task.rows + self._rows_of(key)):
                self._running += 1
                task.leads = True
            else:
                self._enqueue(key, task)
        if not task.leads:
            task.turn.acquire()
        if task.leads:
            self._lead(key, task)
        if task.error:
            raise task.error
        return task.results

    def _like(self, inputs: Arrays) -> tuple[Any, ...]:
        """Equal for inputs that may be put together."""
        shapes = tuple(array.shape[1:] for array in inputs.values())
        if not self._parameters.pad_variable_length_inputs:
            return shapes
        return tuple(tuple(max((size - 1).bit_length(), LEAST_OCTAVE) for size in shape) for shape in shapes)

    def _may_run(self, rows: int) -> bool:
        return not self._running or (self._running < self._parameters.num_batch_threads and rows >= WORTH_A_PLACE)

    def _rows_of(self, key: Any) -> int:
        return sum(task.rows for task in self._waiting.get(key, ()))

    def _enqueue(self, key: Any, task: _Task) -> None:
        size, limit = self._parameters.max_batch_size, self._parameters.max_enqueued_batches
        if self._rows + task.rows > size * limit:
            message = (
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{-(-self._rows // size)} batches enqueued and max_enqueued_batches is {limit}"
            )
            raise RequestError("UNAVAILABLE", message)
        self._waiting.setdefault(key, deque()).append(task)
        self._rows += task.rows
        self._arrived.notify_all()

    def _dequeue(self, key: Any) -> _Task:
        queue = self._waiting[key]
        task = queue.popleft()
        self._rows -= task.rows
        if not queue:
            del self._waiting[key]  # it holds a version of a model
        return task

    def _lead(self, key: Any, task: _Task) -> None:
        """Run ``task`` and what waits to go with it, then pass the place at the engine on."""
        batch = [task]
        try:
            with self._lock:
                self._collect(key, batch)
            _run([t for t in batch if t.still_wanted()], self._observe)
        finally:
            self._pass_on()
            for answered in batch[1:]:
                answered.turn.release()

    def _collect(self, key: Any, batch: list[_Task]) -> None:
        """Move what fits from the queue to ``batch``, waiting for more until the first of it has waited enough."""
        room = self._parameters.max_batch_size - batch[0].rows
        latest = batch[0].arrived + self._timeout
        self._open.add(key)
        while True:
            while key in self._waiting and self._waiting[key][0].rows <= room:
                batch.append(self._dequeue(key))
                room -= batch[-1].rows
            left = latest - time.monotonic()
            if key in self._waiting or not room or left <= 0:
                break
            self._arrived.wait(left)
        self._open.discard(key)

    def _pass_on(self) -> None:
        """Let one who waits take this place, the first that has waited longest and may."""
        with self._lock:
            self._running -= 1
            keys = sorted(self._waiting, key=lambda key: self._waiting[key][0].arrived)
            key = next((key for key in keys if self._may_run(self._rows_of(key))), None)
            if key is None:
                return
            task = self._dequeue(key)
            self._running += 1
        task.leads = True
        task.turn.release()


class _Task:
    """A request, or a piece of one, whose thread waits until it has ``results`` or an ``error``, or until it leads."""

    def __init__(
        self, signature: Signature, inputs: Arrays, outputs: Sequence[str], wanted: Callable[[], bool]
    ) -> None:
        self.signature = signature
        self.inputs = inputs
        self.outputs = outputs
        self.wanted = wanted
        self.rows = rows(inputs)
        self.arrived = time.monotonic()
        self.leads = False
        self.turn = threading.Lock()  # released once by who answers it or makes it lead
        self.turn.acquire()
        self.results: Arrays = {}
        self.error: Exception | None = None

    def still_wanted(self) -> bool:
        """Whether to run it; sets its error if not."""
        try:
            _require(self.wanted)
        except RequestError as e:
            self.error = e
        return self.error is None


def _require(wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise RequestError("CANCELLED", "given up while it waited for the model")


def _run(batch: list[_Task], observe: Callable[[int], None]) -> None:
    """Answer tasks to the same signature and outputs by one run; if that fails, by one for each."""
    if not batch:
        return
    counts = [task.rows for task in batch]
    try:
        outputs = batch[0].signature.run(merge([task.inputs for task in batch]), batch[0].outputs)
        results = split(outputs, counts) if len(batch) > 1 else [outputs]
    except Exception as e:
        if len(batch) == 1:
            batch[0].error = e
            return
        for task in batch:
            _run([task], observe)
        return
    for task, result in zip(batch, results, strict=True):
        task.results = result
    observe(sum(counts))
