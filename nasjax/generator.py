"""GraphPNAS's graph generator: writes an architecture node by node, each with its incoming edges.

p(G) = Π_t p(row t | rows < t) · p(label of node t | rows < t) · Π_j p(label of edge j -> t | rows < t). Row t is drawn from
a mixture of K products of Bernoullis. A graph network on prefix t (`prefixes`) gives all logits, for all prefixes of a
known graph in one call.

Source: Li et al., "GraphPNAS" (arXiv:2211.15155), and its code `DSL-Lab/GraphPNAS`.
Ours: an edge that exists is never labelled "none" (`none_label="mask"`), so that p is a distribution over graphs; heads
without outputs are not built; the edges of a chain (`Alphabet.chain`) stand in all inputs, and nowhere in likelihood,
draws and the loss's count of pairs. As in that code, node labels do not enter the network unless `node_label_input`.
"""

import dataclasses
import functools
import math
from typing import Literal, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from nasjax import gnn, gnn_dense, prefixes
from nasjax.base import Alphabet, Array, Key, Rows
from nasjax.gnn import Dense, Round
from nasjax.prefixes import Features, Slots

Head: TypeAlias = tuple[Dense, Dense, Dense]
"""H -> H -> H -> outputs, ReLU between."""

NODE_WEIGHT, LABEL_WEIGHT = 0.5, 1 / 8
"""Weights of node and edge labels in the published loss."""


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """Sizes and switches; static. N, n_v and n_e are the alphabet's nodes, node labels and edge labels.

    Attributes:
      alphabet: what is written.
      hidden: H; at least N + n_e + 3.
      rounds: R, message-passing rounds.
      mixture: K, components of the mixture of Bernoullis.
      attention: width of the gates' inner layer.
      none_label: whether an edge that exists may carry label 0: "mask" no, "code" yes, as in the published code.
      node_label_input: labels of old nodes enter the network.
      label_after_edges: a node's label is predicted from a second pass of the last round with its true edges.
      form: of message passing: "jraph" (`gnn`), or "dense" (`gnn_dense`), which is faster on CPUs; they agree up to rounding.
    """

    alphabet: Alphabet
    hidden: int = 24
    rounds: int = 7
    mixture: int = 10
    attention: int = 128
    none_label: Literal["mask", "code"] = "mask"
    node_label_input: bool = False
    label_after_edges: bool = False
    form: Literal["jraph", "dense"] = "jraph"

    def __post_init__(self) -> None:
        """Refuses sizes that do not fit.

        Raises:
          ValueError: naming the setting.
        """
        least = self.alphabet.num_nodes + self.alphabet.edge_labels + len(prefixes.ROLE_BITS)
        if self.hidden < least:
            raise ValueError(
                f"generator: hidden is {self.hidden}; at least {least} for {self.alphabet.num_nodes} nodes and "
                f"{self.alphabet.edge_labels} edge labels"
            )
        for name in ("rounds", "mixture", "attention"):
            if getattr(self, name) < 1:
                raise ValueError(f"generator: {name} is {getattr(self, name)}; at least 1")
        for what in ("edge", "node"):
            labels, masked = getattr(self.alphabet, f"{what}_labels"), getattr(self.alphabet, f"masked_{what}s")
            if not set(masked) <= set(range(labels)):
                raise ValueError(f"generator: masked {what} labels are {masked}; of 0..{labels - 1}")
        if self.none_label not in ("mask", "code"):
            raise ValueError(f"generator: none_label is {self.none_label!r}; 'mask' or 'code'")
        if self.form not in ("dense", "jraph"):
            raise ValueError(f"generator: form is {self.form!r}; 'dense' or 'jraph'")
        if any(mask.size and not mask.any() for mask in (self.edge_mask, self.node_mask)):
            raise ValueError("generator: the masks leave no label that could be written")
        if self.alphabet.chain and self.alphabet.edge_labels:
            raise ValueError("generator: the edges of a chain have no labels; edge_labels must be 0")
        if (self.node_label_input or self.label_after_edges) and not self.alphabet.node_labels:
            raise ValueError("generator: node_label_input and label_after_edges need nodes with labels")

    @property
    def forced(self) -> bool:
        """Whether every edge is present, because "no edge" is masked."""
        return self.alphabet.edge_labels > 0 and 0 in self.alphabet.masked_edges

    @property
    def edge_mask(self) -> np.ndarray:
        """bool[n_e], labels that an existing edge may have."""
        allowed = np.ones(self.alphabet.edge_labels, bool)
        allowed[list(self.alphabet.masked_edges)] = False
        if self.none_label == "mask":
            allowed[:1] = False
        return allowed

    @property
    def node_mask(self) -> np.ndarray:
        """bool[n_v], labels that a node may have."""
        allowed = np.ones(self.alphabet.node_labels, bool)
        allowed[list(self.alphabet.masked_nodes)] = False
        return allowed


