"""The graph generator: numbers known beforehand, the slow form, normalisation, sampling, causality, gradients."""

import dataclasses
import functools
import importlib.util
import itertools
import math
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from nasjax import generator
from nasjax.base import Alphabet, Rows
from nasjax.generator import GeneratorConfig, Params
from nasjax.gnn import Dense, Round


def load_slow():
    """The slow form, as a module that exists once."""
    path = pathlib.Path(__file__).parent / "slow_generator.py"
    spec = importlib.util.spec_from_file_location("slow_generator", path)
    module = sys.modules.setdefault("slow_generator", importlib.util.module_from_spec(spec))
    if not hasattr(module, "evaluate"):
        spec.loader.exec_module(module)
    return module


slow = load_slow()

NB201 = Alphabet(4, edge_labels=5)
NB101 = Alphabet(7, node_labels=5, stop_label=4)
TOY = Alphabet(3, edge_labels=4)
TOY_NODES = Alphabet(3, node_labels=3, first_labelled=1)

# Compiling is nearly all that these tests cost; programs that run long are compiled as usual.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def tiny(alphabet, **kwargs):
    """Small enough that compiling and 200,000 draws cost seconds."""
    return GeneratorConfig(alphabet, hidden=16, rounds=2, mixture=3, attention=8, **kwargs)


def sizes(config):
    a = config.alphabet
    switches = {"node_label_input": config.node_label_input, "label_after_edges": config.label_after_edges}
    widths = (config.hidden, config.rounds, config.mixture, config.attention)
    return slow.Sizes(a.num_nodes, a.node_labels, a.edge_labels, *widths, **switches)


def to_params(p, dtype=np.float64):
    """The slow form's parameters as ours."""

    def layer(name):
        weight, bias = p[name]
        return Dense(weight.T.astype(dtype), bias.astype(dtype))

    def head(name):
        return tuple(layer((name, i)) for i in range(3)) if (name, 0) in p else None

    num = sum(name[0] == "W1" for name in p)
    parts = [[layer((part, r)) for r in range(num)] for part in slow.ROUND_PARTS]
    stacked = Round(*(stack(layers) for layers in parts))
    node_input = p[("node_input",)][0].T.astype(dtype) if ("node_input",) in p else None
    found = Params(layer(("inp",)), stacked, *(head(name) for name in ("theta", "alpha", "phi", "psi")), node_input)
    return jax.tree.map(jnp.asarray, found)


def from_params(params):
    """Ours as the slow form's, for gradients."""
    params = jax.tree.map(np.asarray, params)
    flat = {("inp",): params.project}
    for part, layers in zip(slow.ROUND_PARTS, params.rounds, strict=True):
        for r in range(layers.bias.shape[0]):
            flat[part, r] = Dense(layers.weight[r], layers.bias[r])
    for name, head in (("theta", params.edge), ("alpha", params.mixture), ("phi", params.node), ("psi", params.label)):
        flat |= {(name, i): layer for i, layer in enumerate(head or ())}
    found = {name: (np.asarray(layer.weight).T, np.asarray(layer.bias)) for name, layer in flat.items()}
    if params.node_input is not None:
        found[("node_input",)] = np.asarray(params.node_input).T, np.zeros(params.node_input.shape[1])
    return found


def tril(ops, num):
    labels = np.zeros((num, num), int)
    labels[np.tril_indices(num, -1)] = ops
    return labels


def cell(num, edges):
    labels = np.zeros((num, num), int)
    for sender, receiver in edges:
        labels[receiver, sender] = 1
    return labels


def rows_of(edges, nodes=None, size=None):
    edges = np.asarray(edges)
    nodes = np.zeros(edges.shape[-1]) if nodes is None else nodes
    return Rows(*(np.asarray(x, np.int32) for x in (edges, nodes, len(edges) if size is None else size)))


def stack(many):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *many)


@functools.partial(quick_jit, static_argnums=1)
def parts(params, config, rows):
    """What the slow form's `evaluate` says, for a batch of graphs; and the other objective."""
    one = jnp.ones((), params.project.bias.dtype)

    def each(row):
        return {
            "edges": generator.edge_log_prob(params, config, row),
            "labels": generator.label_log_prob(params, config, row),
            "log_prob": generator.log_prob(params, config, row),
            "loss": generator.loss(params, config, row, one),
            "nll": generator.loss(params, config, row, one, "nll"),
        }

    return jax.vmap(each)(rows)


