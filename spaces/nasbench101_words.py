"""A cell of NAS-Bench-101 as one word of 31 bits, and what shifts and masks can do to it.

Seven slots: 0 the input, 6 the output, 1..5 operations or nothing. Bits 0..20: the edges (0,1), (0,2), …, (0,6), (1,2),
…, (5,6). Bits 21 + 2 (v - 1) and the next: the operation of slot v = 1..5, 3 where it is absent. So the out-edges of a
slot are neighbouring bits, and pruning is some eighty operations on a word instead of loops over 7 x 7 entries.

Where not said otherwise functions are elementwise, on a Python integer or on a NumPy or JAX array of uint32.
"""

import functools
import itertools
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax.base import Array, Graph

Words = npt.NDArray[np.uint32]
Word = TypeVar("Word", int, np.ndarray, Array)

SLOTS = 7
OUTPUT = SLOTS - 1
INNER = range(1, OUTPUT)
"""Slots of operations."""

PAIRS = tuple((i, j) for i in range(SLOTS) for j in range(i + 1, SLOTS))
"""Sender and receiver of the edge of each bit."""

BIT = {pair: bit for bit, pair in enumerate(PAIRS)}
EDGES = (1 << len(PAIRS)) - 1
AT = {slot: sum(1 << bit for pair, bit in BIT.items() if slot in pair) for slot in range(SLOTS)}
"""All edges of each slot."""

MOST_EDGES = 9

ABSENT = 3
FIELD = {slot: len(PAIRS) + 2 * (slot - 1) for slot in INNER}
"""Lower bit of each inner slot's operation."""

NO_OPERATIONS = sum(ABSENT << shift for shift in FIELD.values())
_LOWER_BITS = 0x155  # of the operations, when these are shifted down to bit 0

_FIELDS = np.array([FIELD[slot] for slot in INNER], np.int32)
_SENDERS, _RECEIVERS = np.array(PAIRS, np.int32).T
_UPWARD = np.zeros((SLOTS, SLOTS), np.int32)
_UPWARD[_SENDERS, _RECEIVERS] = 1
_PLACES = np.zeros((SLOTS, SLOTS), np.int32)
_PLACES[_SENDERS, _RECEIVERS] = np.arange(len(PAIRS))

INPUT_LABEL, FIRST_LABEL, OUTPUT_LABEL = 1, 2, 5
"""Labels of a `Graph`'s nodes: operation o has FIRST_LABEL + o, an absent slot 0."""


def live(word: Word) -> Word:
    """Returns seven bits: the slots on a path from input to output; 0 where there is no path."""
    outs = [((word >> BIT[i, i + 1]) & (127 >> (i + 1))) << (i + 1) for i in range(OUTPUT)]
    forward = outs[0] | 1
    for slot in INNER:
        forward = forward | (outs[slot] * ((forward >> slot) & 1))
    backward = (word & 0) | (1 << OUTPUT)
    for slot in reversed(range(OUTPUT)):
        reaches = ((outs[slot] & backward) + 127) >> 7  # any of the seven bits carries to bit 7
        backward = backward | (reaches << slot)
    both: Word = forward & backward
    return both


def pruned(word: Word) -> Word:
    """Returns the cell without what lies on no path from input to output; without a path, nothing is left."""
    alive = live(word)
    kept = dead = alive & 0
    for slot in range(OUTPUT):
        kept = kept | (((alive >> (slot + 1)) * ((alive >> slot) & 1)) << BIT[slot, slot + 1])
    for slot, shift in FIELD.items():
        dead = dead | ((((alive >> slot) & 1) ^ 1) * (ABSENT << shift))
    left: Word = (word & (kept | NO_OPERATIONS)) | dead
    return left


def compacted(word: Word) -> Word:
    """Returns the pruned cell with its absent slots moved behind the others, which keep their order."""
    for last in reversed(INNER):
        for slot in range(1, last):
            empty = (word >> FIELD[slot]) & (word >> (FIELD[slot] + 1)) & 1
            word = _exchanged(word, {shift: empty * mask for shift, mask in _moves(slot).items()})
    return word


