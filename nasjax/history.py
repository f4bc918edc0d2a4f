"""What a search has seen: a fixed-size buffer, membership by canonical key, elites, and the choice of what to ask next.

Every method uses it the same way: candidates in, the first unseen ones out, refilled from the space's prior. All
functions are pure, keep shapes, and hold no host callback; under `vmap` nothing is computed for a case that no search
is in.

Membership depends on the space. `Enumerable`: a bitset of class ids. Others: up to 128 queries the key is compared
with all keys of the buffer, above that with the 16 of one bucket.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from nasjax import graph
from nasjax.base import Arch, Array, Enumerable, Evaluation, Key, Origin, Partial, Proposals, PyTree, Space

COMPARED = 128
"""Largest budget whose keys are all compared; above it buckets are faster."""

ROUNDS = 32
"""Most rounds of draws for one batch, of the prior and of rows, in a space whose unseen architectures cannot be listed."""

BUCKET = 16
"""Keys in a bucket; buckets are filled to about 2 when the budget is spent."""


class Buckets(NamedTuple):
    """A hash table of keys.

    Attributes:
      keys: uint32[buckets, 16, 2].
      sizes: int32[buckets], keys put into each bucket so far.
      overflow: bool[], whether a 17th key overwrote an older one; such a key may be proposed again, and results call it a repeat.
    """

    keys: Array
    sizes: Array
    overflow: Array


class History(NamedTuple):
    """What has been evaluated, in order; Q = the budget.

    Attributes:
      archs: Arch[Q]; rows from `count` on mean nothing, here and below.
      keys: uint32[Q, 2], canonical keys.
      reward: float32[Q], as it came, also where it is not finite.
      valid: bool[Q]; False also where the reward is not finite.
      origin: int32[Q], an `Origin`.
      count: int32[], evaluations so far.
      members: Enumerable: uint32[words], bit c of word c // 32 is set if class c is not to be proposed (seen, or
        without a member in the space); else `Buckets`, or () where keys are compared.
    """

    archs: Arch
    keys: Array
    reward: Array
    valid: Array
    origin: Array
    count: Array  # type: ignore[assignment]  # the field's name wins over tuple.count
    members: PyTree


class Elite(NamedTuple):
    """The best valid evaluations, ascending by (reward, insertion).

    Attributes:
      archs: Arch[M].
      reward: float32[M], 0 where `mask` is False.
      mask: bool[M], rows 0..size-1; the best stands in row size-1.
      size: int32[].
    """

    archs: Arch
    reward: Array
    mask: Array
    size: Array


def empty(space: Space, budget: int) -> History:
    """Returns the history of a search for at most `budget` evaluations.

    Raises:
      ValueError: `budget` is less than 1.
    """
    if budget < 1:
        raise ValueError(f"history: a budget of {budget} evaluations; at least 1 is needed")
    shapes = jax.eval_shape(space.sample, jax.random.key(0))
    return History(
        archs=jax.tree.map(lambda leaf: jnp.zeros((budget, *leaf.shape), leaf.dtype), shapes),
        keys=jnp.zeros((budget, 2), jnp.uint32),
        reward=jnp.zeros(budget, jnp.float32),
        valid=jnp.zeros(budget, bool),
        origin=jnp.zeros(budget, jnp.int32),
        count=jnp.int32(0),
        members=_no_members(space, budget),
    )


def contains(space: Space, history: History, arch: Arch) -> Array:
    """Returns bool[], whether the architecture, or one with its key, has been evaluated or can never be proposed."""
    seen = _seen(history, _identity(space, arch))
    if isinstance(space, Partial) and not isinstance(space, Enumerable):
        seen |= ~space.has_row(arch)
    return seen


def first_unseen(
    space: Space,
    history: History,
    candidates: Arch,
    batch: int,
    key: Key,
    *,
    origin: Origin,
    candidate_mask: Array | None = None,
    refills: int = 8,
    info: dict[str, Array] | None = None,
) -> Proposals:
    """Returns the first `batch` candidates that are valid, unseen and different from each other, in stable order.

    Rows that are missing come from `refills` draws of the prior (REFILL); then, in an `Enumerable` space, uniformly
    from the unseen classes, each by its smallest member (FALLBACK), in others from further draws of the prior, up to
    `ROUNDS` times as many, and where a table has a part of such a space, from as many draws of what it has (FALLBACK): few of
    the prior's may be there, or few different ones. Rows that are still missing, and rows that would overrun the budget, stand
    last and are not live.

    Args:
      space: the space.
      history: what is not to be proposed again.
      candidates: Arch[C].
      batch: rows of the proposals.
      key: for refills and fallback; consumed.
      origin: of the candidates.
      candidate_mask: bool[C], which candidates count; all where None.
      refills: number of prior draws at a time.
      info: diagnostics to pass on.
    """
    refill_key, fallback_key = jax.random.split(key)
    num_candidates = jax.tree.leaves(candidates)[0].shape[0]
    allowed = jnp.ones(num_candidates, bool) if candidate_mask is None else candidate_mask
    wanted = jnp.clip(history.reward.shape[0] - history.count, 0, batch)
    identity = jax.vmap(functools.partial(_identity, space))(candidates)
    start = np.zeros(batch, np.int32)
    archs = jax.tree.map(lambda leaf: leaf[start], candidates)
    rows = _Rows(archs, identity[start], jnp.full(batch, int(origin), jnp.int32), jnp.int32(0))
    rows = _append(space, history, rows, candidates, identity, allowed, origin)
    if refills:
        most = 1 if isinstance(space, Enumerable) else ROUNDS
        rows = _refill(space, history, rows, wanted, refills, most, refill_key, space.sample, Origin.REFILL)
    if isinstance(space, Enumerable):
        rows = _fall_back(space, history, rows, wanted, fallback_key)
    elif isinstance(space, Partial) and refills:
        rows = _refill(space, history, rows, wanted, refills, ROUNDS, fallback_key, space.sample_row, Origin.FALLBACK)
    live = jnp.arange(batch) < jnp.minimum(rows.filled, wanted)
    return Proposals(rows.archs, live, rows.origin, info or {})


def add(space: Space, history: History, proposals: Proposals, evaluation: Evaluation) -> History:
    """Returns the history with the live rows appended in order.

    Invalid ones count and are members too, so that they are never proposed again. Rows beyond the budget are dropped.
    """
    budget = history.reward.shape[0]
    live = proposals.live
    place = history.count + jnp.cumsum(live, dtype=jnp.int32) - 1
    live &= place < budget
    place = jnp.where(live, place, budget)  # out of range: dropped
    keys = jax.vmap(space.canonical_key)(proposals.archs)
    identity = jax.vmap(functools.partial(_identity, space))(proposals.archs)
    usable = evaluation.valid & jnp.isfinite(evaluation.reward)

    def put(column: Array, values: Array) -> Array:
        return column.at[place].set(values, mode="drop")

    return History(
        archs=jax.tree.map(put, history.archs, proposals.archs),
        keys=put(history.keys, keys),
        reward=put(history.reward, evaluation.reward.astype(jnp.float32)),
        valid=put(history.valid, usable),
        origin=put(history.origin, proposals.origin),
        count=history.count + live.sum(dtype=jnp.int32),
        members=_with_members(history, identity, live),
    )


def elite(history: History, num: int) -> Elite:
    """Returns the `num` best valid evaluations, or all while there are fewer; of equal rewards the later stands higher.

    Raises:
      ValueError: `num` is less than 1.
    """
    if num < 1:
        raise ValueError(f"history: an elite of {num}; at least 1 is needed")
    budget = history.reward.shape[0]
    usable = history.valid & (jnp.arange(budget) < history.count)
    reward = jnp.where(usable, history.reward, -jnp.inf)
    reward = jnp.where(reward == 0, jnp.float32(0), reward)  # -0 is a tie with 0; top_k would order them
    # top_k gives the smaller index first among equals; reversed, that is the later insertion.
    _, reverse = jax.lax.top_k(reward[::-1], min(num, budget))
    descending = budget - 1 - reverse
    size = jnp.minimum(usable.sum(dtype=jnp.int32), num)
    rows = jnp.arange(num, dtype=jnp.int32)
    mask = rows < size
    place = descending[jnp.where(mask, size - 1 - rows, 0)]
    archs = jax.tree.map(lambda leaf: leaf[place], history.archs)
    return Elite(archs, jnp.where(mask, history.reward[place], 0), mask, size)


class _Rows(NamedTuple):
    """Proposals in the making; rows from `filled` on mean nothing."""

    archs: Arch
    identity: Array
    origin: Array
    filled: Array


def _append(
    space: Space, history: History, rows: _Rows, candidates: Arch, identity: Array, allowed: Array, origin: Origin
) -> _Rows:
    """The rows with those candidates that are allowed, valid, unseen and new to the rows, while there is room."""
    taken = jnp.arange(rows.origin.size, dtype=jnp.int32) < rows.filled
    known = (_equal(identity, rows.identity) & taken[None, :]).any(axis=1)
    seen = jax.vmap(_seen, (None, 0))(history, identity)
    eligible = allowed & jax.vmap(space.is_valid)(candidates) & ~seen & ~known
    if isinstance(space, Partial) and not isinstance(space, Enumerable):  # there the bitset knows
        eligible &= jax.vmap(space.has_row)(candidates)
    if (
        rows.origin.size == 1
    ):  # the first one: no repeats among many, no sum over those before (half of a search's time)
        new, source = (eligible.any() & (rows.filled < 1))[None], jnp.argmax(eligible)[None]
        filled = rows.filled + new.sum(dtype=jnp.int32)
    else:
        eligible &= ~_repeats(identity, eligible)
        rank = rows.filled + jnp.cumsum(eligible, dtype=jnp.int32) - 1  # the row that an eligible candidate goes to
        hit = (rank[None, :] == jnp.arange(rows.origin.size, dtype=jnp.int32)[:, None]) & eligible[None, :]
        new, source = hit.any(axis=1), jnp.argmax(hit, axis=1)
        filled = jnp.minimum(rank[-1] + 1, rows.origin.size)
    return _Rows(
        archs=jax.tree.map(lambda row, value: _where(new, value[source], row), rows.archs, candidates),
        identity=_where(new, identity[source], rows.identity),
        origin=jnp.where(new, jnp.int32(origin), rows.origin),
        filled=filled,
    )


def _refill(
    space: Space,
    history: History,
    rows: _Rows,
    wanted: Array,
    refills: int,
    most: int,
    key: Key,
    sample: Callable[[Key], Arch],
    origin: Origin,
) -> _Rows:
    """The rows with unseen draws of `sample` appended, `refills` a round, while some are missing, at most `most` rounds.

    A loop even where one round is all: under `vmap` draws are made only where some search needs them, with a `cond` always.
    """

    def needed(state: tuple[Array, Key, _Rows]) -> Array:
        tried, _, rows = state
        return (tried < most) & (rows.filled < wanted)

    def draw(state: tuple[Array, Key, _Rows]) -> tuple[Array, Key, _Rows]:
        tried, key, rows = state
        keys = jax.random.split(key, refills)
        drawn = jax.vmap(sample)(keys)
        identity = jax.vmap(functools.partial(_identity, space))(drawn)
        allowed = jnp.ones(refills, bool)
        # A key that changes: what does not depend on the round, XLA would draw ahead of the loop, hence always.
        following = jax.random.fold_in(key, refills)  # none of `keys`
        return tried + 1, following, _append(space, history, rows, drawn, identity, allowed, origin)

    return jax.lax.while_loop(needed, draw, (jnp.int32(0), key, rows))[2]


def _fall_back(space: Enumerable, history: History, rows: _Rows, wanted: Array, key: Key) -> _Rows:
    """The rows with members of unseen classes appended, uniformly without replacement; none where all have been seen.

    A loop over missing rows, so under `vmap` as many rounds as the neediest search has: mostly none.
    """
    batch = rows.origin.size
    members = jax.tree.map(jnp.asarray, _representatives(cast(Any, space)))  # spaces are hashable
    places = jnp.arange(batch, dtype=jnp.int32)

    def needed(state: tuple[Array, _Rows]) -> Array:
        exhausted, rows = state
        return ~exhausted & (rows.filled < wanted)

    def draw(state: tuple[Array, _Rows]) -> tuple[Array, _Rows]:
        _, rows = state
        free = ~_set_bits(history.members, rows.identity, places < rows.filled)
        counts = jax.lax.population_count(free).astype(jnp.int32)
        ends = jnp.cumsum(counts)
        total = ends[-1]
        drawn = jax.random.bits(jax.random.fold_in(key, rows.filled), (), jnp.uint32)
        rank = (drawn % jnp.maximum(total, 1).astype(jnp.uint32)).astype(jnp.int32)
        word = jnp.minimum((ends <= rank).sum(dtype=jnp.int32), free.size - 1)
        bits = (free[word] >> jnp.arange(32, dtype=jnp.uint32)) & jnp.uint32(1)
        order = ends[word] - counts[word] + jnp.cumsum(bits, dtype=jnp.int32) - 1
        chosen = 32 * word + jnp.argmax((order == rank) & (bits > 0)).astype(jnp.int32)
        new = (places == rows.filled) & (total > 0)
        archs = jax.tree.map(
            lambda row, table: _where(new, table[chosen][None].astype(row.dtype), row), rows.archs, members
        )
        return total == 0, _Rows(
            archs=archs,
            identity=jnp.where(new, chosen, rows.identity),
            origin=jnp.where(new, jnp.int32(Origin.FALLBACK), rows.origin),
            filled=rows.filled + (total > 0).astype(jnp.int32),
        )

    return jax.lax.while_loop(needed, draw, (jnp.bool_(False), rows))[1]


def _where(rows: Array, values: Array, others: Array) -> Array:
    """`values` in the rows of bool[B], else `others`."""
    return jnp.where(rows.reshape(-1, *[1] * (others.ndim - 1)), values, others)


def _identity(space: Space, arch: Arch) -> Array:
    """What membership compares: int32[] class id, or uint32[2] key."""
    if isinstance(space, Enumerable):
        return space.class_of(space.index(arch))
    return space.canonical_key(arch)


def _no_members(space: Space, budget: int) -> PyTree:
    """The set that holds nothing yet; a bitset has the classes without a member in the space, and its spare bits."""
    if isinstance(space, Enumerable):
        words = -(-space.num_classes // 32)
        missing = jnp.pad(space.class_members() < 0, (0, 32 * words - space.num_classes), constant_values=True)
        bits = missing.reshape(words, 32).astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32)[None]
        bitset: Array = bits.sum(axis=1, dtype=jnp.uint32)
        return bitset
    if budget <= COMPARED:
        return ()
    buckets = 1 << int(np.ceil(np.log2(max(budget / 2, 8))))
    buckets = min(buckets, 1 << 16)  # the hash below has 16 bits
    return Buckets(jnp.zeros((buckets, BUCKET, 2), jnp.uint32), jnp.zeros(buckets, jnp.int32), jnp.zeros((), bool))


def _seen(history: History, identity: Array) -> Array:
    """bool[] of one identity."""
    members = history.members
    if isinstance(members, Buckets):
        bucket = _bucket(members, identity)
        equal = (members.keys[bucket] == identity[None]).all(axis=1)
        return (equal & (jnp.arange(BUCKET) < members.sizes[bucket])).any()
    if isinstance(members, tuple):
        equal = (history.keys == identity[None]).all(axis=1)
        return (equal & (jnp.arange(equal.size) < history.count)).any()
    bit: Array = (members[identity >> 5] >> (identity & 31).astype(jnp.uint32)) & jnp.uint32(1)
    return bit > 0


def _with_members(history: History, identity: Array, live: Array) -> PyTree:
    """The set with the live rows of identities [B] or [B, 2]."""
    members = history.members
    if isinstance(members, Buckets):
        bucket = jax.vmap(_bucket, (None, 0))(members, identity)
        earlier = (bucket[None, :] == bucket[:, None]) & live[None, :]
        place = members.sizes[bucket] + jnp.tril(earlier, -1).sum(axis=1, dtype=jnp.int32)
        bucket = jnp.where(live, bucket, members.sizes.size)  # out of range: dropped
        return Buckets(
            members.keys.at[bucket, place % BUCKET].set(identity, mode="drop"),
            members.sizes.at[bucket].add(1, mode="drop"),
            members.overflow | (live & (place >= BUCKET)).any(),
        )
    if isinstance(members, tuple):
        return members
    new = live & ~jax.vmap(_seen, (None, 0))(history, identity)
    return _set_bits(members, identity, new & ~_repeats(identity, new))


def _repeats(identity: Array, counts: Array) -> Array:
    """bool[C], whether an earlier row that counts has the same identity."""
    return jnp.tril(_equal(identity, identity) & counts[None, :], -1).any(axis=1)


def _equal(left: Array, right: Array) -> Array:
    """bool[L, R] of identities [L] and [R], or [L, 2] and [R, 2]."""
    equal = left[:, None] == right[None, :]
    return equal if equal.ndim == 2 else equal.all(axis=2)


def _set_bits(words: Array, identity: Array, chosen: Array) -> Array:
    """The bitset with the chosen identities, which must be new and different: then a sum sets bits."""
    bits = chosen.astype(jnp.uint32) << (identity & 31).astype(jnp.uint32)
    with_bits: Array = words.at[identity >> 5].add(bits)
    return with_bits


@functools.cache
def _representatives(space: Any) -> Arch:
    """Arch[num_classes] in NumPy, the smallest member of each class, in the smallest integers that hold them."""
    with jax.ensure_compile_time_eval():
        members = np.maximum(np.asarray(space.class_members()), 0)
        everything = jax.tree.map(np.asarray, space.all())
    return jax.tree.map(lambda leaf: leaf[members].astype(np.min_scalar_type(-int(leaf.max()) - 1)), everything)


def _bucket(members: Buckets, key: Array) -> Array:
    """int32[], the bucket of a key."""
    word = graph.mix(key[0] ^ graph.mix(key[1])) >> jnp.uint32(16)
    bucket: Array = (word & jnp.uint32(members.sizes.size - 1)).astype(jnp.int32)
    return bucket
