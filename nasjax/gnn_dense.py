"""The gated rounds of `gnn` for small graphs of one shape: the form that is fast on CPUs.

Senders and receivers are constant 0/1 matrices and the graphs of a batch stand side by side behind the node axis, so each
step of a round is one product of two matrices, whatever the batch. The derivative is written out: autodiff would add up
the weights' gradients round by round inside the loop, here they are a few products after it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax.base import Array
from nasjax.gnn import Round


class Shape(NamedTuple):
    """The graphs' common shape; static.

    Attributes:
      sender: e of them, each edge's sender.
      receiver: e of them.
      num_nodes: n.
      first: number of the first round: states pass a ReLU before every round but round 0.
    """

    sender: tuple[int, ...]
    receiver: tuple[int, ...]
    num_nodes: int
    first: int = 0

    @property
    def receives(self) -> npt.NDArray[np.float64]:
        """float64[e, n], 1 at each edge's receiver."""
        return np.equal.outer(self.receiver, range(self.num_nodes)).astype(np.float64)

    @property
    def differs(self) -> npt.NDArray[np.float64]:
        """float64[e, n], 1 at each edge's sender, -1 at its receiver."""
        sends = np.equal.outer(self.sender, range(self.num_nodes)).astype(np.float64)
        return sends - self.receives


class _Weights(NamedTuple):
    """Weights of R rounds; those that meet the same input stand side by side. A = attention width."""

    state: Array  # [R, H, H + A + 3 H], of a node's state: message1, gate1, gru_state
    edge: Array  # [R, F, H + A], of an edge's features: message1, gate1
    edge_bias: Array  # [R, H + A]
    message: Array  # [R, H, H]
    message_bias: Array  # [R, H]
    gate: Array  # [R, A, H]
    gate_bias: Array  # [R, H]
    gru: Array  # [R, H, 3 H], of the summed messages
    gru_bias: Array  # [R, 3 H]
    state_bias: Array  # [R, 3 H], gru_state's


class _Saved(NamedTuple):
    """What the derivative of R rounds needs; n nodes, e edges, B graphs."""

    before: Array  # [R, n, B, H], states before the ReLU
    state: Array  # [R, n, B, H], after it
    inner: Array  # [R, e, B, H + A], after the first layers' ReLU
    message: Array  # [R, e, B, H]
    gate: Array  # [R, e, B, H], after the sigmoid
    received: Array  # [R, n, B, H], summed messages
    reset: Array  # [R, n, B, H]
    update: Array  # [R, n, B, H]
    new: Array  # [R, n, B, H]
    remembered: Array  # [R, n, B, H], the state's part of `new`, before `reset`


class _Gradients(NamedTuple):
    """Of one round's products, before they meet the products' inputs."""

    projected: Array  # [n, B, H + A + 3 H]
    inner: Array  # [e, B, H + A]
    message: Array  # [e, B, H]
    gate: Array  # [e, B, H]
    from_input: Array  # [n, B, 3 H]


def gated_rounds(rounds: Round, shape: Shape, states: Array, features: Array, present: Array) -> Array:
    """Returns the nodes' states after all rounds, float[n, B, H]; `gnn.gated_rounds` for each of B graphs.

    `present` is data: nothing is differentiated with respect to it.

    Args:
      rounds: stacked weights [R, ...].
      shape: static.
      states: float[n, B, H].
      features: float[e, B, F].
      present: float[e, B], 0 where an edge sends nothing.
    """
    return _rounds(shape, _side_by_side(rounds), states, features, present[..., None])


