"""Likelihoods, losses and their gradients: numbers known beforehand, the slow form, causality, finite differences."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow_generator as slow
from generator_cases import (
    NB101,
    NB201,
    SLOW_CASES,
    TOY,
    cell,
    from_params,
    losses_and_gradients,
    parts,
    quick_jit,
    random_graphs,
    rows_of,
    sizes,
    slow_evaluate,
    stack,
    teacher_forced,
    tiny,
    to_params,
    tril,
)

from nasjax import generator
from nasjax.base import Alphabet
from nasjax.generator import GeneratorConfig

NB201_FACTS = {  # log p(A), label term and loss without the mask, the same two with it, log p(G) with it
    (3, 3, 3, 3, 3, 3): (-4.1610125047, -10.5626181266, 1.0758184600, -9.0071324048, 0.9787060998, -13.1681449095),
    (3, 1, 2, 4, 0, 3): (-4.1644557583, -8.3595405070, 1.0486597100, -7.0637003860, 0.9515336674, -11.2281561443),
    (0, 0, 0, 1, 0, 0): (-4.1533698422, -1.4979782208, 0.6025842618, -1.2411392198, 0.5704793867, -5.3945090620),
    (0, 0, 0, 0, 0, 0): (-4.1448623428, 0.0, 0.4144862343, 0.0, 0.4144862343, -4.1448623428),
}
NB101_FACTS = (  # edges, node labels, log p(A), label term, loss, log p(G)
    (
        cell(7, [(0, 1), (0, 2), (1, 2), (2, 3), (0, 4), (3, 5), (4, 5), (5, 6), (1, 6)]),
        (0, 2, 2, 1, 3, 2, 4),
        (-14.5563643134, -11.3159732869, 1.3281539603, -25.8723376003),
    ),
    (
        cell(7, [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (0, 4)]),
        (0, 2, 1, 3, 4),
        (-6.9373282856, -8.0733524971, 1.2698238021, -15.0106807827),
    ),
)
TOY_FACTS = {(1, 2, 3): -5.3968077537, (0, 0, 0): -2.0738501619, (3, 0, 1): -4.2832934094}


def test_the_slow_form_says_the_known_numbers():
    """Weights are sines of their place; the numbers were made by a third program."""
    s = slow.Sizes(4, n_e=5)
    p = slow.sine_params(s)
    for ops, facts in NB201_FACTS.items():
        code, mask = (slow.evaluate(p, s, tril(ops, 4), none_label=which) for which in ("code", "mask"))
        found = (code["edges"], code["labels"], code["loss"], mask["labels"], mask["loss"], mask["log_prob"])
        np.testing.assert_allclose(found, facts, rtol=0, atol=1e-10)
    s = slow.Sizes(7, n_v=5)
    for edges, nodes, facts in NB101_FACTS:
        found = slow.evaluate(slow.sine_params(s), s, edges, [*nodes, 0, 0], len(nodes))
        np.testing.assert_allclose([found[k] for k in ("edges", "labels", "loss", "log_prob")], facts, atol=1e-10)
    s = slow.Sizes(3, n_e=4)
    for ops, fact in TOY_FACTS.items():
        assert abs(slow.evaluate(slow.sine_params(s), s, tril(ops, 3))["log_prob"] - fact) < 1e-10


@pytest.mark.usefixtures("x64")
def test_known_numbers():
    rows = stack([rows_of(tril(ops, 4)) for ops in NB201_FACTS])
    facts = np.array(list(NB201_FACTS.values())).T
    mask, code = GeneratorConfig(NB201), GeneratorConfig(NB201, none_label="code")
    params = to_params(slow.sine_params(sizes(mask)))
    found = []
    for config, names in ((code, ("edges", "labels", "loss")), (mask, ("labels", "loss", "log_prob"))):
        these = parts(params, config, rows, names)
        found += [these[name] for name in names]
    np.testing.assert_allclose(found, facts, rtol=0, atol=1e-10)

    config = GeneratorConfig(NB101)
    rows = stack([rows_of(edges, [*nodes, *[0] * (7 - len(nodes))], len(nodes)) for edges, nodes, _ in NB101_FACTS])
    names = ("edges", "labels", "loss", "log_prob")
    these = parts(to_params(slow.sine_params(sizes(config))), config, rows, names)
    found = [these[name] for name in names]
    np.testing.assert_allclose(np.transpose(found), [facts for *_, facts in NB101_FACTS], rtol=0, atol=1e-10)

    config = GeneratorConfig(TOY)
    rows = stack([rows_of(tril(ops, 3)) for ops in TOY_FACTS])
    found = parts(to_params(slow.sine_params(sizes(config))), config, rows, ("log_prob",))["log_prob"]
    np.testing.assert_allclose(found, list(TOY_FACTS.values()), rtol=0, atol=1e-10)


@pytest.mark.usefixtures("x64")
def test_known_logits():
    config = GeneratorConfig(NB201)
    params = to_params(slow.sine_params(sizes(config)))
    logits = prefix_logits(params, config, rows_of(tril((3, 1, 2, 4, 0, 3), 4)), 1)
    np.testing.assert_allclose(logits.edge[0, :3], (-0.07537369, -0.03441275, 0.04554371), rtol=0, atol=6e-9)
    np.testing.assert_allclose(logits.mixture[:3], (-0.0150259, 0.08946079, 0.13179991), rtol=0, atol=6e-9)
    label = (0.11455224, 0.09970483, -0.04004177, -0.16090929, -0.11667097)
    np.testing.assert_allclose(logits.label[0], label, rtol=0, atol=6e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("form", "none_label", "loss", "norm", "facts"),
    [
        ("jraph", "code", 1.0486597100, 0.2232276732, (1.5696152e-4, -1.4067422e-5, None, -2.0238531e-3, 2.7408243e-5)),
        (
            "dense",
            "mask",
            0.9515336674,
            0.1686577605,
            (1.0708839e-4, -1.3402533e-5, -1.2645573e-5, -2.0238531e-3, 2.7408243e-5),
        ),
    ],
)
def test_known_gradients(form, none_label, loss, norm, facts):
    places = ((("inp",), 0, 0), (("W1", 0), 3, 5), (("GRU_i", 6), 30, 7), (("theta", 2), 2, 11), (("alpha", 2), 1, 1))
    config = GeneratorConfig(NB201, none_label=none_label, form=form)
    rows, params = rows_of(tril((3, 1, 2, 4, 0, 3), 4)), to_params(slow.sine_params(sizes(config)))
    losses, gradients = losses_and_gradients(params, config, rows, jnp.float64(1))
    assert abs(losses[0] - loss) < 1e-10
    gradient = from_params(jax.tree.map(lambda leaf: leaf[0], gradients))
    assert abs(math.sqrt(sum((w**2).sum() + (b**2).sum() for w, b in gradient.values())) - norm) < 1e-10
    for (name, *place), fact in zip(places, facts, strict=True):
        if fact is not None:
            assert gradient[name][0][tuple(place)] == pytest.approx(fact, rel=1e-7), name


@pytest.mark.usefixtures("x64")
def test_zero_parameters_by_hand():
    """Every edge has probability 1/2 and every label is uniform."""
    ln2 = math.log(2)
    rows = stack([rows_of(tril(ops, 4)) for ops in ((1, 2, 3, 4, 1, 2), (0, 2, 0, 0, 3, 0), (0,) * 6, (1,) * 6)])
    mask, code = GeneratorConfig(NB201), GeneratorConfig(NB201, none_label="code")
    params = to_params(slow.zero_params(sizes(mask)))
    found = parts(params, mask, rows, ("log_prob", "loss"))
    np.testing.assert_allclose(found["log_prob"], [-6 * ln2 - m * math.log(4) for m in (6, 2, 0, 6)], atol=1e-12)
    np.testing.assert_allclose(found["loss"][0], 0.6 * ln2 + 3 / 8 * math.log(4), atol=1e-12)
    np.testing.assert_allclose(
        parts(params, code, rows, ("loss",))["loss"][0], 0.6 * ln2 + 3 / 8 * math.log(5), atol=1e-12
    )
    config = GeneratorConfig(NB101)
    rows = stack([rows_of(NB101_FACTS[0][0], NB101_FACTS[0][1])] * 2)
    found = parts(to_params(slow.zero_params(sizes(config))), config, rows, ("log_prob", "loss"))
    np.testing.assert_allclose(found["log_prob"][0], -21 * ln2 - 7 * math.log(5), atol=1e-12)
    np.testing.assert_allclose(found["loss"][0], 0.75 * ln2 + 0.5 * math.log(5), atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("case", "form"),
    [*((case, "jraph") for case in SLOW_CASES), ("nodes and edges", "dense"), ("after edges", "dense")],
)
def test_equal_to_the_slow_form(case, form):
    """Graphs of 1..N nodes, with garbage in whatever does not exist."""
    config = dataclasses.replace(SLOW_CASES[case], form=form)
    num = config.alphabet.num_nodes
    p = slow.random_params(sizes(config), 1)
    graphs = random_graphs(config.alphabet, 12, 2, sizes=range(1, num + 1))
    wanted = [slow_evaluate(p, config, *graph) for graph in graphs]
    rng, dirty = np.random.default_rng(3), []
    for edges, nodes, size in graphs:
        exists = np.tril(np.ones((num, num), bool), -1) & (np.arange(num) < size)[:, None]
        edges = np.where(exists, edges, rng.integers(-9, 99, edges.shape))
        dirty.append(rows_of(edges, np.where(np.arange(num) < size, nodes, rng.integers(-9, 99, num)), size))
    found = parts(to_params(p), config, stack([rows_of(*graph) for graph in graphs]))
    for name in ("edges", "labels", "log_prob", "loss"):
        np.testing.assert_allclose(found[name], [w[name] for w in wanted], rtol=0, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(found["nll"], -found["log_prob"], rtol=0, atol=1e-12)
    jax.tree.map(np.testing.assert_array_equal, parts(to_params(p), config, stack(dirty)), found)


@functools.partial(quick_jit, static_argnums=(1, 3))
def prefix_logits(params, config, rows, t):
    return generator.prefix_logits(params, config, rows, t)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["code", "after edges"])
def test_one_call_equals_a_call_for_each_prefix(case):
    """All prefixes at once, prefix by prefix with later rows still unwritten, and the slow form."""
    config = SLOW_CASES[case]
    p = slow.random_params(sizes(config), 4)
    params = to_params(p)
    for edges, nodes, _ in random_graphs(config.alphabet, 2, 5):
        together = teacher_forced(params, config, rows_of(edges, nodes))
        for t in range(config.alphabet.num_nodes):
            until = t + 1 if config.label_after_edges else t
            written = rows_of(
                *(np.where((np.arange(len(x)) < until).reshape(-1, *[1] * (x.ndim - 1)), x, 0) for x in (edges, nodes))
            )
            alone = prefix_logits(params, config, written, t)
            other = slow.prefix_logits(p, sizes(config), edges > 0, edges, nodes, t)
            for name in ("edge", "mixture", "node", "label"):
                if getattr(together, name) is None:
                    assert getattr(alone, name) is None
                    continue
                a, b = getattr(together, name)[t], getattr(alone, name)
                if name in ("edge", "label"):
                    a, b = a[:t], b[:t]
                    other[name] = other[name][:t]
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
                np.testing.assert_allclose(a, other[name], rtol=0, atol=1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["nodes and edges", "label input", "after edges"])
def test_causality(case):
    """Logits of prefix t are the same bits whatever stands from row t on; rows before do matter."""
    config = SLOW_CASES[case]
    num = config.alphabet.num_nodes
    params = to_params(slow.random_params(sizes(config), 6))
    (edges, nodes, _), *others = random_graphs(config.alphabet, 4, 7)
    base = teacher_forced(params, config, rows_of(edges, nodes))
    for t, (other_edges, other_nodes, _) in itertools.product(range(num), others):
        keep = np.arange(num) < t
        mixed_edges = np.where(keep[:, None], edges, other_edges)
        mixed_nodes = np.where(keep, nodes, other_nodes)
        found = teacher_forced(params, config, rows_of(mixed_edges, mixed_nodes, size=max(t, 1)))
        np.testing.assert_array_equal(found.edge[t, :t], base.edge[t, :t])
        np.testing.assert_array_equal(found.mixture[: t + 1], base.mixture[: t + 1])
        if base.label is not None:
            np.testing.assert_array_equal(found.label[t, :t], base.label[t, :t])
        if config.label_after_edges:  # reads which edges row t has, not what they are called
            mixed_edges[t] = np.where(edges[t] > 0, 3 - edges[t], 0)
            found = teacher_forced(params, config, rows_of(mixed_edges, mixed_nodes))
        np.testing.assert_array_equal(found.node[: t + 1], base.node[: t + 1])
    last = num - 1
    flipped = edges.copy()
    flipped[last - 1, 0] = int(flipped[last - 1, 0] == 0)
    found = teacher_forced(params, config, rows_of(flipped, nodes))
    for name in ("edge", "mixture", "node"):
        assert np.abs(getattr(found, name)[last] - getattr(base, name)[last]).max() > 1e-4
    if config.label_after_edges:
        flipped = edges.copy()
        flipped[last, 0] = int(flipped[last, 0] == 0)
        found = teacher_forced(params, config, rows_of(flipped, nodes))
        assert np.abs(found.node[last] - base.node[last]).max() > 1e-4
    renamed = teacher_forced(params, config, rows_of(edges, (nodes + 1) % config.alphabet.node_labels))
    assert np.array_equal(renamed.edge[last], base.edge[last]) != config.node_label_input


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["after edges", "label input"])
def test_gradients_are_finite_differences_of_the_slow_form(case):
    """Two numbers of every tensor, both objectives, a graph of n < N nodes."""
    config = SLOW_CASES[case]
    p = slow.random_params(sizes(config), 11, scale=1.0)
    edges, nodes, size = random_graphs(config.alphabet, 1, 12, sizes=[config.alphabet.num_nodes - 1])[0]
    rng, epsilon = np.random.default_rng(13), 1e-5
    _, jacobian = losses_and_gradients(to_params(p), config, rows_of(edges, nodes, size), jnp.float64(0.7))
    gradients = [from_params(jax.tree.map(lambda leaf, i=i: leaf[i], jacobian)) for i in range(2)]
    for name, tensors in p.items():
        for which, tensor in enumerate(tensors):
            if name == ("node_input",) and which == 1:
                continue  # has no bias
            for _ in range(2):
                place = tuple(rng.integers(tensor.shape))
                value, ends = tensor[place], []
                for moved in (value + epsilon, value - epsilon):
                    tensor[place] = moved
                    ends.append(slow_evaluate(p, config, edges, nodes, size))
                tensor[place] = value
                for gradient, wanted, sign in zip(gradients, ("loss", "log_prob"), (0.7, -0.7), strict=True):
                    slope = sign * (ends[0][wanted] - ends[1][wanted]) / (2 * epsilon)
                    found = gradient[name][which][place]
                    assert found == pytest.approx(slope, rel=1e-5, abs=1e-9), (name, which, place, wanted)


@pytest.mark.usefixtures("x64")
def test_row_weights_are_unbiased():
    """The loss is linear in the rows' weights, and a subset's weights have mean 1."""
    config = tiny(Alphabet(5, node_labels=3, edge_labels=3))
    params = to_params(slow.random_params(sizes(config), 20))
    rows = rows_of(*random_graphs(config.alphabet, 1, 21)[0])

    def both(row_weights):
        weight = jnp.float64(0.6)
        return jnp.stack([generator.loss(params, config, rows, weight, o, row_weights) for o in ("code", "nll")])

    found = np.asarray(quick_jit(jax.vmap(both))(jnp.concatenate([jnp.ones((1, 5)), jnp.eye(5)])))
    assert np.all(found > 0)
    np.testing.assert_allclose(found[1:].sum(0), found[0], rtol=1e-12)
    full = parts(params, config, stack([rows]), ("loss", "nll"))
    np.testing.assert_allclose(found[0], [0.6 * full["loss"][0], 0.6 * full["nll"][0]], rtol=1e-12)
    drawn = jax.vmap(lambda key: generator.row_subset(key, config, 2))(jax.random.split(jax.random.key(5), 4000))
    assert np.all((np.asarray(drawn) > 0).sum(1) == 2)
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.1)
    assert set(np.unique(drawn)) == {0.0, 2.5}
