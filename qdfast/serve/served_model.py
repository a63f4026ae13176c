"""One model: which of its versions are loaded, and how each of them fares."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path

from ..errors import DataError
from ..protocol.messages import ModelVersion
from .model_config import ModelConfig
from .predict import warm_up
from .servable import Servable
from .versions import find_versions, newest_version


class Model:
    """Follows a model directory: what the policy wants of it is loaded, and all else let go.

    One thread at a time refreshes or drops; any number may read meanwhile.

    Attributes:
        config: what to load; a new one counts from the next refresh on.
        loaded: the versions that answer, by number.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.loaded: Mapping[int, Servable] = {}  # replaced, not changed: a reader sees all of it before or after
        self._states: dict[int, ModelVersion] = {}
        self._broken: dict[int, tuple[object, str]] = {}  # version: what its files looked like, what is wrong

    def refresh(self) -> list[str]:
        """Load what the policy wants, the highest version first, and only then let go of what it does not want.

        A version that cannot be loaded is not tried again until its files have changed (it may have been copied into
        place bit by bit); where the policy counts versions, the next lower one takes its place. If nothing is there to
        be loaded, what is loaded stays.

        Returns:
            What is wrong at present, one line each.
        """
        try:
            found = find_versions(self.config.path)
            self._broken = {v: b for v, b in self._broken.items() if v in found and _look(found[v]) == b[0]}
            wanted = self._load_wanted(found)
            for version in (self.loaded.keys() - wanted) if wanted else ():
                self._let_go(version)
            if not found:
                newest_version(self.config.path)  # says why
        except (DataError, OSError) as e:
            return [f"{e}; what was served before still is" if self.loaded else str(e)]
        missing = sorted(self.config.policy.specific - found.keys())
        return [error for _, error in self._broken.values()] + [
            f"{self.config.path / str(v)}: no such directory; the version policy names it" for v in missing
        ]

    def drop(self) -> None:
        """Let go of all versions."""
        for version in self.loaded:
            self._let_go(version)

    def states(self) -> list[ModelVersion]:
        """Every version that there has been, newest first."""
        states = self._states.copy()
        return [states[v] for v in sorted(states, reverse=True)]

    def _load_wanted(self, found: Mapping[int, Path]) -> set[int]:
        while True:
            wanted = self.config.policy.choose(found.keys() - self._broken.keys())
            # The same number in another directory, after a change of the configuration, is another version.
            missing = [v for v in wanted if v not in self.loaded or self.loaded[v].path != found[v]]
            if not missing:
                return wanted
            for version in missing:
                self._set(version, "START")
            self._load(max(missing), found[max(missing)])

    def _load(self, version: int, path: Path) -> None:
        self._set(version, "LOADING")
        seen = _look(path)
        try:
            servable = Servable(path, version)
            warm_up(servable)
        except DataError as e:
            self._broken[version] = seen, str(e)
            self._set(version, "END", str(e))
            return
        self.loaded = {**self.loaded, version: servable}
        self._set(version, "AVAILABLE")

    def _let_go(self, version: int) -> None:
        servable = self.loaded[version]
        self.loaded = {v: s for v, s in self.loaded.items() if v != version}
        self._set(version, "UNLOADING")
        # Requests under way hold the servable; the last of them frees it.
        weakref.finalize(servable, self._freed, version).atexit = False

    def _freed(self, version: int) -> None:
        if self._states[version].state == "UNLOADING":  # else it has been loaded again meanwhile
            self._set(version, "END")

    def _set(self, version: int, state: str, error: str = "") -> None:
        # A single store: the garbage collector may call `_freed` at any time, in any thread.
        self._states[version] = ModelVersion(version, state, error)


def _look(path: Path) -> object:
    """What changes when one of the files of a version does."""
    files = sorted(f for f in path.rglob("*") if f.is_file())
    return [(f.name, s.st_size, s.st_mtime_ns) for f in files for s in (f.stat(),)]
