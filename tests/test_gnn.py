"""Gated message passing: both forms against the slow one on any graph, symmetry, absent edges, initial weights."""

import functools
import math

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
import scipy.stats
import slow_generator as slow

from nasjax import gnn, gnn_dense
from nasjax.gnn import Dense, Round

HIDDEN, FEATURES, WIDTH, ROUNDS, NODES = 5, 3, 4, 3, 6

# Ascending receivers; a pair twice, a loop, and a node (5) that hears nothing.
SENDERS = np.array([1, 4, 0, 2, 2, 3, 2, 5, 5])
RECEIVERS = np.array([0, 0, 1, 1, 1, 2, 2, 3, 4])
PRESENT = np.array([1.0, 1, 1, 1, 1, 1, 1, 0, 1])


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def weights(seed):
    """{(part, round): (weight [out, in], bias [out])} and the same as ours."""
    rng, inputs = np.random.default_rng(seed), HIDDEN + FEATURES
    shapes = ((HIDDEN, inputs), (HIDDEN, HIDDEN), (WIDTH, inputs), (HIDDEN, WIDTH), *[(3 * HIDDEN, HIDDEN)] * 2)
    p = {
        (part, r): (rng.normal(size=shape), rng.normal(size=shape[0]))
        for r in range(ROUNDS)
        for part, shape in zip(slow.ROUND_PARTS, shapes, strict=True)
    }

    def stacked(part):
        layers = [p[part, r] for r in range(ROUNDS)]
        return Dense(jnp.asarray(np.stack([w.T for w, _ in layers])), jnp.asarray(np.stack([b for _, b in layers])))

    return p, Round(*(stacked(part) for part in slow.ROUND_PARTS))


def inputs(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(NODES, HIDDEN)), rng.normal(size=(SENDERS.size, FEATURES))


def run(rounds, states, features, present, senders, receivers, form="jraph", first=0):
    if form == "jraph":
        return run_jraph(rounds, states, features, present, senders, receivers, first)
    shape = gnn_dense.Shape(tuple(senders.tolist()), tuple(receivers.tolist()), states.shape[0], first)
    return run_dense(rounds, shape, states[:, None], features[:, None], jnp.asarray(present)[:, None])[:, 0]


@functools.partial(jax.jit, static_argnames="first")
def run_jraph(rounds, states, features, present, senders, receivers, first):
    num, links = (jnp.array([n], jnp.int32) for n in (states.shape[0], senders.shape[0]))
    graphs = jraph.GraphsTuple(states, (features, present), receivers, senders, None, num, links)
    return gnn.gated_rounds(rounds, graphs, first)


run_dense = jax.jit(gnn_dense.gated_rounds, static_argnums=1)


@pytest.mark.parametrize("form", ["jraph", "dense"])
@pytest.mark.parametrize("first", [0, 2])
def test_equal_to_the_slow_form(form, first):
    """States pass a ReLU before every round but the first of all."""
    p, rounds = weights(0)
    states, features = inputs(1)
    h = list(states)
    edges = [edge for edge, there in zip(zip(SENDERS, RECEIVERS, features, strict=True), PRESENT, strict=True) if there]
    for r in range(ROUNDS):
        h = slow.one_round(p, h if r or not first else [slow.relu(x) for x in h], edges, r)
    found = run(rounds, states, features, PRESENT, SENDERS, RECEIVERS, form, first)
    np.testing.assert_allclose(found, h, rtol=0, atol=1e-12)
    other = run(rounds, states, features, PRESENT, SENDERS, RECEIVERS, form, 2 - first)
    assert np.abs(other - found).max() > 1e-3


