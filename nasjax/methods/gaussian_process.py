"""Exact Gaussian processes on a fixed number of rows of which some count: fit, posterior, expected improvement.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), §2.2, §2.3 and §5.4; expected
improvement: Jones, Schonlau, Welch (1998). Zero mean, kernel s^2 Matern-5/2(|x - x'| / l) plus noise t^2.

Rows that do not count have the identity's row and column and target 0, so that they change neither likelihood nor
posterior and shapes stay.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.scipy.stats import norm

from nasjax.base import Array, PyTree

T = TypeVar("T", bound=PyTree)

JITTER = 1e-6
"""Added to the diagonal beside the noise."""

NOISE_MEAN = -2.302585
"""log .1, the prior mean of log t^2."""


class Posterior(NamedTuple):
    """What the data say under one theta; R rows.

    Attributes:
      points: float32[R, F].
      mask: bool[R].
      theta: float32[3] = (log l, log s^2, log t^2).
      factor: float32[R, R], lower Cholesky factor of the covariance of the targets.
      weights: float32[R], the covariance's inverse times the targets.
    """

    points: Array
    mask: Array
    theta: Array
    factor: Array
    weights: Array


def distances(left: Array, right: Array) -> Array:
    """Returns float32[L, R], Euclidean distances of float32[L, F] and [R, F]; exact up to the root for entries 0 and 1."""
    products = left @ right.T
    squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * products
    return jnp.sqrt(jnp.maximum(squared, 0))


def prior_means(distance: Array, mask: Array) -> Array:
    """Returns float32[3], the prior means of theta: (log of the median positive distance, 0, log .1).

    Args:
      distance: float32[R, R].
      mask: bool[R], rows that count.
    """
    counts = jnp.triu(mask[:, None] & mask[None, :], 1) & (distance > 0)
    ordered = jnp.sort(jnp.where(counts, distance, jnp.inf).reshape(-1))
    number = counts.sum(dtype=jnp.int32)
    middle = (ordered[jnp.maximum(number - 1, 0) // 2] + ordered[number // 2]) / 2
    median = jnp.where(number > 0, middle, 1.0)
    return jnp.stack([jnp.log(median), jnp.float32(0), jnp.float32(NOISE_MEAN)])


def kernel(distance: Array, theta: Array) -> Array:
    """Returns s^2 Matern-5/2 of distances, of their shape."""
    scaled = jnp.sqrt(jnp.float32(5)) * distance * jnp.exp(-theta[0])
    return jnp.exp(theta[1]) * (1 + scaled + scaled**2 / 3) * jnp.exp(-scaled)


def covariance(distance: Array, mask: Array, theta: Array) -> Array:
    """Returns float32[R, R], the targets' covariance; the identity's row and column where `mask` is False."""
    inner = jnp.where(mask[:, None] & mask[None, :], kernel(distance, theta), 0)
    return inner + jnp.diag(jnp.where(mask, jnp.exp(theta[2]) + JITTER, 1.0))


def negative_log_posterior(theta: Array, distance: Array, targets: Array, mask: Array, means: Array) -> Array:
    """Returns float32[], -log p(targets | theta) - log p(theta) up to a constant; theta ~ N(means, 1).

    Args:
      theta: float32[3].
      distance: float32[R, R].
      targets: float32[R]; 0 where `mask` is False.
      mask: bool[R].
      means: float32[3].
    """
    factor = jnp.linalg.cholesky(covariance(distance, mask, theta))
    whitened = solve_triangular(factor, targets, lower=True)
    fit = (whitened**2).sum() / 2 + jnp.log(jnp.diagonal(factor)).sum()
    return fit + ((theta - means) ** 2).sum() / 2


def fit(start: Array, distance: Array, targets: Array, mask: Array, means: Array, steps: int, rate: float) -> Array:
    """Returns theta after `steps` of Adam on the negative log posterior, from `start`, with fresh moments."""
    return descend(start, lambda theta: covariance(distance, mask, theta), targets, means, steps, rate)


def descend(start: T, covariance_of: Callable[[T], Array], targets: Array, means: T, steps: int, rate: float) -> T:
    """Returns hyperparameters after `steps` of Adam on the negative log posterior, with fresh moments.

    Args:
      start: pytree of float32 arrays, where to start.
      covariance_of: of the targets under given hyperparameters, float32[R, R].
      targets: float32[R].
      means: like `start`; before data each number is N(mean, 1).
      steps: how many.
      rate: Adam's.
    """
    optimiser = optax.adam(rate)

    def step(carry: tuple[T, optax.OptState], _: None) -> tuple[tuple[T, optax.OptState], None]:
        theta, moments = carry
        gradient = _gradient(theta, covariance_of, targets, means)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer's power
            update, moments = optimiser.update(gradient, moments)
        return (jax.tree.map(jnp.add, theta, update), moments), None

    return jax.lax.scan(step, (start, optimiser.init(start)), None, length=steps)[0][0]


def factorable(distance: Array, mask: Array, theta: Array) -> Array:
    """Returns bool[], whether float32 factors the covariance; args as in `covariance`."""
    return jnp.isfinite(jnp.linalg.cholesky(covariance(distance, mask, theta))).all()


def posterior(points: Array, targets: Array, mask: Array, theta: Array) -> Posterior:
    """Returns the process given the rows that count.

    Args:
      points: float32[R, F].
      targets: float32[R]; 0 where `mask` is False.
      mask: bool[R].
      theta: float32[3].
    """
    factor = jnp.linalg.cholesky(covariance(distances(points, points), mask, theta))
    return Posterior(points, mask, theta, factor, cho_solve((factor, True), targets))


def predict(given: Posterior, points: Array) -> tuple[Array, Array]:
    """Returns (mean, variance) float32[C] of the latent function, without noise, at float32[C, F]."""
    cross = jnp.where(given.mask[:, None], kernel(distances(given.points, points), given.theta), 0)
    whitened = solve_triangular(given.factor, cross, lower=True)
    variance = jnp.exp(given.theta[1]) - (whitened**2).sum(axis=0)
    return given.weights @ cross, jnp.maximum(variance, 0)


def expected_improvement(mean: Array, variance: Array, best: Array) -> Array:
    """Returns float32[C], E max(f - best, 0) for f ~ N(mean, variance)."""
    deviation = jnp.sqrt(jnp.maximum(variance, jnp.float32(1e-12)))
    gain = mean - best
    scaled = gain / deviation
    return gain * norm.cdf(scaled) + deviation * norm.pdf(scaled)


def _gradient(theta: T, covariance_of: Callable[[T], Array], targets: Array, means: T) -> T:
    """That of the negative log posterior, by tr((K^-1 - a a^T) dK) / 2 (their eq. 5.9)."""
    matrix, pull = jax.vjp(covariance_of, theta)
    factor = jnp.linalg.cholesky(matrix)
    weights = cho_solve((factor, True), targets)
    inverse = cho_solve((factor, True), jnp.eye(targets.size, dtype=jnp.float32))
    sensitivity = (inverse - weights[:, None] * weights[None, :]) / 2
    likelihood: T = pull(sensitivity)[0]
    gradient: T = jax.tree.map(lambda slope, at, mean: slope + at - mean, likelihood, theta, means)
    return gradient
