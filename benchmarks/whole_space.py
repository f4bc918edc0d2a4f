"""What it would be worth to ask everything: the test value of the best signal of a whole table.

    python benchmarks/whole_space.py CONFIG [--seeds 500] [--best 150]

CONFIG: a sweep's of tables, by name or path; the noise on its signals is drawn as in its searches. Prints, as Markdown, a
line for each task and signal: the test value of the best signal of all (mean over seeds, and their standard deviation; equal
signals count alike); of the best signal among the `--best` of highest test value; and the highest test value. Where a table
has figures for each spelling of a network, as NAS-Bench-201's has, spellings count apart.
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


def rows_of(evaluator: TableEvaluator) -> tuple[jax.Array, jax.Array]:
    """Returns int32[A], the rows that searches can reach, and uint32[A, 2], the canonical keys of what stands there."""
    if isinstance(evaluator.lookup, Keyed):
        return jnp.arange(evaluator.lookup.keys.shape[0]), evaluator.lookup.keys
    archs = evaluator.space.all()
    rows, found = jax.vmap(lambda arch: evaluator.lookup.find(evaluator.space, arch))(archs)
    there = np.flatnonzero(np.asarray(found))
    rows, keys = np.asarray(rows)[there], np.asarray(jax.vmap(evaluator.space.canonical_key)(archs))[there]
    # A table that has one spelling of a network gives its figures to the others: they are one row of the table.
    figures = np.stack([np.asarray(column)[rows].view(np.uint32) for column in (evaluator.signal, evaluator.test)], 1)
    _, first = np.unique(np.concatenate([keys, figures], 1), axis=0, return_index=True)
    first.sort()
    return jnp.asarray(rows[first]), jnp.asarray(keys[first])


def worth(evaluator: TableEvaluator, num_seeds: int, best: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns float[S] each, test values of the best signal among all and among the `best`; and the highest test value."""
    rows, keys = rows_of(evaluator)
    value, test = evaluator.signal[rows], evaluator.test[rows]
    everything = jnp.isfinite(value) & jnp.isfinite(test)
    few = jnp.zeros(test.size, bool).at[jnp.argsort(-jnp.where(everything, test, -jnp.inf))[:best]].set(True)

    @jax.jit
    def search(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        run_key = jax.random.fold_in(jax.random.key(seed), RUN)
        seen = jax.vmap(lambda key, row, v: evaluator.noise.seen(evaluation_key(run_key, key), row, v))(
            keys, rows, value
        )

        def incumbent(among: jax.Array) -> jax.Array:
            winners = among & (seen == jnp.where(among, seen, -jnp.inf).max())
            return jnp.where(winners, test, 0).sum() / winners.sum(dtype=test.dtype)

        return incumbent(everything), incumbent(everything & few)

    of_all, of_few = np.asarray([search(jnp.uint32(seed)) for seed in range(num_seeds)], np.float64).T
    return of_all, of_few, float(jnp.where(everything, test, -jnp.inf).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--best", type=int, default=150)
    options = parser.parse_args()
    if options.seeds < 2 or options.best < 1:
        parser.error("--seeds: at least 2; --best: at least 1")
    lines = []
    try:
        sweep = config_files.load(options.config, "sweep").value
        assert isinstance(sweep, Sweep)
        for task in sweep.tasks:
            evaluator = task.build(sweep.space)
            if not isinstance(evaluator, TableEvaluator):
                raise ValueError(f"{options.config}: {type(task).__name__} is no table")
            if not np.isfinite(evaluator.best(sweep.space)["test"]):
                raise ValueError(f"{options.config}: {', '.join(evaluator.named)} has no test values")
            name = ", ".join(evaluator.named) + (", modelled table" if evaluator.source["modelled"] else "")
            *drawn, highest = worth(evaluator, options.seeds, options.best)
            cells = [f"{one.mean():.3f} ({one.std(ddof=1):.3f})" for one in drawn]
            lines.append(f"| {name} | {' | '.join(cells)} | {highest:.3f} |")
    except (ValueError, OSError) as error:
        raise SystemExit(f"{error}") from error
    print(f"| task, signal | best signal of all (sd) | of the best {options.best} (sd) | highest test value |")
    print("| --- | ---: | ---: | ---: |", *lines, sep="\n")


if __name__ == "__main__":
    main()
