"""Fits a scikit-learn classifier to prepared drawings. The result is a run directory, like that of a network.

The run has one epoch, with the metrics of the validation split. A run that was killed starts from the beginning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...dataset.prepared import Prepared, open_prepared
from ...dataset.rows import Rows
from ...errors import DataError
from ...storage.files import only_writer
from ...storage.names import FITTED
from ...storage.progress import Progress, duration
from ..metrics import score
from ..models.baselines import BASELINES, Baseline
from ..predict import predict_rows
from .batches import check_rows, without_drawings
from .config import DEFAULT_MODEL, TrainConfig
from .history import Epoch, read_history, write_history, write_log
from .runs import Run, Trained, installed, run_info, start_run

SEEDS = 2**31  # seeds are below this


def fit(
    data: Prepared | str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: TrainConfig,
    *,
    log: Callable[[str], None] = print,
) -> Trained:
    """Fit to the training split, and compute the metrics of the validation split.

    A finished run is left as it is.

    Args:
        data: a prepared directory; strokes are rendered as bitmaps.
        out: the run directory, created if missing.
        config: a model in ``baselines.BASELINES`` and a seed; other options are for networks.
        log: called with one line at the beginning and at the end.

    Raises:
        DataError: invalid options, data or ``out``; too many drawings for the memory of this machine; ``out`` is a run
            with other options or data, or another process is training in it.
    """
    model, seed = config.model or DEFAULT_MODEL, config.seed
    kind = BASELINES[model]
    given = [name for name in config.changed() if name not in ("model", "seed")]
    if config.distribute == "none":
        given.remove("distribute")
    if given:
        raise DataError(f"these options are for networks, and {model} is not one: {', '.join(given)}")
    if not 0 <= seed < SEEDS:
        raise DataError(f"seed is {seed}: it must be 0 to {SEEDS - 1}")
    prepared = data if isinstance(data, Prepared) else open_prepared(data, verify=True)
    training, validation, classes = prepared.rows("train"), prepared.rows("validation"), len(prepared.classes)
    check_rows("bitmaps", prepared, training, validation, model)
    if reason := kind.fit_problem(len(training), classes):
        raise DataError(f"{prepared.path}: {model}: {reason}")
    about = run_info(
        {"model": model, **kind.options, "seed": seed},
        prepared,
        training,
        validation,
        parameters=kind.parameters(classes),
        backend="scikit-learn",
        packages=("scikit-learn",),
    )
    baseline = kind(classes, seed=seed, **kind.options)
    with only_writer(Path(out), "training in"):
        run = start_run(Path(out), about)
        history = read_history(run.path)
        log(
            f"{run.path}: {model} of scikit-learn {installed('scikit-learn')}, {classes} classes, "
            f"{len(training):,} drawings to train on, {len(validation):,} to validate"
            + ("; already finished" if history else "")
        )
        if few := without_drawings(validation):
            log(f"{run.path}: these classes have no validation drawings, so no validation metrics: {', '.join(few)}")
        if not history:
            history = [_epoch(baseline, training, validation, run, log)]
            write_history(run.path, history, run.path / FITTED)
        write_log(run.path, history)

    best = history[0]
    log(
        f"{run.path}: finished in {duration(best['seconds'])}; validation top-1 {best['val_top1']:.2%}, "
        f"top-3 {best['val_top3']:.2%}, loss {best['val_loss']:.4f}"
    )
    return Trained(run.path, 1, 1, best, "finished")


def _epoch(baseline: Baseline, training: Rows, validation: Rows, run: Run, log: Callable[[str], None]) -> Epoch:
    """Fit, validate and save. Returns ``runs.BASELINE_FIGURES``."""
    begun = time.monotonic()
    if said := baseline.fit(training.bitmaps(np.arange(len(training))), training.labels):
        log(f"{run.path}: warning from scikit-learn: {said}")
    with Progress("validation", len(validation)) as progress:
        probabilities = predict_rows(baseline, validation, run.input_spec, progress=progress)
    judged = score(probabilities, validation.labels, training.classes)
    baseline.save(run.path / FITTED)
    return {
        "epoch": 1,
        "val_loss": judged["loss"],
        "val_top1": judged["top1"],
        "val_top3": judged["top3"],
        "seconds": round(time.monotonic() - begun, 3),
    }
