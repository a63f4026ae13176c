"""The parse report of drawings that were read."""

from __future__ import annotations

import qdfast


def report_of(drawings: qdfast.Drawings) -> qdfast.ParseReport:
    """Their report: drawings that were read have one, selected ones have none."""
    assert drawings.report is not None
    return drawings.report
