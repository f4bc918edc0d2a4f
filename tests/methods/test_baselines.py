"""Evolution, local search and the cross-entropy method: each walk against plain Python, the same bits in every program.

The references keep their own sets and lists and share only the space's functions and the draws of random words.
"""

import dataclasses
import functools
import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_sweep
from compiling import USERS_PROGRAM

import nasjax.search
from nasjax.base import Arch, Evaluation, Key, Origin, Proposals
from nasjax.methods import asking, cem, numbered, regularized_evolution
from nasjax.methods.cem import Cem
from nasjax.methods.encoding import ByEncoding
from nasjax.methods.local_search import LocalSearch
from nasjax.methods.random_search import RandomSearch
from nasjax.methods.regularized_evolution import RegularizedEvolution
from nasjax.scan import scan_search
from nasjax.search import Budget, Search, run_search
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy
from nasjax.spaces.toy_nodes import ToyNodes

TOY, BUDGET = Toy(), 24
# Compiling is nearly all that these tests cost.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.partial(jax.tree_util.register_dataclass, data_fields=["rewards"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Lookup:
    """Rewards by the toy cell's number; NaN = not valid."""

    rewards: jax.Array
    pure = True

    def __call__(self, key: Key, archs: Arch) -> Evaluation:
        del key
        reward = self.rewards[jax.vmap(TOY.index)(archs)]
        return Evaluation(reward, ~jnp.isnan(reward), jnp.zeros_like(reward), {})


@dataclasses.dataclass(frozen=True)
class Rewards:
    """Few different values, so that there are ties; a third of the cells has none."""

    def build(self, space):
        del space
        classes = Toy().smallest_codes().astype(int)
        return Lookup(jnp.asarray(np.where(classes % 3 == 2, np.nan, classes * 5 % 11 % 6), jnp.float32))


EVALUATOR = Rewards().build(TOY)
REWARD = np.asarray(EVALUATOR.rewards)
METHODS = {
    "regularized_evolution": RegularizedEvolution(6, 2),
    "local_search": LocalSearch(),
    "cem": Cem(explore=5, elite=4, draws=8),
}
each = pytest.mark.parametrize("name", METHODS)


@functools.cache
def program(name):
    method = METHODS[name].build(TOY, BUDGET)
    return quick_jit(lambda seed: scan_search(TOY, method, EVALUATOR, BUDGET)(jax.random.key(seed)))


@functools.cache
def traced(name, seed):
    return jax.tree.map(np.asarray, program(name)(jnp.uint32(seed)))


def walked(name, seed):
    """[(cell's number, Origin)] of a search."""
    trace = traced(name, seed)
    assert trace.live.all()
    numbers = np.asarray(jax.vmap(TOY.index)(jax.tree.map(jnp.asarray, trace.archs)))
    return list(zip(numbers.tolist(), map(Origin, trace.origin.tolist()), strict=True))


# The same walk everywhere


@each
def test_one_walk_in_every_program(tmp_path, name):
    """Bit for bit: as one program, among other seeds, and from the host."""
    method = METHODS[name].build(TOY, BUDGET)
    seeds = jnp.arange(5, dtype=jnp.uint32)
    search = scan_search(TOY, method, EVALUATOR, BUDGET)
    together = quick_jit(jax.vmap(lambda seed: search(jax.random.key(seed))))(seeds)
    for seed in range(5):
        jax.tree.map(
            np.testing.assert_array_equal, jax.tree.map(lambda leaf, s=seed: leaf[s], together), traced(name, seed)
        )
    settings = Search(TOY, METHODS[name], Rewards(), Budget(BUDGET))
    record = run_search(settings, 3, tmp_path / "run", on_note=lambda note: None).record
    for column in ("keys", "reward", "valid", "origin"):
        np.testing.assert_array_equal(getattr(record, column), getattr(traced(name, 3), column))
    assert "callback" not in str(jax.make_jaxpr(search)(jax.random.key(0)))


