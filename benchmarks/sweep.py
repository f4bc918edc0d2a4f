"""Searches of a table: this engine beside plain Python and beside syne-tune, on one core of a CPU.

    python benchmarks/sweep.py [--rounds 5] [--seeds 1,100,1000,10000] [--quick] [--width 64]
        [--forms] [--markdown]

NAS-Bench-201 without `none`, CIFAR-10's validation accuracy after 12 epochs; NASJAX_DATA names the folder with the table.
Ours are the programs of `nasjax sweep`, compiled anew in each round; the others run one search after another: the same
methods in plain Python (`plain_searches.py`), and syne-tune's searchers by `suggest` and `on_trial_complete`, without its
tuner and simulator, which could only add to that. The time is that of the searches, not of what is written of them. The
process binds itself to one core.

Engines take turns within a round. Prints CPU seconds (median, smallest and largest round), the compilation apart; then
searches per CPU-second, with the compilation too; then what was found. Figures with ~ are extrapolated from fewer searches,
each of which takes as long as the others. Ends with 1 where ours and plain Python differ by more than three standard errors
in what they find: then they are not the same methods.

syne-tune is optional: `pip install -e ".[bench]"`.
"""

import argparse
import importlib.metadata
import math
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")  # read by jax
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import plain_searches

from nasjax import seeds
from nasjax.base import MethodSettings
from nasjax.configs.graphpnas_nb201_improved import IMPROVED
from nasjax.methods.cem import Cem
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.methods.local_search import LocalSearch
from nasjax.methods.random_search import RandomSearch
from nasjax.methods.regularized_evolution import RegularizedEvolution
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.tables import Table, TableEvaluator

