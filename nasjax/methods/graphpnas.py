"""GraphPNAS: a graph generator proposes, the best evaluated architectures train it, and again.

Source: Li, Liu, Sigal, Liao, "GraphPNAS: Learning Distribution(s) of Good Neural Architectures via Deep Graph
Generative Models" (arXiv:2211.15155), and its code `DSL-Lab/GraphPNAS`. The abstract announces reinforcement learning; the code,
which made the published figures, refits a fresh generator by weighted likelihood to the best so far. That is the
default here; REINFORCE proper is `on_policy`.

Where `fidelity="paper"` differs from the code: repeats are recognised by canonical key, in both phases, and cost
nothing; an edge that exists is never labelled "none"; 128 candidates are drawn at once instead of more and more
until one is new; refits from which nobody samples are skipped (the law is the same); the budget is exact.
"""

import dataclasses
import functools
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import generator, history
from nasjax.base import (
    Alphabet,
    Array,
    Evaluation,
    Generable,
    Key,
    Method,
    Origin,
    Proposals,
    PyTree,
    Rows,
    Space,
)
from nasjax.history import History
from nasjax.methods import drawing, elites, encoding, graph_process, orders, refit, reinforce, screen
from nasjax.methods.graphpnas_plan import Plan
from nasjax.methods.graphpnas_settings import Settings
from nasjax.methods.refit import Learner

REPLAY_CLIP = 2.0
"""Largest importance weight of a replayed sample."""

ENTROPY_DRAWS = 16
"""Draws a refit step for the entropy bonus."""

PRIOR_DRAWS = 1024
"""Draws of the prior whose frequencies a generator starts from (`init_prior`)."""


class State(NamedTuple):
    """What a search knows between two steps. Fields that the settings do not need are None: no leaves.

    Attributes:
      history: everything evaluated.
      learner: the generator and its optimiser, where they outlive a step (`warm_start`, `refit_every`, `on_policy`).
      log_probs: float32[Q], log p at the time of proposing, NaN where the generator did not propose (`replay_is`).
      repeats: the account of repeats that are recalled (`dedupe="encoding"` without `count_repeats`).
      surrogate: the hyperparameters of the screen's Gaussian process.
    """

    history: History
    learner: Learner | None
    log_probs: Array | None
    repeats: encoding.Repeats | None
    surrogate: graph_process.Theta | None


@dataclasses.dataclass(frozen=True)
class GraphPNAS(Settings):
    """`explore_iters` batches of the prior, then batches of a generator refitted to the elite before each of them.

    The settings, their defaults and the paper's protocols: `nasjax.methods.graphpnas_settings.Settings`.
    """

    def build(self, space: Space, budget: int) -> Method:
        """Returns the method for at most `budget` unique queries.

        Raises:
          ValueError: a setting is out of range, two of them exclude each other, or the space cannot be written row
          by row.
        """
        self.check(space, budget)
        plan = Plan(self.resolved(), cast(Generable, space), budget)
        init, ask, tell = functools.partial(_init, plan), functools.partial(_ask, plan), functools.partial(_tell, plan)
        return Method(init, ask, tell, self.batch, learned=True, steps=plan.steps if plan.free_repeats else None)


def _init(plan: Plan, key: Key) -> State:
    settings, rows = plan.settings, plan.rows
    learner = None
    if settings.warm_start != "none" or settings.refit_every > 1 or settings.on_policy != "none":
        learner = _fresh(plan, key)
    return State(
        history.empty(plan.seen_space, rows),
        learner,
        jnp.full(rows, jnp.nan, jnp.float32) if settings.replay_is else None,
        encoding.Repeats(jnp.int32(0), jnp.zeros(settings.batch, bool)) if plan.free_repeats else None,
        graph_process.start(plan.space.alphabet) if settings.screen == "gp" else None,
    )


