"""Strings of NAS-Bench-101's cells: `111:conv1x1-bn-relu`, upper triangle row by row and the inner vertices' operations.

Host; cells are packed words (`nasbench101_words`).
"""

import itertools
from collections.abc import Sequence

import numpy as np

from nasjax.base import Graph
from nasjax.spaces import nasbench101_words as packed
from nasjax.spaces.nasbench101_words import ABSENT, BIT, FIELD, INNER, MOST_EDGES, OUTPUT, SLOTS, Words
from nasjax.spaces.reading import LONGEST, Reader, RowError

NAME = "nasbench101"

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""In the order of labels 2, 3, 4 and of the published table."""

_VERTICES = {n * (n - 1) // 2: n for n in range(2, SLOTS + 1)}
"""Number of vertices by number of bits."""


def normal_word(arch: Graph) -> int:
    """Returns the normal form of one architecture.

    Raises:
      ValueError: it is no cell.
    """
    nodes, edges = np.asarray(arch.nodes), np.asarray(arch.edges)
    if nodes.shape != (SLOTS,) or edges.shape != (SLOTS, SLOTS):
        raise ValueError(f"{NAME}: a cell has 7 nodes and 7 x 7 edges, got shapes {nodes.shape} and {edges.shape}")
    word = 0
    for slot, label in enumerate(nodes.tolist()):
        end = {0: packed.INPUT_LABEL, OUTPUT: packed.OUTPUT_LABEL}.get(slot)
        inner = label == 0 or packed.FIRST_LABEL <= label < packed.OUTPUT_LABEL
        if label != end if end else not inner:
            raise ValueError(f"{NAME}: label {label} in slot {slot}; {end or '0 (absent), 2, 3 or 4'}")
        if not end:
            word |= (label - packed.FIRST_LABEL if label else ABSENT) << FIELD[slot]
    for i, j in np.argwhere(edges).tolist():
        if i >= j or edges[i, j] != 1:
            raise ValueError(f"{NAME}: {edges[i, j]} at edge {i} -> {j}; 0 or 1, and only upward")
        word |= 1 << BIT[i, j]
    if packed.stray(word):
        raise ValueError(f"{NAME}: edges at an absent slot")
    word = _normal(word)
    if fault := _fault(word):
        raise ValueError(f"{NAME}: {fault}")
    return word


def vertices(word: int) -> tuple[list[list[int]], list[int]]:
    """Returns the n x n matrix of edges and the n - 2 operations of a cell in normal form."""
    inner = [(word >> FIELD[slot]) & ABSENT for slot in INNER]
    found = [operation for operation in inner if operation != ABSENT]
    slots = [*range(len(found) + 1), OUTPUT]
    return [[word >> BIT[i, j] & 1 if i < j else 0 for j in slots] for i in slots], found


def write(word: int) -> str:
    """Returns the string of a cell in normal form."""
    matrix, operations = vertices(word)
    bits = [str(bit) for row, line in enumerate(matrix) for bit in line[row + 1 :]]
    return "".join(bits) + ":" + ",".join(OPERATIONS[operation] for operation in operations)


def read(spec: str, op_names: Sequence[str]) -> int:
    """Returns the normal form of the cell that a string says.

    Args:
      spec: the string; what is dead in it is pruned.
      op_names: the operations that are allowed.

    Raises:
      ValueError: naming the 0-based character position, what stood there and what is allowed.
    """
    reader = Reader(NAME, spec)
    bits = ""
    while (mark := reader.one_of("01:")) != ":":
        bits += mark
    most = max(_VERTICES)
    if len(bits) > most:
        raise reader.error("more than 7 vertices:", bits, f"{most} bits", most)
    if len(bits) not in _VERTICES:
        raise reader.error(f"{len(bits)} bits are no triangle:", ":", "1, 3, 6, 10, 15 or 21 bits", len(bits))
    operations = []
    for vertex in range(1, _VERTICES[len(bits)] - 1):
        if vertex > 1:
            reader.expect(",")
        operations.append(_read_operation(reader, op_names))
    reader.end()
    word = _normal(_graph(bits) | _labels(operations))
    if fault := _fault(word):
        raise reader.error(f"{fault}:", bits, f"a path from input to output and at most {MOST_EDGES} edges on paths", 0)
    return word


def read_many(specs: Sequence[str], op_names: Sequence[str]) -> Words:
    """Returns the normal forms that many strings say, uint32[n].

    Raises:
      RowError: as `read`, and which of them.
    """
    numbers = {name: OPERATIONS.index(name) for name in op_names}
    graphs: dict[str, tuple[int, int]] = {}  # few among many cells: the whole space has 6,471, and 364 lists of names
    labels: dict[str, tuple[int, int]] = {}
    words = np.zeros(len(specs), np.uint32)
    for row, spec in enumerate(specs):
        bits, colon, names = spec.partition(":") if isinstance(spec, str) and len(spec) <= LONGEST else ("", "", "")
        if bits not in graphs:
            size = 0 if bits.strip("01") else _VERTICES.get(len(bits), 0)
            graphs[bits] = size, _graph(bits) if size else 0
        if names not in labels:
            found = [numbers.get(name, -1) for name in names.split(",")] if names else []
            labels[names] = (-1, 0) if -1 in found else (len(found) + 2, _labels(found))
        if colon and graphs[bits][0] == labels[names][0]:
            words[row] = graphs[bits][1] | labels[names][1]
    words = packed.compacted(packed.pruned(words))
    edges = packed.num_edges(words)
    for row in np.flatnonzero((edges == 0) | (edges > MOST_EDGES)).tolist():  # also those that are still 0
        try:
            words[row] = read(specs[row], op_names)
        except ValueError as error:
            raise RowError(row, error) from error
    return words


def _read_operation(reader: Reader, op_names: Sequence[str]) -> int:
    """The number of the operation that stands at the reader's position."""
    position = reader.position
    name = reader.until(",")
    if name not in op_names:
        what = "operation outside this space's subset" if name in OPERATIONS else "unknown operation"
        raise reader.error(what, name, ", ".join(op_names), position)
    return OPERATIONS.index(name)


def _graph(bits: str) -> int:
    """The edges that a triangle's bits say."""
    slots = [*range(_VERTICES[len(bits)] - 1), OUTPUT]
    return sum(1 << BIT[pair] for bit, pair in zip(bits, itertools.combinations(slots, 2), strict=True) if bit == "1")


def _labels(operations: Sequence[int]) -> int:
    """The operations of slots 1, 2, …, and of absent ones behind."""
    padded = [*operations, *[ABSENT] * (len(INNER) - len(operations))]
    return sum(operation << FIELD[slot] for slot, operation in zip(INNER, padded, strict=True))


def _normal(word: int) -> int:
    return packed.compacted(packed.pruned(word))


def _fault(word: int) -> str:
    """What is wrong with a pruned cell, if anything."""
    edges = packed.num_edges(word)
    if edges == 0:
        return "input and output not connected"
    return f"{edges} edges after pruning, at most {MOST_EDGES}" if edges > MOST_EDGES else ""
