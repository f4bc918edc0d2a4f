"""Draws of the generator: one row after the other, a pass over the prefix for each."""

import functools
from typing import cast

import jax
import jax.numpy as jnp

from nasjax.base import Array, Key, Rows
from nasjax.generator.model import GeneratorConfig, Params, logits_of_edges, logits_of_nodes, masked, pass_messages


def sample_batch(
    params: Params, config: GeneratorConfig, key: Key, num: int, temperature: float | Array = 1.0
) -> tuple[Rows, Array]:
    """Returns `num` draws and bool[num], whether each is a graph; `key` is consumed."""
    draw = functools.partial(sample, params, config, temperature=temperature)
    return jax.vmap(draw)(jax.random.split(key, num))


def sample(params: Params, config: GeneratorConfig, key: Key, temperature: float | Array = 1.0) -> tuple[Rows, Array]:
    """Returns one graph and bool[], False if no node ends it; `key` is consumed.

    Args:
      params: weights.
      config: static.
      key: for the draws.
      temperature: divides all logits.
    """
    alphabet, size = config.alphabet, config.alphabet.num_nodes
    scale = jnp.asarray(temperature, params.project.bias.dtype)
    adjacency, labels = jnp.zeros((size, size), bool), jnp.zeros((size, size), jnp.int32)
    nodes = jnp.zeros(size, jnp.int32)
    first = max(alphabet.first_labelled, 0 if alphabet.stop_label is None else 1)  # node 0 never ends a graph
    for t in range(size):
        if t == 0 and first > 0:
            continue  # nothing to draw
        component_key, edge_key, label_key, node_key = jax.random.split(jax.random.fold_in(key, t), 4)
        passed = pass_messages(params, config, (t,), adjacency[None], labels[None], nodes[None])
        logits = jax.tree.map(lambda leaf: leaf / scale, logits_of_edges(params, passed.table, passed.after[0]))
        if t > 0:
            component = jax.random.categorical(component_key, logits.mixture[0])
            row = jax.random.bernoulli(edge_key, jax.nn.sigmoid(logits.edge[:t, component]))
            if alphabet.chain:
                row = row.at[t - 1].set(True)
            adjacency = adjacency.at[t, :t].set(True if config.forced else row)
        if t > 0 and logits.label is not None:
            drawn = jax.random.categorical(label_key, masked(logits.label[:t], config.edge_mask))
            labels = labels.at[t, :t].set(jnp.where(adjacency[t, :t], drawn.astype(jnp.int32), 0))
        if params.node is not None and t >= first:
            node = cast(Array, logits_of_nodes(params, config, passed, adjacency[None]))[0, 0] / scale
            drawn_node = jax.random.categorical(node_key, masked(node, config.node_mask))
            nodes = nodes.at[t].set(drawn_node.astype(jnp.int32))
    edges = labels if alphabet.edge_labels else adjacency.astype(jnp.int32)
    if alphabet.stop_label is None:
        return Rows(edges, nodes, jnp.int32(size)), jnp.asarray(True)
    stops = (nodes == alphabet.stop_label) & (jnp.arange(size) >= first)
    count = jnp.where(stops.any(), jnp.argmax(stops) + 1, size).astype(jnp.int32)
    exists = jnp.arange(size) < count
    return Rows(jnp.where(exists[:, None], edges, 0), jnp.where(exists, nodes, 0), count), stops.any()
