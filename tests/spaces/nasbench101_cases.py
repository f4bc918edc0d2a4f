"""Cells of NAS-Bench-101 for its tests: drawn, written by hand, and unpacked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Graph
from nasjax.spaces import nasbench101_words
from nasjax.spaces.nasbench101 import OPERATIONS, NasBench101
from nasjax.spaces.nasbench101_words import ABSENT, FIELD

SPACE = NasBench101()
CONV3, CONV1, POOL = OPERATIONS
SUBSET = NasBench101((POOL, CONV3))
ROW_0 = f"100110100001001010101:{CONV3},{POOL},{CONV3},{CONV3},{CONV1}"

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def compiled(function):
    return quick(jax.vmap(function))


def draws(space, number, seed=0):
    return compiled(space.sample)(jax.random.split(jax.random.key(seed), number))


def rows(archs):
    """The architectures of a batch, in NumPy."""
    archs = jax.tree.map(np.asarray, archs)
    return [Graph(nodes, edges) for nodes, edges in zip(*archs, strict=True)]


def words_of(archs):
    return np.asarray(compiled(nasbench101_words.from_graph)(archs))


def labels_of(words):
    """int[n, 5], operation of each inner slot."""
    return (np.asarray(words)[:, None] >> np.array(list(FIELD.values()), np.uint32)) & ABSENT


def cell(edges, *operations):
    """The architecture with the operations in slots 1, 2, … and edges like "0-1 1-6"."""
    nodes, matrix = np.zeros(7, np.int32), np.zeros((7, 7), np.int32)
    nodes[0], nodes[6] = 1, 5
    nodes[1 : 1 + len(operations)] = [OPERATIONS.index(name) + 2 for name in operations]
    for pair in edges.split():
        matrix[tuple(map(int, pair.split("-")))] = 1
    return Graph(jnp.asarray(nodes), jnp.asarray(matrix))


def unpacked(word):
    return Graph(*nasbench101_words.unpacked(np.asarray(word, np.uint32)))


def batch(*archs):
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *archs)


def genotypes(number, seed=0):
    """Random arrays with absent and dead slots, some of them no cells."""
    random = np.random.default_rng(seed)
    nodes = random.choice([0, 2, 3, 4], (number, 7))
    nodes[:, 0], nodes[:, 6] = 1, 5
    density = random.choice([0.3, 0.6], (number, 1, 1))
    edges = np.triu(random.random((number, 7, 7)) < density, 1)
    edges &= (nodes > 0)[:, :, None] & (nodes > 0)[:, None]
    return Graph(jnp.asarray(nodes, jnp.int32), jnp.asarray(edges, jnp.int32))
