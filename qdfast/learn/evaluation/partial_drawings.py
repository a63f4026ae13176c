"""How much of a drawing a model has to see: its beginnings, as the game asks about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...dataset.rows import Rows
from ...drawings import Drawings
from ...pictures import spread
from ...strokes import simplify_columns
from .metrics import accuracy

SAMPLE = 1000  # drawings; each is asked about ten times


def beginning(drawings: Drawings, tenths: int) -> Drawings:
    """The first ``tenths`` of ten of each drawing's points, two at least, simplified as a canvas' strokes are.

    So a beginning is as large as a whole drawing, and a stroke that is not finished ends where it is.
    """
    lengths = drawings.lengths
    kept = np.maximum(-(-lengths * tenths // 10), 2)
    starts = drawings.stroke_offsets[drawings.drawing_offsets[:-1]]
    seen = np.arange(len(drawings.x)) < np.repeat(starts + kept, lengths)
    counts = np.add.reduceat(seen, drawings.stroke_offsets[:-1], dtype=np.int64)
    strokes_before = np.concatenate([[0], np.cumsum(counts > 0)])
    return simplify_columns(
        drawings.x[seen],
        drawings.y[seen],
        np.concatenate([[0], np.cumsum(counts[counts > 0])]),
        strokes_before[drawings.drawing_offsets],
    )


def accuracy_by_seen(
    predict: Callable[[Rows], NDArray[np.float32]], rows: Rows, labels: NDArray[np.int32], right: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """``metrics.accuracy`` by the ``share`` of the points that is seen, of at most ``SAMPLE`` drawings spread over all.

    Args:
        predict: gives probabilities (n, C).
        rows: drawings, of strokes.
        labels: (n,) their classes, as columns of what ``predict`` gives.
        right: (n,) whether the whole drawings are taken rightly.
    """
    some = spread(len(rows), SAMPLE)
    drawings, wanted = rows.drawings(some), labels[some]
    parts = [(beginning(drawings, tenths), wanted) for tenths in range(1, 10)]
    guesses = predict(Rows.from_drawings(parts, rows.classes)).argmax(axis=1).reshape(9, -1)
    found = [*(guesses == wanted), right[some]]
    return [{"share": tenths / 10, **accuracy(hits)} for tenths, hits in enumerate(found, start=1)]
