"""RandWire's space: hand-made keys, laws of its three random graphs by enumeration, relabelings, and no host work."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.stats

from nasjax import history
from nasjax.base import Graph, Origin
from nasjax.spaces import random_graphs
from nasjax.spaces.randwire import RandWire

SPACE = RandWire()
EDGE, PATH, DIAMOND = [(0, 1)], [(0, 1), (1, 2)], [(0, 1), (0, 2), (1, 3), (2, 3)]
CHAIN = [(i, i + 1) for i in range(31)]
# Compiling is nearly all that these tests cost.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
key_of = quick(SPACE.canonical_key)


def stage(edges, num_nodes=32):
    links = np.zeros((num_nodes, num_nodes), np.int32)
    for i, j in edges:
        links[i, j] = 1
    return links


def wired(*stages):
    return Graph(jnp.ones((3, 32), jnp.int32), jnp.asarray(np.stack([stage(edges) for edges in stages])))


@pytest.mark.parametrize(
    ("stages", "key"),
    [
        ((EDGE, EDGE, EDGE), [0xEFA5A6A6, 0xE2F717E2]),
        (([(5, 9)], [(0, 31)], [(30, 31)]), [0xEFA5A6A6, 0xE2F717E2]),
        ((PATH, PATH, PATH), [0x10C0A5E2, 0x983185A5]),
        ((EDGE, PATH, DIAMOND), [0x6B73932D, 0xB0C81514]),
    ],
)
def test_keys_by_hand(stages, key):
    assert key_of(wired(*stages)).tolist() == key


def scrambled(h):
    h = np.asarray(h, np.uint32)
    h = (h ^ h >> 16) * np.uint32(0x7FEB352D)
    h = (h ^ h >> 15) * np.uint32(0x846CA68B)
    return h ^ h >> 16


SEEDS = np.array([0x9E3779B1, 0x85EBCA77], np.uint32)
OTHERS = np.array([0xC2B2AE3D, 0x27D4EB2F], np.uint32)


def slow_stage_key(links, rounds):
    """The refinement node by node, in NumPy."""
    num = len(links)
    live = [v for v in range(num) if links[v].any() or links[:, v].any()]
    colour = {v: scrambled(SEEDS) for v in live}
    for _ in range(rounds):
        forward = {v: scrambled(2 * h + SEEDS) for v, h in colour.items()}
        backward = {v: scrambled(2 * h + OTHERS + 1) for v, h in colour.items()}
        zero, new = np.zeros(2, np.uint32), {}
        for v in live:
            into = sum((forward[u] for u in live if links[u, v]), zero)
            out = sum((backward[w] for w in live if links[v, w]), zero)
            mixed = scrambled(colour[v] + OTHERS) + 3 * scrambled(into ^ SEEDS) + 5 * scrambled(out ^ OTHERS)
            new[v] = scrambled(mixed)
        colour = new
    return scrambled(sum(scrambled(h + SEEDS) for h in colour.values()))


@pytest.mark.parametrize(
    ("edges", "key"),
    [
        (EDGE, [0xA41A4ECA, 0x671B4DDB]),
        (PATH, [0x4E8D938F, 0xFC923FEB]),
        (DIAMOND, [0x3AECA14A, 0xF24C2648]),
        (CHAIN, [0x1C880EEB, 0xAAFD72A1]),
    ],
)
def test_stages_by_hand(edges, key):
    """The slow form says the known numbers, and the architecture's key follows from it."""
    assert slow_stage_key(stage(edges), 32).tolist() == key
    mixed = SEEDS
    for _ in range(3):
        mixed = scrambled((mixed ^ np.array(key, np.uint32)) + SEEDS)
    assert key_of(wired(edges, edges, edges)).tolist() == mixed.tolist()


def random_stage(rng, density, num_nodes=32):
    return np.triu(rng.random((num_nodes, num_nodes)) < density, 1)


def relabelled(rng, links):
    """The graph with its nodes in another random topological order, dead ones anywhere."""
    left, order = set(range(len(links))), []
    while left:
        free = [v for v in left if not any(links[u, v] for u in left)]
        order.append(rng.choice(free))
        left.remove(order[-1])
    return links[np.ix_(order, order)]


