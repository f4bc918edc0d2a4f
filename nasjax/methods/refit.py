"""Refit of a generator to weighted graphs: minibatch Adam in one compiled loop.

The loop of GraphPNAS (Li et al., arXiv:2211.15155, with its code `DSL-Lab/GraphPNAS`): E epochs over the elite, shuffled
anew each time, in minibatches of two; the last one of an odd elite holds one graph, which then has weight 1 instead of
1/2. Adam with a constant rate. Beside it the full-batch form with a cosine, and stopping at a likelihood.

Shapes are static, the number of graphs is not: `size` of the `M` rows count. A step without graphs changes nothing. The
number of steps follows from `bound`, which a caller keeps unbatched under `vmap`, so that the loop's predicate stays
one. Ours: parameters are one flat vector inside the loop, so that Adam is one fused update.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from nasjax.base import Array, Key, PyTree

Loss: TypeAlias = Callable[[PyTree, PyTree, Array, Key], Array]
"""(params, graphs[b], coefficients float[b], key) -> float[]: Σ coefficients_i · loss(graph_i), plus what a step adds."""

Likelihood: TypeAlias = Callable[[PyTree, PyTree], Array]
"""(params, graphs[M]) -> float[M], log-likelihoods in nats."""


class Learner(NamedTuple):
    """What a refit leaves behind.

    Attributes:
      params: the generator's parameters.
      moments: the optimiser's state, on the flat vector of parameters.
    """

    params: PyTree
    moments: PyTree


@dataclasses.dataclass(frozen=True)
class Refit:
    """How to refit; static.

    Attributes:
      minibatch: graphs a step.
      learning_rate: Adam's.
      cosine_steps: steps in which the rate falls to 0 along a half cosine; constant if None.
      shuffle: whether each epoch draws a new order.
      stop_at: stop after the first epoch in which the weighted mean of -log p over the graphs is below it, nats.
    """

    minibatch: int = 2
    learning_rate: float = 1e-3
    cosine_steps: int | None = None
    shuffle: bool = True
    stop_at: float | None = None

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam with PyTorch's defaults: (0.9, 0.999), 1e-8."""
        if self.cosine_steps is None:
            return optax.adam(self.learning_rate)
        return optax.adam(optax.cosine_decay_schedule(self.learning_rate, self.cosine_steps))


def fresh(settings: Refit, params: PyTree) -> Learner:
    """Returns the learner that starts at `params` with zero moments."""
    return Learner(params, settings.optimiser.init(ravel_pytree(params)[0]))


def update(settings: Refit, loss: Callable[[PyTree], Array], learner: Learner) -> Learner:
    """Returns the learner after one step on `loss`, a function of the parameters alone."""
    flat, unravel = ravel_pytree(learner.params)
    gradient = jax.grad(lambda flat: loss(unravel(flat)))(flat)
    flat, moments = _stepped(settings.optimiser, gradient, learner.moments, flat)
    return Learner(unravel(flat), moments)


