"""The recurrent baseline as a method: its estimator, its refit, what it proposes, whether it learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from nasjax import history, recurrent, stats
from nasjax.base import Arch, Evaluation, Key, Origin, Proposals, Space, evaluation_key
from nasjax.methods import reinforce_rnn
from nasjax.methods.reinforce_rnn import ReinforceRnn
from nasjax.scan import scan_search
from nasjax.spaces.enas import Enas
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy
from nasjax.spaces.toy_nodes import ToyNodes

TOY = Toy()
# Compiling is nearly all that these tests cost.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
ELITE = ReinforceRnn(batch=4, explore_iters=2, hidden=8, elite=5, epochs=4, candidates=32)
POLICY = ReinforceRnn("reinforce", batch=5, hidden=8, inner_steps=3, candidates=32)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["weights"], meta_fields=["space", "noise"])
@dataclasses.dataclass(frozen=True)
class Additive:
    """A reward that adds over the entries of an architecture's rows, and noise from the evaluation's key."""

    weights: jax.Array  # float32[entries, 6]
    space: Space
    noise: float = 0.0
    pure = True

    def __call__(self, key: Key, archs: Arch) -> Evaluation:
        def one(arch):
            rows = self.space.to_rows(arch)
            entries = jnp.concatenate([rows.edges.reshape(-1), rows.nodes])
            own = jax.random.normal(evaluation_key(key, self.space.canonical_key(arch)), (), jnp.float32)
            return self.weights[jnp.arange(entries.size), entries].sum() + jnp.float32(self.noise) * own

        reward = jax.vmap(one)(archs)
        return Evaluation(reward, jnp.ones(reward.shape, bool), jnp.ones(reward.shape, jnp.float32), {})


def additive(space, noise=0.0, seed=0):
    num = space.alphabet.num_nodes
    weights = np.random.default_rng(seed).normal(size=(num * num + num, 6)).astype(np.float32)
    return Additive(jnp.asarray(weights), space, noise)


def plan_of(settings, space=TOY, budget=20):
    return reinforce_rnn._Plan(settings._checked(space, budget), space, budget)


def test_the_policy_gradient_is_unbiased():
    """Gradient of E[2 r] + 0.3 H(p), enumerated over 64 strings, in a random projection on 12 coordinates.

    The loss's gradient is minus the mean of a_i ∇log p_i with a_i = v_i - mean of the others', v = 2 r - 0.3 log p, to rounding;
    the mean of 20,000 such estimates, batches of 5, lies within 4 standard errors: a false alarm in 1,300 such tests.
    """
    plan = plan_of(dataclasses.replace(POLICY, reward_scale=2.0, entropy=0.3))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(functools.partial(recurrent.init, config=plan.config), jax.random.key(2))
    params = jax.tree.map(lambda leaf: rng.uniform(-2.5, 2.5, leaf.shape).astype(np.float32), shapes)
    flat, unravel = ravel_pytree(params)
    rows = quick_jit(jax.vmap(TOY.to_rows))(TOY.all())
    projection = rng.normal(size=(12, flat.size)).astype(np.float32)
    rewards = rng.normal(size=64).astype(np.float32)

    def log_probs(flat):
        return recurrent.log_prob(unravel(flat), plan.config, rows)

    log_p, scores = quick_jit(lambda flat: (log_probs(flat), jax.jacrev(log_probs)(flat) @ projection.T))(flat)
    log_p, scores = np.asarray(log_p, np.float64), np.asarray(scores, np.float64)
    p = np.exp(log_p)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    assert p.max() > 8 * p.min()
    exact = (p * (2 * rewards - 0.3 * log_p)) @ scores

    draws = np.random.default_rng(1).choice(64, size=(20_000, 5), p=p / p.sum())
    value = (2 * rewards - 0.3 * log_p)[draws]
    advantages = value - (value.sum(1, keepdims=True) - value) / 4
    estimates = np.einsum("nb,nbc->nc", advantages, scores[draws]) / 5
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(0) - exact) < 4 * error).all()
    assert (np.abs(exact) > 8 * error).any()

    def projected(batch, reward, mask):
        chosen = jax.tree.map(lambda leaf: leaf[batch], rows)
        loss = functools.partial(reinforce_rnn._policy_loss, plan, chosen, reward, mask)
        return -(projection @ ravel_pytree(jax.grad(loss)(params))[0])

    program = quick_jit(jax.vmap(projected))
    everything = np.ones((8, 5), bool)
    found = program(draws[:8], rewards[draws[:8]], everything)
    np.testing.assert_allclose(found, estimates[:8], rtol=1e-3, atol=1e-4)
    # A row that does not count, whatever its reward, leaves the other four.
    everything[:, 0] = False
    dirty = np.where(everything, rewards[draws[:8]], np.nan)
    four = value[:8, 1:] - (value[:8, 1:].sum(1, keepdims=True) - value[:8, 1:]) / 3
    wanted = np.einsum("nb,nbc->nc", four, scores[draws[:8, 1:]]) / 4
    np.testing.assert_allclose(program(draws[:8], dirty, everything), wanted, rtol=1e-3, atol=1e-4)


def test_divergence_pulls_edges_to_their_target():
    """With its weight alone in play, 200 steps take it from that of bits of 1/2 to nearly none, on the given graphs.

    Two bits a row on average, each 0.0204 nats from 0.4: 0.041.
    """
    space = Enas(4)
    plan = plan_of(
        dataclasses.replace(POLICY, entropy=0.0, reward_scale=0.0, learning_rate=1e-2, inner_steps=200), space
    )
    assert plan.settings.skip_weight == 0.8
    assert plan_of(POLICY).settings.skip_weight == 0

    def divergences(key):
        learner = reinforce_rnn._fresh(plan, key)
        archs = jax.vmap(space.sample)(jax.random.split(key, 5))
        ones, models = jnp.ones(5, jnp.float32), jnp.full(5, int(Origin.MODEL), jnp.int32)
        proposals = Proposals(archs, ones > 0, models, {})
        stepped = reinforce_rnn._reinforce(plan, learner, proposals, Evaluation(ones, ones > 0, ones, {}))
        rows = jax.vmap(space.to_rows)(archs)
        both = [recurrent.log_prob_and_divergence(x.params, plan.config, rows, 0.4)[1] for x in (learner, stepped)]
        return [divergence.mean() for divergence in both]

    before, after = quick_jit(divergences)(jax.random.key(0))
    assert before == pytest.approx(0.041, rel=0.2)
    assert after < 1e-3


def test_only_what_the_policy_drew_and_what_has_a_reward_teaches():
    """Rows that are refills, not live, diverged or NaN may hold any reward; one that counts may not."""
    plan = plan_of(dataclasses.replace(POLICY, inner_steps=1))
    archs = jax.tree.map(lambda leaf: leaf[np.array([3, 60, 17, 22, 41, 9])], TOY.all())
    learner = quick_jit(functools.partial(reinforce_rnn._fresh, plan))(jax.random.key(0))
    model, refill = int(Origin.MODEL), int(Origin.REFILL)

    @quick_jit
    def stepped(reward):
        live, valid = jnp.array([True, True, True, False, True, True]), jnp.array([True, True, True, True, False, True])
        proposals = Proposals(archs, live, jnp.array([model, model, refill, model, model, model], jnp.int32), {})
        found = reinforce_rnn._reinforce(plan, learner, proposals, Evaluation(reward, valid, reward, {}))
        return ravel_pytree(found.params)[0]

    def after(rewards):
        return np.asarray(stepped(np.array(rewards, np.float32)))

    plain = after([1, 2, 0, 0, 0, np.nan])
    assert np.isfinite(plain).all()
    np.testing.assert_array_equal(after([1, 2, 9, 9, 9, np.inf]), plain)
    assert (after([1, 0, 0, 0, 0, np.nan]) != plain).any()
    assert (after([1, 2, 0, 0, 0, 5]) != plain).any()


def archive(space, budget, rows, rewards):
    """A history of the rows of `all()`."""
    archs = jax.tree.map(lambda leaf: leaf[np.asarray(rows)], space.all())
    live = jnp.ones(len(rows), bool)
    proposals = Proposals(archs, live, jnp.full(len(rows), int(Origin.PRIOR), jnp.int32), {})
    evaluation = Evaluation(jnp.asarray(rewards, jnp.float32), live, jnp.zeros(len(rows), jnp.float32), {})
    return history.add(space, history.empty(space, budget), proposals, evaluation)


def test_refit_equals_a_python_loop(monkeypatch):
    """Five best of eight, rank weights, 8 epochs of minibatches of 2, 2 and 1: 24 Adam steps in float64, one by one."""
    settings = dataclasses.replace(ELITE, epochs=8, learning_rate=0.02)
    plan, indices = plan_of(settings, budget=20), [3, 60, 17, 22, 41, 9, 30, 55]
    rewards = [0.3, 0.9, 0.1, 0.8, 0.8, 0.2, 0.7, 0.0]
    start = quick_jit(recurrent.init, static_argnums=1)(jax.random.key(1), plan.config)
    key = jax.random.key(5)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        start = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), start)
        monkeypatch.setattr(reinforce_rnn, "_fresh", lambda plan, key: reinforce_rnn.refit.fresh(plan.refit, start))

        @quick_jit
        def refitted():
            state = reinforce_rnn.State(archive(TOY, 20, indices, rewards), None)
            return reinforce_rnn._refit(plan, state, key, jnp.int32(2))

        learner = refitted()

        # Ascending; of the equal ones the later stands higher. All by hand.
        elite = [3, 30, 22, 41, 60]

        @quick_jit
        def step(params, m, v, count, weights):
            rows = jax.vmap(TOY.to_rows)(jax.tree.map(lambda leaf: leaf[np.array(elite)], TOY.all()))
            g = jax.grad(lambda p: -(weights * recurrent.log_prob(p, plan.config, rows)).sum())(params)
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            scaled = jax.tree.map(lambda m, v: m / (1 - 0.9**count) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8), m, v)
            return jax.tree.map(lambda p, s: p - 0.02 * s, params, scaled), m, v, count + 1

        fit_key = jax.random.split(key, 3)[2]
        zeros = jax.tree.map(jnp.zeros_like, start)
        carry = start, zeros, zeros, jnp.float64(1)
        for epoch in range(8):
            draws = jax.random.uniform(jax.random.fold_in(jax.random.fold_in(fit_key, epoch), 0), (5,), jnp.float32)
            order = np.argsort(draws)
            for first in (0, 2, 4):
                weights, chosen = np.zeros(5), order[first : first + 2]
                weights[chosen] = np.float32((chosen + 1) / 5) / len(chosen)
                carry = step(*carry, weights)
        params = carry[0]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), learner.params, params)
        assert max(float(jnp.abs(a - b).max()) for a, b in zip(params, start, strict=True)) > 0.1


def is_accounted_for(trace, settings, num):
    """`num` queries, no key twice, the prior first, then what the model writes; nothing is live beyond."""
    assert trace.live[:num].all()
    assert not trace.live[num:].any()
    assert np.isfinite(np.asarray(trace.reward)[:num]).all()
    assert len(np.unique(np.asarray(trace.keys)[:num], axis=0)) == num
    origin = np.asarray(trace.origin)[:num]
    batches = settings.explore_iters or 0
    explored = batches * settings.batch
    assert (origin[:explored] == int(Origin.PRIOR)).all()
    assert not (origin[explored:] == int(Origin.PRIOR)).any()
    assert (origin[explored:] == int(Origin.MODEL)).sum() >= 8
    entropy = np.asarray(trace.info["entropy"])
    assert np.isnan(entropy[:batches]).all()
    assert (entropy[batches : -(-num // settings.batch)] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "space", "budget", "num"),
    [
        (POLICY, TOY, 32, 26),  # all classes that there are, then nothing
        (ELITE, TOY, 32, 26),
        (POLICY, Enas(3, ("sep5x5", "conv3x3")), 22, 22),
        (ELITE, Enas(), 22, 22),
        (ELITE, ToyNodes(), 22, 22),
        (dataclasses.replace(ELITE, candidates=256), NasBench101(), 22, 22),  # one draw in ten is a cell
        (dataclasses.replace(POLICY, candidates=256), NasBench101(), 22, 22),
    ],
)
def test_asks_for_each_network_once(settings, space, budget, num):
    search = scan_search(space, settings.build(space, budget), additive(space), budget)
    trace = quick_jit(search)(jax.random.key(0))
    is_accounted_for(trace, settings, num)
    assert jax.vmap(space.is_valid)(jax.tree.map(lambda leaf: leaf[:num], trace.archs)).all()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [POLICY, ELITE])
def test_asks_only_for_what_is_new(settings):
    """All classes but one seen: it is asked for. All seen: nothing is."""
    method, members = settings.build(TOY, 40), np.asarray(TOY.class_members())
    state, ask = method.init(jax.random.key(0)), quick_jit(method.ask)
    for missing in (11, None):
        known = members if missing is None else np.delete(members, missing)
        state = state._replace(history=archive(TOY, 40, known, np.arange(len(known))))
        proposals, _ = ask(state, jax.random.key(1), jnp.int32(7))
        assert proposals.live.sum() == (0 if missing is None else 1)
        if missing is not None:
            first = jax.tree.map(lambda leaf: leaf[0], proposals.archs)
            assert int(TOY.class_of(TOY.index(first))) == missing


@pytest.mark.parametrize(
    "settings",
    [
        ReinforceRnn(batch=8, explore_iters=2, hidden=16, elite=6, epochs=40, learning_rate=1e-2),
        ReinforceRnn("reinforce", batch=8, hidden=16, learning_rate=1e-2),
    ],
    ids=["elite", "reinforce"],
)
def test_it_learns(settings):
    """Eight seeds on NAS-Bench-201 without `none`, an additive noisy reward: the last 24 of 64 queries less the first 16.

    Exact paired sign-flip test; the smallest p that it can have is 2 / 256.
    """
    space = NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
    search = scan_search(space, settings.build(space, 64), additive(space, noise=0.3), 64)
    traces = quick_jit(lambda keys: jax.lax.map(search, keys))(jax.random.split(jax.random.key(0), 8))
    for seed in range(8):
        is_accounted_for(jax.tree.map(lambda leaf, seed=seed: leaf[seed], traces), settings, 64)
    rewards = np.asarray(traces.reward, np.float64)
    gains = rewards[:, 40:].mean(1) - rewards[:, :16].mean(1)
    assert stats.sign_flip_test(gains) < 0.01
    assert gains.mean() > 1


def test_defaults_by_objective():
    """As the sources have them, or as compared on a table; the search's state holds a policy only where it outlives a step."""
    elite, policy = (plan_of(ReinforceRnn(name)) for name in ("elite", "reinforce"))
    assert (elite.config.hidden, elite.config.layers, elite.config.temperature, elite.config.squash) == (
        128,
        2,
        5.0,
        2.5,
    )
    assert (policy.config.hidden, policy.config.layers, policy.config.temperature, policy.config.squash) == (
        64,
        1,
        5.0,
        1.5,
    )
    assert (elite.batch, policy.batch) == (1, 10)
    assert (elite.refit.learning_rate, policy.refit.learning_rate) == (1e-3, 3.5e-3)
    assert jax.eval_shape(ReinforceRnn().build(TOY, 20).init, jax.random.key(0)).learner is None
    shapes = jax.eval_shape(ReinforceRnn("reinforce").build(TOY, 20).init, jax.random.key(0))
    assert shapes.learner.params.states.shape == (1, 64, 256)
    assert ReinforceRnn().build(TOY, 20).learned


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "ppo"}, "objective is 'ppo'"),
        ({"epochs": 0}, "epochs is 0; at least 1"),
        ({"entropy": 0.1}, "entropy has no meaning with objective='elite'"),
        ({"skip_weight": 0.1}, "skip_weight has no meaning"),
        ({"objective": "reinforce", "elite": 5}, "elite has no meaning with objective='reinforce'"),
        ({"objective": "reinforce", "batch": 1}, "batch is 1; at least 2"),
        ({"objective": "reinforce", "skip_target": 1.0}, "skip_target is 1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"weights": "best"}, "weights is 'best'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^reinforce_rnn: {message}"):
        ReinforceRnn(**settings).build(TOY, 20)


def test_other_refusals():
    with pytest.raises(ValueError, match=r"^recurrent: hidden is 0"):
        ReinforceRnn(hidden=0).build(TOY, 20)
    with pytest.raises(ValueError, match="a budget of 0"):
        ReinforceRnn().build(TOY, 0)
    with pytest.raises(ValueError, match="cannot be written row by row"):
        ReinforceRnn().build(object(), 20)
