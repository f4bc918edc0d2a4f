"""What has been seen, what is asked next and who is best: against plain Python, in all three forms of membership."""

import dataclasses
import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from nasjax import history as hist
from nasjax.base import Enumerable, Evaluation, Origin, Proposals, Space
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy

TOY = Toy()
SUBSET = Toy(("nor_conv_3x3", "none", "skip_connect"))


@dataclasses.dataclass(frozen=True)
class Keyed:
    """A space without its list: membership has only keys."""

    inner: NasBench201 = dataclasses.field(default_factory=NasBench201)

    def __getattr__(self, name):
        if name not in (
            "name",
            "sample",
            "is_valid",
            "canonical_key",
            "mutate",
            "neighbours",
            "graphs",
            "to_spec",
            "from_spec",
        ):
            raise AttributeError(name)
        return getattr(self.inner, name)


KEYED = Keyed()


EVERYTHING = {Toy: TOY.all(), NasBench201: NasBench201().all()}


def cells(space, codes):
    """Arch[B] by code, the number of the string over the full set of operations."""
    everything = EVERYTHING[type(space.inner if isinstance(space, Keyed) else space)]
    return jax.tree.map(lambda leaf: leaf[np.asarray(codes)], everything)


def codes_of(space, archs):
    full = NasBench201() if isinstance(space, Keyed | NasBench201) else TOY
    return np.asarray(jax.vmap(full.index)(archs))


def class_of(space, code):
    return int((NasBench201() if isinstance(space, Keyed | NasBench201) else Toy()).smallest_codes()[code])


@functools.partial(jax.jit, static_argnums=0)
def _add(space, history, archs, reward, valid, live):
    size = reward.shape[0]
    proposals = Proposals(archs, live, jnp.full(size, int(Origin.EDIT), jnp.int32), {})
    return hist.add(space, history, proposals, Evaluation(reward, valid, jnp.zeros(size), {}))


def add(space, history, codes, reward=None, valid=None, live=None):
    size = len(codes)
    reward = jnp.array(np.zeros(size) if reward is None else reward, jnp.float32)
    valid, live = (jnp.array(np.ones(size) if flags is None else flags, bool) for flags in (valid, live))
    return _add(space, history, cells(space, codes), reward, valid, live)


contains = jax.jit(jax.vmap(hist.contains, (None, None, 0)), static_argnums=0)


def seen(space, history, codes):
    return np.asarray(contains(space, history, cells(space, codes)))


@functools.partial(jax.jit, static_argnums=(0, 3), static_argnames="refills")
def first_unseen(space, history, candidates, batch, key, mask, refills):
    return hist.first_unseen(
        space, history, candidates, batch, key, origin=Origin.EDIT, candidate_mask=mask, refills=refills
    )


def ask(space, history, codes, batch, mask=None, refills=0, seed=0):
    """Candidates are filled up to ten by ones that the mask excludes, so that few shapes are compiled."""
    mask = [True] * len(codes) if mask is None else list(mask)
    codes, mask = [*codes, *[63] * (10 - len(codes))], jnp.array(mask + [False] * (10 - len(mask)))
    return first_unseen(space, history, cells(space, codes), batch, jax.random.key(seed), mask, refills=refills)


def proposed(space, proposals):
    """[(code, Origin)] of the live rows, which must stand first."""
    live = np.asarray(proposals.live)
    assert not (np.diff(live.astype(int)) > 0).any()
    pairs = zip(codes_of(space, proposals.archs)[live], np.asarray(proposals.origin)[live], strict=True)
    return [(int(code), Origin(int(origin))) for code, origin in pairs]


def test_the_spaces_are_what_the_tests_need():
    assert isinstance(TOY, Enumerable)
    # What is looked up dynamically counts for Python 3.11's isinstance only, so the members are named here.
    assert all(hasattr(KEYED, name) for name in vars(Space) if not name.startswith("_"))
    assert not isinstance(KEYED, Enumerable)


# The choice


