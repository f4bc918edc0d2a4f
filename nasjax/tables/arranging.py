"""A table's rows in the order of a lookup, and what they lack of the space."""

import functools
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np
import numpy.typing as npt

from nasjax.base import Enumerable, Space
from nasjax.tables.architectures import CHUNK, Placed, everything, identities
from nasjax.tables.columns import Columns
from nasjax.tables.lookup import Dense, Lookup, keyed
from nasjax.tables.partial import Rows


def distinct(
    table: Columns,
    identity: npt.NDArray[np.uint64],
    rows: npt.NDArray[np.int64],
    figures: Mapping[str, npt.NDArray[Any]],
) -> npt.NDArray[np.int64]:
    """Returns the first row of each architecture, by identity; the others must say the same.

    Args:
      table: for errors.
      identity: uint64[all rows].
      rows: int64[n], those that count.
      figures: [all rows, ...] by name, what they say.

    Raises:
      ValueError: a row contradicts an earlier one.
    """
    _, first, which = np.unique(identity[rows], return_index=True, return_inverse=True)
    if len(first) < len(rows):
        original = rows[first[which]]
        for name, values in figures.items():
            same = (values[rows] == values[original]) | (np.isnan(values[rows]) & np.isnan(values[original]))
            for place in np.flatnonzero(~same.reshape(len(rows), -1).all(axis=1))[:1]:
                row, earlier = int(rows[place]), int(original[place])
                here, there = (
                    ", ".join(f"{float(one):.7g}" for one in np.atleast_1d(values[at])) for at in (row, earlier)
                )
                known = f"the architecture of {table.place(earlier)} again, where {name} is {there}"
                raise table.error(row, f"{known}, here {here}: {table.archs.spec(row)}")
    return rows[first]


def arranged(space: Space, where: Placed, first: npt.NDArray[np.int64]) -> tuple[Lookup, npt.NDArray[np.int64], Rows]:
    """Returns the lookup in NumPy, the table's row of each of its places, and what there is of the space.

    A string without a row whose class has one takes the row of the class's string of smallest code.

    Args:
      space: of the lookup.
      where: the table's rows.
      first: int64[n], those to take, one an architecture.
    """
    archs = jax.tree.map(lambda leaf: leaf[first], where.archs)
    if not isinstance(space, Enumerable):
        lookup, order = keyed(where.identity[first])
        return lookup, first[order], Rows(None, lookup, archs)
    own = np.full(space.size, -1, np.int64)
    own[where.identity[first].astype(np.int64)] = first
    members = _members(space, own >= 0)
    shared = np.where(members >= 0, own[members], -1)[_classes(space)]
    rows = np.where(own >= 0, own, shared)
    return Dense(rows >= 0), np.maximum(rows, 0), Rows(members, None, archs)  # type: ignore[arg-type]


def missing(space: Space, rows: Rows, distinct: int) -> str:
    """Returns what a table lacks of the space, in words; empty where it has all.

    Args:
      space: where the search goes.
      rows: what there is of it.
      distinct: different architectures that have the signal, whatever their operations.
    """
    if isinstance(space, Enumerable):
        asked = np.unique(_classes(space))
        without = asked[rows.members[asked] < 0] if rows.members is not None else asked
        if not without.size:
            return ""
        example = int(np.flatnonzero(_classes(space) == without[0])[0])
        spec = space.to_spec(jax.tree.map(lambda leaf: leaf[example], space.all()))
        return f"{without.size:,} of {asked.size:,} classes of {space.name} have no row, for example {spec}"
    number = getattr(everything(space), "num_cells", None)
    if distinct == number:
        return ""
    of = f" of {number:,}" if number else ""
    return f"{distinct:,} architectures{of} have a row"


def share(space: Space, rows: Rows) -> float:
    """Returns the share of the prior's draws that have a row, of 4,096."""
    drawn = _drawn(cast(Any, space))
    if rows.members is not None:
        assert isinstance(space, Enumerable)
        return float((rows.members[_classes(space)[drawn.astype(np.int64)]] >= 0).mean())
    assert rows.lookup is not None
    keys = np.asarray(rows.lookup.keys).astype(np.uint64)
    return float(np.isin(drawn, keys[:, 0] << np.uint64(32) | keys[:, 1]).mean())


@functools.lru_cache(maxsize=8)
def _drawn(space: Any) -> npt.NDArray[np.uint64]:
    """uint64[4096], identities of draws of the prior."""
    keys = jax.random.split(jax.random.key(0), CHUNK)
    return identities(space, jax.tree.map(np.asarray, jax.jit(jax.vmap(space.sample))(keys)))[1]


def _members(space: Enumerable, there: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """int32[num_classes], of the strings that are there the one of smallest code, -1 where none is."""
    places = np.flatnonzero(there)
    by_code = places[np.argsort(_codes(space)[places], kind="stable")]
    members = np.full(space.num_classes, -1, np.int32)
    members[_classes(space)[by_code[::-1]]] = by_code[::-1]  # the smallest code last, which stays
    return members


def _classes(space: Enumerable) -> npt.NDArray[np.int64]:
    """int64[size], the class of every string."""
    return _known(cast(Any, space))[0]  # spaces are hashable


def _codes(space: Enumerable) -> npt.NDArray[np.int64]:
    """int64[size], the index of every string in the space with all operations: its code."""
    return _known(cast(Any, space))[1]


@functools.lru_cache(maxsize=8)
def _known(space: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    whole = everything(space)
    classes = np.asarray(jax.jit(space.class_of)(np.arange(space.size, dtype=np.int32)))
    codes = np.asarray(jax.jit(jax.vmap(whole.index))(space.all()))
    return classes.astype(np.int64), codes.astype(np.int64)
