"""A model's predictions for labelled drawings, and the content of ``metrics.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...dataset.rows import Rows
from ...pictures import Picture
from ..metrics import (
    RocCurve,
    accuracy_by_name,
    accuracy_by_size,
    cross_entropy,
    one_vs_rest,
    reliability,
    score,
)
from ..training.runs import Run
from .partial_drawings import accuracy_by_completion

_MISTAKES = 24  # drawings shown in the report
_GUESSES = 3  # classes named for each


@dataclass(frozen=True)
class Predictions:
    """What the model of a run predicts for labelled drawings.

    Attributes:
        run: the run.
        rows: the drawings.
        labels: int32 (n,), true classes as indices into ``run.classes``.
        uncalibrated: float32 (n, C), the model's own probabilities.
        probabilities: the calibrated ones, as they are served; ``uncalibrated`` itself if the run has no temperature.
        seconds: how long prediction took.
        predict: predicts uncalibrated probabilities (m, C) for other drawings.
    """

    run: Run
    rows: Rows
    labels: NDArray[np.int32]
    uncalibrated: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    seconds: float
    predict: Callable[[Rows], NDArray[np.float32]]

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The results of ``score`` and ``reliability``."""
        p, labels = self.probabilities, self.labels
        return {**score(p, labels, self.run.classes), **reliability(p, labels)}

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """bool (n,): whether each drawing is classified correctly."""
        found: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return found

    @cached_property
    def roc_curves(self) -> list[RocCurve | None]:
        """The ROC curve of each class."""
        return one_vs_rest(self.probabilities, self.labels)

    @cached_property
    def mistakes(self) -> NDArray[np.int64]:
        """int64 (m,): the misclassified drawings with the highest confidence, highest first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")[:_MISTAKES]]

    def label(self, drawing: int) -> str:
        """The true class of a drawing."""
        return self.run.classes[int(self.labels[drawing])]

    def top_k(self, drawing: int, k: int = _GUESSES) -> dict[str, float]:
        """The ``k`` most probable classes of a drawing with their probabilities, most probable first."""
        row = self.probabilities[drawing]
        return {self.run.classes[i]: float(row[i]) for i in np.argsort(-row, kind="stable")[:k]}

    def picture(self, drawing: int) -> Picture:
        """A drawing as strokes or pixels, for display."""
        one = np.array([drawing])
        picture: Picture = self.rows.drawings(one)[0] if self.rows.kind == "strokes" else self.rows.bitmaps(one)[0]
        return picture

    def key_id(self, drawing: int) -> str | None:
        """The ``key_id`` of a drawing as a decimal string; None if it has none."""
        return str(self.rows.key_id[drawing]) if self.rows.key_id[drawing] else None


def summarize_run(predictions: Predictions) -> dict[str, Any]:
    """One entry of ``runs`` in ``metrics.json``: metrics, size and times of one of the compared runs."""
    run = predictions.run
    return {
        "run": run.name,
        "model": run.arguments["model"],
        **{name: predictions.metrics[name] for name in ("top1", "top1_95", "top3", "top3_95", "loss", "ece")},
        "parameters": run.info["parameters"],
        "epochs": len(run.history),
        "train_seconds": sum(epoch["seconds"] for epoch in run.history),
        "seconds": predictions.seconds,
    }


def summarize(predictions: Predictions, source: str) -> dict[str, Any]:
    """All metrics of one run's predictions; all except ``calibration`` use the calibrated probabilities.

    Returns:
        ``run``, ``model`` and ``source``: names; ``Predictions.metrics``, with ``auc`` per class; ``auc``, the mean of
        these (None if undefined); ``calibration``: the ``temperature``, and ``loss`` and ``reliability`` before
        calibration (None if the run has no temperature); ``by_seen``, ``by_strokes``, ``by_points`` and ``by_country``:
        accuracy by share of the points drawn, number of strokes, number of points, and country (None for bitmaps);
        ``mistakes``: the most confident mistakes with ``key_id``, ``class`` and the top-3 ``guesses``.
    """
    run, rows, labels, correct = predictions.run, predictions.rows, predictions.labels, predictions.correct
    auc = [curve.auc if curve else None for curve in predictions.roc_curves]
    defined = [area for area in auc if area is not None]
    strokes = rows.kind == "strokes"
    classes = predictions.metrics["classes"].items()
    return {
        "run": run.name,
        "model": run.arguments["model"],
        "source": source,
        **predictions.metrics,
        "classes": {name: {**metrics, "auc": area} for (name, metrics), area in zip(classes, auc, strict=True)},
        "auc": float(np.mean(defined)) if defined else None,
        "calibration": _before_calibration(predictions),
        "by_seen": accuracy_by_completion(predictions.predict, rows, labels, correct) if strokes else None,
        "by_strokes": accuracy_by_size(rows.stroke_counts, correct) if strokes else None,
        "by_points": accuracy_by_size(rows.lengths, correct) if strokes else None,
        "by_country": accuracy_by_name(rows.countrycode, correct) if strokes else None,
        "mistakes": [
            {"key_id": predictions.key_id(i), "class": predictions.label(i), "guesses": predictions.top_k(i)}
            for i in predictions.mistakes.tolist()
        ],
    }


def _before_calibration(predictions: Predictions) -> dict[str, Any] | None:
    temperature, p, labels = predictions.run.temperature, predictions.uncalibrated, predictions.labels
    if temperature is None:
        return None
    return {"temperature": temperature, "loss": cross_entropy(p, labels), **reliability(p, labels)}
