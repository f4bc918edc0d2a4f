"""What the generator says of given graphs: log-likelihoods and the losses that train it, all prefixes in one pass."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, Key, Rows
from nasjax.generator.model import (
    GeneratorConfig,
    Params,
    batch_of_one,
    logits_of_edges,
    logits_of_nodes,
    masked,
    pass_messages,
    row_matrix,
)
from nasjax.prefixes import Slots

NODE_WEIGHT, LABEL_WEIGHT = 0.5, 1 / 8
"""Weights of node and edge labels in the published loss."""


def log_prob(params: Params, config: GeneratorConfig, rows: Rows) -> Array:
    """Returns float[], log p of one graph in nats; -inf for one that the alphabet's masks exclude."""
    return log_probs(params, config, batch_of_one(rows))[0]


def log_probs(params: Params, config: GeneratorConfig, rows: Rows) -> Array:
    """Returns float[B], `log_prob` of Rows[B]; faster than its vmap, as it is with `losses`."""
    terms = _terms(params, config, rows)
    total = terms.edges.sum(-1) + terms.labels.sum(-1) + terms.nodes.sum(-1)
    return jnp.where(terms.outside, jnp.asarray(-jnp.inf, total.dtype), total)


def edge_log_prob(params: Params, config: GeneratorConfig, rows: Rows) -> Array:
    """Returns float[], the part of `log_prob` that says which edges there are."""
    return _terms(params, config, batch_of_one(rows)).edges.sum()


def label_log_prob(params: Params, config: GeneratorConfig, rows: Rows) -> Array:
    """Returns float[], the part of `log_prob` that says which labels they and the nodes have."""
    terms = _terms(params, config, batch_of_one(rows))
    return terms.labels.sum() + terms.nodes.sum()


def loss(
    params: Params,
    config: GeneratorConfig,
    rows: Rows,
    weight: Array,
    objective: Literal["code", "nll"] = "code",
    row_weights: Array | None = None,
) -> Array:
    """Returns weight times the training loss of one graph, float[]; inf for one that the masks exclude.

    Args:
      params: weights.
      config: static.
      rows: one graph of n nodes.
      weight: float[].
      objective: "nll": -log p. "code": what the published code minimises, -log p(edges) / (n (n + 1) / 2) + 1/2 the mean
        over nodes + 1/8 the sum over rows of the mean over the row's edges, of -log p(label): a tempered likelihood.
        n (n + 1) / 2 counts each node's self pair and the pairs that are drawn: a chain's n - 1 given edges are no part of it.
      row_weights: float[N], a factor for each row's terms (`row_subset`).
    """
    factors = None if row_weights is None else row_weights[None]
    return losses(params, config, batch_of_one(rows), weight[None], objective, factors)[0]


def losses(
    params: Params,
    config: GeneratorConfig,
    rows: Rows,
    weights: Array,
    objective: Literal["code", "nll"] = "code",
    row_weights: Array | None = None,
) -> Array:
    """Returns float[B], `loss` of Rows[B] with weights float[B] and row weights float[B, N]."""
    terms = _terms(params, config, rows)
    if row_weights is not None:
        terms = terms._replace(**{name: getattr(terms, name) * row_weights for name in ("edges", "labels", "nodes")})
    if objective == "nll":
        total = -(terms.edges.sum(-1) + terms.labels.sum(-1) + terms.nodes.sum(-1))
    else:
        size = rows.size.astype(terms.edges.dtype)
        per_row = terms.labels / jnp.maximum(terms.num_labels, 1)
        pairs = size * (size + 1) / 2
        if config.alphabet.chain:
            pairs = pairs - (size - 1)
        total = -terms.edges.sum(-1) / jnp.maximum(pairs, 1)
        total = total - NODE_WEIGHT * terms.nodes.sum(-1) / jnp.maximum(terms.num_nodes, 1)
        total = total - LABEL_WEIGHT * per_row.sum(-1)
    weights = weights.astype(total.dtype)
    excluded = terms.outside & (weights != 0)  # a row of an archive that is not full yet weighs nothing
    return jnp.where(excluded, jnp.asarray(jnp.inf, total.dtype), weights * total)


def row_subset(key: Key, config: GeneratorConfig, num: int) -> Array:
    """Returns float32[N]: N / num on `num` rows drawn without replacement, else 0; unbiased weights for `loss`."""
    size = config.alphabet.num_nodes
    chosen = jax.random.permutation(key, jnp.arange(size) < num)
    return jnp.where(chosen, jnp.float32(size / num), jnp.float32(0))


