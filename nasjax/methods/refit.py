"""Refit of a generator to weighted graphs: minibatch Adam in one compiled loop.

The loop of GraphPNAS (Li et al., arXiv:2211.15155, with its code `DSL-Lab/GraphPNAS`): E epochs over the elite, shuffled
anew each time, in minibatches of two; the last one of an odd elite holds one graph, which then has weight 1 instead of
1/2. Adam with a constant rate. Beside it the full-batch form with a cosine, and stopping at a likelihood.

Shapes are static, the number of graphs is not: `size` of the `M` rows count. A step without graphs changes nothing. The
number of steps follows from `bound`, which a caller keeps unbatched under `vmap`, so that the loop's predicate stays
one. Ours: Adam updates each array by itself, behind a barrier (`_stepped`).
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from nasjax.base import Array, Key, PyTree

Loss: TypeAlias = Callable[[PyTree, PyTree, Array, Key], Array]
"""(params, graphs[b], coefficients float[b], key) -> float[]: Σ coefficients_i · loss(graph_i), plus what a step adds."""

Likelihood: TypeAlias = Callable[[PyTree, PyTree], Array]
"""(params, graphs[M]) -> float[M], log-likelihoods in nats."""


class Learner(NamedTuple):
    """What a refit leaves behind.

    Attributes:
      params: the generator's parameters.
      moments: the optimiser's state.
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
    return Learner(params, settings.optimiser.init(params))


def update(settings: Refit, loss: Callable[[PyTree], Array], learner: Learner) -> Learner:
    """Returns the learner after one step on `loss`, a function of the parameters alone."""
    return _stepped(settings.optimiser, jax.grad(loss)(learner.params), learner)


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
    num = weights.shape[0]
    width = min(settings.minibatch, num)
    places = jnp.arange(num + width, dtype=jnp.int32)

    def step(learner: Learner, start: Array, order: Array, key: Key) -> Learner:
        chosen = jax.lax.dynamic_slice_in_dim(order, start, width)
        counts = jax.lax.dynamic_slice_in_dim(places, start, width) < size
        coefficients = jnp.where(counts, weights[chosen], jnp.zeros((), weights.dtype))
        coefficients = coefficients / jnp.maximum(counts.sum(dtype=weights.dtype), 1)
        minibatch = jax.tree.map(lambda leaf: leaf[chosen], graphs)
        gradient = jax.grad(loss)(learner.params, minibatch, coefficients, key)
        stepped: Learner = select(start < size, _stepped(optimiser, gradient, learner), learner)
        return stepped

    def epoch(index: Array, learner: Learner) -> Learner:
        epoch_key = jax.random.fold_in(key, index)
        order = _order(settings, jax.random.fold_in(epoch_key, 0), num, size)
        order = jnp.concatenate([order, jnp.broadcast_to(order[0], width)])  # so that no slice is moved back inside

        def inner(j: Array, learner: Learner) -> Learner:
            return step(learner, j * width, order, jax.random.fold_in(epoch_key, j + 1))

        after: Learner = jax.lax.fori_loop(0, (bound + width - 1) // width, inner, learner)
        return after

    if settings.stop_at is None:
        fitted: Learner = jax.lax.fori_loop(0, epochs, epoch, learner)
        return fitted
    if log_prob is None:
        raise ValueError("refit: stop_at needs log_prob")
    stop_at = settings.stop_at

    def unfinished(loop: tuple[Array, Array, Learner]) -> Array:
        index, nats, _ = loop
        return (index < epochs) & (nats >= stop_at)

    def body(loop: tuple[Array, Array, Learner]) -> tuple[Array, Array, Learner]:
        index, _, learner = loop
        learner = epoch(index, learner)
        counted = jnp.where(jnp.arange(num) < size, weights, jnp.zeros_like(weights))
        nats = -(jnp.where(counted > 0, log_prob(learner.params, graphs), 0) * counted).sum()
        nats = nats / jnp.maximum(counted.sum(), 1e-9)
        return index + 1, nats.astype(jnp.float32), learner

    stopped: Learner = jax.lax.while_loop(unfinished, body, (jnp.int32(0), jnp.float32(jnp.inf), learner))[-1]
    return stopped


def _stepped(optimiser: optax.GradientTransformation, gradient: PyTree, learner: Learner) -> Learner:
    """The learner after one step along a gradient.

    The barrier keeps XLA from computing parts of the gradient anew within Adam's update of each array. One flat vector of all
    parameters would make Adam one kernel, but the gradient has to be put together first, which costs more on a CPU
    (docs/decisions.md).
    """
    gradient = jax.lax.optimization_barrier(gradient)  # type: ignore[no-untyped-call]
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer's power
        updates, moments = optimiser.update(gradient, learner.moments, learner.params)
        return Learner(optax.apply_updates(learner.params, updates), moments)


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