def test_keys_do_not_depend_on_the_order_of_nodes():
    """40 architectures, sparse to dense, with two relabelings each; all different, and as the slow form says."""
    rng, archs = np.random.default_rng(0), []
    for i in range(40):
        stages = [random_stage(rng, (0.02, 0.05, 0.13, 0.4)[i % 4]) | (stage(EDGE) > 0) for _ in range(3)]
        archs += [np.stack(stages), *(np.stack([relabelled(rng, s) for s in stages]) for _ in range(2))]
    assert not np.tril(np.stack(archs)).any()
    nodes = jnp.ones((120, 3, 32), jnp.int32)
    graphs = Graph(nodes, jnp.asarray(np.stack(archs), jnp.int32))
    keys = np.asarray(quick(jax.vmap(SPACE.canonical_key))(graphs)).reshape(40, 3, 2)
    np.testing.assert_array_equal(keys, np.repeat(keys[:, :1], 3, axis=1))
    assert len(np.unique(keys[:, 0], axis=0)) == 40
    mixed = SEEDS
    for links in archs[3]:
        mixed = scrambled((mixed ^ slow_stage_key(links, 32)) + SEEDS)
    assert keys[1, 0].tolist() == mixed.tolist()


def test_regular_structures_are_not_told_apart():
    """Six sources and six sinks joined as one ring of twelve, and as two rings of six: documented."""
    one = [(i, 6 + (i + d) % 6) for i in range(6) for d in (0, 1)]
    two = [(3 * ring + i, 6 + 3 * ring + (i + d) % 3) for ring in (0, 1) for i in range(3) for d in (0, 1)]
    assert not nx.is_isomorphic(nx.DiGraph(one), nx.DiGraph(two))
    assert key_of(wired(one, EDGE, EDGE)).tolist() == key_of(wired(two, EDGE, EDGE)).tolist()
    assert key_of(wired(EDGE, one, EDGE)).tolist() != key_of(wired(EDGE, EDGE, one)).tolist()


def test_rounds_are_a_setting():
    """One round knows degrees only: paths of three and two edges are then as good as paths of four and one."""
    three_two, four_one = CHAIN[:3] + CHAIN[10:12], CHAIN[:4] + CHAIN[10:11]
    for rounds, equal in ((1, True), (8, False)):
        key = quick(RandWire(rounds=rounds).canonical_key)
        left, right = (key(wired(edges, EDGE, EDGE)).tolist() for edges in (three_two, four_one))
        assert (left == right) == equal
        assert left != key_of(wired(three_two, EDGE, EDGE)).tolist()


@pytest.mark.parametrize(
    "space",
    [SPACE, pytest.param(RandWire(prior="ws", single_ends=True), marks=pytest.mark.slow)],
)
def test_n_32_is_drawn_keyed_and_deduplicated_without_host_work(space):
    """One program: draws, keys, and the choice of 8 from candidates every one of which stands there twice."""

    def program(key):
        draw_key, choice_key = jax.random.split(key)
        archs = jax.vmap(space.sample)(jax.random.split(draw_key, 12))
        twice = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), archs)
        past = history.empty(space, 200)
        chosen = history.first_unseen(space, past, twice, 16, choice_key, origin=Origin.PRIOR)
        return archs, chosen, jax.vmap(space.canonical_key)(chosen.archs), jax.vmap(space.is_valid)(chosen.archs)

    assert "callback" not in str(jax.make_jaxpr(program)(jax.random.key(0)))
    archs, chosen, keys, valid = quick(program)(jax.random.key(0))
    assert chosen.live.all()
    assert valid.all()
    np.testing.assert_array_equal(chosen.archs.edges[:12], archs.edges)
    assert chosen.origin.tolist() == [int(Origin.PRIOR)] * 12 + [int(Origin.REFILL)] * 4
    assert len(np.unique(keys, axis=0)) == 16


# Laws of the priors


def draws(law, num, *arguments):
    """int[num], each graph's edges as a binary number, and bool[num, N, N]."""
    links = quick(jax.vmap(lambda key: law(key, *arguments)))(jax.random.split(jax.random.key(0), num))
    links = np.asarray(links)
    rows, columns = np.triu_indices(links.shape[1], 1)
    assert not np.tril(links).any()
    return links[:, rows, columns] @ (1 << np.arange(rows.size)), links


