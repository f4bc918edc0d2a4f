"""Parameters: how many, how they start, and which sizes are refused."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from generator_cases import (
    NB101,
    NB201,
    SLOW_CASES,
    TOY,
    from_params,
    parts,
    quick_jit,
    random_graphs,
    rows_of,
    stack,
    teacher_forced,
    tiny,
)

from nasjax import generator
from nasjax.base import Alphabet
from nasjax.generator import GeneratorConfig


def test_parameter_counts():
    key = jax.random.key(0)
    for alphabet, total, project, node, label in (
        (NB101, 107_569, 136, 1_325, 0),
        (NB201, 107_533, 100, 0, 1_325),
        (TOY, 107_492, 84, 0, 1_300),
    ):
        params = jax.eval_shape(functools.partial(generator.init, config=GeneratorConfig(alphabet)), key)
        counts = [sum(leaf.size for leaf in jax.tree.leaves(part)) for part in params]
        assert counts == [project, 103_208, 1_450, 1_450, node, label, 0]
        assert generator.num_parameters(params) == total
    per_round = [sum(leaf.size // 7 for leaf in layer) for layer in params.rounds]
    assert per_round == [1_176, 600, 6_272, 3_096, 1_800, 1_800]
    config = GeneratorConfig(NB101, node_label_input=True, label_after_edges=True)
    extended = jax.eval_shape(functools.partial(generator.init, config=config), key)
    assert generator.num_parameters(extended) == 107_569 + 5 * 24


def test_initial_weights():
    """PyTorch's defaults: U(-1, 1) / sqrt(fan-in), the GRU's by H also in its biases; nothing shared between layers."""
    config = GeneratorConfig(Alphabet(5, node_labels=4, edge_labels=3), hidden=32, rounds=40)
    params = quick_jit(generator.init, static_argnums=1)(jax.random.key(1), config)
    fan_in = {"inp": 5, "W1": 64, "W2": 32, "V1": 64, "V2": 128, "GRU_i": 32, "GRU_h": 32}
    pooled, everything = {}, []
    for name, tensors in from_params(params).items():
        for which, tensor in enumerate(tensors):
            pooled.setdefault((name[0], which), []).append(tensor.ravel() * math.sqrt(fan_in.get(name[0], 32)))
            everything.append(tensor.ravel())
    for name, values in pooled.items():
        assert scipy.stats.kstest(np.concatenate(values), "uniform", args=(-1, 2)).pvalue > 1e-4, name
    everything = np.concatenate(everything)
    assert np.unique(everything).size > 0.97 * everything.size  # float32 draws may meet by chance
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_starting_from_a_prior():
    """With the last weights at zero, the marginals are those given; the weights are those of a plain start."""
    config = tiny(Alphabet(4, node_labels=3, edge_labels=4))
    labels, kinds = jnp.array([0.0, 0.2, 0.3, 0.5]), jnp.array([0.6, 0.3, 0.1])
    marginals = generator.Marginals(jnp.float32(0.13), labels, kinds)
    params, plain = quick_jit(lambda key: (generator.init(key, config, marginals), generator.init(key, config)))(
        jax.random.key(2)
    )
    for name in ("edge", "label", "node"):
        (*inner, last), (*plain_inner, plain_last) = getattr(params, name), getattr(plain, name)
        np.testing.assert_array_equal(last.weight, plain_last.weight)
        jax.tree.map(np.testing.assert_array_equal, inner, plain_inner)
        params = params._replace(**{name: (*inner, last._replace(weight=jnp.zeros_like(last.weight)))})
    for name in ("project", "rounds", "mixture"):
        jax.tree.map(np.testing.assert_array_equal, getattr(params, name), getattr(plain, name))
    logits = teacher_forced(params, config, rows_of(*random_graphs(config.alphabet, 1, 22)[0]))
    np.testing.assert_allclose(jax.nn.sigmoid(logits.edge[3, :3]), 0.13, rtol=1e-5)
    shares = jax.nn.softmax(logits.label[3, :3])
    np.testing.assert_allclose(shares, np.tile(labels, (3, 1)), atol=1e-3)
    assert np.all(shares > 0)  # what the prior never drew stays possible
    np.testing.assert_allclose(jax.nn.softmax(logits.node), np.tile(kinds, (4, 1)), rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_label_input_starts_without_effect():
    with_input = SLOW_CASES["label input"]
    plain = dataclasses.replace(with_input, node_label_input=False)
    params = quick_jit(generator.init, static_argnums=1)(jax.random.key(4), with_input)
    params = jax.tree.map(lambda leaf: leaf.astype(float), params)
    graphs = stack([rows_of(*graph) for graph in random_graphs(plain.alphabet, 12, 19)])
    without = parts(params._replace(node_input=None), plain, graphs, ("loss",))
    jax.tree.map(np.testing.assert_array_equal, parts(params, with_input, graphs, ("loss",)), without)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"alphabet": Alphabet(3, edge_labels=4, chain=True)}, "the edges of a chain have no labels"),
        ({"alphabet": Alphabet(32)}, "hidden is 24; at least 35"),
        ({"alphabet": NB201, "hidden": 11}, "hidden is 11; at least 12"),
        ({"alphabet": NB201, "rounds": 0}, "rounds is 0"),
        ({"alphabet": NB201, "mixture": 0}, "mixture is 0"),
        ({"alphabet": NB201, "attention": -1}, "attention is -1"),
        ({"alphabet": NB201, "none_label": "off"}, "'off'"),
        ({"alphabet": NB201, "form": "sparse"}, "'sparse'"),
        ({"alphabet": NB201, "node_label_input": True}, "need nodes with labels"),
        ({"alphabet": NB201, "label_after_edges": True}, "need nodes with labels"),
    ],
)
def test_sizes_that_do_not_fit(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**kwargs)


@pytest.mark.parametrize(
    ("alphabet", "message"),
    [
        (Alphabet(3, edge_labels=4, masked_edges=(1, 2, 3)), "the masks leave no label"),
        (Alphabet(3, edge_labels=4, masked_edges=(4,)), r"masked edge labels are \(4,\); of 0..3"),
        (Alphabet(3, node_labels=2, masked_nodes=(0, 1)), "the masks leave no label"),
    ],
)
def test_masks_that_leave_nothing_are_refused(alphabet, message):
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(alphabet)
