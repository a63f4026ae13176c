"""A thread that follows changes of the model directories and of the file that lists the models."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from ..errors import DataError
from .manager import ModelManager
from .model_config import ModelConfig, ModelConfigFile
from .servable import RequestError

log: logging.Logger = logging.getLogger(__name__)


class Watcher:
    """Makes ``manager`` check its directories at an interval. Each error is logged once.

    Args:
        manager: loads and unloads the versions.
        config_file: lists the models; read again when it changes. A list with errors is ignored as a whole. None: the
            models do not change.
        seconds: the interval.
    """

    def __init__(self, manager: ModelManager, config_file: ModelConfigFile | None, seconds: float) -> None:
        self._manager = manager
        self._config_file = config_file
        self._seconds = seconds
        self._pending: Sequence[ModelConfig] | None = None  # read, but not applied yet
        self._logged: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)

    def load(self) -> None:
        """Load all models.

        Raises:
            DataError: no version of any model could be loaded.
        """
        errors = self._manager.refresh()
        if not any(map(self._manager.available, self._manager.names)):
            raise DataError("; ".join(errors) or "no models are configured")
        self._log_new(errors)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, without waiting for a version that is being loaded."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._log_new(self._reload_config() + self._manager.refresh())

    def _reload_config(self) -> list[str]:
        if self._config_file is None:
            return []
        try:
            self._pending = self._config_file.read_changed() or self._pending
            if self._pending is not None:
                self._manager.reload(self._pending)
                self._pending = None
        except DataError as e:
            self._pending = None
            log.error("%s; keeping the previous models", e)
        except RequestError as e:  # a label that cannot move yet; tried again
            return [f"{self._config_file.path}: {e.message}; keeping the previous models"]
        return []

    def _log_new(self, errors: list[str]) -> None:
        for error in errors:
            if error not in self._logged:
                log.error("%s", error)
        self._logged = set(errors)