def _ask(plan: Plan, state: State, key: Key, step: Array) -> tuple[Proposals, State]:
    settings = plan.settings
    fit_key, draw_key, screen_key, refill_key = jax.random.split(key, 4)
    generating = step >= settings.explore_iters
    learner = state.learner
    if settings.on_policy == "none":
        wanted = generating | (settings.refit_during_explore & (step > 0))
        wanted = wanted & ((step - plan.first_refit) % settings.refit_every == 0)
        idle = learner if learner is not None else _nothing(plan, key)
        # The step is never batched, so this stays one branch under vmap over seeds; so does the next.
        learner = jax.lax.cond(wanted, lambda: _refit_if_needed(plan, state, idle, fit_key, step), lambda: idle)
    if state.surrogate is not None:
        wanted = generating & ((step - settings.explore_iters) % settings.screen_every == 0)
        last = state.surrogate
        fitted = jax.lax.cond(
            wanted, lambda: graph_process.fit(plan.space.alphabet, _archive(plan, state)), lambda: last
        )
        state = state._replace(surrogate=fitted)
    candidates = jax.lax.cond(
        generating,
        lambda: _generate(plan, state, cast(Learner, learner), draw_key, screen_key, step),
        lambda: drawing.from_prior(plan.space, draw_key, settings.candidates),
    )
    proposals = history.first_unseen(
        plan.seen_space,
        state.history,
        candidates.archs,
        settings.batch,
        refill_key,
        origin=Origin.MODEL,
        candidate_mask=candidates.mask,
        info=candidates.info,
    )
    explored = (proposals.origin == Origin.MODEL) & ~generating
    proposals = proposals._replace(origin=jnp.where(explored, jnp.int32(Origin.PRIOR), proposals.origin))
    if state.repeats is not None:
        proposals, repeats = encoding.mark(plan.space, state.history, proposals, state.repeats.unique, plan.budget)
        state = state._replace(repeats=repeats)
    return proposals, state._replace(learner=None if state.learner is None else learner)


def _tell(plan: Plan, state: State, proposals: Proposals, evaluation: Evaluation, step: Array) -> State:
    if state.repeats is not None:
        past, repeats = state.history, state.repeats
        proposals, evaluation, repeats = encoding.recall(plan.space, past, proposals, evaluation, repeats)
        state = state._replace(repeats=repeats)
    told = state._replace(history=history.add(plan.seen_space, state.history, proposals, evaluation))
    if plan.settings.on_policy == "none":
        return told
    useful = (step >= plan.settings.explore_iters) & (step < plan.steps - 1)  # nobody samples after the last batch
    learner, log_probs = jax.lax.cond(
        useful,
        lambda: _reinforce(plan, told, state.history.count, proposals, evaluation),
        lambda: (told.learner, told.log_probs),
    )
    return told._replace(learner=learner, log_probs=log_probs)


def _fresh(plan: Plan, key: Key) -> Learner:
    """New parameters; with a leading axis for an ensemble."""
    marginals = None
    if plan.settings.init_prior:
        key, prior_key = jax.random.split(key)
        marginals = drawing.prior_marginals(plan.space, prior_key, PRIOR_DRAWS)
    if plan.settings.ensemble == 1:
        return refit.fresh(plan.refit, generator.init(key, plan.config, marginals))
    keys = jax.random.split(key, plan.settings.ensemble)
    return jax.vmap(lambda k: refit.fresh(plan.refit, generator.init(k, plan.config, marginals)))(keys)


def _refit_if_needed(plan: Plan, state: State, idle: Learner, key: Key, step: Array) -> Learner:
    """The refit, or `idle` where recalled repeats have left steps over when the budget is spent."""
    if state.repeats is None:
        return _refit(plan, state, key, step)
    unspent = state.repeats.unique < plan.budget

    # A loop of at most one round: under vmap it is passed over once no search needs it, where a cond on a batched
    # predicate would refit always. The key changes, or XLA might do ahead of the loop what does not.
    def needed(loop: tuple[Array, Key, Learner]) -> Array:
        return ~loop[0] & unspent

    def once(loop: tuple[Array, Key, Learner]) -> tuple[Array, Key, Learner]:
        return jnp.bool_(True), jax.random.fold_in(loop[1], 0), _refit(plan, state, loop[1], step)

    return jax.lax.while_loop(needed, once, (jnp.bool_(False), key, idle))[2]


