"""The page of a report: one HTML file with all that it shows, for any browser, without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ...pictures import spread, svg
from ...storage.progress import duration
from .charts import INK
from .confusion import worst_pairs
from .summary import Answers

_PAIRS = 20  # of confused classes that are listed
_EXAMPLES = 12  # drawings, spread over all
_GUESSES = 5  # named of each of these
_SIZE = 112  # pixels of a drawing

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["percent"] = lambda share, digits=1: "–" if share is None else f"{100 * share:.{digits}f} %"
_templates.filters["count"] = lambda n: f"{n:,}"
_templates.filters["duration"] = duration


def render(metrics: dict[str, Any], answers: Answers, order: list[int], charts: dict[str, str]) -> str:
    """The page as text.

    Args:
        metrics: what is written as ``metrics.json``.
        order: the classes as they stand in the confusion matrix.
        charts: SVG documents by name.
    """
    confusion = np.array(metrics["confusion"])
    classes = answers.run.classes
    shown = confusion[np.ix_(order, order)]
    actual, taken = np.nonzero(shown)
    examples = spread(len(answers.labels), _EXAMPLES)
    return _templates.get_template("report.html").render(
        metrics=metrics,
        run=answers.run,
        charts={name: _inline(chart) for name, chart in charts.items()},
        matrix={
            "classes": [classes[i] for i in order],
            "cells": np.column_stack([actual, taken, shown[actual, taken]]).tolist(),
        },
        pairs=[(classes[pair.actual], classes[pair.taken], pair.n) for pair in worst_pairs(confusion, _PAIRS)],
        classes=sorted(metrics["classes"].items(), key=lambda item: (item[1]["f1"] is None, item[1]["f1"] or 0)),
        mistakes=[_card(answers, i, 3) for i in answers.mistakes.tolist()],
        examples=[_card(answers, i, _GUESSES) for i in examples.tolist()],
    )


def _card(answers: Answers, drawing: int, guesses: int) -> dict[str, Any]:
    """A drawing, and what it is taken for."""
    return {
        "picture": Markup(svg(answers.picture(drawing), _SIZE)),
        "key_id": answers.key_id(drawing),
        "class": answers.run.classes[answers.labels[drawing]],
        "guesses": answers.guesses(drawing, guesses),
    }


def _inline(chart: str) -> Markup:
    """An SVG document of matplotlib's, which escapes what it writes, as a part of the page and in its colour."""
    tag, content = chart[chart.index("<svg") :].split(">", 1)
    tag = re.sub(r' (?:xmlns(?::xlink)?|version|width|height)="[^"]*"', "", tag)
    content = re.sub(r"<style[^>]*>.*?</style>", "", content, flags=re.DOTALL)  # which would be of the whole page
    return Markup(f"{tag}>{content}".replace(INK, "currentColor"))
