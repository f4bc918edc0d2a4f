"""Advantages, elites, weights, orders, screening: small things with answers by hand.

Called as they stand, each of their operations would be a program of its own to compile.
"""

import functools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from nasjax import history
from nasjax.base import Alphabet, Evaluation, Origin, Proposals, Rows
from nasjax.history import Elite
from nasjax.methods import elites, encoding, orders, reinforce, screen
from nasjax.spaces.toy import Toy

leave_one_out, rank_advantages = jax.jit(reinforce.leave_one_out), jax.jit(reinforce.rank_advantages)


def test_leave_one_out_by_hand():
    """(1, 2, 6): the others' means are 4, 3.5, 1.5."""
    np.testing.assert_allclose(leave_one_out(jnp.array([1.0, 2, 6])), [-3, -1.5, 4.5])
    masked = leave_one_out(jnp.array([1.0, jnp.nan, 2, 6]), jnp.array([True, False, True, True]))
    np.testing.assert_allclose(masked, [-3, 0, -1.5, 4.5])
    np.testing.assert_array_equal(leave_one_out(jnp.array([5.0, jnp.nan]), jnp.array([True, False])), [0, 0])


def test_rank_advantages_by_hand():
    """Below 0, 1, 1, 3 of 3, ties 0, 1, 1, 0: (0, 1.5, 1.5, 3) / 3 - 1/2; they sum to 0."""
    ranks = rank_advantages(jnp.array([-5.0, 2, 2, 100]))
    np.testing.assert_allclose(ranks, [-0.5, 0, 0, 0.5])
    masked = rank_advantages(jnp.array([jnp.nan, 3, 1]), jnp.array([False, True, True]))
    np.testing.assert_allclose(masked, [0, 0.5, -0.5])


@pytest.mark.parametrize(("kind", "num"), [("loo", 2), ("loo", 3), ("rank", 2), ("rank", 3)])
def test_estimators_are_unbiased_exactly(kind, num):
    """Softmax over 4 things: the estimate's mean over all 4^B batches is the gradient, to rounding; no sampling.

    "loo": of E[r]. "rank": of the expected share of an independent second draw, from the same p held fixed, that is worse
    plus half of the ties.
    """
    reward = jnp.array([1.0, 4.0, 2.0, 2.0])
    batches = np.stack(np.meshgrid(*[np.arange(4)] * num, indexing="ij"), -1).reshape(-1, num)
    advantages = reinforce.leave_one_out if kind == "loo" else reinforce.rank_advantages

    @jax.jit
    def both(logits):
        p = jax.nn.softmax(logits)
        score = reward
        if kind == "rank":
            below, equal = reward[None] < reward[:, None], reward[None] == reward[:, None]
            score = (below.astype(p.dtype) + 0.5 * equal.astype(p.dtype)) @ p

        def loss(logits, batch):
            return reinforce.policy_loss(jax.nn.log_softmax(logits)[batch], advantages(reward[batch]))

        estimates = -jax.vmap(jax.grad(loss), (None, 0))(logits, batches)
        exact = jax.grad(lambda x: jax.nn.softmax(x) @ jax.lax.stop_gradient(score))(logits)
        return (estimates * p[batches].prod(-1)[:, None]).sum(0), exact

    mean, exact = both(jnp.array([0.3, -1.0, 0.8, 0.1]))
    np.testing.assert_allclose(mean, exact, atol=1e-6)


def test_entropy_gradient_is_unbiased_exactly():
    batches = np.stack(np.meshgrid(*[np.arange(3)] * 2, indexing="ij"), -1).reshape(-1, 2)

    @jax.jit
    def both(logits):
        def of(logits, batch):
            return reinforce.negative_entropy(jax.nn.log_softmax(logits)[batch])

        each, p = jax.vmap(jax.grad(of), (None, 0))(logits, batches), jax.nn.softmax(logits)
        exact = jax.grad(lambda x: jax.nn.softmax(x) @ jax.nn.log_softmax(x))(logits)
        return (each * p[batches].prod(-1)[:, None]).sum(0), exact

    mean, exact = both(jnp.array([0.3, -1.0, 0.8]))
    np.testing.assert_allclose(mean, exact, atol=1e-6)


def test_importance_weights_are_clipped_and_carry_no_gradient():
    now = jnp.log(jnp.array([0.1, 0.3, 0.9]))
    old = jnp.log(jnp.array([0.2, 0.2, 0.1]))
    weights = functools.partial(reinforce.importance_weights, clip=2.0)
    found, jacobian = jax.jit(lambda now: (weights(now, old), jax.jacobian(lambda n: weights(n, old))(now)))(now)
    np.testing.assert_allclose(found, [0.5, 1.5, 2.0], rtol=1e-5)
    assert not np.any(jacobian)


SPACE = Toy()


BUDGET = 12


@jax.jit
def _archive(reward, valid, live):
    archs = jax.tree.map(lambda leaf: leaf[:BUDGET], SPACE.all())
    proposals = Proposals(archs, live, jnp.full(BUDGET, int(Origin.PRIOR), jnp.int32), {})
    evaluation = Evaluation(reward, valid, jnp.zeros(BUDGET, jnp.float32), {})
    space = encoding.by_encoding(SPACE)
    return history.add(space, history.empty(space, BUDGET), proposals, evaluation)


