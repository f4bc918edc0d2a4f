"""NAS-Bench-101 against published counts, keys and hashes, and against slow forms of its rules."""

import functools
import hashlib
import itertools
import re

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from nasjax import graph, history
from nasjax.base import Alphabet, Graph, Origin, Rows
from nasjax.spaces import nasbench101, nasbench101_cells, nasbench101_words
from nasjax.spaces import nasbench101_edits as edits
from nasjax.spaces.nasbench101 import OPERATIONS, NasBench101
from nasjax.spaces.nasbench101_hash import hash_module, nasbench_hash
from nasjax.spaces.nasbench101_words import ABSENT, EDGES, FIELD, PAIRS
from nasjax.spaces.reading import RowError

SPACE = NasBench101()
CONV3, CONV1, POOL = OPERATIONS
SUBSET = NasBench101((POOL, CONV3))
ROW_0 = f"100110100001001010101:{CONV3},{POOL},{CONV3},{CONV3},{CONV1}"

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def compiled(function):
    return quick(jax.vmap(function))


def draws(space, number, seed=0):
    return compiled(space.sample)(jax.random.split(jax.random.key(seed), number))


def rows(archs):
    """The architectures of a batch, in NumPy."""
    archs = jax.tree.map(np.asarray, archs)
    return [Graph(nodes, edges) for nodes, edges in zip(*archs, strict=True)]


def words_of(archs):
    return np.asarray(compiled(nasbench101_words.from_graph)(archs))


def labels_of(words):
    """int[n, 5], operation of each inner slot."""
    return (np.asarray(words)[:, None] >> np.array(list(FIELD.values()), np.uint32)) & ABSENT


def cell(edges, *operations):
    """The architecture with the operations in slots 1, 2, … and edges like "0-1 1-6"."""
    nodes, matrix = np.zeros(7, np.int32), np.zeros((7, 7), np.int32)
    nodes[0], nodes[6] = 1, 5
    nodes[1 : 1 + len(operations)] = [OPERATIONS.index(name) + 2 for name in operations]
    for pair in edges.split():
        matrix[tuple(map(int, pair.split("-")))] = 1
    return Graph(jnp.asarray(nodes), jnp.asarray(matrix))


def unpacked(word):
    return Graph(*nasbench101_words.unpacked(np.asarray(word, np.uint32)))


def batch(*archs):
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *archs)


# Enumeration and keys


def test_all_encodings_fall_into_the_published_classes():
    """Golden: 1,293,208 encodings, 423,624 classes; every one keyed on the device from its arrays."""

    @jax.jit
    def keys(words):
        return jax.lax.map(lambda word: SPACE.canonical_key(nasbench101_words.to_graph(word)), words, batch_size=4096)

    sizes = range(2, 8)
    everything = [nasbench101_cells.encodings(n) for n in sizes]
    assert [len(nasbench101_cells.patterns(n)) for n in sizes] == [1, 2, 10, 121, 1545, 4793]
    assert [len(words) for words in everything] == [1, 6, 90, 3267, 125145, 1164699]
    found = np.asarray(keys(jnp.asarray(np.concatenate(everything))))
    assert not found[:, 0].any()
    by_size = np.split(found[:, 1], np.cumsum([len(words) for words in everything])[:-1])
    assert [len(np.unique(words)) for words in by_size] == [1, 6, 84, 2441, 62010, 359082]
    np.testing.assert_array_equal(np.unique(found[:, 1]), nasbench101_cells.cells())
    assert len(nasbench101_cells.cells()) == 423_624


@pytest.mark.parametrize(
    ("num_vertices", "counts"),
    [
        (3, {2: 1, 3: 1}),
        (5, {4: 1, 5: 11, 6: 33, 7: 42, 8: 26, 9: 8}),
        (6, {5: 1, 6: 26, 7: 171, 8: 507, 9: 840}),
        (7, {6: 1, 7: 57, 8: 718, 9: 4017}),
    ],
)
def test_patterns_by_edges(num_vertices, counts):
    """Golden: counted by independent code."""
    edges = np.bitwise_count(nasbench101_cells.patterns(num_vertices) & np.uint32(EDGES))
    assert dict(zip(*np.unique(edges, return_counts=True), strict=True)) == counts


def test_keys_by_hand():
    """Golden: worked out by hand; words where the cell is in normal form."""
    cases = [
        (cell("0-6"), 0x7FE00020, 0x7FE00020),
        (cell("0-1 1-6", CONV3), 0x7F800401, 0x1FF00010),  # the node moves to slot 5
        (cell("0-1 1-6 0-6", POOL), 0x7FC00421, 0x5FF00030),
        (cell("0-1 1-2 1-3 2-6 3-6 0-6", CONV3, CONV1, POOL), None, 0x31F98024),
        (cell("0-1 0-2 1-2 2-3 0-4 3-5 4-5 5-6 1-6", CONV3, CONV3, CONV1, POOL, CONV3), 0x12150C4B, 0x0854CA07),
        (SPACE.from_spec(ROW_0), 0x21154859, 0x21154859),
    ]
    archs, words, keys = zip(*cases, strict=True)
    for found, word in zip(words_of(batch(*archs)).tolist(), words, strict=True):
        assert word in (None, found)
    assert compiled(SPACE.canonical_key)(batch(*archs)).tolist() == [[0, key] for key in keys]