def _refit(plan: Plan, state: State, key: Key, step: Array) -> Learner:
    """The generator fitted to the elite: from scratch, or from the one before."""
    settings = plan.settings
    elite_key, start_key, fit_key = jax.random.split(key, 3)
    past = state.history
    noise = settings.elite_noise if settings.elite_rule == "thompson" else 0.0
    rows = jax.vmap(plan.space.to_rows)(past.archs)
    allowed = jax.vmap(functools.partial(_writable, plan.alphabet))(rows)
    best = elites.choose(past, np.array(plan.sizes, np.int32), allowed, noise, elite_key)
    weights = elites.elite_weights(settings.weights, best, settings.weight_temperature)
    if settings.objective == "nll":  # so that a step's mean is that of Σ w · nll / Σ w
        weights = weights * best.size.astype(jnp.float32) / jnp.maximum(weights.sum(), 1e-9)
    graphs = jax.vmap(plan.space.to_rows)(best.archs)

    epochs, start = plan.epochs(step), _fresh(plan, start_key)
    if settings.warm_start != "none":
        number = (step - max(plan.first_refit, 1)) // settings.refit_every
        anew = number <= 0
        if settings.reset_every is not None:
            anew = anew | (number % settings.reset_every == 0)
        kept = cast(Learner, state.learner)
        if settings.warm_start == "params":
            kept = kept._replace(moments=start.moments)
        start = refit.select(anew, start, kept)
        epochs = jnp.where(anew, epochs, settings.warm_epochs)
    # An upper bound of the elite's size that is not batched, since the step is not.
    asked = jnp.minimum(step * settings.batch, plan.rows)
    bounds = np.maximum.accumulate(np.minimum(plan.sizes, np.arange(plan.rows + 1))).astype(np.int32)
    bound = jnp.asarray(bounds)[asked]

    def fit(start: Learner, key: Key) -> Learner:
        loss = functools.partial(_elite_loss, plan)
        log_prob = functools.partial(drawing.log_likelihood, plan.model)
        arguments = (start, key, graphs, weights, best.size)
        return refit.fit(plan.refit, loss, *arguments, epochs=epochs, bound=bound, log_prob=log_prob)

    if settings.ensemble == 1:
        return fit(start, fit_key)
    return jax.vmap(fit)(start, jax.random.split(fit_key, settings.ensemble))


def _elite_loss(plan: Plan, params: PyTree, graphs: Rows, coefficients: Array, key: Key) -> Array:
    """Σ coefficient · loss over a minibatch, and the entropy bonus."""
    settings, config = plan.settings, plan.config
    objective = settings.objective or "code"
    order_key, row_key, entropy_key = jax.random.split(key, 3)
    if settings.node_order == "augment":
        keys = jax.random.split(order_key, coefficients.shape[0])
        graphs = jax.vmap(lambda k, g: orders.random_order(k, g, plan.alphabet))(keys, graphs)
    elif settings.node_order == "canonical":
        graphs = jax.vmap(lambda g: orders.greedy_order(g, plan.alphabet))(graphs)
    row_weights = None
    if settings.rows_per_step is not None:
        num = min(settings.rows_per_step, plan.alphabet.num_nodes)
        keys = jax.random.split(row_key, coefficients.shape[0])
        row_weights = jax.vmap(lambda k: generator.row_subset(k, config, num))(keys)
    losses = generator.losses(params, config, graphs, coefficients, objective, row_weights)
    total: Array = losses.sum()
    if settings.entropy > 0:
        draws, _ = generator.sample_batch(jax.lax.stop_gradient(params), config, entropy_key, ENTROPY_DRAWS, 1.0)
        total = total + settings.entropy * reinforce.negative_entropy(drawing.log_likelihood(plan.model, params, draws))
    return total


def _generate(plan: Plan, state: State, learner: Learner, key: Key, screen_key: Key, step: Array) -> drawing.Candidates:
    """The generator's draws, in the order in which they are to be considered."""
    settings = plan.settings
    last = plan.least_steps - 1
    left = (last - step).astype(jnp.float32) / max(last - settings.explore_iters, 1)
    temperature = 1 + (settings.temperature - 1) * jnp.clip(left, 0, 1)
    candidates = drawing.from_generator(
        plan.space,
        plan.model,
        learner.params,
        key,
        settings.candidates,
        seen=functools.partial(history.contains, plan.seen_space, state.history),
        members=settings.ensemble,
        temperature=1.0 if settings.temperature == 1 else temperature,
        prior_smoothing=cast(float, settings.prior_smoothing),
    )
    if settings.screen == "none":
        return candidates
    order = _screened(plan, state, learner, candidates, screen_key)
    take = functools.partial(jax.tree.map, lambda leaf: leaf[order])
    return drawing.Candidates(take(candidates.archs), take(candidates.mask), take(candidates.fresh), candidates.info)


