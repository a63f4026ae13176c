"""The methods that every client has, written once for blocking and for asyncio clients.

The methods of ``BaseClient`` are coroutines. In a ``BaseSyncClient`` everything they await blocks, so they never
suspend, and callers see ordinary methods. In a ``BaseAsyncClient`` they suspend, and callers await them.
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
from .errors import WrongInput
from .requests import DrawingsLike, ModelSpec, Predictions, ProbabilitiesQuery, Query, Result, TopKQuery, as_drawings

C = TypeVar("C", bound="BaseClient")
P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Method(Protocol[P, T_co]):
    """The type of a method as callers see it: the class it is called on decides what it returns."""

    @overload
    def __get__(self, instance: BaseSyncClient, owner: type) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, instance: BaseAsyncClient, owner: type) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


def sync_or_async(method: Callable[Concatenate[C, P], Coroutine[Any, Any, T]]) -> _Method[P, T]:
    """Make a coroutine method blocking in a ``BaseSyncClient``, awaitable in a ``BaseAsyncClient``."""

    @wraps(method)
    def call(self: C, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._run(method(self, *args, **kwargs))

    return cast("_Method[P, T]", call)


class BaseClient(ABC):
    """Sends queries to one model.

    Args:
        model_spec: the model to ask.
        max_batch: maximum number of drawings per request; longer queries are split.
    """

    def __init__(self, model_spec: ModelSpec, max_batch: int) -> None:
        self.model_spec = model_spec
        self.max_batch = max_batch
        self._input_kind: Kind | None = None  # known once the model has rejected the other kind

    @sync_or_async
    async def predict(self, drawings: DrawingsLike, k: int = 3) -> Predictions:
        """Return the ``k`` most probable classes of each drawing.

        Args:
            drawings: N drawings: ``Drawings``; a list of drawings, each a list of strokes ``[xs, ys]`` with
                coordinates 0..255; ndjson bytes; or ``Bitmaps``. Strokes are rendered if the model takes bitmaps.
            k: number of classes. A model with fewer classes, or exported with fewer labels, returns all it has.

        Returns:
            ``Predictions``: labels str (N, k) and scores float32 (N, k), most probable first.

        Raises:
            DataError: a line of ndjson (ParseError) or an element of the list is not a drawing, or ``drawings`` are
                bitmaps and the model needs strokes.
            ServingError: the call failed; one of the subclasses Unavailable, DeadlineExceeded, ModelNotFound,
                InvalidRequest (also if ``k`` is less than 1) and BadResponse.

        Example:
            >>> with Client("127.0.0.1:8500", model="doodles") as client:  # doctest: +SKIP
            ...     client.predict([[[[0, 255], [0, 255]]]], k=2)[0]
            [('line', 0.98), ('stairs', 0.01)]
        """
        converted = as_drawings(drawings)
        return await self._query(converted, lambda kind: TopKQuery(converted, k, self.model_spec, self.max_batch, kind))

    @sync_or_async
    async def probabilities(self, drawings: DrawingsLike) -> NDArray[np.float32]:
        """Return the probability of every class for each drawing.

        Args:
            drawings: N drawings, as for ``predict``.

        Returns:
            float32 (N, C), classes in the model's order; (0, 0) if N is 0.

        Raises:
            DataError, ServingError: as for ``predict``.
        """
        converted = as_drawings(drawings)
        return await self._query(
            converted, lambda kind: ProbabilitiesQuery(converted, self.model_spec, self.max_batch, kind)
        )

    async def _query(self, drawings: AnyDrawings, make_query: Callable[[Kind], Query[Result]]) -> Result:
        """Send strokes, or bitmaps if the model rejects strokes, and remember which it takes."""
        kind = "bitmaps" if isinstance(drawings, Bitmaps) else self._input_kind or "strokes"
        query = make_query(kind)
        try:
            await self._execute(query)
        except WrongInput as e:
            if e.expected in (None, kind):
                raise
            self._input_kind = e.expected
            query = make_query(e.expected)
            await self._execute(query)
        return query.result()

    @abstractmethod
    async def _execute(self, query: Query[Any]) -> None:
        """Send every request of ``query``, and add the responses to it."""

    @abstractmethod
    def _run(self, coroutine: Coroutine[Any, Any, T]) -> Any:
        """Turn the coroutine of a method into what the method returns."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_spec})"


class BaseSyncClient(BaseClient):
    """A client whose methods block."""

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return cast(T, end.value)
        raise AssertionError("a coroutine of a blocking client was suspended")


class BaseAsyncClient(BaseClient):
    """A client whose methods are awaited in an asyncio event loop."""

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return coroutine
