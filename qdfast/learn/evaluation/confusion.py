"""What is taken for what, made readable where there are many classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pair(NamedTuple):
    """``n`` drawings of class ``actual`` were taken for class ``taken``."""

    n: int
    actual: int
    taken: int


def worst_pairs(confusion: NDArray[np.integer[Any]], count: int) -> list[Pair]:
    """The most frequent confusions, at most ``count``; ``confusion`` (C, C): a row per true class."""
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    worst = np.argsort(-errors, axis=None, kind="stable")[:count]
    return [Pair(int(errors.flat[i]), *divmod(int(i), len(errors))) for i in worst if errors.flat[i]]


def neighbours(confusion: NDArray[np.integer[Any]]) -> list[int]:
    """An order of the classes in which those that are confused stand beside each other.

    They are joined to a tree, those first that are confused most (by the mean of both directions' shares), and the
    tree's leaves are put in the order in which neighbours are most alike.
    """
    if len(confusion) < 3:
        return list(range(len(confusion)))
    from scipy.cluster.hierarchy import leaves_list, linkage

    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    apart = 1 - (shares + shares.T) / 2
    upper = np.triu_indices(len(confusion), 1)
    return [int(i) for i in leaves_list(linkage(apart[upper], "average", optimal_ordering=True))]
