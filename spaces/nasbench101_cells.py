"""All cells of NAS-Bench-101, as packed words (`nasbench101_words`). Host; made once a process, at first use."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.spaces import nasbench101_words as packed
from nasjax.spaces.nasbench101_words import ABSENT, BIT, FIELD, INNER, OUTPUT, Words

VERTICES = range(2, packed.SLOTS + 1)
"""Sizes of cells, input and output included."""


@functools.cache
def patterns(num_vertices: int) -> Words:
    """Returns the graphs of cells in normal form with that many vertices, ascending; all operations are number 0.

    1, 2, 10, 121, 1,545, 4,793 for n = 2..7.
    """
    graphs = _patterns()
    inner = sum((graphs >> FIELD[slot]) & ABSENT != ABSENT for slot in INNER)
    return _constant(graphs[inner + 2 == num_vertices])


@functools.cache
def encodings(num_vertices: int, operations: tuple[int, ...] = (0, 1, 2)) -> Words:
    """Returns all cells in normal form with that many vertices and these operations, isomorphic ones apart."""
    labels = itertools.product(operations, repeat=num_vertices - 2)
    words = [sum(label << FIELD[slot] for slot, label in enumerate(choice, 1)) for choice in labels]
    return _constant((patterns(num_vertices)[:, None] | np.array(words, np.uint32)[None]).ravel())


@functools.cache
def cells(operations: tuple[int, ...] = (0, 1, 2)) -> Words:
    """Returns the canonical keys (lower words) of all cells with these operations, ascending: 423,624 with all three."""
    everything = np.concatenate([encodings(n, operations) for n in VERTICES])
    with jax.ensure_compile_time_eval():
        keys = np.asarray(jax.jit(packed.least)(jnp.asarray(everything)))
    return _constant(np.unique(keys))


@functools.cache
def explorer() -> tuple[Words, Words]:
    """Returns GraphPNAS's explorer without its rejections: tables of patterns of 3..7 vertices, each as often as it weighs.

    Edges of probability 1/4 give a pattern of e edges the weight 3^-e among the valid ones of its size.

    Returns:
      the tables joined, n ascending, and uint32[6], where each begins and the last ends.
    """
    tables = []
    for num_vertices in VERTICES[1:]:
        graphs = patterns(num_vertices)
        edges = packed.num_edges(graphs)
        tables.append(np.repeat(graphs, 3 ** (edges.max() - edges)))
    starts = np.cumsum([0, *map(len, tables)]).astype(np.uint32)
    return _constant(np.concatenate(tables)), _constant(starts)


def from_published(cell: Words, num_vertices: np.ndarray) -> Words:
    """Returns words of the published packing, whose output is vertex n - 1: uint32[...] and n, int[...].

    The published file's edge (i, n - 1) is (i, 6) here.
    """
    cell, last = np.asarray(cell, np.uint32), np.asarray(num_vertices) - 1
    words = cell & np.uint32(packed.NO_OPERATIONS)
    for (i, j), bit in BIT.items():
        to_output = np.uint32(1 << BIT[i, OUTPUT])
        words |= ((cell >> bit) & 1) * np.where(last == j, to_output, np.uint32(1 << bit))
    return words


@functools.cache
def _patterns() -> Words:
    """All 6,471: those of the 2^21 words that are their own pruned and compacted form, with at most nine edges."""
    graphs = np.arange(packed.EDGES + 1, dtype=np.uint32)
    edges = packed.num_edges(graphs)
    graphs = graphs[(edges > 0) & (edges <= packed.MOST_EDGES)]
    left = packed.pruned(graphs)
    left = left[left & packed.EDGES == graphs]
    normal: Words = left[packed.compacted(left) == left]
    return normal


def _constant(words: Words) -> Words:
    words.flags.writeable = False  # callers share it
    return words
