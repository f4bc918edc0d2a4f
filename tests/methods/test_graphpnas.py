"""GraphPNAS as a method: estimators, deduplication, query accounting, every switch, and whether it learns."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run
from jax.flatten_util import ravel_pytree

from nasjax import generator, history, stats
from nasjax.base import Arch, Evaluation, Key, Origin, Proposals, Space, evaluation_key
from nasjax.generator import GeneratorConfig
from nasjax.methods import encoding, graphpnas, refit, reinforce
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.methods.random_search import RandomSearch
from nasjax.methods.shuffled import Shuffled
from nasjax.scan import scan_search
from nasjax.search import Budget, Search, run_search
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy
from nasjax.spaces.toy_nodes import ToyNodes

TOY = Toy()
# Compiling is nearly all that these tests cost.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SMALL = {"hidden": 12, "rounds": 1, "mixture": 2, "candidates": 32, "epochs": 4, "elite": 5, "batch": 4}


@functools.partial(jax.tree_util.register_dataclass, data_fields=["table"], meta_fields=["space", "noise"])
@dataclasses.dataclass(frozen=True)
class Additive:
    """A reward that adds over decisions, and noise from the evaluation's key."""

    table: jax.Array  # float32[decisions, labels]
    space: Space
    noise: float = 0.0
    pure = True

    def __call__(self, key: Key, archs: Arch) -> Evaluation:
        def one(arch):
            rows = self.space.to_rows(arch)
            labels = rows.edges[jnp.tril_indices(rows.edges.shape[-1], -1)]
            own = jax.random.normal(evaluation_key(key, self.space.canonical_key(arch)), (), jnp.float32)
            return self.table[jnp.arange(labels.size), labels].sum() + jnp.float32(self.noise) * own

        reward = jax.vmap(one)(archs)
        return Evaluation(reward, jnp.ones(reward.shape, bool), jnp.ones(reward.shape, jnp.float32), {})


def additive(space, labels, noise=0.0, seed=0):
    edges = space.alphabet.num_nodes * (space.alphabet.num_nodes - 1) // 2
    table = np.random.default_rng(seed).normal(size=(edges, labels)).astype(np.float32)
    return Additive(jnp.asarray(table), space, noise)


def searched(settings, space=TOY, budget=20, evaluator=None, seed=0):
    evaluator = additive(space, 4) if evaluator is None else evaluator
    return quick_jit(scan_search(space, settings.build(space, budget), evaluator, budget))(jax.random.key(seed))


# Estimators


@pytest.fixture(scope="module")
def scored():
    """A generator of toy graphs: log p of all 64, a 12-coordinate random projection of their gradients, 160,000 draws."""
    config = GeneratorConfig(TOY.alphabet, hidden=12, rounds=2, mixture=3, attention=8)
    params = generator.init(jax.random.key(2), config)
    flat, unravel = ravel_pytree(params)
    rows = jax.vmap(TOY.to_rows)(TOY.all())
    projection = jax.random.normal(jax.random.key(3), (12, flat.size), jnp.float32)

    @jax.jit
    def log_probs_and_scores(flat):
        def log_probs(flat):
            found = jax.vmap(lambda r: generator.log_prob(unravel(flat), config, r))(rows)
            return found, found

        gradients, log_p = jax.jacrev(log_probs, has_aux=True)(flat)
        return log_p, gradients @ projection.T

    @jax.jit
    def sampled(key):
        draws, valid = generator.sample_batch(params, config, key, 160_000)
        return jax.vmap(lambda r: TOY.index(TOY.from_rows(r)))(draws), valid

    indices, valid = sampled(jax.random.key(4))
    assert valid.all()
    log_p, scores = log_probs_and_scores(flat)
    return np.asarray(log_p, np.float64), np.asarray(scores, np.float64), np.asarray(indices)


@pytest.mark.parametrize("kind", ["loo", "rank"])
@pytest.mark.parametrize("batch", [2, 8])
def test_reinforce_is_unbiased(scored, kind, batch):
    """The mean of 20,000 batches' estimates lies within 4 standard errors of the enumerated gradient, per coordinate.

    "loo": the gradient of E[r]. "rank": of the expected share of an independent second draw, from the same p held fixed,
    that is worse, ties counted half. 48 comparisons at 4 standard errors: a false alarm in 330 such suites.
    """
    log_p, scores, draws = scored
    rewards = np.round(np.random.default_rng(0).normal(size=64), 1)  # with ties
    p = np.exp(log_p)
    np.testing.assert_allclose(p.sum(), 1, atol=1e-5)
    value = rewards
    if kind == "rank":
        value = ((rewards[None] < rewards[:, None]) + 0.5 * (rewards[None] == rewards[:, None])) @ p
    exact = (p * value) @ scores
    batches = draws[: 20_000 * batch].reshape(20_000, batch)
    advantages = reinforce.leave_one_out if kind == "loo" else reinforce.rank_advantages
    weights = jax.vmap(advantages)(jnp.asarray(rewards, jnp.float32)[batches])
    estimates = np.einsum("nb,nbc->nc", np.asarray(weights, np.float64), scores[batches]) / batch
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(0) - exact) < 4 * error).all()
    assert (np.abs(exact) > 8 * error).any()  # the test can tell the gradient from zero


