"""ENAS's macro space against hand-made keys, D-VAE's published data and a slow form of the hash."""

import functools
import gzip
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from nasjax import graph
from nasjax.base import Graph
from nasjax.spaces.enas import OPERATIONS, Enas

PUBLISHED = "[[2], [5, 0], [4, 0, 0], [0, 0, 0, 1], [5, 1, 0, 0, 0], [2, 0, 0, 1, 1, 0]]"
MASK = 0xFFFFFFFF


# Compiling is nearly all that these tests cost.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def keys_of(space):
    """The keys of decisions int32[n, D]."""
    return quick(jax.vmap(lambda decisions: space.canonical_key(space.from_decisions(decisions))))


def striped(layers):
    """Operation i mod 6; flag j of layer i is 1 iff i + j is a multiple of 3."""
    return [i % 6 for i in range(layers)], [int((i + j) % 3 == 0) for i in range(layers) for j in range(i)]


def slow_key(operations, flags):
    """The key in Python's integers, from the decisions."""
    layers = len(operations)
    if layers <= 8:
        number = sum(op * 6 ** (layers - 1 - i) for i, op in enumerate(operations))
        bits = sum(int(flag) << b for b, flag in enumerate(flags))
        return [0, number * 2**15 + bits] if layers <= 6 else [number, bits]
    words = []
    for first in range(0, layers, 12):
        part = operations[first : first + 12]
        words.append(sum(op * 6 ** (len(part) - 1 - i) for i, op in enumerate(part)))
    for first in range(0, len(flags), 32):
        words.append(sum(int(flag) << b for b, flag in enumerate(flags[first : first + 32])))

    def mix(h):
        h = (h ^ h >> 16) * 0x7FEB352D & MASK
        h = (h ^ h >> 15) * 0x846CA68B & MASK
        return h ^ h >> 16

    key = []
    for c in (0x9E3779B1, 0x85EBCA77):
        h = c
        for word in words:
            h = mix((h ^ word) + c & MASK)
        key.append(h)
    return key


@pytest.mark.parametrize(
    ("layers", "operations", "flags", "key"),
    [
        (6, [0] * 6, [0] * 15, [0, 0]),
        (6, [5] * 6, [1] * 15, [0, 0x5B1FFFFF]),
        (6, [2, 5, 4, 0, 5, 2], [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0], [0, 0x2CC83060]),
        (12, [0] * 12, [0] * 66, [0x318BA058, 0x63CCE003]),
        (12, [5] * 12, [1] * 66, [0xDCD7FDB2, 0xCD0F9F8B]),
        (12, *striped(12), [0x2F2EA550, 0xAB697CF6]),
        # Two layers: their operations in base 6, then the flag; by hand.
        (2, [3, 4], [1], [0, 22 * 2**15 + 1]),
        (7, [0, 0, 0, 0, 0, 1, 2], [0, 1, *[0] * 19], [8, 2]),
    ],
)
def test_keys_by_hand(layers, operations, flags, key):
    assert keys_of(Enas(layers))(np.array([[*operations, *flags]], np.int32))[0].tolist() == key
    assert slow_key(operations, flags) == key


def test_scrambling_by_hand():
    assert graph.mix(jnp.array([0, 1], jnp.uint32)).tolist() == [0, 0x688990C0]


@pytest.mark.parametrize("layers", [8, 13])
def test_keys_equal_the_slow_form(layers):
    """Exact up to eight layers, since the slow form can be read backwards; above, hashed, here with two words."""
    space = Enas(layers)
    keys = jax.random.split(jax.random.key(layers), 100)
    decisions = quick(jax.vmap(lambda key: space.decisions(space.sample(key))))(keys)
    keys, decisions = np.asarray(keys_of(space)(decisions)).tolist(), np.asarray(decisions).tolist()
    assert keys == [slow_key(row[:layers], row[layers:]) for row in decisions]


def packed(operations, flags):
    """uint64[n, 2], what distinguishes twelve layers' decisions."""
    low = np.concatenate([flags, operations % 2], axis=1).astype(np.uint64)
    words = [low[:, :39] @ (1 << np.arange(39, dtype=np.uint64)), low[:, 39:] @ (1 << np.arange(39, dtype=np.uint64))]
    halves = operations.astype(np.uint64) // 2
    return np.stack([words[0], words[1] + ((halves @ 3 ** np.arange(12, dtype=np.uint64)) << np.uint64(40))], axis=1)


