"""Temperature scaling (Guo et al., On Calibration of Modern Neural Networks, 2017).

A model's logits are divided by one number, the temperature, fitted on held-out drawings. This changes how confident
the predictions are, and never which class is the most probable. Label smoothing makes a network underconfident
(temperature below 1), long training overconfident (above 1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...pictures import spread

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.2, 5.0
"""Limits of a fitted temperature: without them, a model that makes no mistake would get 0."""

MIN_PROBABILITY = float(np.finfo(np.float32).tiny)  # the logarithm of 0 is not finite

_SAMPLE = 20_000  # drawings, enough to fit one number
_PRIOR_STD = 0.5  # standard deviation of log(temperature) before any drawing is seen


def fit_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> float:
    """Find the temperature with the lowest cross-entropy, to about 0.1 %.

    A log-normal prior around 1 keeps a dozen drawings that are all classified correctly from making the model certain.
    With a thousand drawings, its effect is negligible.

    Args:
        probabilities: (n, C), uncalibrated, of drawings that the model was not trained on.
        labels: (n,) true classes.
    """
    from scipy.optimize import brentq

    sample = spread(len(labels), _SAMPLE)
    logits, labels = np.log(np.maximum(probabilities[sample], MIN_PROBABILITY)), labels[sample]
    logits -= logits.max(axis=1, keepdims=True)
    mean_true_logit = logits[np.arange(len(labels)), labels].mean(dtype=np.float64)

    def slope(inverse: float) -> float:
        """Derivative of the negative log posterior with respect to 1 / temperature."""
        weights = np.exp(logits * np.float32(inverse))
        expected_logit = np.einsum("nc,nc->n", weights, logits) / weights.sum(axis=1)
        prior = math.log(inverse) / (inverse * _PRIOR_STD**2 * len(labels))
        return float(expected_logit.mean(dtype=np.float64) - mean_true_logit) + prior

    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    if slope(high) <= 0:
        return MIN_TEMPERATURE
    if slope(low) >= 0:
        return MAX_TEMPERATURE
    return float(1 / brentq(slope, low, high, rtol=1e-3))


def scale_by_temperature(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Calibrate ``probabilities`` (n, C): the softmax of their logits divided by ``temperature``, float32 (n, C)."""
    out = np.log(np.maximum(probabilities, MIN_PROBABILITY))
    out /= np.float32(temperature)
    out -= out.max(axis=1, keepdims=True)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)
    return out