def slow_keys(archs):
    """uint32[n]: the least word over 120 orders, by matrices; `archs` must be pruned."""
    nodes, edges = (np.asarray(leaf) for leaf in archs)
    best = np.full(len(nodes), 0xFFFFFFFF, np.uint32)
    for order in itertools.permutations(range(1, 6)):
        order = [0, *order, 6]  # node order[i] moves to slot i
        moved = edges[:, order][:, :, order]
        upward = ~np.tril(moved).any(axis=(1, 2))
        word = np.zeros(len(nodes), np.uint32)
        for bit, (i, j) in enumerate(PAIRS):
            word |= moved[:, i, j].astype(np.uint32) << np.uint32(bit)
        for slot, shift in FIELD.items():
            label = nodes[:, order[slot]]
            word |= np.where(label == 0, 3, label - 2).astype(np.uint32) << np.uint32(shift)
        best = np.where(upward, np.minimum(best, word), best)
    return best


def genotypes(number, seed=0):
    """Random arrays with absent and dead slots, some of them no cells."""
    random = np.random.default_rng(seed)
    nodes = random.choice([0, 2, 3, 4], (number, 7))
    nodes[:, 0], nodes[:, 6] = 1, 5
    density = random.choice([0.3, 0.6], (number, 1, 1))
    edges = np.triu(random.random((number, 7, 7)) < density, 1)
    edges &= (nodes > 0)[:, :, None] & (nodes > 0)[:, None]
    return Graph(jnp.asarray(nodes, jnp.int32), jnp.asarray(edges, jnp.int32))


def test_keys_are_the_least_words_of_pruned_cells():
    archs = genotypes(500)
    pruned = compiled(graph.prune)(archs)
    np.testing.assert_array_equal(compiled(SPACE.canonical_key)(archs)[:, 1], slow_keys(pruned))
    graphs = compiled(SPACE.graphs)(archs)
    assert all((leaf[:, 0] == other).all() for leaf, other in zip(graphs, pruned, strict=True))


def test_validity_is_a_path_and_nine_edges_after_pruning():
    archs = genotypes(5000, seed=1)
    left = np.asarray(compiled(graph.prune)(archs).edges).sum(axis=(1, 2))
    expected = (left > 0) & (left <= 9)
    valid = compiled(SPACE.is_valid)(archs)
    np.testing.assert_array_equal(valid, expected)
    assert 0.2 < expected.mean() < 0.8
    inner = np.asarray(archs.nodes)[:, 1:6]
    np.testing.assert_array_equal(compiled(SUBSET.is_valid)(archs), expected & (inner != 3).all(axis=1))


@pytest.mark.parametrize(
    "edit",
    [
        ((6,), 4),
        ((0,), 2),
        ((2,), 1),
        ((2,), 5),
        ((2,), -1),
        ((4,), 1),
        ((4,), 5),
        ((4,), -1),
        ((1, 2), 2),
        ((2, 2), 1),
    ],
)
def test_arrays_that_say_no_cell_are_invalid(edit):
    """One entry wrong: labels of the ends and inside, edges above 1 or not upward, edges at an absent slot."""
    good = cell("0-1 1-2 2-6", CONV3, CONV1)
    place, value = edit
    nodes = good.nodes.at[place].set(value) if len(place) == 1 else good.nodes
    edges = good.edges.at[place].set(value) if len(place) == 2 else good.edges
    absent = good._replace(edges=good.edges.at[3, 6].set(1))
    assert compiled(SPACE.is_valid)(batch(good, Graph(nodes, edges), absent)).tolist() == [True, False, False]
    with pytest.raises(ValueError, match=r"^nasbench101: "):
        SPACE.to_spec(Graph(nodes, edges))


@hypothesis.settings(max_examples=100)
@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_isomorphic_cells_share_key_and_hash(seed):
    """Slots in another order in which edges go upward."""
    random = np.random.default_rng(seed)
    encoding = random.choice(nasbench101_cells.encodings(7))
    nodes, edges = nasbench101_words.unpacked(encoding)
    order = [0]
    while len(order) < 6:
        free = [
            v for v in range(1, 6) if v not in order and not any(edges[u, v] and u not in order for u in range(1, 6))
        ]
        order.append(int(random.choice(free)))
    order.append(6)
    other = Graph(nodes[order], edges[order][:, order])
    keys = compiled(SPACE.canonical_key)(batch(*[Graph(nodes, edges), other] * 3))  # six, as in the test above
    assert keys[0].tolist() == keys[1].tolist()
    assert nasbench_hash(other) == nasbench_hash(Graph(nodes, edges))


