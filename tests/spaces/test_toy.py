"""The two toy spaces against hand work, a digest made by independent code, and the laws of their priors."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.base import Graph
from nasjax.spaces import cell_classes
from nasjax.spaces.toy import OPERATIONS, Toy
from nasjax.spaces.toy_nodes import ToyNodes

CLASSES = "97203d932b3a219d0f3224876f081ca5a17cb4e167c4d2c5ce194b99543e1563"


def test_toy_has_26_classes():
    table = Toy().smallest_codes()
    assert (table.dtype, table.shape, table.flags.writeable) == (np.uint16, (64,), False)
    assert hashlib.sha256(table.astype("<u2").tobytes()).hexdigest() == CLASSES
    assert len(np.unique(table)) == Toy().num_classes == 26
    np.testing.assert_array_equal(Toy().class_of(jnp.arange(64)), cell_classes.dense_ids(table))


@pytest.mark.parametrize(
    ("operations", "code", "key"),
    [
        ((1, 2, 2), 26, 26),  # C0(x) + C1(x)
        ((2, 2, 1), 41, 26),  # the same, the other way round
        ((1, 1, 1), 21, 21),  # x + x
        ((1, 1, 0), 20, 4),  # x
        ((0, 0, 3), 3, 0),  # nothing reaches the output
    ],
)
def test_toy_by_hand(operations, code, key):
    space = Toy()
    arch = space.from_operations(jnp.array(operations, jnp.int32))
    assert int(space.index(arch)) == code
    assert space.canonical_key(arch).tolist() == [0, key]


def test_toy_strings():
    space = Toy()
    arch = space.from_operations(jnp.array([1, 2, 3], jnp.int32))
    assert space.to_spec(arch) == "|skip_connect~0|+|nor_conv_1x1~0|nor_conv_3x3~1|"
    with pytest.raises(ValueError, match=r"^toy: unknown operation 'avg_pool_3x3' at character 1 of "):
        space.from_spec("|avg_pool_3x3~0|+|none~0|none~1|")


def test_toy_graphs_hold_the_live_operations_only():
    """Dead parts go, the ends stay; against a list of paths."""
    space = Toy()
    graphs = jax.vmap(space.graphs)(space.all())
    operations = np.indices((4,) * 3).reshape(3, -1).T
    direct, through = operations[:, 1] > 0, (operations[:, 0] > 0) & (operations[:, 2] > 0)
    expected = np.zeros((64, 3, 3), np.int32)
    expected[:, 0, 1], expected[:, 1, 2] = operations[:, 0] * through, operations[:, 2] * through
    expected[:, 0, 2] = operations[:, 1] * direct
    np.testing.assert_array_equal(graphs.edges[:, 0], expected)
    np.testing.assert_array_equal(graphs.nodes[:, 0], np.stack([through | True, through, through | True], axis=1))


@pytest.mark.parametrize(
    ("space", "cells"),
    [
        (Toy(), 64),
        (Toy(prior="no_none"), 27),
        (Toy(("nor_conv_3x3", "none", "skip_connect"), "no_none"), 8),
        (ToyNodes(), 72),
    ],
    ids=["uniform", "no_none", "subset", "toy_nodes"],
)
def test_the_prior_is_uniform_over_its_cells(space, cells):
    """Chi-square over at most 72 cells, n = 20,000, level 1e-3, seed 0.

    Power > 0.99 if one cell of 72 comes 1.5 times as often: 278 expected, so it would stand 8.3 standard errors off.
    """
    scipy_stats = pytest.importorskip("scipy.stats")
    archs = jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), 20_000))
    counts = np.bincount(jax.vmap(space.index)(archs), minlength=space.size)
    drawn = counts > 0
    assert drawn.sum() == cells
    if cells < 64 and isinstance(space, Toy):
        with_none = (np.asarray(space.operations(space.all())) == 0).any(axis=1)
        np.testing.assert_array_equal(drawn, ~with_none)  # the prior leaves them out, the space has them
        assert jax.vmap(space.is_valid)(space.all()).all()
    assert scipy_stats.chisquare(counts[drawn]).pvalue > 1e-3


def test_toy_alphabet_masks_the_subset():
    assert Toy().alphabet.masked_edges == ()
    assert Toy(("nor_conv_3x3", "none")).alphabet.masked_edges == (1, 2)
    assert Toy().alphabet.edge_labels == len(OPERATIONS)


def test_toy_nodes_has_72_classes():
    space = ToyNodes()
    everything = space.all()
    assert space.size == space.num_classes == 72
    keys = jax.vmap(space.canonical_key)(everything)
    assert keys.dtype == jnp.uint32
    np.testing.assert_array_equal(keys, np.stack([np.zeros(72), np.arange(72)], axis=1))
    np.testing.assert_array_equal(everything.nodes[:, 0], 1)
    assert set(np.unique(everything.nodes[:, 1:])) == {2, 3, 4}
    assert set(np.unique(everything.edges)) == {0, 1}


def test_toy_nodes_by_hand():
    """Edges 0→1 and 1→2, labels 4 and 3: bits 101, a = 2, b = 1, hence 9 x 5 + 3 x 2 + 1."""
    space = ToyNodes()
    edges = np.zeros((3, 3), np.int32)
    edges[0, 1] = edges[1, 2] = 1
    arch = Graph(jnp.array([1, 4, 3], jnp.int32), jnp.array(edges))
    assert space.to_spec(arch) == "101:2,1"
    assert space.canonical_key(arch).tolist() == [0, 52]
    assert int(space.index(arch)) == 52
    again = space.from_spec("101:2,1")
    np.testing.assert_array_equal(again.nodes, arch.nodes)
    np.testing.assert_array_equal(again.edges, arch.edges)
    others, mask = space.neighbours(arch)
    specs = [space.to_spec(Graph(others.nodes[row], others.edges[row])) for row in range(7)]
    assert mask.tolist() == [True] * 7
    assert sorted(specs) == ["001:2,1", "100:2,1", "101:0,1", "101:1,1", "101:2,0", "101:2,2", "111:2,1"]


@pytest.mark.parametrize("spec", ["101:2", "102:2,1", "101:3,1", "101:2,1,", "101 2,1"])
def test_toy_nodes_refuses_other_strings(spec):
    with pytest.raises(ValueError, match=r"^toy_nodes: .* at character \d of .*; allowed: "):
        ToyNodes().from_spec(spec)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda arch: arch._replace(nodes=arch.nodes.at[0].set(2)),
        lambda arch: arch._replace(nodes=arch.nodes.at[1].set(5)),
        lambda arch: arch._replace(nodes=arch.nodes.at[2].set(0)),
        lambda arch: arch._replace(edges=arch.edges.at[0, 1].set(2)),
        lambda arch: arch._replace(edges=arch.edges.at[0, 2].set(-1)),
        lambda arch: arch._replace(edges=arch.edges.at[2, 1].set(1)),
        lambda arch: arch._replace(edges=arch.edges.at[1, 1].set(1)),
    ],
)
def test_toy_nodes_knows_what_is_none_of_its_graphs(break_it):
    space = ToyNodes()
    arch = space.from_spec("101:2,1")
    assert space.is_valid(arch)
    assert not space.is_valid(break_it(arch))


@pytest.mark.parametrize(
    "break_it",
    [
        lambda arch: arch._replace(nodes=arch.nodes.at[1].set(0)),
        lambda arch: arch._replace(edges=arch.edges.at[0, 1].set(4)),
        lambda arch: arch._replace(edges=arch.edges.at[0, 1].set(-1)),
        lambda arch: arch._replace(edges=arch.edges.at[2, 0].set(1)),
    ],
)
def test_toy_knows_what_is_none_of_its_cells(break_it):
    space = Toy()
    arch = space.from_operations(jnp.array([1, 2, 3], jnp.int32))
    assert space.is_valid(arch)
    assert not space.is_valid(break_it(arch))
