"""REINFORCE: advantages of a batch, and the loss whose gradient is minus the estimator.

The gradient of J(θ) = E_{G ~ p_θ}[r(G)] is E[r(G) ∇log p(G)]; with a batch G_1..G_B drawn from p_θ the estimate is
(1/B) Σ a_i ∇log p(G_i), where the advantage a_i takes a baseline from r_i that does not depend on G_i.

Sources: Williams, "Simple statistical gradient-following algorithms" (1992); Kool et al., "Buy 4 REINFORCE samples,
get a baseline for free!" (2019), for the leave-one-out baseline. The problem is that of GraphPNAS (arXiv:2211.15155, section 3).
Ours: the rank form, and clipped importance weights for samples of earlier generators.
"""

import jax
import jax.numpy as jnp

from nasjax.base import Array


def leave_one_out(rewards: Array, mask: Array | None = None) -> Array:
    """Returns a_i = r_i - mean of the others' rewards: the unbiased estimate of the gradient of E[r].

    Args:
      rewards: float[B].
      mask: bool[B], which rows count; all if None. The reward of a row that does not count may be NaN.

    Returns:
      float[B]; 0 in rows that do not count, and everywhere where fewer than two do.
    """
    mask = jnp.ones(rewards.shape, bool) if mask is None else mask
    counted = jnp.where(mask, rewards, jnp.zeros_like(rewards))
    count = mask.sum(dtype=rewards.dtype)
    others = (counted.sum() - counted) / jnp.maximum(count - 1, 1)
    return jnp.where(mask & (count > 1), counted - others, jnp.zeros_like(rewards))


def rank_advantages(rewards: Array, mask: Array | None = None) -> Array:
    """Returns a_i = (rows below i + half of its ties) / (B - 1) - 1/2.

    The estimator's mean is then the gradient of the expected share of an independent second draw, from the same p_θ
    held fixed, that is worse, ties counted half; for every B. Scale and outliers of the reward do not matter.

    Args:
      rewards: float[B].
      mask: bool[B], which rows count; all if None. The reward of a row that does not count may be NaN.

    Returns:
      float[B] in [-1/2, 1/2]; 0 in rows that do not count, and everywhere where fewer than two do.
    """
    mask = jnp.ones(rewards.shape, bool) if mask is None else mask
    counted = jnp.where(mask, rewards, jnp.zeros_like(rewards))
    left, right = counted[:, None], counted[None, :]
    pair = mask[:, None] & mask[None, :] & ~jnp.eye(rewards.shape[0], dtype=bool)
    below = (pair & (right < left)).sum(-1, dtype=rewards.dtype)
    ties = (pair & (right == left)).sum(-1, dtype=rewards.dtype)
    count = mask.sum(dtype=rewards.dtype)
    ranks = (below + ties / 2) / jnp.maximum(count - 1, 1)
    return jnp.where(mask & (count > 1), ranks - 0.5, jnp.zeros_like(rewards))


def policy_loss(log_probs: Array, advantages: Array, mask: Array | None = None) -> Array:
    """Returns -(1/B) Σ a_i log p(G_i) over the B rows that count; its gradient is minus REINFORCE's estimate.

    Args:
      log_probs: float[B], log p_θ(G_i) in nats, differentiable.
      advantages: float[B]; no gradient flows into them.
      mask: bool[B], which rows count; all if None.

    Returns:
      float[]; 0 where no row counts.
    """
    mask = jnp.ones(log_probs.shape, bool) if mask is None else mask
    terms = jnp.where(mask, jax.lax.stop_gradient(advantages) * log_probs, jnp.zeros_like(log_probs))
    return -terms.sum() / jnp.maximum(mask.sum(dtype=log_probs.dtype), 1)


def importance_weights(log_probs: Array, old_log_probs: Array, clip: float) -> Array:
    """Returns min(p_θ / p_old, clip), float[B] without gradient: the weight of a sample of an earlier generator.

    Args:
      log_probs: float[B], under the present generator, nats.
      old_log_probs: float[B], under the generator that drew the sample.
      clip: the largest weight; bounds the variance at the price of a small bias.
    """
    ratio = jax.lax.stop_gradient(log_probs) - old_log_probs
    return jnp.exp(jnp.minimum(ratio, jnp.log(jnp.asarray(clip, ratio.dtype))))


def negative_entropy(log_probs: Array) -> Array:
    """Returns a float[] whose gradient is an unbiased estimate of that of E[log p], from B >= 2 draws of p_θ.

    Args:
      log_probs: float[B], log p_θ of the draws, differentiable. The value itself means nothing.
    """
    return -policy_loss(log_probs, leave_one_out(jax.lax.stop_gradient(log_probs)))
