"""Confused classes: which, how often, and side by side."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from qdfast.learn.evaluation.confusion import cluster_classes, most_frequent


def families(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix in which classes are confused within families, in no order; and the family of each class."""
    rng = np.random.default_rng(seed)
    family = rng.permutation(np.repeat(np.arange(count), size))
    counts = rng.integers(0, 3, (len(family), len(family)))
    counts += np.where(family[:, None] == family, rng.integers(20, 40, counts.shape), 0)
    counts[np.diag_indices(len(family))] = rng.integers(100, 5000, len(family))
    return counts, family


@pytest.mark.parametrize("seed", range(5))
def test_families_stand_together(seed: int) -> None:
    counts, family = families(9, 7, seed)
    order = cluster_classes(counts)
    assert sorted(order) == list(range(63))
    assert (np.diff(family[order]) != 0).sum() == 8


@pytest.mark.parametrize("c", [1, 2, 3])
def test_few_classes_and_classes_without_drawings(c: int) -> None:
    for counts in (np.zeros((c, c), int), np.eye(c, dtype=int)):
        assert sorted(cluster_classes(counts)) == list(range(c))


def test_the_worst_pairs_are_those_of_a_loop() -> None:
    counts, _ = families(3, 4, 0)
    pairs = [(counts[i, j], i, j) for i in range(12) for j in range(12) if i != j and counts[i, j]]
    expected = sorted(pairs, key=lambda pair: -pair[0])
    assert most_frequent(counts, 10) == expected[:10]
    assert most_frequent(counts, 1000) == expected
    assert most_frequent(np.diag([5, 0, 3]), 10) == []
    assert counts.diagonal().min() >= 100  # the matrix is left as it is
