"""BANANAS: an ensemble of small networks on path-encoded architectures, independent Thompson sampling among edits.

Source: White, Neiswanger, Savani, "BANANAS: Bayesian Optimization with Neural Architectures for Neural Architecture
Search" (arXiv:1910.11858). Ours: normal scores for targets and squared errors, in place of their percentage errors;
three hidden layers of 64 and full batches; fits every ten queries.
"""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nasjax import history
from nasjax.base import Array, Evaluation, Key, Method, Origin, PathEncoded, Proposals, Space
from nasjax.history import History
from nasjax.methods import asking, features
from nasjax.methods.features import Encoding, Kind

_KEYS = 3


class State(NamedTuple):
    """What a search knows between two steps.

    Attributes:
      ensemble: float32[members, P], the networks' parameters; zeros before the first fit.
      history: everything asked.
    """

    ensemble: Array
    history: History


@dataclasses.dataclass(frozen=True)
class Bananas:
    """`initial` draws of the prior; then the unseen edit of the best whose sampled score is highest.

    A candidate's score is drawn from N(mean, sd) of the members' predictions.

    Attributes:
      initial: queries of the prior at the start.
      refit_every: queries between two fits, each from scratch; the first after `initial`.
      members: networks.
      hidden: their layers' widths.
      steps: full-batch Adam steps of a fit.
      rate: their rate.
      candidates: single edits of the `parents` best.
      parents: see `candidates`.
      encoding: "paths" or "one_hot"; None = paths where the space has them.
      batch: architectures a step: the best candidates of one model.
    """

    initial: int = 20
    refit_every: int = 10
    members: int = 5
    hidden: tuple[int, ...] = (64, 64, 64)
    steps: int = 100
    rate: float = 0.01
    candidates: int = 100
    parents: int = 10
    encoding: Kind | None = None
    batch: int = 1

    def build(self, space: Space, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries.

        Raises:
          ValueError: a setting is out of range, or the space has no such encoding.
        """
        kind = self.encoding or ("paths" if isinstance(space, PathEncoded) else "one_hot")
        encoding = features.encoding(space, kind, "bananas")
        for name in ("initial", "refit_every", "members", "steps", "candidates", "parents", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"bananas: {name}={getattr(self, name)}; at least 1")
        if not self.rate > 0:
            raise ValueError(f"bananas: rate={self.rate}; above 0")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"bananas: hidden={self.hidden}; widths of at least 1")
        if self.candidates < self.batch:
            raise ValueError(f"bananas: candidates={self.candidates} for a batch of {self.batch}")
        explore_steps = asking.steps(self.initial, self.batch)
        period = asking.steps(self.refit_every, self.batch)
        widths = (encoding.size, *self.hidden, 1)

        def init(key: Key) -> State:
            del key
            return State(jnp.zeros((self.members, num_parameters(widths)), jnp.float32), history.empty(space, budget))

        def ask(state: State, key: Key, step: Array) -> tuple[Proposals, State]:
            fit_key, edit_key, score_key = asking.own_keys(key, _KEYS)
            number = step - explore_steps
            # The step is never batched, so this stays one branch under vmap over seeds.
            ensemble = jax.lax.cond(
                (number >= 0) & (number % period == 0),
                lambda: self._fitted(widths, encoding, state.history, fit_key),
                lambda: state.ensemble,
            )
            candidates, allowed = asking.edits_of_best(space, state.history, self.candidates, self.parents, edit_key)
            points = jax.vmap(encoding.encode)(candidates)
            predicted = jax.vmap(lambda member: predict(widths, member, points))(ensemble)
            noise = jax.random.normal(score_key, (self.candidates,), jnp.float32)
            score = predicted.mean(axis=0) + predicted.std(axis=0) * noise
            order = jnp.argsort(-score, stable=True)
            made = asking.proposals(
                space,
                state.history,
                jax.tree.map(lambda leaf: leaf[order], candidates),
                self.batch,
                key,
                exploring=number < 0,
                origin=Origin.MODEL,
                mask=allowed[order],
            )
            return made, State(ensemble, state.history)

        def tell(state: State, proposals: Proposals, evaluation: Evaluation, step: Array) -> State:
            del step
            return state._replace(history=history.add(space, state.history, proposals, evaluation))

        return Method(init, ask, tell, self.batch, learned=True)

    def _fitted(self, widths: tuple[int, ...], encoding: Encoding, past: History, key: Key) -> Array:
        """The ensemble, fitted from scratch to the normal scores of the valid results."""
        mask = past.valid & (jnp.arange(past.valid.size) < past.count)
        points = jax.vmap(encoding.encode)(past.archs)
        targets = features.normal_scores(past.reward, mask)
        starts = jax.vmap(lambda key: initial_parameters(widths, key))(jax.random.split(key, self.members))
        return fit(widths, starts, points, targets, mask, self.steps, self.rate)


def num_parameters(widths: tuple[int, ...]) -> int:
    """Returns P, the number of parameters of one network."""
    return sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths))


def initial_parameters(widths: tuple[int, ...], key: Key) -> Array:
    """Returns float32[P]: weights from N(0, 2 / inputs) (He et al., arXiv:1502.01852), biases 0; `key` is consumed."""
    scale = [
        np.concatenate([np.full(inputs * outputs, np.sqrt(2 / inputs)), np.zeros(outputs)])
        for inputs, outputs in itertools.pairwise(widths)
    ]
    return jax.random.normal(key, (num_parameters(widths),), jnp.float32) * np.concatenate(scale).astype(np.float32)


def predict(widths: tuple[int, ...], member: Array, points: Array) -> Array:
    """Returns float32[C], the predictions of one network of parameters float32[P] at float32[C, F]; ReLU between layers."""
    start, values = 0, points
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        weights = member[start : start + inputs * outputs].reshape(inputs, outputs)
        start += inputs * outputs
        values = values @ weights + member[start : start + outputs][None]
        start += outputs
        if layer + 2 < len(widths):
            values = jax.nn.relu(values)
    return values[:, 0]


def fit(
    widths: tuple[int, ...], starts: Array, points: Array, targets: Array, mask: Array, steps: int, rate: float
) -> Array:
    """Returns float32[members, P] after full-batch Adam steps on the mean squared error of the rows that count.

    Args:
      widths: of the layers, from the inputs to 1.
      starts: float32[members, P].
      points: float32[Q, F].
      targets: float32[Q].
      mask: bool[Q].
      steps: number of steps.
      rate: Adam's.
    """
    optimiser = optax.adam(rate)
    number = jnp.maximum(mask.sum(dtype=jnp.float32), 1)

    def loss(members: Array) -> Array:
        predicted = jax.vmap(lambda member: predict(widths, member, points))(members)
        error = jnp.where(mask[None], predicted - targets[None], 0)  # before the square: NaN has no gradient to mask
        return (error**2).sum() / number  # members are independent

    def step(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], None]:
        members, moments = carry
        gradient = jax.grad(loss)(members)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer's power
            update, moments = optimiser.update(gradient, moments, members)
        return (members + update, moments), None

    return jax.lax.scan(step, (starts, optimiser.init(starts)), None, length=steps)[0][0]