NOISY = toy_sweep.MadeUpTable(noise=1.0)
WALKERS = {"random_search": RandomSearch(batch=3), **METHODS}


def noisy_search(name):
    """A whole search of the noisy table as one function."""
    return scan_search(TOY, WALKERS[name].build(TOY, BUDGET), NOISY.build(TOY), BUDGET)


def rewards(name, program, seed, folder):
    """Of a search in one program, and of the same from the host, all else about which is the same bit for bit."""
    trace = jax.tree.map(np.asarray, program(jax.random.key(seed)))
    assert trace.live.all()
    record = run_search(Search(TOY, WALKERS[name], NOISY, Budget(BUDGET)), seed, folder, on_note=str).record
    for column in ("keys", "valid", "origin", "cost"):
        np.testing.assert_array_equal(getattr(record, column), getattr(trace, column))
    archs = [jax.tree.map(lambda leaf, row=row: leaf[row], trace.archs) for row in range(BUDGET)]
    assert list(record.specs) == [TOY.to_spec(arch) for arch in archs]
    return record.reward, trace.reward


@pytest.mark.parametrize("name", WALKERS)
def test_one_walk_where_rewards_are_noisy(tmp_path, name):
    """Rewards, which no two networks share, are equal to 1 ulp only: the suite compiles so that noise rounds differently."""
    host, program = rewards(name, quick_jit(noisy_search(name)), 3, tmp_path / "run")
    assert len(np.unique(program)) >= BUDGET - 1
    np.testing.assert_array_max_ulp(host, program, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKERS)
def test_users_get_noisy_rewards_bit_for_bit(tmp_path, monkeypatch, name):
    """From the host and in one program, as users compile them."""
    users_jit = functools.partial(jax.jit, compiler_options=USERS_PROGRAM)
    monkeypatch.setattr(jax, "jit", users_jit)
    for cached in ("_compiled", "_compiled_evaluator"):  # not what others compiled, nor for them
        anew = functools.cache(getattr(nasjax.search, cached).__wrapped__)
        monkeypatch.setattr(nasjax.search, cached, anew)
    program = users_jit(noisy_search(name))
    for seed in range(5):
        np.testing.assert_array_equal(*rewards(name, program, seed, tmp_path / str(seed)))


@each
def test_every_network_is_asked_once_until_none_is_left(name):
    """24 of the 26 networks of the space: candidates run out, and so does the prior."""
    for seed in range(5):
        keys = traced(name, seed).keys
        assert len(np.unique(keys, axis=0)) == BUDGET
    origins = {origin for seed in range(5) for _, origin in walked(name, seed)}
    assert {Origin.PRIOR, Origin.FALLBACK} < origins


# Drawing by hand


@functools.cache
def drawing(function, axes):
    return quick_jit(jax.vmap(function, axes))


class Reference:
    """The state of a search in plain Python: what was asked, and the draws of each step."""

    def __init__(self, seed):
        self.key = jax.random.key(seed)
        self.asked = []

    def begin(self, step):
        """The step's key, and the prior's draws of it."""
        key = jax.random.fold_in(self.key, step)
        draws = jax.random.split(jax.random.split(key)[0], asking.PRIOR_DRAWS)
        return key, self.numbers(drawing(TOY.sample, 0)(draws))

    def first_unseen(self, numbers):
        seen = {Toy().smallest_codes()[number] for number in self.asked}
        return next((number for number in numbers if Toy().smallest_codes()[number] not in seen), None)

    def check(self, step, walk, candidates, prior):
        """What the search asked is the first unseen candidate, else draw of the prior, else any; it is then asked."""
        number, origin = walk[step]
        expected = self.first_unseen(candidates)
        if expected is not None:
            assert number == expected
            assert origin in (Origin.EDIT, Origin.MODEL)
        elif (expected := self.first_unseen(prior)) is not None:
            assert number == expected
            assert origin in (Origin.PRIOR, Origin.REFILL)
        else:
            assert origin == Origin.FALLBACK
            assert self.first_unseen([number]) == number
        self.asked.append(number)

    @staticmethod
    def numbers(archs):
        return np.asarray(jax.vmap(TOY.index)(archs)).tolist()

    @staticmethod
    def cells(numbers):
        return TOY.at(jnp.asarray(numbers, jnp.int32))