@functools.partial(quick_jit, static_argnums=1)
def losses_and_gradients(params, config, rows, weight):
    """Both objectives: losses [2] and gradients [2, ...], "code" first."""

    def both(params):
        losses = [generator.loss(params, config, rows, weight, objective) for objective in ("code", "nll")]
        return jnp.stack(losses), jnp.stack(losses)

    gradients, losses = jax.jacrev(both, has_aux=True)(params)
    return losses, gradients


@functools.partial(jax.jit, static_argnums=1)
def log_probs(params, config, rows):
    """float[n]; in chunks of equal size, so that a whole space fits into memory."""
    num = rows.size.shape[0]
    chunk = max(size for size in range(1, 129) if num % size == 0)
    return jax.lax.map(lambda row: generator.log_prob(params, config, row), rows, batch_size=chunk)


def support(alphabet):
    """All that can be drawn, [(edges, nodes, size, ended)]."""
    num, first = alphabet.num_nodes, max(alphabet.first_labelled, alphabet.stop_label is not None)
    labels = range(alphabet.edge_labels or 2)
    kinds = [x for x in range(max(alphabet.node_labels, 1)) if x not in alphabet.masked_nodes]
    labels = [x for x in labels if x not in alphabet.masked_edges]
    found = {}
    for ops in itertools.product(labels, repeat=num * (num - 1) // 2):
        for drawn in itertools.product(kinds, repeat=num - first):
            edges, nodes = tril(ops, num), np.array([0] * first + list(drawn))
            stops = [t for t in range(first, num) if nodes[t] == alphabet.stop_label]
            size = stops[0] + 1 if stops else num
            edges[size:], nodes[size:] = 0, 0
            found[edges.tobytes(), nodes.tobytes()] = (edges, nodes, size, bool(stops) or alphabet.stop_label is None)
    return list(found.values())


def random_graphs(alphabet, num, seed, sizes=None):
    """Graphs of the alphabet, [(edges, nodes, size)]."""
    rng, found = np.random.default_rng(seed), []
    labels = [x for x in range(alphabet.edge_labels or 2) if x not in alphabet.masked_edges]
    kinds = [x for x in range(max(alphabet.node_labels, 1)) if x not in alphabet.masked_nodes]
    for i in range(num):
        edges = np.tril(rng.choice(labels, size=(alphabet.num_nodes,) * 2), -1)
        nodes = rng.choice(kinds, size=alphabet.num_nodes)
        found.append((edges, nodes, sizes[i % len(sizes)] if sizes else alphabet.num_nodes))
    return found


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
    code_parts, mask_parts = parts(params, code, rows), parts(params, mask, rows)
    found = [code_parts[k] for k in ("edges", "labels", "loss")]
    found += [mask_parts[k] for k in ("labels", "loss", "log_prob")]
    np.testing.assert_allclose(found, facts, rtol=0, atol=1e-10)

    config = GeneratorConfig(NB101)
    rows = stack([rows_of(edges, [*nodes, *[0] * (7 - len(nodes))], len(nodes)) for edges, nodes, _ in NB101_FACTS])
    all_parts = parts(to_params(slow.sine_params(sizes(config))), config, rows)
    found = [all_parts[k] for k in ("edges", "labels", "loss", "log_prob")]
    np.testing.assert_allclose(np.transpose(found), [facts for *_, facts in NB101_FACTS], rtol=0, atol=1e-10)

    config = GeneratorConfig(TOY)
    rows = stack([rows_of(tril(ops, 3)) for ops in TOY_FACTS])
    found = parts(to_params(slow.sine_params(sizes(config))), config, rows)["log_prob"]
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
    found = parts(params, mask, rows)
    np.testing.assert_allclose(found["log_prob"], [-6 * ln2 - m * math.log(4) for m in (6, 2, 0, 6)], atol=1e-12)
    np.testing.assert_allclose(found["loss"][0], 0.6 * ln2 + 3 / 8 * math.log(4), atol=1e-12)
    np.testing.assert_allclose(parts(params, code, rows)["loss"][0], 0.6 * ln2 + 3 / 8 * math.log(5), atol=1e-12)
    config = GeneratorConfig(NB101)
    rows = stack([rows_of(NB101_FACTS[0][0], NB101_FACTS[0][1])] * 2)
    found = parts(to_params(slow.zero_params(sizes(config))), config, rows)
    np.testing.assert_allclose(found["log_prob"][0], -21 * ln2 - 7 * math.log(5), atol=1e-12)
    np.testing.assert_allclose(found["loss"][0], 0.75 * ln2 + 0.5 * math.log(5), atol=1e-12)


SLOW_CASES = {
    "code": tiny(TOY, none_label="code"),
    "nodes and edges": tiny(Alphabet(4, node_labels=3, edge_labels=3)),
    "label input": tiny(Alphabet(5, node_labels=4, stop_label=3, first_labelled=1), node_label_input=True),
    "after edges": tiny(Alphabet(4, node_labels=3, edge_labels=3), label_after_edges=True, node_label_input=True),
    "masked": tiny(Alphabet(4, node_labels=4, edge_labels=5, masked_nodes=(1, 3), masked_edges=(2, 3))),
    "forced": tiny(Alphabet(4, node_labels=2, edge_labels=5, masked_edges=(0, 3))),
    "one round": GeneratorConfig(
        Alphabet(4, node_labels=3), hidden=7, rounds=1, mixture=1, attention=1, label_after_edges=True
    ),
}


def slow_evaluate(p, config, edges, nodes, size):
    a = config.alphabet
    masks = {"masked_edges": a.masked_edges, "masked_nodes": a.masked_nodes, "first_labelled": a.first_labelled}
    return slow.evaluate(p, sizes(config), edges, nodes, size, none_label=config.none_label, **masks)


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


@functools.partial(quick_jit, static_argnums=1)
def teacher_forced(params, config, rows):
    return generator.teacher_forced(params, config, rows)


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


@pytest.mark.parametrize(
    ("config", "num"),
    [
        (GeneratorConfig(TOY), 64),
        (tiny(TOY_NODES), 72),
        (tiny(TOY_NODES, node_label_input=True, label_after_edges=True), 72),
        (tiny(NB201._replace(masked_edges=(0,))), 4096),
        (tiny(Alphabet(3, node_labels=4, edge_labels=4, masked_nodes=(1,), masked_edges=(2,), first_labelled=1)), 243),
        (tiny(Alphabet(4, node_labels=3, first_labelled=1, stop_label=2)), 2 + 2 * 8 + 2 * 2 * 3 * 64),
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
    assert parts(masked_params(), MASKED, stack([rows]))["log_prob"][0] == -math.inf
    losses, gradient = losses_and_gradients(masked_params(), MASKED, rows, jnp.float32(1))
    assert np.all(losses == math.inf)
    assert is_zero(gradient)


def test_extreme_logits_stay_finite():
    losses, gradient = losses_and_gradients(masked_params(30), MASKED, MASKED_ROWS, jnp.float32(1))
    assert np.all((losses > 10) & (losses < math.inf))
    assert is_finite(gradient)


@pytest.mark.usefixtures("x64")
def test_precision_is_that_of_the_parameters():
    for dtype in (np.float32, np.float64):
        params, weight = to_params(slow.random_params(sizes(MASKED), 14), dtype), jnp.float32(1)
        for function in (generator.log_prob, functools.partial(generator.loss, weight=weight)):
            found = jax.eval_shape(lambda p, function=function: function(p, MASKED, rows=MASKED_ROWS), params)
            assert found.dtype == dtype


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
    without = parts(params._replace(node_input=None), plain, graphs)["loss"]
    np.testing.assert_array_equal(parts(params, with_input, graphs)["loss"], without)


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
    full = parts(params, config, stack([rows]))
    np.testing.assert_allclose(found[0], [0.6 * full["loss"][0], 0.6 * full["nll"][0]], rtol=1e-12)
    drawn = jax.vmap(lambda key: generator.row_subset(key, config, 2))(jax.random.split(jax.random.key(5), 4000))
    assert np.all((np.asarray(drawn) > 0).sum(1) == 2)
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.1)
    assert set(np.unique(drawn)) == {0.0, 2.5}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
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