def num_edges(word: Word) -> Word:
    """Returns the number of edges, by sums in parallel."""
    ones = (word & 0x155555) + ((word >> 1) & 0x055555)
    ones = (ones & 0x333333) + ((ones >> 2) & 0x333333)
    ones = (ones + (ones >> 4)) & 0x0F0F0F
    count: Word = (ones + (ones >> 8) + (ones >> 16)) & 31
    return count


def having(word: Word, operation: int) -> Word:
    """Returns bit 2 (v - 1) for each slot v = 1..5 with that operation; `ABSENT` is one too."""
    different = (word >> FIELD[1]) ^ (operation * _LOWER_BITS)
    found: Word = ~(different | (different >> 1)) & _LOWER_BITS
    return found


def stray(word: Word) -> Word:
    """Returns the edges at absent slots, which no cell has."""
    none = having(word, ABSENT)
    at = none & 0
    for slot in INNER:
        at = at | (((none >> (2 * (slot - 1))) & 1) * AT[slot])
    edges: Word = word & at
    return edges


def is_cell(word: Array) -> Array:
    """Returns bool[...]: no stray edges; after pruning, input and output connected and at most nine edges."""
    edges = num_edges(pruned(word))
    return (stray(word) == 0) & (edges > 0) & (edges <= MOST_EDGES)


def from_graph(graph: Graph) -> Array:
    """Returns uint32[] of Graph[7]; some word where it is not `well_formed`."""
    edges = (graph.edges * (_UPWARD << _PLACES)).sum(dtype=jnp.int32)
    operations = jnp.where(graph.nodes > 0, graph.nodes - FIRST_LABEL, ABSENT)[1:OUTPUT]
    return (edges + ((operations & ABSENT) << _FIELDS).sum(dtype=jnp.int32)).astype(jnp.uint32)


def to_graph(word: Array) -> Graph:
    """Returns Graph[7] of uint32[]."""
    bits = word.astype(jnp.int32)
    operations = (bits >> _FIELDS) & ABSENT
    inner = jnp.where(operations == ABSENT, 0, operations + FIRST_LABEL)
    nodes = jnp.concatenate([jnp.full(1, INPUT_LABEL, jnp.int32), inner, jnp.full(1, OUTPUT_LABEL, jnp.int32)])
    return Graph(nodes, (bits >> _PLACES) & _UPWARD)


def unpacked(word: Words) -> tuple[np.ndarray, np.ndarray]:
    """Returns the arrays of `Graph[..., 7]`, NumPy, of uint32[...]. Host."""
    bits = word.astype(np.int32)
    operations = (bits[..., None] >> _FIELDS) & ABSENT
    nodes = np.zeros((*bits.shape, SLOTS), np.int32)
    nodes[..., 0], nodes[..., OUTPUT] = INPUT_LABEL, OUTPUT_LABEL
    nodes[..., 1:OUTPUT] = np.where(operations == ABSENT, 0, operations + FIRST_LABEL)
    return nodes, (bits[..., None, None] >> _PLACES) & _UPWARD


def well_formed(graph: Graph) -> Array:
    """Returns bool[]: a word says all of Graph[7]. Labels in range and the ends in place, edges 0 or 1 and upward."""
    inner = graph.nodes[1:OUTPUT]
    operations = ((inner >= 0) & (inner < OUTPUT_LABEL) & (inner != INPUT_LABEL)).all()
    ends = (graph.nodes[0] == INPUT_LABEL) & (graph.nodes[OUTPUT] == OUTPUT_LABEL)
    return ((graph.edges & ~_UPWARD) == 0).all() & operations & ends


class _Rounds(NamedTuple):
    """How `least` meets all orders. A step of a round swaps the same two slots in every round, or looks it up.

    Attributes:
      slots: the first slot of each step's swap, 0 where it is looked up.
      masks: uint32[12, 10, 4], for these steps the bits to exchange with those 1, 2, 3 and 4 places above.
      turned: uint32[12, 10], the pairs of slots that stand the other way round after each step.
    """

    slots: tuple[int, ...]
    masks: Words
    turned: Words


