"""The run directory: written by training; read to resume, evaluate and export.

======================  ==================================================================================
``run.json``            configuration, class names, statistics, digest of the data, versions
``history.json``        the figures of every finished epoch, the last checkpoint, digests of it and of the best weights
``checkpoint-N.keras``  network and optimizer after epoch N
``best.keras``          network and optimizer after the epoch with the lowest validation loss
``log.csv``             the figures of ``history.json`` as a table
``tensorboard/``        the same figures for TensorBoard, if it is installed
``model.npz``           a fitted scikit-learn baseline, which has no checkpoints
======================  ==================================================================================

An epoch is finished once ``history.json`` names its checkpoint. The checkpoint is complete by then, and files of
earlier epochs are removed only afterwards, so a run that is killed at any moment resumes after its last finished epoch.
``run.json`` and ``history.json`` end with a digest of themselves, which is checked when they are read.
"""

from __future__ import annotations

import csv
import io
import math
import os
import platform
import shutil
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ...dataset.prepared import Prepared
from ...dataset.rows import Rows
from ...errors import DataError
from ...stats import DeltaStats
from ...storage import sealed_json
from ...storage.digests import check_file, file_xxh3
from ...storage.files import TEMPORARY, remove_temporaries, replacing, write_bytes
from ...storage.names import BEST, FITTED, HISTORY, LOG, RUN
from ..models.baselines import BASELINES, Baseline
from .batches import BitmapInputSpec, DeltaInputSpec, InputSpec
from .tensorboard import write_events

FORMAT = 1

Epoch: TypeAlias = "dict[str, float]"
FIGURES = (
    "epoch",
    "loss",
    "top1",
    "val_loss",
    "val_top1",
    "val_top3",
    "temperature",
    "learning_rate",
    "seconds",
    "drawings_per_s",
)
"""The figures of an epoch.

``loss`` (mean cross-entropy in nats, without label smoothing) and ``top1`` (0 to 1) are averages over the training
drawings while the weights change, with dropout and augmentation. ``val_*`` are of the validation split after the epoch.
``temperature`` calibrates the probabilities (see ``calibration``). ``seconds`` includes validation; ``drawings_per_s``
does not. If ``max_minutes`` sets the number of epochs, ``epochs`` is the number planned after this one.
"""
BASELINE_FIGURES = ("epoch", "val_loss", "val_top1", "val_top3", "seconds")
"""The figures of a scikit-learn baseline."""


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
        from ..models.networks import network

        arguments = self.info["arguments"]
        known = network(arguments["model"])
        if known.takes == "bitmaps":
            return BitmapInputSpec()
        return DeltaInputSpec(self.stats if known.standardized else None, self.max_len, arguments["buckets"])

    @property
    def history(self) -> list[Epoch]:
        """The figures (``FIGURES``) of every finished epoch."""
        return read_history(self.path)

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
        history = self.history
        if not history:
            raise DataError(f"{self.path}: no epoch of this run has finished")
        if self.baseline:
            return self._load_baseline()
        from ..models.networks import build, with_temperature

        path = checkpoint_path(self.path, len(history))
        if best_epoch(history) < len(history) or not path.exists():
            path = self.path / BEST
        if not path.exists():
            raise DataError(f"{path}: no such file")
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
    info = _read_json(path / RUN, ("arguments", "classes", "stats", "data", "parameters", "backend", "versions"))
    if info is None:
        what = "not a run directory: it has no run.json" if path.exists() else "no such directory"
        raise DataError(f"{path}: {what}")
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
    return ""


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
    before = load_run(path).info if (path / RUN).exists() else None
    if before is None and any(not _unfinished(file) for file in path.iterdir()):
        raise DataError(f"{path}: not empty, and not a run directory")
    remove_temporaries(path)
    if before is None:
        write_bytes(path / RUN, sealed_json.dump({"format": FORMAT, **info}))
        return load_run(path)
    then = {**before["arguments"], "backend": before["backend"], "data": before["data"]["digest"]}
    now = {**info["arguments"], "backend": info["backend"], "data": info["data"]["digest"]}
    if changed := describe_mismatch(then, now):
        raise DataError(f"{path}: contains a run with other settings ({changed}): choose another --out, or delete it")
    return Run(path, before)


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


