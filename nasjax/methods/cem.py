"""Cross-entropy method: each decision is drawn from its weighted frequencies among the best architectures so far.

Source: Rubinstein, "The Cross-Entropy Method for Combinatorial and Continuous Optimization" (1999), for independent
categoricals. Ours: rank weights, pseudo-counts, and fresh frequencies after every query. It is the control of any
learned generator: what a model of independent decisions achieves without a network.

Weights and pseudo-counts are integers, so that a search walks the same trajectory in every compiled program.
"""

import dataclasses
import fractions
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import history
from nasjax.base import Array, Enumerable, Evaluation, Factored, Key, Method, Origin, Proposals, Space
from nasjax.history import History
from nasjax.methods import asking, numbered

LARGEST_TOTAL = 1 << 22
"""Of a decision's integer weights: the word that draws it is uniform on them up to a relative 2^-10."""


class State(NamedTuple):
    """What a search knows between two steps; M rows, the best first, of equal rewards the earlier first.

    Attributes:
      reward: float32[M], of the elite; -inf in rows that are free.
      decisions: int32[M, D].
      history: everything asked.
    """

    reward: Array
    decisions: Array
    history: History


@dataclasses.dataclass(frozen=True)
class Cem:
    """`explore` draws of the prior; then draws from p_v = (Σ w_i [decision_i = v] + a) / (Σ w_i + K a).

    The sums run over the n <= M best, weights w_i = (n - i) / n, i = 0 for the best.

    Attributes:
      explore: queries of the prior at the start.
      elite: M.
      pseudo: a, the pseudo-count of each of a decision's K values; a decimal number of at most three places.
      draws: candidates a step, of which the first valid and unseen are asked; None = 32 where the space can be listed,
        128 elsewhere, where draws may be invalid.
      batch: architectures a step, all from the same frequencies.
    """

    explore: int = 30
    elite: int = 10
    pseudo: float = 0.1
    draws: int | None = None
    batch: int = 1

    def build(self, space: Space, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries.

        Raises:
          ValueError: a setting is out of range, or the space is no product of choices.
        """
        if not isinstance(space, Factored):
            raise ValueError(f"cem: {space.name} is no product of choices (base.Factored)")
        pseudo = self._pseudo(space)
        draws = (32 if isinstance(space, Enumerable) else 128) if self.draws is None else self.draws
        for name, value in (("explore", self.explore), ("elite", self.elite), ("batch", self.batch), ("draws", draws)):
            if value < (0 if name == "explore" else 1):
                raise ValueError(f"cem: {name}={value}; at least {0 if name == 'explore' else 1}")
        num_draws = max(draws, 2 * self.batch)
        explore_steps = asking.steps(self.explore, self.batch)
        inner = numbered.numbered(space)

        def init(key: Key) -> State:
            del key
            free = jnp.full(self.elite, -jnp.inf, jnp.float32)
            return State(free, jnp.zeros((self.elite, len(space.choices)), jnp.int32), history.empty(inner, budget))

        def ask(state: State, key: Key, step: Array) -> tuple[Proposals, State]:
            words = jax.random.bits(asking.own_keys(key, 1)[0], (num_draws, len(space.choices)), jnp.uint32)
            weights = frequencies(space.choices, state.decisions, state.reward > -jnp.inf, pseudo)
            archs = jax.vmap(space.from_decisions)(_drawn(weights, words))
            valid = jax.vmap(space.is_valid)(archs)
            made = asking.proposals(
                inner,
                state.history,
                numbered.read(space, archs),
                self.batch,
                key,
                exploring=step < explore_steps,
                origin=Origin.MODEL,
                mask=valid & (state.reward[0] > -jnp.inf),
            )
            return numbered.spelled(space, made), state

        def tell(state: State, proposals: Proposals, evaluation: Evaluation, step: Array) -> State:
            del step
            archs = numbered.read(space, proposals.archs)
            told = history.add(inner, state.history, proposals._replace(archs=archs), evaluation)
            usable = proposals.live & evaluation.valid & jnp.isfinite(evaluation.reward)
            reward = jnp.where(usable, evaluation.reward, -jnp.inf)
            decisions = jax.vmap(space.decisions)(proposals.archs)
            for row in range(self.batch):
                state = _inserted(state, reward[row], decisions[row])
            return state._replace(history=told)

        return Method(init, ask, tell, self.batch)

    def _pseudo(self, space: Factored) -> fractions.Fraction:
        """The pseudo-count as an exact fraction whose integer weights fit."""
        pseudo = fractions.Fraction(repr(float(self.pseudo))) if np.isfinite(self.pseudo) else fractions.Fraction(-1)
        if pseudo < 0 or pseudo.denominator > 1000:
            raise ValueError(f"cem: pseudo={self.pseudo}; a number from 0 with at most three decimal places")
        size = self.elite * (self.elite + 1) // 2 * pseudo.denominator
        largest = size + max(space.choices) * self.elite * pseudo.numerator
        if largest > LARGEST_TOTAL:
            raise ValueError(
                f"cem: elite={self.elite} with pseudo={self.pseudo}: weights to {largest}, at most {LARGEST_TOTAL}"
            )
        return pseudo


def frequencies(choices: tuple[int, ...], decisions: Array, mask: Array, pseudo: fractions.Fraction) -> Array:
    """Returns int32[D, K], integers proportional to each decision's p_v; 0 for values that a decision has not.

    They are p_v's numerator and denominator times n and the denominator of `pseudo`.

    Args:
      choices: number of values of each decision; K is the largest.
      decisions: int32[M, D] of the elite, the best first.
      mask: bool[M], rows that count, these first.
      pseudo: a.
    """
    size = mask.sum(dtype=jnp.int32)
    rank = jnp.arange(mask.size, dtype=jnp.int32)
    weight = jnp.where(mask, size - rank, 0) * pseudo.denominator
    values = np.arange(max(choices), dtype=np.int32)
    hits = decisions[:, :, None] == values[None, None]
    counts = jnp.where(hits, weight[:, None, None], 0).sum(axis=0, dtype=jnp.int32)
    there = jnp.asarray(values[None] < np.array(choices, np.int32)[:, None])
    return jnp.where(there, counts + size * pseudo.numerator, 0)


def _drawn(weights: Array, words: Array) -> Array:
    """int32[C, D], each decision by its integer weights int32[D, K] and a uniform word uint32[C, D]."""
    ends = jnp.cumsum(weights, axis=1).astype(jnp.uint32)
    ticket = words % jnp.maximum(ends[:, -1], 1)[None]
    return (ticket[:, :, None] >= ends[None, :, :-1]).sum(axis=2, dtype=jnp.int32)


def _inserted(state: State, reward: Array, decisions: Array) -> State:
    """The elite with another result in its place, behind equal ones; no change where the reward is -inf or too low."""
    rank = jnp.arange(state.reward.size, dtype=jnp.int32)
    place = (state.reward >= reward).sum(dtype=jnp.int32)

    def put(column: Array, value: Array) -> Array:
        expanded = (-1, *[1] * (column.ndim - 1))
        shifted = jnp.roll(column, 1, axis=0)
        below = jnp.where((rank > place).reshape(expanded), shifted, column)
        return jnp.where((rank == place).reshape(expanded), value[None], below)

    return state._replace(reward=put(state.reward, reward), decisions=put(state.decisions, decisions))
