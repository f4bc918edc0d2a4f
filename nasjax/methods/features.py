"""Architectures and rewards as the numbers that surrogate models of fixed-length vectors learn from.

Source: path encoding: White et al., "BANANAS: Bayesian Optimization with Neural Architectures for Neural Architecture
Search" (arXiv:1910.11858). Normal scores: van der Waerden's. Ours: targets are ranks, since accuracies have a long tail
of bad values, which takes most of a regression's attention.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from nasjax.base import Arch, Array, Factored, PathEncoded, Space

Kind: TypeAlias = Literal["paths", "one_hot"]


class Encoding(NamedTuple):
    """What makes vectors of architectures; static.

    Attributes:
      size: F.
      encode: Arch -> float32[F], entries 0 or 1.
    """

    size: int
    encode: Callable[[Arch], Array]


def encoding(space: Space, kind: Kind, method: str) -> Encoding:
    """Returns an encoding of a space's architectures.

    Args:
      space: the space.
      kind: "paths": one feature for each sequence of operations, 1 iff a path has it. "one_hot": each decision's value.
      method: who asks, for errors.

    Raises:
      ValueError: the space cannot be encoded so, or there is no such kind.
    """
    if kind == "paths":
        if not isinstance(space, PathEncoded):
            raise ValueError(f"{method}: {space.name} has no path encoding; encoding='one_hot'")
        return Encoding(space.num_paths, space.paths)
    if kind != "one_hot":
        raise ValueError(f"{method}: unknown encoding {kind!r}; one of paths, one_hot")
    if not isinstance(space, Factored):
        raise ValueError(
            f"{method}: {space.name} is no product of choices (base.Factored), so it has no one-hot encoding"
        )
    return one_hot(space)


def one_hot(space: Factored) -> Encoding:
    """Returns the one-hot encoding: K columns a decision, without one for "nothing here"; one column where K = 2.

    NAS-Bench-201: 24 numbers, with or without `none` among the operations.
    """
    decision, value = [], []
    for place, (choices, none) in enumerate(zip(space.choices, space.none_choices, strict=True)):
        columns = [1] if choices == 2 else [v for v in range(choices) if v != none and choices > 1]
        decision += [place] * len(columns)
        value += columns
    where, what = np.array(decision, np.int32), np.array(value, np.int32)
    return Encoding(len(value), lambda arch: (space.decisions(arch)[where] == what).astype(jnp.float32))


def normal_scores(reward: Array, mask: Array) -> Array:
    """Returns float32[Q], the normal quantile of (rank - 1/2) / n among the n masked rewards; 0 elsewhere.

    Ties share the average of their ranks.

    Args:
      reward: float32[Q]; finite where `mask`.
      mask: bool[Q].
    """
    lower = (reward[None, :] < reward[:, None]) & mask[None, :]
    equal = (reward[None, :] == reward[:, None]) & mask[None, :]
    # Twice the rank less 1/2, an exact integer: Σ lower + (Σ equal + 1) / 2 - 1/2.
    twice = 2 * lower.sum(axis=1, dtype=jnp.int32) + equal.sum(axis=1, dtype=jnp.int32)
    number = jnp.maximum(mask.sum(dtype=jnp.int32), 1)
    level = jnp.where(mask, twice, number).astype(jnp.float32) / (2 * number).astype(jnp.float32)
    return jnp.where(mask, ndtri(level), 0)
