"""The graph generator as a distribution: probabilities that sum to 1, draws that follow them."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import slow_generator as slow
from generator_cases import (
    CHAIN,
    NB201,
    TOY,
    TOY_NODES,
    log_probs,
    quick_jit,
    random_graphs,
    rows_of,
    sizes,
    slow_evaluate,
    stack,
    support,
    tiny,
    to_params,
    tril,
)

from nasjax import generator
from nasjax.base import Alphabet, Rows
from nasjax.generator import GeneratorConfig


@pytest.mark.parametrize(
    ("config", "num"),
    [
        (GeneratorConfig(TOY), 64),
        (tiny(TOY_NODES), 72),
        (tiny(TOY_NODES, node_label_input=True, label_after_edges=True), 72),
        (tiny(NB201._replace(masked_edges=(0,))), 4096),
        (tiny(Alphabet(3, node_labels=4, edge_labels=4, masked_nodes=(1,), masked_edges=(2,), first_labelled=1)), 243),
        (tiny(Alphabet(4, node_labels=3, first_labelled=1, stop_label=2)), 2 + 2 * 8 + 2 * 2 * 3 * 64),
        (tiny(CHAIN, node_label_input=True), 8 * 2**3),
    ],
)
def test_probabilities_sum_to_one(config, num):
    """Over all graphs, with those that never end where there is a stop label."""
    graphs = support(config.alphabet)
    assert len(graphs) == num
    rows = stack([rows_of(*graph[:3]) for graph in graphs])
    params = to_params(slow.random_params(sizes(config), 8), np.float32)
    assert abs(np.exp(np.asarray(log_probs(params, config, rows), float)).sum() - 1) < 1e-5


def test_all_strings_of_nasbench201():
    config = GeneratorConfig(NB201)
    edges = np.zeros((5**6, 4, 4), int)
    edges[(slice(None), *np.tril_indices(4, -1))] = list(itertools.product(range(5), repeat=6))
    rows = Rows(jnp.asarray(edges, jnp.int32), jnp.zeros((5**6, 4), jnp.int32), jnp.full(5**6, 4, jnp.int32))
    params = to_params(slow.sine_params(sizes(config)), np.float32)
    log_p = np.asarray(log_probs(params, config, rows), float)
    assert abs(np.exp(log_p).sum() - 1) < 1e-5
    assert -(np.exp(log_p) * log_p).sum() == pytest.approx(8.2967997, abs=2e-6)


def slow_probabilities(p, config):
    """{(edges, nodes, size, ended): probability} of what is drawn."""
    if config.none_label == "mask":
        found = support(config.alphabet)
        return {
            (g[0].tobytes(), g[1].tobytes(), *g[2:]): math.exp(slow_evaluate(p, config, *g[:3])["log_prob"])
            for g in found
        }
    num, total = config.alphabet.num_nodes, {}  # an edge may exist and yet be called 0
    for ops in itertools.product(range(-1, config.alphabet.edge_labels), repeat=num * (num - 1) // 2):
        raw = tril(ops, num)
        present = np.tril(raw >= 0, -1)
        edges = np.maximum(raw, 0)
        log_p = slow.evaluate(p, sizes(config), edges, A=present, none_label="code")["log_prob"]
        name = (edges.tobytes(), np.zeros(num, int).tobytes(), num, True)
        total[name] = total.get(name, 0) + math.exp(log_p)
    return total


SAMPLED = {
    "toy": (tiny(TOY), 1.0),
    "toy at temperature 2": (tiny(TOY), 2.0),
    "code": (tiny(TOY, none_label="code"), 1.0),
    "toy_nodes": (tiny(TOY_NODES), 1.0),
    "forced": (tiny(Alphabet(3, node_labels=3, edge_labels=4, first_labelled=1, masked_edges=(0, 2))), 1.0),
    "stop": (tiny(Alphabet(3, node_labels=4, first_labelled=1, stop_label=3, masked_nodes=(1,))), 1.0),
    "chain": (tiny(CHAIN, node_label_input=True), 1.0),
    "both switches": (
        tiny(Alphabet(3, node_labels=2, edge_labels=3), node_label_input=True, label_after_edges=True),
        0.7,
    ),
}


@pytest.mark.parametrize("case", SAMPLED)
def test_draws_follow_the_probabilities(case):
    """Chi-square of 200,000 draws; nothing outside the support."""
    config, temperature = SAMPLED[case]
    p, draws = slow.random_params(sizes(config), 9, scale=1.5), 200_000
    options = {"xla_backend_optimization_level": 1}
    draw = jax.jit(generator.sample_batch, static_argnums=(1, 3), compiler_options=options)
    rows, ended = draw(to_params(p, np.float32), config, jax.random.key(10), draws, temperature)
    for head in ("theta", "alpha", "phi", "psi"):
        if (head, 2) in p:
            p[head, 2] = tuple(x / temperature for x in p[head, 2])
    wanted = slow_probabilities(p, config)
    assert sum(wanted.values()) == pytest.approx(1, abs=1e-12)
    num = config.alphabet.num_nodes
    flat = [np.asarray(x, int).reshape(draws, -1) for x in (rows.edges, rows.nodes, rows.size, ended)]
    flat = np.concatenate(flat, axis=1)
    code = flat @ 5 ** np.arange(flat.shape[1])  # one number a draw: quicker to count than rows
    assert flat.min() >= 0
    assert flat.max() < 5
    _, places, counts = np.unique(code, return_index=True, return_counts=True)
    seen = {}
    for value, count in zip(flat[places], counts, strict=True):
        edges, nodes = value[: num * num], value[num * num : -2]
        seen[edges.tobytes(), nodes.tobytes(), int(value[-2]), bool(value[-1])] = count
    assert not set(seen) - set(wanted)
    expected = np.array([draws * probability for probability in wanted.values()])
    observed = np.array([seen.get(name, 0) for name in wanted])
    rare = expected < 10
    if rare.any():
        expected, observed = (np.append(x[~rare], x[rare].sum()) for x in (expected, observed))
    assert expected.size > 30
    assert expected.min() > 1
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_many_generators_under_vmap():
    """Seeds in one program: each says what it says alone; also the draws."""
    config = SAMPLED["both switches"][0]
    rows = rows_of(*random_graphs(config.alphabet, 1, 18)[0])
    many = [to_params(slow.random_params(sizes(config), seed), np.float32) for seed in range(3)]
    keys = jax.random.split(jax.random.key(0), 3)

    def run(params, key):
        return generator.log_prob(params, config, rows), generator.sample(params, config, key)

    log_p, (drawn, ended) = quick_jit(jax.vmap(run))(stack(many), keys)
    assert ended.all()
    single = quick_jit(run)
    for i, params in enumerate(many):
        alone_log_p, (alone, _) = single(params, keys[i])
        np.testing.assert_allclose(log_p[i], alone_log_p, rtol=1e-5)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_array_equal(a[i], b), drawn, alone)
    assert len(set(np.asarray(log_p).tolist())) == 3
