"""Control: any method, told rewards that belong to other evaluations.

Each reward told is that of an evaluation drawn uniformly from those up to and including the present one. What the method
sees has the right distribution at every moment and no relation to the architecture, so a method that still improves
under it improves for another reason than learning: its prior, its deduplication, or chance.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nasjax.base import Array, Evaluation, Key, Method, MethodSettings, Proposals, PyTree, Space


class State(NamedTuple):
    """The wrapped method's state, and what was really measured.

    Attributes:
      method: the wrapped method's state.
      reward: float32[Q], true rewards in the order of evaluation; Q = budget.
      valid: bool[Q].
      count: int32[], evaluations so far.
      key: the control's own key; never the method's.
    """

    method: PyTree
    reward: Array
    valid: Array
    count: Array  # type: ignore[assignment]  # the field's name wins over tuple.count
    key: Key


@dataclasses.dataclass(frozen=True)
class Shuffled:
    """`method` with shuffled rewards; the run still records the true ones."""

    method: MethodSettings

    def build(self, space: Space, budget: int) -> Method:
        """Returns the wrapped method for at most `budget` unique queries.

        Raises:
          ValueError: as the wrapped method's settings.
        """
        inner = self.method.build(space, budget)

        def init(key: Key) -> State:
            own_key, method_key = jax.random.split(key)
            rewards = jnp.zeros(budget, jnp.float32)
            return State(inner.init(method_key), rewards, jnp.zeros(budget, bool), jnp.int32(0), own_key)

        def ask(state: State, key: Key, step: Array) -> tuple[Proposals, State]:
            proposals, method_state = inner.ask(state.method, key, step)
            return proposals, state._replace(method=method_state)

        def tell(state: State, proposals: Proposals, evaluation: Evaluation, step: Array) -> State:
            place = state.count + jnp.cumsum(proposals.live, dtype=jnp.int32) - 1
            written = jnp.where(proposals.live, place, budget)  # beyond the end: dropped
            reward = state.reward.at[written].set(evaluation.reward, mode="drop")
            valid = state.valid.at[written].set(evaluation.valid, mode="drop")
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(state.key, place)
            drawn = jax.vmap(lambda k, last: jax.random.randint(k, (), 0, last + 1))(keys, jnp.maximum(place, 0))
            told = evaluation._replace(reward=reward[drawn], valid=valid[drawn])
            count = state.count + proposals.live.sum(dtype=jnp.int32)
            return State(inner.tell(state.method, proposals, told, step), reward, valid, count, state.key)

        return inner._replace(init=init, ask=ask, tell=tell)
