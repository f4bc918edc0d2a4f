"""What every space promises, for every space of the package: a new file is tested the day it appears."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import nasjax.spaces
from nasjax.base import Enumerable, Factored, Generable, Space

# Compiling is nearly all that these tests cost.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

SMALLER = {"RandWire": {"num_nodes": 4, "stages": 2}}
"""Where one architecture has too many neighbours by default to draw each of them often in a quick test: 1,488. The default
stands behind the others."""


def spaces():
    """One of each space class of the package with its defaults, and variants that change what they do."""
    found = []
    for module in pkgutil.iter_modules(nasjax.spaces.__path__, "nasjax.spaces."):
        for kind in vars(importlib.import_module(module.name)).values():
            own = inspect.isclass(kind) and kind.__module__ == module.name and dataclasses.is_dataclass(kind)
            if own and not inspect.isabstract(kind) and hasattr(kind, "canonical_key"):
                found.append(kind(**SMALLER.get(kind.__name__, {})))
    names = {space.name: type(space) for space in found}
    assert {"toy", "toy_nodes", "nasbench201", "nasbench101", "enas", "randwire"} <= set(names)
    subset = ("nor_conv_3x3", "none", "skip_connect")
    published = names["nasbench201"](subset, classes="published")
    large = names["enas"](12), names["randwire"]()  # keys hashed from more than one word; 1,488 decisions
    return [*found, names["toy"](subset, "no_none"), names["nasbench201"](subset), published, *large]


SPACES = spaces()
IDS = [f"{space.name}-{number}" for number, space in enumerate(SPACES)]
every_space = pytest.mark.parametrize("space", SPACES, ids=IDS)
seeds = st.integers(0, 2**32 - 1)


@functools.cache
def compiled(function, in_axes=0):
    """One program a function and shape, also over many examples of a property; bound methods of equal spaces are equal."""
    return quick(jax.vmap(function, in_axes))


def draws(space, number, seed=0):
    return compiled(space.sample)(jax.random.split(jax.random.key(seed), number))


def differences(space, a, b):
    """Number of entries in which two architectures differ; a node that one of them lacks counts once, with its edges."""
    a, b = (jax.tree.map(np.asarray, arch) for arch in (a, b))
    moved = (a.nodes == 0) != (b.nodes == 0)
    edges = (a.edges != b.edges) & ~moved[..., :, None] & ~moved[..., None, :]
    return int((a.nodes != b.nodes).sum() + edges.sum())


def flat(archs):
    """int8[n, …], all leaves of Arch[n] side by side; no label is above 127."""
    return np.concatenate([np.asarray(leaf, np.int8).reshape(leaf.shape[0], -1) for leaf in archs], 1)


def num_neighbours(space):
    """M, the rows of `neighbours`."""
    return jax.eval_shape(space.neighbours, jax.eval_shape(space.sample, jax.random.key(0)))[1].size


def in_normal_form(space, archs):
    """What strings and the generator's form give back: some spaces drop what is dead in an architecture."""
    return compiled(space.normal_form)(archs) if hasattr(space, "normal_form") else archs


@every_space
def test_is_a_hashable_static_value(space):
    assert isinstance(space, Space)
    assert hash(space) == hash(dataclasses.replace(space))
    assert space == dataclasses.replace(space)
    assert space.name
    with pytest.raises(dataclasses.FrozenInstanceError):
        space.name = "other"


@every_space
def test_functions_are_traceable_and_typed(space):
    """Jit and vmap, the documented dtypes and shapes, no host callback, and the same result alone and in a batch."""
    key = jax.random.key(3)
    archs = draws(space, 3)
    arch = jax.tree.map(lambda leaf: leaf[0], archs)

    def everything(key, arch):
        graphs = space.graphs(arch)
        return space.sample(key), space.is_valid(arch), space.canonical_key(arch), space.mutate(key, arch), graphs

    text = str(jax.make_jaxpr(everything)(key, arch)) + str(jax.make_jaxpr(space.neighbours)(arch))
    assert "callback" not in text
    jitted = quick(everything)
    sample, valid, canonical, mutant, graphs = jitted(key, arch)
    for other in (sample, mutant):
        assert jax.tree.structure(other) == jax.tree.structure(arch)
        assert all(a.dtype == jnp.int32 and a.shape == b.shape for a, b in zip(other, arch, strict=True))
    assert (valid.dtype, valid.shape) == (jnp.bool_, ())
    assert (canonical.dtype, canonical.shape) == (jnp.uint32, (2,))
    assert graphs.nodes.ndim == 2
    assert graphs.edges.shape == (*graphs.nodes.shape, graphs.nodes.shape[-1])
    assert {graphs.nodes.dtype, graphs.edges.dtype} == {jnp.dtype(jnp.int32)}

    keys = jax.random.split(key, 3)
    together = quick(jax.vmap(everything))(keys, archs)
    for row in range(3):
        one = jax.tree.map(lambda leaf, row=row: leaf[row], archs)
        alone = jitted(keys[row], one)
        assert jax.tree.all(jax.tree.map(lambda a, b, row=row: bool((a[row] == b).all()), together, alone))


