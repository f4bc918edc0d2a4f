"""Which evaluated architectures a generator is refitted to, and with what weights.

Source: GraphPNAS (Li et al., arXiv:2211.15155) and its code: the M best of the archive with rank weights (i + 1) / M,
i = 0 the worst of them. The other rules and weights are switches of ours; "log" is CMA-ES's (Hansen, arXiv:1604.00772).
"""

import math
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import history
from nasjax.base import Array, Key
from nasjax.history import Elite, History

Rule: TypeAlias = Literal["top", "schedule", "fraction", "thompson"]
Weights: TypeAlias = Literal["rank", "log", "softmax", "uniform"]


def elite_sizes(
    rule: Rule, elite: int, budget: int, schedule: tuple[tuple[int, int], ...] = (), fraction: float = 0.15
) -> np.ndarray:
    """Returns int32[budget + 1], the largest elite by the number of evaluated architectures n.

    Args:
      rule: "top" and "thompson": `elite`. "schedule": the size of the last (least n, size) pair reached. "fraction":
        ceil(fraction · n), at least 5.
      elite: M.
      budget: number of rows of the archive.
      schedule: pairs (least n, size), the least n ascending from 0.
      fraction: γ.
    """
    if rule == "fraction":
        sizes = [max(5, math.ceil(round(fraction * n, 9))) for n in range(budget + 1)]
    elif rule == "schedule":
        sizes = [[size for least, size in schedule if least <= n][-1] for n in range(budget + 1)]
    else:
        sizes = [elite] * (budget + 1)
    return np.minimum(np.array(sizes, np.int32), max(budget, 1))


def choose(past: History, sizes: np.ndarray, allowed: Array, noise: float, key: Key) -> Elite:
    """Returns the elite, ascending by (reward, insertion) in rows 0..size-1 of `max(sizes)`.

    Args:
      past: the archive.
      sizes: `elite_sizes`.
      allowed: bool[Q], False = outside what the generator can write.
      noise: deviation of a normal draw added to each reward, in deviations of the archive's rewards; 0 = none.
      key: for the noise; consumed.
    """
    valid = past.valid & allowed
    reward = past.reward
    if noise > 0:
        draws = jax.random.normal(key, reward.shape, reward.dtype)
        deviation = jnp.std(jnp.where(valid, reward, 0), where=valid)
        reward = jnp.where(valid, reward + noise * deviation * draws, reward)
    best = history.elite(past._replace(reward=reward, valid=valid), int(sizes.max()))
    return _keep_best(best, jnp.asarray(sizes)[jnp.minimum(past.count, sizes.size - 1)])


def elite_weights(kind: Weights, best: Elite, temperature: float = 1.0) -> Array:
    """Returns float32[M], the weight of each row: 1 for the best, 0 outside the elite.

    Args:
      kind: "rank": (i + 1) / size. "log": log(size + 1/2) - log(place), place 1 the best. "softmax":
        exp(reward / temperature). "uniform": 1.
      best: the elite.
      temperature: in units of the reward.
    """
    rows = jnp.arange(best.mask.shape[0], dtype=jnp.int32)
    size = best.size.astype(jnp.float32)
    place = jnp.maximum(best.size - rows, 1).astype(jnp.float32)  # 1 = best
    if kind == "rank":
        weights = (rows + 1).astype(jnp.float32) / jnp.maximum(size, 1)
    elif kind == "log":
        weights = (jnp.log(size + 0.5) - jnp.log(place)) / jnp.log(size + 0.5)
    elif kind == "softmax":
        reward = jnp.where(best.mask, best.reward, -jnp.inf)
        top = jnp.max(reward, initial=-jnp.inf)
        weights = jnp.exp((reward - jnp.where(best.size > 0, top, 0)) / jnp.float32(temperature))
    else:
        weights = jnp.ones(rows.shape, jnp.float32)
    return jnp.where(best.mask, weights, jnp.float32(0))


def _keep_best(best: Elite, most: Array) -> Elite:
    """The `most` best rows, moved to the front."""
    size = jnp.minimum(best.size, most)
    rows = jnp.arange(best.mask.shape[0], dtype=jnp.int32)
    source = jnp.where(rows < size, rows + best.size - size, rows)
    archs = jax.tree.map(lambda leaf: leaf[source], best.archs)
    return Elite(archs, best.reward[source], rows < size, size)
