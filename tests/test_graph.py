"""Graphs as arrays, against networkx on random DAGs with absent nodes, in and out of topological order."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from hypothesis import strategies as st

from nasjax import graph
from nasjax.base import Graph

nx = pytest.importorskip("networkx")

SIZES = (1, 2, 5, 8)  # few, since each is compiled


@st.composite
def graphs(draw, sizes=SIZES):
    """A Graph in NumPy: labels 0..3 on nodes and on edges i -> j, i < j; edges of absent nodes among them."""
    size = draw(st.sampled_from(sizes))
    labels = st.sampled_from([0, 0, 1, 2, 3]) if draw(st.booleans()) else st.sampled_from([0, 1, 2, 3, 3])
    present = st.sampled_from([0, 1, 1, 2, 2, 3])
    nodes = np.array(draw(st.lists(present, min_size=size, max_size=size)), np.int32)
    edges = np.zeros((size, size), np.int32)
    upper = np.triu_indices(size, 1)
    edges[upper] = draw(st.lists(labels, min_size=len(upper[0]), max_size=len(upper[0])))
    return Graph(nodes, edges)


@st.composite
def shuffled(draw):
    """A DAG whose nodes stand in any order."""
    ordered = draw(graphs())
    order = np.array(draw(st.permutations(range(ordered.nodes.size))), np.int32)
    return Graph(ordered.nodes[order], ordered.edges[order][:, order])


def as_networkx(arrays):
    """The present nodes with their labels, and the edges between them."""
    nodes, edges = map(np.asarray, arrays)  # entry by entry they are read from NumPy, which compiles nothing
    made = nx.DiGraph()
    made.add_nodes_from((i, {"label": int(label)}) for i, label in enumerate(nodes) if label)
    ends = [(int(i), int(j)) for i, j in zip(*np.nonzero(edges), strict=True)]
    made.add_edges_from((i, j, {"label": int(edges[i, j])}) for i, j in ends if i in made and j in made)
    return made


def same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


prune = jax.jit(lambda *arguments: (graph.prune(*arguments), graph.on_path(*arguments)), static_argnums=(1, 2))
order_of = jax.jit(graph.topological_order)
reorder = jax.jit(graph.reorder)
is_topological = jax.jit(graph.is_topological)
reachable = jax.jit(graph.reachable)
depths = jax.jit(graph.depths)
adjacency = jax.jit(graph.adjacency)
pad = jax.jit(graph.pad, static_argnums=1)
line_graph = jax.jit(graph.operations_on_nodes, static_argnums=(1, 2, 3))


@hypothesis.given(shuffled())
def test_adjacency_is_the_edges_between_present_nodes(arrays):
    expected = np.zeros((arrays.nodes.size,) * 2, bool)
    for i, j in as_networkx(arrays).edges:
        expected[i, j] = True
    np.testing.assert_array_equal(adjacency(arrays), expected)


@hypothesis.given(shuffled(), st.data())
def test_reachable_is_what_walks_come_to(arrays, data):
    size = arrays.nodes.size
    links = arrays.edges > 0
    if data.draw(st.booleans()):  # cycles are allowed
        links = links | (data.draw(st.integers(0, 7)) == np.add.outer(np.arange(size), np.arange(size)))
    start = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    plain = nx.from_numpy_array(links.astype(int), create_using=nx.DiGraph)
    expected = set().union(*({int(node)} | nx.descendants(plain, int(node)) for node in np.flatnonzero(start)))
    assert set(np.flatnonzero(reachable(links, start)).tolist()) == expected


@hypothesis.given(shuffled(), st.data())
def test_prune_keeps_the_paths_and_the_ends(arrays, data):
    size = arrays.nodes.size
    source, sink = data.draw(st.sampled_from([(0, -1), (0, size - 1), (size - 1, 0), (size // 2, -1)]))
    pruned, on_path = prune(arrays, source, sink)
    ends = source % size, sink % size
    whole = as_networkx(arrays)
    live = set()
    if all(end in whole for end in ends):
        live = ({ends[0]} | nx.descendants(whole, ends[0])) & ({ends[1]} | nx.ancestors(whole, ends[1]))
    kept = whole.subgraph(live | (set(ends) & set(whole))).copy()
    if not live:
        kept.remove_edges_from(list(kept.edges))
    assert nx.utils.graphs_equal(as_networkx(pruned), kept)
    assert np.count_nonzero(pruned.edges) == kept.number_of_edges()  # nor anything at absent nodes
    np.testing.assert_array_equal(on_path, [node in live for node in range(size)])
    same(prune(pruned, source, sink)[0], pruned)
    assert {leaf.dtype for leaf in pruned} == {jnp.dtype(jnp.int32)}


def test_prune_by_hand():
    """0→1→3 lives; 2 is fed and leads nowhere, 4 is absent, and its edges count for nothing."""
    edges = np.zeros((6, 6), np.int32)
    for i, j in ((0, 1), (1, 5), (0, 2), (3, 5), (0, 4), (4, 5)):
        edges[i, j] = 7
    pruned = graph.prune(Graph(jnp.array([1, 2, 3, 4, 0, 5], jnp.int32), jnp.array(edges)))
    assert pruned.nodes.tolist() == [1, 2, 0, 0, 0, 5]
    assert np.argwhere(np.asarray(pruned.edges)).tolist() == [[0, 1], [1, 5]]
    cut = graph.prune(Graph(jnp.array([1, 2, 3], jnp.int32), jnp.array(np.diag([4, 0], 1).astype(np.int32))))
    assert cut.nodes.tolist() == [1, 0, 3]
    assert not cut.edges.any()


@hypothesis.given(graphs(sizes=(1, 5)), st.sampled_from([0, 3]))
def test_pad_adds_absent_nodes(arrays, more):
    size = arrays.nodes.size
    padded = pad(arrays, size + more)
    assert (padded.nodes.shape, padded.edges.shape) == ((size + more,), (size + more,) * 2)
    assert nx.utils.graphs_equal(as_networkx(padded), as_networkx(arrays))
    same(Graph(padded.nodes[:size], padded.edges[:size, :size]), arrays)
    assert not padded.nodes[size:].any()
    assert not padded.edges[size:].any()
    assert not padded.edges[:, size:].any()
    same(pad(padded, size + more), padded)
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf])[None], arrays)
    same(pad(batch, size + more), jax.tree.map(lambda leaf: np.stack([leaf, leaf])[None], padded))


def test_pad_refuses_to_cut():
    three = Graph(jnp.ones(3, jnp.int32), jnp.zeros((3, 3), jnp.int32))
    with pytest.raises(ValueError, match=r"^pad: a graph of 3 nodes does not fit into num_nodes=2$"):
        graph.pad(three, 2)


@hypothesis.given(shuffled())
def test_depths_are_the_generations(arrays):
    whole = as_networkx(arrays)
    found = depths(adjacency(arrays))
    for depth, generation in enumerate(nx.topological_generations(whole)):
        assert {int(found[node]) for node in generation} == {depth}


@hypothesis.given(shuffled())
def test_topological_order_and_reorder(arrays):
    size = arrays.nodes.size
    order = np.asarray(order_of(arrays))
    assert order.dtype == np.int32
    assert sorted(order.tolist()) == list(range(size))
    whole = as_networkx(arrays)
    by_depth = [node for generation in nx.topological_generations(whole) for node in sorted(generation)]
    absent = [node for node in range(size) if node not in whole]
    assert order.tolist() == by_depth + absent
    ordered = reorder(arrays, order)
    place = {int(node): position for position, node in enumerate(order)}
    assert nx.utils.graphs_equal(as_networkx(ordered), nx.relabel_nodes(whole, place))
    assert not np.tril(adjacency(ordered)).any()
    assert order_of(ordered).tolist() == list(range(size))
    same(reorder(ordered, np.argsort(order).astype(np.int32)), arrays)


@hypothesis.given(shuffled())
def test_is_topological_sees_every_edge_backwards(arrays):
    """Also those at absent nodes: it is what `Graph` promises of the array."""
    backwards = [(i, j) for i, j in zip(*np.nonzero(arrays.edges), strict=True) if i >= j]
    assert bool(is_topological(arrays)) == (not backwards)


def test_pairs():
    senders, receivers = graph.pairs(4)
    assert list(zip(senders.tolist(), receivers.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 2),
        (0, 3),
        (1, 3),
        (2, 3),
    ]
    assert {senders.dtype, receivers.dtype} == {np.dtype(np.int32)}
    assert graph.pairs(1)[0].shape == (0,)


# The line graph


NASBENCH201 = [(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)]


def cell(*operations):
    edges = np.zeros((4, 4), np.int32)
    edges[graph.pairs(4)] = operations
    return Graph(np.ones(4, np.int32), edges)


def test_line_graph_of_nasbench201_by_hand():
    made = graph.operations_on_nodes(cell(1, 2, 0, 3, 0, 4), input_label=6, output_label=7, none_label=5)
    assert made.nodes.tolist() == [6, 1, 2, 5, 3, 5, 4, 7]
    assert [tuple(pair) for pair in np.argwhere(np.asarray(made.edges)).tolist()] == NASBENCH201
    assert set(np.unique(made.edges)) == {0, 1}
    absent = graph.operations_on_nodes(cell(1, 2, 0, 3, 0, 4), input_label=6, output_label=7)
    assert absent.nodes.tolist() == [6, 1, 2, 0, 3, 0, 4, 7]
    kept = [pair for pair in NASBENCH201 if not {3, 5} & set(pair)]
    assert [tuple(pair) for pair in np.argwhere(np.asarray(absent.edges)).tolist()] == kept


@hypothesis.given(graphs(sizes=(2, 5)), st.sampled_from([0, 9]))
def test_line_graph_is_that_of_networkx(arrays, none_label):
    """With an edge into node 0 and one out of the last; slots without an edge are absent, or operations as well."""
    size = arrays.nodes.size
    slots = [("in", 0), *zip(*map(np.ndarray.tolist, graph.pairs(size)), strict=True), (size - 1, "out")]
    labels = [8, *(int(arrays.edges[slot]) or none_label for slot in slots[1:-1]), 7]
    line = nx.line_graph(nx.DiGraph(slot for slot, label in zip(slots, labels, strict=True) if label))
    made = line_graph(arrays, 8, 7, none_label)
    assert made.nodes.tolist() == labels
    found = {(slots[i], slots[j]) for i, j in np.argwhere(np.asarray(made.edges)).tolist()}
    assert found == set(line.edges)
    assert is_topological(made)
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf])[:, None], arrays)
    expected = jax.tree.map(lambda leaf: np.stack([leaf, leaf])[:, None], made)
    same(line_graph(batch, 8, 7, none_label), expected)


# jraph


def without_absent_ends(arrays):
    return arrays._replace(edges=np.where(adjacency(arrays), arrays.edges, 0))


to_jraph = jax.jit(graph.to_jraph)
from_jraph = jax.jit(graph.from_jraph, static_argnums=1)


@hypothesis.given(st.lists(graphs(sizes=(5,)), min_size=3, max_size=3))
def test_jraph_round_trip_of_a_batch(several):
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *several)
    made = to_jraph(batch)
    same(from_jraph(made, 5), without_absent_ends(batch))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.int32)}
    assert made.nodes.shape == (16,)
    assert made.edges.shape == made.senders.shape == made.receivers.shape == (30,)
    assert made.globals is None
    assert made.n_node.tolist() == [5, 5, 5, 1]
    counts = [as_networkx(one).number_of_edges() for one in several]
    assert made.n_edge.tolist() == [*counts, 30 - sum(counts)]
    assert (np.diff(made.receivers) >= 0).all()
    real = np.asarray(jraph.get_edge_padding_mask(made))
    assert real.sum() == sum(counts)
    assert (np.asarray(made.edges) > 0).tolist() == real.tolist()
    assert set(np.asarray(made.senders)[~real]) | set(np.asarray(made.receivers)[~real]) <= {15}
    assert jraph.get_graph_padding_mask(made).tolist() == [True] * 3 + [False]
    assert jraph.get_node_padding_mask(made).tolist() == [True] * 15 + [False]


@hypothesis.given(graphs())
def test_jraph_round_trip_of_one_graph(arrays):
    size = arrays.nodes.size
    if size > 1:
        alone = from_jraph(to_jraph(arrays), size)
        same(jax.tree.map(lambda leaf: leaf[0], alone), without_absent_ends(arrays))


def arriving(made):
    """Sums over in-edges of sender label x edge label, as jraph's networks make them."""
    messages = made.nodes[made.senders] * made.edges
    return jraph.segment_sum(messages, made.receivers, made.nodes.size, indices_are_sorted=True)[:-1]