def _side_by_side(rounds: Round) -> _Weights:
    hidden = rounds.message2.bias.shape[-1]
    inner = (rounds.message1.weight, rounds.gate1.weight)
    return _Weights(
        state=jnp.concatenate([*(weight[:, :hidden] for weight in inner), rounds.gru_state.weight], axis=-1),
        edge=jnp.concatenate([weight[:, hidden:] for weight in inner], axis=-1),
        edge_bias=jnp.concatenate([rounds.message1.bias, rounds.gate1.bias], axis=-1),
        message=rounds.message2.weight,
        message_bias=rounds.message2.bias,
        gate=rounds.gate2.weight,
        gate_bias=rounds.gate2.bias,
        gru=rounds.gru_input.weight,
        gru_bias=rounds.gru_input.bias,
        state_bias=rounds.gru_state.bias,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounds(shape: Shape, weights: _Weights, states: Array, features: Array, present: Array) -> Array:
    return _forward(shape, weights, states, features, present)[0]


def _forward(
    shape: Shape, weights: _Weights, states: Array, features: Array, present: Array
) -> tuple[Array, tuple[_Weights, Array, Array, _Saved]]:
    hidden = states.shape[-1]
    differs, receives = (jnp.asarray(matrix, states.dtype) for matrix in (shape.differs, shape.receives))
    # Of the features, which are the same in every round, all rounds' products at once.
    from_edges = jnp.einsum("ebf,rfo->rebo", features, weights.edge) + weights.edge_bias[:, None, None]

    def step(before: Array, given: tuple[Array, _Weights, Array]) -> tuple[Array, _Saved]:
        number, own, from_edges = given
        state = jnp.where(number > 0, jax.nn.relu(before), before)
        projected = _product(state, own.state)
        inner = jax.nn.relu(_over_first(differs, projected[..., : -3 * hidden]) + from_edges)
        message = _product(inner[..., :hidden], own.message) + _row(own.message_bias)
        gate = jax.nn.sigmoid(_product(inner[..., hidden:], own.gate) + _row(own.gate_bias))
        received = _over_first(receives.T, message * gate * present)
        from_input = jnp.split(_product(received, own.gru) + _row(own.gru_bias), 3, axis=-1)
        from_state = jnp.split(projected[..., -3 * hidden :] + _row(own.state_bias), 3, axis=-1)
        reset, update = (jax.nn.sigmoid(a + b) for a, b in zip(from_input[:2], from_state[:2], strict=True))
        new = jnp.tanh(from_input[2] + reset * from_state[2])
        after = (1 - update) * new + update * state
        saved = _Saved(before, state, inner, message, gate, received, reset, update, new, from_state[2])
        return after, saved

    num = weights.gru.shape[0]
    numbers = jnp.arange(shape.first, shape.first + num)
    after, saved = jax.lax.scan(step, states, (numbers, weights, from_edges))
    return after, (weights, features, present, saved)


def _backward(
    shape: Shape, kept: tuple[_Weights, Array, Array, _Saved], gradient: Array
) -> tuple[_Weights, Array, Array, None]:
    weights, features, present, saved = kept
    hidden = gradient.shape[-1]
    differs, receives = (jnp.asarray(matrix, gradient.dtype) for matrix in (shape.differs, shape.receives))

    def step(after: Array, given: tuple[Array, _Weights, _Saved]) -> tuple[Array, _Gradients]:
        number, own, at = given
        update = after * (at.state - at.new) * at.update * (1 - at.update)
        new = after * (1 - at.update) * (1 - at.new * at.new)
        reset = new * at.remembered * at.reset * (1 - at.reset)
        from_input = jnp.concatenate([reset, update, new], axis=-1)
        sent = _over_first(receives, _product(from_input, own.gru.T)) * present
        message = sent * at.gate
        gate = sent * at.message * at.gate * (1 - at.gate)
        inner = jnp.concatenate([_product(message, own.message.T), _product(gate, own.gate.T)], axis=-1)
        inner = jnp.where(at.inner > 0, inner, jnp.zeros((), inner.dtype))
        projected = jnp.concatenate([_over_first(differs.T, inner), reset, update, new * at.reset], axis=-1)
        state = _product(projected, own.state.T) + after * at.update
        before = jnp.where((number == 0) | (at.before > 0), state, jnp.zeros((), state.dtype))
        return before, _Gradients(projected, inner, message, gate, from_input)

    num = weights.gru.shape[0]
    numbers = jnp.arange(shape.first, shape.first + num)
    before, found = jax.lax.scan(step, gradient, (numbers, weights, saved), reverse=True)

    def outer(inputs: Array, outputs: Array) -> Array:
        return jnp.einsum("rabi,rabo->rio", inputs, outputs)

    of_weights = _Weights(
        state=outer(saved.state, found.projected),
        edge=jnp.einsum("ebf,rebo->rfo", features, found.inner),
        edge_bias=found.inner.sum((1, 2)),
        message=outer(saved.inner[..., :hidden], found.message),
        message_bias=found.message.sum((1, 2)),
        gate=outer(saved.inner[..., hidden:], found.gate),
        gate_bias=found.gate.sum((1, 2)),
        gru=outer(saved.received, found.from_input),
        gru_bias=found.from_input.sum((1, 2)),
        state_bias=found.projected[..., -3 * hidden :].sum((1, 2)),
    )
    return of_weights, before, jnp.einsum("rebo,rfo->ebf", found.inner, weights.edge), None


_rounds.defvjp(_forward, _backward)


def _row(bias: Array) -> Array:
    return bias[None, None]


def _product(x: Array, weight: Array) -> Array:
    """float[a, B, o] of float[a, B, i] and float[i, o], as one product of two matrices."""
    rows, batch, inputs = x.shape
    return (x.reshape(rows * batch, inputs) @ weight).reshape(rows, batch, weight.shape[-1])


def _over_first(matrix: Array, x: Array) -> Array:
    """float[a, B, o] of float[a, c] and float[c, B, o], likewise."""
    rows, batch, outputs = x.shape
    return (matrix @ x.reshape(rows, batch * outputs)).reshape(matrix.shape[0], batch, outputs)
