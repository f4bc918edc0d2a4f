"""Edits of NAS-Bench-101's cells, and their operations as decisions; on packed words (`nasbench101_words`).

`numbers` are the operations of a space's subset, by decision: their places among all operations.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array
from nasjax.spaces import nasbench101_words as packed
from nasjax.spaces.nasbench101_words import ABSENT, AT, BIT, EDGES, FIELD, INNER, OUTPUT, PAIRS

RANDOM_WORDS = 5
"""Random words that `with_noise` takes for a draw."""

_ALL = range(ABSENT)
_NO_CELL = np.uint32(EDGES | packed.NO_OPERATIONS)  # edges at absent slots
_FIELDS = np.array([FIELD[slot] for slot in INNER], np.uint32)
_AT = np.array([AT[slot] for slot in INNER], np.uint32)
_JOINS = np.array(
    [[1 << BIT[u, v] | 1 << BIT[v, OUTPUT] if u < v else 0 for v in INNER] for u in range(OUTPUT - 1)], np.uint32
)
"""[u, v]: the edges u -> v and v -> output of a new slot v; nothing where u does not stand before v."""

_EDIT = np.arange(64, dtype=np.uint32)
_BELOW = np.array([[(1 << edit) - 1 & 0xFFFFFFFF, (1 << edit) - 1 >> 32] for edit in range(64)], np.uint32).T
"""[0, m] and [1, m]: the edits before m as bits of two words."""


def is_cell(word: Array, numbers: tuple[int, ...]) -> Array:
    """Returns bool[...], whether the word is a cell whose operations are all in the subset, also those of dead slots."""
    valid = packed.is_cell(word)
    for outside in set(_ALL) - set(numbers):
        valid &= packed.having(word, outside) == 0
    return valid


def places(word: Array, numbers: tuple[int, ...]) -> list[Array]:
    """Returns the decision of slots 1..5, uint32[...] each; 0 where a slot is absent."""
    table = [numbers.index(number) if number in numbers else 0 for number in _ALL]
    return [looked_up((*table, 0), (word >> FIELD[slot]) & ABSENT) for slot in INNER]


def with_places(places: Sequence[Array], numbers: tuple[int, ...]) -> Array:
    """Returns uint32[...], the operations that five decisions say, as bits of a word."""
    bits = [looked_up(numbers, place) << FIELD[slot] for slot, place in zip(INNER, places, strict=True)]
    return functools.reduce(jnp.bitwise_or, bits)


def random_operations(drawn: Array, numbers: tuple[int, ...]) -> Array:
    """Returns uint32[...], five operations as bits of a word, from a random word."""
    return with_places(_digits(drawn, len(numbers), len(INNER)), numbers)


def filled(word: Array, numbers: tuple[int, ...]) -> Array:
    """Returns the cell with the first operation, and no edges, in its absent slots."""
    return word ^ ((packed.having(word, ABSENT) * (ABSENT ^ numbers[0])) << FIELD[1])


def with_noise(word: Array, drawn: Array, numbers: tuple[int, ...]) -> Array:
    """Returns uint32[n], a cell without absent slots, each edge flipped with probability 1/7, each operation changed 1/5.

    Args:
      word: uint32[], the cell.
      drawn: uint32[5, n], random words. The first four say 21 digits in base 7, of which a 0 flips an edge, the last one
        digit an operation; that they have an end puts probabilities off by 7^6 / 2^32 = 3e-5.
      numbers: the subset.
    """
    digits = [digit for row, count in enumerate((6, 5, 5, 5)) for digit in _digits(drawn[row], 7, count)]
    flips = [(digit == 0).astype(jnp.uint32) << bit for bit, digit in enumerate(digits)]
    mutant = word ^ functools.reduce(jnp.bitwise_or, flips)
    choices = len(numbers)
    if choices == 1:
        return mutant
    moved = []
    for place, digit in zip(places(word, numbers), _digits(drawn[4], 5 * (choices - 1), len(INNER)), strict=True):
        other = place + jnp.where(digit < choices - 1, digit + 1, 0)
        moved.append(jnp.where(other < choices, other, other - choices))
    return (mutant & EDGES) | with_places(moved, numbers)


def neighbours(word: Array, numbers: tuple[int, ...]) -> Array:
    """Returns uint32[M], one edit each, in the order that the space documents; no cell for edits that cannot be made."""
    choices = len(numbers)
    flips = word ^ (np.uint32(1) << np.arange(len(PAIRS), dtype=np.uint32))

    absent = ((word >> _FIELDS) & ABSENT) == ABSENT
    other = np.arange(choices - 1, dtype=np.uint32)[None]
    other = other + (other >= jnp.stack(places(word, numbers))[:, None]).astype(jnp.uint32)  # skips the present one
    cleared = word & ~(np.uint32(ABSENT) << _FIELDS)
    changed = cleared[:, None] | (looked_up(numbers, other) << _FIELDS[:, None])
    changed = jnp.where(absent[:, None], _NO_CELL, changed).ravel()

    removed = (word & ~_AT) | (np.uint32(ABSENT) << _FIELDS)
    removed = jnp.where(absent, _NO_CELL, removed)

    none = packed.having(word, ABSENT)
    first = none & -none  # its bit 2 (v - 1); 0 where all are present
    chosen = (first >> (_FIELDS - np.uint32(FIELD[1]))) & 1
    joined = (chosen[None] * _JOINS).sum(axis=1, dtype=jnp.uint32)
    labels = (first << FIELD[1]) * (np.uint32(ABSENT) ^ np.array(numbers, np.uint32))
    added = (word | joined)[:, None] ^ labels[None]
    added = jnp.where((joined == 0)[:, None], _NO_CELL, added).ravel()
    return jnp.concatenate([flips, changed, removed, added])


def one_of(drawn: Array, words: Array, valid: Array) -> Array:
    """Returns uint32[], one of the valid words [M], M <= 64, by a random word; uniform up to M / 2^24.

    Ranks are counted in two words of bits: a cumulative sum takes eight times as long.
    """
    bits = valid.astype(jnp.uint32) << (_EDIT[: words.size] % 32)
    first, second = bits[:32].sum(dtype=jnp.uint32), bits[32:].sum(dtype=jnp.uint32)
    count = jax.lax.population_count
    number = ((drawn >> 8) * (count(first) + count(second))) >> 24
    rank = count(first & _BELOW[0, : words.size]) + count(second & _BELOW[1, : words.size])
    return jnp.where(valid & (rank == number), words, 0).sum(dtype=jnp.uint32)


def looked_up(values: Sequence[int], index: Array) -> Array:
    """Returns uint32[...], `values[index]` without a gather: XLA fuses it with what is around."""
    found = jnp.full_like(index, values[-1])
    for place, value in enumerate(values[:-1]):
        found = jnp.where(index == place, np.uint32(value), found)
    return found


def _digits(number: Array, base: int, count: int) -> list[Array]:
    """The lowest digits of a number in a base, uint32[...]."""
    digits = []
    for _ in range(count):
        rest = number // base
        digits.append(number - rest * base)
        number = rest
    return digits
