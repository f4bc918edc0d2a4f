"""Gaussian processes against float64 NumPy, the masked form against the short one, and what the method asks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.base import Evaluation, Origin
from nasjax.methods import asking, features
from nasjax.methods import gaussian_process as gp
from nasjax.methods.encoding import ByEncoding
from nasjax.methods.gp_bo import GpBo
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy

TOY, NB201 = Toy(), NasBench201()
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Slow:
    """A Gaussian process in float64 NumPy, on the rows that count only."""

    def __init__(self, points, targets):
        self.points, self.targets = np.asarray(points, float), np.asarray(targets, float)
        self.distance = self.distances(self.points)
        positive = [d for row, d_row in enumerate(self.distance) for d in d_row[row + 1 :] if d > 0]
        self.means = np.array([np.log(np.median(positive)), 0.0, np.log(0.1)])

    def distances(self, others):
        return np.sqrt(((self.points[:, None] - others[None]) ** 2).sum(axis=2))

    def kernel(self, distance, theta):
        scaled = np.sqrt(5) * distance / np.exp(theta[0])
        return np.exp(theta[1]) * (1 + scaled + scaled**2 / 3) * np.exp(-scaled)

    def covariance(self, theta):
        return self.kernel(self.distance, theta) + (np.exp(theta[2]) + 1e-6) * np.eye(len(self.points))

    def loss(self, theta):
        covariance = self.covariance(theta)
        fit = self.targets @ np.linalg.solve(covariance, self.targets) / 2 + np.linalg.slogdet(covariance)[1] / 2
        return fit + ((theta - self.means) ** 2).sum() / 2

    def gradient(self, theta):
        steps = 1e-5 * np.eye(3)
        return np.array([(self.loss(theta + step) - self.loss(theta - step)) / 2e-5 for step in steps])

    def fit(self, theta, steps, rate):
        first, second = np.zeros(3), np.zeros(3)
        for step in range(1, steps + 1):
            gradient = self.gradient(theta)
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            theta = theta - rate * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        return theta

    def predict(self, theta, others):
        cross = self.kernel(self.distances(np.asarray(others, float)), theta)
        solved = np.linalg.solve(self.covariance(theta), cross)
        return self.targets @ solved, np.exp(theta[1]) - (cross * solved).sum(axis=0)


@pytest.fixture(scope="module")
def case():
    """18 rows of 24 bits of which 13 count, their normal scores, and 40 others."""
    archs = jax.vmap(NB201.sample)(jax.random.split(jax.random.key(5), 58))
    points = jax.vmap(features.one_hot(NB201).encode)(archs)
    rng = np.random.default_rng(0)
    mask = np.zeros(18, bool)
    mask[rng.permutation(18)[:13]] = True
    reward = np.where(mask, np.asarray(points)[:18] @ rng.normal(size=24) + 0.3 * rng.normal(size=18), np.nan)
    targets = features.normal_scores(jnp.asarray(reward, jnp.float32), jnp.asarray(mask))
    return points[:18], targets, mask, points[18:]


@quick_jit
def fitted(points, targets, mask, others):
    distance = gp.distances(points, points)
    means = gp.prior_means(distance, mask)
    theta = gp.fit(means, distance, targets, mask, means, 50, 0.1)
    return means, theta, *gp.predict(gp.posterior(points, targets, mask, theta), others)


def test_fit_and_posterior_against_float64(case):
    points, targets, mask, others = case
    slow = Slow(points[mask], targets[mask])
    means, theta, mean, variance = fitted(points, targets, jnp.asarray(mask), others)
    np.testing.assert_allclose(means, slow.means, atol=1e-6)
    expected = slow.fit(slow.means, 50, 0.1)
    np.testing.assert_allclose(theta, expected, atol=1e-4)
    assert np.abs(expected - slow.means).max() > 0.2  # it moved
    assert slow.loss(expected) < slow.loss(slow.means) - 0.1
    for found, exact in zip((mean, variance), slow.predict(expected, others), strict=True):
        np.testing.assert_allclose(found, exact, atol=1e-4)


def test_masked_rows_change_nothing(case):
    """Other rows in their places, and none at all: the same process up to rounding."""
    points, targets, mask, others = case
    full = fitted(points, targets, jnp.asarray(mask), others)
    moved = jnp.where(mask[:, None], points, 1 - points)
    for result in (
        fitted(moved, targets, jnp.asarray(mask), others),
        fitted(points[mask], targets[mask], jnp.ones(13, bool), others),
    ):
        for one, other in zip(full, result, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_gradient_is_that_of_the_posterior(case):
    points, targets, mask, _ = case
    distance, mask = gp.distances(points, points), jnp.asarray(mask)
    means = gp.prior_means(distance, mask)

    @quick_jit
    def written(theta, distance, targets, mask, means):
        return gp._gradient(theta, lambda theta: gp.covariance(distance, mask, theta), targets, means)

    automatic = quick_jit(jax.grad(gp.negative_log_posterior))
    for theta in (means, jnp.array([0.3, 1.2, -4.0], jnp.float32)):
        arguments = theta, distance, targets, mask, means
        np.testing.assert_allclose(written(*arguments), automatic(*arguments), rtol=2e-3, atol=2e-3)


def test_the_median_distance_of_few_rows():
    points = jnp.array([[0, 0], [0, 0], [1, 0], [1, 1]], jnp.float32)
    distance = gp.distances(points, points)

    def median(rows):
        return float(jnp.exp(gp.prior_means(distance, jnp.isin(jnp.arange(4), jnp.array(rows)))[0]))

    assert median([0, 1]) == 1  # no positive distance
    assert median([0, 1, 2]) == pytest.approx(1)
    assert median([0, 2, 3]) == pytest.approx(1)
    assert median([0, 1, 3]) == pytest.approx(2**0.5)
    assert median([0, 1, 2, 3]) == pytest.approx(1)  # 1, 1, √2, √2, 1
    assert median([0, 3, 2]) == pytest.approx(1)


def test_expected_improvement_against_an_integral():
    """E max(f - best, 0) on a fine grid; where nothing is left to know it is the gain itself."""
    mean, deviation = np.array([-1.0, 0.0, 0.4, 3.0, -8.0]), np.array([1.0, 0.2, 2.0, 0.5, 1.0])
    found = gp.expected_improvement(jnp.float32(mean), jnp.float32(deviation**2), jnp.float32(0.3))
    grid = np.linspace(-12, 12, 200_001)
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * (grid[1] - grid[0])
    exact = (np.maximum(mean[:, None] + deviation[:, None] * grid - 0.3, 0) * density).sum(axis=1)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)
    known = gp.expected_improvement(jnp.float32([1.0, -1.0]), jnp.zeros(2), jnp.float32(0.25))
    np.testing.assert_allclose(known, [0.75, 0], atol=1e-5)


# The method


def test_rewards_that_one_decision_explains_end_no_model():
    """Without noise the covariance comes to lie beyond what float32 factors; a NaN would stay for the rest of the search."""
    space = NasBench201(("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
    archs = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 100))
    points = jax.vmap(features.one_hot(space).encode)(archs)
    reward = (jax.vmap(space.operations)(archs)[:, 3] == 3).astype(jnp.float32)
    fitted = jax.jit(GpBo()._fitted)
    theta, restarts = jnp.zeros(3), 0
    for queries in range(20, 101, 5):
        mask = jnp.arange(100) < queries
        targets = features.normal_scores(reward, mask)
        theta = fitted(theta, queries == 20, points, targets, mask)
        restarts += bool((theta == gp.prior_means(gp.distances(points, points), mask)).all())
        mean, variance = gp.predict(gp.posterior(points, targets, mask, theta), points)
        assert np.isfinite(np.stack([mean, variance])).all()
    assert restarts


SETTINGS = GpBo(initial=6, refit_every=4, steps=5, edits=10, draws=10, parents=3)


def test_queries_against_the_parts_one_by_one():
    """Each query is the unseen candidate of largest expected improvement, by float64 NumPy on the valid results.

    The hyperparameters are fitted before queries 6, 10, 14, …, from the last ones, and kept between.
    """
    scipy_stats = pytest.importorskip("scipy.stats")
    classes = Toy().smallest_codes().astype(int)
    rewards = np.where(classes % 7 == 3, np.nan, classes * 5 % 11 % 6)
    encoded = np.asarray(jax.vmap(features.one_hot(TOY).encode)(TOY.all()))
    method = SETTINGS.build(TOY, 24)
    assert method.learned
    ask, tell = quick_jit(method.ask), quick_jit(method.tell)

    @quick_jit
    def candidates(past, key):
        keys = asking.own_keys(key, 2)
        edited = asking.edits_of_best(TOY, past, 10, 3, keys[0])[0]
        drawn = jax.vmap(TOY.sample)(jax.random.split(keys[1], 10))
        return jnp.concatenate([jax.vmap(TOY.index)(edited), jax.vmap(TOY.index)(drawn)])

    state, asked, theta, model = method.init(jax.random.key(0)), [], None, 0
    for step in range(22):
        key, before = jax.random.fold_in(jax.random.key(1), step), state
        proposals, state = ask(before, key, jnp.int32(step))
        number, origin = int(TOY.index(jax.tree.map(lambda leaf: leaf[0], proposals.archs))), int(proposals.origin[0])
        assert classes[number] not in classes[asked]
        if step < 6:
            assert origin == Origin.PRIOR
            assert not state.theta.any()
        else:
            usable = [cell for cell in asked if not np.isnan(rewards[cell])]
            targets = scipy_stats.norm.ppf((scipy_stats.rankdata(rewards[usable]) - 0.5) / len(usable))
            slow = Slow(encoded[usable], targets)
            if (step - 6) % 4 == 0:
                theta = slow.fit(slow.means if theta is None else theta, 5, 0.1)
            np.testing.assert_allclose(state.theta, theta, atol=1e-3)
            numbers = np.asarray(candidates(before.history, key))
            mean, variance = slow.predict(theta, encoded[numbers])
            deviation = np.sqrt(np.maximum(variance, 1e-12))
            scaled = (mean - targets.max()) / deviation
            gain = deviation * (scaled * scipy_stats.norm.cdf(scaled) + scipy_stats.norm.pdf(scaled))
            unseen = ~np.isin(classes[numbers], classes[asked])
            if unseen.any():
                model += 1
                assert origin == Origin.MODEL
                assert gain[numbers == number].max() >= gain[unseen].max() - 1e-4
            else:
                assert origin in (Origin.REFILL, Origin.FALLBACK)
        asked.append(number)
        reward = jnp.asarray(rewards[[number]], jnp.float32)
        state = tell(state, proposals, Evaluation(reward, ~jnp.isnan(reward), reward, {}), jnp.int32(step))
    assert model >= 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initial": 0}, "gp_bo: initial=0; at least 1"),
        ({"edits": -1}, "gp_bo: edits=-1; at least 0"),
        ({"edits": 0, "draws": 0}, "0 candidates for a batch of 1"),
        ({"rate": float("nan")}, "gp_bo: rate=nan; above 0"),
        ({"encoding": "paths"}, "toy has no path encoding"),
    ],
)
def test_settings_are_checked(change, message):
    space = ByEncoding(TOY) if change.get("encoding") else TOY
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **change).build(space, 10)
