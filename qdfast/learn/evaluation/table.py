"""The metrics as text, for a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._printable import printable
from .confusion import most_frequent

_CONFUSIONS = 10  # listed


def format_table(metrics: dict[str, Any]) -> str:
    """Metrics overall, per class (lowest F1 first), and the most frequent confusions; ``metrics`` as in the file."""
    n, names = metrics["n"], [printable(name) for name in metrics["classes"]]
    classes = list(metrics["classes"].values())
    low, high = metrics["top1_95"]
    title = f"{metrics['model']} of run {metrics['run']}" + (f" on {metrics['source']}" if metrics["source"] else "")
    lines = [
        printable(title),
        "",
        f"drawings          {n:,}",
        f"top-1 accuracy    {metrics['top1']:.2%}  (95 % confidence interval: {low:.2%} to {high:.2%})",
        f"top-3 accuracy    {metrics['top3']:.2%}",
        f"cross-entropy     {metrics['loss']:.4f}",
        f"mean confidence   {metrics['certainty']:.2%}",
        f"calibration error {metrics['ece']:.2%}{_before_calibration(metrics)}",
        "",
    ]
    width = max(len("class"), *map(len, names))
    lines.append(f"{'class':<{width}}  {'n':>8}  {'precision':>9}  {'recall':>9}  {'f1':>9}")
    defined = [(name, c) for name, c in zip(names, classes, strict=True) if c["f1"] is not None]
    for name, c in sorted(defined, key=lambda item: item[1]["f1"]):
        cells = [f"{'-' if c[key] is None else format(c[key], '.2%'):>9}" for key in ("precision", "recall", "f1")]
        lines.append("  ".join([f"{name:<{width}}", f"{c['n']:>8,}", *cells]))
    if len(defined) < len(names):
        lines.append(f"({len(names) - len(defined)} classes have no drawings and are never predicted)")
    if confusions := most_frequent(np.array(metrics["confusion"]), _CONFUSIONS):
        lines += ["", "most frequent confusions"]
    for count, actual, predicted in confusions:
        share = count / classes[actual]["n"]
        lines.append(f"{count:>8,}  {names[actual]} predicted as {names[predicted]}  ({share:.1%} of {names[actual]})")
    return "\n".join(lines) + "\n"


def _before_calibration(metrics: dict[str, Any]) -> str:
    before = metrics["calibration"]
    return f"  ({before['ece']:.2%} before calibration, temperature {before['temperature']:.3f})" if before else ""