SPACE = NasBench201(op_names=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
TABLE = Table("nasbench201.npz", "cifar10", "val_acc@12")
PAPER = GraphPNAS(batch=1, form="dense", explore_iters=15, elite=10, epochs=60)  # the protocol of CIFAR-100
LIMIT = 3.0  # standard errors
XLA_LEVEL = 3  # of LLVM's optimisation where nobody says: `debug_options_flags.cc`


class Ours:
    """Seeds side by side in one program."""

    def __init__(
        self,
        settings: MethodSettings,
        queries: int,
        evaluator: TableEvaluator,
        width: int | None = None,
        level: int | None = None,
    ) -> None:
        """`width`: seeds side by side; `level`: of LLVM's optimisation, XLA's own. None = what `nasjax sweep` takes."""
        if level not in (None, XLA_LEVEL):
            raise ValueError(f"level {level}: a process can only be started with it, by XLA_FLAGS")
        self.settings, self.queries, self.evaluator, self.width = settings, queries, evaluator, width
        self.flags = "" if level is None else f" --xla_backend_optimization_level={level}"

    def compile(self) -> None:
        seeds.forget()  # what an earlier round compiled
        given = SPACE, self.settings, self.evaluator, self.queries
        own = os.environ["XLA_FLAGS"]
        os.environ["XLA_FLAGS"] = own + self.flags  # `seeds` reads it anew and stands aside; XLA read it at its start
        try:
            self.program = seeds.program(*given, devices=jax.local_devices()[:1], width=self.width)
        finally:
            os.environ["XLA_FLAGS"] = own

    def search(self, wanted: Sequence[int]) -> Any:
        return self.program(self.evaluator, wanted)

    def rewards(self, found: Any) -> np.ndarray:
        return found.reward.astype(np.float64)


class Plain:
    """`plain_searches`."""

    def __init__(self, method: plain_searches.Method, queries: int, table: plain_searches.Table) -> None:
        self.method, self.queries, self.table = method, queries, table

    def search(self, wanted: Sequence[int]) -> list[list[int]]:
        return [self.method(self.table, seed, self.queries) for seed in wanted]

    def rewards(self, found: list[list[int]]) -> np.ndarray:
        return np.array(self.table.reward)[np.array(found)]


class SyneTune:
    """A searcher of syne-tune, told the table's rewards. Its trials may repeat."""

    def __init__(self, searcher: Callable[..., Any], queries: int, table: plain_searches.Table) -> None:
        """`searcher(space, random_seed=...)` makes one."""
        from syne_tune.config_space import choice

        self.searcher, self.queries = searcher, queries
        self.space = {f"hp_x{edge}": choice(SPACE.op_names) for edge in range(SPACE.num_edges)}
        configs = [tuple(SPACE.op_names[decision] for decision in decisions) for decisions in table.decisions]
        self.reward = dict(zip(configs, table.reward, strict=True))

    def search(self, wanted: Sequence[int]) -> list[list[float]]:
        return [self._search(seed) for seed in wanted]

    def _search(self, seed: int) -> list[float]:
        np.random.seed(seed)  # noqa: NPY002 - it draws configurations from there, whatever its own seed
        searcher = self.searcher(self.space, random_seed=seed)
        rewards = []
        for trial in range(self.queries):
            config = searcher.suggest()
            rewards.append(self.reward[tuple(config.values())])
            searcher.on_trial_complete(trial, config, -rewards[-1])  # it minimises
        return rewards

    def rewards(self, found: list[list[float]]) -> np.ndarray:
        return np.array(found)


Engine: TypeAlias = Ours | Plain | SyneTune


class Contender(NamedTuple):
    """An engine, and how many searches it runs at most: more are extrapolated."""

    name: str
    engine: Engine
    most: int


class Case(NamedTuple):
    """What is compared: ours first, then plain Python if `checked`."""

    method: str
    queries: int
    contenders: list[Contender]
    checked: bool = True


class Measured(NamedTuple):
    """Of a contender.

    Attributes:
      compile: CPU seconds of each round's compilation.
      load: the same where the program stands in the compilation cache.
      run: CPU seconds of each round by number of searches.
      regret: percentage points, of each search.
      reward: mean of its rewards, of each search.
    """

    compile: list[float]
    load: list[float]
    run: dict[int, list[float]]
    regret: list[float]
    reward: list[float]

    def seconds(self, searches: int) -> float:
        """Returns the median, extrapolated from the most that were run."""
        most = max(self.run)
        known = searches if searches in self.run else most
        return statistics.median(self.run[known]) * searches / known


def cases(
    evaluator: TableEvaluator, table: plain_searches.Table, quick: bool, width: int | None, forms: bool
) -> list[Case]:
    """Returns the comparisons.

    Args:
      evaluator: what ours look up.
      table: what the others look up.
      quick: without those of methods that train a model, and with fewer searches.
      width: seeds side by side.
      forms: ours also otherwise compiled, where no model is trained.
    """
    many = 200 if quick else 1000
    methods: dict[str, tuple[MethodSettings, plain_searches.Method]] = {
        "random search": (RandomSearch(batch=1), plain_searches.random_search),
        "evolution": (RegularizedEvolution(population=20, sample=5), plain_searches.regularized_evolution),
        "local search": (LocalSearch(), plain_searches.local_search),
        "CEM": (Cem(explore=30, elite=10, pseudo=0.1), plain_searches.cem),
    }

    def case(name: str, queries: int, most: int) -> Case:
        settings, method = methods[name]
        ours = Contender("nasjax", Ours(settings, queries, evaluator, width), most)
        others = [Contender("plain Python", Plain(method, queries, table), many)]
        if forms:
            wide = Ours(settings, queries, evaluator, width=1024)
            level = Ours(settings, queries, evaluator, width, level=XLA_LEVEL)
            others += [
                Contender("nasjax, 1,024 wide", wide, most),
                Contender(f"nasjax, level {XLA_LEVEL}", level, most),
            ]
        return Case(name, queries, [ours, *others])

    compared = [*(case(name, 100, 10_000) for name in methods), case("evolution", 500, 1000 if quick else 10_000)]
    if not quick:
        trained = {"gp_bo": (GpBo(), 100), "GraphPNAS, improved": (IMPROVED, 10), "GraphPNAS, paper": (PAPER, 1)}
        ours = [
            Contender(f"nasjax, {name}", Ours(settings, 100, evaluator, None), most)
            for name, (settings, most) in trained.items()
        ]
        compared.append(Case("with a model", 100, ours, checked=False))
    if has_syne_tune():
        add_syne_tune(compared, table, many)
    return compared


def has_syne_tune() -> bool:
    try:
        return bool(importlib.metadata.version("syne-tune"))
    except importlib.metadata.PackageNotFoundError:
        return False


def add_syne_tune(compared: list[Case], table: plain_searches.Table, many: int) -> None:
    """Adds its regularized evolution where there is evolution, and BORE where there is a model."""
    from syne_tune.optimizer.schedulers.searchers.bore import Bore
    from syne_tune.optimizer.schedulers.searchers.regularized_evolution import RegularizedEvolution as Evolution

    def evolution(space: dict[str, Any], random_seed: int) -> Any:
        return Evolution(space, population_size=20, sample_size=5, random_seed=random_seed)

    for method, queries, contenders, _ in compared:
        if method == "evolution":
            engine = SyneTune(evolution, queries, table)
            contenders.append(Contender("syne-tune, REA", engine, max(1, 10 * many // queries)))
        elif method == "with a model":
            contenders.append(Contender("syne-tune, BORE", SyneTune(Bore, queries, table), 1))


def one_core() -> None:
    """Keeps all threads of all engines on one core; before jax starts its devices.

    XLA gives a program as many threads as there are cores, whatever its flags say: on two, an evolution took twice the CPU
    seconds that it takes on one, and no less by the clock. `nasjax sweep` has a device a core.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    else:
        print("this system binds no process to a core: CPU seconds are those of all threads", file=sys.stderr)


def looked_up(evaluator: TableEvaluator) -> plain_searches.Table:
    """Returns the evaluator's table as lists by the architectures' numbers."""
    archs = SPACE.all()
    reward = np.asarray(evaluator(jax.random.key(0), archs).reward)
    network = SPACE.class_of(jnp.arange(SPACE.size, dtype=jnp.int32))
    decisions = np.asarray(jax.vmap(SPACE.decisions)(archs))
    return plain_searches.Table(
        reward.astype(np.float64).tolist(),
        np.asarray(network).tolist(),
        [tuple(row) for row in decisions.tolist()],
        len(SPACE.op_names),
    )


def measure(
    compared: list[Case], sizes: list[int], rounds: int, best: float, cache: pathlib.Path
) -> list[list[Measured]]:
    """Returns what each contender of each case took and found; `cache` is emptied as it goes."""
    measured = [[Measured([], [], {}, [], []) for _ in case.contenders] for case in compared]
    for number in range(rounds):
        for case, results in zip(compared, measured, strict=True):
            order = list(range(len(results)))
            first = number % len(order)
            for place in order[first:] + order[:first]:  # no engine always follows the same one
                one_round(case.contenders[place], results[place], sizes, number, best, cache)
            print(f"round {number + 1}: {case.method}, {case.queries} queries", file=sys.stderr, flush=True)
    return measured


def one_round(
    contender: Contender, result: Measured, sizes: list[int], number: int, best: float, cache: pathlib.Path
) -> None:
    """Adds a round; searches of the largest size count for what is found, other seeds in each round."""
    engine = contender.engine
    if isinstance(engine, Ours):
        for path in cache.iterdir():
            path.unlink()
        result.compile.append(cpu_seconds(engine.compile)[0])
        result.load.append(cpu_seconds(engine.compile)[0])
        engine.search([0])  # the first call allocates
    runs = sorted({min(size, contender.most) for size in sizes})
    for size in runs:
        wanted = range(number * size, (number + 1) * size)
        seconds, found = cpu_seconds(engine.search, wanted)
        result.run.setdefault(size, []).append(seconds)
    rewards = engine.rewards(found)
    result.regret.extend(best - rewards.max(axis=1))
    result.reward.extend(rewards.mean(axis=1))


def cpu_seconds(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.process_time()
    done = work(*arguments)
    return time.process_time() - start, done


def times_table(compared: list[Case], measured: list[list[Measured]], sizes: list[int]) -> list[list[str]]:
    """CPU seconds, median (range)."""
    rows = [["method, queries", "engine", "compile", "from the cache", *columns(sizes)]]
    for case, results in zip(compared, measured, strict=True):
        for contender, result in zip(case.contenders, results, strict=True):
            compiling = [spread(result.compile), spread(result.load)] if result.compile else ["", ""]
            cells = [
                spread(result.run[size]) if size in result.run else f"~{figure(result.seconds(size))}" for size in sizes
            ]
            rows.append([f"{case.method}, {case.queries}", contender.name, *compiling, *cells])
    return rows


def rates_table(compared: list[Case], measured: list[list[Measured]], sizes: list[int]) -> list[list[str]]:
    """Searches per CPU-second; ours also with the compilation; and from where on ours is the most."""
    rows = [["method, queries", "engine", *columns(sizes), "nasjax ahead from seed (cached)"]]
    for case, results in zip(compared, measured, strict=True):
        ours = results[0]
        for contender, result in zip(case.contenders, results, strict=True):
            cells = []
            for size in sizes:
                rate = f"{'' if size in result.run else '~'}{figure(size / result.seconds(size))}"
                if result.compile:
                    rate += f" ({figure(size / (result.seconds(size) + statistics.median(result.compile)))})"
                cells.append(rate)
            ahead = "" if result.compile else ahead_from(ours, result)  # what is compiled is ours, too
            rows.append([f"{case.method}, {case.queries}", contender.name, *cells, ahead])
    return rows


def columns(sizes: list[int]) -> list[str]:
    return [f"{size:,} seed{'s' * (size > 1)}" for size in sizes]


def ahead_from(ours: Measured, other: Measured) -> str:
    """From about how many searches on ours takes less, with the compilation, and with a program in the cache."""
    gain = other.seconds(max(other.run)) / max(other.run) - ours.seconds(max(ours.run)) / max(ours.run)
    if gain <= 0:
        return "never"
    block = statistics.median(ours.run[min(ours.run)])  # seeds that fill a program's width cost as much as one
    fixed = [statistics.median(start) + block for start in (ours.compile, ours.load)]
    whole, cached = (figure(math.ceil(seconds / gain), 2, 0) for seconds in fixed)
    return f"{whole} ({cached})"


def found_table(compared: list[Case], measured: list[list[Measured]]) -> tuple[list[list[str]], list[str]]:
    """What was found, mean and standard error, and what contradicts that plain Python's methods are ours."""
    rows = [["method, queries", "engine", "seeds", "regret, points", "mean reward", "from ours, standard errors"]]
    wrong = []
    for case, results in zip(compared, measured, strict=True):
        for place, (contender, result) in enumerate(zip(case.contenders, results, strict=True)):
            row = [f"{case.method}, {case.queries}", contender.name, f"{len(result.regret):,}"]
            row += [mean(result.regret), mean(result.reward), ""]
            if case.checked and place == 1:
                away = [apart(result.regret, results[0].regret), apart(result.reward, results[0].reward)]
                row[-1] = ", ".join(f"{one:+.1f}" for one in away)
                if not max(map(abs, away)) <= LIMIT:
                    wrong.append(f"{row[0]}: plain Python is {row[-1]} standard errors from nasjax in regret, reward")
            rows.append(row)
    return rows, wrong


def mean(values: list[float]) -> str:
    middle = f"{np.mean(values):.3f}"
    return f"{middle} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.3f}" if len(values) > 1 else middle


def apart(left: list[float], right: list[float]) -> float:
    """The difference of means in its standard errors."""
    error = math.sqrt(sum(np.var(values, ddof=1) / len(values) for values in (left, right)))
    return float((np.mean(left) - np.mean(right)) / error)


def spread(values: list[float]) -> str:
    middle = figure(statistics.median(values))
    return f"{middle} ({figure(min(values))} to {figure(max(values))})" if len(values) > 1 else middle


def figure(value: float, digits: int = 3, decimals: int = 9) -> str:
    """The number to so many digits and at most so many decimals, without an exponent."""
    if value <= 0:
        return "0"
    places = min(decimals, digits - 1 - math.floor(math.log10(value)))
    return f"{round(value, places):,.{max(0, places)}f}"


def show(title: str, rows: list[list[str]], markdown: bool) -> None:
    """Prints a table; the first row is its head."""
    print(f"\n{title}\n")
    if markdown:
        head, *body = ["| " + " | ".join(row) + " |" for row in rows]
        print("\n".join([head, "|" + "---|" * len(rows[0]), *body]))
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="5, or 2 with --quick")
    parser.add_argument("--seeds", default="1,100,1000,10000", help="searches of each method")
    parser.add_argument("--quick", action="store_true", help="three minutes: no methods with a model, fewer searches")
    parser.add_argument("--width", type=int, help=f"seeds side by side in our programs; {seeds.WIDEST} by default")
    parser.add_argument("--forms", action="store_true", help=f"ours also 1,024 wide, and at LLVM's level {XLA_LEVEL}")
    parser.add_argument("--markdown", action="store_true", help="Markdown tables")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    sizes = sorted({int(size) for size in arguments.seeds.split(",")})
    if min(rounds, sizes[0], arguments.width or 1) < 1:
        parser.error("--rounds, --seeds and --width: at least 1")
    one_core()
    try:
        evaluator = TABLE.build(SPACE)
    except FileNotFoundError as error:
        raise SystemExit(f"{error}") from error
    compared = cases(evaluator, looked_up(evaluator), arguments.quick, arguments.width, arguments.forms)
    syne_tune = (
        importlib.metadata.version("syne-tune") if has_syne_tune() else 'not installed: pip install -e ".[bench]"'
    )
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        measured = measure(compared, sizes, rounds, evaluator.best(SPACE)["validation"], pathlib.Path(cache))

    print(
        f"{platform.machine()}, Python {platform.python_version()}, jax {jax.__version__}, syne-tune {syne_tune}; "
        f"rounds: {rounds}; ~ extrapolated"
    )
    show("CPU seconds, median (range)", times_table(compared, measured, sizes), arguments.markdown)
    title = "Searches per CPU-second, the compilation apart (included)"
    show(title, rates_table(compared, measured, sizes), arguments.markdown)
    rows, wrong = found_table(compared, measured)
    show("What was found", rows, arguments.markdown)
    if wrong:
        raise SystemExit("\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
