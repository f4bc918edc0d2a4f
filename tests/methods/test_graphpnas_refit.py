"""The refit loop against plain Python, on a model of a few parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax.methods import refit
from nasjax.methods.refit import Refit


def log_prob(params, graphs):
    """A softmax over 6 things, in a tree of two leaves; graphs int32[M]."""
    logits = params["a"] @ params["b"]
    return jax.nn.log_softmax(logits)[graphs]


def loss(params, graphs, coefficients, key):
    del key
    return -(coefficients * log_prob(params, graphs)).sum()


def start(seed=0):
    keys = jax.random.split(jax.random.key(seed))
    return {"a": jax.random.normal(keys[0], (4,)), "b": jax.random.normal(keys[1], (4, 6))}


@pytest.fixture
def x64():
    """Equality to 1e-6 after dozens of steps is claimed of the steps, not of float32."""
    with jax.enable_x64(True):
        yield


GRAPHS = jnp.array([0, 1, 1, 2, 5, 3, 3], jnp.int32)
WEIGHTS = np.array([0.2, 0.4, 0.6, 0.8, 1.0, 9.0, 9.0])  # the last two rows are never within `size`


def run(settings, size, epochs, bound=None, key=None, learner=None):
    key = jax.random.key(7) if key is None else key
    learner = refit.fresh(settings, start()) if learner is None else learner
    bound = size if bound is None else bound
    graphs, counts = GRAPHS[: WEIGHTS.size], (jnp.int32(size), jnp.int32(epochs), jnp.int32(bound))

    def fit(learner, key, size, epochs, bound):
        arguments = (learner, key, graphs, jnp.asarray(WEIGHTS), size)
        return refit.fit(settings, loss, *arguments, epochs=epochs, bound=bound, log_prob=log_prob)

    return jax.jit(fit)(learner, key, *counts)


def python_loop(size, epochs, minibatch, rate, key, stop_at=None):
    """The same steps, one call each, on the tree of parameters: Adam written out, orders from the same draws."""
    params = start()
    m = v = jax.tree.map(jnp.zeros_like, params)
    count = 0
    for epoch in range(epochs):
        epoch_key = jax.random.fold_in(key, epoch)
        draws = np.array(jax.random.uniform(jax.random.fold_in(epoch_key, 0), (WEIGHTS.size,), jnp.float32))
        order = np.argsort(draws[:size])
        for first in range(0, size, minibatch):
            chosen = order[first : first + minibatch]

            def mean(params, chosen=chosen):
                nll = [-float(WEIGHTS[i]) * log_prob(params, GRAPHS[i]) for i in chosen]
                return sum(nll) / len(nll)

            g = jax.grad(mean)(params)
            count += 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, g)
            params = jax.tree.map(
                lambda p, m, v, n=count: p - rate * (m / (1 - 0.9**n)) / (jnp.sqrt(v / (1 - 0.999**n)) + 1e-8),
                params,
                m,
                v,
            )
        nats = -sum(float(WEIGHTS[i] * log_prob(params, GRAPHS[i])) for i in range(size)) / float(WEIGHTS[:size].sum())
        if stop_at is not None and nats < stop_at:
            break
    return params, count


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("size", "epochs"), [(4, 25), (5, 17), (1, 50)])
def test_compiled_loop_equals_python_loop(size, epochs):
    """About 50 steps; with an odd elite the last graph of an epoch weighs 1 instead of 1/2."""
    learner = run(Refit(2, 0.05), size, epochs)
    params, count = python_loop(size, epochs, 2, 0.05, jax.random.key(7))
    assert count == -(-size // 2) * epochs
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), learner.params, params)


def test_rows_beyond_the_elite_and_steps_beyond_it_change_nothing():
    exact = run(Refit(2, 0.05), 3, 10, bound=3)
    loose = run(Refit(2, 0.05), 3, 10, bound=7)
    jax.tree.map(np.testing.assert_array_equal, exact, loose)
    nothing = run(Refit(2, 0.05), 0, 10, bound=7)
    jax.tree.map(np.testing.assert_array_equal, nothing.params, start())


def test_minibatches_of_one_epoch_are_a_partition():
    """Epochs without repetition: a loss linear in the parameters gives plain SGD the same sum in every order."""
    seen = jax.vmap(lambda key: refit._order(Refit(), key, 7, jnp.int32(5)))(jax.random.split(jax.random.key(0), 50))
    assert (np.sort(np.asarray(seen)[:, :5], axis=1) == np.arange(5)).all()
    assert len(np.unique(np.asarray(seen)[:, :5], axis=0)) > 30


@pytest.mark.usefixtures("x64")
def test_full_batch_is_adam_with_a_cosine_on_the_mean():
    settings = Refit(7, 0.1, cosine_steps=30, shuffle=False)
    learner = run(settings, 5, 30)
    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, 30))
    params, state = start(), optimiser.init(start())
    for _ in range(30):
        g = jax.grad(lambda p: -(WEIGHTS[:5] * log_prob(p, GRAPHS[:5])).mean())(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimiser.update(g, state)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), learner.params, params)


def test_stop_at_ends_after_the_first_epoch_below():
    """The weighted mean of -log p; alone and under vmap, where finished searches must stand still."""
    settings = Refit(2, 0.05, stop_at=1.6)
    params, count = python_loop(5, 200, 2, 0.05, jax.random.key(7), stop_at=1.6)
    assert 3 < count < 300
    learner = run(settings, 5, 200)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), learner.params, params)
    keys = jnp.stack([jax.random.key(7), jax.random.key(8), jax.random.key(9)])
    many = jax.vmap(lambda key: run(settings, 5, 200, key=key))(keys)
    for row in range(3):
        alone = run(settings, 5, 200, key=keys[row])
        jax.tree.map(lambda a, b, r=row: np.testing.assert_allclose(a[r], b, rtol=1e-4, atol=1e-5), many, alone)


def test_moments_are_kept_on_request():
    """Two refits of 5 epochs, the second from the first's learner: Adam's count goes on."""
    settings = Refit(2, 0.05)
    learner = run(settings, 4, 5, learner=run(settings, 4, 5))
    assert int(learner.moments[0].count) == 20
