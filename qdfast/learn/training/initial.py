"""Starts a training from the weights of a trained network (``TrainConfig.init``).

The network, the lengths of its inputs and the statistics that standardize them are those of the run it starts from:
its weights were trained for these. Once the first epoch is finished, that run is not needed any more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError
from ...storage.digests import check_file, file_xxh3
from ...storage.files import local_path
from ...storage.names import RUN
from ..models.network_table import network
from .runs import Run, load_run

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class InitialRun:
    """A run to start from.

    Attributes:
        run: that run; or, if it cannot be read any more, the one that started from it.
        record: ``init`` in the new ``run.json``: ``path``, ``digest`` of the weights, the ``data`` that they were
            trained on and, where that run started from another, its ``init``.
    """

    run: Run
    record: dict[str, Any]

    @property
    def digest(self) -> str:
        """XXH3 of the file of its weights."""
        return str(self.record["digest"])

    @property
    def max_len(self) -> int:
        """Drawings are cut after this many points."""
        return self.run.max_len

    @property
    def buckets(self) -> Sequence[int]:
        """Lengths to pad to. A run on a GPU has none, which would take twice as long on a CPU."""
        arguments = self.run.arguments
        return list(arguments["buckets"] or network(arguments["model"]).buckets)

    @property
    def info(self) -> dict[str, Any]:
        """The entries of the new ``run.json`` that come from this run."""
        return {"stats": self.run.info["stats"], "init": self.record}

    def copy_weights(self, net: keras.Model, classes: Sequence[str]) -> str:
        """Copy its weights to ``net``, a new network; those of the last layer only if ``classes`` are the same.

        Returns:
            A line for the log.

        Raises:
            DataError: the weights cannot be loaded, or are others than ``digest`` says.
        """
        source, path = self.run.load_model(calibrated=False), self.run.best_weights
        check_file(path, self.digest, "another process has replaced it meanwhile: start again")
        same = list(classes) == list(self.run.classes)
        for ours, theirs in zip(net.layers, source.layers, strict=True):
            if same or ours is not net.layers[-1]:
                ours.set_weights(theirs.get_weights())
        return f"starts from {path}" + ("" if same else ", with a new last layer for its classes")


def open_initial(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> InitialRun:
    """Open the run at ``path``, to start from it in ``out``, without importing Keras.

    If it cannot be opened, but the run in ``out`` started from it and has finished an epoch, that takes its place.

    Raises:
        DataError: not a run directory, a run of a scikit-learn baseline, or one without a finished epoch.
        OSError: it cannot be read.
    """
    path = local_path(path)
    try:
        run = load_run(path)
        if run.baseline:
            raise DataError(f"{path}: a run of {run.arguments['model']}: only a network has weights to start from")
        record = {"path": str(path.resolve()), "digest": file_xxh3(run.best_weights), "data": run.info["data"]}
        return InitialRun(run, record | {"init": run.info["init"]} if "init" in run.info else record)
    except (DataError, OSError):
        if started := _started_from(path, Path(out)):
            return started
        raise


def _started_from(path: Path, out: Path) -> InitialRun | None:
    """The run at ``out``, if it started from ``path`` and has finished an epoch."""
    if not (out / RUN).exists():
        return None
    run = load_run(out)
    record = run.info.get("init")
    if record is None or record["path"] != str(path.resolve()) or not run.history:
        return None
    return InitialRun(run, record)