many = st.lists(st.integers(0, 63), min_size=6, max_size=6)


@pytest.mark.parametrize("batch", [1, 4])
@hypothesis.given(
    past=many, candidates=many, mask=st.integers(0, 63), refills=st.sampled_from([0, 3]), seed=st.integers(0, 99)
)
def test_first_unseen_against_plain_python(batch, past, candidates, mask, refills, seed):
    """Candidates exactly; then the prior, then the fallback: unseen, different, in this order, no row too few."""
    history = add(TOY, hist.empty(TOY, 20), past)
    flags = [bool(mask >> place & 1) for place in range(6)]
    taken = {class_of(TOY, code) for code in past}
    expected = []
    for code, flag in zip(candidates, flags, strict=True):
        if flag and class_of(TOY, code) not in taken and len(expected) < batch:
            expected.append((code, Origin.EDIT))
            taken.add(class_of(TOY, code))
    rows = proposed(TOY, ask(TOY, history, candidates, batch, flags, refills, seed))
    assert rows[: len(expected)] == expected
    assert len(rows) == batch
    later = [origin for _, origin in rows[len(expected) :]]
    assert later == sorted(later)
    assert set(later) <= {Origin.FALLBACK} | ({Origin.REFILL} if refills else set())
    for code, origin in rows[len(expected) :]:
        assert class_of(TOY, code) not in taken
        assert origin == Origin.REFILL or code == class_of(TOY, code)  # the class's smallest member
        taken.add(class_of(TOY, code))


def test_invalid_candidates_are_passed_over():
    """Codes with a 1x1 convolution (label 2) are outside the subset."""
    rows = proposed(SUBSET, ask(SUBSET, hist.empty(SUBSET, 40), [2, 42, 12, 21], 4))
    assert rows[:2] == [(12, Origin.EDIT), (21, Origin.EDIT)]
    assert {origin for _, origin in rows[2:]} == {Origin.FALLBACK}


@pytest.mark.parametrize("origin", [Origin.MODEL, Origin.PRIOR])
def test_what_is_passed_on_comes_back(origin):
    info = {"loss": jnp.float32(3)}

    @jax.jit
    def choose(info):
        candidates = cells(TOY, [21, 21, 20])
        return hist.first_unseen(TOY, hist.empty(TOY, 10), candidates, 2, jax.random.key(0), origin=origin, info=info)

    assert choose(info).info == info
    assert choose(None).info == {}
    assert proposed(TOY, choose(info)) == [(21, origin), (20, origin)]
    assert choose(info).origin.dtype == jnp.int32


def spread(space, history, batch, refills, number=20_000):
    """Codes int[number, batch] with no candidates, over `number` keys."""

    def one(key):
        made = hist.first_unseen(
            space,
            history,
            cells(space, [0]),
            batch,
            key,
            origin=Origin.EDIT,
            candidate_mask=jnp.zeros(1, bool),
            refills=refills,
        )
        return made.archs, made.live, made.origin

    archs, live, origin = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), number))
    assert live.all()
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), archs)
    return codes_of(space, flat).reshape(number, batch), np.asarray(origin)


def test_refills_are_draws_of_the_prior():
    """Chi-square over 64 strings, n = 20,000, level 1e-3, seed 0; code 0's class alone is seen.

    Power > 0.99 if one string comes 1.5 times as often: 312 expected, so it would stand 8.8 standard errors off.
    """
    scipy_stats = pytest.importorskip("scipy.stats")
    history = add(TOY, hist.empty(TOY, 10), [0])
    codes, origin = spread(TOY, history, 1, refills=1)
    from_prior = origin[:, 0] == Origin.REFILL
    dead = np.isin(np.arange(64), np.flatnonzero(Toy().smallest_codes() == 0))
    assert abs(from_prior.mean() - (1 - dead.mean())) < 0.02  # otherwise the one draw was seen: fallback
    counts = np.bincount(codes[from_prior, 0], minlength=64)
    assert not counts[dead].any()
    assert scipy_stats.chisquare(counts[~dead]).pvalue > 1e-3


