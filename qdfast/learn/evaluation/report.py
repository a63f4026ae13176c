"""The report of `qdfast evaluate`: what it writes, and where.

================  ====================================================
``metrics.json``  all figures, for programs
``report.txt``    some of them as a table
``report.html``   a page for people, complete in itself
``charts/``       its charts and drawings, each as .svg and as .png
================  ====================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ...pictures import Picture, Sheet
from ...storage.files import write_bytes
from ...storage.names import METRICS
from . import charts
from .charts import Chart
from .confusion import neighbours
from .page import render
from .summary import Answers
from .table import format_table

REPORT = "report.txt"
PAGE = "report.html"
CHARTS = "charts"
MISTAKES = "mistakes"
NAMES = (
    *("comparison", "learning", "confusion", "roc", "calibration", "seen", "strokes", "points", "country"),
    MISTAKES,
)
"""What there can be in ``charts/``."""
SUFFIXES = (".svg", ".png")


def write_report(metrics: dict[str, Any], answers: Answers, out: Path) -> None:
    """Write all of the report to the directory ``out``, created if missing; an earlier one is replaced.

    Args:
        metrics: of ``judge`` and ``summary``, as ``evaluate`` puts them together.
        answers: of the first run.
    """
    directory = out / CHARTS
    directory.mkdir(parents=True, exist_ok=True)
    order = neighbours(np.array(metrics["confusion"]))
    drawn = {name: charts.save(chart, directory / name) for name, chart in _charts(metrics, answers, order)}
    if len(answers.mistakes):
        _mistakes(answers, directory / MISTAKES)
    for name in {*NAMES} - {*drawn} - ({MISTAKES} if len(answers.mistakes) else set()):
        for suffix in SUFFIXES:  # of an earlier report
            (directory / name).with_suffix(suffix).unlink(missing_ok=True)
    write_bytes(out / METRICS, orjson.dumps(metrics, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    write_bytes(out / REPORT, format_table(metrics).encode())
    write_bytes(out / PAGE, render(metrics, answers, order, drawn).encode())


def _charts(metrics: dict[str, Any], answers: Answers, order: list[int]) -> Iterator[tuple[str, Chart]]:
    """Those that there is something to draw of."""
    classes = answers.run.classes
    history = [epoch for epoch in answers.run.history if "loss" in epoch]
    if len(metrics["runs"]) > 1:
        yield "comparison", partial(charts.comparison, metrics["runs"])
    if history:
        yield "learning", partial(charts.learning_curves, history)
    yield "confusion", partial(charts.confusion, np.array(metrics["confusion"]), classes, order)
    if metrics["auc"] is not None:
        yield "roc", partial(charts.roc, answers.curves, classes)
    yield "calibration", partial(charts.calibration, metrics, metrics["calibration"])
    if metrics["by_seen"]:
        yield "seen", partial(charts.by_seen, metrics["by_seen"])
        yield "strokes", partial(charts.by_size, metrics["by_strokes"], "strokes")
        yield "points", partial(charts.by_size, metrics["by_points"], "points")
    if metrics["by_country"]:
        yield "country", partial(charts.by_country, metrics["by_country"])


def _mistakes(answers: Answers, path: Path) -> None:
    """The most certain mistakes as a sheet of drawings."""
    pictures: list[Picture] = [answers.picture(i) for i in answers.mistakes.tolist()]
    captions = [
        f"{_first(answers, i)}, not {answers.run.classes[answers.labels[i]]}" for i in answers.mistakes.tolist()
    ]
    for suffix in SUFFIXES:
        Sheet(pictures, captions, columns=6, size=128).save(path.with_suffix(suffix))


def _first(answers: Answers, drawing: int) -> str:
    return next(iter(answers.guesses(drawing)))
