"""Following the model directories, and the file that lists the models, while they change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from ..errors import DataError
from .manager import Manager
from .model_config import ModelConfig, ModelsFile
from .servable import RequestError

log = logging.getLogger(__name__)


class Watcher:
    """A thread that has ``manager`` look at its directories every few seconds. What goes wrong is logged, once.

    Args:
        models_file: where the models are listed; read again when it has changed. A list that is refused changes
            nothing.
    """

    def __init__(self, manager: Manager, models_file: ModelsFile | None, seconds: float) -> None:
        self._manager = manager
        self._file = models_file
        self._seconds = seconds
        self._listed: Sequence[ModelConfig] | None = None  # and not yet taken over
        self._said: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)

    def load(self) -> None:
        """Load what there is. DataError: nothing that could be served."""
        troubles = self._manager.refresh()
        if not any(map(self._manager.available, self._manager.names)):
            raise DataError("; ".join(troubles) or "there is no model to be served")
        self._say(troubles)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a version that is being loaded is not waited for."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._say(self._reread() + self._manager.refresh())

    def _reread(self) -> list[str]:
        if self._file is None:
            return []
        try:
            self._listed = self._file.read_changed() or self._listed
            if self._listed is not None:
                self._manager.reload(self._listed)
                self._listed = None
        except DataError as e:
            self._listed = None
            log.error("%s; the models are those listed before", e)
        except RequestError as e:  # a label; it moves as soon as it may
            return [f"{self._file.path}: {e.message}; the models are those listed before"]
        return []

    def _say(self, troubles: list[str]) -> None:
        for trouble in troubles:
            if trouble not in self._said:
                log.error("%s", trouble)
        self._said = set(troubles)