def read_history(path: Path) -> list[Epoch]:
    """The figures of the finished epochs of the run at ``path``."""
    found = _read_json(path / HISTORY, ("epochs",))
    if found is None:
        return []
    epochs = found["epochs"]
    if not isinstance(epochs, list) or not all(
        isinstance(e, dict) and e.keys() >= set(BASELINE_FIGURES) for e in epochs
    ):
        raise DataError(f"{path / HISTORY}: damaged: metrics are missing")
    for epoch in epochs:
        for name, figure in epoch.items():
            if type(figure) not in (int, float) or not math.isfinite(figure):
                raise DataError(f"{path / HISTORY}: damaged: {name} is {figure!r:.40}, not a number")
    if [e["epoch"] for e in epochs] != list(range(1, len(epochs) + 1)):
        raise DataError(f"{path / HISTORY}: damaged: the epochs are not numbered from 1")
    return epochs


def check_weights(path: Path) -> None:
    """Compare a file of weights with its digest in ``history.json``, if that has one.

    Raises:
        DataError: it has other bytes.
        OSError: it cannot be read.
    """
    if recorded := _digests(path.parent).get(path.name):
        check_file(path, recorded, "restore it, or train again")


def check_run(path: Path) -> list[str]:
    """Check ``run.json``, ``history.json`` and the files with digests in that. Returns the names of these files.

    Raises:
        DataError: one was changed.
        OSError: one is missing.
    """
    _ = load_run(path).history
    digests = _digests(path)
    for name in digests:
        check_weights(path / name)
    return list(digests)


def _digests(path: Path) -> dict[str, str]:
    return dict((_read_json(path / HISTORY, ()) or {}).get("digests", {}))


def planned_epochs(history: list[Epoch], epochs: int) -> int:
    """The number of planned epochs: the one recorded last, or ``epochs`` if none is recorded."""
    return next((int(e["epochs"]) for e in reversed(history) if "epochs" in e), epochs)


def best_epoch(history: list[Epoch]) -> int:
    """The first epoch (from 1) with the lowest validation loss; 0 if no epoch is finished."""
    return 1 + min(range(len(history)), key=lambda i: history[i]["val_loss"]) if history else 0


def checkpoint_path(path: Path, epoch: int) -> Path:
    """The checkpoint of an epoch: network and optimizer."""
    return path / f"checkpoint-{epoch:04d}.keras"


def commit(path: Path, history: list[Epoch]) -> None:
    """Record the last epoch of ``history`` as finished. Its checkpoint must be complete."""
    write_history(path, history, checkpoint_path(path, len(history)))
    finalize_run(path, history)


def write_history(path: Path, history: list[Epoch], checkpoint: Path) -> None:
    """Write ``history.json``, with the last epoch's checkpoint."""
    best = best_epoch(history)
    digests = {checkpoint.name: file_xxh3(checkpoint)}
    if best == len(history):
        digests[BEST] = digests[checkpoint.name]  # of which it becomes a copy
    elif known := _digests(path).get(BEST):
        digests[BEST] = known
    about = {"format": FORMAT, "checkpoint": checkpoint.name, "best_epoch": best, "digests": digests, "epochs": history}
    write_bytes(path / HISTORY, sealed_json.dump(about))


def finalize_run(path: Path, history: list[Epoch]) -> None:
    """Update the files derived from ``history.json``, and remove older checkpoints. Idempotent."""
    if not history:
        return
    last = checkpoint_path(path, len(history))
    if best_epoch(history) == len(history):
        with replacing(path / BEST) as temporary:
            shutil.copyfile(last, temporary)
    for file in path.glob("checkpoint-*"):
        if file.stem != last.stem:
            file.unlink()
    write_log(path, history)
    write_events(path, history)


def write_log(path: Path, history: list[Epoch]) -> None:
    """Write ``log.csv``; missing figures stay empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, FIGURES, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    write_bytes(path / LOG, text.getvalue().encode())


def first_line(error: Exception) -> str:
    """An exception's message for a one-line report."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _read_json(path: Path, keys: Iterable[str]) -> dict[str, Any] | None:
    try:
        value = sealed_json.load(path.read_bytes())
        version = value["format"]
        _ = [value[key] for key in keys] if version == FORMAT else []
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path}: not written by qdfast, or damaged: {type(e).__name__}: {first_line(e)}") from e
    if version != FORMAT:
        raise DataError(f"{path}: has format {version}, but this version of qdfast reads format {FORMAT}")
    return dict(value)