def test_isomorphic_cells_count_once():
    one, same = cell("0-1 0-2 1-6 2-6", CONV3, POOL), cell("0-1 0-2 1-6 2-6", POOL, CONV3)
    other = cell("0-1 1-2 2-6", CONV3, POOL)

    @quick
    def ask(candidates, key):
        past = history.empty(SPACE, 10)
        return history.first_unseen(SPACE, past, candidates, 3, key, origin=Origin.EDIT, refills=0)

    proposals = ask(batch(one, same, other, one), jax.random.key(0))
    assert proposals.live.tolist() == [True, True, False]
    np.testing.assert_array_equal(proposals.archs.nodes[:2], [one.nodes, other.nodes])


# Hashes


@pytest.mark.parametrize(
    ("word", "digest"),
    [
        (0x21154859, "00005c142e6f48ac74fdcf73e3439874"),
        (0x08B78841, "0000718c96730a92ea6d5242f8ce77e2"),
        (0x33168A51, "0000cb5372fad9d62c470df699ac6d52"),
    ],
)
def test_published_hashes(word, digest):
    """Golden: the first rows of the table."""
    assert nasbench_hash(unpacked(word)) == digest


def test_hash_of_what_is_left():
    arch = cell("0-1 1-2 2-6", CONV3, CONV1)
    dead = arch._replace(nodes=arch.nodes.at[4].set(4), edges=arch.edges.at[2, 4].set(1))
    assert nasbench_hash(dead) == nasbench_hash(arch) == hash_module(np.eye(4, k=1, dtype=int), [-1, 0, 1, -2])


def test_hash_of_a_matrix_that_does_not_fit():
    with pytest.raises(ValueError, match=r"^nasbench101: a matrix of shape \(2, 3\) for 2 labels$"):
        hash_module(np.zeros((2, 3)), [-1, -2])


def table_words(published_data):
    with np.load(published_data / "nasbench101.npz", allow_pickle=False) as table:
        assert tuple(table["op_names"]) == OPERATIONS
        return nasbench101_cells.from_published(table["cell"], table["n"]), str(table["hash_sha256"])


def test_published_cells_are_all_cells_and_in_the_order_of_their_hashes(published_data):
    """All keys; a sample of 300 hashes, which must ascend with the rows."""
    words, _ = table_words(published_data)
    assert words[[0, 1, 2, 16569]].tolist() == [0x21154859, 0x08B78841, 0x33168A51, 0x7FA00421]
    np.testing.assert_array_equal(np.unique(quick(nasbench101_words.least)(words)), nasbench101_cells.cells())
    picked = np.sort(np.random.default_rng(0).choice(len(words), 300, replace=False))
    hashes = [nasbench_hash(unpacked(word)) for word in words[picked]]
    assert hashes == sorted(hashes)
    share = np.array([int(digest[:8], 16) for digest in hashes]) / 2**32  # hashes are uniform, so row ~ hash
    np.testing.assert_allclose(share, picked / len(words), atol=5e-3)


@pytest.mark.slow
def test_every_published_hash(published_data):
    words, expected = table_words(published_data)
    hashes = [nasbench_hash(unpacked(word)) for word in words]
    assert hashes == sorted(set(hashes))
    assert hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in hashes)).hexdigest() == expected


def test_hashes_of_the_second_table(published_data):
    """All 2,532 cells of at most five vertices, which come as matrices."""
    with np.load(published_data / "nasbench101_ec5v.npz", allow_pickle=False) as table:
        size, triangle, labels, digests = (table[name] for name in ("n", "adj", "ops", "hash"))
    official = {0: 0, 1: 1, 2: 2, 3: -1, 4: -2}
    for n, bits, operations, digest in zip(size, triangle, labels, digests, strict=True):
        matrix = np.zeros((5, 5), int)
        matrix[np.triu_indices(5, 1)] = bits
        assert hash_module(matrix[:n, :n], [official[o] for o in operations[:n]]) == digest.tobytes().hex()


# Priors


def chi_square(counts, probabilities):
    """The p value of counts; what is expected less than five times is put together."""
    counts, expected = np.asarray(counts, float), np.sum(counts) * np.asarray(probabilities)
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] == 0:
        assert counts[-1] == 0, "something was drawn that never is"
        counts, expected = counts[:-1], expected[:-1]
    return pytest.importorskip("scipy.stats").chisquare(counts, expected).pvalue


