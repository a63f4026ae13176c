"""Asking a model about drawings, written once for whatever carries the messages.

The methods of an ``Asker`` are coroutines. Where what they await blocks (``BlockingAsker``), they never suspend, and
callers see ordinary functions; where it does suspend (``AsyncAsker``), callers await them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from ..bitmaps import AnyDrawings, Bitmaps
from ..storage.names import Kind
from . import query
from .query import Answer, Asked, DrawingsLike, OtherInput, Predictions, Query

A = TypeVar("A", bound="Asker")
P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Method(Protocol[P, T_co]):
    """A method as callers see it: which kind of asker they have decides what it returns."""

    @overload
    def __get__(self, instance: BlockingAsker, owner: type) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, instance: AsyncAsker, owner: type) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


def either_way(method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]]) -> _Method[P, T]:
    """Make of a coroutine method one that blocks, or that is awaited, as its asker does."""

    @wraps(method)
    def run(self: A, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._run(method(self, *args, **kwargs))

    return cast("_Method[P, T]", run)


class Asker(ABC):
    """Asks one model.

    Args:
        asked: whom to ask.
        max_batch: drawings a request may have; more are split into several.
    """

    def __init__(self, asked: Asked, max_batch: int) -> None:
        self.asked = asked
        self.max_batch = max_batch
        self._takes: Kind | None = None  # what the model takes, once it has refused the other

    @either_way
    async def predict(self, drawings: DrawingsLike, k: int = 3) -> Predictions:
        """The ``k`` most probable classes of each drawing, best first.

        Args:
            drawings: N drawings: ``Drawings``, a list of drawings as lists of strokes ``[xs, ys]``, or ndjson bytes;
                or ``Bitmaps``, for a model that takes these (for which strokes are drawn).
            k: of a model that was exported with fewer labels, or has fewer classes, all of these.

        Raises:
            DataError: a line of ndjson (ParseError) or an element of the list that is not a drawing; bitmaps for a
                model that needs strokes.
            Unavailable, DeadlineExceeded, ModelNotFound, InvalidRequest, BadResponse: subclasses of ServingError.
        """
        known = query.as_drawings(drawings)
        return await self._ask(known, lambda sends: query.TopK(known, k, self.asked, self.max_batch, sends))

    @either_way
    async def probabilities(self, drawings: DrawingsLike) -> NDArray[np.float32]:
        """float32 (N, C): the probability of each of the model's classes, in the model's order; (0, 0) if N is 0.

        Argument and errors as for ``predict``.
        """
        known = query.as_drawings(drawings)
        return await self._ask(known, lambda sends: query.Probabilities(known, self.asked, self.max_batch, sends))

    async def _ask(self, drawings: AnyDrawings, query_of: Callable[[Kind], Query[Answer]]) -> Answer:
        """Ask with what the model takes; which that is says its refusal of the other."""
        sends = "bitmaps" if isinstance(drawings, Bitmaps) else self._takes or "strokes"
        question = query_of(sends)
        try:
            await self._exchange(question)
        except OtherInput as e:
            if e.takes in (None, sends):
                raise
            self._takes = e.takes
            question = query_of(e.takes)
            await self._exchange(question)
        return question.result()

    @abstractmethod
    async def _exchange(self, question: Query[Any]) -> None:
        """Send every request of ``question``, and have it take the responses."""

    @abstractmethod
    def _run(self, steps: Coroutine[Any, Any, T]) -> Any:
        """What a method returns, given its coroutine."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.asked})"


class BlockingAsker(Asker):
    """An asker whose steps block."""

    def _run(self, steps: Coroutine[Any, Any, T]) -> T:
        try:
            steps.send(None)
        except StopIteration as end:
            return cast(T, end.value)
        raise AssertionError("a step that should block was suspended")


class AsyncAsker(Asker):
    """An asker whose steps suspend, in an asyncio event loop."""

    def _run(self, steps: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return steps