def follows(codes, law):
    """Chi-square of draws against {code: probability}, cells of less than 5 expected together; none outside."""
    assert sum(law.values()) == pytest.approx(1, abs=1e-9)
    found = collections.Counter(codes.tolist())
    assert set(found) <= set(law)
    expected = np.array([len(codes) * p for p in law.values()])
    observed = np.array([found[code] for code in law])
    rare = expected < 5
    if rare.any():
        expected, observed = (np.append(x[~rare], x[rare].sum()) for x in (expected, observed))
    return scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_erdos_renyi():
    """All graphs but the empty one on four nodes, edges with 0.2; 20,000 draws, 63 cells.

    Drawing the empty graph's probability (0.26) onto any one of the others would be seen at once.
    """
    codes, _ = draws(random_graphs.erdos_renyi, 20_000, 4, 0.2)
    law = {code: 0.2 ** code.bit_count() * 0.8 ** (6 - code.bit_count()) / (1 - 0.8**6) for code in range(1, 64)}
    assert follows(codes, law)


def ring_law(num_nodes, probability):
    """{code: probability} of the rewired ring, by following every choice."""
    ring = frozenset(frozenset((v, (v + d) % num_nodes)) for v in range(num_nodes) for d in (1, 2))
    law = {ring: 1.0}
    for distance, node in itertools.product((1, 2), range(num_nodes)):
        old, new = frozenset((node, (node + distance) % num_nodes)), collections.defaultdict(float)
        for edges, p in law.items():
            free = [w for w in range(num_nodes) if w != node and frozenset((node, w)) not in edges]
            new[edges] += p * (1 - probability if free else 1)
            for w in free:
                new[(edges - {old}) | {frozenset((node, w))}] += p * probability / len(free)
        law = new
    places = {frozenset(pair): place for place, pair in enumerate(itertools.combinations(range(num_nodes), 2))}
    return {sum(1 << places[edge] for edge in edges): p for edges, p in law.items()}


def test_watts_strogatz():
    """A ring of six, where twelve edges leave 455 graphs; 50,000 draws."""
    law = ring_law(6, 0.75)
    assert len(law) > 400
    codes, _ = draws(random_graphs.watts_strogatz, 50_000, 6, 0.75)
    assert follows(codes, law)


def test_barabasi_albert():
    """Eight nodes: the sixth joins all five, the seventh five of six, the last five of seven, by degree; 126 cells."""
    rows, columns = np.triu_indices(8, 1)
    places = {pair: place for place, pair in enumerate(zip(rows.tolist(), columns.tolist(), strict=True))}
    law = collections.defaultdict(float)

    def join(degrees, code, p):
        new = len(degrees)
        if new == 8:
            law[code] += p
            return
        for chosen in itertools.combinations(range(new), 5):
            total = 0.0
            for order in itertools.permutations(chosen):
                left, q = sum(degrees), 1.0
                for v in order:
                    q, left = q * degrees[v] / left, left - degrees[v]
                total += q
            after = [d + (v in chosen) for v, d in enumerate(degrees)]
            join([*after, 5], code + sum(1 << places[v, new] for v in chosen), p * total)

    join([1] * 5 + [5], sum(1 << places[v, 5] for v in range(5)), 1.0)
    assert len(law) == 126
    codes, _ = draws(random_graphs.barabasi_albert, 20_000, 8)
    assert follows(codes, law)


def test_sizes_of_the_priors():
    """At 32 nodes: 64 and 135 edges exactly; 99.2 on average, within four standard errors, 1,000 draws."""
    for law, arguments, edges in (
        (random_graphs.watts_strogatz, (32, 0.75), 64),
        (random_graphs.barabasi_albert, (32,), 135),
    ):
        assert (draws(law, 50, *arguments)[1].sum((1, 2)) == edges).all()
    counts = draws(random_graphs.erdos_renyi, 1000, 32, 0.2)[1].sum((1, 2))
    assert abs(counts.mean() - 99.2) < 4 * np.sqrt(496 * 0.16 / 1000)
    assert RandWire(prior="ws", probability=0.3) != RandWire(prior="ws")
    with pytest.raises(ValueError, match="unknown prior"):
        RandWire(prior="sbm")