def archive(rewards, valid=None):
    """A history of the first architectures of `all()`."""
    reward, good = np.zeros(BUDGET, np.float32), np.ones(BUDGET, bool)
    reward[: len(rewards)] = rewards
    good[: len(rewards)] = True if valid is None else valid
    return _archive(reward, good, np.arange(BUDGET) < len(rewards))


@functools.partial(jax.jit, static_argnums=(1, 3))
def _choose(past, sizes, allowed, noise, keys):
    choose = functools.partial(elites.choose, past, np.array(sizes), allowed, noise)
    best = jax.vmap(choose)(keys)
    return best, jax.vmap(jax.vmap(SPACE.index))(best.archs)


def choose(past, sizes, allowed=True, noise=0.0, draws=1):
    """Elites of `draws` keys and the numbers of their architectures."""
    keys = jax.random.split(jax.random.key(0), draws)
    return _choose(past, tuple(sizes.tolist()), np.full(BUDGET, True) & allowed, noise, keys)


def chosen(best, indices):
    """Of the first draw."""
    return indices[0, : int(best.size[0])].tolist()


def test_elite_is_the_best_ascending_and_ties_go_to_the_later():
    past = archive([3, 1, 2, 5, 2, 9], valid=[1, 1, 1, 1, 1, 0])
    best, indices = choose(past, elites.elite_sizes("top", 4, 12))
    assert chosen(best, indices) == [2, 4, 0, 3]
    np.testing.assert_allclose(best.reward[0], [2, 2, 3, 5])


def test_what_the_generator_cannot_write_is_left_out():
    past = archive([3, 1, 2, 5])
    assert chosen(*choose(past, elites.elite_sizes("top", 2, 12), np.arange(BUDGET) != 3)) == [2, 0]


def test_elite_sizes():
    assert elites.elite_sizes("top", 15, 20).tolist() == [15] * 21
    assert elites.elite_sizes("fraction", 1, 120)[[0, 33, 34, 40, 100, 120]].tolist() == [5, 5, 6, 6, 15, 18]
    steps = ((0, 10), (40, 20), (100, 30))
    assert elites.elite_sizes("schedule", 1, 120, steps)[[0, 39, 40, 99, 100]].tolist() == [10, 10, 20, 20, 30]


def test_a_schedule_keeps_the_best():
    past = archive([3, 1, 2, 5, 4])
    sizes = elites.elite_sizes("schedule", 1, 12, ((0, 4), (5, 2)))
    best, indices = choose(past, sizes)
    assert chosen(best, indices) == [4, 3]
    assert best.mask[0].tolist() == [True, True, False, False]


def test_thompson_elites_vary_and_noise_has_the_scale_of_the_rewards():
    """Rewards 0..9: the best of the noisy ones is not always the same, and with small noise it is the true one."""
    past = archive(list(range(10)))
    sizes = elites.elite_sizes("thompson", 1, 12)
    (_, noisy), (_, quiet) = (choose(past, sizes, noise=noise, draws=200) for noise in (1.0, 1e-3))
    assert noisy.shape == quiet.shape == (200, 1)
    assert len(np.unique(noisy)) >= 4
    assert (np.asarray(quiet) == 9).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("rank", [1 / 3, 2 / 3, 1, 0]),
        ("uniform", [1, 1, 1, 0]),
        ("log", [np.log(3.5 / 3) / np.log(3.5), np.log(3.5 / 2) / np.log(3.5), 1, 0]),
        ("softmax", [np.exp(-4.0), np.exp(-2.0), 1, 0]),
    ],
)
def test_weights_by_hand(kind, expected):
    best = Elite((), jnp.array([1.0, 2, 3, 0]), jnp.array([True, True, True, False]), jnp.int32(3))
    weights = jax.jit(elites.elite_weights, static_argnums=(0, 2))
    np.testing.assert_allclose(weights(kind, best, 0.5), expected, rtol=1e-6)


NB101 = Alphabet(num_nodes=7, node_labels=5, first_labelled=1, stop_label=4)


def cell(edges, labels):
    matrix = np.zeros((7, 7), np.int32)
    for sender, receiver in edges:
        matrix[receiver, sender] = 1
    nodes = np.zeros(7, np.int32)
    nodes[: len(labels)] = labels
    return Rows(jnp.array(matrix), jnp.array(nodes), jnp.int32(len(labels)))


def networkx(rows):
    graph = nx.DiGraph()
    size = int(rows.size)
    graph.add_nodes_from((i, {"label": int(rows.nodes[i])}) for i in range(size))
    graph.add_edges_from((j, i) for i in range(size) for j in range(i) if rows.edges[i, j])
    return graph


BRANCHES = cell([(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)], [0, 3, 2, 1, 4])
LONG = cell([(0, 1), (0, 2), (1, 2), (2, 3), (0, 4), (3, 5), (4, 5), (5, 6), (1, 6)], [0, 2, 2, 1, 3, 2, 4])


