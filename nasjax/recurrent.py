"""A recurrent generator: an LSTM that writes an architecture decision by decision, as a sequence of fields.

Node by node, a node's label is one field, a choice among the labels; then its incoming edges are one field of independent
bits, or, where edges have labels, one field each, a choice among "no edge" and the labels. The output for a field is
l = s tanh(w / T), w linear in the top state; a choice follows the softmax of its l, a bit is 1 with probability σ(2 l), the
softmax of l and -l. The next input is the mean of the vectors of what was chosen, zero if that was nothing. Every field
has its own outputs and vectors, and there are no biases.

Sources: the controllers of ENAS (Pham et al., arXiv:1802.03268) and of GraphPNAS's baseline (Li et al., arXiv:2211.15155,
`lstm.py` of its code), which share this form.
Ours, where those are wrong or silent: log p is that of what is drawn, also of the bits; means are by count; the first input
is trained; what an alphabet masks is never drawn; no attention over earlier states, which the second computes in vain.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Alphabet, Array, Key, Rows

LARGEST_SQUASH = 30.0
"""Softmaxes are not shifted before their exponentials, since `squash` bounds the logits."""


@dataclasses.dataclass(frozen=True)
class RecurrentConfig:
    """Sizes and constants; static.

    Attributes:
      alphabet: what is written.
      hidden: H, units of each layer and width of its inputs.
      layers: number of layers.
      temperature: T.
      squash: s, the largest logit.
    """

    alphabet: Alphabet
    hidden: int = 128
    layers: int = 2
    temperature: float = 5.0
    squash: float = 2.5

    def __post_init__(self) -> None:
        """Refuses what cannot be written.

        Raises:
          ValueError: naming the setting.
        """
        for name in ("hidden", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"recurrent: {name} is {getattr(self, name)}; at least 1")
        if not self.temperature > 0:
            raise ValueError(f"recurrent: temperature is {self.temperature}; above 0")
        if not 0 < self.squash <= LARGEST_SQUASH:
            raise ValueError(f"recurrent: squash is {self.squash}; above 0, at most {LARGEST_SQUASH:g}")
        if self.alphabet.chain and self.alphabet.edge_labels:
            raise ValueError("recurrent: the edges of a chain have no labels; edge_labels must be 0")
        table = fields(self.alphabet)
        if not table.size.size:
            raise ValueError("recurrent: the alphabet leaves nothing to write")
        if not np.add.reduceat(table.allowed, table.first).all():
            raise ValueError("recurrent: the masks leave no label that could be written")


class Fields(NamedTuple):
    """Static tables of an alphabet's T fields and their D outputs, which stand field by field.

    Attributes:
      first: int[T], a field's first output.
      size: int[T], its number of outputs.
      bits: bool[T], whether its outputs are independent bits; else they are the labels 0, 1, … of one choice.
      node: int[T], the node that it says something about.
      field: int[D], each output's field.
      source: int[D], the entry of `Rows.edges`, flat, or, behind those, of `Rows.nodes` that says whether it is chosen.
      value: int[D], what stands there if it is.
      allowed: bool[D], False where the alphabet masks the label.
    """

    first: np.ndarray
    size: np.ndarray
    bits: np.ndarray
    node: np.ndarray
    field: np.ndarray
    source: np.ndarray
    value: np.ndarray
    allowed: np.ndarray


class Params(NamedTuple):
    """Weights.

    Attributes:
      start: float[H], the first input.
      inputs: float[layers, H, 4 H], from a layer's input to its gates i, f, g, o.
      states: float[layers, H, 4 H], from its state.
      outputs: float[H, D].
      vectors: float[D, H], what a choice adds to the next input.
    """

    start: Array
    inputs: Array
    states: Array
    outputs: Array
    vectors: Array


@functools.cache
def fields(alphabet: Alphabet) -> Fields:
    """Returns the tables: a node's label, then its edges; node 0 has no label where a label ends a graph."""
    num = alphabet.num_nodes
    first_labelled = max(alphabet.first_labelled, 0 if alphabet.stop_label is None else 1)
    # One entry a field: (node, bits, [(source, value, allowed), …]).
    found: list[tuple[int, bool, list[tuple[int, int, bool]]]] = []
    for node in range(num):
        if alphabet.node_labels and node >= first_labelled:
            labels = range(alphabet.node_labels)
            found.append((node, False, [(num * num + node, x, x not in alphabet.masked_nodes) for x in labels]))
        senders = [num * node + sender for sender in range(node - int(alphabet.chain))]
        if alphabet.edge_labels:
            labels = range(alphabet.edge_labels)
            for source in senders:
                found.append((node, False, [(source, x, x not in alphabet.masked_edges) for x in labels]))
        elif senders:
            found.append((node, True, [(source, 1, True) for source in senders]))
    sizes = np.array([len(outputs) for *_, outputs in found], np.int32)
    flat = np.array([output for *_, outputs in found for output in outputs], np.int32).reshape(-1, 3)
    return Fields(
        first=np.cumsum(sizes) - sizes,
        size=sizes,
        bits=np.array([bits for _, bits, _ in found], bool),
        node=np.array([node for node, *_ in found], np.int32),
        field=np.repeat(np.arange(sizes.size, dtype=np.int32), sizes),
        source=flat[:, 0],
        value=flat[:, 1],
        allowed=flat[:, 2].astype(bool),
    )


