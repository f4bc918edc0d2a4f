"""Does the generator learn? GraphPNAS on really trained `digits` children, beside two controls.

    python benchmarks/learning_digits.py [--seeds 10] [--folder runs/learning]

Arms, each 40 exploring and 80 further evaluations a seed: `graphpnas`, the same with shuffled rewards (`shuffled`), and
`random`. Prints, as Markdown: the gain of the mean true reward from the first 40 to the last 80 evaluations with its
interval and exact paired sign-flip test; and the best architectures of `graphpnas` and `random` by reward, each retrained
with three fresh seeds, on held-out test images. Resumable: finished searches and retrainings are read, not repeated.
About 100 CPU-minutes for ten seeds.
"""

import argparse
import importlib
import json
import pathlib

import numpy as np

from nasjax import cli, stats

ARMS = {
    "graphpnas": "graphpnas_nb201_digits",
    "shuffled": "graphpnas_nb201_digits_shuffled",
    "random": "random_nb201_digits",
}
EXPLORED = 40  # evaluations of the exploring phase
RETRAININGS = 3
FRESH = 1_000_000  # seeds of retrainings start here: no search has them


def searched(arm: str, seed: int, folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the history of one finished search; runs or resumes it first where needed."""
    from nasjax.search import run_search

    search = importlib.import_module(f"nasjax.configs.{ARMS[arm]}").config()
    run = folder / f"{arm}-{seed}"
    result = run_search(search, seed, run)
    print(f"{arm} {seed}: {result}", flush=True)
    with np.load(run / "history.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def retrained(spec: str, arm: str, seed: int, folder: pathlib.Path) -> dict[str, float]:
    """Returns mean test cross-entropy and accuracy of an architecture over fresh trainings."""
    import jax

    path = folder / f"retrained-{arm}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    search = importlib.import_module(f"nasjax.configs.{ARMS[arm]}").config()
    arch = search.space.from_spec(spec)
    children = _children(search)
    one = jax.tree.map(lambda leaf: leaf[None], arch)
    runs = [children(jax.random.key(FRESH + 100 * seed + fresh), one) for fresh in range(RETRAININGS)]
    means = {name: float(np.mean([np.asarray(run.metrics[name]) for run in runs])) for name in ("test_ce", "test_acc")}
    path.write_text(json.dumps(means | {"architecture": spec}))
    return means


_CACHE: dict[str, object] = {}


def _children(search):
    """One evaluator for all retrainings: one compiled program."""
    return _CACHE.setdefault("children", search.evaluator.build(search.space))


def line(name: str, differences: np.ndarray, unit: str) -> str:
    interval = stats.mean_interval(differences)
    p = stats.sign_flip_test(differences)
    share = f"{(differences > 0).sum()} of {differences.size}"
    return f"| {name} | {interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}] {unit} | {share} | {p:.5f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/learning"))
    arguments = parser.parse_args()
    cli.prepare_jax()

    arguments.folder.mkdir(parents=True, exist_ok=True)
    histories = {arm: [searched(arm, seed, arguments.folder) for seed in range(arguments.seeds)] for arm in ARMS}
    print("\n| mean reward of the last 80 minus the first 40 | difference [95 %] | seeds above 0 | p |\n|---|---|---|---|")
    for arm, runs in histories.items():
        gains = np.array([run["reward"][EXPLORED:].mean() - run["reward"][:EXPLORED].mean() for run in runs], np.float64)
        print(line(arm, gains, "nats"))

    best = {
        arm: [retrained(str(run["spec"][run["reward"].argmax()]), arm, seed, arguments.folder) for seed, run in enumerate(runs)]
        for arm, runs in histories.items()
        if arm != "shuffled"
    }
    print("\n| best of graphpnas minus best of random, retrained, test images | difference [95 %] | seeds above 0 | p |")
    print("|---|---|---|---|")
    for name, sign, unit in (("test_ce", -1.0, "nats (minus cross-entropy)"), ("test_acc", 1.0, "accuracy")):
        differences = [sign * (g[name] - r[name]) for g, r in zip(best["graphpnas"], best["random"], strict=True)]
        print(line(name, np.array(differences), unit))
    for arm, results in best.items():
        means = {name: np.mean([r[name] for r in results]) for name in ("test_ce", "test_acc")}
        print(f"\n{arm}: test cross-entropy {means['test_ce']:.4f} nats, test accuracy {means['test_acc']:.4f}", end="")
    print()


if __name__ == "__main__":
    main()