def count_collisions(num_random, flips):
    """Different architectures less different keys, among random ones and all within `flips` flags of one; L = 12."""
    space, rng = Enas(12), np.random.default_rng(0)
    operations, flags = rng.integers(0, 6, (num_random, 12)), rng.integers(0, 2, (num_random, 66))
    near = [set(places) for most in range(flips + 1) for places in itertools.combinations(range(66), most)]
    turned = np.array([[place in places for place in range(66)] for places in near]) ^ flags[:1]
    operations = np.concatenate([operations, np.repeat(operations[:1], len(near), 0)])
    flags = np.concatenate([flags, turned])
    decisions = np.concatenate([operations, flags], axis=1).astype(np.int32)
    found = np.concatenate(
        [np.asarray(keys_of(space)(part)) for part in np.array_split(decisions, max(len(decisions) // 2**16, 1))]
    )
    different = len(np.unique(packed(operations, flags), axis=0))
    assert different > num_random + len(near) - 10
    return different - len(np.unique(found, axis=0))


def test_no_two_of_these_hashed_keys_meet():
    """20,000 random architectures of twelve layers and the 2,212 within two flags of the first."""
    assert count_collisions(20_000, 2) == 0


@pytest.mark.slow
def test_no_two_of_a_million_hashed_keys_meet():
    """With the 47,972 within three flags of the first."""
    assert count_collisions(1_000_000, 3) == 0


def test_published_strings_come_back(published_data):
    """19,020 rows, byte for byte; five architectures stand there twice."""
    with gzip.open(published_data / "enas_final_structures6.txt.gz", "rt") as file:
        lines = file.read().splitlines()[1000:]
    specs = [line[: line.rindex(", ")] for line in lines]
    assert len(specs) == 19_020
    space = Enas()
    archs = space.from_specs(specs)
    assert quick(jax.vmap(space.is_valid))(archs).all()
    assert [space.to_spec(Graph(*leaves)) for leaves in zip(*archs, strict=True)] == specs
    keys = np.asarray(quick(jax.vmap(space.canonical_key))(archs))
    assert len(np.unique(keys, axis=0)) == len(set(specs)) == 19_015
    pairs = [(1401, 3414), (1475, 7648), (4615, 15313), (6861, 17469), (11341, 14753)]
    assert all((keys[a] == keys[b]).all() for a, b in pairs)
    assert archs.edges[:, :, 1:-1].sum() - 19_020 * 6 == pytest.approx(0.3 * 15 * 19_020, rel=1e-2)  # skips set: 30.0 %
    for row in range(0, 19_020, 2_000):  # one by one the same
        jax.tree.map(np.testing.assert_array_equal, space.from_spec(specs[row]), Graph(*(leaf[row] for leaf in archs)))


def test_a_published_architecture_by_hand():
    """Flag j of layer i is the edge from node j, node 0 being the stem, to node i + 1."""
    space = Enas()
    arch = space.from_spec(PUBLISHED)
    assert arch.nodes.tolist() == [1, 4, 7, 6, 2, 7, 4, 8]
    chain = {(i, i + 1) for i in range(7)}
    edges = set(zip(*map(np.ndarray.tolist, np.nonzero(np.asarray(arch.edges))), strict=True))
    assert edges == chain | {(2, 4), (0, 5), (2, 6), (3, 6)}
    assert space.decisions(arch).tolist() == [2, 5, 4, 0, 5, 2, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0]
    rows = space.to_rows(arch)
    assert rows.nodes.tolist() == [0, 2, 5, 4, 0, 5, 2]
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(np.asarray(rows.edges))), strict=True)) == {
        (j, i) for i, j in edges if j < 7
    }
    graphs = space.graphs(arch)
    jax.tree.map(lambda leaf, whole: np.testing.assert_array_equal(leaf[0], whole), graphs, arch)


def test_rows_without_their_chain_are_no_architecture():
    space = Enas(3)
    rows = space.to_rows(space.from_spec("[[2], [1, 0], [1, 0, 1]]"))
    assert space.is_valid(space.from_rows(rows))
    for node in (1, 2, 3):
        assert not space.is_valid(space.from_rows(rows._replace(edges=rows.edges.at[node, node - 1].set(0))))