def better(left, right):
    """Whether one reward is strictly higher; NaN is below everything."""
    return (left if left == left else -math.inf) > (right if right == right else -math.inf)


@pytest.mark.parametrize("seed", range(3))
def test_evolution_against_plain_python(seed):
    """Six members, the last asked; tournaments of two; the winner's child; members without a reward never win."""
    walk, reference = walked("regularized_evolution", seed), Reference(seed)
    children = regularized_evolution.CHILDREN
    cumulative = np.cumsum([Fraction(*law) for law in regularized_evolution.winner_law(6, 2)])
    barren = 0
    for step in range(BUDGET):
        key, prior = reference.begin(step)
        candidates = []
        if step >= 6:
            population = reference.asked[-6:]
            ranked = sorted(range(6), key=lambda age: (-np.nan_to_num(REWARD[population[age]], nan=-9), age))
            keys = asking.own_keys(key, children + 1)
            words = np.asarray(jax.random.bits(keys[-1], (children,), jnp.uint32))
            winners = [population[ranked[int(np.argmax(Fraction(int(w), 2**32) < cumulative))]] for w in words]
            born = Reference.numbers(drawing(TOY.mutate, 0)(keys[:-1], Reference.cells(winners)))
            candidates = [child for child, winner in zip(born, winners, strict=True) if not np.isnan(REWARD[winner])]
            barren += len(born) - len(candidates)
        reference.check(step, walk, candidates, prior)
        assert (walk[step][1] == Origin.PRIOR) == (step < 6)
    assert barren


@pytest.mark.parametrize("seed", range(3))
def test_local_search_against_plain_python(seed):
    """Neighbours in an order drawn once a centre; a strictly better one is the next; the prior when none is left."""
    walk, reference = walked("local_search", seed), Reference(seed)
    centre, neighbours, moves, restarts = None, [], 0, 0
    for step in range(BUDGET):
        key, prior = reference.begin(step)
        if centre is not None and neighbours is None:
            around = drawing(TOY.neighbours, 0)(Reference.cells([centre]))[0]
            others = Reference.numbers(jax.tree.map(lambda leaf: leaf[0], around))
            words = np.asarray(jax.random.bits(asking.own_keys(key, 1)[0], (len(others),), jnp.uint32))
            neighbours = [others[place] for place in np.argsort(-words.astype(np.int64))]
        candidates = neighbours if centre is not None else []
        if reference.first_unseen(candidates) is None:
            restarts += centre is not None
            centre = None
        reference.check(step, walk, candidates, prior)
        asked = reference.asked[-1]
        if better(REWARD[asked], -math.inf if centre is None else REWARD[centre]):
            moves += centre is not None
            centre, neighbours = asked, None
    assert moves
    assert restarts


@pytest.mark.parametrize("seed", range(3))
def test_cem_against_plain_python(seed):
    """Each decision from exact fractions, by the ticket that its word draws; the elite by a stable sort."""
    walk, reference = walked("cem", seed), Reference(seed)
    for step in range(BUDGET):
        key, prior = reference.begin(step)
        usable = [number for number in reference.asked if not np.isnan(REWARD[number])]
        elite = sorted(usable, key=lambda number: -REWARD[number])[:4]  # stable: of equals the earlier
        candidates = []
        if step >= 5 and elite:
            words = np.asarray(jax.random.bits(asking.own_keys(key, 1)[0], (8, 3), jnp.uint32))
            law = probabilities(elite)
            total = 10 * sum(range(len(elite) + 1)) + 4 * len(elite)  # Σ w_i + K a, times n and 10
            for row in words:
                tickets = [Fraction(int(word) % total, total) for word in row]
                digits = [sum(t >= end for end in itertools.accumulate(p)) for t, p in zip(tickets, law, strict=True)]
                candidates.append(digits[0] * 16 + digits[1] * 4 + digits[2])
        reference.check(step, walk, candidates, prior)
        assert (walk[step][1] == Origin.PRIOR) == (step < 5)


