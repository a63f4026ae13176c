"""The files of a report.

================  ==============================================================
``metrics.json``  all metrics, for programs
``report.txt``    the main ones as a table
``report.html``   the report, a single file that needs no network
``charts/``       its charts and the most confident mistakes, as .svg and .png
================  ==============================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ..._printable import printable
from ...pictures import Picture, Sheet
from ...storage.files import write_bytes
from ...storage.names import METRICS, REPORT_PAGE, REPORT_TEXT
from . import charts
from .charts import Chart
from .confusion import cluster_classes
from .page import render
from .predictions import Predictions
from .table import format_table

CHARTS = "charts"
MISTAKES = "mistakes"
NAMES = (
    *("comparison", "learning", "confusion", "roc", "calibration", "seen", "strokes", "points", "country"),
    MISTAKES,
)
"""All possible files in ``charts/``, without suffixes."""
SUFFIXES = (".svg", ".png")


def write_report(metrics: dict[str, Any], predictions: Predictions, out: Path) -> None:
    """Write the report to the directory ``out``, created if missing; an earlier report is replaced.

    Args:
        metrics: the content of ``metrics.json``.
        predictions: those of the first run.
    """
    directory = out / CHARTS
    directory.mkdir(parents=True, exist_ok=True)
    order = cluster_classes(np.array(metrics["confusion"]))
    svgs = {name: charts.save(chart, directory / name) for name, chart in _charts(metrics, predictions, order)}
    written = {*svgs}
    if len(predictions.mistakes):
        _save_mistakes(predictions, directory / MISTAKES)
        written.add(MISTAKES)
    for name in {*NAMES} - written:
        for suffix in SUFFIXES:  # of an earlier report
            (directory / name).with_suffix(suffix).unlink(missing_ok=True)
    write_bytes(out / METRICS, orjson.dumps(metrics, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    write_bytes(out / REPORT_TEXT, format_table(metrics).encode())
    write_bytes(out / REPORT_PAGE, render(metrics, predictions, order, svgs).encode())


def _charts(metrics: dict[str, Any], predictions: Predictions, order: list[int]) -> Iterator[tuple[str, Chart]]:
    """The charts for which there is data, by name."""
    classes = [printable(name) for name in predictions.run.classes]
    history = [epoch for epoch in predictions.run.history if "loss" in epoch]
    if len(metrics["runs"]) > 1:
        yield "comparison", partial(charts.comparison, metrics["runs"])
    if history:
        yield "learning", partial(charts.learning_curves, history)
    yield "confusion", partial(charts.confusion_matrix, np.array(metrics["confusion"]), classes, order)
    if metrics["auc"] is not None:
        yield "roc", partial(charts.roc, predictions.roc_curves, classes)
    yield "calibration", partial(charts.calibration, metrics, metrics["calibration"])
    if metrics["by_seen"]:
        yield "seen", partial(charts.by_completion, metrics["by_seen"])
        yield "strokes", partial(charts.by_size, metrics["by_strokes"], "strokes")
        yield "points", partial(charts.by_size, metrics["by_points"], "points")
    if metrics["by_country"]:
        yield "country", partial(charts.by_country, metrics["by_country"])


def _save_mistakes(predictions: Predictions, path: Path) -> None:
    drawings = predictions.mistakes.tolist()
    pictures: list[Picture] = [predictions.picture(i) for i in drawings]
    captions = [f"{next(iter(predictions.top_k(i, 1)))}, not {predictions.label(i)}" for i in drawings]
    for suffix in SUFFIXES:
        Sheet(pictures, captions, columns=6, size=128).save(path.with_suffix(suffix))