# Deduplication and accounting


def told(space, seen_space, budget, rows):
    """A history of the rows of `all()`, rewards 0, 1, 2, …"""
    archs = jax.tree.map(lambda leaf: leaf[rows], space.all())
    live = jnp.ones(len(rows), bool)
    proposals = Proposals(archs, live, jnp.full(len(rows), int(Origin.PRIOR), jnp.int32), {})
    zeros = jnp.zeros(len(rows), jnp.float32)
    evaluation = Evaluation(jnp.arange(len(rows), dtype=jnp.float32), live, zeros, {})
    return history.add(seen_space, history.empty(seen_space, budget), proposals, evaluation)


@functools.cache
def built(settings, budget):
    method = settings.build(TOY, budget)
    return method.init(jax.random.key(0)), quick_jit(method.ask)


def asked(settings, past, budget, step=9):
    state, ask = built(settings, budget)
    return ask(state._replace(history=past), jax.random.key(1), jnp.int32(step))[0]


def test_asks_for_the_one_class_that_is_missing():
    members = np.asarray(TOY.class_members())
    for missing in (0, 11, 25):
        past = told(TOY, TOY, 40, np.delete(members, missing))
        proposals = asked(GraphPNAS(**SMALL, explore_iters=1), past, 40)
        assert proposals.live.tolist() == [True, False, False, False]
        first = jax.tree.map(lambda leaf: leaf[0], proposals.archs)
        assert int(TOY.class_of(TOY.index(first))) == missing


def test_asks_for_nothing_when_all_classes_are_seen():
    past = told(TOY, TOY, 40, np.asarray(TOY.class_members()))
    assert not asked(GraphPNAS(**SMALL, explore_iters=1), past, 40).live.any()


def test_by_encoding_asks_for_the_one_string_that_is_missing():
    settings = GraphPNAS(**SMALL, explore_iters=1, dedupe="encoding", count_repeats=True)
    for missing in (0, 37, 63):
        past = told(TOY, encoding.by_encoding(TOY), 80, np.delete(np.arange(64), missing))
        proposals = asked(settings, past, 80)
        assert proposals.live.tolist() == [True, False, False, False]
        assert int(TOY.index(jax.tree.map(lambda leaf: leaf[0], proposals.archs))) == missing


@pytest.mark.parametrize("fidelity", ["paper", "code", pytest.param("improved", marks=pytest.mark.slow)])
def test_a_budget_of_100_is_100_queries(fidelity):
    """By canonical key, or ("code") by string; the last batch of 8 is half dead."""
    space = NasBench201(prior="no_none")
    settings = GraphPNAS(fidelity=fidelity, hidden=12, rounds=1, mixture=2, epochs=3, explore_iters=4)
    trace = searched(settings, space, 100, additive(space, 5))
    assert int(trace.live.sum()) == 100
    assert trace.live.tolist()[-8:] == [True] * 4 + [False] * 4
    ops = np.asarray(space.operations(trace.archs))[np.asarray(trace.live)]
    keys = np.asarray(trace.keys)[np.asarray(trace.live)]
    unique = len(np.unique(ops if fidelity == "code" else keys, axis=0))
    assert unique == 100
    explored = np.asarray(trace.origin)[:32]
    assert (explored == int(Origin.PRIOR)).all()
    assert (ops[:32] > 0).all()  # the prior leaves `none` out, the generator may use it
    assert np.isin(np.asarray(trace.origin)[32:100], [int(Origin.MODEL), int(Origin.REFILL)]).all()