def init(key: Key, config: RecurrentConfig, scale: float | None = None) -> Params:
    """Returns fresh float32 weights; `key` is consumed.

    Args:
      key: for the draws.
      config: static.
      scale: all weights U(-scale, scale), as ENAS has it. None: PyTorch's defaults, U(-1, 1) / sqrt(H) for the LSTM and
        the outputs, N(0, 1) for vectors; the first input N(0, 1) / 10.
    """
    hidden, num = config.hidden, fields(config.alphabet).field.size
    start_key, input_key, state_key, output_key, vector_key = jax.random.split(key, 5)
    bound = 1 / math.sqrt(hidden) if scale is None else scale

    def uniform(key: Key, *shape: int) -> Array:
        return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

    def normal(key: Key, *shape: int) -> Array:
        return jax.random.normal(key, shape, jnp.float32)

    return Params(
        start=0.1 * normal(start_key, hidden) if scale is None else uniform(start_key, hidden),
        inputs=uniform(input_key, config.layers, hidden, 4 * hidden),
        states=uniform(state_key, config.layers, hidden, 4 * hidden),
        outputs=uniform(output_key, hidden, num),
        vectors=normal(vector_key, num, hidden) if scale is None else uniform(vector_key, num, hidden),
    )


def num_parameters(params: Params) -> int:
    """Returns how many numbers are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def log_prob(params: Params, config: RecurrentConfig, rows: Rows) -> Array:
    """Returns float[B], log p of Rows[B] in nats; -inf for what the alphabet's masks exclude or its chain lacks."""
    return log_prob_and_divergence(params, config, rows, 0.5)[0]


def log_prob_and_divergence(params: Params, config: RecurrentConfig, rows: Rows, target: float) -> tuple[Array, Array]:
    """Returns `log_prob` and float[B], the mean over fields of bits of Σ KL(bit's probability, `target`), in nats.

    The divergences are those met while the graph is written; 0 where it has no such field.
    """
    table = fields(config.alphabet)
    chosen = _chosen(table, rows)
    logits = _logits(params, config, table, chosen)
    dtype = logits.dtype
    member = jnp.asarray(_members(table), dtype)
    exists = jnp.asarray(table.node)[None] < rows.size[:, None]
    bit = jnp.asarray(table.bits[table.field])[None]
    one, zero = jax.nn.log_sigmoid(2 * logits), jax.nn.log_sigmoid(-2 * logits)
    label = jnp.where(chosen, logits, jnp.zeros((), dtype))
    each = jnp.where(bit, jnp.where(chosen, one, zero), label)
    total = jnp.exp(logits) @ (member * jnp.asarray(table.allowed, dtype)[None]).T
    of_field = each @ member.T - jnp.where(jnp.asarray(table.bits)[None], jnp.zeros((), dtype), jnp.log(total))
    value = jnp.where(exists, of_field, jnp.zeros((), dtype)).sum(axis=-1)

    fits = (chosen & jnp.asarray(table.allowed)[None]).astype(dtype) @ member.T > 0
    outside = (exists & ~fits & ~jnp.asarray(table.bits)[None]).any(axis=-1)
    if config.alphabet.chain:
        later = np.arange(1, config.alphabet.num_nodes, dtype=np.int32)
        missing = rows.edges[:, later, later - 1] <= 0
        outside |= (missing & (jnp.asarray(later)[None] < rows.size[:, None])).any(axis=-1)

    probability = jnp.exp(one)
    divergence = probability * (one - math.log(target)) + jnp.exp(zero) * (zero - math.log1p(-target))
    counted = exists & jnp.asarray(table.bits)[None]
    of_bits = jnp.where(counted, divergence @ member.T, jnp.zeros((), dtype))
    mean = of_bits.sum(axis=-1) / jnp.maximum(counted.sum(axis=-1, dtype=dtype), 1)
    return jnp.where(outside, jnp.asarray(-jnp.inf, dtype), value), mean