class Params(NamedTuple):
    """Weights.

    Attributes:
      project: N -> H - N, of a node's row.
      rounds: stacked [R, ...].
      edge: H -> K, logits of the Bernoullis.
      mixture: H -> K, logits of the components.
      node: H -> n_v; None without node labels.
      label: H -> n_e; None without edge labels.
      node_input: float[n_v, H], what a node's label adds to its initial state; None without `node_label_input`.
    """

    project: Dense
    rounds: Round
    edge: Head
    mixture: Head
    node: Head | None
    label: Head | None
    node_input: Array | None


class Marginals(NamedTuple):
    """How often a prior draws what; where `init` may start.

    Attributes:
      edge: float[], share of pairs that have an edge.
      labels: float[n_e], shares of the labels of existing edges.
      nodes: float[n_v], shares of node labels.
    """

    edge: Array
    labels: Array
    nodes: Array


class Logits(NamedTuple):
    """What the network says of P prefixes (t of each: `teacher_forced` all, in order; `prefix_logits` one).

    Attributes:
      edge: float[P, N, K], `[t, j]` for j < t; the rest means nothing.
      mixture: float[P, K].
      node: float[P, n_v]; None without node labels.
      label: float[P, N, n_e], as `edge`, nothing masked; None without edge labels.
    """

    edge: Array
    mixture: Array
    node: Array | None
    label: Array | None


def init(key: Key, config: GeneratorConfig, marginals: Marginals | None = None) -> Params:
    """Returns fresh float32 weights: PyTorch's defaults; `key` is consumed.

    Args:
      key: for the draws.
      config: static.
      marginals: where given, the heads' last biases are set to its log odds and log shares.
    """
    size, hidden = config.alphabet.num_nodes, config.hidden
    keys = jax.random.split(key, 6)

    def head(key: Key, outputs: int, bias: Array | None = None) -> Head:
        first, second, third = jax.random.split(key, 3)
        last = gnn.init_dense(third, hidden, outputs)
        if bias is not None:
            last = last._replace(bias=jnp.broadcast_to(bias.astype(jnp.float32), (outputs,)))
        return gnn.init_dense(first, hidden, hidden), gnn.init_dense(second, hidden, hidden), last

    odds = shares = kinds = None
    if marginals is not None:
        edge = jnp.clip(marginals.edge, 1e-3, 1 - 1e-3)
        odds = jnp.log(edge) - jnp.log1p(-edge)
        shares, kinds = (jnp.log(jnp.maximum(share, 1e-3)) for share in (marginals.labels, marginals.nodes))
    labels, kind_labels = config.alphabet.edge_labels, config.alphabet.node_labels
    return Params(
        gnn.init_dense(keys[0], size, hidden - size),
        gnn.init_rounds(keys[1], config.rounds, hidden, hidden, config.attention),
        head(keys[2], config.mixture, odds),
        head(keys[3], config.mixture),
        head(keys[4], kind_labels, kinds) if kind_labels else None,
        head(keys[5], labels, shares) if labels else None,
        jnp.zeros((kind_labels, hidden), jnp.float32) if config.node_label_input else None,
    )


def num_parameters(params: Params) -> int:
    """Returns how many numbers are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def teacher_forced(params: Params, config: GeneratorConfig, rows: Rows) -> Logits:
    """Returns the logits of all prefixes of one graph, P = N."""
    return _logits(params, config, tuple(range(config.alphabet.num_nodes)), rows)


def prefix_logits(params: Params, config: GeneratorConfig, rows: Rows, t: int) -> Logits:
    """Returns the logits of prefix t alone, without the axis P; as in sampling."""
    logits: Logits = jax.tree.map(lambda leaf: leaf[0], _logits(params, config, (t,), rows))
    return logits


def log_prob(params: Params, config: GeneratorConfig, rows: Rows) -> Array:
    """Returns float[], log p of one graph in nats; -inf for one that the alphabet's masks exclude."""
    return log_probs(params, config, _one(rows))[0]


