"""The recurrent generator: a slow form in NumPy, probabilities that sum to 1, draws that follow them, gradients."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from generator_cases import CHAIN, NB101, NB201, TOY, quick_jit, rows_of, stack, support, tril

from nasjax import recurrent
from nasjax.base import Alphabet, Rows
from nasjax.recurrent import RecurrentConfig

small = functools.partial(RecurrentConfig, hidden=6, layers=2, temperature=1.5, squash=2.0)
CASES = {
    "toy": small(TOY),
    "bits": small(Alphabet(4), layers=1),  # two chosen bits are followed by more
    "chain": small(CHAIN),
    "stop": small(Alphabet(3, node_labels=4, first_labelled=1, stop_label=3, masked_nodes=(1,))),
    "both": small(Alphabet(3, node_labels=2, edge_labels=4, masked_edges=(0, 2))),
}


def random_params(config, seed, dtype=np.float64):
    """Weights large enough that distributions are far from uniform."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(functools.partial(recurrent.init, config=config), jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(dtype), shapes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slow_log_prob(p, config, edges, nodes, size):
    """Log p of one graph, decision by decision as they would be drawn; float64."""
    a, num = config.alphabet, config.hidden
    x, total, offset = p.start, 0.0, 0
    states = [(np.zeros(num), np.zeros(num)) for _ in range(config.layers)]

    def outputs(width):
        nonlocal x
        for layer in range(config.layers):
            h, c = states[layer]
            gates = p.inputs[layer].T @ x + p.states[layer].T @ h
            i, f, g, o = gates[:num], gates[num : 2 * num], gates[2 * num : 3 * num], gates[3 * num :]
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            x = sigmoid(o) * np.tanh(c)
            states[layer] = x, c
        w = np.array([p.outputs[:, offset + k] @ x for k in range(width)])
        return config.squash * np.tanh(w / config.temperature)

    def choice(label, width, masked):
        nonlocal x, total, offset
        logits = outputs(width)
        logits[list(masked)] = -np.inf
        total += logits[label] - math.log(np.exp(logits).sum())
        x, offset = p.vectors[offset + label], offset + width

    for node in range(size):
        if a.node_labels and node >= max(a.first_labelled, a.stop_label is not None):
            choice(nodes[node], a.node_labels, a.masked_nodes)
        senders = range(node - 1 if a.chain else node)
        for sender in senders if a.edge_labels else ():
            choice(edges[node, sender], a.edge_labels, a.masked_edges)
        if not a.edge_labels and len(senders):
            logits = outputs(len(senders))
            on = [j for j in senders if edges[node, j]]
            total += sum(math.log(sigmoid(2 * logits[j] if j in on else -2 * logits[j])) for j in senders)
            x = sum((p.vectors[offset + j] for j in on), np.zeros(num)) / max(len(on), 1)
            offset += len(senders)
    return total


@functools.partial(quick_jit, static_argnums=1)
def log_probs(params, config, rows):
    return recurrent.log_prob(params, config, rows)


@pytest.mark.parametrize("case", CASES)
def test_probabilities_sum_to_one_and_equal_the_slow_form(case):
    """Over the whole support, in float64; garbage in what does not exist says nothing."""
    config = CASES[case]
    graphs = support(config.alphabet)
    p, rng = random_params(config, 1), np.random.default_rng(2)
    with jax.enable_x64(True):
        found = np.asarray(log_probs(p, config, stack([rows_of(*graph[:3]) for graph in graphs])))
        wanted = [slow_log_prob(p, config, *graph[:3]) for graph in graphs]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)
        assert abs(np.exp(found).sum() - 1) < 1e-12
        assert np.exp(found).max() > 3 * np.exp(found).min()
        num, dirty = config.alphabet.num_nodes, []
        for edges, nodes, size, _ in graphs:
            exists = np.arange(num) < size
            below = np.tril(np.ones((num, num), bool), -1) & exists[:, None]
            edges = np.where(below, edges, rng.integers(-9, 99, edges.shape))
            dirty.append(rows_of(edges, np.where(exists, nodes, rng.integers(-9, 99, num)), size))
        np.testing.assert_array_equal(log_probs(p, config, stack(dirty)), found)