def _screened(plan: Plan, state: State, learner: Learner, candidates: drawing.Candidates, key: Key) -> Array:
    """int32[C], the candidates in the order of a surrogate's opinion."""
    settings, archive = plan.settings, _archive(plan, state)
    rows = jax.vmap(plan.space.to_rows)(candidates.archs)
    if settings.screen == "thompson":
        most = settings.screen_candidates
        return screen.thompson_ranking(key, archive, rows, candidates.fresh, most, settings.batch)
    if settings.screen == "likelihood":
        values = drawing.log_likelihood(plan.model, learner.params, rows, settings.ensemble)
    elif settings.screen == "ridge":
        values = screen.ridge_values(archive, rows)
    elif settings.screen == "gp":
        theta = cast(graph_process.Theta, state.surrogate)
        values = graph_process.expected_improvement(plan.space.alphabet, theta, archive, rows)
    else:
        values = screen.graph_network_values(key, archive, rows, plan.space.alphabet)
    return screen.ranking(values, candidates.fresh, settings.screen_candidates)


def _archive(plan: Plan, state: State) -> screen.Archive:
    """What a surrogate is fitted to."""
    past = state.history
    mask = past.valid & (jnp.arange(plan.rows) < past.count)
    return screen.Archive(jax.vmap(plan.space.to_rows)(past.archs), past.reward, mask)


def _reinforce(
    plan: Plan, told: State, first: Array, proposals: Proposals, evaluation: Evaluation
) -> tuple[Learner, Array | None]:
    """The generator after `inner_steps` REINFORCE steps on this batch, or on all that it proposed.

    `told` holds the batch already, in the rows from `first` on.
    """
    settings, learner = plan.settings, cast(Learner, told.learner)
    log_probs = told.log_probs
    rows = jax.vmap(plan.space.to_rows)(proposals.archs)
    mask = proposals.live & (proposals.origin == Origin.MODEL) & evaluation.valid & jnp.isfinite(evaluation.reward)
    reward = evaluation.reward
    if log_probs is not None:
        place = first + jnp.cumsum(proposals.live, dtype=jnp.int32) - 1
        drawn = mask & (place < plan.rows)
        now = drawing.log_likelihood(plan.model, learner.params, rows).astype(jnp.float32)
        log_probs = log_probs.at[jnp.where(drawn, place, plan.rows)].set(now, mode="drop")
        past = told.history
        rows, reward = jax.vmap(plan.space.to_rows)(past.archs), past.reward
        mask = past.valid & jnp.isfinite(log_probs)
    mask = mask & jax.vmap(functools.partial(_writable, plan.alphabet))(rows)
    # Rows that do not count are replaced by one that does: a log p of -inf has no gradient to mask.
    source = jnp.where(mask, jnp.arange(mask.size), jnp.argmax(mask))
    rows = jax.tree.map(lambda leaf: leaf[source], rows)
    advantages = (reinforce.leave_one_out if settings.on_policy == "loo" else reinforce.rank_advantages)(reward, mask)

    def loss(params: PyTree) -> Array:
        now = drawing.log_likelihood(plan.model, params, rows)
        scaled = advantages
        if log_probs is not None:
            scaled = scaled * reinforce.importance_weights(now, jnp.where(mask, log_probs, 0), REPLAY_CLIP)
        if settings.entropy > 0:
            scaled = scaled + settings.entropy * reinforce.leave_one_out(-jax.lax.stop_gradient(now), mask)
        return reinforce.policy_loss(now, scaled, mask)

    def step(_: int, learner: Learner) -> Learner:
        return refit.update(plan.refit, loss, learner)

    stepped = jax.lax.fori_loop(0, settings.inner_steps, step, learner)
    return refit.select(mask.any(), stepped, learner), log_probs


def _writable(alphabet: Alphabet, rows: Rows) -> Array:
    """bool[], whether the generator's support holds the graph; one that it cannot write has no finite loss."""
    index = jnp.arange(alphabet.num_nodes, dtype=jnp.int32)
    exists = index < rows.size
    below = (index[None, :] < index[:, None]) & exists[:, None]
    wrong = jnp.isin(rows.edges, jnp.array(alphabet.masked_edges, jnp.int32)) & below
    modelled = exists & (index >= alphabet.first_labelled)
    wrong_nodes = jnp.isin(rows.nodes, jnp.array(alphabet.masked_nodes, jnp.int32)) & modelled
    return ~(wrong.any() | (wrong_nodes.any() & (alphabet.node_labels > 0)))


def _nothing(plan: Plan, key: Key) -> Learner:
    """Zeros: a generator from which nobody samples."""
    shapes = jax.eval_shape(functools.partial(_fresh, plan), key)
    zeros: Learner = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return zeros