def log_probs(params: Params, config: GeneratorConfig, rows: Rows) -> Array:
    """Returns float[B], `log_prob` of Rows[B]; faster than its vmap, as it is with `losses`."""
    terms = _terms(params, config, rows)
    total = terms.edges.sum(-1) + terms.labels.sum(-1) + terms.nodes.sum(-1)
    return jnp.where(terms.outside, jnp.asarray(-jnp.inf, total.dtype), total)


def edge_log_prob(params: Params, config: GeneratorConfig, rows: Rows) -> Array:
    """Returns float[], the part of `log_prob` that says which edges there are."""
    return _terms(params, config, _one(rows)).edges.sum()


def label_log_prob(params: Params, config: GeneratorConfig, rows: Rows) -> Array:
    """Returns float[], the part of `log_prob` that says which labels they and the nodes have."""
    terms = _terms(params, config, _one(rows))
    return terms.labels.sum() + terms.nodes.sum()


def loss(
    params: Params,
    config: GeneratorConfig,
    rows: Rows,
    weight: Array,
    objective: Literal["code", "nll"] = "code",
    row_weights: Array | None = None,
) -> Array:
    """Returns weight times the training loss of one graph, float[]; inf for one that the masks exclude.

    Args:
      params: weights.
      config: static.
      rows: one graph of n nodes.
      weight: float[].
      objective: "nll": -log p. "code": what the published code minimises, -log p(edges) / (n (n + 1) / 2) + 1/2 the mean
        over nodes + 1/8 the sum over rows of the mean over the row's edges, of -log p(label): a tempered likelihood.
        n (n + 1) / 2 counts each node's self pair and the pairs that are drawn: a chain's n - 1 given edges are no part of it.
      row_weights: float[N], a factor for each row's terms (`row_subset`).
    """
    factors = None if row_weights is None else row_weights[None]
    return losses(params, config, _one(rows), weight[None], objective, factors)[0]


def losses(
    params: Params,
    config: GeneratorConfig,
    rows: Rows,
    weights: Array,
    objective: Literal["code", "nll"] = "code",
    row_weights: Array | None = None,
) -> Array:
    """Returns float[B], `loss` of Rows[B] with weights float[B] and row weights float[B, N]."""
    terms = _terms(params, config, rows)
    if row_weights is not None:
        terms = terms._replace(**{name: getattr(terms, name) * row_weights for name in ("edges", "labels", "nodes")})
    if objective == "nll":
        total = -(terms.edges.sum(-1) + terms.labels.sum(-1) + terms.nodes.sum(-1))
    else:
        size = rows.size.astype(terms.edges.dtype)
        per_row = terms.labels / jnp.maximum(terms.num_labels, 1)
        pairs = size * (size + 1) / 2
        if config.alphabet.chain:
            pairs = pairs - (size - 1)
        total = -terms.edges.sum(-1) / jnp.maximum(pairs, 1)
        total = total - NODE_WEIGHT * terms.nodes.sum(-1) / jnp.maximum(terms.num_nodes, 1)
        total = total - LABEL_WEIGHT * per_row.sum(-1)
    weights = weights.astype(total.dtype)
    excluded = terms.outside & (weights != 0)  # a row of an archive that is not full yet weighs nothing
    return jnp.where(excluded, jnp.asarray(jnp.inf, total.dtype), weights * total)


def row_subset(key: Key, config: GeneratorConfig, num: int) -> Array:
    """Returns float32[N]: N / num on `num` rows drawn without replacement, else 0; unbiased weights for `loss`."""
    size = config.alphabet.num_nodes
    chosen = jax.random.permutation(key, jnp.arange(size) < num)
    return jnp.where(chosen, jnp.float32(size / num), jnp.float32(0))


def sample_batch(
    params: Params, config: GeneratorConfig, key: Key, num: int, temperature: float | Array = 1.0
) -> tuple[Rows, Array]:
    """Returns `num` draws and bool[num], whether each is a graph; `key` is consumed."""
    draw = functools.partial(sample, params, config, temperature=temperature)
    return jax.vmap(draw)(jax.random.split(key, num))