@pytest.mark.parametrize("form", ["jraph", "dense"])
def test_rounds_continue(form):
    """Two rounds and then the third, numbered on, are all three."""
    _, rounds = weights(2)
    states, features = inputs(3)
    early, last = (jax.tree.map(lambda leaf, s=s: leaf[s], rounds) for s in (slice(None, 2), slice(2, None)))
    graph = (features, PRESENT, SENDERS, RECEIVERS, form)
    halfway = run(early, states, *graph)
    np.testing.assert_allclose(run(last, halfway, *graph, first=2), run(rounds, states, *graph), rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", ["jraph", "dense"])
def test_absent_edges_say_nothing(form):
    """Their features change no bit and get no gradient; without any edge a node only runs its GRU."""
    _, rounds = weights(4)
    states, features = inputs(5)
    other = np.where(PRESENT[:, None] > 0, features, 1e6)
    base = run(rounds, states, features, PRESENT, SENDERS, RECEIVERS, form)
    np.testing.assert_array_equal(run(rounds, states, other, PRESENT, SENDERS, RECEIVERS, form), base)
    gradient = jax.grad(lambda f: run(rounds, states, f, PRESENT, SENDERS, RECEIVERS, form).sum())(features)
    assert np.array_equal(np.abs(gradient).max(1) > 0, PRESENT > 0)
    alone = run(rounds, states[5:], features[:0], PRESENT[:0], SENDERS[:0], RECEIVERS[:0], form)
    np.testing.assert_allclose(alone[0], base[5], rtol=0, atol=1e-13)


@pytest.mark.parametrize("first", [0, 1])
def test_the_written_derivative_is_that_of_autodiff(first):
    """Three graphs at once, one at a time under vmap, and the jraph form: the same gradients of weights, states, features."""
    _, rounds = weights(8)
    rng = np.random.default_rng(9)
    states, features = rng.normal(size=(3, NODES, HIDDEN)), rng.normal(size=(3, SENDERS.size, FEATURES))
    present = (rng.random((3, SENDERS.size)) < 0.7).astype(float)
    cotangent = rng.normal(size=(3, NODES, HIDDEN))
    shape = gnn_dense.Shape(tuple(SENDERS.tolist()), tuple(RECEIVERS.tolist()), NODES, first)

    def together(rounds, states, features):
        behind = (jnp.swapaxes(x, 0, 1) for x in (states, features, jnp.asarray(present)))
        return jnp.swapaxes(gnn_dense.gated_rounds(rounds, shape, *behind), 0, 1)

    def apart(rounds, states, features):
        one = functools.partial(run, senders=SENDERS, receivers=RECEIVERS, form="dense", first=first)
        return jax.vmap(one, (None, 0, 0, 0))(rounds, states, features, jnp.asarray(present))

    def by_jraph(rounds, states, features):
        one = functools.partial(run_jraph, senders=SENDERS, receivers=RECEIVERS, first=first)
        return jax.vmap(one, (None, 0, 0, 0))(rounds, states, features, jnp.asarray(present))

    def gradients(function):
        return jax.grad(lambda *args: (function(*args) * cotangent).sum(), (0, 1, 2))(rounds, states, features)

    wanted = gradients(by_jraph)
    for function in (together, apart):
        for found, leaf in zip(jax.tree.leaves(gradients(function)), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(found, leaf, rtol=0, atol=1e-12 * max(1, np.abs(leaf).max()))


def test_nodes_may_be_renumbered():
    _, rounds = weights(6)
    states, features = inputs(7)
    base = run(rounds, states, features, PRESENT, SENDERS, RECEIVERS)
    places = np.array([3, 0, 5, 1, 2, 4])  # new number of each node
    moved = np.empty_like(states)
    moved[places] = states
    order = np.argsort(places[RECEIVERS], kind="stable")
    graph = (x[order] for x in (features, PRESENT, places[SENDERS], places[RECEIVERS]))
    np.testing.assert_allclose(run(rounds, moved, *graph)[places], base, rtol=0, atol=1e-12)


def test_dense_layer():
    """Any leading axes; also under the suite's strict rank promotion."""
    layer = Dense(jnp.arange(6.0).reshape(2, 3), jnp.array([10.0, 20.0, 30.0]))
    np.testing.assert_array_equal(gnn.dense(layer, jnp.array([1.0, 2.0])), [16, 29, 42])
    batch = gnn.dense(layer, jnp.ones((4, 5, 2)))
    np.testing.assert_array_equal(batch, np.broadcast_to([13.0, 25, 37], (4, 5, 3)))


def test_initial_layers():
    """U(-1, 1) / sqrt(fan-in), weights and biases; the rounds differ from one another."""

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def draw(key):
        layers = gnn.init_dense(key, 9, 400), gnn.init_dense(key, 9, 400, fan_in=25)
        return *layers, gnn.init_rounds(key, 4, 6, 7, 11)

    layer, wide, rounds = draw(jax.random.key(0))
    for values, bound in ((layer.weight, 1 / 3), (layer.bias, 1 / 3), (wide.weight, 1 / 5), (wide.bias, 1 / 5)):
        assert values.dtype == jnp.float32
        assert scipy.stats.kstest(np.ravel(values), "uniform", args=(-bound, 2 * bound)).pvalue > 1e-3
    shapes = {"message1": (13, 6), "message2": (6, 6), "gate1": (13, 11), "gate2": (11, 6)}
    shapes |= {"gru_input": (6, 18), "gru_state": (6, 18)}
    assert {name: getattr(rounds, name).weight.shape for name in shapes} == {n: (4, *s) for n, s in shapes.items()}
    assert {name: getattr(rounds, name).bias.shape for name in shapes} == {n: (4, s[1]) for n, s in shapes.items()}
    for name, (fan_in, _) in shapes.items():
        bound = np.abs(getattr(rounds, name).weight).max() * math.sqrt(fan_in)
        assert 0.9 < bound <= 1.0001
    everything = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(rounds)])
    assert np.unique(everything).size > 0.99 * everything.size
