"""The architectures of a table's rows: from strings to arrays, and each row's place in a space."""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax.base import Arch, Array, Enumerable, Space
from nasjax.spaces.reading import RowError
from nasjax.tables.columns import Columns

CHUNK = 1 << 12
"""Rows of one call on the device, always: one program a space, and 424,000 cells at once would need gigabytes."""

SpaceT = TypeVar("SpaceT", bound=Space)


@runtime_checkable
class ReadsMany(Protocol):
    """A space that reads strings by the thousand."""

    def from_specs(self, specs: tuple[str, ...]) -> Arch:
        """Returns Arch[n] in NumPy.

        Raises:
          RowError: what is wrong with which of them.
        """


@dataclasses.dataclass(frozen=True)
class Specs:
    """Strings as spaces write them."""

    texts: tuple[str, ...]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.texts)

    def spec(self, row: int) -> str:
        """Returns the string of one row."""
        return self.texts[row]

    def arrays(self, space: Space, table: Columns) -> Arch:
        """Returns Arch[rows] in NumPy.

        Raises:
          ValueError: naming the row and the position in its string.
        """
        if isinstance(space, ReadsMany):
            try:
                return space.from_specs(self.texts)
            except RowError as error:
                raise table.error(error.row, str(error)) from error
        read = []
        for row, text in enumerate(self.texts):
            try:
                read.append(jax.tree.map(np.asarray, space.from_spec(text)))
            except ValueError as error:
                raise table.error(row, str(error)) from error
        return jax.tree.map(lambda *leaves: np.stack(leaves), *read)


@dataclasses.dataclass(frozen=True)
class Hashes:
    """NAS-Bench-101's official hashes, which do not say what they stand for."""

    texts: tuple[str, ...]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.texts)

    def spec(self, row: int) -> str:
        """Returns the hash of one row."""
        return self.texts[row]

    def arrays(self, space: Space, table: Columns) -> Arch:
        """Refuses: finding 423,624 cells by their hashes takes a minute, which is done once.

        Raises:
          ValueError: says which command does it.
        """
        raise ValueError(
            f"{table.name}: its cells are named by NAS-Bench-101's hashes;"
            f" `nasjax table import table {table.name} NEW.parquet` writes a table of their strings"
        )


class Placed(NamedTuple):
    """The rows of a table in a space.

    Attributes:
      archs: Arch[rows] in NumPy.
      inside: bool[rows]; False where an operation is outside the space's subset.
      identity: uint64[rows]: what tells two architectures apart, the index where the space is enumerable, else the key.
    """

    archs: Arch
    inside: npt.NDArray[np.bool_]
    identity: npt.NDArray[np.uint64]


def placed(table: Columns, space: Space) -> Placed:
    """Returns where the rows of a table belong.

    Raises:
      ValueError: an architecture is none of the space, whatever the space's operations; the row is named.
    """
    if table.facts.space and table.facts.space != space.name:
        raise ValueError(f"{table.name}: a table of the space {table.facts.space}, not of {space.name}")
    archs = table.archs.arrays(everything(space), table)
    inside, identity = identities(space, archs)
    valid = inside if everything(space) == space else identities(everything(space), archs)[0]
    for row in np.flatnonzero(~valid)[:1]:
        raise table.error(int(row), f"{space.name}: {table.archs.spec(int(row))!r} is no valid architecture")
    return Placed(archs, inside, identity)


def everything(space: SpaceT) -> SpaceT:
    """Returns the space with all its operations, of which a subset may have been chosen."""
    fields = {field.name: field.default for field in dataclasses.fields(_dataclass(space)) if field.name == "op_names"}
    return dataclasses.replace(_dataclass(space), **fields) if fields else space


def _dataclass(space: Space) -> Any:
    return space


def identities(space: Space, archs: Arch) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint64]]:
    """Returns bool[n] whether each of Arch[n] is valid, and uint64[n] its identity (`Placed`)."""
    rows = len(jax.tree.leaves(archs)[0])
    inside, words = [], []
    for start in range(0, rows, CHUNK):
        part = jax.tree.map(lambda leaf, start=start: leaf[start : start + CHUNK], archs)
        padded = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], CHUNK - len(leaf), 0)]), part)
        found = jax.tree.map(np.asarray, _locate(space, padded))
        inside.append(found[0][: rows - start])
        words.append(found[1][: rows - start].astype(np.uint64))
    both = np.concatenate(words)
    return np.concatenate(inside), both[:, 0] << np.uint64(32) | both[:, 1]


@functools.partial(jax.jit, static_argnums=0)
def _locate(space: Space, archs: Arch) -> tuple[Array, Array]:
    """Whether each is valid, and its identity as two words."""

    def one(arch: Arch) -> tuple[Array, Array]:
        arch = jax.tree.map(lambda leaf: leaf.astype(jnp.int32), arch)
        if isinstance(space, Enumerable):
            return space.is_valid(arch), jnp.stack([jnp.uint32(0), space.index(arch).astype(jnp.uint32)])
        return space.is_valid(arch), space.canonical_key(arch)

    return jax.vmap(one)(archs)
