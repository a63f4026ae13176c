"""Evaluates trained models on labelled drawings and writes the report."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..._hints import needs
from ...dataset.rows import Rows
from ...errors import DataError
from ...storage.directories import REPORT, output
from ...storage.progress import Progress
from ..models.calibration import scale_by_temperature
from ..predict import predict_rows
from ..training.batches import check_kind
from ..training.runs import Run, load_run
from .predictions import Predictions, summarize, summarize_run

AnyRun: TypeAlias = Run | str | os.PathLike[str]

_NAMED = 40  # classes in an error message


def evaluate(
    runs: AnyRun | Sequence[AnyRun], rows: Rows, out: str | os.PathLike[str], *, source: str = ""
) -> dict[str, Any]:
    """Evaluate one or several runs on labelled drawings and write the report (see ``report``).

    Args:
        runs: a run, or several to be compared on the same drawings; the report is about the first.
        rows: drawings, all of classes that each run knows.
        out: report directory, created if missing; an earlier report in it is replaced.
        source: where the drawings come from, as shown in the report.

    Returns:
        The content of ``metrics.json``: the result of ``summarize``, and ``runs``, that of ``summarize_run`` for each.

    Raises:
        DataError: there are no drawings, a run does not know a class, there are bitmaps where a run needs strokes, a
            run has no finished epoch, or ``out`` holds something else or cannot be written to.
    """
    out = output(out, REPORT)
    several = [runs] if isinstance(runs, Run | str | os.PathLike) else runs
    opened = [run if isinstance(run, Run) else load_run(run) for run in several]
    labels = [map_labels(rows, run.classes) for run in opened]
    if not len(rows):
        raise DataError(f"{source or 'the source'}: no drawings to evaluate on")
    for run in opened:
        check_kind(run.input_spec.takes, rows, f"{run.arguments['model']} of {run.path}", source or "the source")
    for run in opened:
        run.finished_epochs()
    with needs("train"):
        from .report import write_report  # here, so that a missing package is reported before the long work
    first = predict(opened[0], rows, labels[0])
    # One after the other: the predictions of several runs need not fit into memory together.
    compared = [summarize_run(first)]
    compared += [summarize_run(predict(run, rows, of)) for run, of in zip(opened[1:], labels[1:], strict=True)]
    metrics = {**summarize(first, source), "runs": compared}
    write_report(metrics, first, out)
    return metrics


def predict(run: Run, rows: Rows, labels: NDArray[np.int32]) -> Predictions:
    """Predict ``rows`` with the best model of a run; ``labels`` are their true classes, as indices into the run's."""
    net, spec = run.load_model(calibrated=False), run.input_spec
    start = time.monotonic()
    with Progress(f"evaluate {run.name}", len(rows)) as progress:
        uncalibrated = predict_rows(net, rows, spec, progress=progress)
    seconds = time.monotonic() - start
    if not np.isfinite(uncalibrated).all():
        raise DataError(f"{run.path}: the model's predictions are not finite numbers")
    temperature = run.temperature
    calibrated = uncalibrated if temperature is None else scale_by_temperature(uncalibrated, temperature)
    return Predictions(
        run, rows, labels, uncalibrated, calibrated, seconds, lambda others: predict_rows(net, others, spec)
    )


def map_labels(rows: Rows, classes: Sequence[str]) -> NDArray[np.int32]:
    """The labels of ``rows`` as indices into ``classes``, matched by name.

    Raises:
        DataError: a drawing's class is not in ``classes``.
    """
    index = {name: i for i, name in enumerate(classes)}
    codes = np.array([index.get(name, -1) for name in rows.classes], np.int32)
    labels = codes[rows.labels] if len(rows) else np.empty(0, np.int32)
    if (labels < 0).any():
        unknown = sorted({rows.classes[i] for i in np.unique(rows.labels[labels < 0])})
        raise DataError(f"the model was not trained on {_shorten(unknown)}; its classes are {_shorten(classes)}")
    return labels


def _shorten(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_NAMED])
    return listed if len(names) <= _NAMED else f"{listed}, … ({len(names)} in all)"
