"""Regularised evolution: the winner of a tournament is mutated, and the oldest member of the population leaves.

Source: Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search" (arXiv:1802.01548).
Ours: each network is asked once. A step draws 16 pairs of tournament and mutation and asks the first whose child is
unseen, which is the law of drawing until one is. A tournament is one draw of the winner's rank.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import history
from nasjax.base import Arch, Array, Enumerable, Evaluation, Key, Method, Origin, Proposals, Space
from nasjax.history import History
from nasjax.methods import asking, numbered

Mutation: TypeAlias = Literal["edit", "bernoulli"]

CHILDREN = 16
"""Least number of children a step draws. On NAS-Bench-201 the first unseen one of 500 queries stands at .69 on average."""


class State(NamedTuple):
    """What a search knows between two steps; P members.

    Attributes:
      archs: Arch[P], the population, the n-th query in row n mod P; numbers where the space can be listed.
      reward: float32[P]; -inf where there is none: not valid, or no member yet.
      history: everything asked.
    """

    archs: Arch
    reward: Array
    history: History


@dataclasses.dataclass(frozen=True)
class RegularizedEvolution:
    """`population` draws of the prior; then children of tournament winners.

    Members without a usable reward stay until they are the oldest, but never win. A tournament of such alone has no
    child; if no pair of a step has an unseen one, the prior is asked.

    Attributes:
      population: members P; None = 20 where the space can be listed, 30 elsewhere.
      sample: members of a tournament; None = 5 or 10.
      mutation: "edit", one edit of the space, or "bernoulli", every part with some probability (`mutate_bernoulli` of
        the space); None = "bernoulli" where the space has it.
      batch: architectures a step; all rows of a step come from the same population.
    """

    population: int | None = None
    sample: int | None = None
    mutation: Mutation | None = None
    batch: int = 1

    def build(self, space: Space, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries.

        Raises:
          ValueError: a setting is out of range, or the space has no Bernoulli mutation.
        """
        size, entrants = self._sizes(space)
        num_children = max(CHILDREN, 2 * self.batch)
        explore_steps = asking.steps(size, self.batch)
        mutate = self._mutation(space)
        inner = numbered.numbered(space)
        thresholds = _rank_thresholds(size, entrants)
        row = np.arange(size, dtype=np.int32)

        def init(key: Key) -> State:
            shapes = jax.eval_shape(inner.sample, key)
            archs = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes)
            return State(archs, jnp.full(size, -jnp.inf, jnp.float32), history.empty(inner, budget))

        def ask(state: State, key: Key, step: Array) -> tuple[Proposals, State]:
            keys = asking.own_keys(key, num_children + 1)
            words = jax.random.bits(keys[-1], (num_children,), jnp.uint32)
            winner = _members(state, row, _ranks(words, thresholds))
            parents = jax.tree.map(lambda leaf: leaf[winner], state.archs)
            made = asking.proposals(
                inner,
                state.history,
                jax.vmap(mutate)(keys[:-1], parents),
                self.batch,
                key,
                exploring=step < explore_steps,
                origin=Origin.EDIT,
                mask=state.reward[winner] > -jnp.inf,
            )
            return numbered.spelled(space, made), state

        def tell(state: State, proposals: Proposals, evaluation: Evaluation, step: Array) -> State:
            del step
            archs = numbered.read(space, proposals.archs)
            told = history.add(inner, state.history, proposals._replace(archs=archs), evaluation)
            place = _modulo(state.history.count + jnp.arange(self.batch, dtype=jnp.int32), size)
            place = jnp.where(proposals.live, place, size)  # out of range: dropped
            usable = evaluation.valid & jnp.isfinite(evaluation.reward)
            reward = state.reward.at[place].set(jnp.where(usable, evaluation.reward, -jnp.inf), mode="drop")
            population = jax.tree.map(lambda old, new: old.at[place].set(new, mode="drop"), state.archs, archs)
            return State(population, reward, told)

        return Method(init, ask, tell, self.batch)

    def _sizes(self, space: Space) -> tuple[int, int]:
        """Members of the population and of a tournament."""
        listed = isinstance(space, Enumerable)
        size = (20 if listed else 30) if self.population is None else self.population
        entrants = min(5 if listed else 10, size) if self.sample is None else self.sample
        if not 1 <= entrants <= size:
            raise ValueError(
                f"regularized_evolution: a tournament of sample={entrants} among population={size}; 1 to {size}"
            )
        if not 1 <= self.batch <= size:
            raise ValueError(f"regularized_evolution: a batch of {self.batch} with population={size}; 1 to {size}")
        return size, entrants

    def _mutation(self, space: Space) -> Any:
        """(key, architecture of `numbered(space)`) -> such a child."""
        bernoulli = getattr(space, "mutate_bernoulli", None)
        if self.mutation not in (None, "edit", "bernoulli"):
            raise ValueError(f"regularized_evolution: unknown mutation {self.mutation!r}; one of edit, bernoulli")
        if self.mutation == "bernoulli" and bernoulli is None:
            raise ValueError(f"regularized_evolution: {space.name} has no Bernoulli mutation; mutation='edit'")
        if self.mutation == "edit" or bernoulli is None:
            return numbered.numbered(space).mutate
        if not isinstance(space, Enumerable):
            return bernoulli
        inner, index = numbered.Numbered(space), cast(Any, space).index
        return lambda key, number: index(bernoulli(key, inner.arch(number)))


def winner_law(population: int, sample: int) -> list[tuple[int, int]]:
    """Returns for each rank, the best first, the winner's probability as (numerator, denominator).

    Among all sets of `sample` members, those won by rank r have r and sample - 1 of the P - 1 - r worse ones.
    """
    sets = math.comb(population, sample)
    return [(math.comb(population - 1 - rank, sample - 1), sets) for rank in range(population)]


def _rank_thresholds(population: int, sample: int) -> np.ndarray:
    """uint32[P - sample], a uniform word's thresholds between the ranks that can win: exact to 2^-32."""
    law = winner_law(population, sample)[: population - sample]
    cumulative = np.cumsum([numerator for numerator, _ in law], dtype=object)
    return np.array([(int(sum_) << 32) // math.comb(population, sample) for sum_ in cumulative], np.uint32)


def _ranks(words: Array, thresholds: np.ndarray) -> Array:
    """int32[C], ranks of the winners by uniform words."""
    return (words[:, None] >= jnp.asarray(thresholds)[None]).sum(axis=1, dtype=jnp.int32)


def _members(state: State, row: np.ndarray, wanted: Array) -> Array:
    """int32[C], rows of the members of the wanted ranks; of equal rewards the older ranks higher."""
    oldest = _modulo(state.history.count, row.size)
    age = jnp.where(row >= oldest, row - oldest, row - oldest + row.size)  # 0 = the oldest
    reward = state.reward
    higher = reward[None, :] > reward[:, None]
    before = higher | ((reward[None, :] == reward[:, None]) & (age[None, :] < age[:, None]))
    rank = before.sum(axis=1, dtype=jnp.int32)
    return jnp.argmax(rank[None, :] == wanted[:, None], axis=1).astype(jnp.int32)


def _modulo(number: Array, size: int) -> Array:
    """int32[...], number mod size; without signs, whose care would cost as much again."""
    remainder: Array = number.astype(jnp.uint32) % jnp.uint32(size)
    return remainder.astype(jnp.int32)
