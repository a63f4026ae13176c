"""The charts of a report, by matplotlib: every axis with its unit, readable in print and on any screen."""

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

from ...pictures import in_xml
from ...storage.files import replacing, write_bytes
from ...storage.progress import duration
from ..training.runs import Epoch, best_epoch
from .metrics import Roc, macro

INK = "#202124"
"""Of all that is written, and of axes: a page can replace it by the colour of its own text."""

_BLUE, _ORANGE, _GREEN, _GREY = "#1c7ed6", "#d9480f", "#2f9e44", "#868e96"  # each readable on white and on black
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
_NAMED = 30  # classes, up to which a cell of the confusion matrix says its count
_LETTERS = 24  # of a class' name there; longer ones are cut

Chart = Callable[[], Figure]


def save(chart: Chart, path: Path) -> str:
    """Draw a chart and write it as ``path`` with the suffixes .svg and .png; returns the SVG."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a box is drawn instead
        figure = chart()
        if figure.get_layout_engine():
            figure.draw_without_rendering()  # places everything, once for both
            figure.set_layout_engine("none")
        with replacing(path.with_suffix(".png")) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = in_xml(text.getvalue())  # matplotlib writes what a name holds
    write_bytes(path.with_suffix(".svg"), svg.encode())
    return svg


def learning_curves(history: Sequence[Epoch]) -> Figure:
    """Loss and accuracy by epoch; the best one is marked."""
    figure = Figure((_WIDTH, _HEIGHT), layout="constrained")
    losses, shares = figure.subplots(1, 2)
    epochs = [e["epoch"] for e in history]
    for axes, names, scale in (
        (losses, {"loss": "training", "val_loss": "validation"}, 1),
        (shares, {"top1": "training, top-1", "val_top1": "validation, top-1", "val_top3": "validation, top-3"}, 100),
    ):
        for (name, label), colour in zip(names.items(), (_GREY, _BLUE, _GREEN), strict=False):
            axes.plot(epochs, [scale * e[name] for e in history], color=colour, label=label, marker=".")
        axes.axvline(best_epoch(list(history)), color=_ORANGE, linestyle=":", label="best epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.legend(fontsize=9)
    losses.set_ylabel("cross-entropy, nats a drawing")
    shares.set_ylabel("right, % of drawings")
    return figure


def confusion(counts: NDArray[np.integer[Any]], classes: Sequence[str], order: Sequence[int]) -> Figure:
    """Shares of each true class, a row each, in an order of the classes."""
    counts = counts[np.ix_(order, order)]
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    c, names = len(order), [classes[i] for i in order]
    side, font = (max(4.5, 0.3 * c), 9.0) if c <= _NAMED else (2 + 0.05 * c, 3.0)
    margin = min(max(map(len, names)), _LETTERS) * 0.6 * font / 72 + 0.5  # inches, for the names and what they are
    width, height = margin + side + 1.2, margin + side + 0.2
    figure = Figure((width, height))  # placed by hand: with 345 names, a layout takes half a minute
    axes = figure.add_axes((margin / width, 0.2 / height, side / width, side / height))
    bar = figure.add_axes((1 - 1 / width, 0.2 / height, 0.2 / width, min(side, 4) / height))
    # The root of a share: errors are rare, and are what one looks for.
    drawn = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest", aspect="auto")
    figure.colorbar(drawn, bar, ticks=[0, 1, 5, 20, 50, 100], label="% of the true class")
    axes.set_axis_off()
    place: dict[str, Any] = {"fontsize": font, "clip_on": False}
    for i, name in enumerate(names):
        shown = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
        axes.text(-0.7, i, shown, ha="right", va="center", **place)
        axes.text(i, -0.7, shown, ha="center", va="bottom", rotation=90, **place)
    figure.text(0.1 / width, (0.2 + side / 2) / height, "true class", rotation=90, ha="left", va="center")
    figure.text((margin + side / 2) / width, 1 - 0.1 / height, "taken for", ha="center", va="top")
    if c <= _NAMED:
        for i, j in np.argwhere(counts):
            colour = "white" if shares[i, j] > 30 else "black"  # on its cell, whatever the page is
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=colour)
    return figure


def roc(curves: Sequence[Roc | None], classes: Sequence[str]) -> Figure:
    """Of two classes the curve of the second; of more the mean curve, and the best and the worst class'."""
    known = {name: curve for name, curve in zip(classes, curves, strict=True) if curve}
    if len(classes) == 2:
        shown = [(f"{classes[1]}, not {classes[0]}", known[classes[1]], _BLUE)]
    else:
        ranked = sorted(known, key=lambda name: known[name].auc)
        shown = [
            (f"worst class: {ranked[0]}", known[ranked[0]], _ORANGE),
            (f"best class: {ranked[-1]}", known[ranked[-1]], _GREEN),
            (f"mean of {len(known)} classes", macro(list(known.values())), _BLUE),
        ]
    figure = Figure((_WIDTH, _HEIGHT), layout="constrained")
    whole, corner = figure.subplots(1, 2)
    for axes in (whole, corner):
        for name, curve, colour in shown:
            axes.plot(100 * curve.false, 100 * curve.true, color=colour, label=f"{name} ({curve.auc:.4f})")
        axes.plot([0, 100], [0, 100], color=_GREY, linestyle=":", label="chance (0.5)")
        axes.set_xlabel("false positives, % of other classes")
        axes.set_ylabel("true positives, % of the class")
    corner.set(xlim=(-0.1, 10), ylim=(89.9, 100.1), title="the corner above, enlarged")
    whole.legend(fontsize=9, title="(area under the curve)", title_fontsize=9, loc="lower right")
    return figure