def test_numbers_of_decisions():
    """A column for each operation and one for each flag: SVGe's vectors of 51 and 138 numbers; 45 and 126 neighbours."""
    for layers, columns, neighbours in ((6, 51, 45), (12, 138, 126)):
        space = Enas(layers)
        assert sum(k if k > 2 else 1 for k in space.choices) == columns
        arch = jax.eval_shape(space.sample, jax.random.key(0))
        assert jax.eval_shape(space.neighbours, arch)[1].shape == (neighbours,)
        assert space.none_choices == (-1,) * layers + (0,) * (layers * (layers - 1) // 2)
        assert space.alphabet.num_nodes == layers + 1


def test_neighbours_stand_in_order():
    """Layer by layer the other operations by decision, then the flags; in a subset of another order."""
    space = Enas(3, ("maxpool3x3", "conv3x3", "sep5x5"))
    arch = space.from_spec("[[0], [3, 1], [5, 0, 1]]")
    others, mask = quick(space.neighbours)(arch)
    specs = [space.to_spec(Graph(*leaves)) for leaves in zip(*others, strict=True)]
    assert specs == [
        "[[5], [3, 1], [5, 0, 1]]",
        "[[3], [3, 1], [5, 0, 1]]",
        "[[0], [5, 1], [5, 0, 1]]",
        "[[0], [0, 1], [5, 0, 1]]",
        "[[0], [3, 1], [0, 0, 1]]",
        "[[0], [3, 1], [3, 0, 1]]",
        "[[0], [3, 0], [5, 0, 1]]",
        "[[0], [3, 1], [5, 1, 1]]",
        "[[0], [3, 1], [5, 0, 0]]",
    ]
    assert mask.all()
    np.testing.assert_array_equal(space.canonical_key(arch), Enas(3).canonical_key(arch))
    assert space.alphabet.masked_nodes == (1, 2, 4)


def test_one_operation_leaves_flags_to_edit():
    space = Enas(2, ("sep3x3",))
    arch = space.from_spec("[[1], [1, 0]]")
    assert space.to_spec(quick(space.mutate)(jax.random.key(0), arch)) == "[[1], [1, 1]]"
    assert jax.eval_shape(space.neighbours, arch)[1].shape == (1,)


def test_the_prior():
    """Chi-square over the 72 architectures of two layers, flags with probability 0.4; n = 20,000, level 1e-3.

    Power > 0.99 against flags at 0.45: the share of ones would stand 14 standard errors off.
    """
    space = Enas(2, skip=0.4)
    draw = quick(jax.vmap(lambda key: space.decisions(space.sample(key))))
    decisions = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    counts = np.bincount(decisions @ [12, 2, 1], minlength=72)
    expected = 20_000 / 36 * np.where(np.arange(72) % 2, 0.4, 0.6)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("[[2], [6, 0], [1, 0, 0]]", "unknown operation '6' at character 7 of"),
        ("[[2], [1, 0], [3, 0, 0]]", "operation outside this space's subset '3' at character 15"),
        ("[[2], [1, 2], [1, 0, 0]]", "unexpected '2' at character 10"),
        ("[[2], [1], [1, 0, 0]]", "unexpected ']' at character 8"),
        ("[[2], [1, 0, 0], [1, 0, 0]]", r"unexpected ',' at character 11 of .*; allowed: '\]'"),
        ("[[2], [1, 0]]", "unexpected ']' at character 12"),
        ("[[2], [1, 0], [1, 0, 0], [1, 0, 0, 0]]", "unexpected ',' at character 23"),
        ("[[2], [1, 0], [1, 0, 0]], 0.7", "trailing text ', 0.7' at character 24"),
        ("[[2], [-1, 0], [1, 0, 0]]", "unknown operation '-1' at character 7"),
    ],
)
def test_other_strings_are_refused(spec, message):
    with pytest.raises(ValueError, match=rf"^enas: {message}"):
        Enas(3, ("sep3x3", "conv5x5")).from_spec(spec)


def test_blanks_may_be_left_out():
    space = Enas(3)
    assert space.to_spec(space.from_spec("[[2],[1, 0],[1,0,1]]")) == "[[2], [1, 0], [1, 0, 1]]"


@pytest.mark.parametrize(
    "break_it",
    [
        lambda arch: arch._replace(nodes=arch.nodes.at[0].set(2)),
        lambda arch: arch._replace(nodes=arch.nodes.at[-1].set(7)),
        lambda arch: arch._replace(nodes=arch.nodes.at[2].set(8)),
        lambda arch: arch._replace(nodes=arch.nodes.at[2].set(2)),  # conv3x3, which the subset lacks
        lambda arch: arch._replace(edges=arch.edges.at[0, 1].set(0)),
        lambda arch: arch._replace(edges=arch.edges.at[0, 2].set(2)),
        lambda arch: arch._replace(edges=arch.edges.at[0, 4].set(1)),
        lambda arch: arch._replace(edges=arch.edges.at[2, 1].set(1)),
    ],
)
def test_knows_what_is_none_of_its_architectures(break_it):
    space = Enas(3, OPERATIONS[1:])
    arch = space.from_spec("[[2], [1, 0], [1, 0, 1]]")
    assert space.is_valid(arch)
    assert not space.is_valid(break_it(arch))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 1}, "1 layers; 2 to 48"),
        ({"layers": 49}, "49 layers"),
        ({"skip": 1.1}, "skip is 1.1"),
        ({"op_names": ["conv3x3"]}, "op_names is a list; a tuple of names is needed"),
        ({"op_names": ()}, "op_names is empty"),
        ({"op_names": ("conv3x3", "conv7x7")}, "'conv7x7' at place 1"),
        ({"op_names": ("conv3x3", "conv3x3")}, "'conv3x3' is repeated at place 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^enas: .*{message}"):
        Enas(**settings)