# One source and one sink


def test_repair_by_hand():
    """Five nodes, one edge 1 -> 3. In-edges by the best column, ties to the later node; out-edges likewise, ties earlier."""
    space = RandWire(5, 1, single_ends=True)
    priority = np.zeros((1, 5, 5), np.float32)
    priority[0, 0, 2] = 1  # node 2's in-edge; without it node 1 would tie and win
    priority[0, 2, 4] = 1
    arch = space.repair(
        Graph(jnp.ones((1, 5), jnp.int32), jnp.asarray(stage([(1, 3)], 5))[None]), jnp.asarray(priority)
    )
    # Into 1: 0. Into 2: 0. Into 4: 2. Out of 0, 1, 2: there. Out of 3: 4.
    expected = {(0, 1), (0, 2), (1, 3), (2, 4), (3, 4)}
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(np.asarray(arch.edges[0]))), strict=True)) == expected
    ties = space.repair(Graph(arch.nodes, jnp.asarray(stage([(0, 1)], 5))[None]), jnp.zeros((1, 5, 5)))
    # Into 2, 3, 4 from the node before; then all have out-edges.
    expected = {(0, 1), (1, 2), (2, 3), (3, 4)}
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(np.asarray(ties.edges[0]))), strict=True)) == expected
    late = space.repair(
        Graph(arch.nodes, jnp.asarray(stage([(0, v) for v in range(1, 5)], 5))[None]), jnp.zeros((1, 5, 5))
    )
    expected = {(0, v) for v in range(1, 5)} | {(1, 2), (2, 3), (3, 4)}
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(np.asarray(late.edges[0]))), strict=True)) == expected


def test_single_ends():
    """Repair keeps all edges, adds few, leaves one source and one sink, and does nothing the second time."""
    space, plain = RandWire(6, 2, single_ends=True), RandWire(6, 2, probability=0.6)

    def one(key):
        sample_key, priority_key = jax.random.split(key)
        arch = plain.sample(sample_key)
        priority = jax.random.uniform(priority_key, arch.edges.shape, jnp.float32)
        repaired = space.repair(arch, priority)
        valid = jnp.stack([plain.is_valid(arch), space.is_valid(arch), space.is_valid(repaired)])
        return arch.edges, repaired.edges, space.repair(repaired, -priority).edges, valid

    given, repaired, again, valid = map(np.asarray, quick(jax.vmap(one))(jax.random.split(jax.random.key(1), 200)))
    assert (repaired >= given).all()
    assert not np.tril(repaired).any()
    into, out = repaired.any(2), repaired.any(3)
    assert into[:, :, 1:].all()
    assert out[:, :, :-1].all()
    np.testing.assert_array_equal(again, repaired)
    np.testing.assert_array_equal(valid[:, 1], (repaired == given).all((1, 2, 3)))  # it adds where something is missing
    assert valid[:, [0, 2]].all()
    assert 0 < valid[:, 1].sum() < 100


def test_edits_keep_single_ends():
    """The mask of 50 architectures' neighbours says which are valid; some are not. A mutant always is."""
    space = RandWire(5, 2, single_ends=True)

    def one(key):
        sample_key, mutate_key = jax.random.split(key)
        arch = space.sample(sample_key)
        others, mask = space.neighbours(arch)
        return mask, jax.vmap(space.is_valid)(others), space.is_valid(space.mutate(mutate_key, arch))

    mask, valid, mutant = quick(jax.vmap(one))(jax.random.split(jax.random.key(3), 50))
    np.testing.assert_array_equal(mask, valid)
    assert 0.2 < mask.mean() < 0.9
    assert mutant.all()


# Strings