def sample(params: Params, config: GeneratorConfig, key: Key, temperature: float | Array = 1.0) -> tuple[Rows, Array]:
    """Returns one graph and bool[], False if no node ends it; `key` is consumed.

    Args:
      params: weights.
      config: static.
      key: for the draws.
      temperature: divides all logits.
    """
    alphabet, size = config.alphabet, config.alphabet.num_nodes
    scale = jnp.asarray(temperature, params.project.bias.dtype)
    adjacency, labels = jnp.zeros((size, size), bool), jnp.zeros((size, size), jnp.int32)
    nodes = jnp.zeros(size, jnp.int32)
    first = max(alphabet.first_labelled, 0 if alphabet.stop_label is None else 1)  # node 0 never ends a graph
    for t in range(size):
        if t == 0 and first > 0:
            continue  # nothing to draw
        component_key, edge_key, label_key, node_key = jax.random.split(jax.random.fold_in(key, t), 4)
        passed = _pass(params, config, (t,), adjacency[None], labels[None], nodes[None])
        logits = jax.tree.map(lambda leaf: leaf / scale, _edge_logits(params, passed.table, passed.after[0]))
        if t > 0:
            component = jax.random.categorical(component_key, logits.mixture[0])
            row = jax.random.bernoulli(edge_key, jax.nn.sigmoid(logits.edge[:t, component]))
            if alphabet.chain:
                row = row.at[t - 1].set(True)
            adjacency = adjacency.at[t, :t].set(True if config.forced else row)
        if t > 0 and logits.label is not None:
            drawn = jax.random.categorical(label_key, _masked(logits.label[:t], config.edge_mask))
            labels = labels.at[t, :t].set(jnp.where(adjacency[t, :t], drawn.astype(jnp.int32), 0))
        if params.node is not None and t >= first:
            node = cast(Array, _node_logits(params, config, passed, adjacency[None]))[0, 0] / scale
            drawn_node = jax.random.categorical(node_key, _masked(node, config.node_mask))
            nodes = nodes.at[t].set(drawn_node.astype(jnp.int32))
    edges = labels if alphabet.edge_labels else adjacency.astype(jnp.int32)
    if alphabet.stop_label is None:
        return Rows(edges, nodes, jnp.int32(size)), jnp.asarray(True)
    stops = (nodes == alphabet.stop_label) & (jnp.arange(size) >= first)
    count = jnp.where(stops.any(), jnp.argmax(stops) + 1, size).astype(jnp.int32)
    exists = jnp.arange(size) < count
    return Rows(jnp.where(exists[:, None], edges, 0), jnp.where(exists, nodes, 0), count), stops.any()


class _Passed(NamedTuple):
    """Message passing done on some prefixes of B graphs; arrays with a leading axis B."""

    table: Slots
    inputs: Features
    before: Array  # states before the last round
    after: Array


class _SlotLogits(NamedTuple):
    """Logits by pair slot (new node, node)."""

    edge: Array  # float[n, K]
    mixture: Array  # float[P, K]
    label: Array | None  # float[n, n_e]


class _Terms(NamedTuple):
    """Terms of the log-likelihoods of B graphs by row, float[B, N] each, and how many labels stand in them."""

    edges: Array
    labels: Array
    num_labels: Array  # float[B, N]
    nodes: Array
    num_nodes: Array  # float[B]
    outside: Array  # bool[B], whether a mask excludes the graph


def _one(rows: Rows) -> Rows:
    """Rows[1] of one graph."""
    return Rows(rows.edges[None], rows.nodes[None], rows.size[None])


