"""Every reported metric, defined once. Training and evaluation use the same functions.

In what follows, ``probabilities`` (n, C) are a model's predictions for n drawings, and ``labels`` (n,) their true
classes as columns of these. A drawing's predicted class is its most probable one, the first among equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

_MIN_PROBABILITY = 1e-7  # lower ones count as this in the cross-entropy, as in Keras
_Z = 1.959963984540054  # quantile of the normal distribution for 95 % confidence
_FPR_GRID = np.linspace(0, 1, 401)  # false positive rates at which ROC curves are averaged


def score(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, loss, per-class metrics and confusion matrix.

    Args:
        classes: C names.

    Returns:
        ``n``; ``top1``, ``top2`` and ``top3``, accuracies from 0 to 1, and their confidence intervals ``top1_95`` and
        so on; ``loss``, the cross-entropy; ``classes``: for each name its ``n``, ``precision``, ``recall`` and ``f1``,
        each None where undefined; ``confusion``: counts, one row per true and one column per predicted class.

    Raises:
        DataError: no drawings, or a probability is not finite.
    """
    n, c = probabilities.shape
    if n == 0:
        raise DataError("no drawings to evaluate")
    if not np.isfinite(probabilities).all():
        raise DataError("the model's predictions are not finite numbers")
    true_ranks = ranks(probabilities, labels)
    hits = {f"top{k}": int((true_ranks < k).sum()) for k in (1, 2, 3)}
    confusion = np.bincount(labels * c + probabilities.argmax(axis=1), minlength=c * c).reshape(c, c)
    correct, actual, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "n": n,
        **{name: count / n for name, count in hits.items()},
        **{f"{name}_95": wilson_interval(count, n) for name, count in hits.items()},
        "loss": cross_entropy(probabilities, labels),
        "classes": {
            name: {
                "n": int(actual[i]),
                "precision": _ratio(correct[i], predicted[i]),
                "recall": _ratio(correct[i], actual[i]),
                "f1": _ratio(2 * correct[i], actual[i] + predicted[i]),
            }
            for i, name in enumerate(classes)
        },
        "confusion": confusion.tolist(),
    }


def cross_entropy(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Mean cross-entropy in nats."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(true, _MIN_PROBABILITY, 1.0), dtype=np.float64).mean())


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def ranks(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The rank of each true class, int64 (n,): 0 if it is the predicted class."""
    true = probabilities[np.arange(len(labels)), labels][:, None]
    earlier_ties = (probabilities == true) & (np.arange(probabilities.shape[1]) < labels[:, None])
    found: NDArray[np.int64] = np.count_nonzero((probabilities > true) | earlier_ties, axis=1)
    return found


def wilson_interval(hits: int, n: int) -> list[float]:
    """Wilson's 95 % confidence interval [low, high] of a proportion, given ``hits`` in ``n`` trials."""
    share, square = hits / n, _Z * _Z / n
    half = _Z * (share * (1 - share) / n + square / (4 * n)) ** 0.5
    middle = share + square / 2
    return [min(share, max(0.0, (middle - half) / (1 + square))), max(share, min(1.0, (middle + half) / (1 + square)))]


def accuracy(correct: NDArray[np.bool_]) -> dict[str, Any]:
    """``n``, ``top1`` and ``top1_95`` of at least one drawing, given whether each is classified correctly."""
    hits = int(correct.sum())
    return {"n": len(correct), "top1": hits / len(correct), "top1_95": wilson_interval(hits, len(correct))}


def accuracy_by_size(
    sizes: NDArray[np.integer[Any]], correct: NDArray[np.bool_], groups: int = 10
) -> list[dict[str, Any]]:
    """``accuracy`` of at most ``groups`` groups of similar size and count, each of sizes ``from`` to ``to``."""
    last = np.unique(np.quantile(sizes, np.arange(1, groups + 1) / groups, method="inverted_cdf"))
    group = np.searchsorted(last, sizes)
    first = [sizes.min(), *(last[:-1] + 1)]
    return [{"from": int(first[i]), "to": int(last[i]), **accuracy(correct[group == i])} for i in range(len(last))]


def accuracy_by_name(
    names: NDArray[np.bytes_], correct: NDArray[np.bool_], *, min_drawings: int = 30, max_names: int = 25
) -> list[dict[str, Any]]:
    """``accuracy`` for each of the most frequent ``names`` (n,), most frequent first; b"" is no name."""
    unique, group, counts = np.unique(names, return_inverse=True, return_counts=True)
    frequent = [i for i in np.argsort(-counts, kind="stable") if unique[i] and counts[i] >= min_drawings]
    return [{"name": unique[i].decode(), **accuracy(correct[group == i])} for i in frequent[:max_names]]


def reliability(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], bins: int = 15
) -> dict[str, Any]:
    """How well confidence (the probability of the predicted class) agrees with accuracy.

    Returns:
        ``certainty``, the mean confidence; ``ece``, the expected calibration error: the mean difference of accuracy and
        mean confidence in each drawing's bin; ``reliability``: for each bin with drawings its confidences ``from`` and
        ``to``, their mean ``certainty``, and the bin's ``accuracy``.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    group = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    diagram = [
        {
            "from": i / bins,
            "to": (i + 1) / bins,
            "certainty": float(confidence[group == i].mean()),
            **accuracy(correct[group == i]),
        }
        for i in np.unique(group).tolist()
    ]
    return {
        "certainty": float(confidence.mean()),
        "ece": sum(b["n"] * abs(b["top1"] - b["certainty"]) for b in diagram) / len(labels),
        "reliability": diagram,
    }


class RocCurve(NamedTuple):
    """A receiver operating characteristic from (0, 0) to (1, 1).

    Attributes:
        fpr, tpr: false and true positive rates, float64 (m,), ascending.
        auc: the area under the curve.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    auc: float


def roc_curve(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> RocCurve | None:
    """The exact curve of ``scores`` (n,), or None if all drawings are positive or all are negative.

    Only the points around each positive score are kept: at most twice as many as there are positives, plus two.
    """
    positives, everything = np.sort(scores[positive]), np.sort(scores)
    if not 0 < len(positives) < len(everything):
        return None
    thresholds = np.unique(positives)[::-1]

    def counts(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """For each threshold in turn: the number of values above it, then the number of values at or above it."""
        sides = [np.searchsorted(values, thresholds, side) for side in ("right", "left")]
        return np.concatenate([[0], len(values) - np.stack(sides, axis=1).reshape(-1), [len(values)]])

    true, selected = counts(positives), counts(everything)
    tpr, fpr = true / len(positives), (selected - true) / (len(everything) - len(positives))
    return RocCurve(fpr, tpr, float(np.diff(fpr) @ (tpr[1:] + tpr[:-1]) / 2))


def one_vs_rest(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> list[RocCurve | None]:
    """The ROC curve of each class against all others; None for a class that has no curve."""
    return [roc_curve(np.ascontiguousarray(column), labels == i) for i, column in enumerate(probabilities.T)]


def macro_average(curves: Sequence[RocCurve]) -> RocCurve:
    """The mean of the curves (at least one) at equal false positive rates; ``auc`` is the mean of their areas."""
    mean = np.mean([np.interp(_FPR_GRID, curve.fpr, curve.tpr) for curve in curves], axis=0)
    return RocCurve(np.r_[0.0, _FPR_GRID], np.r_[0.0, mean], float(np.mean([curve.auc for curve in curves])))
