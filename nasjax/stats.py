"""Intervals and paired tests for comparisons between methods over seeds.

What scipy has (Wilcoxon, Kendall, ranks) is used from scipy where it is needed; here is what needs a decision of ours.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_RANDOM_FLIPS = 100_000
_EXACT_PAIRS = 20  # 2 ** 20 sign patterns: a second


class Interval(NamedTuple):
    """A mean with its 95 % interval, in the units of the values."""

    mean: float
    low: float
    high: float


def mean_interval(values: npt.ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Returns the mean and its 95 % percentile bootstrap interval over resampled values.

    Args:
      values: float[n], one value a seed, n >= 1.
      resamples: number of bootstrap samples.
      seed: of the resampling, so that the same values give the same interval.

    Raises:
      ValueError: no values, or some that are not finite.
    """
    array = _finite(values, "mean_interval")
    rows = np.random.default_rng(seed).integers(0, array.size, (resamples, array.size))
    low, high = np.percentile(array[rows].mean(1), [2.5, 97.5])
    return Interval(float(array.mean()), float(low), float(high))


def sign_flip_test(differences: npt.ArrayLike) -> float:
    """Returns the two-sided p-value of "the mean of paired differences is zero" by flipping their signs.

    Exact over all 2^n patterns up to 20 pairs; above, 100,000 random patterns (seed 0), counting the observed one.

    Args:
      differences: float[n], one paired difference a seed, n >= 1.

    Raises:
      ValueError: no differences, or some that are not finite.
    """
    array = _finite(differences, "sign_flip_test")
    observed = abs(array.mean()) - 1e-12  # sums in another order may differ in the last bits
    if array.size > _EXACT_PAIRS:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (_RANDOM_FLIPS, array.size))
        return float((1 + (np.abs(signs @ array / array.size) >= observed).sum()) / (1 + _RANDOM_FLIPS))
    sums = np.zeros(1)
    for difference in array:
        sums = np.concatenate([sums + difference, sums - difference])
    return float((np.abs(sums / array.size) >= observed).mean())


def _finite(values: npt.ArrayLike, who: str) -> Floats:
    """Returns float64[n]; refuses none and non-finite ones."""
    array = np.asarray(values, np.float64).reshape(-1)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{who}: needs at least one value and finite ones only, got {array.tolist()}")
    return array