@functools.cache
def valid_matrices():
    """All valid patterns of 21 bits, by `nasbench101_words` in NumPy, and what pruning leaves of them."""
    words = np.arange(EDGES + 1, dtype=np.uint32)
    left = nasbench101_words.pruned(words)
    edges = np.bitwise_count(left & np.uint32(EDGES))
    valid = (edges > 0) & (edges <= 9)
    return words[valid], 7 - np.bitwise_count(nasbench101_words.having(left[valid], ABSENT)).astype(int), edges[valid]


def test_matrix_prior():
    """Exact: .7334 of all matrices are valid, and how large they are. Draws: 20,000, seed 0, chi-squares, level 1e-3.

    Over the 7 x 9 bits that say a pattern's edges per row and column, its size and edges left, and 243 labelings; power
    > 0.99 where one of 243 comes twice as often.
    """
    patterns, sizes, edges = valid_matrices()
    assert len(patterns) == 1_538_083
    assert round(len(patterns) / 2**21, 4) == 0.7334
    counts = np.bincount(sizes, minlength=8)[2:]
    assert counts.tolist() == [
        149_607,
        310_754,
        422_740,
        466_334,
        183_855,
        4_793,
    ]  # .0973 .2020 .2748 .3032 .1195 .0031
    assert round(edges.mean(), 2) == 4.95

    words = words_of(draws(SPACE, 20_000))
    drawn, labels = words & np.uint32(EDGES), labels_of(words)
    place = np.searchsorted(patterns, drawn)
    np.testing.assert_array_equal(patterns[place], drawn)
    size_and_edges = np.bincount(sizes * 10 + edges, minlength=80) / len(patterns)
    assert chi_square(np.bincount((sizes * 10 + edges)[place], minlength=80), size_and_edges) > 1e-3
    parts = patterns * np.uint32(0x9E3779B1) >> np.uint32(24)  # 256 groups of patterns
    assert chi_square(np.bincount(parts[place], minlength=256), np.bincount(parts, minlength=256) / len(parts)) > 1e-3
    assert chi_square(np.bincount(labels @ 3 ** np.arange(5), minlength=243), np.full(243, 1 / 243)) > 1e-3


def test_matrix_prior_takes_the_first_valid_draw():
    """Without one, the edge from input to output."""
    edge = 1 << PAIRS.index((0, 6))
    first = compiled(nasbench101._first_connected)(jnp.array([[1, 0, edge | 1, edge], [0] * 4, [1] * 4], jnp.uint32))
    assert first.tolist() == [edge | 1, edge, edge]