def least(word: Array) -> Array:
    """Returns uint32[...], the least word of a pruned cell over all orders of its slots in which edges go upward.

    All 120 orders are met by swaps of neighbouring slots, each a few shifts of the word. In an order that has turned a
    pair of slots around, no edge may stand on that pair; which pairs these are depends on the order alone. Twelve rounds
    of ten swaps: all in a row run at most twice as fast, and take XLA five times as long to compile. Byte tables, four
    lookups an order, are as fast, with 492 kB of constants (`benchmarks/nasbench101.py`).
    """
    rounds = _rounds()

    def go_round(state: tuple[Array, Array], tables: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        word, best = state
        masks, turned = tables
        for step, slot in enumerate(rounds.slots):
            moves = _moves(slot) if slot else {shift: masks[step, shift - 1] for shift in _SHIFTS}
            word = _exchanged(word, moves)
            best = jnp.where((word & turned[step]) == 0, jnp.minimum(best, word), best)
        return (word, best), None

    (_, best), _ = jax.lax.scan(go_round, (word, word), (jnp.asarray(rounds.masks), jnp.asarray(rounds.turned)))
    return best


_SHIFTS = (1, 2, 3, 4)
"""How far apart the bits are that a swap of neighbouring slots exchanges."""


def _exchanged(word: Word, moves: Mapping[int, Word | int]) -> Word:
    """The word with the bits of each mask exchanged with those `shift` places above; all masks disjoint."""
    changed = word
    for shift, mask in moves.items():
        different = (word ^ (word >> shift)) & mask
        changed = changed ^ different ^ (different << shift)
    return changed


@functools.cache
def _moves(slot: int) -> dict[int, int]:
    """What exchanges slots `slot` and `slot + 1`, by shift. An edge between the two stays: it counts as turned around."""
    moves = {2: ABSENT << FIELD[slot]}
    other = slot + 1
    pairs = [(BIT[i, slot], BIT[i, other]) for i in range(slot)]
    pairs += [(BIT[slot, j], BIT[other, j]) for j in range(other + 1, SLOTS)]
    for lower, upper in map(sorted, pairs):
        moves[upper - lower] = moves.get(upper - lower, 0) | 1 << lower
    return moves


@functools.cache
def _rounds() -> _Rounds:
    """The plain changes of five bells: the last goes down and up through the others, which change when it is at an end."""
    places = _plain_changes(len(INNER))
    slots = (4, 3, 2, 1, 0, 1, 2, 3, 4, 0)
    masks = np.zeros((12 * len(slots), len(_SHIFTS)), np.uint32)
    turned = []
    order = list(INNER)
    for step, place in enumerate(places):
        if not slots[step % len(slots)]:
            for shift, mask in _moves(place).items():
                masks[step, shift - 1] = mask
        order[place - 1 : place + 1] = order[place], order[place - 1]
        pairs = itertools.combinations(INNER, 2)
        turned.append(sum(1 << BIT[i, j] for i, j in pairs if order[i - 1] > order[j - 1]))
    turned.append(turned[-1])  # the step beyond the last swap changes nothing
    return _Rounds(slots, masks.reshape(12, len(slots), -1), np.array(turned, np.uint32).reshape(12, len(slots)))


def _plain_changes(bells: int) -> list[int]:
    """Places p of the swaps of p and p + 1, p = 1.., that pass through all orders of `bells` things."""
    if bells == 1:
        return []
    changes: list[int] = []
    for number, place in enumerate([*_plain_changes(bells - 1), None]):
        down = number % 2 == 0
        changes += range(bells - 1, 0, -1) if down else range(1, bells)
        if place is not None:
            changes.append(place + 1 if down else place)  # the last bell stands in front of the others, or behind
    return changes
