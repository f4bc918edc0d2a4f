"""NAS-Bench-101: cells of at most seven vertices with an operation on each inner one and nine edges; 423,624 networks.

Source: Ying et al., "NAS-Bench-101: Towards Reproducible Neural Architecture Search" (arXiv:1902.09635).
Ours: an architecture is a genotype of seven slots, of which some may be absent or dead. Rules, keys and strings look at
what is left after pruning, as the published code does. Inside, a cell is a packed word (`nasbench101_words`).
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Alphabet, Array, Graph, Key, Rows
from nasjax.spaces import nasbench101_cells, nasbench101_specs, operations
from nasjax.spaces import nasbench101_words as packed
from nasjax.spaces.nasbench101_words import ABSENT, AT, BIT, FIELD, INNER, OUTPUT, PAIRS, SLOTS

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
_WORDS = 5  # random words of a draw

_NO_CELL = packed.EDGES | packed.NO_OPERATIONS
"""The word of edits that cannot be made: edges at absent slots."""

_GENERATED = (2, 1, 3)
"""GraphPNAS's label of each operation: it has conv1x1 first. 0 is the input, 4 the output."""

_STOP = 4


_FIELDS = np.array([FIELD[slot] for slot in INNER], np.uint32)
_AT = np.array([AT[slot] for slot in INNER], np.uint32)
_JOINS = np.array(
    [[1 << BIT[u, v] | 1 << BIT[v, OUTPUT] if u < v else 0 for v in INNER] for u in range(OUTPUT - 1)], np.uint32
)
"""[u, v]: the edges u -> v and v -> output of a new slot v; nothing where u does not stand before v."""

_INTO = np.array([[BIT.get((j, i), 0) for j in range(SLOTS)] for i in range(SLOTS)], np.uint32)
"""[i, j]: the bit of the edge j -> i."""

_EDIT = np.arange(64, dtype=np.uint32)
_BELOW = np.array([[(1 << edit) - 1 & 0xFFFFFFFF, (1 << edit) - 1 >> 32] for edit in range(64)], np.uint32).T
"""[0, m] and [1, m]: edits before m as the bits of two words."""

