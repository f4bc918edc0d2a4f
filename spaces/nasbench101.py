"""NAS-Bench-101: cells of at most seven vertices with an operation on each inner one and nine edges; 423,624 networks.

Source: Ying et al., "NAS-Bench-101: Towards Reproducible Neural Architecture Search" (arXiv:1902.09635).
Ours: an architecture is a genotype of seven slots, of which some may be absent or dead. Rules, keys and strings look at
what is left after pruning, as the published code does. Inside, a cell is a packed word (`nasbench101_words`).
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Alphabet, Array, Graph, Key, Rows
from nasjax.spaces import nasbench101_cells, nasbench101_specs, operations
from nasjax.spaces import nasbench101_edits as edits
from nasjax.spaces import nasbench101_words as packed
from nasjax.spaces.nasbench101_words import ABSENT, BIT, FIELD, INNER, OUTPUT, PAIRS, SLOTS

OPERATIONS = nasbench101_specs.OPERATIONS
"""Operations in the order of labels 2, 3, 4 and of the published table."""

Prior: TypeAlias = Literal["matrix", "cells", "er"]

NUM_CELLS = 423_624
"""Different networks of the full space."""

MATRIX_DRAWS = 32
"""Draws of which the first valid one is taken; .7334 are valid, so that none is with probability 4e-19."""

BERNOULLI_DRAWS = 64
"""Draws of a Bernoulli mutation, made in blocks of 8: hardly ever more than two are needed."""

_BLOCK = 8

_GENERATED = (2, 1, 3)
"""GraphPNAS's label of each operation: it has conv1x1 first. 0 is the input, 4 the output."""

_STOP = 4
_FIELDS = np.array([FIELD[slot] for slot in INNER], np.uint32)
_INTO = np.array([[BIT.get((j, i), 0) for j in range(SLOTS)] for i in range(SLOTS)], np.uint32)
"""[i, j]: the bit of the edge j -> i."""

_NONE = np.uint32(0x7FFFFFFF)


