"""Predictions of a trained model, and the report about them."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...dataset.rows import Rows
from ...errors import DataError
from ...storage.directories import REPORT, output
from ...storage.progress import Progress
from ..models.baselines import Baseline
from ..training.batches import Feed, Group, check_kind, row_order
from ..training.runs import Run, load_run
from .calibration import calibrated
from .summary import Answers, judge, summary

if TYPE_CHECKING:
    import keras

AnyRun: TypeAlias = Run | str | os.PathLike[str]

_AHEAD = 4  # batches asked for before the first is waited for


def predict_rows(
    net: keras.Model | Baseline,
    rows: Rows,
    feed: Feed,
    *,
    batch: int = 512,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Probabilities float32 (n, C), in the order of the rows.

    Args:
        feed: what the network takes, as ``Run.feed``.
        batch: drawings put together; changes nothing but time and rounding.
        progress: is told of every drawing done.
    """
    return predicted(
        lambda group: net.predict_on_batch(feed.inputs(rows, group)),
        rows,
        feed,
        classes=net.output_shape[-1],
        batch=batch,
        progress=progress,
    )


def predicted(
    predict: Callable[[Group], Any],
    rows: Rows,
    feed: Feed,
    *,
    classes: int,
    batch: int = 512,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """As ``predict_rows``, by whatever ``predict`` gives for a group: (m, classes), perhaps still to be computed."""
    out = np.empty((len(rows), classes), np.float32)
    under_way: deque[tuple[Group, Any]] = deque()

    def finish() -> None:
        group, probabilities = under_way.popleft()
        out[group.rows] = probabilities
        if progress is not None:
            progress.update(len(group.rows))

    for group in row_order(feed.lengths(rows), batch=batch, max_len=feed.max_len, buckets=feed.buckets):
        under_way.append((group, predict(group)))
        if len(under_way) > _AHEAD:
            finish()
    while under_way:
        finish()
    return out


def label_as(rows: Rows, classes: Sequence[str]) -> NDArray[np.int32]:
    """The labels of ``rows`` as indices into ``classes``, by name.

    Raises:
        DataError: a drawing of a class that is not among them.
    """
    known = {name: i for i, name in enumerate(classes)}
    codes = np.array([known.get(name, -1) for name in rows.classes], np.int32)
    labels = codes[rows.labels] if len(rows) else np.empty(0, np.int32)
    if (labels < 0).any():
        unknown = sorted({rows.classes[i] for i in np.unique(rows.labels[labels < 0])})
        raise DataError(f"drawings of a class the model has not learned: {_few(unknown)}; it knows {_few(classes)}")
    return labels


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 40 else ", ".join(names[:40]) + f", … ({len(names)} in all)"


def evaluate(
    runs: AnyRun | Sequence[AnyRun], rows: Rows, out: str | os.PathLike[str], *, source: str = ""
) -> dict[str, Any]:
    """Judge what runs have trained by labelled drawings; write the report (see ``report``).

    Args:
        runs: one, or several to be compared by the same drawings; the report is of the first.
        rows: drawings of classes that each run knows; any subset of these, in any order.
        out: directory, created if missing; files of an earlier report are replaced.
        source: where the drawings come from, for the report.

    Returns:
        What is written as ``metrics.json``: the figures of ``judge.judge``, and those of ``judge.summary`` of each run
        as ``runs``.

    Raises:
        DataError: no drawings, a class a run does not know, bitmaps where it needs strokes, a run without
            a finished epoch, or ``out`` is of another kind (see ``kinds``) or cannot be written to.
    """
    from .report import write_report  # before the long work: what it needs may not be installed

    out = output(out, REPORT)
    several = [runs] if isinstance(runs, Run | str | os.PathLike) else runs
    opened = [run if isinstance(run, Run) else load_run(run) for run in several]
    labels = [label_as(rows, run.classes) for run in opened]
    if not len(rows):
        raise DataError(f"{source or 'the source'}: no drawings to evaluate")
    for run in opened:
        check_kind(run.feed.takes, rows, f"{run.arguments['model']} of {run.path}", source or "the source")
    answers = ask(opened[0], rows, labels[0])
    compared = [summary(answers)]
    compared += [summary(ask(run, rows, of)) for run, of in zip(opened[1:], labels[1:], strict=True)]
    metrics = {**judge(answers, source), "runs": compared}
    write_report(metrics, answers, out)
    return metrics


def ask(run: Run, rows: Rows, labels: NDArray[np.int32]) -> Answers:
    """What the model of a run says to ``rows``, whose classes it knows as ``labels``."""
    net, feed = run.load_model(calibrated=False), run.feed
    begun = time.monotonic()
    with Progress(f"evaluate {run.name}", len(rows)) as progress:
        raw = predict_rows(net, rows, feed, progress=progress)
    seconds = time.monotonic() - begun
    if not np.isfinite(raw).all():
        raise DataError(f"{run.path}: the model's answers are not finite numbers")
    probabilities = raw if run.temperature is None else calibrated(raw, run.temperature)
    return Answers(run, rows, labels, raw, probabilities, seconds, lambda some: predict_rows(net, some, feed))