_NONE = 0x7FFFFFFF


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
            return packed.to_graph(_first_connected(words[1:] & packed.EDGES) | self._random_operations(words[0]))
        words = jax.random.bits(key, (3,), jnp.uint32)
        if self.prior == "cells":
            cells = jnp.asarray(nasbench101_cells.cells(tuple(sorted(self._numbers()))))
            return packed.to_graph(packed.compacted(cells[words[0] % cells.size]))
        table, starts = map(jnp.asarray, nasbench101_cells.explorer())
        size = words[0] % (starts.size - 1)
        pattern = table[starts[size] + words[1] % (starts[size + 1] - starts[size])]
        return packed.to_graph(pattern | self._random_operations(words[2]))

    def is_valid(self, arch: Graph) -> Array:
        """Returns bool[]: after pruning, input and output are connected and at most nine edges are left.

        And of the whole genotype: labels in range and in the subset, edges upward, none at absent slots.
        """
        word = packed.from_graph(arch)
        return packed.well_formed(arch) & self._is_cell(word)

    def canonical_key(self, arch: Graph) -> Array:
        """Returns uint32[2] = [0, least word of the pruned cell over all orders of its slots]; exact."""
        return jnp.stack([jnp.uint32(0), packed.least(packed.pruned(packed.from_graph(arch)))])

    def mutate(self, key: Key, arch: Graph) -> Graph:
        """Returns one of the valid `neighbours`, uniformly."""
        return packed.to_graph(self._edited(key, packed.from_graph(arch)))

    def mutate_bernoulli(self, key: Key, arch: Graph) -> Graph:
        """Returns the usual mutant: every edge flips with probability 1/7, every operation changes with 1/5.

        On the genotype with all slots present: absent ones first get the first operation and no edges. Redrawn until
        the result is valid and differs from that; where `BERNOULLI_DRAWS` are not, `mutate`.
        """
        word = packed.from_graph(arch)
        start = self._filled(word)

        def draw(state: tuple[Array, Array, Key, Array]) -> tuple[Array, Array, Key, Array]:
            tried, _, key, _ = state
            next_key, draw_key = jax.random.split(key)
            numbers = jax.random.bits(draw_key, (_WORDS * _BLOCK,), jnp.uint32)
            others = self._with_noise(start, numbers.reshape(_WORDS, _BLOCK))
            good = packed.is_cell(others) & (others != start)
            return tried + _BLOCK, good.any(), next_key, others[jnp.argmax(good)]

        def edit(state: tuple[Array, Array, Key, Array]) -> tuple[Array, Array, Key, Array]:
            tried, _, key, _ = state
            return tried, jnp.bool_(True), key, self._edited(key, word)

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
        words = self._edits(packed.from_graph(arch))
        return jax.vmap(packed.to_graph)(words), self._is_cell(words)

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
        return jnp.concatenate([edges, jnp.stack(self._places(word))]).astype(jnp.int32)

    def from_decisions(self, decisions: Array) -> Graph:
        """Returns the genotype of int32[26], all slots present."""
        edges = (decisions[: len(PAIRS)] << np.arange(len(PAIRS), dtype=np.int32)).sum(dtype=jnp.int32)
        places = decisions[len(PAIRS) :].astype(jnp.uint32)
        return packed.to_graph(edges.astype(jnp.uint32) | self._with_places(list(places)))

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
        places = jnp.stack(self._places(word))
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
        return Alphabet(SLOTS, node_labels=_STOP + 1, first_labelled=1, stop_label=_STOP, masked_nodes=masked)

    def to_rows(self, arch: Graph) -> Rows:
        """Returns the rows of the normal form: its n vertices, the output at n - 1."""
        word = packed.compacted(packed.pruned(packed.from_graph(arch)))
        absent = jax.lax.population_count(packed.having(word, ABSENT)).astype(jnp.int32)
        last = OUTPUT - absent
        row = jnp.arange(SLOTS, dtype=jnp.int32)
        labels = jnp.pad(_looked_up((*_GENERATED, 0), (word >> _FIELDS) & ABSENT).astype(jnp.int32), 1)
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

    def _numbers(self) -> tuple[int, ...]:
        """The operation that each decision stands for, in words: its label less 2."""
        return tuple(OPERATIONS.index(name) for name in self.op_names)

    def _is_cell(self, word: Array) -> Array:
        """bool[...], whether the word is a cell of this subset."""
        valid = packed.is_cell(word)
        outside = [o for o in range(len(OPERATIONS)) if o not in self._numbers()]
        for number in outside:
            valid &= packed.having(word, number) == 0
        return valid

    def _places(self, word: Array) -> list[Array]:
        """Each slot's decision, uint32[...]; 0 where it is absent."""
        places = [self._numbers().index(o) if o in self._numbers() else 0 for o in range(len(OPERATIONS))]
        return [_looked_up((*places, 0), (word >> FIELD[slot]) & ABSENT) for slot in INNER]

    def _with_places(self, places: Sequence[Array]) -> Array:
        """uint32[...], the operations of the slots' decisions, as bits of a word."""
        bits = [_looked_up(self._numbers(), place) << FIELD[slot] for slot, place in zip(INNER, places, strict=True)]
        return functools.reduce(jnp.bitwise_or, bits)

    def _random_operations(self, drawn: Array) -> Array:
        """uint32[], five operations as bits of a word, from a random one."""
        return self._with_places(_digits(drawn, len(self.op_names), len(INNER)))

    def _filled(self, word: Array) -> Array:
        """The cell with the first operation, and no edges, in absent slots."""
        return word ^ ((packed.having(word, ABSENT) * (ABSENT ^ self._numbers()[0])) << FIELD[1])

    def _with_noise(self, word: Array, drawn: Array) -> Array:
        """uint32[n], the cell without absent slots, its edges flipped with probability 1/7 and operations changed with 1/5.

        Args:
          word: uint32[].
          drawn: uint32[5, n], random words. The first four say 21 digits in base 7, of which a 0 flips an edge; 7^6 / 2^32
            and the like is what probabilities are off by, 3e-5.
        """
        digits = [
            digit for words, count in zip(drawn, (6, 5, 5, 5), strict=False) for digit in _digits(words, 7, count)
        ]
        flips = [(digit == 0).astype(jnp.uint32) << bit for bit, digit in enumerate(digits)]
        mutant = word ^ functools.reduce(jnp.bitwise_or, flips)
        choices = len(self.op_names)
        if choices == 1:
            return mutant
        places = []
        for place, digit in zip(self._places(word), _digits(drawn[4], 5 * (choices - 1), len(INNER)), strict=True):
            moved = place + jnp.where(digit < choices - 1, digit + 1, 0)
            places.append(jnp.where(moved < choices, moved, moved - choices))
        return (mutant & packed.EDGES) | self._with_places(places)

    def _edits(self, word: Array) -> Array:
        """uint32[M], the neighbours; `_NO_CELL` for edits that cannot be made."""
        choices = len(self.op_names)
        flips = word ^ (np.uint32(1) << np.arange(len(PAIRS), dtype=np.uint32))
        absent = ((word >> _FIELDS) & ABSENT) == ABSENT
        cleared = word & ~(np.uint32(ABSENT) << _FIELDS)

        numbers = jnp.asarray(np.array(self._numbers(), np.uint32))
        other = np.arange(choices - 1, dtype=np.uint32)[None]
        other = other + (other >= jnp.stack(self._places(word))[:, None]).astype(jnp.uint32)  # skips the present one
        changed = cleared[:, None] | (numbers[other] << _FIELDS[:, None])
        changed = jnp.where(absent[:, None], np.uint32(_NO_CELL), changed).ravel()

        removed = (word & ~_AT) | (np.uint32(ABSENT) << _FIELDS)
        removed = jnp.where(absent, np.uint32(_NO_CELL), removed)

        none = packed.having(word, ABSENT)
        first = none & -none  # its bit 2 (v - 1); 0 where all are present
        chosen = (first >> (_FIELDS - FIELD[1])) & 1
        joined = (chosen[None] * _JOINS).sum(axis=1, dtype=jnp.uint32)
        added = (word | joined)[:, None] ^ ((first << FIELD[1]) * (ABSENT ^ numbers))[None]
        added = jnp.where((joined == 0)[:, None], np.uint32(_NO_CELL), added).ravel()
        return jnp.concatenate([flips, changed, removed, added])

    def _edited(self, key: Key, word: Array) -> Array:
        """uint32[], one of the valid neighbours; uniform up to M / 2^24."""
        words = self._edits(word)
        valid = self._is_cell(words)
        bits = valid.astype(jnp.uint32) << (_EDIT[: words.size] % 32)
        first, second = bits[:32].sum(dtype=jnp.uint32), bits[32:].sum(dtype=jnp.uint32)
        count = jax.lax.population_count
        drawn = ((jax.random.bits(key, (1,), jnp.uint32)[0] >> 8) * (count(first) + count(second))) >> 24
        rank = count(first & _BELOW[0, : words.size]) + count(second & _BELOW[1, : words.size])
        return jnp.where(valid & (rank == drawn), words, 0).sum(dtype=jnp.uint32)


def _route(slots: tuple[int, ...]) -> int:
    """The edges of the path from input to output through these slots."""
    return sum(1 << BIT[pair] for pair in itertools.pairwise((0, *slots, OUTPUT)))


def _first_connected(words: Array) -> Array:
    """uint32[], the first of words [n] whose edges are a valid cell; a single edge where none are."""
    numbered = words | (jnp.arange(words.size, dtype=jnp.uint32) << len(PAIRS))  # over the operations
    least = jnp.where(packed.is_cell(words), numbered, np.uint32(_NONE)).min()
    return jnp.where(least == _NONE, np.uint32(1 << BIT[0, OUTPUT]), least & packed.EDGES)


def _digits(number: Array, base: int, count: int) -> list[Array]:
    """The lowest digits of a number in a base, uint32[...]."""
    digits = []
    for _ in range(count):
        rest = number // base
        digits.append(number - rest * base)
        number = rest
    return digits


def _looked_up(values: Sequence[int], index: Array) -> Array:
    """uint32[...], `values[index]`, without a gather: XLA fuses it with what is around."""
    found = jnp.full_like(index, values[-1])
    for place, value in enumerate(values[:-1]):
        found = jnp.where(index == place, np.uint32(value), found)
    return found
