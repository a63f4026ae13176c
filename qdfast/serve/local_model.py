"""An exported model in this process, asked as a served one is: no server, no gRPC."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..protocol.base_client import BaseSyncClient
from ..protocol.errors import error_from_status
from ..protocol.requests import ModelSpec, Query
from .predict import answer
from .servable import RequestError, Servable
from .versions import find_versions, newest_version


class LocalModel(BaseSyncClient):
    """A version of an exported model, with the answers that a server would give.

    Args:
        model_dir: a model directory with a numbered sub-directory for every version.
        version: None for the newest.
        max_batch: drawings that are computed at once.

    Raises:
        DataError: no such version of a model there, or it cannot be loaded.
    """

    def __init__(self, model_dir: str | os.PathLike[str], version: int | None = None, max_batch: int = 256) -> None:
        model_dir = Path(model_dir)
        newest = newest_version(model_dir)
        chosen = newest if version is None else version
        path = find_versions(model_dir).get(chosen)
        if path is None:
            raise DataError(f"{model_dir}: no version {chosen} of a model in it; the newest is {newest}")
        super().__init__(ModelSpec(str(model_dir), model_dir.resolve().name, version), max_batch)
        self._servable = Servable(path, chosen)

    async def _execute(self, query: Query[Any]) -> None:
        for i in range(len(query)):
            try:
                response = answer(self._servable, query.request(i))
            except RequestError as e:
                raise error_from_status(self.model_spec, e.code, e.message) from None
            query.add_response(i, response)
