"""Orders of a graph's nodes: one graph can be written in as many ways as it has topological orders.

Ours (GraphPNAS, arXiv:2211.15155, writes the nodes as the space gives them): a random order a step as a regulariser where
orders are arbitrary, or one order that depends little on how the graph came to be.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Alphabet, Array, Key, Rows


def random_order(key: Key, rows: Rows, alphabet: Alphabet) -> Rows:
    """Returns the graph in a random topological order: among the nodes that may come next, each is equally likely.

    Nodes with a fixed label stay in front, a node with the stop label last, absent nodes behind. Graphs with edge
    labels are returned as they are: there a node's place is its role.

    Args:
      key: consumed.
      rows: one graph.
      alphabet: the space's.
    """
    if alphabet.edge_labels:
        return rows
    priority = jax.random.uniform(key, rows.nodes.shape, jnp.float32)
    return _place(rows, alphabet, lambda available, _: jnp.argmin(jnp.where(available, priority, jnp.inf)))


def greedy_order(rows: Rows, alphabet: Alphabet) -> Rows:
    """Returns the graph with, at each place, the node whose row (edges from placed nodes, then label) is least.

    Ties go to the earlier node, so the order of a graph with exchangeable nodes may still depend on how it was given.
    As `random_order` otherwise.
    """
    if alphabet.edge_labels:
        return rows

    def least(available: Array, positions: Array) -> Array:
        places = jnp.where(positions >= 0, jnp.uint32(1) << jnp.maximum(positions, 0).astype(jnp.uint32), jnp.uint32(0))
        code = (rows.edges.astype(jnp.uint32) * places[None, :]).sum(-1, dtype=jnp.uint32)
        most = jnp.uint32(0xFFFFFFFF)
        first = available & (code == jnp.min(jnp.where(available, code, most)))
        return jnp.argmin(jnp.where(first, rows.nodes, np.iinfo(np.int32).max))

    return _place(rows, alphabet, least)


def _place(rows: Rows, alphabet: Alphabet, choose: Callable[[Array, Array], Array]) -> Rows:
    """Chooses, place by place, among the nodes all of whose predecessors are placed.

    `choose`: (available bool[N], positions int32[N], -1 where not placed) -> int[], a node.
    """
    num = alphabet.num_nodes
    index = jnp.arange(num, dtype=jnp.int32)
    exists = index < rows.size
    inner = exists & (index >= alphabet.first_labelled)
    if alphabet.stop_label is not None:
        inner = inner & (index != rows.size - 1)  # the stop node
    placed_below = index[None, :] < index[:, None]

    def step(positions: Array, place: Array) -> tuple[Array, Array]:
        unplaced = positions < 0
        ready = ~((rows.edges > 0) & placed_below & unplaced[None, :]).any(-1)
        free = inner & unplaced & ready
        node = jnp.where(inner[place], choose(free, positions), place).astype(jnp.int32)
        return positions.at[node].set(place), node

    _, order = jax.lax.scan(step, jnp.full(num, -1, jnp.int32), index)
    return Rows(rows.edges[order[:, None], order[None, :]], rows.nodes[order], rows.size)