@pytest.mark.parametrize("case", ["toy", "bits", "chain", "stop", pytest.param("both", marks=pytest.mark.slow)])
def test_draws_follow_the_probabilities(case):
    """Chi-square of 200,000 draws against the slow form; nothing that is masked, nothing else outside the support."""
    config, num_draws = CASES[case], 200_000
    p = random_params(config, 3)
    names = {}
    for edges, nodes, size, ended in support(config.alphabet):
        probability = math.exp(slow_log_prob(p, config, edges, nodes, size))
        names[np.concatenate([edges.ravel(), nodes, [size, ended]]).tobytes()] = probability
    draw = quick_jit(recurrent.sample_batch, static_argnums=(1, 3))
    rows, ended = draw(jax.tree.map(np.float32, p), config, jax.random.key(4), num_draws)
    parts = (rows.edges.reshape(num_draws, -1), rows.nodes, rows.size[:, None], ended[:, None])
    flat = np.concatenate([np.asarray(part, int) for part in parts], axis=1)
    code = flat @ 5 ** np.arange(flat.shape[1])  # one number a draw: quicker to count than rows
    assert flat.min() >= 0
    assert flat.max() < 5
    _, places, counts = np.unique(code, return_index=True, return_counts=True)
    seen = {flat[place].tobytes(): count for place, count in zip(places, counts, strict=True)}
    assert not set(seen) - set(names)
    expected = num_draws * np.array(list(names.values()))
    observed = np.array([seen.get(name, 0) for name in names])
    rare = expected < 10
    if rare.any():
        expected, observed = (np.append(x[~rare], x[rare].sum()) for x in (expected, observed))
    assert expected.size > 20
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("case", ["chain", "both"])
def test_gradients_are_finite_differences_of_the_slow_form(case):
    """Three numbers of every tensor, of a weighted sum over two graphs: the layers' derivative is written by hand."""
    config, epsilon, weights = CASES[case], 1e-5, np.array([0.7, -0.3])
    graphs = [support(config.alphabet)[i][:3] for i in (5, 17)]
    p, rng = random_params(config, 6), np.random.default_rng(7)

    def value():
        return sum(w * slow_log_prob(p, config, *graph) for w, graph in zip(weights, graphs, strict=True))

    with jax.enable_x64(True):
        rows = stack([rows_of(*graph) for graph in graphs])
        gradient = quick_jit(jax.grad(lambda p: (weights * recurrent.log_prob(p, config, rows)).sum()))(p)
        jax.block_until_ready(gradient)  # it may read the very arrays that are changed below
    for name, tensor, slopes in zip(p._fields, p, gradient, strict=True):
        for _ in range(3):
            place = tuple(rng.integers(tensor.shape))
            middle, ends = tensor[place], []
            for moved in (middle + epsilon, middle - epsilon):
                tensor[place] = moved
                ends.append(value())
            tensor[place] = middle
            slope = (ends[0] - ends[1]) / (2 * epsilon)
            assert slopes[place] == pytest.approx(slope, rel=1e-5, abs=1e-9), (name, place)


def test_what_is_outside_has_no_probability_and_no_gradient():
    """A masked label; a chain that lacks an edge. Beside a graph that has both."""
    chain, both = CASES["chain"], CASES["both"]
    for config, graphs in (
        (chain, [(tril((1, 0, 1, 1, 0, 1), 4), (0, 1, 0, 2)), (tril((1, 0, 0, 1, 0, 1), 4), (0, 0, 0, 2))]),
        (both, [(tril((1, 2, 3), 3), (0, 1, 0)), (tril((1, 0, 3), 3), (0, 1, 0))]),
    ):
        good = (tril((1,) * 6, 4), (0, 2, 0, 2)) if config is chain else (tril((1, 3, 3), 3), (0, 1, 0))
        rows = stack([rows_of(*graph) for graph in (good, *graphs)])
        p = random_params(config, 8, np.float32)

        def twice(p, config=config, rows=rows):
            value = recurrent.log_prob(p, config, rows)
            return value, value

        gradients, found = quick_jit(jax.jacrev(twice, has_aux=True))(p)
        assert np.isfinite(found[0])
        assert (found[1:] == -math.inf).all()
        for leaf in jax.tree.leaves(gradients):
            assert np.isfinite(leaf).all()
            assert not np.asarray(leaf[1:]).any()
            assert np.asarray(leaf[0]).any()


