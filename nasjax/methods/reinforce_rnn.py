"""The recurrent baseline: an LSTM proposes, and learns from the best so far or from each batch by REINFORCE.

Source: the two controllers that the graph generator is compared with: GraphPNAS's own recurrent baseline (Li et al.,
arXiv:2211.15155, `lstm.py` of its code), refitted to the elite as its graph generator is, and ENAS's (Pham et al.,
arXiv:1802.03268), trained by policy gradients. `nasjax.recurrent` says what both get wrong and is right here.
Ours, besides: elites have rank weights; the policy gradient's baseline is the mean reward of the batch's other members,
where ENAS keeps a moving average, since a budget of 100 evaluations has ten batches; what is proposed is always new, so a
batch is not quite a draw of the policy.
"""

import dataclasses
import functools
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import history, recurrent
from nasjax.base import Array, Evaluation, Generable, Key, Method, Origin, Proposals, PyTree, Rows, Space
from nasjax.history import History
from nasjax.methods import drawing, elites, refit, reinforce
from nasjax.methods.refit import Learner, Refit
from nasjax.recurrent import RecurrentConfig

INITIAL = {"elite": None, "reinforce": 0.1}
"""Bound of the initial weights: PyTorch's default; ENAS's."""


class State(NamedTuple):
    """What a search knows between two steps.

    Attributes:
      history: everything evaluated.
      learner: the policy and its optimiser; None with "elite", which starts afresh at every step.
    """

    history: History
    learner: Learner | None