def test_strings_by_hand():
    """Bits row by row, the first most significant; 124 digits a stage."""
    arch = wired(EDGE, [(0, 2), (1, 2)], [(30, 31)])
    first, second, third = SPACE.to_spec(arch).split("/")
    assert first == "8" + "0" * 123
    bits = [0] * 496
    bits[1] = bits[31] = 1  # (0, 2), and (1, 2), the first of row 1
    assert second == "".join(f"{int(''.join(map(str, bits[i : i + 4])), 2):x}" for i in range(0, 496, 4))
    assert third == "0" * 123 + "1"
    again = SPACE.from_spec(SPACE.to_spec(arch).upper())
    np.testing.assert_array_equal(again.edges, arch.edges)
    small = RandWire(4, 2)  # six bits in two digits, filled up with zeros
    arch = small.from_spec("84/04")
    assert np.argwhere(np.asarray(arch.edges)).tolist() == [[0, 0, 1], [0, 2, 3], [1, 2, 3]]
    assert small.to_spec(arch) == "84/04"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("84/0", "unexpected end at character 4"),
        ("84", "unexpected end at character 2 of .*; allowed: '/'"),
        ("84/041", "trailing text '1' at character 5"),
        ("8g/04", "unexpected 'g' at character 1"),
        ("84/05", "bits beyond the last edge in '5' at character 4 of .*; allowed: zeros"),
        ("84/00", "no edge in the stage '00' at character 3"),
    ],
)
def test_other_strings_are_refused(spec, message):
    with pytest.raises(ValueError, match=f"^randwire: {message}"):
        RandWire(4, 2).from_spec(spec)


def test_strings_of_the_constrained_space():
    space = RandWire(4, 1, single_ends=True)
    assert space.to_spec(space.from_spec("94")) == "94"  # 0-1, 1-2, 2-3
    for spec, fault in (("84", "a second sink, node 1,"), ("44", "a second source, node 1,")):
        with pytest.raises(ValueError, match=f"^randwire: {fault} in the stage '{spec}' at character 0"):
            space.from_spec(spec)


def test_graphs_leave_out_isolated_nodes():
    arch = RandWire(4, 2).from_spec("04/80")
    graphs = RandWire(4, 2).graphs(arch)
    assert graphs.nodes.tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]
    np.testing.assert_array_equal(graphs.edges, arch.edges)


def test_a_last_edge_is_not_flipped_away():
    """Neighbours row by row, 1,488 by default; a stage's only edge may not go."""
    space = RandWire(4, 2)
    others, mask = space.neighbours(space.from_spec("84/04"))
    specs = [space.to_spec(Graph(*leaves)) for leaves in zip(*others, strict=True)]
    assert specs[:6] == ["04/04", "c4/04", "a4/04", "94/04", "8c/04", "80/04"]
    assert mask.tolist() == [True] * 11 + [False]
    assert specs[11] == "84/00"
    shapes = jax.eval_shape(SPACE.neighbours, jax.eval_shape(SPACE.sample, jax.random.key(0)))
    assert shapes[1].shape == (1488,)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda arch: arch._replace(nodes=arch.nodes.at[0, 1].set(2)),
        lambda arch: arch._replace(nodes=arch.nodes.at[1, 3].set(0)),
        lambda arch: arch._replace(edges=arch.edges.at[0, 1, 2].set(2)),
        lambda arch: arch._replace(edges=arch.edges.at[0, 1, 1].set(1)),
        lambda arch: arch._replace(edges=arch.edges.at[1, 3, 0].set(1)),
        lambda arch: arch._replace(edges=arch.edges.at[1].set(0)),
    ],
)
def test_knows_what_is_none_of_its_architectures(break_it):
    space = RandWire(4, 2)
    arch = space.from_spec("84/04")
    assert space.is_valid(arch)
    assert not space.is_valid(break_it(arch))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_nodes": 2}, "num_nodes is 2; at least 3"),
        ({"num_nodes": 5, "prior": "ba"}, "num_nodes is 5; at least 6 with prior='ba'"),
        ({"num_nodes": 4, "prior": "ws"}, "num_nodes is 4; at least 5"),
        ({"stages": 0}, "stages is 0"),
        ({"rounds": 0}, "rounds is 0"),
        ({"probability": 0.0}, "probability is 0.0"),
        ({"probability": 1.5, "prior": "ws"}, "probability is 1.5; from 0 to 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^randwire: {message}"):
        RandWire(**settings)
