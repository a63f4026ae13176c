"""A bar chart of a benchmark's rows, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def bars(path: Path, result: dict[str, Any], table: str) -> str:
    """Horizontal bars of MB/s, the fastest at the top; returns where it is, or why there is none."""
    try:
        import matplotlib
    except ImportError:
        return "no chart: matplotlib is not installed"
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "qdfast"  # the same picture from the same numbers
    import matplotlib.pyplot as plt

    rows = sorted((r for r in result[table] if r["threads"] == 1), key=lambda r: r["mb_per_s"])
    names, values = [r["name"] for r in rows], [r["mb_per_s"] for r in rows]
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(rows) + 0.9), layout="constrained")
    colours = ["#d9480f" if name.startswith("qdfast") else "#868e96" for name in names]
    drawn = axes.barh(names, values, color=colours)
    axes.bar_label(drawn, [f"{v:,.0f}" for v in values], padding=4, color="#868e96")
    axes.set_xlabel("MB of ndjson a second, one thread", color="#868e96")
    axes.tick_params(colors="#868e96", length=0)
    axes.set_xlim(right=max(values) * 1.12)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)
    return str(path)
