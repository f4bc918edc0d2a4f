"""NAS-Bench-201 against published data, digests of independent code, a second way to the classes, and hand work."""

import hashlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.spaces import cell_classes, nasbench201
from nasjax.spaces.nasbench201 import EDGES, OPERATIONS, NasBench201

STRINGS = 5**6
ALL = np.indices((5,) * 6).reshape(6, -1).T
"""int[15625, 6], the operations of every code."""

EXACT = "f62f8ed871add2237e83e1165c224f98534a6a4ef27b7af122c0e6d507852f94"
DENSE = "32e93d85a1dbf0415255a5d3d26d8708d72990df26124c6c3e2cef833746bcf2"
PUBLISHED = "3500b961db89716eac0010078c583c032e968b56b8760dc7e894e1981e13d190"

shipped = NasBench201().smallest_codes
published = nasbench201.published_classes


def digest(array):
    """SHA-256 of the bytes in C order and little endian, at the array's own width."""
    return hashlib.sha256(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def mixed(left, right):
    """The number of different pairs of classes: equal to both partitions' sizes where they are the same partition."""
    return np.unique(np.stack([left, right]).astype(np.int64), axis=1)


def test_the_shipped_classes_are_the_computed_ones():
    table = shipped()
    assert (table.dtype, table.shape) == (np.uint16, (STRINGS,))
    assert not table.flags.writeable
    computed = nasbench201.compute_classes()
    assert (computed.dtype, digest(computed)) == (np.uint16, EXACT)
    np.testing.assert_array_equal(table, computed)
    dense = cell_classes.dense_ids(table)
    assert dense.dtype == np.int32
    assert digest(dense.astype(np.uint16)) == DENSE
    assert NasBench201().num_classes == dense.max() + 1 == 5260
    assert (table == 0).sum() == 341  # a dead output, all one class


def test_the_published_classes():
    assert published().dtype == np.uint16
    assert digest(published()) == PUBLISHED
    assert len(np.unique(published())) == 6466


def test_a_space_by_published_classes():
    """Keys, classes and the smallest members follow them, in the whole space and without `none`; the rest does not."""
    space, ours = NasBench201(classes="published"), NasBench201()
    assert space.num_classes == 6466
    assert space.smallest_codes() is published()
    everything = space.all()
    keys = np.asarray(jax.jit(jax.vmap(space.canonical_key))(everything))
    assert not keys[:, 0].any()
    assert digest(keys[:, 1].astype(np.uint16)) == PUBLISHED
    index = np.arange(STRINGS, dtype=np.int32)
    np.testing.assert_array_equal(jax.jit(jax.vmap(space.index))(everything), index)
    np.testing.assert_array_equal(space.class_of(index), cell_classes.dense_ids(published()))
    np.testing.assert_array_equal(space.class_members(), np.unique(published()))
    without = NasBench201(OPERATIONS[1:], classes="published")
    members = np.asarray(without.class_members())
    assert (members.size, (members >= 0).sum()) == (6466, 3131)
    assert (np.asarray(NasBench201(OPERATIONS[1:]).class_members()) >= 0).sum() == 2881
    np.testing.assert_array_equal(space.sample(jax.random.key(3)).edges, ours.sample(jax.random.key(3)).edges)
    assert space != ours
    with pytest.raises(ValueError, match="nasbench201: unknown classes 'unique'; one of exact, published"):
        NasBench201(classes="unique")


def test_each_partition_splits_the_other():
    pairs = mixed(shipped(), published())
    _, parts_of_exact = np.unique(pairs[0], return_counts=True)
    _, parts_of_published = np.unique(pairs[1], return_counts=True)
    assert ((parts_of_exact > 1).sum(), (parts_of_published > 1).sum()) == (688, 430)


def test_published_classes_are_those_of_the_benchmark(published_data):
    with np.load(published_data / "nasbench201.npz", allow_pickle=False) as table:
        code, isomorph, operations = table["code"], table["isomorph"], table["ops"]
        strings, names = table["arch"], table["op_names"]
    assert tuple(names) == OPERATIONS
    np.testing.assert_array_equal(ALL[code], operations)
    assert mixed(published()[code], isomorph).shape[1] == len(np.unique(isomorph)) == 6466
    space = NasBench201()
    for row in np.random.default_rng(0).choice(STRINGS, 200, replace=False):
        arch = space.from_spec(str(strings[row]))
        np.testing.assert_array_equal(space.operations(arch), operations[row])
        assert int(space.index(arch)) == code[row]
        assert space.to_spec(arch) == strings[row]


def scrambled(words):
    """A bijection of uint64 that keeps nothing of sums (the finisher of MurmurHash3)."""
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return words ^ (words >> np.uint64(33))


def values(pooling):
    """uint64[15625]: every cell as a program on numbers, the least value over all ways to name the edges' modules.

    Convolutions are unknown functions, one for each kind and name, and keep 0; no pruning and no expression is made.
    """
    with np.errstate(over="ignore"):
        salts = scrambled(np.arange(1, 31, dtype=np.uint64)).reshape(5, 6)
        least = np.full(STRINGS, np.iinfo(np.uint64).max)
        for names in itertools.permutations(range(6)):
            nodes = [np.full(STRINGS, 12345, np.uint64)] + [np.zeros(STRINGS, np.uint64) for _ in range(3)]
            for edge, (sender, receiver) in enumerate(EDGES):
                value, operation = nodes[sender], ALL[:, edge]
                module = np.where(operation == 2, salts[2, names[edge]], salts[3, names[edge]])
                term = np.where(value == 0, 0, scrambled(value ^ module))
                term = np.where(operation == 4, pooling(value), term)
                nodes[receiver] = nodes[receiver] + np.where(operation == 1, value, np.where(operation == 0, 0, term))
            least = np.minimum(least, nodes[3])
    return least


def test_classes_are_the_cells_that_compute_the_same():
    """Cells run as programs on 64-bit numbers: equal values, equal network. By chance: about 1e7^2 / 2^65 = 3e-6."""
    opaque = values(lambda value: np.where(value == 0, 0, scrambled(value + np.uint64(99))))
    different = np.unique(opaque, return_inverse=True)[1]
    assert mixed(different, shipped()).shape[1] == different.max() + 1 == 5260
    linear = values(lambda value: value * np.uint64(0x9E3779B97F4A7C15))  # pooling distributed over sums: not ours
    assert len(np.unique(linear)) == 5044


def test_counts_without_none_and_after_pruning():
    without = (ALL != 0).all(axis=1)
    assert without.sum() == NasBench201(OPERATIONS[1:]).size == 4096
    assert len(np.unique(shipped()[without])) == 2881
    assert len(np.unique(published()[without])) == 3131
    space = NasBench201()
    assert space.size == STRINGS
    live = jax.jit(jax.vmap(space.graphs))(space.all())
    forms = np.unique(np.asarray(live.edges).reshape(STRINGS, -1), axis=0, return_inverse=True)[1].ravel()
    assert forms.max() + 1 == 9445
    assert mixed(forms, shipped()).shape[1] == 9445  # dead edges never matter


@pytest.mark.parametrize(
    ("operations", "code", "exact", "dense", "string_class"),
    [
        ((2, 1, 0, 0, 0, 1), 6876, 25, 1, 26),  # x
        ((2, 2, 1, 0, 0, 1), 7626, 677, 9, 1301),  # C0(x) + C1(x)
        ((4, 4, 1, 0, 0, 1), 15126, 729, 14, None),  # P(x) + P(x)
        ((3, 1, 2, 4, 0, 3), 10353, 10353, 2711, None),
        ((1, 1, 1, 1, 1, 1), 3906, 3906, 185, None),  # x four times
    ],
)
def test_by_hand(operations, code, exact, dense, string_class):
    space = NasBench201()
    arch = nasbench201.from_operations(jnp.array(operations, jnp.int32))
    np.testing.assert_array_equal(nasbench201.operations(arch), operations)
    assert int(space.index(arch)) == code
    assert space.canonical_key(arch).tolist() == [0, exact]
    assert int(space.class_of(space.index(arch))) == dense
    if string_class is not None:
        assert published()[code] == string_class


def test_edges_are_in_the_order_of_the_string():
    assert EDGES == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    arch = nasbench201.from_operations(jnp.array([1, 2, 3, 4, 0, 1], jnp.int32))
    expected = "|skip_connect~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|avg_pool_3x3~0|none~1|skip_connect~2|"
    assert NasBench201().to_spec(arch) == expected
    np.testing.assert_array_equal(arch.edges, [[0, 1, 2, 4], [0, 0, 3, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(arch.nodes, [1, 1, 1, 1])


SUBSETS = [
    ("nor_conv_3x3", "none", "skip_connect"),
    OPERATIONS[1:],
    OPERATIONS[::-1],
    ("avg_pool_3x3",),
]


@pytest.mark.parametrize("op_names", SUBSETS, ids=len)
def test_subsets_share_keys_and_count_in_their_own_base(op_names):
    """The order of `op_names` numbers decisions and nothing else."""
    space, whole = NasBench201(op_names), NasBench201()
    base = len(op_names)
    everything = space.all()
    assert space.size == base**6
    labels = np.asarray(space.operations(everything))
    decisions = np.indices((base,) * 6).reshape(6, -1).T
    np.testing.assert_array_equal(labels, np.array([OPERATIONS.index(name) for name in op_names])[decisions])
    index = jax.jit(jax.vmap(space.index))(everything)
    np.testing.assert_array_equal(index, decisions @ base ** np.arange(5, -1, -1))
    keys = jax.jit(jax.vmap(space.canonical_key))(everything)
    np.testing.assert_array_equal(keys, jax.vmap(whole.canonical_key)(everything))
    np.testing.assert_array_equal(keys[:, 1], shipped()[labels @ 5 ** np.arange(5, -1, -1)])
    codes = jax.vmap(whole.index)(everything)
    np.testing.assert_array_equal(space.class_of(index), whole.class_of(codes))
    assert space.num_classes == 5260
    first, last = jax.tree.map(lambda leaf: leaf[0], everything), jax.tree.map(lambda leaf: leaf[-1], everything)
    for arch in (first, last):
        assert space.to_spec(arch) == whole.to_spec(arch)


def test_cells_outside_the_subset_are_invalid():
    space = NasBench201(("nor_conv_3x3", "none", "skip_connect"))
    valid = jax.jit(jax.vmap(space.is_valid))(NasBench201().all())
    np.testing.assert_array_equal(valid, np.isin(ALL, [3, 0, 1]).all(axis=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"op_names": ["none"]}, "nasbench201: op_names is a list; a tuple of names is needed"),
        ({"op_names": ()}, "nasbench201: op_names is empty; some of none, skip_connect, nor_conv_1x1, nor_conv_3x3"),
        ({"op_names": ("none", "conv")}, "nasbench201: unknown operation 'conv' at place 1 of op_names; one of none, "),
        ({"op_names": ("none", "none")}, "nasbench201: operation 'none' is repeated at place 1 of op_names"),
        ({"prior": "paper"}, "nasbench201: unknown prior 'paper'; one of uniform, no_none"),
        ({"op_names": ("none",), "prior": "no_none"}, "nasbench201: prior='no_none' leaves no operation"),
    ],
)
def test_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        NasBench201(**settings)


GOOD = "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (GOOD.replace("skip_connect", "conv"), "unknown operation 'conv' at character 1 of '|conv~0|+"),
        (
            GOOD.replace("skip_connect", "avg_pool_3x3"),
            "operation outside this space's subset 'avg_pool_3x3' at character 1",
        ),
        (GOOD + "+|none~0|", "trailing text '+|none~0|' at character 55 of "),
        (GOOD[:30], "unexpected end at character 30 of "),
        (GOOD.replace("none~1|+", "+", 1), "unknown operation '' at character 25 of "),
        (GOOD.replace("~2", "~3"), "unexpected '3' at character 53 of "),
        ("", "unexpected end at character 0 of ''; allowed: '|'"),
    ],
)
def test_strings_are_refused_by_position(spec, message):
    space = NasBench201(("none", "skip_connect"))
    assert space.to_spec(space.from_spec(GOOD)) == GOOD
    with pytest.raises(ValueError, match="nasbench201: ") as caught:
        space.from_spec(spec)
    assert str(caught.value).startswith("nasbench201: " + message)
    assert "; allowed: " in str(caught.value)


def test_labels_that_are_no_operation_are_not_written():
    arch = nasbench201.from_operations(jnp.array([0, 1, 5, 0, 0, 0], jnp.int32))
    with pytest.raises(ValueError, match=r"^nasbench201: label 5 is no operation; 0\.\.4$"):
        NasBench201().to_spec(arch)


def test_one_operation_leaves_nothing_to_mutate():
    space = NasBench201(("none",))
    with pytest.raises(ValueError, match=r"^nasbench201: nothing to mutate, op_names has only 'none'$"):
        space.mutate(jax.random.key(0), space.sample(jax.random.key(1)))


def test_tables_of_more_strings_than_uint16_counts_are_refused():
    with pytest.raises(ValueError, match=r"^cell_classes: 10 edges of 4 operations make more than 65,536 strings$"):
        cell_classes.exact_classes(5, OPERATIONS[:4])
