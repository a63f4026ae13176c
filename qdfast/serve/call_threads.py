"""The threads that answer calls, and how to wait for them with a limit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any


class CallThreads(ThreadPoolExecutor):
    """A pool of threads that knows what runs in it.

    A cancelled call keeps its thread until the model has answered, which can be never. Python waits for such threads at
    its exit without limit.
    """

    _calls: set[Future[Any]]

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._calls = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` on one of the threads."""
        call = super().submit(fn, *args, **kwargs)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    def wait_idle(self, seconds: float) -> int:
        """Wait until nothing runs, for at most ``seconds``; return the number of calls that still run."""
        return len(wait(list(self._calls), timeout=seconds).not_done)