@pytest.mark.parametrize(
    "space", [NasBench101(prior="cells"), NasBench101((POOL, CONV3), "cells")], ids=["all", "subset"]
)
def test_cells_prior_is_uniform(space):
    """Chi-squares over 200 groups of cells, neighbours and not, n = 20,000, seed 1, level 1e-3.

    Power > 0.99 if one group comes twice as often.
    """
    archs = draws(space, 20_000, seed=1)
    operations = tuple(sorted(OPERATIONS.index(name) for name in space.op_names))
    cells = nasbench101_cells.cells(operations)
    labels = labels_of(nasbench101_cells.cells())
    np.testing.assert_array_equal(cells, nasbench101_cells.cells()[np.isin(labels, [*operations, ABSENT]).all(axis=1)])
    keys = np.asarray(compiled(space.canonical_key)(archs))[:, 1]
    place = np.searchsorted(cells, keys)
    np.testing.assert_array_equal(cells[place], keys)
    number = np.arange(len(cells))
    for groups in (number % 200, number * 200 // len(cells)):
        assert chi_square(np.bincount(groups[place], minlength=200), np.bincount(groups) / len(cells)) > 1e-3
    for leaf, other in zip(archs, compiled(space.normal_form)(archs), strict=True):
        np.testing.assert_array_equal(leaf, other)


def test_er_prior():
    """The table gives pattern i of size n the weight 3^-edges, exactly. Draws: 20,000, seed 2, chi-squares, level 1e-3.

    Over size and edges, the ten patterns of four vertices and the 27 labelings of five; power > 0.99 if one pattern of
    four vertices comes 1.5 times as often.
    """
    table, starts = nasbench101_cells.explorer()
    expected = {}
    for number, n in enumerate(range(3, 8)):
        patterns = nasbench101_cells.patterns(n)
        weights = 3.0 ** -np.bitwise_count(patterns & np.uint32(EDGES))
        found, counts = np.unique(table[starts[number] : starts[number + 1]], return_counts=True)
        np.testing.assert_array_equal(found, patterns)
        np.testing.assert_allclose(counts / counts.sum(), weights / weights.sum(), rtol=1e-12)
        expected |= dict(zip(patterns.tolist(), (weights / weights.sum() / 5).tolist(), strict=True))

    words = words_of(draws(NasBench101(prior="er"), 20_000, seed=2))
    labels = labels_of(words)
    shape = np.where(labels == ABSENT, ABSENT, 0).astype(np.uint32)
    patterns = (words & np.uint32(EDGES)) | (shape << np.array(list(FIELD.values()), np.uint32)).sum(axis=1).astype(
        np.uint32
    )
    assert set(patterns.tolist()) <= expected.keys()
    known = np.array(list(expected), np.uint32)
    probabilities = np.array(list(expected.values()))

    def group(words):
        return (labels_of(words) != ABSENT).sum(axis=1) * 10 + np.bitwise_count(words & np.uint32(EDGES))

    by_group = np.bincount(group(known), probabilities, minlength=60)
    assert chi_square(np.bincount(group(patterns), minlength=60), by_group) > 1e-3
    four = nasbench101_cells.patterns(4)
    counts = [(patterns == pattern).sum() for pattern in four]
    assert chi_square(counts, np.array([expected[pattern] for pattern in four.tolist()]) * 5) > 1e-3
    five = labels[(labels != ABSENT).sum(axis=1) == 3][:, :3] @ 3 ** np.arange(3)
    assert chi_square(np.bincount(five, minlength=27), np.full(27, 1 / 27)) > 1e-3


# Edits


def slow_neighbours(space, arch):
    """Every edit in the documented order, as a pair of arrays, or None where it cannot be made."""
    nodes, edges = (np.asarray(leaf) for leaf in arch)
    labels = [OPERATIONS.index(name) + 2 for name in space.op_names]
    found = []

    def edited(change_nodes=None, change_edges=()):
        new_nodes, new_edges = nodes.copy(), edges.copy()
        for slot, label in (change_nodes or {}).items():
            new_nodes[slot] = label
        for (i, j), value in dict(change_edges).items():
            new_edges[i, j] = value
        found.append((new_nodes, new_edges))

    for i, j in itertools.combinations(range(7), 2):
        edited(change_edges={(i, j): 1 - edges[i, j]}) if nodes[i] and nodes[j] else found.append(None)
    for slot in range(1, 6):
        others = [label for label in labels if label != nodes[slot]] if nodes[slot] else [None] * (len(labels) - 1)
        for label in others:
            edited({slot: label}) if label else found.append(None)
    for slot in range(1, 6):
        at = {(i, j): 0 for i, j in itertools.combinations(range(7), 2) if slot in (i, j)}
        edited({slot: 0}, at) if nodes[slot] else found.append(None)
    absent = [slot for slot in range(1, 6) if not nodes[slot]]
    for u in range(5):
        for label in labels:
            fits = absent and u < absent[0] and nodes[u]
            edited({absent[0]: label}, {(u, absent[0]): 1, (absent[0], 6): 1}) if fits else found.append(None)
    return found


@pytest.mark.parametrize(("space", "number"), [(SPACE, 51), (NasBench101((CONV1, CONV3)), 41)], ids=["all", "subset"])
def test_neighbours_are_the_edits_in_order(space, number):
    candidates = genotypes(400, seed=3)
    valid = np.asarray(compiled(space.is_valid)(candidates))
    archs = jax.tree.map(lambda leaf: leaf[np.flatnonzero(valid)[:40]], candidates)
    absent = (np.asarray(archs.nodes) == 0).sum(axis=1)
    assert set(absent.tolist()) >= {0, 1, 2, 3}
    others, mask = jax.tree.map(np.asarray, compiled(space.neighbours)(archs))
    expected = [slow_neighbours(space, arch) for arch in rows(archs)]
    assert {len(each) for each in expected} == {number} == {mask.shape[1]}
    nothing = np.zeros(7, np.int32), np.zeros((7, 7), np.int32)
    made = batch(*[Graph(*(edit or nothing)) for each in expected for edit in each])
    left = np.asarray(compiled(graph.prune)(made).edges).sum(axis=(1, 2)).reshape(mask.shape)
    np.testing.assert_array_equal(mask, (left > 0) & (left <= 9))
    for leaf, other in zip(made, others, strict=True):
        np.testing.assert_array_equal(other[mask], np.asarray(leaf).reshape(other.shape)[mask])


def mutants(space, arch, number, seed):
    keys = jax.random.split(jax.random.key(seed), number)
    return words_of(quick(jax.vmap(space.mutate_bernoulli, (0, None)))(keys, arch))


def test_bernoulli_mutation():
    """Chi-squares against the exact law, n = 20,000, seed 3, level 1e-3.

    The law: each of 2^21 sets of flips has its binomial probability, those that give no cell none; labels are independent
    of that except that nothing may stay as it is. Over the number of flips, the lowest and the highest one, 256 groups of
    sets, and all 243 label changes; power > 0.99 if an edge flips 1.2 times as often. The cell has absent slots.
    """
    arch = cell("0-1 1-2 2-6 0-2 0-6", CONV1, POOL)
    start = nasbench101_words.from_graph(arch)
    filled = (int(start) & EDGES) | 1 << FIELD[1] | 2 << FIELD[2]  # conv3x3, number 0, in slots 3, 4, 5
    flips = np.arange(EDGES + 1, dtype=np.uint32)
    count = np.bitwise_count(flips).astype(int)
    law = (1 / 7) ** count * (6 / 7) ** (21 - count)
    left = np.bitwise_count(nasbench101_words.pruned(flips ^ np.uint32(filled)) & np.uint32(EDGES))
    law[(left == 0) | (left > 9)] = 0
    total, same_labels = law.sum(), 0.8**5
    accepted = total - law[0] * same_labels
    by_flips = law / accepted
    by_flips[0] *= 1 - same_labels

    words = mutants(SPACE, arch, 20_000, seed=3)
    drawn = (words ^ np.uint32(filled)) & np.uint32(EDGES)
    lowest = np.bitwise_count((flips & -flips.astype(np.int64)) - 1)  # 64 where nothing flips
    highest = np.frexp(flips.astype(float))[1]
    for group in (
        count,
        lowest.astype(int) % 64,
        highest,
        (flips * np.uint32(0x9E3779B1) >> np.uint32(24)).astype(int),
    ):
        assert chi_square(np.bincount(group[drawn], minlength=256), np.bincount(group, by_flips, minlength=256)) > 1e-3

    before = labels_of([filled])[0].astype(int)
    changes = (labels_of(words).astype(int) - before) % 3
    every = np.indices((3,) * 5).reshape(5, -1).T
    by_labels = np.where(every > 0, 0.1, 0.8).prod(axis=1) * total / accepted
    by_labels[0] -= law[0] * same_labels / accepted
    weights = 3 ** np.arange(4, -1, -1)
    assert chi_square(np.bincount(changes @ weights, minlength=243), by_labels) > 1e-3


def test_noise_in_subsets():
    """One operation: only edges change. Two, in another order: one in five labels becomes the other; 4 standard errors."""
    random = jax.random.bits(jax.random.key(4), (5, 4000), jnp.uint32)
    start = jnp.uint32(0x7FE00020)

    @quick
    def noisy(random):
        return [edits.with_noise(edits.filled(start, numbers), random, numbers) for numbers in ((2,), (2, 0))]

    words, others = noisy(random)
    assert (labels_of(words) == 2).all()
    labels = labels_of(others)
    assert set(labels.ravel().tolist()) == {0, 2}
    changed = (labels != 2).sum(axis=0)  # absent slots start with the first operation, maxpool
    assert (np.abs(changed - 800) < 4 * np.sqrt(4000 * 0.2 * 0.8)).all()


@pytest.mark.slow  # seconds of compiling for what happens once in 1e17
def test_bernoulli_mutation_without_a_good_draw(monkeypatch):
    """One edit of the architecture itself."""
    monkeypatch.setattr(nasbench101, "BERNOULLI_DRAWS", 0)
    arch = cell("0-1 1-6", POOL)
    words = mutants(SUBSET, arch, 200, seed=6)
    others = batch(*[Graph(*edit) for edit in slow_neighbours(SUBSET, arch) if edit])
    valid = np.asarray(compiled(SUBSET.is_valid)(others))
    assert set(words.tolist()) == set(words_of(others)[valid].tolist())


# Encodings


def test_decisions_are_bits_and_operations():
    space = NasBench101((CONV1, POOL))
    assert space.choices == (2,) * 21 + (2,) * 5
    assert space.none_choices == (0,) * 21 + (-1,) * 5
    assert SPACE.choices == (2,) * 21 + (3,) * 5
    arch = cell("0-1 1-2 2-6", POOL, CONV1)
    decisions = np.asarray(compiled(space.decisions)(batch(arch))[0])
    assert [PAIRS[bit] for bit in np.flatnonzero(decisions[:21])] == [(0, 1), (1, 2), (2, 6)]
    assert decisions[21:].tolist() == [1, 0, 0, 0, 0]  # absent slots count as the first operation
    again = compiled(space.from_decisions)(jnp.asarray(decisions)[None])
    assert again.nodes.tolist() == [[1, 4, 3, 3, 3, 3, 5]]
    np.testing.assert_array_equal(again.edges[0], arch.edges)


def slow_paths(space, arch):
    """The indices of the sequences of operations on paths, by walking them."""
    nodes, edges = (np.asarray(leaf) for leaf in arch)
    labels = [OPERATIONS.index(name) + 2 for name in space.op_names]
    base, found = len(labels), set()

    def walk(node, sequence):
        if node == 6:
            number = sum(base ** (len(sequence) - 1 - place) * value for place, value in enumerate(sequence))
            found.add(sum(base**length for length in range(len(sequence))) + number)
            return
        for after in np.flatnonzero(edges[node]):
            walk(after, [*sequence, labels.index(nodes[after])] if after < 6 else sequence)

    walk(0, [])
    return found


@pytest.mark.parametrize(("space", "number"), [(SPACE, 364), (SUBSET, 63)], ids=["all", "subset"])
def test_paths(space, number):
    archs = draws(space, 100, seed=7)
    features = np.asarray(compiled(space.paths)(archs))
    assert (features.dtype, features.shape) == (np.float32, (100, number))
    assert space.num_paths == number
    for arch, row in zip(rows(compiled(space.graphs)(archs)), features, strict=True):
        assert set(np.flatnonzero(row).tolist()) == slow_paths(space, Graph(arch.nodes[0], arch.edges[0]))


def test_paths_by_hand():
    """The empty sequence; conv1x1 = 1 + 1; conv3x3, maxpool = 4 + 0 · 3 + 2."""
    arch = cell("0-6 0-1 1-6 0-2 2-3 3-6", CONV1, CONV3, POOL)
    features = compiled(SPACE.paths)(
        jax.tree.map(lambda leaf: jnp.stack([leaf] * 100), arch)
    )  # a hundred, as in the test above
    assert np.flatnonzero(features[0]).tolist() == [0, 2, 6]


def test_rows_are_graphpnas_own():
    """The generator's first known graph; labels 1 conv1x1, 2 conv3x3 there."""
    large = cell("0-1 0-2 1-2 2-3 0-4 3-5 4-5 5-6 1-6", CONV3, CONV3, CONV1, POOL, CONV3)
    small = cell("0-2 2-4 4-6 0-3 0-6", CONV3, CONV1, POOL, POOL)  # slots 1 and 3 are dead
    found = compiled(SPACE.to_rows)(batch(large, small))
    assert found.size.tolist() == [7, 4]
    assert found.nodes.tolist() == [[0, 2, 2, 1, 3, 2, 4], [0, 1, 3, 4, 0, 0, 0]]
    np.testing.assert_array_equal(found.edges[0], large.edges.T)
    assert np.argwhere(np.asarray(found.edges[1])).tolist() == [[1, 0], [2, 1], [3, 0], [3, 2]]
    described = SPACE.alphabet.described
    assert SPACE.alphabet == Alphabet(7, node_labels=5, first_labelled=1, stop_label=4, described=described)
    assert [place[:2] for place in described[1:3]] == [(1, 0), (1, 0.4)]  # conv1x1 first
    assert described[3][3] > 0  # the pooling
    assert NasBench101((CONV3,)).alphabet.masked_nodes == (1, 3)
    assert SUBSET.alphabet.masked_nodes == (1,)


def test_rows_that_are_no_cell_of_their_own():
    """As the published code: what the generator draws must be its own pruning."""

    def made(size, labels, *edges):
        matrix = np.zeros((7, 7), np.int32)
        for receiver, sender in edges:
            matrix[receiver, sender] = 1
        return Rows(matrix, np.array(labels, np.int32), np.int32(size))

    good = [
        made(2, [0, 4, 0, 0, 0, 0, 0], (1, 0)),
        made(3, [0, 1, 4, 0, 0, 0, 0], (1, 0), (2, 1)),
        made(3, [0, 1, 4, 3, 9, -1, 4], (1, 0), (2, 1), (3, 0), (5, 4), (6, 5)),  # rows beyond the size mean nothing
        made(7, [0, 1, 1, 1, 1, 1, 4], *[(t, t - 1) for t in range(1, 7)], (6, 0), (6, 1), (6, 2)),
    ]
    bad = [
        made(1, [0, 0, 0, 0, 0, 0, 0]),
        made(0, [0, 0, 0, 0, 0, 0, 0]),
        made(8, [0, 1, 1, 1, 1, 1, 4], *[(t, t - 1) for t in range(1, 7)]),
        made(3, [0, 1, 4, 0, 0, 0, 0], (2, 0)),  # vertex 1 is dead
        made(3, [0, 1, 4, 0, 0, 0, 0], (1, 0), (2, 0)),  # has no out-edge
        made(3, [0, 1, 4, 0, 0, 0, 0], (2, 1)),  # not connected
        made(3, [0, 0, 4, 0, 0, 0, 0], (1, 0), (2, 1)),  # a second input
        made(3, [0, 4, 4, 0, 0, 0, 0], (1, 0), (2, 1)),  # an output inside
        made(3, [0, 1, 3, 0, 0, 0, 0], (1, 0), (2, 1)),  # no output
        made(7, [0, 1, 1, 1, 1, 1, 4], *[(t, t - 1) for t in range(1, 7)], *[(6, j) for j in range(4)]),  # ten edges
    ]
    found = compiled(SPACE.from_rows)(batch(*good, *bad))
    valid = compiled(SPACE.is_valid)(found)
    assert valid.tolist() == [True] * len(good) + [False] * len(bad)
    strings = [SPACE.to_spec(arch) for arch in rows(found)[: len(good)]]
    assert strings[:3] == ["1:", f"101:{CONV1}", f"101:{CONV1}"]
    assert not compiled(SUBSET.is_valid)(found)[1:3].any()  # conv1x1 is outside


# Strings and settings


@pytest.mark.parametrize("spec", ["1:", f"111:{CONV1}", ROW_0])
def test_strings_are_written_as_read(spec):
    assert SPACE.to_spec(SPACE.from_spec(spec)) == spec


def test_unpruned_strings_give_the_normal_form():
    """Vertex 1 of five is dead; sixteen edges of which one is left."""
    arch = SPACE.from_spec(f"1100000101:{POOL},{CONV3},{CONV1}")
    assert SPACE.to_spec(arch) == f"100101:{CONV3},{CONV1}"
    np.testing.assert_array_equal(arch.nodes, [1, 2, 3, 0, 0, 0, 5])
    many = SPACE.from_spec("111111" + "11110" + "1110" + "110" + "10" + "0:" + ",".join([POOL] * 5))
    assert SPACE.to_spec(many) == "1:"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "unexpected end at character 0 of ''; allowed: '0', '1', ':'"),
        ("1", "unexpected end at character 1 of '1'; allowed: '0', '1', ':'"),
        ("12:", "unexpected '2' at character 1 of '12:'; allowed: '0', '1', ':'"),
        (":", "0 bits are no triangle: ':' at character 0 of ':'; allowed: 1, 3, 6, 10, 15 or 21 bits"),
        (f"11:{POOL}", "2 bits are no triangle: ':' at character 2 of "),
        ("1" * 28 + ":", "more than 7 vertices: '" + "1" * 28 + "' at character 21 of "),
        ("1:x", "trailing text 'x' at character 2 of '1:x'; allowed: the end"),
        ("111:", "unexpected end at character 4 of '111:'; allowed: maxpool3x3, conv3x3-bn-relu"),
        ("111:,", "unknown operation '' at character 4"),
        ("111:conv", "unknown operation 'conv' at character 4 of '111:conv'; allowed: maxpool3x3, conv3x3-bn-relu"),
        (f"111:{CONV1}", f"operation outside this space's subset '{CONV1}' at character 4 of "),
        (f"111111:{POOL}", "unexpected end at character 17 of "),
        (f"111111:{POOL},{POOL},{POOL}", "trailing text ',maxpool3x3' at character 28 of "),
        (f"000:{POOL}", "input and output not connected: '000' at character 0 of "),
        ("1" * 21 + ":" + ",".join([POOL] * 5), f"21 edges after pruning, at most 9: '{'1' * 21}' at character 0 of "),
        (f"1110111111:{POOL},{POOL},{CONV3}", None),
    ],
)
def test_strings_are_refused_by_position(spec, message):
    if message is None:
        assert SUBSET.to_spec(SUBSET.from_spec(spec)) == spec
        return
    with pytest.raises(ValueError, match=r"^nasbench101: " + re.escape(message)) as caught:
        SUBSET.from_spec(spec)
    assert "; allowed: " in str(caught.value)
    with pytest.raises(RowError, match="^" + re.escape(str(caught.value)) + "$") as row:
        SUBSET.from_specs(["1:", f"111:{POOL}", spec, "1:"])
    assert row.value.row == 2


