"""Does the generator learn? GraphPNAS on really trained `digits` children, beside two controls.

    python benchmarks/learning_digits.py [--seeds 10] [--folder runs/learning]

Arms, each 40 exploring and 80 further evaluations a seed: `graphpnas`, the same with shuffled rewards (`shuffled`), and
`random`. Prints, as Markdown: the gain of the mean true reward from the first 40 to the last 80 evaluations with its
interval and exact paired sign-flip test; and the best architectures of `graphpnas` and `random` by reward, each retrained
with three fresh seeds, on held-out test images. Resumable: finished searches are read, not repeated. About 70
CPU-minutes for ten seeds. The seeds are 0, 1, 2, …: fixed before anything was run.
"""

import argparse
import importlib
import json
import pathlib
from typing import Any

import numpy as np

from nasjax import cli, stats

ARMS = {
    "graphpnas": "graphpnas_nb201_digits",
    "shuffled": "graphpnas_nb201_digits_shuffled",
    "random": "random_nb201_digits",
}
COMPARED = ("graphpnas", "random")
EXPLORED = 40  # evaluations of the exploring phase
RETRAININGS = 3
FRESH = 1_000_000  # seeds of retrainings start here: no search has them
SCORES = ("val_ce", "val_acc", "test_ce", "test_acc")


def config(arm: str) -> Any:
    return importlib.import_module(f"nasjax.configs.{ARMS[arm]}").config()


def searched(arm: str, seed: int, folder: pathlib.Path) -> Any:
    """Returns the record of one finished search; runs or resumes it first where needed."""
    from nasjax.search import run_search

    result = run_search(config(arm), seed, folder / f"{arm}-{seed}")
    print(f"{arm} {seed}: {result.begun}, {result.evaluations} evaluations, best {result.best_reward:.4f}", flush=True)
    return result.record


def retrained(specs: list[str], seeds: list[int]) -> list[dict[str, float]]:
    """Returns each architecture's mean scores over its fresh trainings; architecture and seed make the key."""
    import jax
    import jax.numpy as jnp

    from nasjax.base import evaluation_key

    search = config("random")
    children = search.evaluator.build(search.space)
    archs = [search.space.from_spec(spec) for spec in specs for _ in range(RETRAININGS)]
    runs = [FRESH + RETRAININGS * seed + fresh for seed in seeds for fresh in range(RETRAININGS)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *archs)
    keys = [evaluation_key(jax.random.key(r), search.space.canonical_key(a)) for r, a in zip(runs, archs, strict=True)]
    children.population.chunk = search.method.batch  # the width of the searches, hence their program
    scores = children.evaluate(together, jnp.stack(keys)).metrics
    each = {name: np.asarray(scores[name], np.float64).reshape(-1, RETRAININGS) for name in SCORES}
    figures = {name: values.mean(1) for name, values in each.items()} | {"val_ce_sd": each["val_ce"].std(1, ddof=1)}
    return [{name: float(values[row]) for name, values in figures.items()} for row in range(len(specs))]


def gains(records: list[Any], column: str) -> np.ndarray:
    """float64[seeds], mean of the last 80 less mean of the first 40."""
    columns = [(r.reward if column == "reward" else r.metrics[column]).astype(np.float64) for r in records]
    return np.array([values[EXPLORED:].mean() - values[:EXPLORED].mean() for values in columns])


def line(name: str, differences: np.ndarray, unit: str, digits: int = 4) -> str:
    interval = stats.mean_interval(differences)
    p = stats.sign_flip_test(differences)
    share = f"{(differences > 0).sum()} of {differences.size}"
    figures = f"{interval.mean:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}] {unit}"
    return f"| {name} | {figures} | {share} | {p:.5f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/learning"))
    arguments = parser.parse_args()
    cli.prepare_jax()

    arguments.folder.mkdir(parents=True, exist_ok=True)
    seeds = list(range(arguments.seeds))
    records: dict[str, list[Any]] = {arm: [] for arm in ARMS}
    for seed in seeds:
        for arm in ARMS:
            records[arm].append(searched(arm, seed, arguments.folder))

    print("\n| last 80 minus first 40 evaluations | difference of means [95 %] | seeds above 0 | p, sign-flip |")
    print("|---|---|---|---|")
    for arm, found in records.items():
        print(line(f"{arm}: reward", gains(found, "reward"), "nats"))
        print(line(f"{arm}: validation accuracy", 100 * gains(found, "val_acc"), "points", 2))

    specs = [r.specs[r.best] for arm in COMPARED for r in records[arm]]
    results = retrained(specs, [seed for _ in COMPARED for seed in seeds])
    best = dict(zip(COMPARED, (results[: len(seeds)], results[len(seeds) :]), strict=True))
    (arguments.folder / "retrained.json").write_text(json.dumps(best, indent=1))
    print("\n| best of graphpnas minus best of random, retrained | difference [95 %] | seeds above 0 | p, sign-flip |")
    print("|---|---|---|---|")
    for name, factor, unit, digits in (("test_ce", -1, "nats", 4), ("test_acc", 100, "points", 2)):
        pairs = zip(*(best[arm] for arm in COMPARED), strict=True)
        differences = np.array([factor * (ours[name] - other[name]) for ours, other in pairs])
        title = "minus test cross-entropy" if name == "test_ce" else "test accuracy"
        print(line(title, differences, unit, digits))
    print()
    for arm in COMPARED:
        means = {name: np.mean([r[name] for r in best[arm]]) for name in SCORES}
        print(f"{arm}: test cross-entropy {means['test_ce']:.4f} nats, test accuracy {100 * means['test_acc']:.2f} %")
    every = [result for arm in COMPARED for result in best[arm]]
    own = np.sqrt(np.mean([result["val_ce_sd"] ** 2 for result in every]))
    found = np.array([r.reward[r.best] for arm in COMPARED for r in records[arm]], np.float64)
    lost = (found + [result["val_ce"] for result in every]).mean()
    print(f"A training's own deviation {own:.3f} nats; the bests lost {lost:.3f} nats of reward when trained again")


if __name__ == "__main__":
    main()