@dataclasses.dataclass(frozen=True)
class NasBench101:
    """The space, or its part with the operations `op_names`. Generable and Factored.

    Nodes: label 1 in slot 0; 2, 3, 4 for the operations or 0 = absent in slots 1..5; 5 in slot 6. Edges: 0 or 1, none at
    absent slots. The normal form is pruned, with its absent slots behind the others.

    Attributes:
      op_names: the operations that the space allows; their order is that of decisions.
      prior: "matrix": each of the 21 edges with probability 1/2 and five operations, until valid, unpruned; it favours
        small cells. "cells": uniform over the different networks. "er": GraphPNAS's explorer, 3 to 7 vertices equally
        often, each edge with probability 1/4 until the cell is its own pruning. The last two give normal forms.
    """

    op_names: tuple[str, ...] = OPERATIONS
    prior: Prior = "matrix"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: no operation, a repeated or unknown one, or an unknown prior.
        """
        operations.check(self.name, self.op_names, OPERATIONS)
        if self.prior not in ("matrix", "cells", "er"):
            raise ValueError(f"{self.name}: unknown prior {self.prior!r}; one of matrix, cells, er")

    @property
    def name(self) -> str:
        """`nasbench101`."""
        return "nasbench101"

    @property
    def num_cells(self) -> int:
        """Number of different networks: 423,624 with all operations; those of a subset are counted at first use."""
        if len(self.op_names) == len(OPERATIONS):
            return NUM_CELLS
        return len(nasbench101_cells.cells(tuple(sorted(self._numbers()))))

    # Space

    def sample(self, key: Key) -> Graph:
        """Returns a draw from `prior`; what is uniform over n is a random word modulo n, off by n / 2^32 (1e-4 or less)."""
        if self.prior == "matrix":
            words = jax.random.bits(key, (MATRIX_DRAWS + 1,), jnp.uint32)
            return packed.to_graph(
                _first_connected(words[1:] & packed.EDGES) | edits.random_operations(words[0], self._numbers())
            )
        words = jax.random.bits(key, (3,), jnp.uint32)
        if self.prior == "cells":
            cells = jnp.asarray(nasbench101_cells.cells(tuple(sorted(self._numbers()))))
            return packed.to_graph(packed.compacted(cells[words[0] % cells.size]))
        table, starts = map(jnp.asarray, nasbench101_cells.explorer())
        size = words[0] % (starts.size - 1)
        pattern = table[starts[size] + words[1] % (starts[size + 1] - starts[size])]
        return packed.to_graph(pattern | edits.random_operations(words[2], self._numbers()))

    def is_valid(self, arch: Graph) -> Array:
        """Returns bool[]: after pruning, input and output are connected and at most nine edges are left.

        And of the whole genotype: labels in range and in the subset, edges upward, none at absent slots.
        """
        word = packed.from_graph(arch)
        return packed.well_formed(arch) & edits.is_cell(word, self._numbers())

    def canonical_key(self, arch: Graph) -> Array:
        """Returns uint32[2] = [0, least word of the pruned cell over all orders of its slots]; exact."""
        return jnp.stack([jnp.uint32(0), packed.least(packed.pruned(packed.from_graph(arch)))])

    def mutate(self, key: Key, arch: Graph) -> Graph:
        """Returns one of the valid `neighbours`, uniformly."""
        return packed.to_graph(self._mutated(key, packed.from_graph(arch)))

    def mutate_bernoulli(self, key: Key, arch: Graph) -> Graph:
        """Returns the usual mutant: every edge flips with probability 1/7, every operation changes with 1/5.

        On the genotype with all slots present: absent ones first get the first operation and no edges. Redrawn until
        the result is valid and differs from that; where `BERNOULLI_DRAWS` are not, `mutate`.
        """
        word = packed.from_graph(arch)
        start = edits.filled(word, self._numbers())

        def draw(state: tuple[Array, Array, Key, Array]) -> tuple[Array, Array, Key, Array]:
            tried, _, key, _ = state
            next_key, draw_key = jax.random.split(key)
            drawn = jax.random.bits(draw_key, (edits.RANDOM_WORDS * _BLOCK,), jnp.uint32)
            others = edits.with_noise(start, drawn.reshape(-1, _BLOCK), self._numbers())
            good = packed.is_cell(others) & (others != start)
            return tried + _BLOCK, good.any(), next_key, others[jnp.argmax(good)]

        def edit(state: tuple[Array, Array, Key, Array]) -> tuple[Array, Array, Key, Array]:
            tried, _, key, _ = state
            return tried, jnp.bool_(True), key, self._mutated(key, word)

        state = (jnp.int32(0), jnp.bool_(False), key, start)
        state = jax.lax.while_loop(lambda state: ~state[1] & (state[0] < BERNOULLI_DRAWS), draw, state)
        # A loop of at most one round: under vmap the edit is made only where some row needs it.
        return packed.to_graph(jax.lax.while_loop(lambda state: ~state[1], edit, state)[3])

    def neighbours(self, arch: Graph) -> tuple[Graph, Array]:
        """Returns all one-edit neighbours and which are valid, M = 21 + 5 (K - 1) + 5 + 5 K = 51 for K = 3 operations.

        In this order: the 21 edges flipped; the operation of slot 1, 2, … replaced by the K - 1 others in the order of
        decisions; slot 1, 2, … removed with its edges; the first absent slot v added with edges u -> v and v -> 6, for
        u = 0, 1, … each operation. Edits that cannot be made, as a change of an absent slot, are not valid.
        """
        words = edits.neighbours(packed.from_graph(arch), self._numbers())
        return jax.vmap(packed.to_graph)(words), edits.is_cell(words, self._numbers())

    def graphs(self, arch: Graph) -> Graph:
        """Returns Graph[1, 7], pruned; slots keep their places, and the two ends stay."""
        live = packed.to_graph(packed.pruned(packed.from_graph(arch)))
        return Graph(live.nodes[None], live.edges[None])

    def normal_form(self, arch: Graph) -> Graph:
        """Returns the pruned cell with its operations in slots 1..n-2, in their order."""
        return packed.to_graph(packed.compacted(packed.pruned(packed.from_graph(arch))))

    def to_spec(self, arch: Graph) -> str:
        """Returns the normal form, `111:conv1x1-bn-relu`: edges row by row over n vertices, n - 2 operations. Host.

        Raises:
          ValueError: the architecture is no cell.
        """
        return nasbench101_specs.write(nasbench101_specs.normal_word(arch))

    def from_spec(self, spec: str) -> Graph:
        """Reads such a string, which may be unpruned, into the normal form. Host.

        Raises:
          ValueError: naming the 0-based character position, what stood there and what is allowed.
        """
        nodes, edges = packed.unpacked(np.array(nasbench101_specs.read(spec, self.op_names), np.uint32))
        return Graph(jnp.asarray(nodes), jnp.asarray(edges))

    def from_specs(self, specs: Sequence[str]) -> Graph:
        """Reads many strings, a hundred times faster than one by one; returns Graph[n] in NumPy. Host.

        Raises:
          reading.RowError: as `from_spec`, and which of them.
        """
        return Graph(*packed.unpacked(nasbench101_specs.read_many(specs, self.op_names)))  # type: ignore[arg-type]

    # Factored

    @property
    def choices(self) -> tuple[int, ...]:
        """The 21 edges (0,1), (0,2), …, (5,6), then the operations of slots 1..5."""
        return (2,) * len(PAIRS) + (len(self.op_names),) * len(INNER)

    @property
    def none_choices(self) -> tuple[int, ...]:
        """An edge's 0; operations have no such value."""
        return (0,) * len(PAIRS) + (-1,) * len(INNER)

    def decisions(self, arch: Graph) -> Array:
        """Returns int32[26]; an absent slot counts as the first operation, without edges."""
        word = packed.from_graph(arch)
        edges = (word >> np.arange(len(PAIRS), dtype=np.uint32)) & 1
        return jnp.concatenate([edges, jnp.stack(edits.places(word, self._numbers()))]).astype(jnp.int32)

    def from_decisions(self, decisions: Array) -> Graph:
        """Returns the genotype of int32[26], all slots present."""
        edges = (decisions[: len(PAIRS)] << np.arange(len(PAIRS), dtype=np.int32)).sum(dtype=jnp.int32)
        operations = edits.with_places(list(decisions[len(PAIRS) :].astype(jnp.uint32)), self._numbers())
        return packed.to_graph(edges.astype(jnp.uint32) | operations)

    # PathEncoded

    @property
    def num_paths(self) -> int:
        """Number of sequences of up to five operations, 364 for three operations."""
        return sum(len(self.op_names) ** length for length in range(len(INNER) + 1))

    def paths(self, arch: Graph) -> Array:
        """Returns float32[num_paths]: 1 for every sequence of operations on a path from input to output.

        By length, the empty one first; then as a number in base K, the first operation most significant.
        """
        word = packed.from_graph(arch)
        places = jnp.stack(edits.places(word, self._numbers()))
        features = []
        for length in range(len(INNER) + 1):
            routes = np.array([_route(slots) for slots in itertools.combinations(INNER, length)], np.uint32)
            there = (word & routes) == routes
            through = np.zeros((len(routes), len(INNER)), np.uint32)
            for row, slots in enumerate(itertools.combinations(INNER, length)):
                through[row, np.array(slots, int) - 1] = len(self.op_names) ** np.arange(length)[::-1]
            sequence = (places[None] * through).sum(axis=1, dtype=jnp.uint32)
            numbers = np.arange(len(self.op_names) ** length, dtype=np.uint32)
            features.append((there[:, None] & (sequence[:, None] == numbers[None])).any(axis=0))
        return jnp.concatenate(features).astype(jnp.float32)

    # Generable

    @property
    def alphabet(self) -> Alphabet:
        """GraphPNAS's: 0 input, 1 conv1x1, 2 conv3x3, 3 maxpool, 4 output, which ends a cell; edges plain."""
        masked = tuple(sorted(_GENERATED[o] for o in range(len(OPERATIONS)) if o not in self._numbers()))
        names = ("", *(OPERATIONS[_GENERATED.index(label)] for label in sorted(_GENERATED)), "")
        return Alphabet(
            SLOTS,
            node_labels=_STOP + 1,
            first_labelled=1,
            stop_label=_STOP,
            masked_nodes=masked,
            described=operations.described(names),
        )

    def to_rows(self, arch: Graph) -> Rows:
        """Returns the rows of the normal form: its n vertices, the output at n - 1."""
        word = packed.compacted(packed.pruned(packed.from_graph(arch)))
        absent = jax.lax.population_count(packed.having(word, ABSENT)).astype(jnp.int32)
        last = OUTPUT - absent
        row = jnp.arange(SLOTS, dtype=jnp.int32)
        labels = jnp.pad(edits.looked_up((*_GENERATED, 0), (word >> _FIELDS) & ABSENT).astype(jnp.int32), 1)
        bits = jnp.where((row == last)[:, None], _INTO[None, OUTPUT], _INTO)
        exists = (row <= last)[:, None] & (row[None, :] < row[:, None])
        edges = jnp.where(exists, ((word >> bits) & 1).astype(jnp.int32), 0)
        return Rows(edges, jnp.where(row == last, _STOP, labels), last + 1)

    def from_rows(self, rows: Rows) -> Graph:
        """Returns the cell in normal form; invalid (without nodes) unless the rows are a cell and its own pruning."""
        last = rows.size.astype(jnp.int32) - 1
        row = jnp.arange(SLOTS, dtype=jnp.int32)
        labels = rows.nodes.astype(jnp.int32)
        inner = (row > 0) & (row < last)
        into = jnp.tril(rows.edges, -1) > 0
        to_output = (into & (row == last)[:, None]).any(axis=0)
        edges = jnp.where((row == OUTPUT)[:, None], to_output[None], into & inner[:, None]).T
        slots = jnp.asarray(np.array([0, *np.argsort(_GENERATED) + packed.FIRST_LABEL, 0], np.int32))[labels]
        ends = jnp.where(row == 0, packed.INPUT_LABEL, jnp.where(row == OUTPUT, packed.OUTPUT_LABEL, 0))
        cell = Graph(jnp.where(inner, slots, ends), edges.astype(jnp.int32))
        word = packed.from_graph(cell)
        known = (~inner | ((labels > 0) & (labels < _STOP))).all() & ((row != last) | (labels == _STOP)).all()
        whole = (last > 0) & (last < SLOTS) & known & packed.is_cell(word) & (packed.pruned(word) == word)
        return Graph(jnp.where(whole, cell.nodes, 0), cell.edges)

    def _mutated(self, key: Key, word: Array) -> Array:
        """uint32[], one of the valid neighbours."""
        words = edits.neighbours(word, self._numbers())
        drawn = jax.random.bits(key, (1,), jnp.uint32)[0]  # for shape () it takes five times as long
        return edits.one_of(drawn, words, edits.is_cell(words, self._numbers()))

    def _numbers(self) -> tuple[int, ...]:
        """The operation that each decision stands for, in words: its label less 2."""
        return tuple(OPERATIONS.index(name) for name in self.op_names)


def _route(slots: tuple[int, ...]) -> int:
    """The edges of the path from input to output through these slots."""
    return sum(1 << BIT[pair] for pair in itertools.pairwise((0, *slots, OUTPUT)))


def _first_connected(words: Array) -> Array:
    """uint32[], the first of words [n] whose edges are a valid cell; a single edge where none are."""
    numbered = words | (jnp.arange(words.size, dtype=jnp.uint32) << len(PAIRS))  # over the operations
    least = jnp.where(packed.is_cell(words), numbered, _NONE).min()
    return jnp.where(least == _NONE, np.uint32(1 << BIT[0, OUTPUT]), least & packed.EDGES)