def test_many_strings_are_read_like_one():
    archs = draws(SPACE, 100, seed=7)
    specs = [SPACE.to_spec(arch) for arch in rows(archs)] + [f"1100010011:{POOL},{CONV3},{CONV1}"]
    many = SPACE.from_specs(specs)
    assert many.nodes.dtype == many.edges.dtype == np.int32
    for spec, arch in zip(specs, rows(many), strict=True):
        one = SPACE.from_spec(spec)
        assert all((a == b).all() for a, b in zip(one, arch, strict=True))
    np.testing.assert_array_equal(many.nodes[:100], compiled(SPACE.normal_form)(archs).nodes)
    with pytest.raises(RowError, match=r"^nasbench101: an architecture is written as a string, got int"):
        SPACE.from_specs(["1:", 7])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"op_names": ()}, f"nasbench101: op_names is empty; some of {CONV3}, {CONV1}, {POOL}"),
        ({"op_names": (POOL, "conv")}, "nasbench101: unknown operation 'conv' at place 1 of op_names; one of"),
        ({"op_names": (POOL, POOL)}, f"nasbench101: operation '{POOL}' is repeated at place 1 of op_names"),
        ({"prior": "uniform"}, "nasbench101: unknown prior 'uniform'; one of matrix, cells, er"),
    ],
)
def test_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match="^" + message):
        NasBench101(**settings)
