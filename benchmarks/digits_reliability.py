"""How far the digits table can be believed: its seeds against each other, and against NAS-Bench-201's CIFAR-10.

    python benchmarks/digits_reliability.py [FOLDER or TABLE]    default: runs/digits_table

A folder of `nasjax table build digits_table`, finished or not (what has been trained is a uniform sample of the cells), or the
table that came of it. Prints, as Markdown, over live cells: percentiles; number of cells at the best value; Spearman's rank
correlation with the mean CIFAR-10 test accuracy after 200 epochs, of minus the validation cross-entropy, of the validation
accuracy, and of the parameter count alone, and by how much the first exceeds the last; with two seeds or more, Spearman between
seeds, what Spearman-Brown makes of it for their mean, and how well the best cells are known. Brackets: 95 % bootstrap intervals
over cells, 2,000 resamples. NASJAX_DATA names the folder with nasbench201.npz.
"""

import argparse
import itertools
import pathlib

import jax
import numpy as np
import scipy.stats

from nasjax import graph, table_build
from nasjax.configs import digits_table
from nasjax.rundir import RunDirError
from nasjax.tables import opening
from nasjax.tables.columns import Columns
from nasjax.train.networks.nasbench201 import Skeleton, counted

REFERENCE, TASK, METRIC = "nasbench201.npz", "cifar10", "test_acc@200"
RESAMPLES = 2_000
BEST = 100
"""Cells that count as the best."""


def read(source: pathlib.Path) -> Columns:
    """Returns what a folder's seeds have in common, or the table of a file."""
    if not source.is_dir():
        return opening.load(str(source))[0]
    build = digits_table.config()
    seeds = []
    while len(seed := table_build.read_seed(source, len(seeds), build.space)):
        seeds.append(seed)
    if not seeds:
        raise SystemExit(f"{source}: no cell has been trained; nasjax table build digits_table")
    if len(seeds) > 1 and len(seeds[-1]) < len(seeds[0]) / 4:
        seeds.pop()  # a seed that has just begun would leave a small sample
    rows = min(len(seed) for seed in seeds)
    return table_build.table(
        build, [jax.tree.map(lambda column: column[:rows], seed) for seed in seeds], "digits_table"
    )