class _Terms(NamedTuple):
    """Terms of the log-likelihoods of B graphs by row, float[B, N] each, and how many labels stand in them."""

    edges: Array
    labels: Array
    num_labels: Array  # float[B, N]
    nodes: Array
    num_nodes: Array  # float[B]
    outside: Array  # bool[B], whether a mask excludes the graph


def _terms(params: Params, config: GeneratorConfig, rows: Rows) -> _Terms:
    size = config.alphabet.num_nodes
    index = jnp.arange(size, dtype=jnp.int32)
    exists = index[None] < rows.size[:, None]
    below = jnp.asarray(np.tri(size, k=-1, dtype=bool))[None]
    edges = jnp.where(exists[:, :, None] & below, rows.edges, 0)  # the rest may hold anything
    nodes = jnp.where(exists, rows.nodes, 0)
    passed = pass_messages(params, config, tuple(range(size)), edges > 0, edges, nodes)
    node_logits = logits_of_nodes(params, config, passed, edges > 0)
    one = functools.partial(_graph_terms, params, config, passed.table)
    terms: _Terms = jax.vmap(one)(passed.after, node_logits, edges, nodes, exists)
    return terms


def _graph_terms(
    params: Params,
    config: GeneratorConfig,
    table: Slots,
    states: Array,
    node_logits: Array | None,
    edges: Array,
    nodes: Array,
    exists: Array,
) -> _Terms:
    """The terms of one graph, without the axis B, from its states and its cleaned rows."""
    alphabet, size = config.alphabet, config.alphabet.num_nodes
    index = jnp.arange(size, dtype=jnp.int32)
    adjacency = edges > 0
    found = logits_of_edges(params, table, states)
    dtype = found.edge.dtype
    by_row = jnp.asarray(row_matrix(table), dtype)
    free = table.node < table.prefix
    if alphabet.chain:
        free = table.node < table.prefix - 1  # the chain's own edge is given
    pair = jnp.asarray(free)
    present, label = adjacency[table.prefix, table.node], edges[table.prefix, table.node]
    outside = jnp.asarray(False)

    edge_terms = jnp.zeros(size, dtype)
    if config.forced:
        outside = outside | (pair & exists[table.prefix] & ~present).any()
    else:
        each = jnp.where(present[:, None], jax.nn.log_sigmoid(found.edge), jax.nn.log_sigmoid(-found.edge))
        each = jnp.where(pair[:, None], each, jnp.zeros((), dtype))
        mixed = jax.nn.logsumexp(jax.nn.log_softmax(found.mixture) + by_row @ each, axis=-1)
        edge_terms = jnp.where(exists & (index > int(alphabet.chain)), mixed, jnp.zeros((), dtype))
    if alphabet.chain:
        given = exists[table.prefix] & jnp.asarray(table.node == table.prefix - 1)
        outside = outside | (given & ~present).any()

    label_terms = num_labels = jnp.zeros(size, dtype)
    if found.label is not None:
        value, wrong = _chosen(found.label, label, config.edge_mask, present)
        label_terms, num_labels = by_row @ value, by_row @ present.astype(dtype)
        outside = outside | wrong

    node_terms, num_nodes = jnp.zeros(size, dtype), jnp.zeros((), dtype)
    if node_logits is not None:
        counted = exists & (index >= alphabet.first_labelled)
        node_terms, wrong = _chosen(node_logits, nodes, config.node_mask, counted)
        num_nodes, outside = counted.sum(dtype=dtype), outside | wrong
    return _Terms(edge_terms, label_terms, num_labels, node_terms, num_nodes, outside)


def _chosen(logits: Array, labels: Array, allowed: np.ndarray, counted: Array) -> tuple[Array, Array]:
    """float[n], log p of each label where counted, else 0; bool[], whether a counted one is not allowed."""
    picked = labels[:, None] == jnp.arange(allowed.size, dtype=labels.dtype)[None]
    fits = (picked & jnp.asarray(allowed)[None]).any(-1)
    log_p = jax.nn.log_softmax(masked(logits, allowed))
    value = jnp.where(picked & jnp.asarray(allowed)[None], log_p, jnp.zeros((), logits.dtype)).sum(-1)
    return jnp.where(counted, value, jnp.zeros((), logits.dtype)), (counted & ~fits).any()
