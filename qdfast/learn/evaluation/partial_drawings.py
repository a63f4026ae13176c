"""Accuracy on unfinished drawings, as the game classifies them while somebody draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...dataset.rows import Rows
from ...drawings import Drawings
from ...pictures import spread
from ...strokes import simplify_columns
from ..metrics import accuracy

SAMPLE = 1000  # drawings, each predicted at nine stages


def first_tenths(drawings: Drawings, tenths: int) -> Drawings:
    """Keep the first ``tenths`` / 10 of each drawing's points, at least two, and simplify them as the game does.

    So a partial drawing is scaled to the size of a whole one, and its last stroke ends where it was cut.
    """
    lengths = drawings.lengths
    keep = np.maximum(-(-lengths * tenths // 10), 2)
    starts = drawings.stroke_offsets[drawings.drawing_offsets[:-1]]
    kept = np.arange(len(drawings.x)) < np.repeat(starts + keep, lengths)
    counts = np.add.reduceat(kept, drawings.stroke_offsets[:-1], dtype=np.int64)
    strokes_before = np.concatenate([[0], np.cumsum(counts > 0)])
    return simplify_columns(
        drawings.x[kept],
        drawings.y[kept],
        np.concatenate([[0], np.cumsum(counts[counts > 0])]),
        strokes_before[drawings.drawing_offsets],
    )


def accuracy_by_completion(
    predict: Callable[[Rows], NDArray[np.float32]], rows: Rows, labels: NDArray[np.int32], correct: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """``accuracy`` by the ``share`` of the points that has been drawn, for at most ``SAMPLE`` of the drawings.

    Args:
        predict: returns probabilities (n, C).
        rows: drawings with strokes.
        labels: (n,) true classes, as columns of the probabilities.
        correct: (n,) whether each whole drawing is classified correctly.
    """
    sample = spread(len(rows), SAMPLE)
    drawings, expected = rows.drawings(sample), labels[sample]
    partial = [(first_tenths(drawings, tenths), expected) for tenths in range(1, 10)]
    predicted = predict(Rows.from_drawings(partial, rows.classes)).argmax(axis=1).reshape(9, -1)
    stages = [*(predicted == expected), correct[sample]]
    return [{"share": tenths / 10, **accuracy(stage)} for tenths, stage in enumerate(stages, start=1)]
