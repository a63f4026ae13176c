"""One model: which of its versions are loaded, and the state of each."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path

from ..errors import DataError
from ..protocol.messages import ModelVersion
from ..storage.versions import find_versions, newest_version
from .model_config import ModelConfig
from .predict import warm_up
from .servable import LoadError, Servable


class ServedModel:
    """Keeps those versions of a model directory loaded that the policy selects.

    Only one thread at a time may call ``refresh`` or ``unload_all``; any number of threads may read.

    Attributes:
        config: what to load; a change takes effect at the next refresh.
        loaded: the versions that answer, by number.
        freed: a version was freed since this was last set to False.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.loaded: Mapping[int, Servable] = {}  # replaced, never modified, so that readers need no lock
        self.freed = False
        self._states: dict[int, ModelVersion] = {}
        self._failed: dict[int, tuple[object, str]] = {}  # version: fingerprint of its files, error

    def refresh(self) -> list[str]:
        """Load the versions that the policy selects, highest first, and then unload all others.

        A version that cannot be loaded is not tried again until its files change (a copy may be in progress); if the
        policy counts versions, the next lower one takes its place. If the directory has no version that the policy
        selects, all are unloaded. If those it has cannot be loaded, or the directory cannot be read, the loaded ones
        stay: it may be a disk that is not mounted for a moment.

        Returns:
            The current errors, one line each.
        """
        try:
            found = find_versions(self.config.path)
            self._failed = {v: f for v, f in self._failed.items() if v in found and _fingerprint(found[v]) == f[0]}
            selected = self._load_selected(found)
            if selected or not self.config.policy.choose(found):
                for version in self.loaded.keys() - selected:
                    self._unload(version)
            if not found:
                newest_version(self.config.path)  # raises an error that says why
        except (DataError, OSError) as e:
            return [f"{e}; the loaded versions stay in service" if self.loaded else str(e)]
        missing = sorted(self.config.policy.specific - found.keys())
        return [error for _, error in self._failed.values()] + [
            f"{self.config.path / str(v)}: no such directory, but the version policy lists it" for v in missing
        ]

    def unload_all(self) -> None:
        """Unload all versions."""
        for version in self.loaded:
            self._unload(version)

    def states(self) -> list[ModelVersion]:
        """Return the states of all versions, past ones included, newest first."""
        states = self._states.copy()
        return [states[v] for v in sorted(states, reverse=True)]

    def _load_selected(self, found: Mapping[int, Path]) -> set[int]:
        while True:
            selected = self.config.policy.choose(found.keys() - self._failed.keys())
            # After a change of the configuration, the same number in another directory is another version.
            missing = [v for v in selected if v not in self.loaded or self.loaded[v].path != found[v]]
            if not missing:
                return selected
            for version in missing:
                self._set_state(version, "START")
            self._load(max(missing), found[max(missing)])

    def _load(self, version: int, path: Path) -> None:
        self._set_state(version, "LOADING")
        fingerprint = _fingerprint(path)
        try:
            servable = Servable(path, version)
            warm_up(servable)
        except LoadError as e:
            self._failed[version] = fingerprint, str(e)
            self._set_state(version, "END", str(e), e.code)
            return
        self.loaded = {**self.loaded, version: servable}
        self._set_state(version, "AVAILABLE")

    def _unload(self, version: int) -> None:
        servable = self.loaded[version]
        self.loaded = {v: s for v, s in self.loaded.items() if v != version}
        self._set_state(version, "UNLOADING")
        # Requests in flight hold references to the servable; the last of them frees it.
        weakref.finalize(servable, self._on_freed, version).atexit = False

    def _on_freed(self, version: int) -> None:
        self.freed = True
        if self._states[version].state == "UNLOADING":  # otherwise it has been loaded again
            self._set_state(version, "END")

    def _set_state(self, version: int, state: str, error: str = "", error_code: str = "OK") -> None:
        # A single store, since the garbage collector may call `_on_freed` at any time, in any thread.
        self._states[version] = ModelVersion(version, state, error, error_code)


def _fingerprint(path: Path) -> object:
    """A value that changes when a file of the version does."""
    files = sorted(f for f in path.rglob("*") if f.is_file())
    return [(f.name, s.st_size, s.st_mtime_ns) for f in files for s in (f.stat(),)]