def probabilities(elite):
    """p_v of each decision by hand, a = 1/10."""
    size, pseudo = len(elite), Fraction(1, 10)
    weights = [Fraction(size - place, size) for place in range(size)]
    law = []
    for place in (16, 4, 1):
        digits = [number // place % 4 for number in elite]
        sums = [sum(w for w, d in zip(weights, digits, strict=True) if d == value) for value in range(4)]
        law.append([(each + pseudo) / (sum(weights) + 4 * pseudo) for each in sums])
    return law


@each
def test_all_methods_begin_with_random_searchs_draws(name):
    """As long as they explore: comparisons between methods are paired."""
    method = RandomSearch(batch=1).build(TOY, BUDGET)
    random = quick_jit(lambda seed: scan_search(TOY, method, EVALUATOR, BUDGET)(jax.random.key(seed)))
    explored = {"regularized_evolution": 6, "local_search": 1, "cem": 5}[name]
    for seed in range(3):
        keys = random(jnp.uint32(seed)).keys[:explored]
        np.testing.assert_array_equal(keys, traced(name, seed).keys[:explored])


# Evolution


@pytest.mark.parametrize(("population", "sample"), [(1, 1), (4, 1), (5, 2), (7, 3), (6, 6)])
def test_the_winners_law_is_that_of_tournaments(population, sample):
    """All sets of `sample` members: the best of each wins. The words' thresholds are exact to 2^-32."""
    sets = list(itertools.combinations(range(population), sample))
    counts = np.bincount([min(entrants) for entrants in sets], minlength=population)
    law = regularized_evolution.winner_law(population, sample)
    assert [Fraction(*pair) for pair in law] == [Fraction(int(count), len(sets)) for count in counts]
    ends = [0, *regularized_evolution._rank_thresholds(population, sample).tolist(), 2**32]
    for (start, end), count in zip(itertools.pairwise(ends), counts, strict=False):
        assert abs(Fraction(end - start, 2**32) - Fraction(int(count), len(sets))) < Fraction(1, 2**31)
    assert len(ends) == population - sample + 2
    edges = np.array([word for end in ends[1:-1] for word in (end - 1, end)] + [0, 2**32 - 1], np.uint32)
    found = regularized_evolution._ranks(jnp.asarray(edges), np.array(ends[1:-1], np.uint32))
    inner = [rank for end in range(len(ends) - 2) for rank in (end, end + 1)]
    assert found.tolist() == [*inner, 0, population - sample]


def test_usual_settings_depend_on_the_space():
    assert RegularizedEvolution()._sizes(NasBench201()) == (20, 5)
    assert RegularizedEvolution()._sizes(ByEncoding(NasBench201())) == (30, 10)
    assert RegularizedEvolution(population=4)._sizes(NasBench201()) == (4, 4)


def test_bernoulli_mutation_is_the_spaces_own():
    """It is used where the space has it, unless edits are asked for."""

    @dataclasses.dataclass(frozen=True)
    class Noisy(Toy):
        def mutate_bernoulli(self, key, arch):
            del key
            return Reference.cells(63 - self.index(arch))

    space = Noisy()
    for mutation in (None, "bernoulli"):
        assert RegularizedEvolution(mutation=mutation)._mutation(space)(jax.random.key(0), jnp.int32(5)) == 58
    edited = RegularizedEvolution(mutation="edit")._mutation(space)(jax.random.key(0), jnp.int32(5))
    assert edited == numbered.Numbered(TOY).mutate(jax.random.key(0), jnp.int32(5)) != 58


# Cross-entropy


def test_frequencies_by_hand():
    """Three of an elite of four, a = 1/10: weights 1, 2/3, 1/3, sums 2 + K/10, times 30."""
    decisions = jnp.array([[0, 1], [2, 1], [0, 0], [1, 0]], jnp.int32)
    found = cem.frequencies((3, 2), decisions, jnp.array([True, True, True, False]), Fraction(1, 10))
    assert found.tolist() == [[40 + 3, 3, 20 + 3], [10 + 3, 50 + 3, 0]]
    assert not cem.frequencies((3, 2), decisions, jnp.zeros(4, bool), Fraction(1, 10)).any()


def test_draws_have_exactly_these_frequencies():
    """Every ticket once: a value comes as often as its weight says, one without weight never."""
    weights = jnp.array([[4, 0, 7], [5, 6, 0]], jnp.int32)
    words = jnp.arange(22, dtype=jnp.uint32)
    drawn = np.asarray(cem._drawn(weights, jnp.stack([words, words], axis=1)))
    for place in range(2):
        assert np.bincount(drawn[:, place], minlength=3).tolist() == [2 * w for w in weights[place].tolist()]


def test_a_batch_of_rows_enters_elite_and_population_in_order():
    """Batches of three: the best, of equals the earlier first; the last five, the n-th in row n mod 5."""
    numbers, rewards = np.arange(12) * 5, np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, np.nan], np.float32)
    valid = np.arange(12) != 5

    def told(method):
        state, tell = method.init(jax.random.key(0)), quick_jit(method.tell)
        for rows in np.arange(12).reshape(4, 3):
            proposals = Proposals(Reference.cells(numbers[rows]), jnp.ones(3, bool), jnp.zeros(3, jnp.int32), {})
            evaluation = Evaluation(jnp.asarray(rewards[rows]), jnp.asarray(valid[rows]), jnp.zeros(3), {})
            state = tell(state, proposals, evaluation, jnp.int32(0))
        return state

    elite = told(Cem(elite=4, batch=3).build(TOY, 12))
    assert elite.reward.tolist() == [6, 5, 5, 5]
    np.testing.assert_array_equal(elite.decisions, [[n // 16, n // 4 % 4, n % 4] for n in (35, 20, 40, 50)])
    population = told(RegularizedEvolution(5, 2, batch=3).build(TOY, 12))
    assert population.archs.tolist() == [50, 55, 35, 40, 45]
    assert population.reward.tolist() == [5, -np.inf, 6, 5, 3]


# Numbers for architectures


@pytest.mark.parametrize("space", [NasBench201(("nor_conv_3x3", "none", "avg_pool_3x3")), ToyNodes()], ids=str)
def test_numbers_say_the_same(space):
    inner = numbered.Numbered(space)
    listed = numbered.Numbered(inner)  # around a space that cannot compute the inverse of `index`
    numbers = jnp.arange(space.size, dtype=jnp.int32)
    keys = jax.random.split(jax.random.key(0), space.size)

    @quick_jit
    @jax.vmap
    def said(number, key):
        neighbours, mask = inner.neighbours(number)
        words = inner.sample(key), inner.mutate(key, number), neighbours
        return inner.arch(number), listed.arch(number), inner.canonical_key(number), words, mask

    @quick_jit
    @jax.vmap
    def expected(number, key, arch):
        neighbours, mask = space.neighbours(arch)
        drawn = space.index(space.sample(key)), space.index(space.mutate(key, arch)), jax.vmap(space.index)(neighbours)
        return arch, number, space.canonical_key(arch), drawn, mask

    jax.tree.map(np.testing.assert_array_equal, said(numbers, keys), expected(numbers, keys, space.all()))
    spec = space.to_spec(jax.tree.map(lambda leaf: leaf[3], space.all()))
    assert inner.to_spec(numbers[3]) == spec
    assert inner.from_spec(spec) == 3


# Bad settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (RegularizedEvolution(5, 6), r"a tournament of sample=6 among population=5; 1 to 5"),
        (RegularizedEvolution(0, 0), r"a tournament of sample=0 among population=0"),
        (RegularizedEvolution(5, 2, batch=6), r"a batch of 6 with population=5; 1 to 5"),
        (RegularizedEvolution(mutation="bernoulli"), r"toy has no Bernoulli mutation"),
        (RegularizedEvolution(mutation="swap"), r"unknown mutation 'swap'; one of edit, bernoulli"),
        (Cem(explore=-1), r"cem: explore=-1; at least 0"),
        (Cem(elite=0), r"cem: elite=0; at least 1"),
        (Cem(pseudo=-0.1), r"cem: pseudo=-0.1; a number from 0"),
        (Cem(pseudo=float("nan")), r"cem: pseudo=nan"),
        (Cem(pseudo=1 / 3), r"at most three decimal places"),
        (Cem(elite=3000, pseudo=0.1), r"at most 4194304"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        settings.build(TOY, 10)


def test_local_search_asks_for_neighbours():
    with pytest.raises(ValueError, match="local_search: architectures of toy have no neighbours"):
        LocalSearch().build(Toy(op_names=("skip_connect",)), 5)


def test_cem_asks_for_a_product():
    with pytest.raises(ValueError, match="cem: toy is no product of choices"):
        Cem().build(ByEncoding(TOY), 10)


# Against the published table


@pytest.mark.slow
def test_controls_of_nasbench201(published_data):
    """Mean test accuracy and signal regret, CIFAR-100, 12 epochs, no `none`, 100 queries, 1,000 seeds: independent earlier code.

    Within 3 standard errors of the difference; the page has 1,000, 2,000, 500 and 1,000 seeds.
    """
    with np.load(published_data / "nasbench201.npz", allow_pickle=False) as file:
        code, signal, test = file["code"], file["val12"][:, 1], file["test200"][:, 1]
    space = NasBench201(("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
    row = np.argsort(code)[np.asarray(space.operations(space.all())) @ 5 ** np.arange(5, -1, -1)]
    signal, test = signal[row], test[row]

    @functools.partial(jax.tree_util.register_dataclass, data_fields=["signal", "test"], meta_fields=[])
    @dataclasses.dataclass(frozen=True)
    class Published:
        signal: jax.Array
        test: jax.Array
        pure = True

        def __call__(self, key, archs):
            del key
            number = jax.vmap(space.index)(archs)
            reward = self.signal[number]
            return Evaluation(reward, reward > 0, reward, {"test": self.test[number]})

    evaluator = Published(jnp.asarray(signal), jnp.asarray(test))
    page = {  # mean test, its sd, mean regret, seeds
        RandomSearch(batch=1): (71.89, 0.88, 1.65, 1000),
        RegularizedEvolution(): (72.64, 0.63, 0.29, 2000),
        LocalSearch(): (72.76, 0.59, 0.17, 500),
        Cem(): (72.79, 0.53, 0.12, 1000),
    }
    for settings, (mean, deviation, mean_regret, seeds) in page.items():
        search = scan_search(space, settings.build(space, 100), evaluator, 100)
        trace = jax.jit(jax.vmap(lambda seed, search=search: search(jax.random.key(seed))))(
            jnp.arange(1000, dtype=jnp.uint32)
        )
        best = np.argmax(trace.reward, axis=1)
        reached = np.asarray(trace.metrics["test"])[np.arange(1000), best]
        regret = signal.max() - np.asarray(trace.reward).max(axis=1)
        assert abs(reached.mean() - mean) < 3 * np.hypot(deviation / seeds**0.5, reached.std() / 1000**0.5)
        spread = regret.std()
        assert abs(regret.mean() - mean_regret) < 3 * spread * np.hypot(1 / seeds**0.5, 1 / 1000**0.5)
