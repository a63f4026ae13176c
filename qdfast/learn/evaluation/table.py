"""The figures of a report as text, for a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np

from .confusion import worst_pairs

_CONFUSIONS = 10  # listed


def format_table(metrics: dict[str, Any]) -> str:
    """``metrics`` of ``judge`` as text: overall, per class (worst first), and the most frequent confusions."""
    n, names = metrics["n"], list(metrics["classes"])
    low, high = metrics["top1_95"]
    about = f"{metrics['model']} of run {metrics['run']}" + (f" on {metrics['source']}" if metrics["source"] else "")
    lines = [
        about,
        "",
        f"drawings  {n:,}",
        f"top-1     {metrics['top1']:.2%}  ({low:.2%} to {high:.2%} with 95 % confidence)",
        f"top-3     {metrics['top3']:.2%}",
        f"loss      {metrics['loss']:.4f}",
        f"certainty {metrics['certainty']:.2%}  (calibration error {metrics['ece']:.2%}{_before(metrics)})",
        "",
    ]
    width = max(len("class"), *map(len, names))
    lines.append(f"{'class':<{width}}  {'n':>8}  {'precision':>9}  {'recall':>9}  {'f1':>9}")
    known = {name: c for name, c in metrics["classes"].items() if c["f1"] is not None}
    for name, c in sorted(known.items(), key=lambda item: item[1]["f1"]):
        figures = [f"{'-' if c[key] is None else format(c[key], '.2%'):>9}" for key in ("precision", "recall", "f1")]
        lines.append("  ".join([f"{name:<{width}}", f"{c['n']:>8,}", *figures]))
    if len(known) < len(names):
        lines.append(f"({len(names) - len(known)} classes without drawings, and none taken for one of them)")
    pairs = worst_pairs(np.array(metrics["confusion"]), _CONFUSIONS)
    if pairs:
        lines += ["", "most frequent confusions"]
    for count, actual, taken in pairs:
        share = count / metrics["classes"][names[actual]]["n"]
        lines.append(f"{count:>8,}  {names[actual]} taken for {names[taken]}  ({share:.1%} of {names[actual]})")
    return "\n".join(lines) + "\n"


def _before(metrics: dict[str, Any]) -> str:
    before = metrics["calibration"]
    return f", {before['ece']:.2%} before temperature {before['temperature']:.3f}" if before else ""
