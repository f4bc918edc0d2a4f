"""Random search: the space's prior, each network once.

The baseline that any claim must beat; its strength is the prior's.
"""

import dataclasses

import jax

from nasjax import history
from nasjax.base import Array, Evaluation, Key, Method, Origin, Proposals, Space
from nasjax.history import History


@dataclasses.dataclass(frozen=True)
class RandomSearch:
    """`batch` unseen draws from the prior a step.

    Attributes:
      batch: architectures a step.
    """

    batch: int = 8

    def build(self, space: Space, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries; its state is the history.

        Raises:
          ValueError: batch or budget is less than 1.
        """
        if self.batch < 1:
            raise ValueError(f"random_search: a batch of {self.batch}; at least 1 is needed")
        if budget < 1:
            raise ValueError(f"random_search: a budget of {budget} evaluations; at least 1 is needed")
        num_candidates = max(16, 2 * self.batch)  # spares, so that repeats rarely need a refill

        def init(key: Key) -> History:
            del key
            return history.empty(space, budget)

        def ask(state: History, key: Key, step: Array) -> tuple[Proposals, History]:
            del step
            candidate_key, choice_key = jax.random.split(key)
            candidates = jax.vmap(space.sample)(jax.random.split(candidate_key, num_candidates))
            return history.first_unseen(space, state, candidates, self.batch, choice_key, origin=Origin.PRIOR), state

        def tell(state: History, proposals: Proposals, evaluation: Evaluation, step: Array) -> History:
            del step
            return history.add(space, state, proposals, evaluation)

        return Method(init, ask, tell, self.batch)
