"""Bayesian optimisation with an exact Gaussian process on one-hot architectures and expected improvement.

Source: Jones, Schonlau, Welch, "Efficient Global Optimization of Expensive Black-Box Functions" (1998); for
architectures: White et al., "BANANAS" (arXiv:1910.11858), whose baseline it is. Ours: normal scores for targets, MAP
hyperparameters, candidates half edits of the best and half draws of the prior (what it reaches: docs/nasbench201_controls.md).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nasjax import history
from nasjax.base import Arch, Array, Evaluation, Key, Method, Origin, Proposals, Space
from nasjax.history import History
from nasjax.methods import asking, features, gaussian_process
from nasjax.methods.features import Encoding, Kind

_KEYS = 2


class State(NamedTuple):
    """What a search knows between two steps.

    Attributes:
      theta: float32[3], the process's hyperparameters (log l, log s^2, log t^2); zeros before the first fit.
      history: everything asked.
    """

    theta: Array
    history: History


@dataclasses.dataclass(frozen=True)
class GpBo:
    """`initial` draws of the prior; then the unseen candidate of largest expected improvement.

    Attributes:
      initial: queries of the prior at the start.
      refit_every: queries between two fits of the hyperparameters, the first after `initial`.
      steps: Adam steps of a fit, from the last fit's result.
      rate: their rate.
      edits: candidates that are single edits of the `parents` best.
      draws: candidates that are draws of the prior.
      parents: see `edits`.
      encoding: "one_hot" or "paths".
      batch: architectures a step: the best candidates of one model.
    """

    initial: int = 20
    refit_every: int = 10
    steps: int = 50
    rate: float = 0.1
    edits: int = 200
    draws: int = 200
    parents: int = 10
    encoding: Kind = "one_hot"
    batch: int = 1

    def build(self, space: Space, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries.

        Raises:
          ValueError: a setting is out of range, or the space has no such encoding.
        """
        encoding = features.encoding(space, self.encoding, "gp_bo")
        for name in ("initial", "refit_every", "steps", "edits", "draws", "parents", "batch"):
            least = 0 if name in ("edits", "draws") else 1
            if getattr(self, name) < least:
                raise ValueError(f"gp_bo: {name}={getattr(self, name)}; at least {least}")
        if not self.rate > 0:
            raise ValueError(f"gp_bo: rate={self.rate}; above 0")
        if self.edits + self.draws < self.batch:
            raise ValueError(f"gp_bo: edits + draws = {self.edits + self.draws} candidates for a batch of {self.batch}")
        explore_steps = asking.steps(self.initial, self.batch)
        period = asking.steps(self.refit_every, self.batch)

        def init(key: Key) -> State:
            del key
            return State(jnp.zeros(3, jnp.float32), history.empty(space, budget))

        def ask(state: State, key: Key, step: Array) -> tuple[Proposals, State]:
            own = asking.own_keys(key, _KEYS)
            number = step - explore_steps

            def chosen() -> tuple[Array, Arch, Array]:
                points, targets, mask = _data(encoding, state.history)
                # The step is never batched, so this stays one branch under vmap over seeds; so does the one around it.
                theta = jax.lax.cond(
                    number % period == 0,
                    lambda: self._fitted(state.theta, number == 0, points, targets, mask),
                    lambda: state.theta,
                )
                candidates, allowed = self._candidates(space, state.history, own)
                given = gaussian_process.posterior(points, targets, mask, theta)
                mean, variance = gaussian_process.predict(given, jax.vmap(encoding.encode)(candidates))
                best = jnp.max(targets, where=mask, initial=-jnp.inf)
                gain = gaussian_process.expected_improvement(mean, variance, jnp.where(mask.any(), best, 0))
                order = jnp.argsort(jnp.where(allowed, -gain, jnp.inf), stable=True)
                return theta, jax.tree.map(lambda leaf: leaf[order], candidates), allowed[order]

            def nothing() -> tuple[Array, Arch, Array]:
                shapes = jax.eval_shape(chosen)
                blank: tuple[Array, Arch, Array] = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
                return state.theta, *blank[1:]

            theta, candidates, allowed = jax.lax.cond(number >= 0, chosen, nothing)
            made = asking.proposals(
                space,
                state.history,
                candidates,
                self.batch,
                key,
                exploring=number < 0,
                origin=Origin.MODEL,
                mask=allowed,
            )
            return made, State(theta, state.history)

        def tell(state: State, proposals: Proposals, evaluation: Evaluation, step: Array) -> State:
            del step
            return state._replace(history=history.add(space, state.history, proposals, evaluation))

        return Method(init, ask, tell, self.batch, learned=True)

    def _fitted(self, theta: Array, first: Array, points: Array, targets: Array, mask: Array) -> Array:
        """Hyperparameters of largest posterior density, from the last ones; the first time from the prior's means.

        The prior's means too where float32 cannot factor the covariance that was found, as of rewards that a few decisions
        explain without noise: one NaN would stay for the rest of the search.
        """
        distance = gaussian_process.distances(points, points)
        means = gaussian_process.prior_means(distance, mask)
        start = jnp.where(first, means, theta)
        found = gaussian_process.fit(start, distance, targets, mask, means, self.steps, self.rate)
        return jnp.where(gaussian_process.factorable(distance, mask, found), found, means)

    def _candidates(self, space: Space, past: History, keys: Key) -> tuple[Arch, Array]:
        """(Arch[edits + draws], bool[edits + draws])."""
        edited, there = asking.edits_of_best(space, past, self.edits, self.parents, keys[0])
        drawn = jax.vmap(space.sample)(jax.random.split(keys[1], self.draws))
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), edited, drawn)
        return both, jnp.concatenate([there, jnp.ones(self.draws, bool)])


def _data(encoding: Encoding, past: History) -> tuple[Array, Array, Array]:
    """(float32[Q, F], normal scores float32[Q], bool[Q]) of the valid results."""
    mask = past.valid & (jnp.arange(past.valid.size) < past.count)
    return jax.vmap(encoding.encode)(past.archs), features.normal_scores(past.reward, mask), mask
