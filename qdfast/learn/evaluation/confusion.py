"""Makes a confusion matrix of many classes readable. Matrices are (C, C), one row per true class."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Confusion(NamedTuple):
    """``n`` drawings of class ``actual`` were predicted as class ``predicted``."""

    n: int
    actual: int
    predicted: int


def most_frequent(matrix: NDArray[np.integer[Any]], count: int) -> list[Confusion]:
    """The most frequent confusions, at most ``count``."""
    errors = matrix.copy()
    np.fill_diagonal(errors, 0)
    worst = np.argsort(-errors, axis=None, kind="stable")[:count]
    return [Confusion(int(errors.flat[i]), *divmod(int(i), len(errors))) for i in worst if errors.flat[i]]


def cluster_classes(matrix: NDArray[np.integer[Any]]) -> list[int]:
    """Order the classes so that those often confused are next to each other, by hierarchical clustering.

    The similarity of two classes is the mean of the shares of each that are predicted as the other.
    """
    if len(matrix) < 3:
        return list(range(len(matrix)))
    from scipy.cluster.hierarchy import leaves_list, linkage

    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    upper = np.triu_indices(len(matrix), 1)
    return [int(i) for i in leaves_list(linkage(distance[upper], "average", optimal_ordering=True))]
