"""What a generator cannot write: masked labels, edges that are given, dead rows; and extreme logits."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow_generator as slow
from generator_cases import (
    CHAIN,
    losses_and_gradients,
    parts,
    rows_of,
    sizes,
    stack,
    tiny,
    to_params,
    tril,
)

from nasjax import generator
from nasjax.base import Alphabet

MASKED = tiny(Alphabet(4, node_labels=3, edge_labels=4, masked_edges=(0, 3), masked_nodes=(2,)))
MASKED_ROWS = rows_of(tril((1, 2, 2, 1, 1, 2), 4), (0, 1, 1, 0))


def masked_params(factor=1.0):
    p = slow.random_params(sizes(MASKED), 14)
    return jax.tree.map(lambda x: x * factor, to_params(p, np.float32))


def is_finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def is_zero(tree):
    return not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(tree))  # NaN counts as true


def test_what_is_masked_gives_zero_gradients():
    """Forced edges leave the edge heads alone, a single node teaches no edges; never NaN."""
    _, gradient = losses_and_gradients(masked_params(), MASKED, MASKED_ROWS, jnp.float32(1))
    assert is_finite(gradient)
    assert is_zero((gradient.edge, gradient.mixture))
    for label in (0, 3):  # their logits have no say
        assert is_zero((gradient.label[2].weight[..., label], gradient.label[2].bias[..., label]))
    assert np.all(gradient.label[2].bias[:, 1] != 0)
    assert is_zero(gradient.node[2].bias[:, 2])
    single = MASKED_ROWS._replace(size=jnp.int32(1))
    losses, gradient = losses_and_gradients(masked_params(), MASKED, single, jnp.float32(1))
    assert np.all(losses > 0)
    assert is_finite(gradient)
    assert is_zero((gradient.edge, gradient.mixture, gradient.label))


@pytest.mark.parametrize(("edges", "size"), [((1, 2, 2, 1, 1, 2), 4), ((0,) * 6, 4), ((0,) * 6, 0)])
def test_a_dead_row_teaches_nothing(edges, size):
    """An archive that is not full yet may hold zeros, whatever the alphabet; their weight is 0."""
    rows = rows_of(tril(edges, 4), size=size)
    losses, gradient = losses_and_gradients(masked_params(), MASKED, rows, jnp.float32(0))
    assert np.all(losses == 0)
    assert is_zero(gradient)


@pytest.mark.parametrize(
    ("edges", "nodes"),
    [
        ((1, 1, 1, 1, 1, 3), (0, 1, 1, 0)),
        ((1, 1, 1, 1, 1, 0), (0, 1, 1, 0)),
        ((1, 1, 1, 1, 1, 4), (0, 1, 1, 0)),
        ((1, 1, 1, 1, 1, 1), (0, 1, 2, 0)),
        ((1, 1, 1, 1, 1, 1), (0, 1, 3, 0)),
    ],
)
def test_outside_the_support(edges, nodes):
    """No probability, an infinite loss, and a gradient that is zero."""
    rows = rows_of(tril(edges, 4), nodes)
    assert parts(masked_params(), MASKED, stack([rows]), ("log_prob",))["log_prob"][0] == -math.inf
    losses, gradient = losses_and_gradients(masked_params(), MASKED, rows, jnp.float32(1))
    assert np.all(losses == math.inf)
    assert is_zero(gradient)


def test_extreme_logits_stay_finite():
    losses, gradient = losses_and_gradients(masked_params(30), MASKED, MASKED_ROWS, jnp.float32(1))
    assert np.all((losses > 10) & (losses < math.inf))
    assert is_finite(gradient)


@pytest.mark.usefixtures("x64")
def test_a_chains_own_edges_are_given():
    """By hand, weights zero: 3 of 6 edges are drawn, log p = -3 ln 2 - 3 ln 2; the loss counts 3 pairs and 4 selves.

    A graph that lacks one of the given edges has no probability. A chain of 13 nodes: 66 edges are drawn.
    """
    config, ln2 = tiny(CHAIN), math.log(2)
    zero = to_params(slow.zero_params(sizes(config)))
    rows = stack(
        [rows_of(tril((1, 0, 1, 1, 1, 1), 4), (0, 2, 0, 2)), rows_of(tril((1, 1, 0, 1, 1, 1), 4), (0, 2, 0, 2))]
    )
    names = ("edges", "log_prob", "loss")
    found = parts(zero, config, rows, names)
    np.testing.assert_allclose(found["edges"][0], -3 * ln2, atol=1e-12)
    np.testing.assert_allclose(found["log_prob"], [-6 * ln2, -math.inf], atol=1e-12)
    np.testing.assert_allclose(found["loss"], [3 / 7 * ln2 + ln2 / 2, math.inf], atol=1e-12)
    single = stack(
        [rows_of(tril((1, 0, 1, 1, 1, 1), 4), (0, 2, 0, 2), 2)] * 2
    )  # two nodes: nothing is drawn but a label
    np.testing.assert_allclose(parts(zero, config, single, names)["log_prob"], -ln2, atol=1e-12)
    config = tiny(Alphabet(13, node_labels=6, first_labelled=1, chain=True))
    chain = rows_of(np.eye(13, k=-1), np.zeros(13))
    found = parts(to_params(slow.zero_params(sizes(config))), config, stack([chain, chain]), ("edges", "loss"))
    np.testing.assert_allclose(found["edges"][0], -66 * ln2, atol=1e-9)
    np.testing.assert_allclose(found["loss"][0], 66 / 79 * ln2 + math.log(6) / 2, atol=1e-9)


@pytest.mark.usefixtures("x64")
def test_precision_is_that_of_the_parameters():
    for dtype in (np.float32, np.float64):
        params, weight = to_params(slow.random_params(sizes(MASKED), 14), dtype), jnp.float32(1)
        for function in (generator.log_prob, functools.partial(generator.loss, weight=weight)):
            found = jax.eval_shape(lambda p, function=function: function(p, MASKED, rows=MASKED_ROWS), params)
            assert found.dtype == dtype
