"""The graph network: settings, weights, and the logits that it gives of prefixes.

A node's row enters as its initial state; after R rounds of message passing on a prefix (`prefixes`), differences of the
states of the new and the old nodes give the logits of edges and of their labels, the new node's state those of its own.
"""

import dataclasses
import functools
import math
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from nasjax import gather, gnn, gnn_dense, prefixes
from nasjax.base import Alphabet, Array, Key, Rows
from nasjax.gnn import Dense, Round
from nasjax.prefixes import Features, Slots

Head: TypeAlias = tuple[Dense, Dense, Dense]
"""H -> H -> H -> outputs, ReLU between."""


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


class Passed(NamedTuple):
    """Message passing done on some prefixes of B graphs; arrays with a leading axis B."""

    table: Slots
    inputs: Features
    before: Array  # states before the last round
    after: Array


class SlotLogits(NamedTuple):
    """Logits by pair slot (new node, node)."""

    edge: Array  # float[n, K]
    mixture: Array  # float[P, K]
    label: Array | None  # float[n, n_e]


def batch_of_one(rows: Rows) -> Rows:
    """Returns Rows[1] of one graph."""
    return Rows(rows.edges[None], rows.nodes[None], rows.size[None])


def pass_messages(
    params: Params, config: GeneratorConfig, ts: tuple[int, ...], adjacency: Array, labels: Array, nodes: Array
) -> Passed:
    """Passes messages on the prefixes `ts` of B graphs: bool[B, N, N], int32[B, N, N] and int32[B, N]."""
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
        return Passed(table, inputs, inputs.states, _rounds(config, params.rounds, table, inputs, 0))
    early = jax.tree.map(lambda leaf: leaf[:-1], params.rounds)
    before = _rounds(config, early, table, inputs, 0) if config.rounds > 1 else inputs.states
    last = jax.tree.map(lambda leaf: leaf[-1:], params.rounds)
    after = _rounds(config, last, table, inputs._replace(states=before), config.rounds - 1)
    return Passed(table, inputs, before, after)


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


def logits_of_edges(params: Params, table: Slots, h: Array) -> SlotLogits:
    """Returns the logits of one graph's pairs from its states float[n, H]."""
    difference = gather.rows(h, table.new) - h
    mean = row_matrix(table).astype(np.float64)  # rounded once, to the dtype of the parameters
    mean = mean / mean.sum(1, keepdims=True)
    mixture = jnp.asarray(mean, h.dtype) @ _head(params.mixture, difference)  # the self pair is part of the mean
    label = None if params.label is None else _head(params.label, difference)
    return SlotLogits(_head(params.edge, difference), mixture, label)


def logits_of_nodes(params: Params, config: GeneratorConfig, passed: Passed, adjacency: Array) -> Array | None:
    """Returns float[B, P, n_v]; reads the new nodes' rows of `adjacency` [B] where labels come after edges."""
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
    rows = batch_of_one(rows)
    adjacency, labels = rows.edges > 0, rows.edges
    passed = pass_messages(params, config, ts, adjacency, labels, rows.nodes)
    table, found = passed.table, logits_of_edges(params, passed.table, passed.after[0])
    places = np.searchsorted(np.array(ts), table.prefix), table.node

    def spread(values: Array) -> Array:
        empty = jnp.zeros((len(ts), config.alphabet.num_nodes, values.shape[-1]), values.dtype)
        return empty.at[places].set(values)

    node = logits_of_nodes(params, config, passed, adjacency)
    label = None if found.label is None else spread(found.label)
    return Logits(spread(found.edge), found.mixture, None if node is None else node[0], label)


def masked(logits: Array, allowed: np.ndarray) -> Array:
    """Returns logits [..., labels] with -inf at labels that are not allowed."""
    mask = jnp.asarray(allowed).reshape((1,) * (logits.ndim - 1) + allowed.shape)
    return jnp.where(mask, logits, jnp.asarray(-math.inf, logits.dtype))


def _head(head: Head, x: Array) -> Array:
    first, second, third = head
    return gnn.dense(third, jax.nn.relu(gnn.dense(second, jax.nn.relu(gnn.dense(first, x)))))


def row_matrix(table: Slots) -> np.ndarray:
    """Returns float32[P, n], 1 where the slot belongs to the prefix."""
    return np.asarray(np.unique(table.prefix)[:, None] == table.prefix[None], np.float32)
