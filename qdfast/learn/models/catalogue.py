"""``qdfast models``: all that ``train`` knows by name."""

from __future__ import annotations

from .baselines import BASELINES
from .networks import MODELS, build

_NOTES = """
Models that take bitmaps take strokes too, which are drawn for them. The recipe is how a network is trained unless
`train --recipe` says otherwise; those without are scikit-learn's, and cannot be exported or served."""


def catalogue(classes: int) -> str:
    """A table of the networks and scikit-learn's classifiers, with as many parameters as ``classes`` classes need."""
    rows = [("model", "takes", "parameters", "recipe", "what it is, and what for")]
    for name, known in MODELS.items():
        size = build(name, classes=classes).count_params()
        rows += [(name, known.takes, f"{size:,}", known.recipe, known.summary), ("", "", "", "", known.purpose)]
    for name, baseline in BASELINES.items():
        learned = baseline.parameters(classes)
        size = "" if learned is None else f"{learned:,}"
        rows += [(name, "bitmaps", size, "", baseline.summary), ("", "", "", "", baseline.purpose)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    aligned = ["<", "<", ">", "<"]
    lines = [
        "  ".join([*(f"{cell:{a}{w}}" for cell, a, w in zip(row[:4], aligned, widths, strict=True)), row[4]])
        for row in rows
    ]
    return "\n".join([*map(str.rstrip, lines), _NOTES, f"Parameters are those for {classes:,} classes (--classes)."])
