"""The run directory: written by training; read to resume, evaluate and export.

======================  ==================================================================================
``run.json``            configuration, class names, statistics, digests of the data and of the weights it started from,
                        versions
``history.json``        the figures of every finished epoch, the last checkpoint, digests of it and of the best weights
``checkpoint-N.keras``  network and optimizer after epoch N
``best.keras``          network and optimizer after the epoch with the lowest validation loss
``log.csv``             the figures of ``history.json`` as a table
``tensorboard/``        the same figures for TensorBoard, if it is installed
``model.npz``           a fitted scikit-learn baseline, which has no checkpoints
======================  ==================================================================================

``history`` writes and reads the files of the epochs. ``run.json`` and ``history.json`` end with a digest of themselves,
which is checked when they are read.
"""

from __future__ import annotations

import os
import platform
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from ..._suggest import similar_path
from ...dataset.prepared import Prepared
from ...dataset.rows import Rows
from ...errors import DataError
from ...stats import DeltaStats
from ...storage import directories, sealed_json
from ...storage.directories import choices
from ...storage.files import TEMPORARY, remove_temporaries, write_bytes
from ...storage.names import BEST, FITTED, RUN
from ..backend import import_keras
from ..models.baselines import BASELINES, Baseline
from .batches import BitmapInputSpec, DeltaInputSpec, InputSpec
from .history import (
    FORMAT,
    Epoch,
    best_epoch,
    check_weights,
    checkpoint_path,
    digests_of,
    first_line,
    read_history,
    read_record,
)


class Trained(NamedTuple):
    """The result of ``train``.

    Attributes:
        path: the run directory.
        epochs: number of finished epochs.
        best_epoch: the epoch with the lowest validation loss, from 1.
        figures: the figures of the best epoch.
        stopped: why training stopped.
    """

    path: Path
    epochs: int
    best_epoch: int
    figures: Epoch
    stopped: str


