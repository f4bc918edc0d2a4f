"""A whole search as one compiled program, and what that shares with the search from the host."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from nasjax.base import Arch, Array, Evaluation, Evaluator, Key, Method, PyTree, Space

INIT, RUN = 0xFFFFFFFF, 0x5EED
"""Folded into the search key for the method's initial state and for the evaluations; steps for the batches."""


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Trace(NamedTuple):
    """All queries of a search in order; T = steps x batch rows, of which those that are `live` count.

    Attributes:
      archs: Arch[T].
      keys: uint32[T, 2], canonical.
      reward: float32[T]; NaN where not valid.
      valid: bool[T].
      live: bool[T].
      cost: float32[T].
      origin: int32[T], a `base.Origin`.
      metrics: float32[T] by name.
      info: float32[steps] by name.
    """

    archs: Arch
    keys: Array
    reward: Array
    valid: Array
    live: Array
    cost: Array
    origin: Array
    metrics: dict[str, Array]
    info: dict[str, Array]


def scan_search(space: Space, method: Method, evaluator: Evaluator, budget: int) -> Callable[[Key], Trace]:
    """Returns a whole search as one function of its key, to be jitted, and vmapped over keys for seeds.

    Args:
      space: where to search.
      method: built for `budget`.
      evaluator: a pure one.
      budget: number of unique queries; a search takes `num_steps(method, budget)` steps.

    Raises:
      ValueError: the evaluator is not pure.
    """
    if not evaluator.pure:
        raise ValueError(f"scan_search: {type(evaluator).__name__} is not pure, so it cannot be traced; use run_search")

    @full_precision
    def search(key: Key) -> Trace:
        run_key = jax.random.fold_in(key, RUN)

        def batch(state: PyTree, step: Array) -> tuple[PyTree, Trace]:
            proposals, state = method.ask(state, jax.random.fold_in(key, step), step)
            evaluation = usable(evaluator(run_key, proposals.archs))
            state = method.tell(state, proposals, evaluation, step)
            keys = jax.vmap(space.canonical_key)(proposals.archs)
            row = Trace(
                archs=proposals.archs,
                keys=keys,
                reward=evaluation.reward,
                valid=evaluation.valid,
                live=proposals.live,
                cost=evaluation.cost,
                origin=proposals.origin,
                metrics=evaluation.metrics,
                info=proposals.info,
            )
            return strong(state), row

        state = strong(method.init(jax.random.fold_in(key, INIT)))
        steps = jnp.arange(num_steps(method, budget), dtype=jnp.int32)
        rows = jax.lax.scan(batch, state, steps)[1]
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows._replace(info={}))
        trace: Trace = flat._replace(info=rows.info)
        return trace

    return search


def full_precision(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Gives a function's products their numbers' own precision, unless the user has set jax's `jax_default_matmul_precision`.

    Left to themselves, accelerators round the factors of float32 products to 10 bits (TF32) or 7 (bfloat16). Distances and
    covariances do not survive that, and what a search computes is too small for it to pay.
    """

    @functools.wraps(function)
    def traced(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        with jax.default_matmul_precision(jax.config.jax_default_matmul_precision or "highest"):  # type: ignore[attr-defined]
            return function(*arguments, **named)

    return traced


def num_steps(method: Method, budget: int) -> int:
    """Returns the steps of a search, at most."""
    return math.ceil(budget / method.batch) if method.steps is None else method.steps


def usable(evaluation: Evaluation) -> Evaluation:
    """NaN and infinity are no rewards, and what is not valid has none: one bit pattern whatever stood there."""
    valid = evaluation.valid & jnp.isfinite(evaluation.reward)
    return evaluation._replace(valid=valid, reward=jnp.where(valid, evaluation.reward, jnp.float32(jnp.nan)))


def strong(state: PyTree) -> PyTree:
    """Makes weakly typed leaves strong, as they are after a restart; else a resumed run would be another program."""

    def one(leaf: Array) -> Array:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf if is_key else jax.lax.convert_element_type(leaf, leaf.dtype)

    return jax.tree.map(one, state)
