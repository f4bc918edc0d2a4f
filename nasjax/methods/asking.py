"""What methods share when they ask: a phase of the prior, then candidates, and the prior again where none is left.

The prior's draws of a step come from the same key in every method that asks here. So methods of equal batch, given the same seed,
draw the same architectures at equal steps, random search among them: their comparison is paired.
"""

import jax
import jax.numpy as jnp

from nasjax import history
from nasjax.base import Arch, Array, Key, Origin, Proposals, Space
from nasjax.history import History

PRIOR_DRAWS = 16
"""Least number of draws of the prior for a batch; with twice as many as rows, hardly ever none of them is unseen."""


def own_keys(key: Key, number: int) -> Key:
    """Returns Key[number] for a method's own draws of a step; `key` itself is for `proposals`, which takes two others."""
    own: Key = jax.random.split(key, number + 2)[2:]
    return own


def proposals(
    space: Space,
    past: History,
    candidates: Arch,
    batch: int,
    key: Key,
    *,
    exploring: Array,
    origin: Origin,
    mask: Array | None = None,
    info: dict[str, Array] | None = None,
) -> Proposals:
    """Returns the first unseen candidates, or the first unseen draws of the prior while exploring or where none is left.

    Args:
      space: the space.
      past: what is not to be proposed again.
      candidates: Arch[C], in the order of preference.
      batch: rows of the proposals.
      key: the step's; the method's own draws use `own_keys` of it.
      exploring: bool[], whether this step is the prior's; the step is not batched, so keep this unbatched.
      origin: of the candidates.
      mask: bool[C], which candidates count; all where None.
      info: diagnostics to pass on.
    """
    num_candidates = jax.tree.leaves(candidates)[0].shape[0]
    allowed = jnp.ones(num_candidates, bool) if mask is None else mask
    made = history.first_unseen(
        space,
        past,
        candidates,
        batch,
        key,
        origin=origin,
        candidate_mask=allowed & ~exploring,
        refills=max(PRIOR_DRAWS, 2 * batch),
        info=info,
    )
    from_prior = exploring & (made.origin == Origin.REFILL)
    return made._replace(origin=jnp.where(from_prior, jnp.int32(Origin.PRIOR), made.origin))


def edits_of_best(space: Space, past: History, num: int, parents: int, key: Key) -> tuple[Arch, Array]:
    """Returns (Arch[num], bool[num]): single edits of architectures drawn uniformly from the `parents` best; `key` is consumed.

    None counts before there is a valid result.
    """
    draw_key, edit_key = jax.random.split(key)
    rows, size = best_rows(past.reward, past.valid, parents)
    drawn = jax.random.bits(draw_key, (num,), jnp.uint32) % jnp.maximum(size, 1).astype(jnp.uint32)
    chosen = jax.tree.map(lambda leaf: leaf[rows[drawn]], past.archs)
    return jax.vmap(space.mutate)(jax.random.split(edit_key, num), chosen), jnp.broadcast_to(size > 0, (num,))


def best_rows(reward: Array, usable: Array, num: int) -> tuple[Array, Array]:
    """Returns (rows int32[num] of the best usable rewards, of equal ones the earlier first; int32[], how many there are).

    Rows beyond that number mean nothing.
    """
    most = min(num, reward.shape[0])
    ranked = jnp.where(usable, jnp.where(reward == 0, 0, reward), -jnp.inf)  # -0 is a tie with 0, not below it
    rows = jax.lax.top_k(ranked, most)[1]  # of equal values the smaller index first
    rows = jnp.pad(rows, (0, num - most))
    return rows, jnp.minimum(usable.sum(dtype=jnp.int32), most)


def steps(queries: int, batch: int) -> int:
    """Returns the number of batches that hold `queries` rows."""
    return -(-queries // batch)
