"""The learned distance, by hand and against NumPy; the fit against finite differences; what GraphPNAS does with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.base import Rows
from nasjax.methods import gaussian_process, graph_process, screen
from nasjax.spaces.enas import Enas
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy
from nasjax.spaces.toy_nodes import ToyNodes

NB201 = NasBench201()
embed = jax.jit(graph_process.embed, static_argnums=0)


def drawn(space, num, seed=0):
    """Rows[num] of the prior."""
    return jax.jit(lambda key: jax.vmap(lambda k: space.to_rows(space.sample(k)))(jax.random.split(key, num)))(
        jax.random.key(seed)
    )


def spread(theta, seed):
    """Theta with each number drawn from its prior."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), theta)


def test_distances_by_hand():
    """NAS-Bench-201, prior's centre: cells that differ in one edge by 1 (skip, conv1x1), .4 (the kernel), sqrt(1.49)."""
    rows = jax.tree.map(np.asarray, drawn(NB201, 4))
    edges = np.zeros((4, 4, 4), np.int32)
    edges[:, 2, 1] = [1, 2, 3, 4]
    edges[:, 3, 0] = 3
    points = embed(NB201.alphabet, graph_process.start(NB201.alphabet), Rows(edges, rows.nodes, rows.size))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    labels = [(1, 0, 0), (0, 0, 0), (0, 1, 0), (0, 1, 0.4), (0, 0, 0)]  # nothing, convolves, rings; pools: .7
    squares = [[np.subtract(a, b) @ np.subtract(a, b) for a in labels] for b in labels]
    squares = np.array(squares) + 0.49 * (np.eye(5)[4][:, None] != np.eye(5)[4][None])
    np.testing.assert_allclose(distance * np.sqrt(6 * squares.mean()), np.sqrt(squares[1:, 1:]), atol=1e-5)


@pytest.mark.parametrize("space", [Toy(), ToyNodes(), NB201, NasBench101(), Enas()], ids=lambda s: s.name)
def test_points_of_any_space_against_a_loop(space):
    """Weighted places of every edge, then of every node that is there, and whether it is absent."""
    alphabet, rows = space.alphabet, drawn(space, 5)
    theta = spread(graph_process.start(alphabet), 3)
    found = np.asarray(embed(alphabet, theta, rows))
    labels = max(alphabet.edge_labels or alphabet.node_labels, 1)
    places = np.array(alphabet.described) if alphabet.described else np.eye(labels) / np.sqrt(2)
    places = places + 0.15 * np.asarray(theta.shift)
    num, which = alphabet.num_nodes, 0
    columns = []
    for i in range(num):
        for j in range(i):
            label = np.asarray(rows.edges)[:, i, j]
            place = places[label] if alphabet.edge_labels else label[:, None]
            columns.append(place * np.exp(0.5 * float(theta.pairs[which])))
            which += 1
    if alphabet.node_labels:
        for i in range(num):
            there = i < np.asarray(rows.size)
            place = np.concatenate(
                [np.where(there[:, None], places[np.asarray(rows.nodes)[:, i]], 0), ~there[:, None]], 1
            )
            columns.append(place * np.exp(0.5 * float(theta.nodes[i])))
    expected = np.concatenate(columns, 1) * np.exp(-float(theta.length))
    np.testing.assert_allclose(found / found.std(), expected / expected.std(), atol=1e-4)


def test_length_is_in_units_of_the_typical_distance():
    """Root mean square distance of 300 random cells of four operations: 1."""
    space = NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
    points = np.asarray(embed(space.alphabet, graph_process.start(space.alphabet), drawn(space, 300)))
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)
    assert abs(squares.mean() - 1) < 0.03


def test_log_gaps_by_hand():
    """Gaps 0, 1, 3, 9 of a median (the upper) of 3: -log(gap + 1.5), standardised; rows that do not count are 0."""
    found = graph_process.log_gaps(jnp.array([9.0, jnp.nan, 8, 6, 0]), jnp.array([True, False, True, True, True]))
    logs = -np.log(np.array([0, 1, 3, 9]) + 1.5)
    expected = (logs - logs.mean()) / logs.std()
    np.testing.assert_allclose(found, np.insert(expected, 1, 0), rtol=1e-5)
    same = graph_process.log_gaps(jnp.ones(3), jnp.array([True, True, False]))
    np.testing.assert_array_equal(same, 0)


