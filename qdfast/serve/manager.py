"""Which models are served, and which version of which one answers a request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ..protocol.messages import ModelVersion
from .model_config import ModelConfig
from .servable import RequestError, Servable
from .served_model import Model

log = logging.getLogger(__name__)


class Manager:
    """Holds the models; finds what requests ask for.

    Models are refreshed one after the other: two loads at once would take the more cores from the requests. All methods
    may be called from any thread.

    Args:
        on_change: called with the name of a model whose versions may be others than before.
    """

    def __init__(self, configs: Sequence[ModelConfig], on_change: Callable[[str], None] = lambda name: None) -> None:
        self._models = {config.name: Model(config) for config in configs}
        self._gone: dict[str, Model] = {}  # once served; what became of their versions can still be asked
        self._on_change = on_change
        self._lock = threading.Lock()  # one refresh or reload at a time

    @property
    def names(self) -> list[str]:
        """Of the models that are to be served."""
        return list(self._models)

    def available(self, name: str) -> list[int]:
        """The versions of a model that answer, lowest first."""
        model = self._models.get(name)
        return sorted(model.loaded) if model else []

    def refresh(self) -> list[str]:
        """Look at the directory of every model; load and let go what has to be.

        Returns:
            What is wrong at present, one line each; no model's trouble is another's.
        """
        with self._lock:
            return [trouble for troubles in self._refresh().values() for trouble in troubles]

    def _refresh(self) -> dict[str, list[str]]:
        troubles = {}
        for name, model in self._models.items():
            try:
                troubles[name] = model.refresh()
                self._on_change(name)
            except Exception as e:  # whatever it is, the other models and the next refresh go on
                log.debug("model %s", name, exc_info=True)
                troubles[name] = [f"model {name}: {type(e).__name__}: {e}"]
        return troubles

    def reload(self, configs: Sequence[ModelConfig]) -> dict[str, str]:
        """Serve these models from now on: those that are new are loaded, those that are not listed are let go.

        Returns:
            The models that are new and could not be loaded, each with the reason. They are tried again by ``refresh``.

        Raises:
            RequestError: a label is to move to a version that is not available; nothing has been changed.
        """
        with self._lock:
            self._check_labels(configs)
            known = self._gone | self._models
            new = {config.name for config in configs} - self._models.keys()
            models = {config.name: known.get(config.name) or Model(config) for config in configs}
            for config in configs:
                models[config.name].config = config
            dropped = self._models.keys() - models.keys()
            self._gone = {name: model for name, model in known.items() if name not in models}
            self._models = models
            for name in dropped:
                self._gone[name].drop()
                self._on_change(name)
            troubles = self._refresh()
            return {name: "; ".join(troubles[name]) for name in sorted(new) if not models[name].loaded}

    def _check_labels(self, configs: Sequence[ModelConfig]) -> None:
        """A label that is in use moves only to where there is somebody to answer."""
        for config in configs:
            if config.name not in self._models:
                continue
            model = self._models[config.name]
            for label, version in config.labels.items():
                if model.config.labels.get(label, version) != version and version not in model.loaded:
                    raise RequestError(
                        "FAILED_PRECONDITION",
                        f"Request to assign label to version {version} of model {config.name}, which is not currently "
                        "available for inference",
                    )

    def find(self, spec: Any) -> Servable:
        """The servable of a ModelSpec. RequestError: it is not loaded."""
        if not spec.name:
            raise RequestError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        loaded = model.loaded if model else {}
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            if loaded:
                return loaded[max(loaded)]
            raise RequestError("NOT_FOUND", f"Servable not found for request: Latest({spec.name})")
        version = spec.version.value
        if choice == "version_label":
            labels = model.config.labels if model else {}
            if spec.version_label not in labels:
                raise RequestError("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
            version = labels[spec.version_label]
        if version not in loaded:
            raise RequestError("NOT_FOUND", f"Servable not found for request: Specific({spec.name}, {version})")
        return loaded[version]

    def status(self, spec: Any) -> list[ModelVersion]:
        """The state of one version or, if the ModelSpec has none, of all, newest first. RequestError: none known."""
        model = self._models.get(spec.name) or self._gone.get(spec.name)
        states = model.states() if model else []
        if spec.HasField("version"):
            states = [s for s in states if s.version == spec.version.value]
            if not states:
                message = f"Could not find version {spec.version.value} of model {spec.name}"
                raise RequestError("NOT_FOUND", message)
        if not states:
            raise RequestError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        return states