@pytest.mark.slow
def test_a_budget_of_150_is_150_networks_of_nasbench101():
    """A space that cannot be listed, more keys than are all compared; the generator draws what was seen, too."""
    space = NasBench101(prior="er")
    settings = GraphPNAS(hidden=10, rounds=1, mixture=2, epochs=1, elite=5, batch=10, explore_iters=3)
    trace = searched(settings, space, 150, toy_run.MadeUpRewards(pure=True).build(space))
    assert trace.live.tolist() == [True] * 150
    assert len(np.unique(np.asarray(trace.keys), axis=0)) == 150
    assert jax.vmap(space.is_valid)(trace.archs).all()
    origin, unseen = np.asarray(trace.origin), np.asarray(trace.info["unseen"])
    assert (origin[:30] == int(Origin.PRIOR)).all()
    assert np.isin(origin[30:], [int(Origin.MODEL), int(Origin.REFILL)]).all()
    assert (origin[30:] == int(Origin.MODEL)).sum() >= 15
    assert (unseen[3:] < np.asarray(trace.info["distinct"])[3:]).any()


FREE = {"dedupe": "encoding", "count_repeats": False}
PAIR = NasBench201(("skip_connect", "nor_conv_1x1"))  # 64 strings, 39 networks


@pytest.fixture
def refits(monkeypatch):
    """The steps at which a generator is fitted, as compiled programs come to them."""
    steps, refit_once = [], graphpnas._refit

    def counted(plan, state, key, step):
        jax.debug.callback(lambda step: steps.append(int(step)), step)
        return refit_once(plan, state, key, step)

    monkeypatch.setattr(graphpnas, "_refit", counted)
    return steps