def archive(space, num, seed=0, blank=3):
    """`num` cells whose reward is the weighted number of 3x3 convolutions, and `blank` rows that do not count."""
    rows = drawn(space, num + blank, seed)
    mask = np.arange(num + blank) < num
    weights = np.arange(1, 7)
    below = np.tril_indices(4, -1)
    reward = ((np.asarray(rows.edges)[:, below[0], below[1]] == 3) * weights).sum(-1).astype(np.float32)
    return screen.Archive(rows, jnp.where(mask, reward, jnp.nan), jnp.asarray(mask))


def log_posterior(alphabet, data, theta):
    """In float64 NumPy but for the points."""
    keep = np.asarray(data.mask)
    points = np.asarray(embed(alphabet, theta, data.rows), np.float64)[keep]
    targets = np.asarray(graph_process.log_gaps(data.reward, data.mask), np.float64)[keep]
    r = np.sqrt(5) * np.linalg.norm(points[:, None] - points[None], axis=-1)
    kernel = np.exp(float(theta.scale)) * (1 + r + r**2 / 3) * np.exp(-r)
    covariance = kernel + (0.03 * np.exp(float(theta.noise)) + 1e-6) * np.eye(keep.sum())
    fit = targets @ np.linalg.solve(covariance, targets) / 2 + np.linalg.slogdet(covariance)[1] / 2
    return -fit - sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(theta)) / 2


def test_the_slope_is_that_of_the_posterior():
    """Away from the centre, along eight directions, by central differences."""
    data, alphabet = archive(NB201, 12), NB201.alphabet
    centre = graph_process.start(alphabet)
    theta = jax.tree.map(lambda leaf: 0.5 * leaf, spread(centre, 1))
    targets = graph_process.log_gaps(data.reward, data.mask)

    def covariance(theta):
        points = graph_process.embed(alphabet, theta, data.rows)
        distance = graph_process._distances(points, points)
        return gaussian_process.covariance(distance, data.mask, graph_process._hyper(theta))

    slope = jax.jit(lambda theta: gaussian_process._gradient(theta, covariance, targets, centre))(theta)
    for seed in range(8):
        way = spread(centre, seed + 10)
        ends = [jax.tree.map(lambda at, by, size=size: at + size * by, theta, way) for size in (0.01, -0.01)]
        found = (log_posterior(alphabet, data, ends[1]) - log_posterior(alphabet, data, ends[0])) / 0.02
        along = sum(float((a * b).sum()) for a, b in zip(slope, way, strict=True))
        np.testing.assert_allclose(along, found, rtol=0.02, atol=0.02)


def test_fit_climbs():
    """The posterior density rises by many nats."""
    data = archive(NB201, 40)
    start = graph_process.start(NB201.alphabet)
    found = jax.jit(graph_process.fit, static_argnums=0)(NB201.alphabet, data)
    assert log_posterior(NB201.alphabet, data, found) > log_posterior(NB201.alphabet, data, start) + 5


def test_it_learns_which_edges_matter_and_ranks_unseen_cells():
    """40 of 15,625 cells, a reward of 3x3 convolutions with weights 1 to 6: the last edge weighs more than the first."""
    data = archive(NB201, 40)
    theta = jax.jit(graph_process.fit, static_argnums=0)(NB201.alphabet, data)
    assert theta.pairs[5] > theta.pairs[0] + 1
    others = archive(NB201, 200, seed=9, blank=0)
    improve = jax.jit(graph_process.expected_improvement, static_argnums=0)
    gain = np.asarray(improve(NB201.alphabet, theta, data, others.rows))
    assert (gain >= 0).all()
    best = np.argsort(-gain)[:10]
    assert (
        np.asarray(others.reward)[best].mean() > np.asarray(others.reward).mean() + 2 * np.asarray(others.reward).std()
    )


def test_rows_that_do_not_count_change_nothing():
    few, more = archive(NB201, 20, blank=0), archive(NB201, 20, blank=9)
    more = more._replace(rows=jax.tree.map(lambda a, b: jnp.concatenate([a, b[20:]]), few.rows, more.rows))
    more = more._replace(reward=jnp.concatenate([few.reward, more.reward[20:]]))
    fit = jax.jit(graph_process.fit, static_argnums=0)
    improve = jax.jit(graph_process.expected_improvement, static_argnums=0)
    others = drawn(NB201, 30, seed=4)
    gains = [improve(NB201.alphabet, fit(NB201.alphabet, data), data, others) for data in (few, more)]
    np.testing.assert_allclose(*gains, atol=2e-3)


def test_gradient_of_equal_graphs_is_finite():
    """Twenty equal cells: every distance is 0."""
    data = archive(NB201, 20, blank=0)
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), data.rows)
    theta = jax.jit(graph_process.fit, static_argnums=0)(NB201.alphabet, data._replace(rows=rows))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(theta))
