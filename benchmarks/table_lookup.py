"""What finding a key's row costs, by buckets and by binary search, on one thread of a CPU.

    python benchmarks/table_lookup.py [--rounds 5]

423,624 keys of 31 bits, as NAS-Bench-101 has them, all asked for ones present. Prints a Markdown table: microseconds a key
(median, smallest, largest of the rounds, forms taking turns; wall clock and CPU), compile time apart.
"""

import argparse
import os
import platform
import statistics
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.tables import lookup

KEYS = 423_624
BATCHES = (1, 128, 8192)


class Asked:
    """A space whose architectures are keys."""

    def canonical_key(self, arch: jax.Array) -> jax.Array:
        return arch


def binary_search(keys: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Row and whether there is one, in keys sorted by their two words."""

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) // 2
        found = keys[middle]
        less = (found[0] < key[0]) | ((found[0] == key[0]) & (found[1] < key[1]))
        return jnp.where(less, middle + 1, low), jnp.where(less, high, middle)

    start = jnp.int32(0), jnp.int32(len(keys))
    row = jnp.minimum(jax.lax.fori_loop(0, len(keys).bit_length(), halve, start)[0], len(keys) - 1)
    return row, (keys[row] == key).all()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    identity = np.unique(rng.integers(0, 1 << 31, 2 * KEYS, dtype=np.uint64))[:KEYS]
    buckets = jax.tree.map(jnp.asarray, lookup.keyed(identity)[0])
    ordered = jnp.asarray(np.stack([np.zeros_like(identity), identity], axis=1).astype(np.uint32))
    forms = {
        "buckets": (buckets, lambda table, key: table.find(Asked(), key)),
        "binary search": (ordered, binary_search),
    }
    print(
        f"{platform.processor() or platform.machine()}, jax {jax.__version__}; buckets of at most {buckets.depth} keys\n"
    )
    print("| keys at once | form | µs a key | CPU µs a key | compile s |")
    print("|---|---|---|---|---|")
    for batch in BATCHES:
        wanted = ordered[rng.integers(0, KEYS, batch)]
        programs, compiled = {}, {}
        for name, (table, find) in forms.items():
            start = time.perf_counter()
            program = jax.jit(jax.vmap(find, (None, 0))).lower(table, wanted).compile()
            compiled[name] = time.perf_counter() - start
            assert bool(program(table, wanted)[1].all())
            programs[name] = program, table
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        repeats = max(1, 20_000 // batch)
        for _ in range(rounds):
            for name, (program, table) in programs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(repeats):
                    jax.block_until_ready(program(table, wanted))
                spent = time.perf_counter() - wall, time.process_time() - cpu
                times[name].append((spent[0] / repeats / batch * 1e6, spent[1] / repeats / batch * 1e6))
        for name, measured in times.items():
            columns = [
                f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
                for values in zip(*measured, strict=True)
            ]
            print(f"| {batch:,} | {name} | {columns[0]} | {columns[1]} | {compiled[name]:.2f} |")


if __name__ == "__main__":
    main()
