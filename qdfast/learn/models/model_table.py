"""The table that ``qdfast models`` prints."""

from __future__ import annotations

from typing import Any

from .baselines import BASELINES
from .network_table import MODELS, Network

_NOTES = """
Models that take bitmaps also accept strokes and render them. `train --recipe` overrides a network's recipe.
Models without a recipe are scikit-learn's; they cannot be exported or served."""


def model_facts(classes: int) -> dict[str, dict[str, Any]]:
    """The networks and baselines by name; ``parameters`` are those for ``classes`` classes, None if data decides."""
    facts: dict[str, dict[str, Any]] = {}
    for name, network in MODELS.items():
        facts[name] = {"takes": network.takes, "parameters": _parameters(name, network, classes)}
        facts[name] |= {"recipe": network.recipe, "summary": network.summary, "purpose": network.purpose}
    for name, baseline in BASELINES.items():
        facts[name] = {"takes": "bitmaps", "parameters": baseline.parameters(classes)}
        facts[name] |= {"recipe": None, "summary": baseline.summary, "purpose": baseline.purpose}
    return facts


def model_table(classes: int) -> str:
    """The networks and baselines as a table, with the number of parameters for ``classes`` classes."""
    rows = [("model", "takes", "parameters", "recipe", "what it is and what it is for")]
    for name, facts in model_facts(classes).items():
        size = "" if facts["parameters"] is None else f"{facts['parameters']:,}"
        rows += [
            (name, facts["takes"], size, facts["recipe"] or "", facts["summary"]),
            ("", "", "", "", facts["purpose"]),
        ]
    a, b, c, d = (max(len(row[i]) for row in rows) for i in range(4))
    lines = [f"{r[0]:<{a}}  {r[1]:<{b}}  {r[2]:>{c}}  {r[3]:<{d}}  {r[4]}" for r in rows]
    return "\n".join([*lines, _NOTES, f"Parameters are those for {classes:,} classes (--classes)."])


def _parameters(name: str, network: Network, classes: int) -> int:
    if network.parameters is None:
        from .networks import build

        return int(build(name, classes=classes).count_params())
    fixed, per_class = network.parameters
    return fixed + per_class * classes