@dataclasses.dataclass(frozen=True)
class ReinforceRnn:
    """`explore_iters` batches of the prior, then batches of an LSTM.

    A field that is None has the default of its objective, in brackets (elite / reinforce); "-": it has no meaning there
    and must stay None. The protocols of the elite objective are GraphPNAS's (`nasjax.methods.graphpnas_settings`); the
    defaults are the one for NAS-Bench-201's CIFAR-100. Learning rates, temperatures and the entropy's weight are the best of
    those that were compared there (docs/reinforce_rnn.md).

    Attributes:
      objective: "elite": before each batch a fresh LSTM is fitted to the best evaluated so far by weighted maximum
        likelihood, in minibatches of two. "reinforce": after each batch `inner_steps` Adam steps along the policy
        gradient of that batch, leave-one-out baseline.
      batch: architectures a step (1 / 10); at least 2 with "reinforce".
      explore_iters: steps that draw from the space's prior (15 / 0).
      hidden: units of a layer (128 / 64).
      layers: (2 / 1).
      temperature: divides the outputs before they are squashed (5 / 5).
      squash: largest logit, the factor of tanh (2.5 / 1.5).
      learning_rate: Adam's (1e-3 / 3.5e-3).
      elite: number of best architectures (10 / -).
      epochs: of a refit (60 / -).
      weights: of the elite, as in GraphPNAS (rank / -).
      inner_steps: Adam steps a batch (- / 20).
      entropy: weight of the policy's entropy, in units of the scaled reward a nat (- / 1e-4).
      skip_weight: weight of the divergence of edge probabilities from `skip_target`, the mean over rows of the sum over a
        row's bits (- / 0.8 where the space is a chain, as ENAS's, with optional skips; else 0).
      skip_target: see there (- / 0.4).
      reward_scale: multiplies rewards (- / 1); ENAS's weights above are meant for accuracies in [0, 1], so 0.01 for per cent.
      candidates: draws a step, of which the first new ones are evaluated.
    """

    objective: Literal["elite", "reinforce"] = "elite"
    batch: int | None = None
    explore_iters: int | None = None
    hidden: int | None = None
    layers: int | None = None
    temperature: float | None = None
    squash: float | None = None
    learning_rate: float | None = None
    elite: int | None = None
    epochs: int | None = None
    weights: elites.Weights | None = None
    inner_steps: int | None = None
    entropy: float | None = None
    skip_weight: float | None = None
    skip_target: float | None = None
    reward_scale: float | None = None
    candidates: int = 128

    def build(self, space: Space, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries.

        Raises:
          ValueError: a setting is out of range or belongs to the other objective, or the space cannot be written row by
            row.
        """
        plan = _Plan(self._checked(space, budget), cast(Generable, space), budget)
        plan.config.__post_init__()
        init, ask, tell = functools.partial(_init, plan), functools.partial(_ask, plan), functools.partial(_tell, plan)
        return Method(init, ask, tell, plan.batch, learned=True)

    def resolved(self) -> "ReinforceRnn":
        """Returns the settings with those defaults filled in that depend on the objective alone; none if it is unknown."""
        defaults = _DEFAULTS.get(self.objective, {})
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)  # type: ignore[arg-type]

    def _checked(self, space: Space, budget: int) -> "ReinforceRnn":
        """The settings with all defaults filled in."""
        if self.objective not in _DEFAULTS:
            raise ValueError(f"reinforce_rnn: objective is {self.objective!r}; one of {', '.join(_DEFAULTS)}")
        if not isinstance(space, Generable):
            raise ValueError(
                f"reinforce_rnn: the space {getattr(space, 'name', space)!r} cannot be written row by row; one with "
                "alphabet, to_rows and from_rows (nasjax.base.Generable) is needed"
            )
        if budget < 1:
            raise ValueError(f"reinforce_rnn: a budget of {budget} evaluations; at least 1 is needed")
        known = {*_DEFAULTS[self.objective], *(["skip_weight"] if self.objective == "reinforce" else [])}
        for name in {name for values in _DEFAULTS.values() for name in values} | {"skip_weight"}:
            if name not in known and getattr(self, name) is not None:
                raise ValueError(f"reinforce_rnn: {name} has no meaning with objective={self.objective!r}")
        settings = self.resolved()
        if self.objective == "reinforce" and self.skip_weight is None:
            settings = dataclasses.replace(settings, skip_weight=0.8 if space.alphabet.chain else 0.0)
        least = {**_LEAST, "batch": 2} if self.objective == "reinforce" else _LEAST
        for name, minimum in least.items():
            value = getattr(settings, name)
            if value is not None and not value >= minimum:
                raise ValueError(f"reinforce_rnn: {name} is {value!r}; at least {minimum}")
        if not cast(float, settings.learning_rate) > 0:
            raise ValueError(f"reinforce_rnn: learning_rate is {settings.learning_rate!r}; above 0")
        if settings.skip_target is not None and not 0 < settings.skip_target < 1:
            raise ValueError(f"reinforce_rnn: skip_target is {settings.skip_target!r}; between 0 and 1")
        if settings.weights not in (None, "rank", "log", "softmax", "uniform"):
            raise ValueError(f"reinforce_rnn: weights is {settings.weights!r}; one of rank, log, softmax, uniform")
        return settings


_DEFAULTS: dict[str, dict[str, object]] = {
    "elite": {
        "batch": 1,
        "explore_iters": 15,
        "hidden": 128,
        "layers": 2,
        "temperature": 5.0,
        "squash": 2.5,
        "learning_rate": 1e-3,
        "elite": 10,
        "epochs": 60,
        "weights": "rank",
    },
    "reinforce": {
        "batch": 10,
        "explore_iters": 0,
        "hidden": 64,
        "layers": 1,
        "temperature": 5.0,
        "squash": 1.5,
        "learning_rate": 3.5e-3,
        "inner_steps": 20,
        "entropy": 1e-4,
        "skip_target": 0.4,
        "reward_scale": 1.0,
    },
}

_LEAST: dict[str, float] = {
    "batch": 1,
    "explore_iters": 0,
    "elite": 1,
    "epochs": 1,
    "inner_steps": 1,
    "entropy": 0,
    "skip_weight": 0,
    "candidates": 1,
}


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is static in a search."""

    settings: ReinforceRnn
    space: Generable
    budget: int

    @property
    def batch(self) -> int:
        return cast(int, self.settings.batch)

    @property
    def explore_iters(self) -> int:
        return cast(int, self.settings.explore_iters)

    @property
    def last_step(self) -> int:
        return -(-self.budget // self.batch) - 1

    @functools.cached_property
    def config(self) -> RecurrentConfig:
        settings = self.settings
        return RecurrentConfig(
            self.space.alphabet,
            cast(int, settings.hidden),
            cast(int, settings.layers),
            cast(float, settings.temperature),
            cast(float, settings.squash),
        )

    @functools.cached_property
    def model(self) -> drawing.Model:
        config = self.config
        return drawing.Model(
            lambda params, key, num, temperature: recurrent.sample_batch(params, config, key, num, temperature),
            lambda params, rows: recurrent.log_prob(params, config, rows),
        )

    @property
    def refit(self) -> Refit:
        return Refit(2, cast(float, self.settings.learning_rate))


def _init(plan: _Plan, key: Key) -> State:
    learner = _fresh(plan, key) if plan.settings.objective == "reinforce" else None
    return State(history.empty(plan.space, plan.budget), learner)


def _ask(plan: _Plan, state: State, key: Key, step: Array) -> tuple[Proposals, State]:
    fit_key, draw_key, refill_key = jax.random.split(key, 3)
    generating = step >= plan.explore_iters

    def generate() -> drawing.Candidates:
        learner = _refit(plan, state, fit_key, step) if state.learner is None else state.learner
        seen = functools.partial(history.contains, plan.space, state.history)
        return drawing.from_generator(
            plan.space, plan.model, learner.params, draw_key, plan.settings.candidates, seen=seen
        )

    # The step is never batched, so this stays one branch under vmap over seeds.
    explore = functools.partial(drawing.from_prior, plan.space, draw_key, plan.settings.candidates)
    candidates = jax.lax.cond(generating, generate, explore)
    proposals = history.first_unseen(
        plan.space,
        state.history,
        candidates.archs,
        plan.batch,
        refill_key,
        origin=Origin.MODEL,
        candidate_mask=candidates.mask,
        info=candidates.info,
    )
    explored = (proposals.origin == Origin.MODEL) & ~generating
    return proposals._replace(origin=jnp.where(explored, jnp.int32(Origin.PRIOR), proposals.origin)), state


def _tell(plan: _Plan, state: State, proposals: Proposals, evaluation: Evaluation, step: Array) -> State:
    told = state._replace(history=history.add(plan.space, state.history, proposals, evaluation))
    if told.learner is None:
        return told
    learner = told.learner
    useful = (step >= plan.explore_iters) & (step < plan.last_step)  # nobody samples after the last batch
    stepped = jax.lax.cond(useful, lambda: _reinforce(plan, learner, proposals, evaluation), lambda: learner)
    return told._replace(learner=stepped)


def _fresh(plan: _Plan, key: Key) -> Learner:
    """New parameters."""
    return refit.fresh(plan.refit, recurrent.init(key, plan.config, INITIAL[plan.settings.objective]))


def _refit(plan: _Plan, state: State, key: Key, step: Array) -> Learner:
    """A fresh LSTM fitted to the elite."""
    settings = plan.settings
    elite_key, start_key, fit_key = jax.random.split(key, 3)
    sizes = elites.elite_sizes("top", cast(int, settings.elite), plan.budget)
    allowed = jnp.ones(plan.budget, bool)
    best = elites.choose(state.history, sizes, allowed, 0.0, elite_key)
    weights = elites.elite_weights(cast(elites.Weights, settings.weights), best)
    # An upper bound of the elite's size that is not batched, since the step is not.
    bounds = np.minimum(sizes, np.arange(plan.budget + 1)).astype(np.int32)
    bound = jnp.asarray(bounds)[jnp.minimum(step * plan.batch, plan.budget)]
    return refit.fit(
        plan.refit,
        functools.partial(_elite_loss, plan),
        _fresh(plan, start_key),
        fit_key,
        jax.vmap(plan.space.to_rows)(best.archs),
        weights,
        best.size,
        epochs=jnp.int32(cast(int, settings.epochs)),
        bound=bound,
    )


def _elite_loss(plan: _Plan, params: PyTree, graphs: Rows, coefficients: Array, key: Key) -> Array:
    """Σ coefficient · -log p over a minibatch; a graph without a coefficient may be none."""
    del key
    log_probs = recurrent.log_prob(params, plan.config, graphs)
    return -jnp.where(coefficients > 0, coefficients.astype(log_probs.dtype) * log_probs, 0).sum()


def _reinforce(plan: _Plan, learner: Learner, proposals: Proposals, evaluation: Evaluation) -> Learner:
    """The policy after `inner_steps` steps on those of a batch that it drew and that have a reward."""
    rows = jax.vmap(plan.space.to_rows)(proposals.archs)
    mask = proposals.live & (proposals.origin == Origin.MODEL) & evaluation.valid & jnp.isfinite(evaluation.reward)
    # Rows that do not count are replaced by one that does: a log p of -inf has no gradient to mask.
    source = jnp.where(mask, jnp.arange(mask.size), jnp.argmax(mask))
    rows = jax.tree.map(lambda leaf: leaf[source], rows)
    loss = functools.partial(_policy_loss, plan, rows, evaluation.reward, mask)

    def step(_: int, learner: Learner) -> Learner:
        return refit.update(plan.refit, loss, learner)

    stepped = jax.lax.fori_loop(0, cast(int, plan.settings.inner_steps), step, learner)
    learned: Learner = refit.select(mask.any(), stepped, learner)
    return learned


def _policy_loss(plan: _Plan, rows: Rows, reward: Array, mask: Array, params: PyTree) -> Array:
    """A float[] whose gradient is minus the estimate of that of E[scale · r] + entropy · H(p) - skip_weight · divergence.

    The divergence is differentiated along the given graphs, as in ENAS, not through what is drawn.
    """
    settings = plan.settings
    log_probs, divergence = recurrent.log_prob_and_divergence(
        params, plan.config, rows, cast(float, settings.skip_target)
    )
    scaled = jnp.where(mask, reward, 0).astype(log_probs.dtype) * cast(float, settings.reward_scale)
    value = scaled - cast(float, settings.entropy) * jax.lax.stop_gradient(log_probs)
    loss = reinforce.policy_loss(log_probs, reinforce.leave_one_out(value, mask), mask)
    skip_weight = cast(float, settings.skip_weight)
    if skip_weight > 0:
        count = jnp.maximum(mask.sum(dtype=divergence.dtype), 1)
        loss = loss + skip_weight * jnp.where(mask, divergence, 0).sum() / count
    return loss
