"""Probabilities that mean what they say: divided by a temperature, fitted where nothing was learned.

A network's logits are divided by one number, which makes all its answers more or less certain and changes none. Label
smoothing leaves a network too little certain, many epochs without it too much. (Guo et al., On Calibration of Modern
Neural Networks, 2017.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...pictures import spread

LOWEST, HIGHEST = 0.2, 5.0
"""Temperatures are within these: drawings that are all taken rightly would ask for 0, which is certain of anything."""

SMALLEST = float(np.finfo(np.float32).tiny)  # a probability of 0 has no logit

_ENOUGH = 20_000  # drawings; one number needs no more
_SPREAD = 0.5  # standard deviation of the logarithm of a temperature, before any drawing is seen


def fit_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> float:
    """The likeliest temperature, to about 0.1 %: that with the lowest cross-entropy, but near 1 for a few drawings.

    Before they are seen its logarithm is taken as normal with standard deviation 0.5: a dozen drawings that are all
    taken rightly would else ask for certainty. Of a thousand, nothing of that is left.

    Args:
        probabilities: (n, C), of drawings that the network has not learned from.
        labels: (n,), their classes.
    """
    from scipy.optimize import brentq

    some = spread(len(labels), _ENOUGH)
    logits, labels = np.log(np.maximum(probabilities[some], SMALLEST)), labels[some]
    logits -= logits.max(axis=1, keepdims=True)
    mean_true = logits[np.arange(len(labels)), labels].mean(dtype=np.float64)

    def slope(coldness: float) -> float:
        """Of the cross-entropy by 1 / temperature, and of what speaks for 1 beforehand."""
        weights = np.exp(logits * np.float32(coldness))
        expected = np.einsum("nc,nc->n", weights, logits) / weights.sum(axis=1)
        prior = math.log(coldness) / (coldness * _SPREAD**2 * len(labels))
        return float(expected.mean(dtype=np.float64) - mean_true) + prior

    low, high = 1 / HIGHEST, 1 / LOWEST
    if slope(high) <= 0:
        return LOWEST
    if slope(low) >= 0:
        return HIGHEST
    return float(1 / brentq(slope, low, high, rtol=1e-3))


def calibrated(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """float32 (n, C): ``probabilities`` (n, C) as of logits divided by ``temperature``."""
    out = np.log(np.maximum(probabilities, SMALLEST))
    out /= np.float32(temperature)
    out -= out.max(axis=1, keepdims=True)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)
    return out
