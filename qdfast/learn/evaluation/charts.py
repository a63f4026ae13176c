"""The charts of a report, drawn with matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..._printable import printable
from ...pictures import in_xml
from ...storage.files import replacing, write_bytes
from ...storage.progress import duration
from ..metrics import RocCurve, macro_average
from ..training.history import Epoch, best_epoch

INK = "#202124"
"""Colour of text and axes; a page replaces it with its own text colour."""

_BLUE, _ORANGE, _GREEN, _GREY = "#1c7ed6", "#d9480f", "#2f9e44", "#868e96"  # readable on white and on black
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 11,
    "text.parse_math": False,  # a class may be named $
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "savefig.dpi": 144,
    "svg.fonttype": "none",
    "svg.hashsalt": "qdfast",  # the same file from the same figures
}
_WIDTH, _HEIGHT = 7.0, 3.8  # inches
_COUNTED = 30  # classes, up to which the cells of the confusion matrix show their counts
_LETTERS = 24  # longer class names are shortened there

Chart = Callable[[], Figure]


def save(chart: Chart, path: Path) -> str:
    """Draw a chart, write it to ``path`` with the suffixes .svg and .png, and return the SVG."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a box is drawn instead
        figure = chart()
        if figure.get_layout_engine():
            figure.draw_without_rendering()  # computes the layout once for both files
            figure.set_layout_engine("none")
        with replacing(path.with_suffix(".png")) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = in_xml(text.getvalue())  # class names may hold characters that are not allowed in XML
    write_bytes(path.with_suffix(".svg"), svg.encode())
    return svg


def _figure(columns: int = 1, *, width: float = _WIDTH, height: float = _HEIGHT, **options: Any) -> tuple[Figure, Any]:
    """A figure, and its axes: one, or an array of ``columns``."""
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(1, columns, **options)


def learning_curves(history: Sequence[Epoch]) -> Figure:
    """Loss and accuracy of each epoch; the best epoch is marked."""
    figure, (losses, accuracies) = _figure(2)
    epochs = [e["epoch"] for e in history]
    for axes, names, scale in (
        (losses, {"loss": "training", "val_loss": "validation"}, 1),
        (accuracies, {"top1": "training top-1", "val_top1": "validation top-1", "val_top3": "validation top-3"}, 100),
    ):
        for (name, label), colour in zip(names.items(), (_GREY, _BLUE, _GREEN), strict=False):
            axes.plot(epochs, [scale * e[name] for e in history], color=colour, label=label, marker=".")
        axes.axvline(best_epoch(list(history)), color=_ORANGE, linestyle=":", label="best epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.legend(fontsize=9)
    losses.set_ylabel("cross-entropy (nats)")
    accuracies.set_ylabel("accuracy (%)")
    return figure


def confusion_matrix(counts: NDArray[np.integer[Any]], classes: Sequence[str], order: Sequence[int]) -> Figure:
    """The confusion matrix, normalized by row (true class), with the classes in the given order."""
    counts = counts[np.ix_(order, order)]
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    c, names = len(order), [classes[i] for i in order]
    side, font = (max(4.5, 0.3 * c), 9.0) if c <= _COUNTED else (2 + 0.05 * c, 3.0)
    margin = min(max(map(len, names)), _LETTERS) * 0.6 * font / 72 + 0.5  # inches, for class names and axis label
    width, height = margin + side + 1.2, margin + side + 0.2
    figure = Figure((width, height))  # explicit positions: with 345 names, constrained layout takes half a minute
    axes = figure.add_axes((margin / width, 0.2 / height, side / width, side / height))
    bar = figure.add_axes((1 - 1 / width, 0.2 / height, 0.2 / width, min(side, 4) / height))
    # A square-root scale makes rare errors visible.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest", aspect="auto")
    figure.colorbar(image, bar, ticks=[0, 1, 5, 20, 50, 100], label="% of the true class")
    axes.set_axis_off()
    edge = -0.5 - 0.06 * c / side  # cells: 0.06 inches outside the matrix
    style: dict[str, Any] = {"fontsize": font, "clip_on": False}
    for i, name in enumerate(names):
        shown = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
        axes.text(edge, i, shown, ha="right", va="center", **style)
        axes.text(i, edge, shown, ha="center", va="bottom", rotation=90, **style)
    figure.text(0.1 / width, (0.2 + side / 2) / height, "true class", rotation=90, ha="left", va="center")
    figure.text((margin + side / 2) / width, 1 - 0.1 / height, "predicted class", ha="center", va="top")
    if c <= _COUNTED:
        for i, j in np.argwhere(counts):
            colour = "white" if shares[i, j] > 30 else "black"  # for contrast with the cell, not with the page
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=colour)
    return figure


def roc(curves: Sequence[RocCurve | None], classes: Sequence[str]) -> Figure:
    """ROC curves: of the second of two classes, or the macro average and those of the best and the worst class."""
    defined = {name: curve for name, curve in zip(classes, curves, strict=True) if curve}
    if len(classes) == 2:
        shown = [(f"{classes[1]} against {classes[0]}", defined[classes[1]], _BLUE)]
    else:
        ranked = sorted(defined, key=lambda name: defined[name].auc)
        shown = [
            (f"worst class: {ranked[0]}", defined[ranked[0]], _ORANGE),
            (f"best class: {ranked[-1]}", defined[ranked[-1]], _GREEN),
            (f"macro average of {len(defined)} classes", macro_average(list(defined.values())), _BLUE),
        ]
    figure, (whole, corner) = _figure(2)
    for axes in (whole, corner):
        for name, curve, colour in shown:
            axes.plot(100 * curve.fpr, 100 * curve.tpr, color=colour, label=f"{name} ({curve.auc:.4f})")
        axes.plot([0, 100], [0, 100], color=_GREY, linestyle=":", label="chance (0.5)")
        axes.set(xlabel="false positive rate (%)", ylabel="true positive rate (%)")
    corner.set(xlim=(-0.1, 10), ylim=(89.9, 100.1), title="top left corner, enlarged")
    whole.legend(fontsize=9, title="class (AUC)", title_fontsize=9, loc="lower right")
    return figure


