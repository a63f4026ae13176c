"""The models that are served, and which version answers a request."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ..protocol.messages import ModelVersion
from .model_config import ModelConfig
from .servable import RequestError, Servable
from .served_model import ServedModel

log: logging.Logger = logging.getLogger(__name__)


RELOAD_SECONDS = 30.0
"""Time that a reload waits for another refresh or reload, which may read a disk that does not answer."""

MAX_REMOVED = 100
"""Models that are no longer served and whose status is still available."""


class ModelManager:
    """Holds the models and finds the version for a request.

    Models are refreshed one after the other, since parallel loading would take more cores away from requests. All
    methods may be called from any thread.

    Args:
        configs: the models to serve.
        on_change: called with the name of a model whose versions may have changed.
    """

    def __init__(self, configs: Sequence[ModelConfig], on_change: Callable[[str], None] = lambda name: None) -> None:
        self._models = {config.name: ServedModel(config) for config in configs}
        self._removed: dict[str, ServedModel] = {}  # no longer served, but their status is still available
        self._on_change = on_change
        self._lock = threading.Lock()  # one refresh or reload at a time

    @property
    def names(self) -> list[str]:
        """The names of the configured models."""
        return list(self._models)

    def available(self, name: str) -> list[int]:
        """Return the versions of a model that answer, lowest first."""
        model = self._models.get(name)
        return sorted(model.loaded) if model else []

    def refresh(self) -> list[str]:
        """Check the directory of every model; load and unload versions as needed.

        Returns:
            The current errors, one line each. An error of one model does not affect the others.
        """
        with self._lock:
            return [error for errors in self._refresh().values() for error in errors]

    def _refresh(self) -> dict[str, list[str]]:
        errors = {}
        for name, model in self._models.items():
            try:
                errors[name] = model.refresh()
                self._on_change(name)
            except Exception as e:  # must not stop the other models or the next refresh
                log.debug("model %s", name, exc_info=True)
                errors[name] = [f"model {name}: {type(e).__name__}: {e}"]
        self._collect()
        return errors

    def _collect(self) -> None:
        """Free what a freed version leaves: TensorFlow's graphs are cycles of objects, which would pile up."""
        freed = [model for model in (*self._models.values(), *self._removed.values()) if model.freed]
        for model in freed:
            model.freed = False
        if freed:
            gc.collect()

    def reload(self, configs: Sequence[ModelConfig]) -> dict[str, str]:
        """Replace the configuration: load new models, unload those that are no longer listed.

        Returns:
            New models that could not be loaded, each with the error. ``refresh`` tries them again.

        Raises:
            RequestError: a label would move to a version that is not available, or models are being loaded for more
                than ``RELOAD_SECONDS``. Nothing has changed.
        """
        if not self._lock.acquire(timeout=RELOAD_SECONDS):
            raise RequestError("UNAVAILABLE", "models are being loaded; try again later")
        try:
            self._check_labels(configs)
            known = self._removed | self._models
            new = {config.name for config in configs} - self._models.keys()
            models = {config.name: known.get(config.name) or ServedModel(config) for config in configs}
            for config in configs:
                models[config.name].config = config
            removed = self._models.keys() - models.keys()
            gone = {name: model for name, model in known.items() if name not in models}
            self._removed = dict(list(gone.items())[-MAX_REMOVED:])
            self._models = models
            for name in removed:
                gone[name].unload_all()
                self._on_change(name)
            errors = self._refresh()
            return {name: "; ".join(errors[name]) for name in sorted(new) if not models[name].loaded}
        finally:
            self._lock.release()

    def _check_labels(self, configs: Sequence[ModelConfig]) -> None:
        """Check that labels in use move only to versions that are loaded."""
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
        """Return the servable for a ModelSpec.

        Raises:
            RequestError: the version is not loaded, or the label is unknown.
        """
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
        """Return the state of the ModelSpec's version or, if it has none, of all versions, newest first.

        Raises:
            RequestError: no such version is known.
        """
        model = self._models.get(spec.name) or self._removed.get(spec.name)
        states = model.states() if model else []
        if spec.HasField("version"):
            states = [s for s in states if s.version == spec.version.value]
            if not states:
                message = f"Could not find version {spec.version.value} of model {spec.name}"
                raise RequestError("NOT_FOUND", message)
        if not states:
            raise RequestError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        return states