@jax.jit
def random_orders(keys, rows):
    return jax.vmap(lambda key: orders.random_order(key, rows, NB101))(keys)


@pytest.mark.parametrize("rows", [BRANCHES, LONG])
def test_random_orders_are_isomorphic_topological_and_varied(rows):
    many = jax.tree.map(np.asarray, random_orders(jax.random.split(jax.random.key(0), 40), rows))
    for i in range(40):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], many)
        assert not np.triu(one.edges).any()
        assert one.nodes[0] == 0
        assert one.nodes[one.size - 1] == 4
        assert nx.is_isomorphic(networkx(one), networkx(rows), node_match=lambda a, b: a == b)
    count = sum(1 for _ in nx.all_topological_sorts(networkx(rows)))
    assert len({nodes.tobytes() + edges.tobytes() for nodes, edges in zip(many.nodes, many.edges, strict=True)}) > 1
    assert len({nodes.tobytes() for nodes in many.nodes}) <= count


@pytest.mark.parametrize("rows", [BRANCHES, LONG])
def test_greedy_order_undoes_random_orders(rows):
    many = random_orders(jax.random.split(jax.random.key(1), 40), rows)
    back = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda r: orders.greedy_order(r, NB101)))(many))
    assert len(np.unique(back.nodes, axis=0)) == len(np.unique(back.edges, axis=0)) == 1
    one = jax.tree.map(lambda leaf: leaf[0], back)
    assert nx.is_isomorphic(networkx(one), networkx(rows), node_match=lambda a, b: a == b)


def test_labelled_edges_are_never_reordered():
    rows = SPACE.to_rows(jax.tree.map(lambda leaf: leaf[37], SPACE.all()))
    for changed in (
        orders.random_order(jax.random.key(0), rows, SPACE.alphabet),
        orders.greedy_order(rows, SPACE.alphabet),
    ):
        jax.tree.map(np.testing.assert_array_equal, changed, rows)


def additive(index):
    """A reward that adds over decisions."""
    table = np.array([[0.0, 1, 3, 2], [2, 0, 1, 4], [0, 3, 1, 1]], np.float32)
    digits = np.stack([index // 16, index // 4 % 4, index % 4], -1)
    return table[np.arange(3), digits].sum(-1)


ALL_ROWS = jax.tree.map(np.asarray, jax.jit(jax.vmap(SPACE.to_rows))(SPACE.all()))
SOME = np.random.default_rng(0).permutation(64)[:40]


def surrogate_archive(rows=SOME):
    some = jax.tree.map(lambda leaf: leaf[rows], ALL_ROWS)
    return screen.Archive(some, additive(rows), np.ones(len(rows), bool))


def test_ridge_predicts_an_additive_reward():
    """Trained on 40 of 64, correlation above .95 on the other 24; a masked row with reward NaN changes nothing."""
    rest = np.setdiff1d(np.arange(64), SOME)
    candidates = jax.tree.map(lambda leaf: leaf[rest], ALL_ROWS)
    ridge_values = jax.jit(screen.ridge_values)
    values = ridge_values(surrogate_archive(), candidates)
    assert np.corrcoef(values, additive(rest))[0, 1] > 0.95
    padded = surrogate_archive(np.append(SOME, 0))
    padded.mask[-1], padded.reward[-1] = False, np.nan
    np.testing.assert_allclose(ridge_values(padded, candidates), values, atol=1e-5)


def test_graph_network_predicts_an_additive_reward():
    rest = np.setdiff1d(np.arange(64), SOME)
    candidates = jax.tree.map(lambda leaf: leaf[rest], ALL_ROWS)
    fit = jax.jit(screen.graph_network_values, static_argnames="alphabet")
    values = fit(jax.random.key(0), surrogate_archive(), candidates, SPACE.alphabet)
    assert np.corrcoef(values, additive(rest))[0, 1] > 0.65  # seen 0.75


def test_ranking_takes_the_best_of_the_first_and_keeps_the_rest_in_order():
    values = jnp.array([1.0, 5, 9, 2, 100])
    eligible = jnp.array([True, True, False, True, True])
    assert jax.jit(screen.ranking, static_argnums=2)(values, eligible, 3).tolist() == [1, 3, 0, 2, 4]


def test_thompson_picks_different_ones_and_prefers_the_good():
    archive = surrogate_archive()
    keys = jax.random.split(jax.random.key(0), 100)
    eligible = np.arange(64) != 0
    ranking = jax.jit(jax.vmap(lambda k: screen.thompson_ranking(k, archive, ALL_ROWS, eligible, 64, 4)))
    ranked = np.asarray(ranking(keys))
    picked = ranked[:, :4]
    assert all(len(set(row)) == 4 for row in picked.tolist())
    assert 0 not in picked
    assert additive(picked).mean() > additive(np.arange(64)).mean() + 2
    assert len(np.unique(picked[:, 0])) > 1
    assert (np.sort(ranked, axis=1) == np.arange(64)).all()
