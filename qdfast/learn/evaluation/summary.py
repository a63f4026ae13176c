"""The answers of a model to labelled drawings, and all that is said about them in ``metrics.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...dataset.rows import Rows
from ...pictures import Picture
from ..training.runs import Run
from .metrics import (
    Roc,
    accuracy_by_name,
    accuracy_by_size,
    cross_entropy,
    one_against_rest,
    reliability,
    score,
)
from .partial_drawings import accuracy_by_seen

_MISTAKES = 24  # of which the report shows the drawings
_GUESSES = 3  # named of each


@dataclass(frozen=True)
class Answers:
    """What a run's model says to drawings.

    Attributes:
        run: whose.
        rows: the drawings.
        labels: int32 (n,), their classes, as indices into those of the run.
        raw: float32 (n, C), probabilities as the model gives them.
        probabilities: the same calibrated, as they are served; ``raw`` itself where nothing was fitted for that.
        seconds: that it took to answer, together.
        predict: gives its probabilities (m, C) for other drawings.
    """

    run: Run
    rows: Rows
    labels: NDArray[np.int32]
    raw: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    seconds: float
    predict: Callable[[Rows], NDArray[np.float32]]

    @cached_property
    def figures(self) -> dict[str, Any]:
        """Those of ``score`` and ``reliability``."""
        p, labels = self.probabilities, self.labels
        return {**score(p, labels, self.run.classes), **reliability(p, labels)}

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """bool (n,): whether the first guess is the true class."""
        found: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return found

    @cached_property
    def curves(self) -> list[Roc | None]:
        """The receiver operating characteristic of each class."""
        return one_against_rest(self.probabilities, self.labels)

    @cached_property
    def mistakes(self) -> NDArray[np.int64]:
        """int64 (m,): the drawings that are taken wrongly with the most certainty, the worst first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")[:_MISTAKES]]

    def picture(self, drawing: int) -> Picture:
        """A drawing to be looked at."""
        one = np.array([drawing])
        picture: Picture = self.rows.drawings(one)[0] if self.rows.kind == "strokes" else self.rows.bitmaps(one)[0]
        return picture

    def guesses(self, drawing: int, count: int = _GUESSES) -> dict[str, float]:
        """The likeliest classes of a drawing and their probabilities, in that order."""
        row = self.probabilities[drawing]
        return {self.run.classes[i]: float(row[i]) for i in np.argsort(-row, kind="stable")[:count]}

    def key_id(self, drawing: int) -> str | None:
        """Google's id of a drawing, in decimals; None where not given."""
        return str(self.rows.key_id[drawing]) if self.rows.key_id[drawing] else None


def summary(answers: Answers) -> dict[str, Any]:
    """Some figures of one of several runs that are compared.

    Some of ``Answers.figures``; of the run ``epochs``, ``train_seconds`` and ``parameters``, None where they grow with
    the drawings; and ``seconds`` that it took to answer all drawings here.
    """
    run = answers.run
    return {
        "run": run.name,
        "model": run.arguments["model"],
        **{name: answers.figures[name] for name in ("top1", "top1_95", "top3", "top3_95", "loss", "ece")},
        "parameters": run.info["parameters"],
        "epochs": len(run.history),
        "train_seconds": sum(epoch["seconds"] for epoch in run.history),
        "seconds": answers.seconds,
    }


def judge(answers: Answers, source: str) -> dict[str, Any]:
    """All figures about the answers of a run, all but ``calibration`` about its calibrated probabilities.

    Returns:
        ``run``, ``model`` and ``source`` in words; those of ``Answers.figures``, with ``auc`` of each class against the
        rest and their mean (None where undefined); ``calibration``: the ``temperature`` that was fitted, ``loss`` and
        those of ``reliability`` before it, or None; ``by_seen``, ``by_strokes``, ``by_points`` and ``by_country``:
        accuracies by these, None of bitmaps; ``mistakes``: the most certain ones, with ``key_id``, ``class`` and
        ``guesses``.
    """
    run, rows = answers.run, answers.rows
    areas = [curve.auc if curve else None for curve in answers.curves]
    known = [area for area in areas if area is not None]
    strokes = rows.kind == "strokes"
    return {
        "run": run.name,
        "model": run.arguments["model"],
        "source": source,
        **answers.figures,
        "classes": {
            name: {**figures, "auc": area}
            for (name, figures), area in zip(answers.figures["classes"].items(), areas, strict=True)
        },
        "auc": float(np.mean(known)) if known else None,
        "calibration": _before(answers),
        "by_seen": accuracy_by_seen(answers.predict, rows, answers.labels, answers.right) if strokes else None,
        "by_strokes": accuracy_by_size(rows.stroke_counts, answers.right) if strokes else None,
        "by_points": accuracy_by_size(rows.lengths, answers.right) if strokes else None,
        "by_country": accuracy_by_name(rows.countrycode, answers.right) if strokes else None,
        "mistakes": [
            {"key_id": answers.key_id(i), "class": run.classes[answers.labels[i]], "guesses": answers.guesses(i)}
            for i in answers.mistakes.tolist()
        ],
    }


def _before(answers: Answers) -> dict[str, Any] | None:
    temperature = answers.run.temperature
    if temperature is None:
        return None
    loss = cross_entropy(answers.raw, answers.labels)
    return {"temperature": temperature, "loss": loss, **reliability(answers.raw, answers.labels)}
