"""Message passing on graphs, shared by the learned models: gated messages and a GRU at every node.

`gated_rounds` runs on a `jraph.GraphsTuple` of any shape; `gnn_dense` has the same rounds for small graphs of one shape.

Source: the rounds of GraphPNAS (Li et al., arXiv:2211.15155) and GRAN (Liao et al., NeurIPS 2019), as their code has them.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph

from nasjax.base import Array, Key


class Dense(NamedTuple):
    """A linear layer.

    Attributes:
      weight: float[..., in, out].
      bias: float[..., out].
    """

    weight: Array
    bias: Array


class Round(NamedTuple):
    """Weights of one round, or of R rounds with a leading axis; H = width of a node's state, F = of an edge's features.

    Attributes:
      message1: H + F -> H, its input the difference of the states of sender and receiver, then the edge's features.
      message2: H -> H.
      gate1: H + F -> attention width, of the same input.
      gate2: attention width -> H.
      gru_input: H -> 3 H, of the summed messages; in the order reset, update, new.
      gru_state: H -> 3 H, of the receiver's state.
    """

    message1: Dense
    message2: Dense
    gate1: Dense
    gate2: Dense
    gru_input: Dense
    gru_state: Dense


def dense(layer: Dense, x: Array) -> Array:
    """Returns float[..., out] of float[..., in]."""
    y: Array = x @ layer.weight + layer.bias.reshape((1,) * (x.ndim - 1) + layer.bias.shape)
    return y


def init_dense(key: Key, inputs: int, outputs: int, fan_in: int | None = None) -> Dense:
    """Returns a float32 layer, every number U(-1, 1) / sqrt(fan_in), PyTorch's default; `key` is consumed."""
    bound = 1 / math.sqrt(fan_in or inputs)
    weight_key, bias_key = jax.random.split(key)
    weight = jax.random.uniform(weight_key, (inputs, outputs), jnp.float32, -bound, bound)
    return Dense(weight, jax.random.uniform(bias_key, (outputs,), jnp.float32, -bound, bound))


def init_rounds(key: Key, num: int, hidden: int, features: int, attention: int) -> Round:
    """Returns the float32 weights of `num` rounds, stacked; `key` is consumed."""

    def one(key: Key) -> Round:
        keys = jax.random.split(key, 6)
        return Round(
            init_dense(keys[0], hidden + features, hidden),
            init_dense(keys[1], hidden, hidden),
            init_dense(keys[2], hidden + features, attention),
            init_dense(keys[3], attention, hidden),
            init_dense(keys[4], hidden, 3 * hidden),
            init_dense(keys[5], hidden, 3 * hidden),
        )

    return jax.vmap(one)(jax.random.split(key, num))


def gated_rounds(rounds: Round, graphs: jraph.GraphsTuple, first: int = 0) -> Array:
    """Returns the nodes' states after all rounds, float[n, H].

    Args:
      rounds: stacked weights [R, ...].
      graphs: `nodes` float[n, H], the states before; `edges` = (features float[e, F], present float[e]), where an edge
        with present 0 sends nothing; `receivers` ascending.
      first: number of the first round: states pass a ReLU before every round but round 0.
    """

    def step(h: Array, given: tuple[Round, Array]) -> tuple[Array, None]:
        weights, number = given
        h = _activated(h, number)

        def update_edge(edges: Any, sent: Any, received: Any, _: Any) -> Array:
            features, present = edges
            gated: Array = _messages(weights, sent[1] - received[1], features) * present[:, None]
            return gated

        def update_node(nodes: Any, _: Any, received: Array, __: Any) -> Array:
            return _gru(weights, received, nodes[0])

        network = jraph.GraphNetwork(update_edge, update_node, aggregate_edges_for_nodes_fn=_sorted_sum)
        passed: Array = network(graphs._replace(nodes=(h, _projected(weights, h)))).nodes
        return passed, None

    return _scan(step, graphs.nodes, rounds, first)


def _scan(step: Any, states: Array, rounds: Round, first: int) -> Array:
    num = rounds.message1.bias.shape[0]
    h: Array = jax.lax.scan(step, states, (rounds, jnp.arange(first, first + num)))[0]
    return h


def _activated(h: Array, number: Array) -> Array:
    return jnp.where(number > 0, jax.nn.relu(h), h)


def _projected(weights: Round, h: Array) -> Array:
    """float[n, H + attention]: the first layers' products with a state; a difference of states has their difference.

    So the widest product is made once a node instead of once an edge.
    """
    hidden = h.shape[-1]
    return h @ jnp.concatenate([weights.message1.weight[:hidden], weights.gate1.weight[:hidden]], axis=-1)


def _messages(weights: Round, projected: Array, features: Array) -> Array:
    """float[e, H]: gated messages, from `_projected` of sender less receiver."""
    hidden = weights.message2.bias.shape[-1]
    own = jnp.concatenate([weights.message1.weight[hidden:], weights.gate1.weight[hidden:]], axis=-1)
    bias = jnp.concatenate([weights.message1.bias, weights.gate1.bias])
    inner = jax.nn.relu(projected + features @ own + bias[None])
    message = dense(weights.message2, inner[:, :hidden])
    return message * jax.nn.sigmoid(dense(weights.gate2, inner[:, hidden:]))


def _gru(weights: Round, received: Array, h: Array) -> Array:
    """float[n, H], PyTorch's GRUCell."""
    from_input = jnp.split(dense(weights.gru_input, received), 3, axis=-1)
    from_state = jnp.split(dense(weights.gru_state, h), 3, axis=-1)
    reset, update = (jax.nn.sigmoid(a + b) for a, b in zip(from_input[:2], from_state[:2], strict=True))
    new = jnp.tanh(from_input[2] + reset * from_state[2])
    return (1 - update) * new + update * h


def _sorted_sum(data: Array, segments: Array, num_segments: int) -> Array:
    """Sums over receivers. jraph sums over senders by the same function; nobody reads that, so it is never computed."""
    summed: Array = jraph.segment_sum(data, segments, num_segments, indices_are_sorted=True)
    return summed
