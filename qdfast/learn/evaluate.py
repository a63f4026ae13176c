"""Predictions of a trained model, and the one definition of every figure that is reported about them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..errors import DataError
from ..files import write_bytes
from ..progress import Progress
from ..shards import Rows
from .baselines import Baseline
from .batches import Feed, Group, check_kind, row_order
from .runs import Run, load_run

if TYPE_CHECKING:
    import keras

METRICS = "metrics.json"
REPORT = "report.txt"

_SMALLEST = 1e-7  # a probability of 0 counts as this in the loss, as in Keras
_CONFUSIONS = 10  # listed in the report
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


def score(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """The figures of ``metrics.json``.

    Args:
        probabilities: (n, C); of equal ones the first counts as the more likely.
        labels: (n,) indices into ``classes``.
        classes: C names.

    Returns:
        ``n``; ``top1`` and ``top3``, shares of n; ``loss``, mean cross-entropy in nats; ``classes``: for each name its
        ``n``, ``precision``, ``recall`` and ``f1``, None where undefined (no such drawing, or none taken for it);
        ``confusion``: counts, a row per true and a column per predicted class, in the order of ``classes``.

    Raises:
        DataError: no drawings, or a probability that is not a number.
    """
    n, c = probabilities.shape
    if n == 0:
        raise DataError("no drawings to evaluate")
    if not np.isfinite(probabilities).all():
        raise DataError("the model's answers are not finite numbers")
    true = probabilities[np.arange(n), labels][:, None]
    before = (probabilities == true) & (np.arange(c) < labels[:, None])
    rank = ((probabilities > true) | before).sum(axis=1)
    confusion = np.bincount(labels * c + probabilities.argmax(axis=1), minlength=c * c).reshape(c, c)
    hits, actual, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "n": n,
        "top1": float((rank < 1).mean()),
        "top3": float((rank < 3).mean()),
        "loss": float(-np.log(np.clip(true, _SMALLEST, 1.0), dtype=np.float64).mean()),
        "classes": {
            name: {
                "n": int(actual[i]),
                "precision": _share(hits[i], predicted[i]),
                "recall": _share(hits[i], actual[i]),
                "f1": _share(2 * hits[i], actual[i] + predicted[i]),
            }
            for i, name in enumerate(classes)
        },
        "confusion": confusion.tolist(),
    }


def _share(part: int, of: int) -> float | None:
    return float(part / of) if of else None


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
    run: Run | str | os.PathLike[str], rows: Rows, out: str | os.PathLike[str], *, source: str = ""
) -> dict[str, Any]:
    """Judge what a run has trained by labelled drawings; write ``metrics.json`` and ``report.txt``.

    Args:
        rows: drawings of classes the run knows; any subset of these, in any order.
        out: directory, created if missing; files of an earlier report are replaced.
        source: where the drawings come from, for the report.

    Returns:
        What is written as ``metrics.json``: the figures of ``score``, with ``run``, ``model`` and ``source`` in words.

    Raises:
        DataError: no drawings, a class the run does not know, bitmaps where it needs strokes, a run without
            a finished epoch.
    """
    run = run if isinstance(run, Run) else load_run(run)
    labels = label_as(rows, run.classes)
    if not len(rows):
        raise DataError(f"{source or 'the source'}: no drawings to evaluate")
    net, feed = run.load_model(), run.feed
    check_kind(feed.takes, rows, f"{run.arguments['model']} of {run.path}", source or "the source")
    with Progress("evaluate", len(rows)) as progress:
        probabilities = predict_rows(net, rows, feed, progress=progress)
    metrics = {
        "run": run.name,
        "model": run.arguments["model"],
        "source": source,
        **score(probabilities, labels, run.classes),
    }
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / METRICS, orjson.dumps(metrics, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    write_bytes(out / REPORT, format_table(metrics).encode())
    return metrics


def format_table(metrics: dict[str, Any]) -> str:
    """``metrics`` of ``evaluate`` as text: overall, per class (worst first), and the most frequent confusions."""
    n, names = metrics["n"], list(metrics["classes"])
    error = 1.96 * (metrics["top1"] * (1 - metrics["top1"]) / n) ** 0.5
    about = f"{metrics['model']} of run {metrics['run']}" + (f" on {metrics['source']}" if metrics["source"] else "")
    lines = [
        about,
        "",
        f"drawings  {n:,}",
        f"top-1     {metrics['top1']:.2%} ± {error:.2%}  (95 % confidence)",
        f"top-3     {metrics['top3']:.2%}",
        f"loss      {metrics['loss']:.4f}",
        "",
    ]
    width = max(len("class"), *map(len, names))
    lines.append(f"{'class':<{width}}  {'n':>8}  {'precision':>9}  {'recall':>9}  {'f1':>9}")
    known = {name: c for name, c in metrics["classes"].items() if c["f1"] is not None}
    for name, c in sorted(known.items(), key=lambda item: item[1]["f1"]):
        figures = [f"{'-' if c[key] is None else format(c[key], '.2%'):>9}" for key in ("precision", "recall", "f1")]
        lines.append("  ".join([f"{name:<{width}}", f"{c['n']:>8,}", *figures]))
    if len(known) < len(names):
        lines.append(f"({len(names) - len(known)} classes without drawings, and none taken for one of them)")
    confusion = np.array(metrics["confusion"])
    np.fill_diagonal(confusion, 0)
    worst = np.argsort(-confusion, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [(int(confusion.flat[i]), *divmod(int(i), len(names))) for i in worst if confusion.flat[i]]
    if pairs:
        lines += ["", "most frequent confusions"]
    for count, actual, taken in pairs:
        share = count / metrics["classes"][names[actual]]["n"]
        lines.append(f"{count:>8,}  {names[actual]} taken for {names[taken]}  ({share:.1%} of {names[actual]})")
    return "\n".join(lines) + "\n"
