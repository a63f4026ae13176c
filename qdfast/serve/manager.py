"""Which versions of a model are loaded, and which of them answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import DataError
from ..wire import ModelVersion
from .predict import warm_up
from .servable import RequestError, Servable
from .versions import find_versions


class Manager:
    """Follows one model directory: the highest version is loaded, and the one it replaces let go.

    One thread refreshes; any number may find and ask for the status meanwhile.

    Args:
        model_dir: holds a sub-directory for every version.
        name: of the model, for clients.
    """

    def __init__(self, model_dir: Path, name: str) -> None:
        self.model_dir = model_dir
        self.name = name
        self._serving: Servable | None = None
        self._versions: dict[int, ModelVersion] = {}
        self._broken: dict[int, object] = {}  # version: what its files looked like

    def refresh(self) -> int | None:
        """Look at the directory: load its highest version, if it is another, and only then let go of the old one.

        An empty directory changes nothing, and a version that could not be loaded is not tried again until its files
        have changed: it may have been copied into place bit by bit.

        Returns:
            The version that has begun to answer, if any.

        Raises:
            DataError: there is no directory, or the version cannot be loaded; the old one, if there is one, goes on.
        """
        found = find_versions(self.model_dir)
        self._broken = {v: seen for v, seen in self._broken.items() if v in found and _look(found[v]) == seen}
        candidates = found.keys() - self._broken.keys()
        if not candidates or (self._serving and max(candidates) == self._serving.version):
            return None
        version = max(candidates)
        self._set(version, "LOADING")
        seen = _look(found[version])
        try:
            servable = Servable(found[version], version)
            warm_up(servable)
        except DataError as e:
            self._broken[version] = seen
            self._set(version, "END", str(e))
            raise
        replaced, self._serving = self._serving, servable
        self._set(version, "AVAILABLE")
        if replaced:
            # Requests under way hold the servable; the last of them frees it.
            self._set(replaced.version, "END")
        return version

    def _set(self, version: int, state: str, error: str = "") -> None:
        # A new dict, so that a reader sees all of it before or after the change.
        self._versions = {**self._versions, version: ModelVersion(version, state, error)}

    @property
    def names(self) -> list[str]:
        """Of the models that are to be served."""
        return [self.name]

    def available(self, name: str) -> list[int]:
        """The versions of a model that answer, lowest first."""
        return [self._serving.version] if self._serving and name == self.name else []

    def find(self, spec: Any) -> Servable:
        """The servable of a ModelSpec. RequestError: it is not loaded."""
        if not spec.name:
            raise RequestError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            raise RequestError("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
        serving = self._serving
        if serving and spec.name == self.name and (choice is None or spec.version.value == serving.version):
            return serving
        request = f"Latest({spec.name})" if choice is None else f"Specific({spec.name}, {spec.version.value})"
        raise RequestError("NOT_FOUND", f"Servable not found for request: {request}")

    def status(self, spec: Any) -> list[ModelVersion]:
        """The state of one version or, if the ModelSpec has none, of all, newest first. RequestError: none known."""
        versions = self._versions if spec.name == self.name else {}
        if spec.HasField("version"):
            if spec.version.value not in versions:
                message = f"Could not find version {spec.version.value} of model {spec.name}"
                raise RequestError("NOT_FOUND", message)
            return [versions[spec.version.value]]
        if not versions:
            raise RequestError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        return [versions[v] for v in sorted(versions, reverse=True)]


def _look(path: Path) -> object:
    """What changes when one of the files of a version does."""
    files = sorted(f for f in path.rglob("*") if f.is_file())
    return [(f.name, s.st_size, s.st_mtime_ns) for f in files for s in (f.stat(),)]
