"""Telling architectures apart by their exact encoding instead of by what they compute.

GraphPNAS's code compares arrays only, so an isomorph of an evaluated cell is proposed again. `by_encoding` wraps a
space so that `history` does the same; `Repeats` keeps count where such a repeat is not paid for twice.
"""

import dataclasses
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from nasjax import graph
from nasjax.base import Arch, Array, Enumerable, Evaluation, Graph, Key, Partial, Proposals, Space
from nasjax.history import History


@dataclasses.dataclass(frozen=True)
class ByEncoding:
    """A space whose canonical key is a hash of the arrays (64 bits: collisions are possible, and rare)."""

    space: Space

    @property
    def name(self) -> str:
        """The wrapped space's."""
        return self.space.name

    def sample(self, key: Key) -> Arch:
        """Returns the wrapped space's draw."""
        return self.space.sample(key)

    def is_valid(self, arch: Arch) -> Array:
        """Returns the wrapped space's answer."""
        return self.space.is_valid(arch)

    def canonical_key(self, arch: Arch) -> Array:
        """Returns uint32[2], equal for equal arrays."""
        words = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(arch)]).astype(jnp.uint32)
        start = jnp.array([0x9E3779B1, 0x85EBCA77], jnp.uint32)

        def absorb(state: Array, word: Array) -> tuple[Array, None]:
            return graph.mix((state ^ word) + start), None

        return jax.lax.scan(absorb, start, words)[0]

    def mutate(self, key: Key, arch: Arch) -> Arch:
        """Returns the wrapped space's mutant."""
        return self.space.mutate(key, arch)

    def neighbours(self, arch: Arch) -> tuple[Arch, Array]:
        """Returns the wrapped space's neighbours."""
        return self.space.neighbours(arch)

    def graphs(self, arch: Arch) -> Graph:
        """Returns the wrapped space's graphs."""
        return self.space.graphs(arch)

    def to_spec(self, arch: Arch) -> str:
        """Returns the wrapped space's string."""
        return self.space.to_spec(arch)

    def from_spec(self, spec: str) -> Arch:
        """Reads the wrapped space's string."""
        return self.space.from_spec(spec)


@dataclasses.dataclass(frozen=True)
class PartByEncoding(ByEncoding):
    """The same for a part of a space."""

    @property
    def _part(self) -> Partial:
        return cast(Partial, self.space)

    def has_row(self, arch: Arch) -> Array:
        """Returns the wrapped space's answer."""
        return self._part.has_row(arch)

    def sample_row(self, key: Key) -> Arch:
        """Returns the wrapped space's row."""
        return self._part.sample_row(key)


@dataclasses.dataclass(frozen=True)
class EnumerableByEncoding(ByEncoding):
    """The same for a space that can be listed: every architecture is its own class, exactly."""

    @property
    def _listed(self) -> Enumerable:
        return cast(Enumerable, self.space)

    @property
    def size(self) -> int:
        """Number of architectures."""
        return self._listed.size

    @property
    def num_classes(self) -> int:
        """Number of architectures."""
        return self._listed.size

    def canonical_key(self, arch: Arch) -> Array:
        """Returns uint32[2] = [0, index]."""
        return jnp.stack([jnp.uint32(0), self.index(arch).astype(jnp.uint32)])

    def all(self) -> Arch:
        """Returns Arch[size]."""
        return self._listed.all()

    def index(self, arch: Arch) -> Array:
        """Returns int32[]."""
        return self._listed.index(arch)

    def class_of(self, index: Array) -> Array:
        """Returns `index`."""
        return index

    def class_members(self) -> Array:
        """Returns int32[size], 0, 1, 2, ...; -1 for those that cannot be evaluated."""
        members = jnp.arange(self._listed.size, dtype=jnp.int32)
        if isinstance(self.space, Partial):
            members = jnp.where(jax.vmap(self.space.has_row)(self.all()), members, -1)
        return members


def by_encoding(space: Space) -> Space:
    """Returns the space with encodings for classes; `Enumerable` where `space` is, else `Partial` where `space` is."""
    if isinstance(space, Enumerable):
        return EnumerableByEncoding(space)
    return PartByEncoding(space) if isinstance(space, Partial) else ByEncoding(space)


class Repeats(NamedTuple):
    """The account of a method that recalls the rewards of repeats instead of paying for them.

    Attributes:
      unique: int32[], canonical keys evaluated so far.
      recalled: bool[B], rows of the present batch that are repeats.
    """

    unique: Array
    recalled: Array


def mark(space: Space, past: History, proposals: Proposals, unique: Array, budget: int) -> tuple[Proposals, Repeats]:
    """Returns the proposals with repeats not live, and what `recall` needs.

    Args:
      space: the one whose canonical keys count.
      past: what has been evaluated or recalled.
      proposals: distinct by encoding.
      unique: int32[], canonical keys evaluated before.
      budget: the largest number of them.
    """
    source, row = _first_equal(space, past, proposals)
    known = (source >= 0) | (row < jnp.arange(row.size))
    fresh = proposals.live & ~known
    place = unique + jnp.cumsum(fresh, dtype=jnp.int32) - 1
    live = fresh & (place < budget)
    # A repeat of a row that no longer fits into the budget has no reward to recall.
    recalled = proposals.live & known & ((source >= 0) | live[row])
    return proposals._replace(live=live), Repeats(unique, recalled)


def recall(
    space: Space, past: History, proposals: Proposals, evaluation: Evaluation, repeats: Repeats
) -> tuple[Proposals, Evaluation, Repeats]:
    """Returns proposals and evaluation as if the recalled rows had been evaluated, for `history.add`.

    Args:
      space: the one whose canonical keys count.
      past: the archive before this batch.
      proposals: as `mark` returned them.
      evaluation: of the live rows.
      repeats: as `mark` returned them.
    """
    source, row = _first_equal(space, past, proposals)
    old = source >= 0
    reward = jnp.where(old, past.reward[source], evaluation.reward[row])
    valid = jnp.where(old, past.valid[source], evaluation.valid[row])
    told = evaluation._replace(
        reward=jnp.where(repeats.recalled, reward, evaluation.reward),
        valid=jnp.where(repeats.recalled, valid, evaluation.valid),
    )
    unique = repeats.unique + proposals.live.sum(dtype=jnp.int32)
    told_proposals = proposals._replace(live=proposals.live | repeats.recalled)
    return told_proposals, told, Repeats(unique, jnp.zeros_like(repeats.recalled))


def _first_equal(space: Space, past: History, proposals: Proposals) -> tuple[Array, Array]:
    """Per row: int32, the first row of the archive with its canonical key or -1; int32, the first such row of the batch."""
    new = jax.vmap(space.canonical_key)(proposals.archs)
    old = jax.vmap(space.canonical_key)(past.archs)
    there = jnp.arange(old.shape[0]) < past.count
    same_old = (new[:, None] == old[None]).all(-1) & there[None]
    same_new = (new[:, None] == new[None]).all(-1)
    source = jnp.where(same_old.any(-1), jnp.argmax(same_old, -1), -1)
    return source.astype(jnp.int32), jnp.argmax(same_new, -1).astype(jnp.int32)