def test_fallback_is_uniform_over_the_unseen_classes():
    """Chi-square over 24 classes, n = 20,000, level 1e-3, seed 0.

    Power > 0.99 if one class comes 1.3 times as often: 833 expected, so it would stand 8.7 standard errors off. So it
    would if strings were drawn for classes: these hold 1 to 10 strings.
    """
    scipy_stats = pytest.importorskip("scipy.stats")
    history = add(TOY, hist.empty(TOY, 10), [0, 26])
    codes, origin = spread(TOY, history, 1, refills=0)
    assert (origin == Origin.FALLBACK).all()
    unseen = sorted(set(Toy().smallest_codes().tolist()) - {0, 26})
    counts = np.bincount(codes[:, 0], minlength=64)
    assert np.flatnonzero(counts).tolist() == unseen
    assert scipy_stats.chisquare(counts[unseen]).pvalue > 1e-3


def test_fallback_draws_without_replacement():
    """All 30 ordered pairs of the 6 classes that are left; chi-square, n = 20,000, level 1e-3, seed 0.

    Power > 0.99 if one pair comes 1.3 times as often: 667 expected, so it would stand 7.7 standard errors off.
    """
    scipy_stats = pytest.importorskip("scipy.stats")
    classes = np.unique(Toy().smallest_codes())
    history = add(TOY, hist.empty(TOY, 30), classes[:20])
    codes, _ = spread(TOY, history, 2, refills=0)
    left = classes[20:]
    counts = np.zeros((64, 64), int)
    np.add.at(counts, (codes[:, 0], codes[:, 1]), 1)
    table = counts[np.ix_(left, left)]
    assert table.sum() == 20_000
    assert not np.diag(table).any()
    assert scipy_stats.chisquare(table[~np.eye(6, dtype=bool)]).pvalue > 1e-3


@pytest.mark.parametrize("space", [TOY, SUBSET], ids=["toy", "subset"])
@pytest.mark.parametrize("refills", [0, 3])
def test_an_exhausted_space_has_no_live_rows(space, refills):
    """Every class of the space once, none that only the full set of operations has, then nothing."""
    history, asked = hist.empty(space, 40), []
    for step in range(10):
        made = ask(space, history, [0, 21, 21], 4, refills=refills, seed=step)
        asked += [code for code, _ in proposed(space, made)]
        history = _add(space, history, made.archs, jnp.zeros(4), jnp.ones(4, bool), made.live)
    within = {class_of(space, code) for code in codes_of(space, space.all())}
    assert sorted(class_of(space, code) for code in asked) == sorted(within)
    assert int(history.count) == len(within) < 40
    assert not made.live.any()
    if space is SUBSET:
        assert len(within) < 26
        assert all(bool(space.is_valid(jax.tree.map(lambda leaf, c=c: leaf[c], TOY.all()))) for c in asked)


def test_the_budget_ends_a_batch():
    history = hist.empty(TOY, 20)
    for codes in ([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17]):
        history = add(TOY, history, codes)
    new = [41, 27, 63, 58]
    assert not seen(TOY, history, new).any()
    assert proposed(TOY, ask(TOY, history, new, 4)) == [(41, Origin.EDIT), (27, Origin.EDIT)]
    full = add(TOY, history, [41, 27, 0, 0, 0, 0], live=[True, True, False, False, False, False])
    assert proposed(TOY, ask(TOY, full, new, 4, refills=3)) == []


def test_a_space_that_is_no_list_has_no_fallback():
    """NAS-Bench-201 by keys: candidates and refills all seen, hence a row that is not live; the next step goes on."""
    history = add(KEYED, hist.empty(KEYED, hist.COMPARED), [6876, 7626])
    assert proposed(KEYED, ask(KEYED, history, [25, 26, 677], 2)) == []
    assert proposed(KEYED, ask(KEYED, history, [25, 3906, 677], 2)) == [(3906, Origin.EDIT)]
    rows = proposed(KEYED, ask(KEYED, history, [25, 3906, 677], 2, refills=8))
    assert rows[0] == (3906, Origin.EDIT)
    assert rows[1][1] == Origin.REFILL


