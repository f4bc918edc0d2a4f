"""Vectors of architectures and targets of rewards: sizes, hand-made cells, slow forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasjax import history
from nasjax.base import Evaluation, PathEncoded, Proposals
from nasjax.methods import asking, features
from nasjax.methods.encoding import ByEncoding
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy
from nasjax.spaces.toy_nodes import ToyNodes

TOY = Toy()
FULL = NasBench201()
NO_NONE = NasBench201(("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
SUBSET = NasBench201(("avg_pool_3x3", "none", "nor_conv_1x1"))
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def slow_paths(space, arch):
    """{sequence of operation names} of the live paths, by walking the cell."""
    edges = np.asarray(arch.edges)

    def walk(node):
        if node == space.NUM_NODES - 1:
            return {()}
        onward = [(int(edges[node, after]), after) for after in range(node + 1, space.NUM_NODES)]
        return {(space.OPERATIONS[op], *rest) for op, after in onward if op for rest in walk(after)}

    return walk(0)


def named(space, feature):
    """The sequence that a feature stands for: by length, then a number with the first operation most significant."""
    names = [name for name in space.op_names if name != "none"]
    for length in range(1, space.NUM_NODES):
        if feature < len(names) ** length:
            return tuple(names[feature // len(names) ** place % len(names)] for place in reversed(range(length)))
        feature -= len(names) ** length
    raise AssertionError(feature)


@pytest.mark.parametrize(
    ("space", "size"), [(TOY, 12), (FULL, 84), (NO_NONE, 84), (SUBSET, 14)], ids=["toy", "full", "no_none", "subset"]
)
def test_paths_of_cells(space, size):
    """300 draws against a walk through the cell."""
    assert isinstance(space, PathEncoded)
    assert space.num_paths == size
    archs = jax.vmap(space.sample)(jax.random.split(jax.random.key(1), 300))
    found = np.asarray(quick_jit(jax.vmap(space.paths))(archs))
    assert found.dtype == np.float32
    assert set(np.unique(found)) == {0, 1}
    names = [named(space, feature) for feature in range(size)]
    for row in range(300):
        cell = jax.tree.map(lambda leaf, row=row: leaf[row], archs)
        assert {names[feature] for feature in np.flatnonzero(found[row])} == slow_paths(space, cell)


def test_paths_by_hand():
    """(0,1) conv3x3, (0,2) skip, (1,2) none, (0,3) pool, (1,3) conv1x1, (2,3) skip: three paths; a dead cell has none."""
    cell = FULL.from_operations(jnp.array([3, 1, 0, 4, 2, 1], jnp.int32))
    # Operations without none: skip 0, conv1x1 1, conv3x3 2, pool 3.
    assert np.flatnonzero(FULL.paths(cell)).tolist() == [3, 4 + 0 * 4 + 0, 4 + 2 * 4 + 1]
    assert not FULL.paths(FULL.from_operations(jnp.array([3, 1, 2, 0, 0, 0], jnp.int32))).any()
    chain = FULL.from_operations(jnp.array([4, 0, 3, 0, 0, 2], jnp.int32))
    assert np.flatnonzero(FULL.paths(chain)).tolist() == [20 + 3 * 16 + 2 * 4 + 1]


def test_one_hot():
    """No column for none, one for a bit: 6 x 4 numbers on NAS-Bench-201 with and without none, 3 bits and 2 x 3 here."""
    for space, size in ((FULL, 24), (NO_NONE, 24), (SUBSET, 12), (ToyNodes(), 9), (NasBench201(("none",)), 0)):
        assert features.one_hot(space).size == size
    encode = features.one_hot(SUBSET).encode  # decisions: pool 0, none 1, conv1x1 2
    cell = SUBSET.from_operations(jnp.array([4, 0, 2, 2, 4, 0], jnp.int32))
    assert encode(cell).tolist() == [1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0]
    assert encode(cell).dtype == jnp.float32
    graph = ToyNodes().from_spec("101:2,0")
    assert features.one_hot(ToyNodes()).encode(graph).tolist() == [1, 0, 1, 0, 0, 1, 1, 0, 0]
    encoded = quick_jit(jax.vmap(features.one_hot(NO_NONE).encode))(NO_NONE.all())
    assert len(np.unique(encoded, axis=0)) == NO_NONE.size


def test_encodings_that_a_space_lacks_are_refused():
    with pytest.raises(ValueError, match=r"mine: toy_nodes has no path encoding; encoding='one_hot'"):
        features.encoding(ToyNodes(), "paths", "mine")
    with pytest.raises(ValueError, match="mine: toy is no product of choices"):
        features.encoding(ByEncoding(TOY), "one_hot", "mine")
    with pytest.raises(ValueError, match="mine: unknown encoding 'adjacency'; one of paths, one_hot"):
        features.encoding(TOY, "adjacency", "mine")


scores = quick_jit(features.normal_scores)


@given(reward=st.lists(st.integers(-3, 3), min_size=9, max_size=9), mask=st.integers(1, 511))
def test_normal_scores_against_scipy(reward, mask):
    """Average ranks among those that count; what does not count, NaN too, changes nothing."""
    scipy_stats = pytest.importorskip("scipy.stats")
    flags = np.array([bool(mask >> place & 1) for place in range(9)])
    values = np.where(flags, reward, np.nan).astype(np.float32)
    expected = np.zeros(9)
    expected[flags] = scipy_stats.norm.ppf((scipy_stats.rankdata(values[flags]) - 0.5) / flags.sum())
    np.testing.assert_allclose(scores(jnp.asarray(values), jnp.asarray(flags)), expected, atol=2e-6)


def test_normal_scores_of_nothing():
    assert not scores(jnp.full(9, jnp.nan), jnp.zeros(9, bool)).any()


def test_best_rows_are_the_earlier_of_equals():
    reward = jnp.array([1, -0.0, 0.0, 2, jnp.nan, 2, 0.0, 9], jnp.float32)
    usable = jnp.array([True, True, True, True, False, True, True, False])
    rows, size = asking.best_rows(reward, usable, 5)
    assert (rows.tolist(), int(size)) == ([3, 5, 0, 1, 2], 5)
    rows, size = asking.best_rows(reward, usable, 10)
    assert (rows[:6].tolist(), rows.shape, int(size)) == ([3, 5, 0, 1, 2, 6], (10,), 6)


def test_edits_come_from_the_best_equally_often():
    """Parents by chi-square, 3 of 5 rows, n = 3,000, level 1e-3; a parent 1.3 times as likely stands 8 se off."""
    scipy_stats = pytest.importorskip("scipy.stats")
    parents = TOY.at(jnp.array([0, 21, 42, 63, 27], jnp.int32))  # no two of the best have a common neighbour
    reward = jnp.array([5, 9, 1, 7, 0], jnp.float32)
    valid = jnp.ones(5, bool)

    @quick_jit
    def drawn(valid):
        proposals = Proposals(parents, jnp.ones(5, bool), jnp.zeros(5, jnp.int32), {})
        past = history.add(TOY, history.empty(TOY, 9), proposals, Evaluation(reward, valid, reward, {}))
        return asking.edits_of_best(TOY, past, 3000, 3, jax.random.key(0))

    edits, allowed = drawn(valid)
    assert allowed.all()
    changed = np.asarray(edits.edges)[:, None] != np.asarray(parents.edges)[None, [0, 1, 3]]
    single = changed.sum(axis=(2, 3)) == 1
    assert (single.sum(axis=1) == 1).all()
    assert scipy_stats.chisquare(single.sum(axis=0)).pvalue > 1e-3
    assert not drawn(~valid)[1].any()
