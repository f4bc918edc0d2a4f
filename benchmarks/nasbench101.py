"""What NAS-Bench-101's inner loops cost on one thread of a CPU: the canonical key in four forms, and the space's functions.

    python benchmarks/nasbench101.py [--rounds 9]

Forms of the key: swaps of neighbouring slots in rounds (the space's own), the same 119 swaps in a row, 26 fields moved for
each of 120 orders, and four byte tables for each order. They agree on all 1,293,208 encodings. Prints two Markdown tables:
CPU nanoseconds a cell (median, smallest of the rounds, forms taking turns) and CPU seconds of compiling.
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array
from nasjax.spaces import nasbench101_cells
from nasjax.spaces import nasbench101_words as packed
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.spaces.nasbench101_words import ABSENT, BIT, FIELD, INNER, OUTPUT, PAIRS

NO_KEY = np.uint32(0xFFFFFFFF)
ORDERS = [(0, *order, OUTPUT) for order in itertools.permutations(INNER)]


def in_a_row(word: Array) -> Array:
    """The 119 swaps without a loop."""
    best, turned = word, packed._rounds().turned.ravel()
    for place, pairs in zip(packed._plain_changes(len(INNER)), turned, strict=False):
        word = packed._exchanged(word, packed._moves(place))
        best = jnp.where((word & pairs) == 0, jnp.minimum(best, word), best)
    return best


def fields(word: Array) -> Array:
    """A loop over the orders that moves every field."""
    places, turned = map(jnp.asarray, _orders())
    starts = [(bit, 1) for bit in range(len(PAIRS))] + [(shift, ABSENT) for shift in FIELD.values()]

    def step(number: Array, best: Array) -> Array:
        moved = jnp.zeros_like(word)
        for field, (start, mask) in enumerate(starts):
            moved |= ((word >> start) & mask) << places[number, field]
        return jnp.where((word & turned[number]) == 0, jnp.minimum(best, moved), best)

    return jax.lax.fori_loop(0, len(ORDERS), step, jnp.full_like(word, NO_KEY))


def byte_tables(word: Array) -> Array:
    """Four lookups an order, all orders of a cell at once."""
    tables, (_, turned) = _byte_tables(), _orders()
    moved = jnp.zeros(len(ORDERS), jnp.uint32)
    for byte in range(4):
        moved |= jnp.asarray(tables[byte])[(word >> (8 * byte)) & 255]
    return jnp.where((word & jnp.asarray(turned)) == 0, moved, NO_KEY).min()


def _orders() -> tuple[np.ndarray, np.ndarray]:
    """uint32[120, 26], where each order puts the fields; uint32[120], the edges that it turns around."""
    places, turned = np.zeros((len(ORDERS), 26), np.uint32), np.zeros(len(ORDERS), np.uint32)
    for number, order in enumerate(ORDERS):
        for bit, (i, j) in enumerate(PAIRS):
            low, high = sorted((order[i], order[j]))
            places[number, bit] = BIT[low, high]
            turned[number] |= np.uint32((order[i] > order[j]) << bit)
        places[number, len(PAIRS) :] = [FIELD[order[slot]] for slot in INNER]
    return places, turned


def _byte_tables() -> np.ndarray:
    """uint32[4, 256, 120], what each value of each byte becomes."""
    places, _ = _orders()
    starts = [(bit, 1) for bit in range(len(PAIRS))] + [(shift, ABSENT) for shift in FIELD.values()]
    values = np.arange(256, dtype=np.uint32)[None] << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    tables = np.zeros((4, 256, len(ORDERS)), np.uint32)
    for field, (start, mask) in enumerate(starts):
        tables |= ((values[..., None] >> np.uint32(start)) & np.uint32(mask)) << places[:, field]
    return tables


class Program:
    """A function of one cell, compiled for many."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, chunks: int = 0) -> None:
        self.arguments, self.times = arguments, []
        mapped = jax.vmap(function)
        if chunks:
            mapped = lambda *leaves: jax.lax.map(lambda row: function(*row), leaves, batch_size=chunks)  # noqa: E731
        start = time.process_time()
        self.program = jax.jit(mapped).lower(*arguments).compile()
        self.compile_seconds = time.process_time() - start
        self.result = jax.block_until_ready(self.program(*arguments))

    def run(self) -> None:
        start = time.process_time()
        jax.block_until_ready(self.program(*self.arguments))
        number = jax.tree.leaves(self.arguments)[0].shape[0]
        self.times.append(1e9 * (time.process_time() - start) / number)


def table(programs: dict[tuple[str, int], Program], rounds: int) -> None:
    for _ in range(rounds):
        for program in programs.values():
            program.run()
    print("| what | cells at once | CPU ns a cell, median (smallest) | compile, CPU s |\n|---|---|---|---|")
    for (name, number), program in programs.items():
        median, least = statistics.median(program.times), min(program.times)
        print(f"| {name} | {number:,} | {median:.0f} ({least:.0f}) | {program.compile_seconds:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    everything = np.concatenate([nasbench101_cells.encodings(n) for n in nasbench101_cells.VERTICES])
    forms = {"swaps in rounds": packed.least, "swaps in a row": in_a_row, "fields": fields, "byte tables": byte_tables}
    programs = {}
    for number in (128, 16_384, len(everything)):
        words = jnp.asarray(np.random.default_rng(0).permutation(everything)[:number])
        for name, form in forms.items():
            programs[name, number] = Program(form, words, chunks=4096 if number > 16_384 else 0)
        found = [np.asarray(programs[name, number].result) for name in forms]
        assert all((keys == found[0]).all() for keys in found)
    table(programs, rounds)
    print()

    space, number = NasBench101(), 16_384
    keys = jax.random.split(jax.random.key(0), number)
    archs = jax.jit(jax.vmap(space.sample))(keys)
    functions = {
        "sample, matrix": (space.sample, keys),
        "sample, cells": (NasBench101(prior="cells").sample, keys),
        "sample, er": (NasBench101(prior="er").sample, keys),
        "is_valid": (space.is_valid, archs),
        "canonical_key": (space.canonical_key, archs),
        "mutate": (space.mutate, keys, archs),
        "mutate_bernoulli": (space.mutate_bernoulli, keys, archs),
        "neighbours": (space.neighbours, archs),
        "graphs": (space.graphs, archs),
        "paths": (space.paths, archs),
        "to_rows": (space.to_rows, archs),
        "from_rows": (space.from_rows, jax.jit(jax.vmap(space.to_rows))(archs)),
    }
    table({(name, number): Program(*arguments) for name, arguments in functions.items()}, rounds)


if __name__ == "__main__":
    main()
