"""Many seeds in one program: each search's bits are its own."""

import jax
import numpy as np
import pytest
import toy_sweep
from compiling import USERS_PROGRAM

from nasjax import seeds
from nasjax.base import Origin
from nasjax.methods.bananas import Bananas
from nasjax.methods.cem import Cem
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.methods.local_search import LocalSearch
from nasjax.methods.random_search import RandomSearch
from nasjax.methods.regularized_evolution import RegularizedEvolution
from nasjax.methods.reinforce_rnn import ReinforceRnn
from nasjax.methods.shuffled import Shuffled
from nasjax.spaces.toy import Toy

SPACE, METHOD, BUDGET = Toy(), RandomSearch(batch=3), 7
WANTED = [5, 3, 2**31 + 7, 0, 1, 2, 4, 6, 7, 8, 9]
SUITES_COMPILE = jax.stages.Lowered.compile


@pytest.fixture(scope="module", autouse=True)
def users_programs():
    """Whether bits depend on what stands beside them is up to the machine code."""
    jax.devices()  # the suite's flags are read now at the latest, for this process's other tests
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XLA_FLAGS")  # our own options stand aside for what it says

        def users(lowered, compiler_options):
            return SUITES_COMPILE(lowered, USERS_PROGRAM | compiler_options)

        patch.setattr(jax.stages.Lowered, "compile", users)
        yield
    seeds._compiled.cache_clear()


@pytest.fixture(scope="module")
def table():
    return toy_sweep.MadeUpTable(noise=1.0).build(SPACE)


@pytest.fixture(scope="module")
def two_devices(table):
    return seeds.program(SPACE, METHOD, table, BUDGET, width=4)


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, jax.tree.map(np.nan_to_num, a), jax.tree.map(np.nan_to_num, b)))


def test_a_seed_gives_the_same_bits_alone_in_company_and_on_one_device(table, two_devices):
    """Width 4 on two devices: 11 seeds are one and a half rounds, padded; a single one is padded too."""
    together = two_devices(table, WANTED)
    assert together.reward.shape == (11, 9)
    assert together.live.sum(axis=1).tolist() == [BUDGET] * 11
    one_device = seeds.program(SPACE, METHOD, table, BUDGET, width=4, devices=jax.devices()[:1])
    assert (one_device.num_devices, two_devices.num_devices) == (1, 2)
    assert same(together, one_device(table, WANTED))
    for place in (0, 2, 10):
        alone = two_devices(table, [WANTED[place]])
        assert same(jax.tree.map(lambda leaf, place=place: leaf[place : place + 1], together), alone)
    assert len({trace.tobytes() for trace in together.keys}) == 11


def test_the_searches_are_those_of_the_same_keys(table, two_devices):
    """The program is `scan_search` of `jax.random.key(seed)`; rewards to a last bit, as another width's code rounds the noise."""
    search = seeds.scan_search(SPACE, METHOD.build(SPACE, BUDGET), table, BUDGET)
    search = jax.jit(search, compiler_options=USERS_PROGRAM)
    for seed in (0, 2**32 - 1):
        alone = search(jax.random.key(seed))._replace(info={})
        together = jax.tree.map(lambda leaf: leaf[0], two_devices(table, [seed]))
        np.testing.assert_allclose(together.reward, alone.reward, rtol=3e-7)
        assert same(together._replace(reward=alone.reward), alone)


def test_width_is_halved_until_the_program_fits(table, monkeypatch):
    """From 4, so that three programs are compiled and not seven."""
    monkeypatch.setattr(seeds, "WIDEST", 4)
    device = jax.devices()[:1]

    def made(limit):
        return seeds.program(SPACE, METHOD, table, BUDGET, devices=device, limit=limit)

    structure, shapes = jax.tree.structure(table), (((64,), np.dtype("float32")),)
    widest = seeds._compiled(SPACE, METHOD, BUDGET, structure, shapes, tuple(device), 4)
    assert made(None).width == made(widest.bytes).width == 4
    assert made(widest.bytes - 1).width == 2
    with pytest.raises(ValueError, match=r"one search needs [\d,]+ bytes of a device, the limit is 100"):
        made(100)


