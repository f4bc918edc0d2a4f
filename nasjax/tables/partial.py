"""Searching what a table has: in a space where it has not every architecture, the others count as seen.

An enumerable space loses the classes without a row (a class is there if any of its strings is); other spaces are asked
for each candidate whether it has one (`base.Partial`, which `history` heeds), and for rows where the prior's draws run dry.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax.base import Arch, Array, Enumerable, Evaluator, Key, Space
from nasjax.tables.content import Fixed
from nasjax.tables.lookup import Keyed

RARE = 0.1
"""Where fewer of the prior's draws than this have rows, rows are drawn instead (`draws="auto"`)."""


class Rows(NamedTuple):
    """What a table has of a space.

    Attributes:
      members: enumerable spaces: int32[num_classes], the `index` of the string that stands for each class, -1 = no row.
      lookup: other spaces: where a key's row is.
      archs: Arch[rows], every architecture that has a row.
    """

    members: npt.NDArray[np.int32] | None
    lookup: Keyed | None
    archs: Arch


def searchable(space: Space, evaluator: Evaluator) -> Space:
    """Returns the space in which architectures without a row in the evaluator's table count as seen from the start.

    The same object where there is nothing to leave out: all are there, or the evaluator is no table.
    """
    method = getattr(evaluator, "searchable", None)
    return space if method is None else method(space)


def part(space: Space, rows: Rows, draw_rows: bool) -> Space:
    """Returns the part of a space that has rows: an instance of a subclass of the space's class.

    Args:
      space: the whole.
      rows: what there is of it.
      draw_rows: whether `sample` draws a row, each equally likely, in place of the prior.
    """
    mixin = _EnumerablePart if rows.members is not None else _KeyedPart
    kept = rows._replace(archs=_small(rows.archs))
    fields = {field.name: getattr(space, field.name) for field in dataclasses.fields(_as_dataclass(space))}
    made: Space = _part_class(mixin, type(space))(**fields, rows=Fixed(kept), draw_rows=draw_rows)
    return made


class _Part:
    """What both kinds of parts have."""

    rows: Fixed
    draw_rows: bool

    def sample(self, key: Key) -> Arch:
        """Returns a draw from the space's prior, or one of the table's rows, each equally likely."""
        drawn: Arch = self.sample_row(key) if self.draw_rows else super().sample(key)  # type: ignore[misc]
        return drawn

    def sample_row(self, key: Key) -> Arch:
        """Returns one of the table's rows, each equally likely."""
        archs = self.rows.tree.archs
        number = len(jax.tree.leaves(archs)[0])
        row = jax.random.randint(key, (), 0, number)
        kinds = jax.eval_shape(super().sample, jax.random.key(0))  # type: ignore[misc]
        return jax.tree.map(lambda leaf, kind: jnp.asarray(leaf)[row].astype(kind.dtype), archs, kinds)


class _EnumerablePart(_Part):
    """A part of an enumerable space; membership leaves out the other classes."""

    def class_members(self) -> Array:
        """Returns int32[num_classes]: for each class the string with a row of smallest code, -1 where there is none."""
        return jnp.asarray(self.rows.tree.members)

    def has_row(self, arch: Arch) -> Array:
        """Returns bool[], whether a string of the class has a row."""
        space: Any = self
        assert isinstance(space, Enumerable)
        return self.class_members()[space.class_of(space.index(arch))] >= 0


class _KeyedPart(_Part):
    """A part of a space that is known by its keys."""

    def has_row(self, arch: Arch) -> Array:
        """Returns bool[], whether the architecture's key has a row."""
        space: Any = self
        found: Array = jax.tree.map(jnp.asarray, self.rows.tree.lookup).find(space, arch)[1]
        return found


@functools.cache
def _part_class(mixin: type, kind: type) -> type:
    """A frozen dataclass like `kind`, so that what asks for that kind of space, or for a protocol, finds it."""
    fields = [(name, annotation, dataclasses.field(default=None, repr=False)) for name, annotation in _FIELDS]
    made = dataclasses.make_dataclass(kind.__name__, fields, bases=(mixin, kind), frozen=True)
    made.__doc__ = f"The part of {kind.__name__} that has rows in a table."
    return made


_FIELDS: tuple[tuple[str, Any], ...] = (("rows", Any), ("draw_rows", Any))


def _small(archs: Arch) -> Arch:
    """The same in the smallest integers that hold them: they become constants of programs."""
    return jax.tree.map(lambda leaf: leaf.astype(np.min_scalar_type(-int(leaf.max()) - 1)), archs)


def _as_dataclass(space: Space) -> Any:
    return space