def test_by_hand_with_zero_weights():
    """Every bit 1/2, every label uniform over what is not masked; divergences of one and two bits from 0.4.

    A chain of four nodes has rows of one and of two bits; a graph of two nodes has none.
    """
    config, ln2 = CASES["chain"], math.log(2)
    zero = jax.tree.map(np.zeros_like, random_params(config, 0))
    whole, short = rows_of(tril((1, 0, 1, 1, 1, 1), 4), (0, 2, 0, 2)), rows_of(tril((1,) * 6, 4), (0, 2, 0, 2), 2)
    with jax.enable_x64(True):
        program = quick_jit(recurrent.log_prob_and_divergence, static_argnums=(1, 3))
        found, divergence = program(zero, config, stack([whole, short]), 0.4)
    np.testing.assert_allclose(found, [-6 * ln2, -ln2], atol=1e-12)
    each = 0.5 * math.log(0.5 / 0.4) + 0.5 * math.log(0.5 / 0.6)
    np.testing.assert_allclose(divergence, [1.5 * each, 0], atol=1e-12)


def test_numbers_of_fields_and_parameters():
    """GraphPNAS's baseline on NAS-Bench-101 has 275,200 live weights; ours also trains the first input, 128 more."""
    counts = {}
    for name, alphabet in (("nb101", NB101), ("nb201", NB201), ("enas", Alphabet(13, 6, 0, 1, chain=True))):
        init = functools.partial(recurrent.init, config=RecurrentConfig(alphabet))
        table = recurrent.fields(alphabet)
        counts[name] = (
            table.size.size,
            table.field.size,
            recurrent.num_parameters(jax.eval_shape(init, jax.random.key(0))),
        )
    assert counts == {
        "nb101": (12, 51, 275_200 + 128),  # six labels of five, rows of 1 to 6 bits
        "nb201": (6, 30, 262_144 + 60 * 128 + 128),
        "enas": (23, 138, 262_144 + 276 * 128 + 128),
    }


def test_initial_weights():
    config = RecurrentConfig(TOY, hidden=64)
    for scale, bounds in ((None, (None, 1 / 8, 1 / 8, 1 / 8, None)), (0.1, (0.1,) * 5)):
        params = quick_jit(recurrent.init, static_argnums=(1, 2))(jax.random.key(0), config, scale)
        for leaf, bound in zip(params, bounds, strict=True):
            assert leaf.dtype == jnp.float32
            if bound is not None:
                assert np.abs(leaf).max() <= bound
                assert leaf.std() == pytest.approx(bound / math.sqrt(3), rel=0.15)
        if scale is None:
            assert params.vectors.std() == pytest.approx(1, rel=0.15)
            assert params.start.std() == pytest.approx(0.1, rel=0.4)


def test_one_field_is_enough():
    config = small(Alphabet(2))
    rows = Rows(
        jnp.array([[[0, 0], [1, 0]], [[0, 0], [0, 0]]], jnp.int32), jnp.zeros((2, 2), jnp.int32), jnp.full(2, 2)
    )
    assert np.exp(log_probs(random_params(config, 1, np.float32), config, rows)).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphabet": TOY, "hidden": 0}, "hidden is 0"),
        ({"alphabet": TOY, "layers": 0}, "layers is 0"),
        ({"alphabet": TOY, "temperature": 0.0}, "temperature is 0.0"),
        ({"alphabet": TOY, "squash": 31.0}, "squash is 31.0"),
        ({"alphabet": Alphabet(3, edge_labels=3, chain=True)}, "the edges of a chain have no labels"),
        ({"alphabet": Alphabet(3, edge_labels=2, masked_edges=(0, 1))}, "the masks leave no label"),
        ({"alphabet": Alphabet(1)}, "nothing to write"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^recurrent: .*{message}"):
        RecurrentConfig(**settings)
