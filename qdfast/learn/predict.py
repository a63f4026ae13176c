"""Runs a model over drawings, batch by batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..dataset.rows import Rows
from ..storage.progress import Progress
from .training.batches import Group, InputSpec, row_order

if TYPE_CHECKING:
    import keras

    from .models.baselines import Baseline

_IN_FLIGHT = 4  # batches submitted before the first result is awaited: backends compute asynchronously


def predict_rows(
    net: keras.Model | Baseline, rows: Rows, spec: InputSpec, *, batch: int = 512, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Predict the class probabilities of ``rows``: float32 (n, C), in the order of the rows.

    Args:
        spec: makes the model's inputs; ``Run.spec``.
        batch: drawings per batch. It affects speed and rounding only.
        progress: updated by the number of drawings done.
    """

    def predict(group: Group) -> Any:
        return net.predict_on_batch(spec.inputs(rows, group))

    return predict_with(predict, rows, spec, classes=net.output_shape[-1], batch=batch, progress=progress)


def predict_with(
    predict: Callable[[Group], Any],
    rows: Rows,
    spec: InputSpec,
    *,
    classes: int,
    batch: int = 512,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """As ``predict_rows``, with any function from a group to its probabilities (m, C), computed or pending."""
    out = np.empty((len(rows), classes), np.float32)
    pending: deque[tuple[Group, Any]] = deque()

    def finish() -> None:
        group, probabilities = pending.popleft()
        out[group.rows] = probabilities
        if progress is not None:
            progress.update(len(group.rows))

    for group in row_order(spec.lengths(rows), batch=batch, max_len=spec.max_len, buckets=spec.buckets):
        pending.append((group, predict(group)))
        if len(pending) > _IN_FLIGHT:
            finish()
    while pending:
        finish()
    return out
