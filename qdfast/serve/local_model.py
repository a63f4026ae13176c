"""An exported model in this process, with the methods of a client: no server, no gRPC."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .._hints import needs
from .._quiet import import_tensorflow
from ..protocol.base_client import BaseSyncClient
from ..protocol.errors import error_from_status
from ..protocol.requests import ModelSpec, Query
from ..storage.versions import check_saved_model, find_version


class LocalModel(BaseSyncClient):
    """A version of an exported model. It answers as a server of this model would.

    Args:
        model_dir: a model directory with a numbered subdirectory for every version.
        version: number of the version, also in digits; None for the newest.
        max_batch: maximum number of drawings per run.

    Raises:
        DataError: the version does not exist or cannot be loaded.

    Example:
        >>> LocalModel("models/doodles").predict([[[[0, 255], [0, 255]]]], k=1)[0]  # doctest: +SKIP
        [('line', 0.98)]
    """

    def __init__(
        self, model_dir: str | os.PathLike[str], version: int | str | None = None, max_batch: int = 256
    ) -> None:
        model_dir = Path(model_dir)
        spec = ModelSpec.checked(str(model_dir), model_dir.resolve().name, version)
        number, path = find_version(model_dir, spec.version)
        check_saved_model(model_dir, number)
        super().__init__(spec, max_batch)
        with needs("serve"):
            import_tensorflow()
            from .servable import Servable
        self._servable = Servable(path, number)

    async def _execute(self, query: Query[Any]) -> None:
        from .predict import predict
        from .servable import RequestError

        for i in range(len(query)):
            try:
                response = predict(self._servable, query.request(i))
            except RequestError as e:
                raise error_from_status(self.model_spec, e.code, e.message) from None
            query.add_response(i, response)
