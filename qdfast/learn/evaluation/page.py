"""Renders a report as one HTML file that needs no network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ..._printable import printable
from ...pictures import spread, svg
from ...storage.progress import duration
from .charts import INK
from .confusion import most_frequent
from .predictions import Predictions

_CONFUSIONS = 20  # listed
_EXAMPLES = 12  # drawings
_GUESSES = 5  # classes named for each example
_SIZE = 112  # pixels of a drawing

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=lambda value: printable(value) if type(value) is str else value,  # Markup is another type
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["percent"] = lambda share, digits=1: "–" if share is None else f"{100 * share:.{digits}f} %"
_templates.filters["count"] = lambda n: f"{n:,}"
_templates.filters["duration"] = duration


def render(metrics: dict[str, Any], predictions: Predictions, order: list[int], charts: dict[str, str]) -> str:
    """Render the page.

    Args:
        metrics: the content of ``metrics.json``.
        order: the order of the classes in the confusion matrix.
        charts: SVG documents by name.
    """
    matrix = np.array(metrics["confusion"])
    classes = predictions.run.classes
    ordered = matrix[np.ix_(order, order)]
    actual, predicted = np.nonzero(ordered)
    examples = spread(len(predictions.labels), _EXAMPLES)
    return _templates.get_template("report.html").render(
        metrics=metrics,
        run=predictions.run,
        charts={name: _inline(chart) for name, chart in charts.items()},
        matrix={
            "classes": [printable(classes[i]) for i in order],
            "cells": np.column_stack([actual, predicted, ordered[actual, predicted]]).tolist(),
        },
        confusions=[(classes[c.actual], classes[c.predicted], c.n) for c in most_frequent(matrix, _CONFUSIONS)],
        classes=sorted(metrics["classes"].items(), key=lambda item: (item[1]["f1"] is None, item[1]["f1"] or 0)),
        mistakes=[_card(predictions, i, 3) for i in predictions.mistakes.tolist()],
        examples=[_card(predictions, i, _GUESSES) for i in examples.tolist()],
    )


def _card(predictions: Predictions, drawing: int, k: int) -> dict[str, Any]:
    return {
        "picture": Markup(svg(predictions.picture(drawing), _SIZE)),
        "key_id": predictions.key_id(drawing),
        "class": predictions.label(drawing),
        "guesses": predictions.top_k(drawing, k),
    }


def _inline(chart: str) -> Markup:
    """A matplotlib SVG as an element in the page's text colour. matplotlib has escaped all text in it."""
    tag, content = chart[chart.index("<svg") :].split(">", 1)
    tag = re.sub(r' (?:xmlns(?::xlink)?|version|width|height)="[^"]*"', "", tag)
    content = re.sub(r"<style[^>]*>.*?</style>", "", content, flags=re.DOTALL)  # it would apply to the whole page
    return Markup(f"{tag}>{content}".replace(INK, "currentColor"))
