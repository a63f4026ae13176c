"""The finished epochs of a run: their figures, checkpoints and digests.

An epoch is finished once ``history.json`` names its checkpoint. The checkpoint is complete by then, and files of
earlier epochs are removed only afterwards, so a run that is killed at any moment resumes after its last finished epoch.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from ...errors import DataError
from ...storage import sealed_json
from ...storage.digests import check_file, file_xxh3
from ...storage.files import replacing, write_bytes
from ...storage.names import BEST, HISTORY, LOG
from .tensorboard import write_events

FORMAT = 1
"""The version of ``run.json`` and ``history.json``."""

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


def read_history(path: Path) -> list[Epoch]:
    """The figures of the finished epochs of the run at ``path``."""
    found = read_record(path / HISTORY, ("epochs",))
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
    if recorded := digests_of(path.parent).get(path.name):
        check_file(path, recorded, "restore it, or train again")


def digests_of(path: Path) -> dict[str, str]:
    """The digests of a run's files of weights, by name; {} if ``history.json`` has none."""
    return dict((read_record(path / HISTORY, ()) or {}).get("digests", {}))


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
    elif known := digests_of(path).get(BEST):
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


def read_record(path: Path, keys: Iterable[str]) -> dict[str, Any] | None:
    """The content of ``run.json`` or ``history.json``; None if there is no such file.

    Raises:
        DataError: it was changed, lacks one of ``keys``, or is of another version.
    """
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
