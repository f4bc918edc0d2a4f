"""Screening: order a generator's candidates by a surrogate's opinion before the best are evaluated.

Ours (a switch beside GraphPNAS, arXiv:2211.15155): "ridge" is ridge regression on all decisions of an architecture and all
pairs of them, in its kernel form; "thompson" draws from the same model's posterior, one draw a row of the batch;
"gnn" is a small graph network fitted to the archive.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from nasjax.base import Alphabet, Array, Key, PyTree, Rows


class Archive(NamedTuple):
    """What a surrogate is fitted to.

    Attributes:
      rows: Rows[Q].
      reward: float32[Q].
      mask: bool[Q], which of them count.
    """

    rows: Rows
    reward: Array
    mask: Array


def ranking(values: Array, eligible: Array, most: int) -> Array:
    """Returns int32[C]: the first `most` eligible candidates by falling value, then the others in their order.

    Args:
      values: float[C].
      eligible: bool[C], e.g. valid, unseen and not twice.
      most: how many take part.
    """
    first = eligible & (jnp.cumsum(eligible, dtype=jnp.int32) <= most)
    return jnp.argsort(jnp.where(first, -values, jnp.inf), stable=True).astype(jnp.int32)


def thompson_ranking(key: Key, archive: Archive, candidates: Rows, eligible: Array, most: int, batch: int) -> Array:
    """Returns int32[C]: for each row of the batch the best of one posterior draw, then the others in their order.

    Args:
      key: for the draws; consumed.
      archive: the evaluations.
      candidates: Rows[C].
      eligible: bool[C].
      most: how many of the eligible take part.
      batch: number of draws.
    """
    mean, covariance = _posterior(archive, candidates)
    num = mean.shape[0]
    first = eligible & (jnp.cumsum(eligible, dtype=jnp.int32) <= most)
    factor = jnp.linalg.cholesky(covariance + 1e-4 * jnp.eye(num, dtype=mean.dtype))
    draws = mean[None, :] + jax.random.normal(key, (batch, num), mean.dtype) @ factor.T

    def pick(carry: tuple[Array, Array], draw: Array) -> tuple[tuple[Array, Array], None]:
        place, ranks = carry
        free = first & (ranks == num)
        best = jnp.argmax(jnp.where(free, draw, -jnp.inf))
        ranks = jnp.where(free.any(), ranks.at[best].set(place), ranks)
        return (place + 1, ranks), None

    (_, ranks), _ = jax.lax.scan(pick, (jnp.int32(0), jnp.full(num, num, jnp.int32)), draws)
    return jnp.argsort(ranks, stable=True).astype(jnp.int32)


def ridge_values(archive: Archive, candidates: Rows) -> Array:
    """Returns float32[C], the ridge regression's prediction in deviations of the archive's rewards."""
    solve, standardised, between = _solver(archive, candidates)
    return between @ solve(standardised)


def graph_network_values(
    key: Key, archive: Archive, candidates: Rows, alphabet: Alphabet, *, width: int = 32, steps: int = 100
) -> Array:
    """Returns float32[C], the prediction of a graph network that was fitted to the archive just now.

    Three layers h' = relu(h W + Σ_l A_l h U_l + Σ_l A_lᵀ h V_l + b) over the edge labels l, summed over nodes, squared
    error on standardised rewards, Adam 1e-2.

    Args:
      key: for the initial weights; consumed.
      archive: the evaluations.
      candidates: Rows[C].
      alphabet: the space's.
      width: of the layers.
      steps: Adam steps on the whole archive.
    """
    labels = max(alphabet.edge_labels, 2)
    start = alphabet.num_nodes + max(alphabet.node_labels, 1)
    sizes = [(start, width), (width, width), (width, width)]
    keys = jax.random.split(key, len(sizes) + 1)
    layers = [_layer(k, *size, 2 * labels - 1) for k, size in zip(keys[:-1], sizes, strict=True)]
    head = jax.random.normal(keys[-1], (width,), jnp.float32) / jnp.sqrt(jnp.float32(width))
    target, mask = _standardised(archive), archive.mask
    optimiser = optax.adam(1e-2)

    def predict(params: tuple[list[tuple[Array, Array]], Array], rows: Rows) -> Array:
        return _network(params, rows, alphabet, labels)

    def loss(params: tuple[list[tuple[Array, Array]], Array]) -> Array:
        error = jnp.where(mask, predict(params, archive.rows) - target, 0)
        return (error**2).sum() / jnp.maximum(mask.sum(dtype=error.dtype), 1)

    def step(_: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        params, state = carry
        gradient = jax.grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer's power
            updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, updates), state

    params = (layers, head)
    params, _ = jax.lax.fori_loop(0, steps, step, (params, optimiser.init(params)))
    return predict(params, candidates)


def _layer(key: Key, width: int, out: int, kinds: int) -> tuple[Array, Array]:
    """Weights [kinds, width, out] and a bias."""
    scale = math.sqrt(2 / (width * 2))
    return scale * jax.random.normal(key, (kinds, width, out), jnp.float32), jnp.zeros(out, jnp.float32)


def _network(params: tuple[list[tuple[Array, Array]], Array], rows: Rows, alphabet: Alphabet, labels: int) -> Array:
    """float32[C], see `graph_network_values`."""
    layers, head = params
    num = alphabet.num_nodes
    exists = (jnp.arange(num)[None] < rows.size[:, None]).astype(jnp.float32)
    places = jnp.broadcast_to(jnp.eye(num, dtype=jnp.float32)[None], (*rows.nodes.shape, num))
    kinds = jax.nn.one_hot(rows.nodes, max(alphabet.node_labels, 1), dtype=jnp.float32)
    h = jnp.concatenate([places, kinds], -1) * exists[..., None]
    # [C, kinds, N, N]: the node itself, then each edge label as received and as sent
    edges = jax.nn.one_hot(rows.edges, labels, axis=1, dtype=jnp.float32)[:, 1:]
    own = jnp.broadcast_to(jnp.eye(num, dtype=jnp.float32), (edges.shape[0], 1, num, num))
    operators = jnp.concatenate([own, edges, edges.swapaxes(-1, -2)], 1)
    for weight, bias in layers:
        h = jax.nn.relu(jnp.einsum("ckij,cjd,kde->cie", operators, h, weight) + bias[None, None])
    return (h * exists[..., None]).sum(1) @ head


def _posterior(archive: Archive, candidates: Rows) -> tuple[Array, Array]:
    """Mean [C] and covariance [C, C] of the regression at the candidates, unit noise scaled as in `_solver`."""
    solve, standardised, between = _solver(archive, candidates)
    mean = between @ solve(standardised)
    covariance = _kernel(candidates, candidates) - between @ solve(between.T)
    return mean, covariance


def _solver(archive: Archive, candidates: Rows) -> tuple[Callable[[Array], Array], Array, Array]:
    """Returns y -> (K + λI)⁻¹ y over the archive, the standardised rewards, and the kernel [C, Q] to the candidates."""
    pair = archive.mask[:, None] & archive.mask[None, :]
    gram = jnp.where(pair, _kernel(archive.rows, archive.rows), 0)
    noise = jnp.eye(gram.shape[0], dtype=gram.dtype) * 0.1  # rewards of children repeat to about r = .9
    factor = jax.scipy.linalg.cho_factor(gram + noise, lower=True)
    between = jnp.where(archive.mask[None, :], _kernel(candidates, archive.rows), 0)
    return lambda y: jax.scipy.linalg.cho_solve(factor, y), _standardised(archive), between


def _kernel(left: Rows, right: Rows) -> Array:
    """float32[L, R] in [0, 1]: share of equal decisions and of pairs of decisions that are both equal."""
    one, two = _decisions(left), _decisions(right)
    equal = (one[:, None] == two[None]).sum(-1, dtype=jnp.float32)
    total = one.shape[-1]
    return (equal + equal * (equal - 1) / 2) / (total + total * (total - 1) / 2)


def _decisions(rows: Rows) -> Array:
    """int32[C, decisions]: edge labels and node labels, -1 where there is no node."""
    num = rows.nodes.shape[-1]
    exists = jnp.arange(num)[None] < rows.size[:, None]
    below = jnp.tril_indices(num, -1)
    edges = jnp.where(exists[..., None], rows.edges, -1)[:, below[0], below[1]]
    return jnp.concatenate([edges, jnp.where(exists, rows.nodes, -1)], -1)


def _standardised(archive: Archive) -> Array:
    """float32[Q], mean 0 and deviation 1 over the rows that count, 0 elsewhere."""
    count = jnp.maximum(archive.mask.sum(dtype=jnp.float32), 1)
    reward = jnp.where(archive.mask, archive.reward, 0)
    centred = jnp.where(archive.mask, reward - reward.sum() / count, 0)
    return centred / jnp.sqrt((centred**2).sum() / count + 1e-12)
