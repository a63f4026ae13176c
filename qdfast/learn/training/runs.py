"""The run directory: what training leaves, and what continuing, evaluating and exporting start from.

======================  ==================================================================================
``run.json``            what is trained on what: arguments, classes, statistics, digest of the data, versions
``history.json``        the figures of every finished epoch, and the checkpoint of the last
``checkpoint-N.keras``  network and optimizer after epoch N
``checkpoint-N.npz``    its weights, where the network's are their moving average
``best.keras``          the same after the epoch with the lowest validation loss
``log.csv``             the figures of ``history.json`` as a table
``tensorboard/``        the same for TensorBoard, where that is installed
``model.npz``           of a classifier of scikit-learn's in place of checkpoint and best network, and its
                        one epoch has fewer figures
======================  ==================================================================================

An epoch counts from the moment ``history.json`` names its checkpoint. The checkpoint is complete before that, and
nothing of earlier epochs is touched until after it, so a run killed at any moment continues after its last epoch.
"""

from __future__ import annotations

import csv
import io
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

import orjson

from ...dataset.prepared import Prepared
from ...dataset.rows import Rows
from ...errors import DataError
from ...stats import DeltaStats
from ...storage.files import TEMPORARY, remove_temporaries, replacing, write_bytes
from ...storage.names import BEST, FITTED, HISTORY, LOG, RUN
from ..models.baselines import BASELINES, Baseline
from .batches import BitmapFeed, DeltaFeed, Feed
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
"""The figures of an epoch: ``loss`` is mean cross-entropy in nats, without label smoothing, and ``top1`` a share, both
of the training drawings, under dropout and altered as the recipe has it, while the weights changed; ``temperature`` is
what calibrates its probabilities (see ``calibration``); ``seconds`` include validation, ``drawings_per_s`` is of
training alone. Where their number is fitted to a time, there is ``epochs`` too: how many there were to be, as seen at
the end of this one."""
JUDGED = ("epoch", "val_loss", "val_top1", "val_top3", "seconds")
"""Those of them that there are also where no network is trained."""


class Trained(NamedTuple):
    """How a call of ``train`` ended: ``figures`` are those of the best epoch, ``stopped`` says why it ended."""

    path: Path
    epochs: int
    best_epoch: int
    figures: Epoch
    stopped: str