def _pass(
    params: Params, config: GeneratorConfig, ts: tuple[int, ...], adjacency: Array, labels: Array, nodes: Array
) -> _Passed:
    """Of bool[B, N, N], int32[B, N, N] and int32[B, N]."""
    table = prefixes.slots(ts)
    dtype, size = params.project.bias.dtype, config.alphabet.num_nodes

    def features(adjacency: Array, labels: Array, nodes: Array) -> Features:
        row = gnn.dense(params.project, adjacency.astype(dtype))
        initial = jnp.concatenate([row, jnp.eye(size, dtype=dtype)], axis=-1)
        if params.node_input is not None:
            initial = initial + params.node_input[nodes]
        return prefixes.features(table, config.hidden, config.alphabet.edge_labels, initial, adjacency, labels)

    inputs = jax.vmap(features)(adjacency, labels, nodes)
    if not config.label_after_edges:
        return _Passed(table, inputs, inputs.states, _rounds(config, params.rounds, table, inputs, 0))
    early = jax.tree.map(lambda leaf: leaf[:-1], params.rounds)
    before = _rounds(config, early, table, inputs, 0) if config.rounds > 1 else inputs.states
    last = jax.tree.map(lambda leaf: leaf[-1:], params.rounds)
    after = _rounds(config, last, table, inputs._replace(states=before), config.rounds - 1)
    return _Passed(table, inputs, before, after)


def _rounds(config: GeneratorConfig, rounds: Round, table: Slots, inputs: Features, first: int) -> Array:
    """float[B, n, H]."""
    if config.form == "dense":
        ends = tuple(table.sender.tolist()), tuple(table.receiver.tolist())
        shape = gnn_dense.Shape(*ends, table.node.size, first)
        behind = (jnp.swapaxes(leaf, 0, 1) for leaf in inputs)
        return jnp.swapaxes(gnn_dense.gated_rounds(rounds, shape, *behind), 0, 1)

    def one(inputs: Features) -> Array:
        graphs = jraph.GraphsTuple(
            nodes=inputs.states,
            edges=(inputs.edges, inputs.present),
            senders=jnp.asarray(table.sender),
            receivers=jnp.asarray(table.receiver),
            n_node=jnp.array([table.node.size], jnp.int32),
            n_edge=jnp.array([table.sender.size], jnp.int32),
            globals=None,
        )
        return gnn.gated_rounds(rounds, graphs, first)

    return jax.vmap(one)(inputs)


def _edge_logits(params: Params, table: Slots, h: Array) -> _SlotLogits:
    """Of one graph's states float[n, H]."""
    difference = h[table.new] - h
    mean = _row_matrix(table).astype(np.float64)  # rounded once, to the dtype of the parameters
    mean = mean / mean.sum(1, keepdims=True)
    mixture = jnp.asarray(mean, h.dtype) @ _head(params.mixture, difference)  # the self pair is part of the mean
    label = None if params.label is None else _head(params.label, difference)
    return _SlotLogits(_head(params.edge, difference), mixture, label)


def _node_logits(params: Params, config: GeneratorConfig, passed: _Passed, adjacency: Array) -> Array | None:
    """float[B, P, n_v]; reads the new nodes' rows of `adjacency` [B] where labels come after edges."""
    if params.node is None:
        return None
    h = passed.after
    if config.label_after_edges:
        present = jax.vmap(functools.partial(prefixes.new_edges, passed.table))(adjacency).astype(h.dtype)
        inputs = passed.inputs._replace(states=passed.before, present=present)
        last = jax.tree.map(lambda leaf: leaf[-1:], params.rounds)
        h = _rounds(config, last, passed.table, inputs, config.rounds - 1)
    return _head(params.node, h[:, np.unique(passed.table.new)])


def _logits(params: Params, config: GeneratorConfig, ts: tuple[int, ...], rows: Rows) -> Logits:
    rows = _one(rows)
    adjacency, labels = rows.edges > 0, rows.edges
    passed = _pass(params, config, ts, adjacency, labels, rows.nodes)
    table, found = passed.table, _edge_logits(params, passed.table, passed.after[0])
    places = np.searchsorted(np.array(ts), table.prefix), table.node

    def spread(values: Array) -> Array:
        empty = jnp.zeros((len(ts), config.alphabet.num_nodes, values.shape[-1]), values.dtype)
        return empty.at[places].set(values)

    node = _node_logits(params, config, passed, adjacency)
    label = None if found.label is None else spread(found.label)
    return Logits(spread(found.edge), found.mixture, None if node is None else node[0], label)


