"""Graphs as arrays: which nodes count, order, padding, the line-graph view, the way to and from jraph, hashing.

All functions keep shapes, so that they work under `jit` and `vmap`; except where a docstring says otherwise they take
one graph. A node is present where its label is not 0, an edge where its label is not 0 and both its ends are present.
"""

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from nasjax.base import Array, Graph


def adjacency(graph: Graph) -> Array:
    """Returns bool[..., N, N]: `[i, j]` = an edge i -> j between present nodes."""
    present = graph.nodes > 0
    return (graph.edges > 0) & present[..., :, None] & present[..., None, :]


def reachable(links: Array, start: Array) -> Array:
    """Returns bool[N]: nodes that a walk along `links` comes to from those of `start`, these included.

    Args:
      links: bool[N, N], `[i, j]` = a step i -> j; in any node order, cycles allowed.
      start: bool[N].
    """

    def spread(_: int, reached: Array) -> Array:
        return reached | (links & reached[:, None]).any(axis=0)

    reached: Array = jax.lax.fori_loop(0, max(links.shape[-1] - 1, 0), spread, start)
    return reached


def on_path(graph: Graph, source: int = 0, sink: int = -1) -> Array:
    """Returns bool[N]: nodes on a path from `source` to `sink`; none where there is no such path."""
    links = adjacency(graph)
    nodes = jnp.arange(graph.nodes.shape[-1])
    forward = reachable(links, nodes == source)
    backward = reachable(links.T, nodes == sink % graph.nodes.shape[-1])
    return forward & backward & (graph.nodes > 0)


def prune(graph: Graph, source: int = 0, sink: int = -1) -> Graph:
    """Returns the graph without what lies on no path from `source` to `sink`.

    The two ends stay, also where nothing connects them, so that a graph is never empty. Idempotent.
    """
    live = on_path(graph, source, sink)
    edges = jnp.where(live[:, None] & live[None, :] & adjacency(graph), graph.edges, 0)
    size = graph.nodes.shape[-1]
    keep = live.at[jnp.array([source % size, sink % size])].set(True)
    return Graph(jnp.where(keep, graph.nodes, 0), edges)


def pad(graph: Graph, num_nodes: int) -> Graph:
    """Returns Graph[..., num_nodes], absent nodes added at the end.

    Raises:
      ValueError: `num_nodes` is less than the graph has.
    """
    missing = num_nodes - graph.nodes.shape[-1]
    if missing < 0:
        raise ValueError(f"pad: a graph of {graph.nodes.shape[-1]} nodes does not fit into num_nodes={num_nodes}")
    batch = [(0, 0)] * (graph.nodes.ndim - 1)
    nodes = jnp.pad(graph.nodes, [*batch, (0, missing)])
    return Graph(nodes, jnp.pad(graph.edges, [*batch, (0, missing), (0, missing)]))


def is_topological(graph: Graph) -> Array:
    """Returns bool[...]: every edge goes from a node to a later one, as `Graph` promises."""
    return ~jnp.tril(graph.edges != 0).any(axis=(-2, -1))


def depths(links: Array) -> Array:
    """Returns int32[N]: edges of the longest path that ends in each node of a DAG, its nodes in any order.

    Args:
      links: bool[N, N], acyclic; with a cycle the numbers mean nothing.
    """

    def deepen(_: int, depth: Array) -> Array:
        return jnp.where(links, depth[:, None] + 1, 0).max(axis=0)

    size = links.shape[-1]
    depth: Array = jax.lax.fori_loop(0, max(size - 1, 0), deepen, jnp.zeros(size, jnp.int32))
    return depth


def topological_order(graph: Graph) -> Array:
    """Returns int32[N]: present nodes by depth, ties by index, then the absent ones; for a DAG in any node order."""
    size = graph.nodes.shape[-1]
    depth = jnp.where(graph.nodes > 0, depths(adjacency(graph)), size)
    return jnp.argsort(depth, stable=True).astype(jnp.int32)


def reorder(graph: Graph, order: Array) -> Graph:
    """Returns the graph whose node i is node `order[i]` of `graph`; `order` int32[N], a permutation."""
    return Graph(graph.nodes[order], graph.edges[order][:, order])


