"""Charts of benchmarks' results, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GREY = "#868e96"  # readable on white and on black
COLOURS = ("#d9480f", "#1c7ed6", "#2f9e44", "#9c36b5")


def bars(path: Path, result: dict[str, Any], table: str) -> str:
    """Draw horizontal bars of MB/s, the fastest at the top; returns the path, or why there is no chart."""
    plt = _pyplot()
    if plt is None:
        return NONE
    rows = sorted((r for r in result[table] if r["threads"] == 1), key=lambda r: r["mb_per_s"])
    names, values = [r["name"] for r in rows], [r["mb_per_s"] for r in rows]
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(rows) + 0.9), layout="constrained")
    colours = [COLOURS[0] if name.startswith("qdfast") else GREY for name in names]
    drawn = axes.barh(names, values, color=colours)
    axes.bar_label(drawn, [f"{v:,.0f}" for v in values], padding=4, color=GREY)
    axes.set_xlabel("MB of ndjson a second, one thread", color=GREY)
    axes.set_xlim(right=max(values) * 1.12)
    return _saved(figure, axes, path)


def lines(path: Path, result: dict[str, Any]) -> str:
    """Draw each model's accuracy over the number of training drawings, with intervals; returns as ``bars`` does."""
    plt = _pyplot()
    if plt is None:
        return NONE
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    models = list(dict.fromkeys(r["model"] for r in result["rows"]))
    for i, (model, colour) in enumerate(zip(reversed(models), COLOURS, strict=False)):
        rows = [r for r in result["rows"] if r["model"] == model]
        x = [r["drawings_of_each"] * 1.02**i for r in rows]  # side by side, so that all intervals are visible
        y, error = ([100 * r[name] for r in rows] for name in ("accuracy", "accuracy_95"))
        axes.errorbar(x, y, error, color=colour, label=model, marker="o", markersize=4, capsize=3)
    ticks = list(dict.fromkeys(r["drawings_of_each"] for r in result["rows"]))
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"drawings of each class trained on ({', '.join(result['classes'])})", color=GREY)
    axes.set_ylabel("accuracy, %, with 95 % confidence", color=GREY)
    axes.legend(loc="lower right", frameon=False, labelcolor=GREY)
    return _saved(figure, axes, path)


NONE = "no chart: matplotlib is not installed"


def _pyplot() -> Any:
    """matplotlib.pyplot, or None."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "qdfast"  # the same picture from the same numbers
    import matplotlib.pyplot as plt

    return plt


def _saved(figure: Any, axes: Any, path: Path) -> str:
    """Write the chart without a frame; returns its path."""
    axes.tick_params(colors=GREY, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    figure.clear()
    return str(path)