def sample_batch(
    params: Params, config: RecurrentConfig, key: Key, num: int, temperature: float | Array = 1.0
) -> tuple[Rows, Array]:
    """Returns `num` draws and bool[num], whether each is a graph; `key` is consumed.

    Args:
      params: weights.
      config: static.
      key: for the draws.
      num: how many.
      temperature: divides the logits, beside the configuration's own, which stands before the squashing.
    """
    table, dtype = fields(config.alphabet), params.start.dtype
    width = int(table.size.max())
    outputs = jnp.pad(params.outputs, ((0, 0), (0, width)))
    vectors = jnp.pad(params.vectors, ((0, width), (0, 0)))
    scale = jnp.asarray(temperature, dtype)
    places = np.minimum(table.first[:, None] + np.arange(width), table.field.size - 1)
    used = np.arange(width)[None] < table.size[:, None]
    steps = (
        jnp.asarray(table.first),
        jnp.asarray(table.bits),
        jnp.asarray(used),
        jnp.asarray(used & table.allowed[places]),
        jax.random.split(key, table.size.size),
    )

    def step(carry: tuple[Array, Array, Array], field: tuple[Array, ...]) -> tuple[tuple[Array, Array, Array], Array]:
        x, states, cells = carry
        first, bits, used, allowed, key = field
        new_states, new_cells = [], []
        for layer in range(config.layers):
            gates = x @ params.inputs[layer] + states[layer] @ params.states[layer]
            x, cell = _cell(*_activated(gates), cells[layer])
            new_states.append(x)
            new_cells.append(cell)
        raw = x @ jax.lax.dynamic_slice_in_dim(outputs, first, width, axis=1)
        logits = _squashed(config, raw) / scale
        bit_key, label_key = jax.random.split(key)
        bit = jax.random.bernoulli(bit_key, jax.nn.sigmoid(2 * logits)) & used[None]
        drawn = jax.random.categorical(label_key, jnp.where(allowed[None], logits, -jnp.inf))
        chosen = jnp.where(bits, bit, drawn[:, None] == jnp.arange(width, dtype=drawn.dtype)[None])
        x = _mean(chosen.astype(dtype)) @ jax.lax.dynamic_slice_in_dim(vectors, first, width, axis=0)
        return (x, jnp.stack(new_states), jnp.stack(new_cells)), chosen

    nothing = jnp.zeros((config.layers, num, config.hidden), dtype)
    start = jnp.broadcast_to(params.start[None], (num, config.hidden))
    _, chosen = jax.lax.scan(step, (start, nothing, nothing), steps)
    column = np.arange(table.field.size) - table.first[table.field]
    return _rows(config.alphabet, table, chosen[table.field, :, column].T)


def _chosen(table: Fields, rows: Rows) -> Array:
    """bool[B, D], what Rows[B] say of each output."""
    flat = jnp.concatenate([rows.edges.reshape(*rows.edges.shape[:-2], -1), rows.nodes], axis=-1)
    return flat[:, table.source] == jnp.asarray(table.value)[None]


def _rows(alphabet: Alphabet, table: Fields, chosen: Array) -> tuple[Rows, Array]:
    """Rows[B] of bool[B, D], and bool[B], whether a node ends each graph."""
    num = alphabet.num_nodes
    flat = jnp.zeros((chosen.shape[0], num * num + num), jnp.int32)
    flat = flat.at[:, table.source].add(jnp.where(chosen, jnp.asarray(table.value)[None], 0))
    edges, nodes = flat[:, : num * num].reshape(-1, num, num), flat[:, num * num :]
    if alphabet.chain:
        edges = edges + jnp.eye(num, k=-1, dtype=jnp.int32)[None]
    whole = jnp.full(chosen.shape[0], num, jnp.int32)
    if alphabet.stop_label is None:
        return Rows(edges, nodes, whole), jnp.ones(chosen.shape[0], bool)
    index = jnp.arange(num, dtype=jnp.int32)[None]
    stops = (nodes == alphabet.stop_label) & (index >= max(alphabet.first_labelled, 1))
    size = jnp.where(stops.any(axis=-1), jnp.argmax(stops, axis=-1).astype(jnp.int32) + 1, whole)
    exists = index < size[:, None]
    return Rows(jnp.where(exists[..., None], edges, 0), jnp.where(exists, nodes, 0), size), stops.any(axis=-1)