def test_a_space_that_is_no_list_is_drawn_from_until_the_batch_is_whole():
    """Two draws at a time for ten rows, which all differ; what the first round gives does not depend on the others."""
    history = add(KEYED, hist.empty(KEYED, hist.COMPARED), [6876, 7626])
    rows = proposed(KEYED, ask(KEYED, history, [25] * 3, 10, refills=2))
    assert [origin for _, origin in rows] == [Origin.REFILL] * 10
    assert len({class_of(KEYED, code) for code, _ in rows} | {class_of(KEYED, 6876), class_of(KEYED, 7626)}) == 12
    assert rows[:2] == proposed(KEYED, ask(KEYED, history, [25] * 3, 2, refills=2))


# Membership


BUDGETS = {"bitset": (NasBench201(), 140), "compared": (KEYED, hist.COMPARED), "buckets": (KEYED, hist.COMPARED + 12)}


@pytest.mark.parametrize("form", BUDGETS)
def test_members_are_the_classes_that_were_added(form):
    space, budget = BUDGETS[form]
    history = hist.empty(space, budget)
    expected = {"bitset": np.ndarray, "compared": tuple, "buckets": hist.Buckets}[form]
    assert isinstance(np.asarray(history.members) if form == "bitset" else history.members, expected)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 5**6, (30, 4))
    codes[::3, 2] = codes[::3, 0]  # a batch may hold a class twice
    codes[::5, 3] = codes[0, 0]  # and one of long ago
    live = rng.random((30, 4)) < 0.8
    members = set()
    for row, flags in zip(codes, live, strict=True):
        history = add(space, history, row, live=flags)
        members |= {class_of(space, code) for code in row[flags]}
    questions = np.concatenate([codes.ravel(), rng.integers(0, 5**6, 500)])
    expected = np.array([class_of(space, code) in members for code in questions])
    assert 0 < expected[120:].sum() < 500
    np.testing.assert_array_equal(seen(space, history, questions), expected)
    assert int(history.count) == live.sum()
    np.testing.assert_array_equal(codes_of(space, history.archs)[: live.sum()], codes[live])
    np.testing.assert_array_equal(history.keys[: live.sum(), 1], [class_of(space, code) for code in codes[live]])
    if form == "bitset":
        bits = np.unpackbits(np.asarray(history.members).view(np.uint8), bitorder="little")
        assert bits.sum() == len(members) + (bits.size - space.num_classes)
    if form == "buckets":
        assert not history.members.overflow
        assert history.members.sizes.sum() == live.sum()


def test_the_three_forms_give_the_same_search():
    """30 steps of 4 with mutated and repeated candidates: the same architectures in the same order."""

    def search(space, budget):
        def step(history, number):
            key, draw, edit = jax.random.split(jax.random.fold_in(jax.random.key(7), number), 3)
            first = jax.vmap(space.sample)(jax.random.split(draw, 4))
            edited = jax.vmap(space.mutate)(jax.random.split(edit, 4), first)
            both = jax.tree.map(lambda a, b: jnp.concatenate([a, a, b]), first, edited)
            made = hist.first_unseen(space, history, both, 4, key, origin=Origin.PRIOR)
            reward = jax.vmap(space.canonical_key)(made.archs)[:, 1].astype(jnp.float32)
            return hist.add(space, history, made, Evaluation(reward, reward > 99, reward, {})), made.live

        history, live = jax.lax.scan(step, hist.empty(space, budget), jnp.arange(30))
        return history, live

    results = [jax.jit(functools.partial(search, *BUDGETS[form]))() for form in BUDGETS]
    for history, live in results:
        assert live.all()
        assert int(history.count) == 120
        assert len(np.unique(history.keys[:120], axis=0)) == 120
        for name in ("archs", "keys", "reward", "valid", "origin"):
            jax.tree.map(
                lambda a, b: np.testing.assert_array_equal(a[:120], b[:120]),
                getattr(history, name),
                getattr(results[0][0], name),
            )