def resampled(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns float[RESAMPLES], rank correlations of resampled cells, the same ones for any a and b: two of them pair."""
    rows = np.random.default_rng(0).integers(0, a.size, (RESAMPLES, a.size))
    ranks = [scipy.stats.rankdata(column[rows], axis=1) for column in (a, b)]
    centred = [rank - rank.mean(1, keepdims=True) for rank in ranks]
    found: np.ndarray = (centred[0] * centred[1]).sum(1)
    return found / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))


def interval(found: float, values: np.ndarray) -> str:
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{found:.3f} [{low:.3f}, {high:.3f}]"


def spearman(a: np.ndarray, b: np.ndarray) -> str:
    """Returns the rank correlation with its interval."""
    return interval(scipy.stats.spearmanr(a, b).statistic, resampled(a, b))


def ahead(a: np.ndarray, b: np.ndarray, target: np.ndarray) -> str:
    """Returns by how much more a is correlated with the target than b is, with its interval over the same cells."""
    found = scipy.stats.spearmanr(a, target).statistic - scipy.stats.spearmanr(b, target).statistic
    return interval(found, resampled(a, target) - resampled(b, target))


def percentiles(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in np.percentile(values, [0, 10, 25, 50, 75, 90, 100]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", type=pathlib.Path, default=pathlib.Path("runs/digits_table"))
    space = digits_table.config().space
    try:
        table = read(parser.parse_args().source)
        reference = opening.load(REFERENCE)[0]
        accuracies = reference.column(METRIC, TASK).values
        place = {reference.archs.spec(row): row for row in range(len(reference))}
        runs = [np.array([run.values for run in table.runs(metric, "")]) for metric in ("val_ce", "val_acc")]
        if not all(map(len, runs)):
            raise ValueError(f"{table.name}: no columns val_ce:run0 and val_acc:run0; nasjax table build makes them")
        specs = [table.archs.spec(row) for row in range(len(table))]
        archs = space.from_specs(specs)
        if not set(specs) <= set(place):
            raise ValueError(f"{reference.name} lacks cells of {table.name}")
    except (OSError, ValueError, RunDirError) as error:
        raise SystemExit(f"{error}") from error
    live = np.asarray(jax.vmap(graph.on_path)(archs)).any(axis=1)
    params = counted(np.asarray(space.operations(archs)), Skeleton()).params
    cifar10 = accuracies[[place[spec] for spec in specs]]

    signal, accuracy = -runs[0][:, live], runs[1][:, live]
    known = np.isfinite(signal).all(0)
    signal, accuracy, params, cifar10 = signal[:, known], accuracy[:, known], params[live][known], cifar10[live][known]
    dead, broken = int((~live).sum()), int((~known).sum())
    print(f"{len(table):,} cells, {dead} dead, {broken} whose training diverged; {len(signal)} seeds\n")
    print("| over live cells | |\n|---|---|")
    for number, (ce, acc) in enumerate(zip(signal, accuracy, strict=True)):
        print(
            f"| seed {number}: minus validation cross-entropy, percentiles 0, 10, 25, 50, 75, 90, 100 | {percentiles(ce)} |"
        )
        print(f"| validation accuracy, the same | {percentiles(acc)} |")
        for name, values in (("minus cross-entropy", ce), ("accuracy", acc)):
            print(f"| cells at the best {name} | {(values == values.max()).sum()} of {values.size:,} |")
    print(f"| Spearman with CIFAR-10, minus cross-entropy, mean of seeds | {spearman(signal.mean(0), cifar10)} |")
    print(f"| the same, accuracy | {spearman(accuracy.mean(0), cifar10)} |")
    counts = params.astype(float)
    print(f"| the same, parameter count alone | {spearman(counts, cifar10)} |")
    for number, ce in enumerate(signal):
        print(f"| minus cross-entropy of seed {number}, less the count's | {ahead(ce, counts, cifar10)} |")
    print(f"| minus cross-entropy, mean of seeds, less the count's | {ahead(signal.mean(0), counts, cifar10)} |")
    print(f"| accuracy, mean of seeds, less the count's | {ahead(accuracy.mean(0), counts, cifar10)} |")
    pairs = list(itertools.combinations(range(len(signal)), 2))
    for a, b in pairs:
        print(f"| Spearman between seeds {a} and {b}, minus cross-entropy | {spearman(signal[a], signal[b])} |")
    if pairs:
        r = np.mean([scipy.stats.spearmanr(signal[a], signal[b]).statistic for a, b in pairs])
        n = len(signal)
        print(
            f"| expected of the means of {n} seeds and of {n} others (Spearman-Brown) | {n * r / (1 + (n - 1) * r):.3f} |"
        )
        best_cells(signal)


def best_cells(signal: np.ndarray) -> None:
    """Prints what the seeds say of the best cells; float[S, N]."""
    order = np.argsort(-signal.mean(0), kind="stable")
    places = (signal > signal[:, order[:1]]).sum(1) + 1
    print(f"| place of the mean's best cell in each seed | {', '.join(map(str, places))} |")
    leading = signal.mean(0)[order]
    print(f"| nats from the mean's best cell to its third | {leading[0] - leading[2]:.4f} |")
    spread = np.sqrt(signal[:, order[:BEST]].var(0, ddof=1).mean())
    print(f"| deviation between trainings of one cell, the mean's {BEST} best, nats | {spread:.3f} |")
    for a, b in itertools.combinations(range(len(signal)), 2):
        for chosen in sorted(set(range(len(signal))) - {a, b}):
            best = np.argsort(-signal[chosen], kind="stable")[:BEST]
            among = f"among the {BEST} best of seed {chosen}"
            print(f"| Spearman between seeds {a} and {b} {among} | {spearman(signal[a, best], signal[b, best])} |")


if __name__ == "__main__":
    main()