def calibration(after: dict[str, Any], before: dict[str, Any] | None) -> Figure:
    """Accuracy by certainty, and how many drawings are how certain; of the bins of ``metrics.reliability``."""
    figure = Figure((_WIDTH, _HEIGHT), layout="constrained")
    curve, counts = figure.subplots(1, 2)
    curve.plot([0, 100], [0, 100], color=_GREY, linestyle=":", label="certain as it is right")
    for figures, name, colour in ((before, "before calibration", _ORANGE), (after, "calibrated" * bool(before), _BLUE)):
        if figures is None:
            continue
        bins = figures["reliability"]
        label = f"{name}: ".removeprefix(": ") + f"error {figures['ece']:.2%}"
        _with_error(curve, [100 * b["certainty"] for b in bins], bins, color=colour, label=label)
    curve.set(xlabel="certainty of the first guess, %", ylabel="right, % of drawings")
    bins = after["reliability"]
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
    right = sum(b["n"] * b["top1"] for b in bins) / total
    counts.axvline(
        100 * after["certainty"], color=_BLUE, linestyle="--", label=f"mean certainty {after['certainty']:.1%}"
    )
    counts.axvline(100 * right, color=_GREEN, linestyle=":", label=f"right {right:.1%}")
    counts.set(xlim=(0, 100), xlabel="certainty of the first guess, %", ylabel="drawings, % of all")
    figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    return figure


def by_seen(groups: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy by the share of a drawing's points that is seen."""
    figure = Figure((_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    _with_error(axes, [100 * g["share"] for g in groups], groups, color=_BLUE)
    axes.set(xlabel="seen of the drawing, % of its points", ylabel="right, % of drawings", xlim=(0, 102), ylim=(0, 100))
    axes.set_xticks(range(10, 101, 10))
    return figure


def by_size(groups: Sequence[dict[str, Any]], unit: str) -> Figure:
    """Accuracy of groups of drawings by a size in ``unit``."""
    figure = Figure((_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    _with_error(axes, range(len(groups)), groups, color=_BLUE)
    names = [f"{g['from']}" if g["from"] == g["to"] else f"{g['from']}–{g['to']}" for g in groups]
    axes.set_xticks(range(len(groups)), names, fontsize=9)
    axes.set_xlabel(f"{unit} of the drawing (groups of about as many drawings)")
    axes.set_ylabel("right, % of drawings")
    return figure


def by_country(groups: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy by country code, the country with most drawings at the top."""
    figure = Figure((_WIDTH, 1.2 + 0.26 * len(groups)), layout="constrained")
    axes = figure.subplots()
    places = range(len(groups))
    for place, group in zip(places, groups, strict=True):
        axes.plot([100 * share for share in group["top1_95"]], [place, place], color=_BLUE, linewidth=1)
    axes.plot([100 * g["top1"] for g in groups], places, "o", color=_BLUE)
    axes.set_yticks(places, [f"{g['name']}  ({g['n']:,})" for g in groups])
    axes.invert_yaxis()
    axes.set_xlabel("right, % of drawings, with 95 % confidence")
    axes.set_ylabel("country (drawings)")
    return figure


def comparison(runs: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy and times of several runs, the first at the top."""
    figure = Figure((_WIDTH + 1, 1.4 + 0.42 * len(runs)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    places = range(len(runs))
    lows, highs = ([100 * abs(r["top1_95"][side] - r["top1"]) for r in runs] for side in (0, 1))
    values = [[100 * r["top1"] for r in runs], [r["train_seconds"] for r in runs], [r["seconds"] for r in runs]]
    said = [[f"{v:.1f}" for v in values[0]], [duration(v) for v in values[1]], [f"{v:.2f}" for v in values[2]]]
    labels = ("right, % of drawings", "training, seconds", "answers, seconds")
    for axes, lengths, texts, label in zip(panels, values, said, labels, strict=True):
        bars = axes.barh(places, lengths, color=_BLUE)
        axes.bar_label(bars, texts, padding=10, fontsize=9)
        axes.set_xlim(0, max(lengths) * 1.45 or 1)
        axes.set_xlabel(label, fontsize=10)
        axes.grid(axis="y", visible=False)
    panels[0].errorbar(values[0], places, xerr=[lows, highs], fmt="none", ecolor=INK, capsize=3)
    panels[0].set_yticks(places, [f"{r['run']}\n({r['model']})" for r in runs], fontsize=9)
    panels[0].invert_yaxis()
    return figure


def _with_error(axes: Axes, x: Sequence[float], groups: Sequence[dict[str, Any]], **style: Any) -> None:
    """Accuracies, in %, with what they may be with 95 % confidence."""
    y = np.array([100 * g["top1"] for g in groups])
    low, high = 100 * np.array([g["top1_95"] for g in groups]).T
    axes.errorbar(x, y, [y - low, high - y], marker="o", markersize=4, capsize=3, **style)