def pairs(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (senders, receivers), int32[N (N - 1) / 2] each: (0,1) (0,2) (1,2) (0,3) …, receivers ascending."""
    receivers, senders = np.tril_indices(num_nodes, -1)
    return senders.astype(np.int32), receivers.astype(np.int32)


def operations_on_nodes(graph: Graph, input_label: int, output_label: int, none_label: int = 0) -> Graph:
    """Returns the line graph of an edge-labelled cell: operations become nodes.

    Node 0 is the input, then one node an edge slot in the order of `pairs`, last the output; edge a -> b feeds every
    edge b -> c, those from node 0 are fed by the input, those into the last node feed the output. For NAS-Bench-201
    these are 8 nodes and 10 edges.

    Args:
      graph: Graph[..., N], edges labelled by operations.
      input_label: label of the input node.
      output_label: label of the output node.
      none_label: label of an edge slot without an edge. 0: such a node is absent, with all its edges. Otherwise it
        stands as an operation of its own and every graph has the same edges.
    """
    senders, receivers = pairs(graph.nodes.shape[-1])
    operations = graph.edges[..., senders, receivers]
    ends = jnp.ones((*operations.shape[:-1], 1), jnp.int32)
    inner = jnp.where(operations == 0, none_label, operations)
    nodes = jnp.concatenate([ends * input_label, inner, ends * output_label], axis=-1)
    present = nodes > 0
    both = present[..., :, None] & present[..., None, :]
    feeds = jnp.asarray(_line_graph_edges(graph.nodes.shape[-1])).reshape((1,) * (both.ndim - 2) + both.shape[-2:])
    return Graph(nodes, (feeds & both).astype(jnp.int32))


def to_jraph(graph: Graph) -> jraph.GraphsTuple:
    """Returns one padded GraphsTuple of static shape for one graph or a batch of them.

    Real edges stand first, graph by graph, ordered by receiver and then sender; the remaining slots are edges of one
    padding node in a padding graph at the end. So jraph's networks and masks hold as they are, `receivers` are sorted,
    and the result of `vmap` over single graphs is as good as that of one call on a batch. Nodes keep their places: an
    absent node is an isolated one with label 0. (jraph's own `pad_with_graphs` cannot run under `jit`.)

    Args:
      graph: Graph[N] or Graph[G, N].

    Returns:
      nodes int32[G N + 1] and edges int32[G P], their labels, P = N (N - 1) / 2; senders, receivers int32[G P]; n_node
      int32[G + 1] = N, …, N, 1; n_edge int32[G + 1]; globals None.
    """
    num_nodes = graph.nodes.shape[-1]
    nodes = graph.nodes.reshape(-1, num_nodes)
    num_graphs = nodes.shape[0]
    edges = jnp.where(adjacency(graph), graph.edges, 0).reshape(num_graphs, num_nodes, num_nodes)
    senders, receivers = pairs(num_nodes)
    labels = edges[:, senders, receivers]
    offset = np.arange(num_graphs, dtype=np.int32)[:, None] * num_nodes
    present = (labels > 0).ravel()
    first = jnp.argsort(~present, stable=True)
    padding = num_graphs * num_nodes
    counts = (labels > 0).sum(axis=1, dtype=jnp.int32)
    unused = jnp.int32(present.size) - counts.sum(dtype=jnp.int32)
    return jraph.GraphsTuple(
        nodes=jnp.append(nodes.ravel(), jnp.int32(0)),
        edges=labels.ravel()[first],
        senders=jnp.where(present, (offset + senders[None]).ravel(), padding)[first],
        receivers=jnp.where(present, (offset + receivers[None]).ravel(), padding)[first],
        n_node=jnp.array([num_nodes] * num_graphs + [1], jnp.int32),
        n_edge=jnp.append(counts, unused),
        globals=None,
    )


def from_jraph(graphs: jraph.GraphsTuple, num_nodes: int) -> Graph:
    """Returns Graph[G, num_nodes] of a GraphsTuple as `to_jraph` makes it: labels, equal sizes, a padding node last."""
    nodes = graphs.nodes[:-1].reshape(-1, num_nodes)
    num_graphs = nodes.shape[0]
    index = graphs.senders // num_nodes  # of the padding node: num_graphs, hence out of range and dropped
    edges = jnp.zeros((num_graphs, num_nodes, num_nodes), jnp.int32)
    places = index, graphs.senders % num_nodes, graphs.receivers % num_nodes
    return Graph(nodes, edges.at[places].set(graphs.edges, mode="drop"))


def mix(word: Array) -> Array:
    """Returns uint32[...], each word scrambled by a bijection in which every output bit depends on every input bit.

    Source: the constants of C. Wellons' `lowbias32`.
    """
    word = (word ^ (word >> jnp.uint32(16))) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> jnp.uint32(15))) * jnp.uint32(0x846CA68B)
    mixed: Array = word ^ (word >> jnp.uint32(16))
    return mixed


def _line_graph_edges(num_nodes: int) -> np.ndarray:
    """bool[P + 2, P + 2], the edges of the line graph when every slot has an edge."""
    senders, receivers = pairs(num_nodes)
    starts = np.concatenate([[-1], senders, [num_nodes - 1]])  # the input ends in node 0, the output starts in the last
    ends = np.concatenate([[0], receivers, [-2]])
    return np.asarray(ends[:, None] == starts[None, :])
