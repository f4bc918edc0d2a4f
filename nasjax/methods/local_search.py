"""Local search: the neighbours of the best architecture so far, one by one; a better one takes its place.

Source: White, Nolen, Savani, "Exploring the Loss Landscape in Neural Architecture Search" (arXiv:2005.02960).
Ours: the first better neighbour is taken, not the best of all; when all neighbours have been asked, a draw of the prior
starts anew.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nasjax import history
from nasjax.base import Arch, Array, Evaluation, Key, Method, Origin, Proposals, Space
from nasjax.history import History
from nasjax.methods import asking, numbered


class State(NamedTuple):
    """What a search knows between two steps.

    Attributes:
      centre: the architecture whose neighbours are asked; a number where the space can be listed.
      reward: float32[], its reward; -inf where there is no centre: before the first, and after the last neighbour.
      order: the key that orders the centre's neighbours.
      fresh: bool[], whether the centre is new and has no order yet.
      history: everything asked.
    """

    centre: Arch
    reward: Array
    order: Key
    fresh: Array
    history: History


@dataclasses.dataclass(frozen=True)
class LocalSearch:
    """First-improvement hill climbing on unseen neighbours, one query a step, restarted from the prior. No settings.

    The order of a centre's neighbours is drawn once. Better means a strictly higher reward; a start without a usable
    reward is no centre, and the prior is asked again.
    """

    def build(self, space: Space, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries.

        Raises:
          ValueError: the budget is less than 1, or architectures of the space have no neighbours.
        """
        inner = numbered.numbered(space)
        if not jax.eval_shape(lambda key: inner.neighbours(inner.sample(key)), jax.random.key(0))[1].size:
            raise ValueError(
                f"local_search: architectures of {space.name} have no neighbours; more operations are needed"
            )

        def init(key: Key) -> State:
            archs = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(inner.sample, key))
            nowhere = jnp.float32(-jnp.inf)
            return State(archs, nowhere, key, jnp.zeros((), bool), history.empty(inner, budget))

        def ask(state: State, key: Key, step: Array) -> tuple[Proposals, State]:
            order = jnp.where(state.fresh, asking.own_keys(key, 1)[0], state.order)
            others, mask = inner.neighbours(state.centre)
            seen = jax.vmap(history.contains, (None, None, 0))(inner, state.history, others)
            open_ = mask & ~seen & (state.reward > -jnp.inf)
            # The neighbour of the largest word is next: an order without a sort.
            words = jax.random.bits(order, open_.shape, jnp.uint32) | jnp.uint32(1)
            chosen = jnp.argmax(jnp.where(open_, words, 0))
            candidate = jax.tree.map(lambda leaf: leaf[chosen][None], others)
            made = asking.proposals(
                inner,
                state.history,
                candidate,
                1,
                key,
                exploring=step < 1,
                origin=Origin.EDIT,
                mask=open_.any()[None],
            )
            reward = jnp.where(open_.any(), state.reward, -jnp.inf)
            state = state._replace(reward=reward, order=order, fresh=jnp.zeros((), bool))
            return numbered.spelled(space, made), state

        def tell(state: State, proposals: Proposals, evaluation: Evaluation, step: Array) -> State:
            del step
            archs = numbered.read(space, proposals.archs)
            told = history.add(inner, state.history, proposals._replace(archs=archs), evaluation)
            usable = proposals.live[0] & evaluation.valid[0] & jnp.isfinite(evaluation.reward[0])
            better = usable & (evaluation.reward[0] > state.reward)
            centre = jax.tree.map(lambda new, old: jnp.where(better, new[0], old), archs, state.centre)
            return State(
                centre, jnp.where(better, evaluation.reward[0], state.reward), state.order, state.fresh | better, told
            )

        return Method(init, ask, tell, 1)