@jax.jit
def both(batch):
    apart = jax.vmap(graph.to_jraph)(batch)
    again = jax.vmap(functools.partial(graph.from_jraph, num_nodes=5))(apart)
    return arriving(graph.to_jraph(batch)).reshape(3, 5), jax.vmap(arriving)(apart), again


@hypothesis.given(st.lists(graphs(sizes=(5,)), min_size=3, max_size=3))
def test_jraph_under_vmap_is_as_good_as_one_batch(several):
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *several)
    together, apart, again = both(batch)
    np.testing.assert_array_equal(apart, together)
    live = without_absent_ends(batch)
    np.testing.assert_array_equal(together, np.einsum("gi,gij->gj", live.nodes, live.edges))
    same(jax.tree.map(lambda leaf: leaf[:, 0], again), live)


# All of them


def everything(arrays):
    order = graph.topological_order(arrays)
    return (
        graph.prune(arrays),
        graph.on_path(arrays),
        graph.pad(arrays, 7),
        graph.is_topological(arrays),
        order,
        graph.reorder(arrays, order),
        graph.operations_on_nodes(arrays, 4, 5),
        graph.to_jraph(arrays),
        graph.from_jraph(graph.to_jraph(arrays), 5),
        graph.mix(arrays.nodes.astype(jnp.uint32)),
    )


