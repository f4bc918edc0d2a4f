"""Three laws of random DAGs: draws of fixed shape, made on the device.

Sources: Erdős and Rényi (1959), Watts and Strogatz (1998), Barabási and Albert (1999), in the forms of RandWire (Xie et
al., arXiv:1904.01569). Edges go from the earlier to the later node.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, Key

Prior: TypeAlias = Literal["er", "ws", "ba"]

WS_DEGREE = 4
"""Neighbours of each node on the ring that is rewired."""

BA_EDGES = 5
"""Nodes to start with, and edges that each later node brings."""


def draw(key: Key, prior: Prior, num_nodes: int, probability: float) -> Array:
    """Returns bool[N, N], a draw of the law `prior`; `key` is consumed.

    Args:
      key: for the draw.
      prior: "er", "ws" or "ba", the functions below.
      num_nodes: N.
      probability: of an edge (er) or of rewiring (ws).
    """
    if prior == "er":
        return erdos_renyi(key, num_nodes, probability)
    if prior == "ws":
        return watts_strogatz(key, num_nodes, probability)
    return barabasi_albert(key, num_nodes)


def erdos_renyi(key: Key, num_nodes: int, probability: float) -> Array:
    """Returns bool[N, N]: each edge independently with `probability`, given that there is one; `key` is consumed.

    Exact without rejection: the first edge, in the order of rows, stands at place k with probability proportional to
    (1 - p)^k, and those behind it are free.
    """
    first_key, edge_key = jax.random.split(key)
    rows, columns = np.triu_indices(num_nodes, 1)
    places = np.arange(rows.size)
    cumulative = -np.expm1((places + 1) * np.log1p(-min(probability, 1 - 1e-12)))
    thresholds = (cumulative / cumulative[-1])[:-1].astype(np.float32)
    first = (jax.random.uniform(first_key, (), jnp.float32) >= thresholds).sum(dtype=jnp.int32)
    free = jax.random.bernoulli(edge_key, probability, (rows.size,))
    bits = (places == first) | ((places > first) & free)
    return jnp.zeros((num_nodes, num_nodes), bool).at[rows, columns].set(bits)


def watts_strogatz(key: Key, num_nodes: int, probability: float) -> Array:
    """Returns bool[N, N]: a rewired ring, 2 N edges from the earlier to the later place on it; `key` is consumed.

    For distance 1, then 2, and each node in turn: its edge that far clockwise is rewired with `probability` to a node drawn
    uniformly from those that are neither itself nor its neighbours; where there is none, it stays.
    """
    reach = WS_DEGREE // 2
    nodes = np.arange(num_nodes, dtype=np.int32)
    near, far = np.tile(nodes, reach), np.concatenate([(nodes + d) % num_nodes for d in range(1, reach + 1)])
    ring = np.zeros((num_nodes, num_nodes), bool)
    ring[near, far] = ring[far, near] = True
    coin_key, choice_key = jax.random.split(key)
    coins = jax.random.bernoulli(coin_key, probability, (near.size,))
    words = jax.random.bits(choice_key, (near.size,), jnp.uint32)

    def rewire(links: Array, edge: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        node, old, coin, word = edge
        ends = jnp.cumsum(~links[node] & (nodes != node), dtype=jnp.int32)
        rank = (word % jnp.maximum(ends[-1], 1).astype(jnp.uint32)).astype(jnp.int32)
        new = jnp.where(coin & (ends[-1] > 0), (ends <= rank).sum(dtype=jnp.int32), old)
        links = links.at[jnp.stack([node, old]), jnp.stack([old, node])].set(False)
        return links.at[jnp.stack([node, new]), jnp.stack([new, node])].set(True), None

    edges = (jnp.asarray(near), jnp.asarray(far), coins, words)
    links, _ = jax.lax.scan(rewire, jnp.asarray(ring), edges)
    return jnp.triu(links)


def barabasi_albert(key: Key, num_nodes: int) -> Array:
    """Returns bool[N, N]: five nodes, then each node joined to five different older ones; `key` is consumed.

    One after another, with probability proportional to their degrees so far; the first new node to all five.
    """
    nodes = np.arange(num_nodes, dtype=np.int32)
    # The five largest of log degree + Gumbel noise are such draws without replacement.
    noise = jax.random.gumbel(key, (num_nodes, num_nodes), jnp.float32)

    def join(degrees: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        new, noise = step
        known = jnp.where(degrees > 0, jnp.log(jnp.maximum(degrees, 1).astype(jnp.float32)) + noise, -jnp.inf)
        first = new == BA_EDGES
        score = jnp.where(first & (nodes < BA_EDGES), 0.0, known)
        _, chosen = jax.lax.top_k(score, BA_EDGES)
        joined = (nodes[:, None] == chosen[None, :]).any(axis=1)
        return degrees + jnp.where(nodes == new, BA_EDGES, joined.astype(jnp.int32)), joined

    later = nodes[BA_EDGES:]
    _, columns = jax.lax.scan(join, jnp.zeros(num_nodes, jnp.int32), (jnp.asarray(later), noise[BA_EDGES:]))
    return jnp.zeros((num_nodes, num_nodes), bool).at[:, later].set(columns.T)
