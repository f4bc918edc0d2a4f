"""The ensemble against NumPy, its mask, and what the method asks."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.base import Evaluation, Origin
from nasjax.methods import asking, bananas
from nasjax.methods.bananas import Bananas
from nasjax.methods.encoding import ByEncoding
from nasjax.spaces.toy import Toy
from nasjax.spaces.toy_nodes import ToyNodes

TOY = Toy()
WIDTHS = (5, 4, 3, 1)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def layers(member):
    """[(weights, biases)] of a flat vector of `WIDTHS`."""
    cut, found = 0, []
    for inputs, outputs in itertools.pairwise(WIDTHS):
        weights = member[cut : cut + inputs * outputs].reshape(inputs, outputs)
        found.append((weights, member[cut + inputs * outputs : cut + (inputs + 1) * outputs]))
        cut += (inputs + 1) * outputs
    assert cut == member.size
    return found


def slow_predict(member, points):
    values = points
    for number, (weights, biases) in enumerate(layers(member)):
        values = values @ weights + biases
        if number < 2:
            values = np.maximum(values, 0)
    return values[:, 0]


def slow_gradient(member, points, targets):
    """Back-propagation of the mean squared error by hand."""
    inputs, values = [], points
    parts = layers(member)
    for number, (weights, biases) in enumerate(parts):
        inputs.append(values)
        values = values @ weights + biases
        values = np.maximum(values, 0) if number < 2 else values
    back = 2 * (values[:, 0] - targets)[:, None] / len(targets)
    found = []
    for number in reversed(range(3)):
        found = [(inputs[number].T @ back).ravel(), back.sum(axis=0), *found]
        back = (back @ parts[number][0].T) * (inputs[number] > 0)
    return np.concatenate(found)


def slow_fit(member, points, targets, steps, rate):
    first, second = np.zeros(member.size), np.zeros(member.size)
    for step in range(1, steps + 1):
        gradient = slow_gradient(member, points, targets)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        member = member - rate * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return member


def test_fit_against_float64():
    """Two networks, 20 full-batch Adam steps; rows that do not count change nothing."""
    rng = np.random.default_rng(0)
    points = rng.integers(0, 2, (9, 5)).astype(np.float32)
    targets, mask = rng.normal(size=9).astype(np.float32), np.array([1, 1, 0, 1, 1, 1, 0, 1, 1], bool)
    starts = jax.vmap(lambda key: bananas.initial_parameters(WIDTHS, key))(jax.random.split(jax.random.key(3), 2))
    fit = quick_jit(lambda points, targets: bananas.fit(WIDTHS, starts, points, targets, jnp.asarray(mask), 20, 0.01))
    found = fit(jnp.asarray(points), jnp.asarray(targets))
    other = fit(jnp.asarray(np.where(mask[:, None], points, 9)), jnp.asarray(np.where(mask, targets, np.nan)))
    np.testing.assert_array_equal(found, other)
    for start, member in zip(np.asarray(starts, float), np.asarray(found), strict=True):
        expected = slow_fit(start, points[mask], targets[mask], 20, 0.01)
        np.testing.assert_allclose(member, expected, atol=2e-4)
        np.testing.assert_allclose(
            bananas.predict(WIDTHS, jnp.asarray(member), jnp.asarray(points)), slow_predict(member, points), atol=1e-5
        )


def test_initial_parameters():
    """Weights of variance 2 / inputs, biases 0; n = 64 x 64, the deviation within 5 standard errors."""
    parameters = np.asarray(bananas.initial_parameters((84, 64, 64, 1), jax.random.key(0)))
    assert parameters.size == bananas.num_parameters((84, 64, 64, 1)) == 85 * 64 + 65 * 64 + 65
    inner = parameters[85 * 64 : 85 * 64 + 64 * 64]
    assert abs(inner.std() / (2 / 64) ** 0.5 - 1) < 5 / (2 * inner.size) ** 0.5
    assert not parameters[84 * 64 : 85 * 64].any()
    assert parameters[-1] == 0
    assert parameters[-2] != 0


SETTINGS = Bananas(initial=6, refit_every=4, members=3, hidden=(4, 3), steps=5, candidates=12, parents=3)


def test_queries_are_thompson_samples_among_edits():
    """From the state before each query: the unseen edit whose draw from N(mean, sd) of the members is highest.

    The ensemble changes at queries 6, 10, 14, … and at no other.
    """
    classes = Toy().smallest_codes().astype(int)
    rewards = jnp.asarray(np.where(classes % 7 == 3, np.nan, classes * 5 % 11 % 6), jnp.float32)
    method = SETTINGS.build(TOY, 24)
    assert method.learned
    ask, tell = quick_jit(method.ask), quick_jit(method.tell)

    @quick_jit
    def edits(past, key):
        archs = asking.edits_of_best(TOY, past, 12, 3, key)[0]
        return jax.vmap(TOY.index)(archs), jax.vmap(TOY.paths)(archs)

    state, asked, model = method.init(jax.random.key(0)), [], 0
    for step in range(20):
        key = jax.random.fold_in(jax.random.key(2), step)
        before = state
        proposals, state = ask(state, key, jnp.int32(step))
        assert bool((before.ensemble != state.ensemble).any()) == (step >= 6 and (step - 6) % 4 == 0)
        number = int(TOY.index(jax.tree.map(lambda leaf: leaf[0], proposals.archs)))
        if step >= 6:
            _, edit_key, score_key = asking.own_keys(key, 3)
            numbers, points = map(np.asarray, edits(before.history, edit_key))
            predicted = np.array([network(member, points) for member in np.asarray(state.ensemble, float)])
            noise = np.asarray(jax.random.normal(score_key, (12,), jnp.float32))
            score = predicted.mean(axis=0) + predicted.std(axis=0) * noise
            unseen = ~np.isin(classes[numbers], classes[asked])
            if unseen.any():
                model += 1
                assert int(proposals.origin[0]) == Origin.MODEL
                assert score[numbers == number].max() >= score[unseen].max() - 1e-5
            else:
                assert int(proposals.origin[0]) in (Origin.REFILL, Origin.FALLBACK)
        else:
            assert int(proposals.origin[0]) == Origin.PRIOR
        assert classes[number] not in classes[asked]
        asked.append(number)
        reward = rewards[number][None]
        state = tell(state, proposals, Evaluation(reward, ~jnp.isnan(reward), reward, {}), jnp.int32(step))
    assert model >= 8


def network(member, points):
    """One network of the toy's 12 paths and hidden widths 4 and 3."""
    values, cut = points, 0
    for inputs, outputs in ((12, 4), (4, 3), (3, 1)):
        weights = member[cut : cut + inputs * outputs].reshape(inputs, outputs)
        values = values @ weights + member[cut + inputs * outputs : cut + (inputs + 1) * outputs]
        values = np.maximum(values, 0) if outputs > 1 else values
        cut += (inputs + 1) * outputs
    return values[:, 0]


def test_encoding_follows_the_space():
    """Paths where the space has them: 12 of the toy's; else one-hot: 9 numbers."""
    for space, size in ((TOY, 12), (ToyNodes(), 9)):
        state = SETTINGS.build(space, 10).init(jax.random.key(0))
        assert state.ensemble.shape == (3, bananas.num_parameters((size, 4, 3, 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": 0}, "bananas: members=0; at least 1"),
        ({"hidden": (4, 0)}, r"bananas: hidden=\(4, 0\); widths of at least 1"),
        ({"rate": 0.0}, "bananas: rate=0.0; above 0"),
        ({"batch": 13}, "bananas: candidates=12 for a batch of 13"),
        ({"encoding": "graphs"}, "unknown encoding 'graphs'"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **change).build(TOY, 10)


def test_a_space_without_decisions_is_refused():
    with pytest.raises(ValueError, match="bananas: toy is no product of choices"):
        SETTINGS.build(ByEncoding(TOY), 10)