def _terms(params: Params, config: GeneratorConfig, rows: Rows) -> _Terms:
    size = config.alphabet.num_nodes
    index = jnp.arange(size, dtype=jnp.int32)
    exists = index[None] < rows.size[:, None]
    below = jnp.asarray(np.tri(size, k=-1, dtype=bool))[None]
    edges = jnp.where(exists[:, :, None] & below, rows.edges, 0)  # the rest may hold anything
    nodes = jnp.where(exists, rows.nodes, 0)
    passed = _pass(params, config, tuple(range(size)), edges > 0, edges, nodes)
    node_logits = _node_logits(params, config, passed, edges > 0)
    one = functools.partial(_graph_terms, params, config, passed.table)
    terms: _Terms = jax.vmap(one)(passed.after, node_logits, edges, nodes, exists)
    return terms


def _graph_terms(
    params: Params,
    config: GeneratorConfig,
    table: Slots,
    states: Array,
    node_logits: Array | None,
    edges: Array,
    nodes: Array,
    exists: Array,
) -> _Terms:
    """The terms of one graph, without the axis B, from its states and its cleaned rows."""
    alphabet, size = config.alphabet, config.alphabet.num_nodes
    index = jnp.arange(size, dtype=jnp.int32)
    adjacency = edges > 0
    found = _edge_logits(params, table, states)
    dtype = found.edge.dtype
    by_row = jnp.asarray(_row_matrix(table), dtype)
    free = table.node < table.prefix
    if alphabet.chain:
        free = table.node < table.prefix - 1  # the chain's own edge is given
    pair = jnp.asarray(free)
    present, label = adjacency[table.prefix, table.node], edges[table.prefix, table.node]
    outside = jnp.asarray(False)

    edge_terms = jnp.zeros(size, dtype)
    if config.forced:
        outside = outside | (pair & exists[table.prefix] & ~present).any()
    else:
        each = jnp.where(present[:, None], jax.nn.log_sigmoid(found.edge), jax.nn.log_sigmoid(-found.edge))
        each = jnp.where(pair[:, None], each, jnp.zeros((), dtype))
        mixed = jax.nn.logsumexp(jax.nn.log_softmax(found.mixture) + by_row @ each, axis=-1)
        edge_terms = jnp.where(exists & (index > int(alphabet.chain)), mixed, jnp.zeros((), dtype))
    if alphabet.chain:
        given = exists[table.prefix] & jnp.asarray(table.node == table.prefix - 1)
        outside = outside | (given & ~present).any()

    label_terms = num_labels = jnp.zeros(size, dtype)
    if found.label is not None:
        value, wrong = _chosen(found.label, label, config.edge_mask, present)
        label_terms, num_labels = by_row @ value, by_row @ present.astype(dtype)
        outside = outside | wrong

    node_terms, num_nodes = jnp.zeros(size, dtype), jnp.zeros((), dtype)
    if node_logits is not None:
        counted = exists & (index >= alphabet.first_labelled)
        node_terms, wrong = _chosen(node_logits, nodes, config.node_mask, counted)
        num_nodes, outside = counted.sum(dtype=dtype), outside | wrong
    return _Terms(edge_terms, label_terms, num_labels, node_terms, num_nodes, outside)


def _chosen(logits: Array, labels: Array, allowed: np.ndarray, counted: Array) -> tuple[Array, Array]:
    """float[n], log p of each label where counted, else 0; bool[], whether a counted one is not allowed."""
    picked = labels[:, None] == jnp.arange(allowed.size, dtype=labels.dtype)[None]
    fits = (picked & jnp.asarray(allowed)[None]).any(-1)
    log_p = jax.nn.log_softmax(_masked(logits, allowed))
    value = jnp.where(picked & jnp.asarray(allowed)[None], log_p, jnp.zeros((), logits.dtype)).sum(-1)
    return jnp.where(counted, value, jnp.zeros((), logits.dtype)), (counted & ~fits).any()


def _masked(logits: Array, allowed: np.ndarray) -> Array:
    mask = jnp.asarray(allowed).reshape((1,) * (logits.ndim - 1) + allowed.shape)
    return jnp.where(mask, logits, jnp.asarray(-math.inf, logits.dtype))


def _head(head: Head, x: Array) -> Array:
    first, second, third = head
    return gnn.dense(third, jax.nn.relu(gnn.dense(second, jax.nn.relu(gnn.dense(first, x)))))


def _row_matrix(table: Slots) -> np.ndarray:
    """float32[P, n]: 1 where the slot belongs to the prefix."""
    return np.asarray(np.unique(table.prefix)[:, None] == table.prefix[None], np.float32)
