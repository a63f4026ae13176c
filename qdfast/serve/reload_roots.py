"""The directories from which clients may load models by HandleReloadConfigRequest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .._suggest import similar_path
from ..errors import DataError
from .model_config import ModelConfig
from .options import File
from .servable import RequestError


class ReloadRoots:
    """Rejects models outside of the directories that the operator named.

    Args:
        roots: the directories; empty: clients may load and unload nothing.

    Raises:
        DataError: a root is not a directory.
    """

    def __init__(self, roots: Sequence[File] = ()) -> None:
        self._roots = [Path(os.path.abspath(root)) for root in roots]  # noqa: PTH100 - symlinks are resolved per request
        for root in self._roots:
            if not root.is_dir():
                problem = f"no such directory{similar_path(root)}"
                raise DataError(f"{root}: {problem}; --allow-reload needs one that holds model directories")

    def check_allowed(self) -> None:
        """Check that clients may change the models at all.

        Raises:
            RequestError: they may not.
        """
        if not self._roots:
            raise RequestError(
                "PERMISSION_DENIED",
                "HandleReloadConfigRequest is switched off; start the server with --allow-reload ROOT to let clients "
                "load models below ROOT",
            )

    def check(self, configs: Sequence[ModelConfig]) -> None:
        """Check that all models are below a root, by their name and after resolving symlinks.

        Nothing outside of the roots is looked at, so that the answer does not depend on what exists there.

        Raises:
            RequestError: a model is outside.
        """
        self.check_allowed()
        for config in configs:
            if not self._is_below(config.path):
                raise RequestError(
                    "PERMISSION_DENIED",
                    f"model {config.name}: base_path {config.path} is not below a directory that the server's "
                    "--allow-reload names",
                )

    def _is_below(self, path: Path) -> bool:
        if ".." in path.parts or "\0" in str(path):
            return False
        resolved = [Path(os.path.realpath(root)) for root in self._roots]
        if not any(path.is_relative_to(root) for root in (*self._roots, *resolved)):
            return False
        return any(Path(os.path.realpath(path)).is_relative_to(root) for root in resolved)