@every_space
def test_draws_are_valid_and_come_back_from_their_strings(space):
    archs = draws(space, 50, seed=1)
    assert compiled(space.is_valid)(archs).all()
    read = []
    for row in range(50):
        arch = jax.tree.map(lambda leaf, row=row: leaf[row], archs)
        again = space.from_spec(space.to_spec(arch))
        assert space.to_spec(again) == space.to_spec(arch)
        assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and a.shape == b.shape, arch, again))
        read.append(again)
    keys = compiled(space.canonical_key)
    np.testing.assert_array_equal(keys(jax.tree.map(lambda *rows: jnp.stack(rows), *read)), keys(archs))


@every_space
def test_neighbours_are_all_one_edit_cells_each_once(space):
    number = min(30, 5000 // num_neighbours(space))
    archs = draws(space, number, seed=2)
    others, mask = compiled(space.neighbours)(archs)
    valid = compiled(jax.vmap(space.is_valid))(others)
    np.testing.assert_array_equal(valid, mask)
    for row in range(number):
        arch = jax.tree.map(lambda leaf, row=row: np.asarray(leaf[row]), archs)
        edits = np.flatnonzero(mask[row])
        rows = [jax.tree.map(lambda leaf, m=m, row=row: np.asarray(leaf[row, m]), others) for m in edits]
        assert {differences(space, arch, other) for other in rows} == {1}
        assert len({b"".join(leaf.tobytes() for leaf in other) for other in rows}) == len(edits)


@pytest.mark.parametrize("space", [*SPACES[:-1], pytest.param(SPACES[-1], marks=pytest.mark.slow)], ids=IDS)
def test_mutation_draws_every_neighbour_equally_often(space):
    """Chi-square over M neighbours, level 1e-3, and each by itself within 5 standard errors; at least 392 expected each.

    20,000 draws where M <= 51; M is 126 for twelve layers of ENAS, 1,488 for RandWire. Power > 0.99 if one neighbour comes
    1.4 times as often: it would stand 7.9 standard errors off, where among 1,488 one stands 5 off by chance once in 1,000.
    """
    scipy_stats = pytest.importorskip("scipy.stats")
    archs = draws(space, 30, seed=2)
    arch = jax.tree.map(lambda leaf: leaf[5], archs)
    others, mask = quick(space.neighbours)(arch)
    places = {row.tobytes(): place for place, row in enumerate(flat(others)[mask])}
    assert len(places) == mask.sum()
    hits = np.zeros(len(places), np.int64)
    for part in range(-(-392 * len(places) // 20_000)):
        keys = jax.random.split(jax.random.key(part), 20_000)
        mutants = flat(compiled(space.mutate, (0, None))(keys, arch))
        hits += np.bincount([places[mutant.tobytes()] for mutant in mutants], minlength=len(places))
    expected = hits.mean()
    assert expected >= 392
    assert scipy_stats.chisquare(hits).pvalue > 1e-3
    assert np.abs(hits - expected).max() < 5 * expected**0.5


@every_space
@hypothesis.settings(max_examples=20)
@hypothesis.given(seed=seeds)
def test_mutation_is_one_valid_edit(space, seed):
    arch = draws(space, 1, seed)
    mutant = compiled(space.mutate)(jax.random.split(jax.random.key(seed ^ 1), 1), arch)
    assert differences(space, arch, mutant) == 1
    assert compiled(space.is_valid)(mutant).all()


@pytest.mark.parametrize("space", [s for s in SPACES if isinstance(s, Enumerable)], ids=str)
def test_enumeration(space):
    everything = space.all()
    index = jax.jit(jax.vmap(space.index))(everything)
    np.testing.assert_array_equal(index, np.arange(space.size))
    assert index.dtype == jnp.int32
    classes = np.asarray(jax.jit(jax.vmap(space.class_of))(index))
    keys = np.asarray(jax.jit(jax.vmap(space.canonical_key))(everything))
    assert classes.min() >= 0
    assert classes.max() < space.num_classes
    # The same partition: as many different pairs as keys and as classes.
    pairs = np.concatenate([keys, classes[:, None].astype(np.uint32)], axis=1)
    assert len(np.unique(pairs, axis=0)) == len(np.unique(keys, axis=0)) == len(np.unique(classes))
    members = np.asarray(space.class_members())
    expected = np.full(space.num_classes, -1)
    np.minimum.at(expected := np.full(space.num_classes, space.size), classes, np.arange(space.size))
    np.testing.assert_array_equal(members, np.where(expected == space.size, -1, expected))
    assert jax.jit(jax.vmap(space.is_valid))(everything).all()


@pytest.mark.parametrize("space", [s for s in SPACES if isinstance(s, Generable)], ids=str)
def test_rows(space):
    """All architectures survive the generator's form, whose labels keep to the alphabet."""
    alphabet = space.alphabet
    everything = space.all() if isinstance(space, Enumerable) else draws(space, 1000)
    from_rows = compiled(space.from_rows)
    rows = compiled(space.to_rows)(everything)
    again = from_rows(rows)
    everything = in_normal_form(space, everything)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), everything, again))
    assert {leaf.dtype for leaf in jax.tree.leaves((rows, again))} == {jnp.dtype(jnp.int32)}
    edges = np.asarray(rows.edges)
    assert not np.triu(edges).any()
    lower = np.tril_indices(alphabet.num_nodes, -1)
    used = set(np.unique(edges[:, lower[0], lower[1]]).tolist())
    assert used <= set(range(alphabet.edge_labels or 2)) - set(alphabet.masked_edges)
    nodes = np.asarray(rows.nodes)
    assert nodes.min() >= 0
    assert nodes.max() < max(alphabet.node_labels, 1)
    assert not nodes[:, : alphabet.first_labelled].any()
    # Garbage above the diagonal says nothing; a graph cut short is none.
    noisy = rows._replace(edges=rows.edges + jnp.triu(jnp.ones_like(rows.edges)))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), from_rows(noisy), everything))
    if alphabet.stop_label is None:
        assert not compiled(space.is_valid)(from_rows(rows._replace(size=rows.size - 1))).any()