def bucket_numbers(codes, buckets):
    """The hash again, in Python integers."""

    def mix(word):
        word = (word ^ word >> 16) * 0x7FEB352D % 2**32
        word = (word ^ word >> 15) * 0x846CA68B % 2**32
        return word ^ word >> 16

    return np.array([(mix(mix(int(code))) >> 16) & (buckets - 1) for code in codes])


def test_a_bucket_that_overflows_says_so_and_forgets_its_oldest_key():
    history = hist.empty(KEYED, 140)
    buckets = history.members.sizes.size
    assert buckets == 128  # the power of two above 140 / 2
    keys = np.unique(NasBench201().smallest_codes())
    together = keys[bucket_numbers(keys, buckets) == 5][:17]
    assert len(together) == 17
    history = add(KEYED, history, together[:16])
    assert not history.members.overflow
    assert seen(KEYED, history, together).tolist() == [True] * 16 + [False]
    assert history.members.sizes[5] == 16
    history = add(KEYED, history, together[16:])
    assert history.members.overflow
    assert seen(KEYED, history, together).tolist() == [False] + [True] * 16


@pytest.mark.parametrize("form", BUDGETS)
def test_without_a_usable_reward_a_row_counts_and_is_never_asked_again(form):
    space, budget = BUDGETS[form]
    reward = [np.nan, np.inf, -np.inf, 3.0, 4.0]
    codes = [3906, 10353, 15126, 7626, 6876]
    history = add(space, hist.empty(space, budget), codes, reward, [True, True, True, False, True])
    assert int(history.count) == 5
    assert history.valid[:6].tolist() == [False, False, False, False, True, False]
    np.testing.assert_array_equal(history.reward[:5], np.array(reward, np.float32))
    assert history.origin[:5].tolist() == [Origin.EDIT] * 5
    assert seen(space, history, codes).all()
    made = proposed(space, ask(space, history, [*codes, 25, 677, 729, 9999], 1))  # 25, 677, 729: classes of the above
    assert made == [(9999, Origin.EDIT)]


@pytest.mark.parametrize("form", BUDGETS)
def test_rows_beyond_the_budget_and_rows_that_are_not_live_leave_no_trace(form):
    space, _ = BUDGETS[form]
    budget = {"bitset": 3, "compared": 3, "buckets": hist.COMPARED + 3}[form]
    history = hist.empty(space, budget)
    if form == "buckets":
        history = add(space, history, np.unique(NasBench201().smallest_codes())[-hist.COMPARED :])
    history = add(space, history, [3906, 10353, 25, 677, 729], [1, 2, 3, 4, 5], live=[True, False, True, True, True])
    assert int(history.count) == budget
    assert history.reward[-3:].tolist() == [1, 3, 4]
    assert codes_of(space, history.archs)[-3:].tolist() == [3906, 25, 677]
    assert seen(space, history, [3906, 10353, 25, 677, 729]).tolist() == [True, False, True, True, False]


def test_classes_without_a_member_in_the_subset_count_as_seen():
    history = hist.empty(SUBSET, 10)
    within = {class_of(SUBSET, code) for code in codes_of(SUBSET, SUBSET.all())}
    bits = np.unpackbits(np.asarray(history.members).view(np.uint8), bitorder="little")
    free = np.unique(Toy().smallest_codes())[~bits[:26].astype(bool)]
    assert set(free.tolist()) == within
    assert bits[26:].all()


# Elites


rewards = st.lists(
    st.sampled_from([0.0, -0.0, 1.0, 1.0, 2.5, -3.0, 1e30, -1e30, float("nan"), float("inf"), float("-inf")]),
    min_size=8,
    max_size=8,
)
elite = jax.jit(hist.elite, static_argnums=1)