UNREADABLE = (
    *(OSError, EOFError, MemoryError, ValueError, KeyError, TypeError, AttributeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What NumPy and scikit-learn let out for a damaged file."""


@dataclass(frozen=True)
class Run:
    """A run directory: ``path``, and its ``run.json`` parsed as ``info``."""

    path: Path
    info: dict[str, Any]

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.resolve().name

    @property
    def arguments(self) -> dict[str, Any]:
        """What ``train`` was called with, as far as the result depends on it."""
        return dict(self.info["arguments"])

    @property
    def baseline(self) -> bool:
        """Whether it is of a classifier of scikit-learn's, not of a network."""
        return self.info["arguments"]["model"] in BASELINES

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the network's outputs."""
        return tuple(self.info["classes"])

    @property
    def max_len(self) -> int:
        """Points after which a drawing is cut."""
        return int(self.info["arguments"]["max_len"])

    @property
    def stats(self) -> DeltaStats:
        """Statistics of the training drawings, which every input is standardized with."""
        return DeltaStats.from_dict(self.info["stats"])

    @property
    def feed(self) -> Feed:
        """What its network is fed."""
        if self.baseline:
            return BitmapFeed()
        from ..models.networks import network

        arguments = self.info["arguments"]
        known = network(arguments["model"])
        if known.takes == "bitmaps":
            return BitmapFeed()
        return DeltaFeed(self.stats if known.standardized else None, self.max_len, arguments["buckets"])

    @property
    def history(self) -> list[Epoch]:
        """The figures (``FIGURES``) of every finished epoch."""
        return read_history(self.path)

    @property
    def temperature(self) -> float | None:
        """What the probabilities of the best epoch are calibrated with; None of a ``Baseline``, and before an epoch."""
        history = self.history
        return history[best_epoch(history) - 1].get("temperature") if history else None

    def load_model(self, *, export: bool = False, calibrated: bool = True) -> Any:
        """The network of the best epoch (``keras.Model``), on whichever backend Keras runs; or a ``Baseline``.

        Args:
            export: as in ``models.build``, and in float32. Default: as it was trained.
            calibrated: a network's probabilities are calibrated with ``temperature``, where there is one.

        Raises:
            DataError: no epoch is finished, or the file is not this network's.
        """
        history = self.history
        if not history:
            raise DataError(f"{self.path}: no epoch of this run is finished")
        if self.baseline:
            return self._load_baseline()
        from ..models.networks import build, with_temperature

        path = checkpoint_path(self.path, len(history))
        if best_epoch(history) < len(history) or not path.exists():
            path = self.path / BEST
        if not path.exists():
            raise DataError(f"{path}: missing")
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
        except Exception as e:  # Keras lets out whatever zipfile, h5py and its own code raise
            raise DataError(f"{path}: not the weights of {arguments['model']}: {first_line(e)}") from e
        return with_temperature(net, self.temperature) if calibrated else net

    def _load_baseline(self) -> Baseline:
        options = self.arguments
        model, path = options.pop("model"), self.path / FITTED
        try:
            found = BASELINES[model](len(self.classes), **options)
            found.load(path)
        except FileNotFoundError:
            raise DataError(f"{path}: missing") from None
        except UNREADABLE as e:
            then, now = self.info["versions"].get("scikit-learn"), installed("scikit-learn")
            by = "" if then == now else f" (written with scikit-learn {then}, this is {now})"
            raise DataError(f"{path}: not a model of {model}, or damaged{by}: {first_line(e)}") from e
        return found


def load_run(path: str | os.PathLike[str]) -> Run:
    """Open a run directory, finished or not.

    Raises:
        DataError: there is none at ``path``, or its ``run.json`` is not readable by this version.
    """
    path = Path(path)
    info = _read_json(path / RUN, ("arguments", "classes", "stats", "data", "parameters", "backend", "versions"))
    if info is None:
        what = "not a run directory: it has no run.json" if path.exists() else "no such directory"
        raise DataError(f"{path}: {what}")
    return Run(path, info)


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
    """The content of ``run.json``, less its format; ``packages``: whose versions it names, with the usual ones."""
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
    """The version of ``package``; None if it was run from its source tree, or has another name, as tensorflow-cpu."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def start_run(path: Path, info: dict[str, Any]) -> Run:
    """Write ``run.json`` in an empty directory, or check that the one there is of the same training.

    Only for the holder of the directory's lock; removes what a killed run has left half-written.

    Raises:
        DataError: the directory holds something else, or a run of other arguments or data: it says which.
    """
    before = _read_json(path / RUN, ("arguments", "backend", "data"))
    if before is None and any(not _unfinished(file) for file in path.iterdir()):
        raise DataError(f"{path}: neither empty nor a run directory")
    remove_temporaries(path)
    if before is None:
        write_bytes(path / RUN, _dump({"format": FORMAT, **info}))
        return load_run(path)
    then = {**before["arguments"], "backend": before["backend"], "data": before["data"]["digest"]}
    now = {**info["arguments"], "backend": info["backend"], "data": info["data"]["digest"]}
    if changed := differences(then, now):
        raise DataError(f"{path}: there is another run here, of {changed}: give another --out, or delete it")
    return Run(path, before)


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What is not the same, in words; "" if nothing."""
    changed = [f"{key} {_short(then.get(key))}, not {_short(now[key])}" for key in now if then.get(key) != now[key]]
    return "; ".join(changed)


def _unfinished(file: Path) -> bool:
    """Whether it is a ``run.json`` that was being written when the process was killed."""
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
    if not isinstance(epochs, list) or not all(isinstance(e, dict) and e.keys() >= set(JUDGED) for e in epochs):
        raise DataError(f"{path / HISTORY}: damaged: figures are missing")
    return epochs


def planned_epochs(history: list[Epoch], epochs: int) -> int:
    """How many epochs there are to be: as the last that says it, ``epochs`` where none does."""
    return next((int(e["epochs"]) for e in reversed(history) if "epochs" in e), epochs)


def best_epoch(history: list[Epoch]) -> int:
    """The epoch (from 1) with the lowest validation loss, the first of equals; 0 if there is none yet."""
    return 1 + min(range(len(history)), key=lambda i: history[i]["val_loss"]) if history else 0


def checkpoint_path(path: Path, epoch: int) -> Path:
    """Where network and optimizer of an epoch are."""
    return path / f"checkpoint-{epoch:04d}.keras"


def weights_path(path: Path, epoch: int) -> Path:
    """Where the weights of an epoch are whose checkpoint has their moving average."""
    return checkpoint_path(path, epoch).with_suffix(".npz")


def commit(path: Path, history: list[Epoch]) -> None:
    """Make the last epoch of ``history`` count; its files are there already."""
    write_history(path, history, checkpoint_path(path, len(history)))
    settle(path, history)


def write_history(path: Path, history: list[Epoch], checkpoint: Path) -> None:
    """Write ``history.json``; ``checkpoint``: what the last epoch has left."""
    about = {"format": FORMAT, "checkpoint": checkpoint.name, "best_epoch": best_epoch(history), "epochs": history}
    write_bytes(path / HISTORY, _dump(about))


def settle(path: Path, history: list[Epoch]) -> None:
    """Do what follows from ``history.json``: best network, table, no checkpoints of other epochs. Can be repeated."""
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
    """Write ``log.csv``; what there is no figure of stays empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, FIGURES, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    write_bytes(path / LOG, text.getvalue().encode())


def first_line(error: Exception) -> str:
    """An exception's message for a one-line report."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _dump(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _read_json(path: Path, keys: Iterable[str]) -> dict[str, Any] | None:
    try:
        value = orjson.loads(path.read_bytes())
        version = value["format"]
        _ = [value[key] for key in keys] if version == FORMAT else []
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError) as e:
        raise DataError(f"{path}: not a file of qdfast, or damaged: {type(e).__name__}: {first_line(e)}") from e
    if version != FORMAT:
        raise DataError(f"{path}: of format {version}, this version reads {FORMAT}")
    return dict(value)