@pytest.mark.parametrize("space", [s for s in SPACES if isinstance(s, Factored)], ids=str)
def test_decisions(space):
    """Draws come back from their decisions with the same key."""
    archs = draws(space, 1000)
    decisions = compiled(space.decisions)(archs)
    assert decisions.dtype == jnp.int32
    assert decisions.shape == (1000, len(space.choices))
    assert len(space.none_choices) == len(space.choices)
    assert all(-1 <= none < choices for none, choices in zip(space.none_choices, space.choices, strict=True))
    values = np.asarray(decisions)
    assert values.min() >= 0
    assert (values < np.array(space.choices)).all()
    again = compiled(space.from_decisions)(decisions)
    assert jax.tree.structure(again) == jax.tree.structure(archs)
    keys = compiled(space.canonical_key)
    np.testing.assert_array_equal(keys(again), keys(archs))
    np.testing.assert_array_equal(compiled(space.decisions)(again), decisions)


@every_space
@hypothesis.settings(max_examples=200)
@hypothesis.given(spec=st.one_of(st.text(max_size=80), st.text("|+~:,0123 nonesk_ipct", max_size=80)))
def test_any_text_is_read_or_refused_by_position(space, spec):
    try:
        arch = space.from_spec(spec)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{space.name}: ")
        assert "at character " in message
        assert "allowed" in message
        assert len(message) < 400
        assert message.isprintable()
    else:
        assert space.is_valid(arch)


@every_space
@hypothesis.settings(max_examples=100)
@hypothesis.given(seed=seeds, data=st.data())
def test_an_edited_string_is_named_where_it_was_edited(space, seed, data):
    """A character that no spec may hold, put anywhere into a good one: the error points at its word or character."""
    spec = space.to_spec(jax.tree.map(lambda leaf: leaf[0], draws(space, 1, seed)))
    place = data.draw(st.integers(0, len(spec)))
    with pytest.raises(ValueError, match=r"at character (\d+) of") as caught:
        space.from_spec(spec[:place] + "\x00" + spec[place:])
    position = int(str(caught.value).split("at character ")[1].split()[0])
    word = max(spec.rfind(mark, 0, place) for mark in "|~+:,") + 1
    assert word <= position <= place


@every_space
@pytest.mark.parametrize("spec", [None, 7, b"|none~0|", "x" * 10_000, "|" * 4097])
def test_other_types_and_long_strings_are_refused(space, spec):
    with pytest.raises(ValueError, match=f"{space.name}: ") as caught:
        space.from_spec(spec)
    assert len(str(caught.value)) < 400
