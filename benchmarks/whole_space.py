"""What a search can hope for that trusts its signal: the architecture with the best signal of a whole table.

    python benchmarks/whole_space.py CONFIG [--seeds 500] [--best 150]

CONFIG: a sweep's, by name or path; its seeds' noise is drawn as in its searches. Prints, as Markdown, a line for each task and
signal: the test value of the architecture with the best signal of all (mean over seeds, standard deviation between them;
equal signals count alike), the same had exactly the `--best` architectures of highest test value been asked, and the
highest test value of the table.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import config_files
from nasjax.base import evaluation_key
from nasjax.scan import RUN
from nasjax.sweep import Sweep
from nasjax.tables import TableEvaluator
from nasjax.tables.lookup import Keyed


def keys_of(evaluator: TableEvaluator) -> tuple[jax.Array, jax.Array]:
    """Returns the canonical keys of all rows, uint32[A, 2], and int32[A], their rows."""
    if isinstance(evaluator.lookup, Keyed):
        return evaluator.lookup.keys, jnp.arange(evaluator.lookup.keys.shape[0])
    archs = evaluator.space.all()
    rows, found = jax.vmap(lambda arch: evaluator.lookup.find(evaluator.space, arch))(archs)
    there = np.flatnonzero(np.asarray(found))
    return jax.vmap(evaluator.space.canonical_key)(archs)[there], rows[there]


def taken(evaluator: TableEvaluator, num_seeds: int, best: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns float[S] each: the test value of the best signal of all, and of the best of `best`."""
    keys, rows = keys_of(evaluator)
    value, test = evaluator.signal[rows], evaluator.test[rows]
    highest = jnp.zeros(test.size, bool).at[jnp.argsort(-test)[:best]].set(True)

    @jax.jit
    def search(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        run_key = jax.random.fold_in(jax.random.key(seed), RUN)
        seen = jax.vmap(lambda key, row, v: evaluator.noise.seen(evaluation_key(run_key, key), row, v))(
            keys, rows, value
        )

        def incumbent(among: jax.Array) -> jax.Array:
            first = among & (seen == jnp.where(among, seen, -jnp.inf).max())
            return jnp.where(first, test, 0).sum() / first.sum()

        return incumbent(jnp.ones_like(highest)), incumbent(highest)

    found = [search(jnp.uint32(seed)) for seed in range(num_seeds)]
    whole, few = np.asarray(found, np.float64).T
    return whole, few


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--best", type=int, default=150)
    options = parser.parse_args()
    if min(options.seeds, options.best) < 1:
        parser.error("--seeds and --best: at least 1")
    try:
        sweep = config_files.load(options.config, "sweep").value
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"{error}") from error
    assert isinstance(sweep, Sweep)
    print(
        f"| task, signal | best signal of all | of the {options.best} best | best test value |\n| --- | ---: | ---: | ---: |"
    )
    for task in sweep.tasks:
        evaluator = task.build(sweep.space)
        name = ", ".join(evaluator.named) + (" (modelled table)" if evaluator.source["modelled"] else "")
        cells = [f"{one.mean():.3f} ± {one.std(ddof=1):.3f}" for one in taken(evaluator, options.seeds, options.best)]
        print(f"| {name} | {cells[0]} | {cells[1]} | {np.nanmax(np.asarray(evaluator.test)):.3f} |", flush=True)


if __name__ == "__main__":
    main()