def calibration(after: dict[str, Any], before: dict[str, Any] | None) -> Figure:
    """Reliability diagram and histogram of confidence, from the results of ``metrics.reliability``."""
    figure, (curve, counts) = _figure(2)
    curve.plot([0, 100], [0, 100], color=_GREY, linestyle=":", label="perfect calibration")
    lines = [("before calibration: ", before, _ORANGE), ("after: ", after, _BLUE)] if before else [("", after, _BLUE)]
    for name, metrics, colour in lines:
        bins, label = metrics["reliability"], f"{name}calibration error {metrics['ece']:.2%}"
        _plot_with_intervals(curve, [100 * b["certainty"] for b in bins], bins, color=colour, label=label)
    curve.set(xlabel="confidence (%)", ylabel="top-1 accuracy (%)")
    total = sum(b["n"] for b in bins)
    counts.bar(
        [100 * b["from"] for b in bins],
        [100 * b["n"] / total for b in bins],
        [100 * (b["to"] - b["from"]) for b in bins],
        align="edge",
        color=_BLUE,
        edgecolor=INK,
        linewidth=0.5,
    )
    confidence, accuracy = after["certainty"], sum(b["n"] * b["top1"] for b in bins) / total
    counts.axvline(100 * confidence, color=_BLUE, linestyle="--", label=f"mean confidence {confidence:.1%}")
    counts.axvline(100 * accuracy, color=_GREEN, linestyle=":", label=f"top-1 accuracy {accuracy:.1%}")
    counts.set(xlim=(0, 100), xlabel="confidence (%)", ylabel="drawings (%)")
    figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    return figure


def by_completion(groups: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy by the share of a drawing's points that is drawn."""
    figure, axes = _figure()
    _plot_with_intervals(axes, [100 * g["share"] for g in groups], groups, color=_BLUE)
    axes.set(xlabel="drawn points (% of the drawing)", ylabel="top-1 accuracy (%)", xlim=(0, 102), ylim=(0, 100))
    axes.set_xticks(range(10, 101, 10))
    return figure


def by_size(groups: Sequence[dict[str, Any]], unit: str) -> Figure:
    """Accuracy of groups of drawings by number of strokes or points."""
    figure, axes = _figure()
    _plot_with_intervals(axes, range(len(groups)), groups, color=_BLUE)
    names = [f"{g['from']}" if g["from"] == g["to"] else f"{g['from']}–{g['to']}" for g in groups]
    axes.set_xticks(range(len(groups)), names, fontsize=9)
    axes.set(xlabel=f"{unit} per drawing (groups of about equal size)", ylabel="top-1 accuracy (%)")
    return figure


def by_country(groups: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy by country code, the country with the most drawings at the top."""
    figure, axes = _figure(height=1.2 + 0.26 * len(groups))
    places = range(len(groups))
    for place, group in zip(places, groups, strict=True):
        axes.plot([100 * share for share in group["top1_95"]], [place, place], color=_BLUE, linewidth=1)
    axes.plot([100 * g["top1"] for g in groups], places, "o", color=_BLUE)
    axes.set_yticks(places, [printable(f"{g['name']}  ({g['n']:,})") for g in groups])
    axes.invert_yaxis()
    axes.set(xlabel="top-1 accuracy (%), 95 % confidence intervals", ylabel="country (drawings)")
    return figure


def comparison(runs: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy, training time and prediction time of several runs, the first at the top."""
    figure, panels = _figure(3, width=_WIDTH + 1, height=1.4 + 0.42 * len(runs), sharey=True)
    places = range(len(runs))
    lows, highs = ([100 * abs(r["top1_95"][side] - r["top1"]) for r in runs] for side in (0, 1))
    values = [[100 * r["top1"] for r in runs], [r["train_seconds"] for r in runs], [r["seconds"] for r in runs]]
    texts = [[f"{v:.1f}" for v in values[0]], [duration(v) for v in values[1]], [f"{v:.2f}" for v in values[2]]]
    labels = ("top-1 accuracy (%)", "training time (s)", "prediction time (s)")
    for axes, lengths, bar_texts, label in zip(panels, values, texts, labels, strict=True):
        bars = axes.barh(places, lengths, color=_BLUE)
        axes.bar_label(bars, bar_texts, padding=10, fontsize=9)
        axes.set_xlim(0, max(lengths) * 1.45 or 1)
        axes.set_xlabel(label, fontsize=10)
        axes.grid(axis="y", visible=False)
    panels[0].errorbar(values[0], places, xerr=[lows, highs], fmt="none", ecolor=INK, capsize=3)
    panels[0].set_yticks(places, [f"{printable(r['run'])}\n({printable(r['model'])})" for r in runs], fontsize=9)
    panels[0].invert_yaxis()
    return figure


def _plot_with_intervals(axes: Axes, x: Sequence[float], groups: Sequence[dict[str, Any]], **style: Any) -> None:
    """Plot accuracies in % with their 95 % confidence intervals."""
    y = np.array([100 * g["top1"] for g in groups])
    low, high = 100 * np.array([g["top1_95"] for g in groups]).T
    axes.errorbar(x, y, [y - low, high - y], marker="o", markersize=4, capsize=3, **style)