def fit(
    settings: Refit,
    loss: Loss,
    learner: Learner,
    key: Key,
    graphs: PyTree,
    weights: Array,
    size: Array,
    *,
    epochs: Array,
    bound: Array,
    log_prob: Likelihood | None = None,
) -> Learner:
    """Returns the learner after ceil(size / minibatch) · epochs Adam steps on minibatch means of the weighted loss.

    Args:
      settings: static.
      loss: the weighted loss of a minibatch.
      learner: where to start.
      key: for shuffling and the loss's own draws; consumed.
      graphs: pytree of arrays [M, ...].
      weights: float[M].
      size: int32[], the first `size` rows count.
      epochs: int32[], keep it unbatched.
      bound: int32[], at least `size` and at most M; keep it unbatched. Steps beyond `size` change nothing.
      log_prob: needed for `stop_at` only.
    """
    optimiser = settings.optimiser
    flat, unravel = ravel_pytree(learner.params)
    num = weights.shape[0]
    width = min(settings.minibatch, num)
    places = jnp.arange(num + width, dtype=jnp.int32)

    def flat_loss(flat: Array, minibatch: PyTree, coefficients: Array, key: Key) -> Array:
        return loss(unravel(flat), minibatch, coefficients, key)

    def step(carry: tuple[Array, PyTree], start: Array, order: Array, key: Key) -> tuple[Array, PyTree]:
        flat, moments = carry
        chosen = jax.lax.dynamic_slice_in_dim(order, start, width)
        counts = jax.lax.dynamic_slice_in_dim(places, start, width) < size
        coefficients = jnp.where(counts, weights[chosen], jnp.zeros((), weights.dtype))
        coefficients = coefficients / jnp.maximum(counts.sum(dtype=weights.dtype), 1)
        minibatch = jax.tree.map(lambda leaf: leaf[chosen], graphs)
        gradient = jax.grad(flat_loss)(flat, minibatch, coefficients, key)
        new = _stepped(optimiser, gradient, moments, flat)
        stepped: tuple[Array, PyTree] = select(start < size, new, carry)
        return stepped

    def epoch(index: Array, carry: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
        epoch_key = jax.random.fold_in(key, index)
        order = _order(settings, jax.random.fold_in(epoch_key, 0), num, size)
        order = jnp.concatenate([order, jnp.broadcast_to(order[0], width)])  # so that no slice is moved back inside

        def inner(j: Array, carry: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
            return step(carry, j * width, order, jax.random.fold_in(epoch_key, j + 1))

        after: tuple[Array, PyTree] = jax.lax.fori_loop(0, (bound + width - 1) // width, inner, carry)
        return after

    carry = (flat, learner.moments)
    if settings.stop_at is None:
        flat, moments = jax.lax.fori_loop(0, epochs, epoch, carry)
        return Learner(unravel(flat), moments)
    if log_prob is None:
        raise ValueError("refit: stop_at needs log_prob")
    stop_at = settings.stop_at

    def unfinished(loop: tuple[Array, Array, tuple[Array, PyTree]]) -> Array:
        index, nats, _ = loop
        return (index < epochs) & (nats >= stop_at)

    def body(loop: tuple[Array, Array, tuple[Array, PyTree]]) -> tuple[Array, Array, tuple[Array, PyTree]]:
        index, _, carry = loop
        carry = epoch(index, carry)
        counted = jnp.where(jnp.arange(num) < size, weights, jnp.zeros_like(weights))
        nats = -(jnp.where(counted > 0, log_prob(unravel(carry[0]), graphs), 0) * counted).sum()
        nats = nats / jnp.maximum(counted.sum(), 1e-9)
        return index + 1, nats.astype(jnp.float32), carry

    _, _, (flat, moments) = jax.lax.while_loop(unfinished, body, (jnp.int32(0), jnp.float32(jnp.inf), carry))
    return Learner(unravel(flat), moments)


def _stepped(
    optimiser: optax.GradientTransformation, gradient: Array, moments: PyTree, flat: Array
) -> tuple[Array, PyTree]:
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer's power
        updates, moments = optimiser.update(gradient, moments, flat)
        return jnp.asarray(optax.apply_updates(flat, updates)), moments


def select(condition: Array, left: PyTree, right: PyTree) -> PyTree:
    """Returns leafwise `condition ? left : right`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), left, right)


def _order(settings: Refit, key: Key, num: int, size: Array) -> Array:
    """int32[num]: the first `size` rows in this epoch's order, then the first of them again, whose loss is finite."""
    order = rows = jnp.arange(num, dtype=jnp.int32)
    if settings.shuffle:
        draws = jnp.where(rows < size, jax.random.uniform(key, (num,), jnp.float32), 2.0)
        order = jnp.argsort(draws).astype(jnp.int32)
    return jnp.where(rows < size, order, order[0])
