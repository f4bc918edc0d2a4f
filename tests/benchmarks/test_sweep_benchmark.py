"""What `benchmarks/sweep.py` counts and compares, on the embedded table; how it binds and compiles."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import sweep

from nasjax import seeds
from nasjax.methods.random_search import RandomSearch
from nasjax.tables import Table

QUERIES = 6
SETTINGS = RandomSearch(batch=1)


@pytest.fixture(scope="module")
def evaluator():
    return Table("digits").build(sweep.SPACE)


def one_case(evaluator, plain, most=4):
    table = sweep.looked_up(evaluator)
    ours = sweep.Contender("nasjax", sweep.Ours(SETTINGS, QUERIES, evaluator, width=2), most)
    other = sweep.Contender("plain Python", sweep.Plain(plain, QUERIES, table), most)
    return [sweep.Case("random search", QUERIES, [ours, other])]


def test_searches_are_those_of_the_rounds_seeds(evaluator, tmp_path):
    compared = one_case(evaluator, sweep.plain_searches.random_search)
    best = evaluator.best(sweep.SPACE)["validation"]
    [[ours, plain]] = sweep.measure(compared, [1, 4, 100], 2, best, tmp_path)
    found = seeds.program(sweep.SPACE, SETTINGS, evaluator, QUERIES, width=2)(evaluator, range(8))
    np.testing.assert_allclose(ours.regret, best - found.reward.max(axis=1), atol=1e-4)
    assert len(ours.compile) == len(ours.load) == 2
    assert (len(plain.compile), len(plain.regret)) == (0, 8)
    for measured in (ours, plain):
        assert {size: len(rounds) for size, rounds in measured.run.items()} == {1: 2, 4: 2}
        assert measured.seconds(100) == pytest.approx(25 * measured.seconds(4))  # extrapolated from the most that ran
    titles, mine, other = sweep.times_table(compared, [[ours, plain]], [1, 100])
    assert titles[-2:] == ["1 seed", "100 seeds"]
    assert [cell.startswith("~") for row in (mine, other) for cell in row[-2:]] == [False, True] * 2


def test_another_method_is_not_taken_for_ours(evaluator, tmp_path):
    def always_the_same(table, seed, queries):
        return [min(range(len(table.reward)), key=table.reward.__getitem__) + 0 * seed] * queries

    best = evaluator.best(sweep.SPACE)["validation"]
    for plain, complaints in ((sweep.plain_searches.random_search, 0), (always_the_same, 1)):
        compared = one_case(evaluator, plain, most=30)
        measured = sweep.measure(compared, [30], 1, best, tmp_path)
        rows, wrong = sweep.found_table(compared, measured)
        assert len(wrong) == complaints, wrong
        assert rows[2][2] == "30"


def test_the_form_at_xlas_level_is_one(evaluator, monkeypatch):
    """`seeds` must stand aside for it, for that compilation only."""
    asked = []

    def program(space, settings, evaluator, budget, **given):
        method = settings.build(space, budget)
        asked.append(seeds._compiler_options(method, "cpu"))

    monkeypatch.setattr(seeds, "program", program)
    monkeypatch.setattr(seeds, "forget", lambda: None)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    for level in (None, sweep.XLA_LEVEL, None):
        sweep.Ours(SETTINGS, QUERIES, evaluator, level=level).compile()
    assert asked == [{"xla_backend_optimization_level": 1}, {}, {"xla_backend_optimization_level": 1}]
    with pytest.raises(ValueError, match="level 2"):
        sweep.Ours(SETTINGS, QUERIES, evaluator, level=2)


def test_xlas_level_is_what_it_says_of_itself(tmp_path):
    environment = os.environ | {"XLA_FLAGS": f"--xla_dump_to={tmp_path}"}
    subprocess.run([sys.executable, "-c", "import jax; jax.jit(abs)(1.0)"], env=environment, check=True, timeout=300)
    said = "\n".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert set(re.findall(r"^\s*xla_backend_optimization_level: (\d+)", said, re.MULTILINE)) == {str(sweep.XLA_LEVEL)}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
def test_all_threads_run_on_one_core():
    code = (
        "import os, pathlib, sweep, jax; own = {task.name for task in pathlib.Path('/proc/self/task').iterdir()};"
        "sweep.one_core(); jax.jit(abs)(1.0).block_until_ready();"
        "started = [task.name for task in pathlib.Path('/proc/self/task').iterdir() if task.name not in own];"
        "print(len(started), {len(os.sched_getaffinity(int(name))) for name in ['0', *started]})"
    )
    environment = os.environ | {"PYTHONPATH": os.path.dirname(sweep.__file__)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, timeout=300, capture_output=True, text=True
    )
    started, cores = done.stdout.split(" ", 1)
    assert int(started) > 0  # XLA's; what imports have started waits for no work
    assert cores == "{1}\n"
