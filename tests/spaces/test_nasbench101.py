"""NAS-Bench-101's encodings, strings and settings."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nasbench101_cases import CONV1, CONV3, POOL, ROW_0, SPACE, SUBSET, batch, cell, compiled, draws, rows

from nasjax.base import Alphabet, Graph, Rows
from nasjax.spaces.nasbench101 import OPERATIONS, NasBench101
from nasjax.spaces.nasbench101_words import PAIRS
from nasjax.spaces.reading import RowError

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
        ({"op_names": [POOL]}, "nasbench101: op_names is a list; a tuple of names is needed"),
        ({"op_names": ()}, f"nasbench101: op_names is empty; some of {CONV3}, {CONV1}, {POOL}"),
        ({"op_names": (POOL, "conv")}, "nasbench101: unknown operation 'conv' at place 1 of op_names; one of"),
        ({"op_names": (POOL, POOL)}, f"nasbench101: operation '{POOL}' is repeated at place 1 of op_names"),
        ({"prior": "uniform"}, "nasbench101: unknown prior 'uniform'; one of matrix, cells, er"),
    ],
)
def test_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match="^" + message):
        NasBench101(**settings)