READ_ERRORS = (
    *(OSError, EOFError, MemoryError, ValueError, KeyError, TypeError, AttributeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What NumPy and scikit-learn raise for a damaged file."""


@dataclass(frozen=True)
class Run:
    """A run directory at ``path``; ``info`` is its ``run.json``."""

    path: Path
    info: dict[str, Any]

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.resolve().name

    @property
    def arguments(self) -> dict[str, Any]:
        """The settings that the result depends on."""
        return dict(self.info["arguments"])

    @property
    def baseline(self) -> bool:
        """Whether the model is a scikit-learn classifier, not a network."""
        return self.info["arguments"]["model"] in BASELINES

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the network's outputs."""
        return tuple(self.info["classes"])

    @property
    def max_len(self) -> int:
        """Drawings are cut after this many points."""
        return int(self.info["arguments"]["max_len"])

    @property
    def stats(self) -> DeltaStats:
        """Statistics of the training drawings, used to standardize every input."""
        return DeltaStats.from_dict(self.info["stats"])

    @property
    def input_spec(self) -> InputSpec:
        """The inputs of its model."""
        if self.baseline:
            return BitmapInputSpec()
        from ..models.network_table import network

        arguments = self.info["arguments"]
        known = network(arguments["model"])
        if known.takes == "bitmaps":
            return BitmapInputSpec()
        return DeltaInputSpec(self.stats if known.standardized else None, self.max_len, arguments["buckets"])

    @property
    def history(self) -> list[Epoch]:
        """The figures (``FIGURES``) of every finished epoch."""
        return read_history(self.path)

    def finished_epochs(self) -> list[Epoch]:
        """``history``. DataError: it is empty."""
        if history := self.history:
            return history
        raise DataError(f"{self.path}: no epoch of this run has finished")

    @property
    def trained_on(self) -> list[dict[str, Any]]:
        """``path`` and ``digest`` of the data that its weights were trained on, also before it started from them."""
        found, init = [self.info["data"]], self.info.get("init")
        while init is not None:
            found.append(init["data"])
            init = init.get("init")
        return found

    @property
    def best_weights(self) -> Path:
        """The file with the weights of the best epoch. DataError: no epoch is finished, or there is no such file."""
        history = self.finished_epochs()
        path = checkpoint_path(self.path, len(history))
        if best_epoch(history) < len(history) or not path.exists():
            path = self.path / BEST
        if not path.exists():
            raise DataError(f"{path}: no such file")
        return path

    @property
    def temperature(self) -> float | None:
        """The temperature of the best epoch; None for a baseline, or if no epoch is finished."""
        history = self.history
        return history[best_epoch(history) - 1].get("temperature") if history else None

    def load_model(self, *, export: bool = False, calibrated: bool = True) -> Any:
        """Load the model of the best epoch: a ``keras.Model`` on the current backend, or a ``Baseline``.

        Args:
            export: build the network for export (see ``models.build``), in float32.
            calibrated: apply ``temperature`` to a network's probabilities.

        Raises:
            DataError: no epoch is finished, or the file is missing, damaged or of another network.
        """
        self.finished_epochs()
        if self.baseline:
            return self._load_baseline()
        import_keras()
        from ..models.networks import build, with_temperature

        path = self.best_weights
        check_weights(path)
        arguments = self.info["arguments"]
        net = build(
            arguments["model"],
            classes=len(self.classes),
            recurrent_dropout=arguments["recurrent_dropout"],
            export=export,
            precision="float32" if export else arguments["precision"],
        )
        try:
            net.load_weights(path)
        except Exception as e:  # Keras does not wrap what zipfile, h5py and its own code raise
            raise DataError(f"{path}: cannot be loaded as {arguments['model']}: {first_line(e)}") from e
        return with_temperature(net, self.temperature) if calibrated else net

    def _load_baseline(self) -> Baseline:
        options = self.arguments
        model, path = options.pop("model"), self.path / FITTED
        try:
            found = BASELINES[model](len(self.classes), **options)
            check_weights(path)
            found.load(path)
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except DataError:
            raise
        except READ_ERRORS as e:
            then, now = self.info["versions"].get("scikit-learn"), installed("scikit-learn")
            by = "" if then == now else f" (written by scikit-learn {then}; installed is {now})"
            raise DataError(f"{path}: not a {model} model, or damaged{by}: {first_line(e)}") from e
        return found


def load_run(path: str | os.PathLike[str]) -> Run:
    """Open a run directory, finished or not.

    Raises:
        DataError: ``path`` is not a run directory, or its ``run.json`` was changed or is of another version.
    """
    path = Path(path)
    info = read_record(path / RUN, ("arguments", "classes", "stats", "data", "parameters", "backend", "versions"))
    if info is None:
        if not path.exists():
            raise DataError(f"{path}: no such directory{similar_path(path)}")
        raise DataError(f"{path}: not a run directory: it has no run.json{choices(path, directories.RUN)}")
    if problem := _problem_of(info):
        raise DataError(f"{path / RUN}: damaged: {problem}")
    return Run(path, info)


def _problem_of(info: dict[str, Any]) -> str:
    """What is wrong with the content of a ``run.json``; "" if nothing is. Those of earlier versions have no digest."""
    classes, arguments = info["classes"], info["arguments"]
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        return "classes are a list of names"
    if len(set(classes)) < len(classes):
        return "a class is named twice"
    if not all(isinstance(info[key], dict) for key in ("arguments", "data", "versions")):
        return "arguments, data and versions are objects"
    if not isinstance(arguments.get("model"), str):
        return "arguments name no model"
    buckets = arguments.get("buckets", [])
    numbers = [arguments[name] for name in ("max_len", "batch") if name in arguments]
    if not isinstance(buckets, list) or not all(type(number) is int and number >= 1 for number in numbers + buckets):
        return "max_len, batch and buckets are integers of at least 1"
    if not all(isinstance(info["data"].get(key), str) for key in ("path", "digest")):
        return "data have no path and digest"
    try:
        DeltaStats.from_dict(info["stats"])
    except (KeyError, TypeError, ValueError) as e:
        return f"stats: {e}"
    return _problem_of_init(info.get("init"))


def _problem_of_init(init: Any) -> str:
    """What is wrong with ``init`` of a ``run.json``, as of ``_problem_of``."""
    while init is not None:
        if not isinstance(init, dict) or not isinstance(init.get("data"), dict):
            return "init is not an object with data"
        if not all(isinstance(of.get(key), str) for of in (init, init["data"]) for key in ("path", "digest")):
            return "init has no path and digest"
        init = init.get("init")
    return ""


def check_run(path: Path) -> list[str]:
    """Check ``run.json``, ``history.json`` and the files with digests in that. Returns the names of these files.

    Raises:
        DataError: one was changed.
        OSError: one is missing.
    """
    _ = load_run(path).history
    digests = digests_of(path)
    for name in digests:
        check_weights(path / name)
    return list(digests)


def run_info(
    arguments: dict[str, Any],
    prepared: Prepared,
    training: Rows,
    validation: Rows,
    *,
    parameters: int | None,
    backend: str,
    packages: Iterable[str],
) -> dict[str, Any]:
    """The content of ``run.json``, without its format. ``packages``: more packages whose versions are recorded."""
    versions = {name: installed(name) for name in ("qdfast", "numpy", *packages)}
    return {
        "arguments": arguments,
        "classes": list(prepared.classes),
        "stats": prepared.stats("train").to_dict(),
        "data": {
            "path": str(prepared.path.resolve()),
            "digest": prepared.digest,
            "train": len(training),
            "validation": len(validation),
        },
        "parameters": parameters,
        "backend": backend,
        "versions": {"python": platform.python_version(), **{k: v for k, v in versions.items() if v is not None}},
    }


def installed(package: str) -> str | None:
    """The version of a package; None if it runs from a source tree or under another name, such as tensorflow-cpu."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def start_run(path: Path, info: dict[str, Any]) -> Run:
    """Write ``run.json`` in an empty directory, or check that the existing one has the same configuration and data.

    Removes temporary files of a killed run, so the caller must hold the directory's lock.

    Raises:
        DataError: the directory contains something else, or a run of another configuration or other data.
    """
    before = earlier_run(path, {**info["arguments"], **_other_settings(info)})
    remove_temporaries(path)
    if before is None:
        write_bytes(path / RUN, sealed_json.dump({"format": FORMAT, **info}))
        return load_run(path)
    return before


def earlier_run(path: Path, settings: dict[str, Any]) -> Run | None:
    """The run at ``path``, which must have the same ``settings``; None if the directory is empty or does not exist.

    Args:
        settings: arguments of ``run.json``, its ``backend``, and the digests of its ``data`` and ``init``. Any may be
            left out.

    Raises:
        DataError: as for ``start_run``.
    """
    if not (path / RUN).exists():
        if path.exists() and any(not _unfinished(file) for file in path.iterdir()):
            raise DataError(f"{path}: not empty, and not a run directory")
        return None
    before = load_run(path)
    if changed := describe_mismatch({**before.arguments, **_other_settings(before.info)}, settings):
        raise DataError(f"{path}: contains a run with other settings ({changed}): choose another --out, or delete it")
    return before


def _other_settings(info: dict[str, Any]) -> dict[str, Any]:
    """What the result depends on besides the arguments."""
    init = info.get("init", {}).get("digest")
    return {"backend": info["backend"], "data": info["data"]["digest"], "init": init}


def describe_mismatch(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Which values of ``now`` differ from ``then``, for a message; "" if none."""
    changed = [f"{key} {_short(then.get(key))}, not {_short(now[key])}" for key in now if then.get(key) != now[key]]
    return "; ".join(changed)


def _unfinished(file: Path) -> bool:
    """Whether it is the temporary file of a ``run.json``."""
    return file.name.startswith(TEMPORARY) and file.name.endswith(f"-{RUN}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "…"
