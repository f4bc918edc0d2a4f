"""NAS-Bench-101's classes, keys and hashes against published counts and digests, and slow forms of the rules."""

import hashlib
import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from nasbench101_cases import (
    CONV1,
    CONV3,
    POOL,
    ROW_0,
    SPACE,
    SUBSET,
    batch,
    cell,
    compiled,
    genotypes,
    quick,
    unpacked,
    words_of,
)

from nasjax import graph, history
from nasjax.base import Graph, Origin
from nasjax.spaces import nasbench101_cells, nasbench101_words
from nasjax.spaces.nasbench101 import OPERATIONS
from nasjax.spaces.nasbench101_hash import hash_module, nasbench_hash
from nasjax.spaces.nasbench101_words import EDGES, FIELD, PAIRS

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