@hypothesis.given(
    reward=rewards, valid=st.integers(0, 255), live=st.integers(0, 255), num=st.sampled_from([1, 3, 8, 15])
)
@hypothesis.example(reward=[0.0, -0.0, 0.0, -0.0, 1.0, -0.0, 0.0, -3.0], valid=255, live=255, num=3)
def test_elite_against_a_stable_sort(reward, valid, live, num):
    codes = [0, 1, 5, 20, 21, 26, 41, 63]
    flags = [np.array([number >> place & 1 for place in range(8)], bool) for number in (valid, live)]
    history = add(TOY, hist.empty(TOY, 12), codes, reward, *flags)
    usable = [
        (value, code)
        for value, code, *good in zip(reward, codes, *flags, strict=True)
        if all(good) and np.isfinite(value)
    ]
    expected = sorted(usable, key=lambda pair: pair[0])[-num:]  # stable: of equals the later stands higher
    best = elite(history, num)
    size = len(expected)
    assert int(best.size) == size
    assert best.mask.tolist() == [row < size for row in range(num)]
    assert best.reward.dtype == jnp.float32
    np.testing.assert_array_equal(best.reward[:size], np.array([value for value, _ in expected], np.float32))
    np.testing.assert_array_equal(best.reward[size:], 0)
    assert codes_of(TOY, best.archs)[:size].tolist() == [code for _, code in expected]


def test_an_elite_grows_over_batches():
    history = hist.empty(TOY, 12)
    assert elite(history, 3).size == 0
    for codes, reward in (([0, 1], [5, 1]), ([20, 21], [5, 9]), ([26, 63], [-1, 5])):
        history = add(TOY, history, codes, reward)
    best = elite(history, 3)
    assert best.reward.tolist() == [5, 5, 9]
    assert codes_of(TOY, best.archs).tolist() == [20, 63, 21]  # of the three fives the two later ones


@pytest.mark.parametrize("number", [0, -1])
def test_nothing_is_refused_by_name(number):
    with pytest.raises(ValueError, match=rf"^history: a budget of {number} evaluations; at least 1 is needed$"):
        hist.empty(TOY, number)
    with pytest.raises(ValueError, match=rf"^history: an elite of {number}; at least 1 is needed$"):
        hist.elite(hist.empty(TOY, 3), number)


# Transformations


@pytest.mark.parametrize("space", [TOY, Keyed()], ids=["enumerable", "keyed"])
def test_a_batch_of_searches_is_the_searches_one_by_one(space):
    """Four seeds, some of which need refills and fallbacks where others do not; and the program calls no host."""
    budget, batch = (30, 4) if space is TOY else (132, 11)

    def search(key):
        def step(history, number):
            ask_key, draw = jax.random.split(jax.random.fold_in(key, number))
            candidates = jax.vmap(space.sample)(jax.random.split(draw, batch))
            made = hist.first_unseen(space, history, candidates, batch, ask_key, origin=Origin.PRIOR, refills=2)
            reward = jax.vmap(space.canonical_key)(made.archs)[:, 1].astype(jnp.float32)
            evaluation = Evaluation(reward, jnp.ones(batch, bool), reward, {})
            return hist.add(space, history, made, evaluation), (made.live, made.origin)

        history, made = jax.lax.scan(step, hist.empty(space, budget), jnp.arange(-(-budget // batch)))
        return history, hist.elite(history, 5), made

    keys = jax.random.split(jax.random.key(3), 4)
    together = jax.jit(jax.vmap(search))(keys)
    alone = jax.jit(search)
    for row in range(4):
        one = jax.tree.map(lambda leaf, row=row: leaf[row], together)
        jax.tree.map(np.testing.assert_array_equal, one, alone(keys[row]))
    origins = np.asarray(together[2][1])[np.asarray(together[2][0])]
    assert set(origins) == ({0, 3, 4} if space is TOY else {0, 3})
    assert "callback" not in str(jax.make_jaxpr(search)(keys[0]))