def test_plain_jit_and_vmap_agree_and_nothing_calls_the_host():
    rng = np.random.default_rng(0)
    nodes = rng.integers(0, 4, (20, 5)).astype(np.int32)
    edges = np.triu(rng.integers(0, 4, (20, 5, 5)), 1).astype(np.int32)
    batch = Graph(jnp.array(nodes), jnp.array(edges))
    jitted = jax.jit(everything)
    together = jax.jit(jax.vmap(everything))(batch)
    for row in range(20):
        one = jax.tree.map(lambda leaf, row=row: leaf[row], batch)
        alone = jitted(one)
        same(jax.tree.map(lambda leaf, row=row: leaf[row], together), alone)
        if row == 0:
            same(everything(one), alone)
    assert "callback" not in str(jax.make_jaxpr(everything)(jax.tree.map(lambda leaf: leaf[0], batch)))


def test_mix_by_hand():
    mixed = graph.mix(jnp.arange(2, dtype=jnp.uint32))
    assert mixed.dtype == jnp.uint32
    assert mixed.tolist() == [0, 0x688990C0]


def test_mix_is_a_bijection_that_spreads_every_bit():
    """All 2^16 low and high words stay different, and one flipped input bit flips each output bit half the time."""
    low = jnp.arange(1 << 16, dtype=jnp.uint32)
    both = jnp.concatenate([low, (low << 16) + 1])
    assert len(np.unique(graph.mix(both))) == both.size - 1  # 1 stands in both
    words = np.random.default_rng(0).integers(0, 1 << 32, 4000, np.uint32)
    for bit in range(32):
        flipped = np.asarray(graph.mix(jnp.array(words)) ^ graph.mix(jnp.array(words ^ np.uint32(1 << bit))))
        share = ((flipped[:, None] >> np.arange(32, dtype=np.uint32)[None]) & 1).mean(axis=0)
        assert share.min() > 0.4
        assert share.max() < 0.6