def _logits(params: Params, config: RecurrentConfig, table: Fields, chosen: Array) -> Array:
    """float[B, D], each output as it is when its field is written and the earlier ones are as `chosen` says.

    Layer by layer, so that all that does not recur is one product for all fields.
    """
    dtype, hidden, batch = params.start.dtype, config.hidden, chosen.shape[0]
    member = jnp.asarray(_members(table), dtype)
    num_fields, num_outputs = member.shape
    shares = _mean(chosen[None].astype(dtype) * member[:-1, None])
    later = shares.reshape((num_fields - 1) * batch, num_outputs) @ params.vectors
    start = jnp.broadcast_to(params.start[None, None], (1, batch, hidden))
    x = jnp.concatenate([start, later.reshape(num_fields - 1, batch, hidden)])
    for layer in range(config.layers):
        gates = x.reshape(num_fields * batch, hidden) @ params.inputs[layer]
        x = _layer(gates.reshape(num_fields, batch, 4 * hidden), params.states[layer])
    raw = (x.reshape(num_fields * batch, hidden) @ params.outputs).reshape(num_fields, batch, num_outputs)
    return _squashed(config, (raw * member[:, None]).sum(axis=0))


def _squashed(config: RecurrentConfig, raw: Array) -> Array:
    """The logits."""
    return config.squash * jnp.tanh(raw / config.temperature)


def _mean(chosen: Array) -> Array:
    """Weights of the chosen outputs along the last axis: equal, of sum 1, or all 0."""
    return chosen / jnp.maximum(chosen.sum(axis=-1, keepdims=True), 1)


def _members(table: Fields) -> np.ndarray:
    """float32[T, D]: 1 where the output belongs to the field."""
    return np.asarray(np.arange(table.size.size)[:, None] == table.field[None], np.float32)


def _activated(gates: Array) -> tuple[Array, Array, Array, Array]:
    """The gates i, f, g, o of float[..., 4 H]."""
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _cell(i: Array, f: Array, g: Array, o: Array, cell: Array) -> tuple[Array, Array]:
    """The next state and cell."""
    cell = f * cell + i * g
    return o * jnp.tanh(cell), cell


@jax.custom_vjp
def _layer(gates: Array, weight: Array) -> Array:
    """float[T, B, H], the states of a layer from what its inputs say to the gates, float[T, B, 4 H], and its weight.

    The derivative is written out because the weight's is then one product over all T, where a scan's own would add T
    of them to an accumulator of the weight's size: a refit step of 6, 12 and 23 fields takes 0.74, 1.20 and 2.06 ms on a
    CPU, where it took 0.91, 1.48 and 2.87 (128 units, two layers, two graphs, one thread).
    """
    return _layer_forward(gates, weight)[0]


def _layer_forward(gates: Array, weight: Array) -> tuple[Array, tuple[Array, tuple[Array, ...]]]:
    def step(carry: tuple[Array, Array], gates: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        state, cell = carry
        activated = _activated(gates + state @ weight)
        new_state, new_cell = _cell(*activated, cell)
        return (new_state, new_cell), (new_state, state, cell, new_cell, *activated)

    nothing = jnp.zeros((gates.shape[1], weight.shape[0]), gates.dtype)
    _, (states, *kept) = jax.lax.scan(step, (nothing, nothing), gates)
    return states, (weight, tuple(kept))


def _layer_backward(residuals: tuple[Array, tuple[Array, ...]], cotangent: Array) -> tuple[Array, Array]:
    weight, kept = residuals

    def step(carry: tuple[Array, Array], at: tuple[Array, tuple[Array, ...]]) -> tuple[tuple[Array, Array], Array]:
        (d_state, d_cell), (d_output, (_, cell, new_cell, i, f, g, o)) = carry, at
        d_state = d_state + d_output
        squashed = jnp.tanh(new_cell)
        d_cell = d_cell + d_state * o * (1 - squashed * squashed)
        parts = d_cell * g * i * (1 - i), d_cell * cell * f * (1 - f), d_cell * i * (1 - g * g)
        d_gates = jnp.concatenate([*parts, d_state * squashed * o * (1 - o)], axis=-1)
        return (d_gates @ weight.T, d_cell * f), d_gates

    nothing = jnp.zeros(cotangent.shape[1:], cotangent.dtype)
    _, d_gates = jax.lax.scan(step, (nothing, nothing), (cotangent, kept), reverse=True)
    return d_gates, jnp.einsum("tbh,tbg->hg", kept[0], d_gates)


_layer.defvjp(_layer_forward, _layer_backward)
