"""The one definition of every figure that is reported about the answers of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

_SMALLEST = 1e-7  # a probability of 0 counts as this in the loss, as in Keras
_Z = 1.959963984540054  # 95 % of a normal distribution are within so many standard deviations
_GRID = np.linspace(0, 1, 401)  # false positive rates at which the curves of several classes are averaged


def score(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """What is right, and what is taken for what.

    Args:
        probabilities: (n, C); of equal ones the first counts as the more likely.
        labels: (n,) indices into ``classes``.
        classes: C names.

    Returns:
        ``n``; ``top1``, ``top2`` and ``top3``, shares of n, with the ``interval`` of each as ``top1_95`` and so on;
        ``loss``, the ``cross_entropy``; ``classes``: for each name its ``n``, ``precision``, ``recall`` and ``f1``,
        None where undefined (no such drawing, or none taken for it); ``confusion``: counts, a row per true and a column
        per predicted class, in the order of ``classes``.

    Raises:
        DataError: no drawings, or a probability that is not a number.
    """
    n, c = probabilities.shape
    if n == 0:
        raise DataError("no drawings to evaluate")
    if not np.isfinite(probabilities).all():
        raise DataError("the model's answers are not finite numbers")
    found = ranks(probabilities, labels)
    confusion = np.bincount(labels * c + probabilities.argmax(axis=1), minlength=c * c).reshape(c, c)
    hits, actual, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "n": n,
        **{f"top{k}": float((found < k).mean()) for k in (1, 2, 3)},
        **{f"top{k}_95": interval(int((found < k).sum()), n) for k in (1, 2, 3)},
        "loss": cross_entropy(probabilities, labels),
        "classes": {
            name: {
                "n": int(actual[i]),
                "precision": _share(hits[i], predicted[i]),
                "recall": _share(hits[i], actual[i]),
                "f1": _share(2 * hits[i], actual[i] + predicted[i]),
            }
            for i, name in enumerate(classes)
        },
        "confusion": confusion.tolist(),
    }


def cross_entropy(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Mean, in nats."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(true, _SMALLEST, 1.0), dtype=np.float64).mean())


def _share(part: int, of: int) -> float | None:
    return float(part / of) if of else None


def ranks(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """int64 (n,): how many classes count as more likely than the true one."""
    true = probabilities[np.arange(len(labels)), labels][:, None]
    before = (probabilities == true) & (np.arange(probabilities.shape[1]) < labels[:, None])
    found: NDArray[np.int64] = np.count_nonzero((probabilities > true) | before, axis=1)
    return found


def interval(hits: int, n: int) -> list[float]:
    """From and to: Wilson's 95 % confidence interval of a share of which ``hits`` of ``n`` are known."""
    share, square = hits / n, _Z * _Z / n
    half = _Z * (share * (1 - share) / n + square / (4 * n)) ** 0.5
    middle = share + square / 2
    return [min(share, max(0.0, (middle - half) / (1 + square))), max(share, min(1.0, (middle + half) / (1 + square)))]


def accuracy(right: NDArray[np.bool_]) -> dict[str, Any]:
    """``n``, ``top1`` and ``top1_95`` of some drawings, at least one; ``right`` (n,): whether the first guess was."""
    hits = int(right.sum())
    return {"n": len(right), "top1": hits / len(right), "top1_95": interval(hits, len(right))}


def accuracy_by_size(
    sizes: NDArray[np.integer[Any]], right: NDArray[np.bool_], parts: int = 10
) -> list[dict[str, Any]]:
    """``accuracy`` of at most ``parts`` groups, about as many drawings each: those of sizes ``from`` up to ``to``."""
    ends = np.unique(np.quantile(sizes, np.arange(1, parts + 1) / parts, method="inverted_cdf"))
    group = np.searchsorted(ends, sizes)
    begins = [sizes.min(), *(ends[:-1] + 1)]
    return [
        {"from": int(begins[i]), "to": int(ends[i]), **accuracy(right[group == i])} for i in range(len(ends))
    ]  # each has a drawing: the one of size ends[i]


def accuracy_by_name(
    names: NDArray[np.bytes_], right: NDArray[np.bool_], *, least: int = 30, most: int = 25
) -> list[dict[str, Any]]:
    """``accuracy`` of those ``most`` names that most drawings have, at least ``least`` each; b"" is none."""
    found, group, counts = np.unique(names, return_inverse=True, return_counts=True)
    often = [i for i in np.argsort(-counts, kind="stable") if found[i] and counts[i] >= least]
    return [{"name": found[i].decode(), **accuracy(right[group == i])} for i in often[:most]]


def reliability(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], bins: int = 15
) -> dict[str, Any]:
    """Whether drawings are taken rightly as often as the model is certain of them.

    Returns:
        ``certainty``, the mean probability of the first guess; ``ece``, the expected calibration error: the mean, over
        drawings, of how far accuracy and mean certainty are apart in the drawing's bin; ``reliability``: the bins that
        have drawings, of certainties ``from`` up to ``to``, with their mean ``certainty`` and ``accuracy``.
    """
    certainty = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    group = np.minimum((certainty * bins).astype(np.int64), bins - 1)
    found = [
        {
            "from": i / bins,
            "to": (i + 1) / bins,
            "certainty": float(certainty[group == i].mean()),
            **accuracy(right[group == i]),
        }
        for i in np.unique(group).tolist()
    ]
    return {
        "certainty": float(certainty.mean()),
        "ece": sum(b["n"] * abs(b["top1"] - b["certainty"]) for b in found) / len(labels),
        "reliability": found,
    }


class Roc(NamedTuple):
    """A receiver operating characteristic: corners from (0, 0) to (1, 1), and the area under it.

    Attributes:
        false, true: float64 (m,), shares of the negatives and of the positives that are above a threshold that falls.
        auc: the area.
    """

    false: NDArray[np.float64]
    true: NDArray[np.float64]
    auc: float


def roc(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> Roc | None:
    """The curve of ``scores`` (n,), exact, in at most twice as many corners as there are positives.

    Between two corners that equal scores of both kinds make, it is a straight line. None if all are of one kind.
    """
    above = np.sort(scores[positive])
    every = np.sort(scores)
    if not 0 < len(above) < len(every):
        return None
    at = np.unique(above)[::-1]

    def counts(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """How many are above each of ``at``, and how many at least that, by turns."""
        sides = [np.searchsorted(values, at, side) for side in ("right", "left")]
        return np.concatenate([[0], len(values) - np.stack(sides, axis=1).reshape(-1), [len(values)]])

    hits, taken = counts(above), counts(every)
    true, false = hits / len(above), (taken - hits) / (len(every) - len(above))
    return Roc(false, true, float(np.diff(false) @ (true[1:] + true[:-1]) / 2))


def one_against_rest(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> list[Roc | None]:
    """Of each class the curve of its probability against all others; None where all drawings are on one side."""
    return [roc(np.ascontiguousarray(column), labels == i) for i, column in enumerate(probabilities.T)]


def macro(curves: Sequence[Roc]) -> Roc:
    """The mean of curves, at least one, at equal false positive rates; ``auc`` is the mean of theirs."""
    mean = np.mean([np.interp(_GRID, curve.false, curve.true) for curve in curves], axis=0)
    return Roc(np.r_[0.0, _GRID], np.r_[0.0, mean], float(np.mean([curve.auc for curve in curves])))
