"""What the tests of the graph generator share: alphabets, graphs, weights, and programs that compile quickly."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import slow_generator as slow

from nasjax import generator
from nasjax.base import Alphabet, Rows
from nasjax.generator import GeneratorConfig, Params
from nasjax.gnn import Dense, Round

NB201 = Alphabet(4, edge_labels=5)
NB101 = Alphabet(7, node_labels=5, stop_label=4)
TOY = Alphabet(3, edge_labels=4)
TOY_NODES = Alphabet(3, node_labels=3, first_labelled=1)
CHAIN = Alphabet(4, node_labels=3, first_labelled=1, masked_nodes=(1,), chain=True)

# Compiling is nearly all that these tests cost; programs that run long are compiled as usual.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def tiny(alphabet, **kwargs):
    """Small enough that compiling and 200,000 draws cost seconds."""
    return GeneratorConfig(alphabet, hidden=16, rounds=2, mixture=3, attention=8, **kwargs)


def sizes(config):
    a = config.alphabet
    switches = {"node_label_input": config.node_label_input, "label_after_edges": config.label_after_edges}
    widths = (config.hidden, config.rounds, config.mixture, config.attention)
    return slow.Sizes(a.num_nodes, a.node_labels, a.edge_labels, *widths, **switches)


def slow_evaluate(p, config, edges, nodes, size):
    """The slow form's account of one graph, under the masks and the reading of label 0 that `config` says."""
    a = config.alphabet
    masks = {"masked_edges": a.masked_edges, "masked_nodes": a.masked_nodes, "first_labelled": a.first_labelled}
    masks["chain"] = a.chain
    return slow.evaluate(p, sizes(config), edges, nodes, size, none_label=config.none_label, **masks)


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


PARTS = {
    "edges": generator.edge_log_prob,
    "labels": generator.label_log_prob,
    "log_prob": generator.log_prob,
    "loss": lambda params, config, row: generator.loss(params, config, row, one_of(params)),
    "nll": lambda params, config, row: generator.loss(params, config, row, one_of(params), "nll"),
}


def one_of(params):
    return jnp.ones((), params.project.bias.dtype)


@functools.partial(quick_jit, static_argnums=(1, 3))
def parts(params, config, rows, names=tuple(PARTS)):
    """What the slow form's `evaluate` says, for a batch of graphs, and the other objective: each traces the network."""
    return jax.vmap(lambda row: {name: PARTS[name](params, config, row) for name in names})(rows)


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
            if alphabet.chain and not edges.diagonal(-1).all():
                continue
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
        if alphabet.chain:
            edges |= np.eye(alphabet.num_nodes, k=-1, dtype=int)
        nodes = rng.choice(kinds, size=alphabet.num_nodes)
        found.append((edges, nodes, sizes[i % len(sizes)] if sizes else alphabet.num_nodes))
    return found


SLOW_CASES = {
    "code": tiny(TOY, none_label="code"),
    "nodes and edges": tiny(Alphabet(4, node_labels=3, edge_labels=3)),
    "label input": tiny(Alphabet(5, node_labels=4, stop_label=3, first_labelled=1), node_label_input=True),
    "after edges": tiny(Alphabet(4, node_labels=3, edge_labels=3), label_after_edges=True, node_label_input=True),
    "masked": tiny(Alphabet(4, node_labels=4, edge_labels=5, masked_nodes=(1, 3), masked_edges=(2, 3))),
    "forced": tiny(Alphabet(4, node_labels=2, edge_labels=5, masked_edges=(0, 3))),
    "chain": tiny(CHAIN, node_label_input=True),
    "one round": GeneratorConfig(
        Alphabet(4, node_labels=3), hidden=7, rounds=1, mixture=1, attention=1, label_after_edges=True
    ),
}


@functools.partial(quick_jit, static_argnums=1)
def teacher_forced(params, config, rows):
    return generator.teacher_forced(params, config, rows)