@pytest.mark.parametrize("batch", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_recalled_repeats_cost_nothing(tmp_path, refits, batch):
    """Strings are told apart, networks are paid for: a known network's reward is recalled, its row is not live.

    The search takes as many steps more as its budget needs, in one program and from the host, where nobody trains the
    children of a batch that is all repeats. After that no generator is trained either.
    """
    method = GraphPNAS(**(SMALL | {"batch": batch}), explore_iters=8 // batch, **FREE)
    trace = searched(method, PAIR, evaluator=toy_run.MadeUpRewards(0.2, pure=True).build(PAIR))
    live = np.asarray(trace.live)
    assert (live.size, live.sum()) == (40, 20)
    assert not live[:20].all()
    keys = np.asarray(trace.keys)[live]
    assert len(np.unique(keys, axis=0)) == 20
    spent = np.flatnonzero(live)[-1] // batch + 1
    strings = np.asarray(PAIR.operations(trace.archs))[: spent * batch]
    assert len(np.unique(strings[:-batch], axis=0)) == len(strings) - batch  # repeats are other strings
    jax.effects_barrier()
    assert refits == list(range(8 // batch, spent))

    told, search = [], Search(PAIR, method, Counted(), Budget(20))
    Counted.calls.clear()
    record = run_search(search, 0, tmp_path / "run", on_batch=told.append, on_note=str).record
    np.testing.assert_array_equal(record.keys, keys)
    np.testing.assert_array_equal(record.reward, np.asarray(trace.reward)[live])
    np.testing.assert_array_equal(record.origin, np.asarray(trace.origin)[live])
    assert record.steps == spent > 20 // batch
    batches = live.reshape(-1, batch).any(axis=1)[:spent]
    assert len(Counted.calls) == batches.sum()
    assert batches.all() == (batch > 1)
    assert told[-1].steps == spent
    assert all(20 // batch <= progress.steps <= 40 // batch for progress in told)


class CountedEvaluator:
    pure = False

    def __init__(self, space, calls):
        self.space, self.calls = space, calls

    def __call__(self, key, archs):
        self.calls.append(archs)
        return toy_run.evaluate(self.space, 0.2)(key, archs)


@dataclasses.dataclass(frozen=True)
class Counted:
    """Made-up rewards from the host that remember for which batches they were asked."""

    calls: ClassVar[list] = []

    def build(self, space):
        return CountedEvaluator(space, self.calls)


@pytest.mark.slow
def test_no_refit_side_by_side_once_all_are_done(refits):
    """Under vmap, too: the last refit is that before the last live row of any search."""
    method = GraphPNAS(**SMALL, explore_iters=2, **FREE).build(PAIR, 20)
    search = scan_search(PAIR, method, additive(PAIR, 4), 20)
    trace = quick_jit(jax.vmap(search))(jax.vmap(jax.random.key)(jnp.arange(2)))
    jax.effects_barrier()
    live = np.asarray(trace.live).reshape(2, 10, 4)
    assert (live.sum((1, 2)) == 20).all()
    last = np.flatnonzero(live.any((0, 2)))[-1]
    assert 5 <= last < 9
    assert set(refits) == set(range(2, last + 1))


# Refits


def test_skipping_exploring_refits_changes_nothing():
    plain, eager = (
        searched(GraphPNAS(**SMALL, explore_iters=3, refit_during_explore=eager), budget=26) for eager in (False, True)
    )
    np.testing.assert_array_equal(plain.keys, eager.keys)
    np.testing.assert_array_equal(plain.reward, eager.reward)


def test_five_equal_graphs_are_learned_in_150_steps():
    """Log p of a cell that is the whole elite rises above log 1/2 (median of six fresh generators, from below -5).

    50 epochs of 3 steps, the last of one graph. Seen: -0.07 to -0.76.
    """
    space = NasBench201()
    config = GeneratorConfig(space.alphabet)
    arch = space.from_operations(jnp.array([3, 1, 2, 4, 0, 3], jnp.int32))
    one = space.to_rows(arch)
    rows = jax.tree.map(lambda leaf: jnp.stack([leaf] * 5), one)
    settings = refit.Refit(2, 1e-3)

    def loss(params, graphs, coefficients, key):
        del key
        return jax.vmap(lambda g, w: generator.loss(params, config, g, w))(graphs, coefficients).sum()

    def fitted(key):
        start = refit.fresh(settings, generator.init(key, config))
        weights = (jnp.arange(5) + 1).astype(jnp.float32) / 5
        arguments = (start, key, rows, weights, jnp.int32(5))
        learner = refit.fit(settings, loss, *arguments, epochs=jnp.int32(50), bound=jnp.int32(5))
        return generator.log_prob(start.params, config, one), generator.log_prob(learner.params, config, one)

    before, after = jax.jit(lambda keys: jax.lax.map(fitted, keys))(jax.random.split(jax.random.key(0), 6))
    assert (before < -5).all()
    assert np.median(after) > np.log(0.5)
    assert (after > -1.5).all()


# Switches

SWITCHES = {
    "code": {"fidelity": "code"},
    "warm start": {"warm_start": "all", "warm_epochs": 2, "reset_every": 3},
    "full batch": {"full_batch": True, "steps": 5},
    "stop": {"stop_at": 3.0, "epochs": 30},
    "ramp": {"epoch_ramp": True},
    "nll and entropy": {"objective": "nll", "entropy": 0.1},
    "ensemble": {"ensemble": 2},
    "thompson": {"elite_rule": "thompson", "weights": "log"},
    "fraction": {"elite_rule": "fraction", "weights": "softmax"},
    "schedule": {"elite_rule": "schedule", "elite_schedule": ((0, 3), (10, 6)), "weights": "uniform"},
    "mask": {"mask_ops": (0, 2)},
    "prior": {"init_prior": True, "prior_smoothing": 0.3, "temperature": 2.0},
    "rows": {"rows_per_step": 2},
    "likelihood": {"screen": "likelihood", "screen_candidates": 8},
    "ridge": {"screen": "ridge"},
    "posterior": {"screen": "thompson"},
    "network": {"screen": "gnn"},
    "gaussian process": {"screen": "gp", "screen_every": 2},
    "seldom": {"refit_every": 3, "form": "dense"},
    "loo": {"on_policy": "loo", "inner_steps": 2},
    "rank": {"on_policy": "rank", "replay_is": True},
}


TOGETHER = [
    ("code", "ramp", "rows"),
    ("warm start", "nll and entropy", "thompson", "prior"),
    ("full batch", "fraction", "posterior"),
    ("stop", "schedule", "ridge", "mask"),
    ("ensemble", "likelihood"),
    ("network",),
    ("gaussian process", "seldom"),
    ("loo",),
    ("rank", "mask"),
]
ALONE = [pytest.param((name,), marks=pytest.mark.slow) for name in SWITCHES if (name,) not in TOGETHER]


def test_all_switches_are_searched_with():
    assert {name for names in TOGETHER for name in names} == set(SWITCHES)


QUICK = (1, 3, 6, 8)
MANY = [names if i in QUICK else pytest.param(names, marks=pytest.mark.slow) for i, names in enumerate(TOGETHER)]


@pytest.mark.parametrize("names", [*MANY, *ALONE], ids=" + ".join)
def test_every_switch_searches(names):
    """The budget is kept, nothing is asked twice, and what is generated is in the generator's support."""
    settings = functools.reduce(lambda a, b: a | b, (SWITCHES[name] for name in names))
    trace = searched(GraphPNAS(**(SMALL | {"explore_iters": 2} | settings)))
    assert trace.live.all()
    assert np.isfinite(trace.reward).all()
    strings = np.asarray(TOY.operations(trace.archs))
    assert len(np.unique(strings if "code" in names else np.asarray(trace.keys), axis=0)) == 20
    generated = np.asarray(trace.origin) == int(Origin.MODEL)
    assert generated[8:].sum() >= 3  # most of a toy's few networks come from refills in the end
    assert not generated[:8].any()
    if "mask" in names:
        assert np.isin(strings[generated], [1, 3]).all()
    unseen = np.asarray(trace.info["unseen"])
    assert np.isnan(unseen[:2]).all()
    assert ((unseen[2:] >= 0) & (unseen[2:] <= 1)).all()


@pytest.mark.parametrize(
    "switch",
    [
        {"node_label_input": True, "label_after_edges": True, "node_order": "augment"},
        *(
            pytest.param(switch, marks=pytest.mark.slow)
            for switch in ({}, {"node_label_input": True}, {"label_after_edges": True}, {"node_order": "canonical"})
        ),
    ],
)
def test_node_labels_search(switch):
    space = ToyNodes()
    rewards = jax.random.normal(jax.random.key(0), (72,), jnp.float32)

    @functools.partial(jax.tree_util.register_dataclass, data_fields=["rewards"], meta_fields=[])
    @dataclasses.dataclass(frozen=True)
    class Table:
        rewards: jax.Array
        pure = True

        def __call__(self, key, archs):
            reward = self.rewards[jax.vmap(space.index)(archs)]
            return Evaluation(reward, jnp.ones(reward.shape, bool), reward, {})

    trace = searched(GraphPNAS(**SMALL, explore_iters=2, **switch), space, 20, Table(rewards))
    assert trace.live.all()
    assert len(np.unique(np.asarray(trace.keys), axis=0)) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elite": 0}, "elite is 0; at least 1"),
        ({"screen": "forest"}, "screen is 'forest'; one of 'none'"),
        ({"mask_ops": (7,)}, "mask_ops is"),
        ({"batch": 1, "on_policy": "loo"}, "batch is 1; on_policy needs at least 2"),
        ({"replay_is": True}, "it needs on_policy"),
        ({"node_label_input": True}, "nodes have no labels"),
        ({"temperature": 0.0}, "temperature is 0.0; above 0"),
        ({"hidden": 9}, "hidden is 9; at least 10"),
        (
            {"on_policy": "loo", "prior_smoothing": 0.1},
            "prior_smoothing is 0.1; on_policy draws from the generator alone",
        ),
        ({"on_policy": "rank", "screen": "gp"}, "screen is 'gp'; on_policy does not choose among its new draws"),
        ({"on_policy": "loo", "temperature": 2.0}, "temperature is 2.0; on_policy draws at 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        searched(GraphPNAS(**settings))


@pytest.mark.parametrize("masked", [(4,), (0,), (1, 2, 3), (1, 2, 3, 4)])
def test_no_mask_leaves_cells_without_end_or_operation(masked):
    with pytest.raises(
        ValueError, match=r"mask_ops is .*; different labels of 1..3, and not all that nasbench101 has left"
    ):
        GraphPNAS(mask_ops=masked).build(NasBench101(), 20)


def test_a_policy_takes_its_own_draws_in_every_fidelity():
    settings = GraphPNAS(fidelity="improved", on_policy="loo").resolved()
    assert (settings.prior_smoothing, settings.screen, settings.objective) == (0, "none", "nll")


# Learning


def gains(settings, space, evaluator, seeds):
    """float64[seeds], mean true reward of what was generated less that of what was explored."""
    search = scan_search(space, settings.build(space, 48), evaluator, 48)
    rewards = np.asarray(
        jax.jit(lambda keys: jax.lax.map(search, keys))(jax.random.split(jax.random.key(0), seeds)).reward
    )
    return (rewards[:, 16:].mean(1) - rewards[:, :16].mean(1)).astype(np.float64)


def test_it_learns_and_the_controls_do_not():
    """Ten seeds on NAS-Bench-201 without `none`, an additive noisy reward, 16 exploring and 32 generated cells.

    Exact paired sign-flip test; with rewards that are shuffled in time, and for random search, nothing is to be found.
    """
    space = NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
    evaluator = additive(space, 5, noise=0.3)
    learner = GraphPNAS(explore_iters=2, elite=6, epochs=60, learning_rate=3e-3, hidden=16, rounds=2)
    learned = gains(learner, space, evaluator, 10)
    assert stats.sign_flip_test(learned) < 0.01
    assert learned.mean() > 1
    for control in (Shuffled(learner), RandomSearch(8)):
        idle = gains(control, space, evaluator, 10)
        assert stats.sign_flip_test(idle) > 0.01
        assert idle.mean() < learned.mean() / 3