def test_methods_that_train_say_so():
    """They run one seed at a time on a CPU."""
    assert GraphPNAS().build(SPACE, 10).learned
    assert Shuffled(GraphPNAS()).build(SPACE, 10).learned
    assert not METHOD.build(SPACE, 10).learned
    assert not Shuffled(METHOD).build(SPACE, 10).learned


def test_what_cannot_be_traced_is_refused(table):
    class Children:
        pure = False

    with pytest.raises(ValueError, match="Children is not pure"):
        seeds.program(SPACE, METHOD, Children(), BUDGET)


def test_a_forgotten_program_is_compiled_anew(table):
    first = seeds.program(SPACE, METHOD, table, BUDGET, width=1)
    assert seeds.program(SPACE, METHOD, table, BUDGET, width=1).run is first.run
    seeds.forget()
    assert seeds.program(SPACE, METHOD, table, BUDGET, width=1).run is not first.run


# The same of each method

SMALL = {"batch": 4, "explore_iters": 1, "elite": 3, "epochs": 2, "hidden": 12, "rounds": 1, "mixture": 2}
GENERATOR = GraphPNAS(**SMALL, candidates=16)
METHODS = {
    "regularized_evolution": RegularizedEvolution(4, 2),
    "local_search": LocalSearch(),
    "cem": Cem(explore=4, elite=3, draws=8),
    "gp_bo": GpBo(initial=4, refit_every=3, steps=3, edits=8, draws=8, parents=2),
    "bananas": Bananas(initial=4, refit_every=3, members=2, hidden=(4,), steps=5, candidates=8, parents=2),
    "reinforce_rnn": ReinforceRnn("reinforce", batch=4, hidden=8, inner_steps=2, candidates=16),
    "graphpnas": GENERATOR,
    "graphpnas_improved": GraphPNAS(**SMALL, candidates=16, fidelity="improved", screen_candidates=8),
}
QUICK = ("regularized_evolution", "local_search", "cem", "gp_bo")


def program(table, method, devices=2):
    """As `nasjax sweep` compiles it on CPUs, but with 4 seeds side by side where it has 64 of methods that train nothing."""
    width = min(seeds.side_by_side(method.build(SPACE, 10), "cpu"), 4)
    return seeds.program(SPACE, method, table, 10, width=width, devices=jax.devices()[:devices])


def bits_are_its_own(made, table):
    """Each of 11 searches goes on after exploring, no two are one, and three of them are the same alone."""
    together = made(table, WANTED)
    assert (together.live.sum(axis=1) == 10).all()
    assert (together.origin != int(Origin.PRIOR)).any(axis=1).all()
    assert len({trace.tobytes() for trace in together.keys}) == 11
    for place in (1, 7, 10):
        alone = made(table, [WANTED[place]])
        assert same(jax.tree.map(lambda leaf, place=place: leaf[place : place + 1], together), alone)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_no_method_sees_the_searches_beside(table, name):
    """Alone each stands at the first place of the first device; in company at another, on either, in another round."""
    bits_are_its_own(program(table, METHODS[name]), table)


@pytest.fixture
def suites_programs(monkeypatch):
    """Compiled quickly, as the rest of the suite is, and kept for nobody."""
    monkeypatch.setattr(jax.stages.Lowered, "compile", SUITES_COMPILE)
    seeds._compiled.cache_clear()
    yield
    seeds._compiled.cache_clear()


def test_no_generator_sees_the_searches_beside(table, suites_programs):
    """By other machine code than users have: theirs takes 25 CPU-seconds to compile, and the slow tests have it."""
    bits_are_its_own(program(table, GENERATOR), table)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_no_method_sees_the_number_of_devices(table, name):
    """Two programs, compiled apart."""
    one_device, two_devices = (program(table, METHODS[name], number) for number in (1, 2))
    assert (one_device.num_devices, two_devices.num_devices) == (1, 2)
    assert same(one_device(table, WANTED), two_devices(table, WANTED))
