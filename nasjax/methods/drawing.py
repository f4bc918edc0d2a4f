"""Candidates from one generator or the average of several, and what is said about them.

GraphPNAS (arXiv:2211.15155) draws until something new comes; ours draws a fixed number at once and lets the archive's
membership test pick. Averages of generators and mixtures with the prior are switches of ours.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nasjax import generator
from nasjax.base import Arch, Array, Generable, Key, PyTree, Rows
from nasjax.generator import GeneratorConfig, Marginals


class Model(NamedTuple):
    """A generator of graphs, as functions of its parameters.

    Attributes:
      sample: (params, key, num, temperature) -> (Rows[num], bool[num], whether each is a graph).
      log_prob: (params, Rows[C]) -> float[C], nats.
    """

    sample: Callable[[PyTree, Key, int, float | Array], tuple[Rows, Array]]
    log_prob: Callable[[PyTree, Rows], Array]


def graph_model(config: GeneratorConfig) -> Model:
    """Returns GraphPNAS's generator."""
    return Model(
        lambda params, key, num, temperature: generator.sample_batch(params, config, key, num, temperature),
        lambda params, rows: generator.log_probs(params, config, rows),
    )


class Candidates(NamedTuple):
    """Draws before membership is looked at.

    Attributes:
      archs: Arch[C].
      mask: bool[C], False = not an architecture of the space.
      fresh: bool[C], those with `mask` that are unseen and whose canonical key no earlier draw has.
      info: float32[] by name: share of distinct and of unseen canonical keys among the draws, entropy in nats.
    """

    archs: Arch
    mask: Array
    fresh: Array
    info: dict[str, Array]


def from_prior(space: Generable, key: Key, num: int) -> Candidates:
    """Returns `num` draws from the space's prior; the info is NaN."""
    archs = jax.vmap(space.sample)(jax.random.split(key, num))
    everything, nothing = jnp.ones(num, bool), jnp.float32(jnp.nan)
    return Candidates(archs, everything, everything, dict.fromkeys(("distinct", "unseen", "entropy"), nothing))


def from_generator(
    space: Generable,
    model: Model,
    params: PyTree,
    key: Key,
    num: int,
    *,
    seen: Callable[[Arch], Array],
    members: int = 1,
    temperature: float | Array = 1.0,
    prior_smoothing: float = 0.0,
) -> Candidates:
    """Returns `num` draws from a generator, with their diagnostics.

    Args:
      space: the space.
      model: the generator.
      params: its parameters; with a leading axis of `members` where that is above 1.
      key: consumed.
      num: how many.
      seen: one architecture -> bool[].
      members: draws come from these generators in turn, which is their average.
      temperature: divides all logits.
      prior_smoothing: probability with which a draw is replaced by one of the prior.
    """
    draw_key, prior_key, coin_key = jax.random.split(key, 3)
    if members == 1:
        rows, valid = model.sample(params, draw_key, num, temperature)
    else:
        each = -(-num // members)
        keys = jax.random.split(draw_key, members)
        draws = jax.vmap(lambda p, k: model.sample(p, k, each, temperature))(params, keys)
        rows, valid = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:])[:num], draws)
    archs = jax.vmap(space.from_rows)(rows)
    log_probs = log_likelihood(model, params, rows, members)
    if prior_smoothing > 0:
        prior = from_prior(space, prior_key, num).archs
        coin = jax.random.bernoulli(coin_key, prior_smoothing, (num,))
        archs = jax.tree.map(lambda p, a: jnp.where(coin.reshape(-1, *[1] * (a.ndim - 1)), p, a), prior, archs)
        valid = valid | coin
    mask = valid & jax.vmap(space.is_valid)(archs)
    keys = jax.vmap(space.canonical_key)(archs)
    first = mask & first_occurrence(keys, mask)
    unseen = mask & ~jax.vmap(seen)(archs)
    info = {
        "distinct": first.mean(dtype=jnp.float32),
        "unseen": unseen.mean(dtype=jnp.float32),
        "entropy": -log_probs.mean().astype(jnp.float32),
    }
    return Candidates(archs, mask, first & unseen, info)


def prior_marginals(space: Generable, key: Key, num: int) -> Marginals:
    """Returns the frequencies of edges and labels among `num` draws of the space's prior; `key` is consumed."""
    alphabet = space.alphabet
    rows = jax.vmap(space.to_rows)(from_prior(space, key, num).archs)
    index = jnp.arange(alphabet.num_nodes)
    exists = index[None] < rows.size[:, None]
    earlier = index - int(alphabet.chain)  # a chain's own edges are not drawn
    pair = exists[:, :, None] & (index[None, None, :] < earlier[None, :, None])
    present = pair & (rows.edges > 0)

    def shares(labels: Array, count: int, mask: Array) -> Array:
        hits = (labels.reshape(-1, 1) == jnp.arange(count)[None]) & mask.reshape(-1, 1)
        return hits.sum(0, dtype=jnp.float32) / jnp.maximum(mask.sum(dtype=jnp.float32), 1)

    edge = present.sum(dtype=jnp.float32) / jnp.maximum(pair.sum(dtype=jnp.float32), 1)
    modelled = exists & (index[None] >= alphabet.first_labelled)
    labels = shares(rows.edges, alphabet.edge_labels, present)
    return Marginals(edge, labels, shares(rows.nodes, alphabet.node_labels, modelled))


def log_likelihood(model: Model, params: PyTree, rows: Rows, members: int = 1) -> Array:
    """Returns float[C], log p of Rows[C] in nats under the generator, or the average of `members` of them."""
    if members == 1:
        return model.log_prob(params, rows)
    each = jax.vmap(lambda p: model.log_prob(p, rows))(params)
    return jax.nn.logsumexp(each, axis=0) - jnp.log(jnp.asarray(members, each.dtype))


def first_occurrence(keys: Array, mask: Array) -> Array:
    """Returns bool[C]: no earlier row with `mask` has the same key; uint32[C, 2]."""
    equal = (keys[:, None] == keys[None]).all(-1) & mask[None]
    earlier = jnp.tril(jnp.ones(equal.shape, bool), -1)
    return ~(equal & earlier).any(-1)
