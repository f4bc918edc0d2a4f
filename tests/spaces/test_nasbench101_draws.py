"""NAS-Bench-101's priors and edits against exact frequencies and slow forms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nasbench101_cases import (
    CONV1,
    CONV3,
    POOL,
    SPACE,
    SUBSET,
    batch,
    cell,
    compiled,
    draws,
    genotypes,
    labels_of,
    quick,
    rows,
    words_of,
)

from nasjax import graph
from nasjax.base import Graph
from nasjax.spaces import nasbench101, nasbench101_cells, nasbench101_words
from nasjax.spaces import nasbench101_edits as edits
from nasjax.spaces.nasbench101 import OPERATIONS, NasBench101
from nasjax.spaces.nasbench101_words import ABSENT, EDGES, FIELD, PAIRS

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
