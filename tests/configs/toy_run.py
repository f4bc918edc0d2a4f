"""Random search on toy cells with made-up rewards, for the tests of run directories.

    nasjax search tests/configs/toy_run.py

Expected: 5 s; 18 evaluations in 5 batches, the last one half full; some have no reward.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from nasjax.base import Arch, Array, Evaluation, Key, Space, evaluation_key
from nasjax.methods.random_search import RandomSearch
from nasjax.search import Budget, Search
from nasjax.spaces.toy import Toy


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["space", "nan_share", "pure"])
@dataclasses.dataclass(frozen=True)
class MadeUp:
    """Rewards from the canonical key and the run's key; a table, in effect."""

    space: Space
    nan_share: float
    pure: bool

    def __call__(self, key: Key, archs: Arch) -> Evaluation:
        return evaluate(self.space, self.nan_share)(key, archs)

    def describe(self, arch: Arch) -> dict[str, int]:
        return {"parameters": 10 * int(arch.edges.sum()), "macs": 1000 * int(arch.edges.sum())}


@functools.lru_cache
def evaluate(space: Space, nan_share: float) -> Callable[[Key, Arch], Evaluation]:
    def one(key: Key, arch: Arch) -> tuple[Array, Array]:
        canonical = space.canonical_key(arch)
        reward = jax.random.uniform(evaluation_key(key, canonical), dtype=jnp.float32)
        lot = jax.random.uniform(evaluation_key(jax.random.key(9), canonical), dtype=jnp.float32)
        return jnp.where(lot < jnp.float32(nan_share), jnp.float32(jnp.nan), reward), canonical[1].astype(jnp.float32)

    def batch(key: Key, archs: Arch) -> Evaluation:
        reward, cost = jax.vmap(one, in_axes=(None, 0))(key, archs)
        return Evaluation(reward, jnp.ones(reward.shape, bool), cost, {"val_acc": reward, "test_acc": 1 - reward})

    return jax.jit(batch)


@dataclasses.dataclass(frozen=True)
class MadeUpRewards:
    """Settings of `MadeUp`.

    Attributes:
      nan_share: share of architectures whose reward is NaN.
      pure: whether the evaluator says that it may be traced.
    """

    nan_share: float = 0.0
    pure: bool = False

    def build(self, space: Space) -> MadeUp:
        return MadeUp(space, self.nan_share, self.pure)


def config() -> Search:
    return Search(Toy(), RandomSearch(batch=4), MadeUpRewards(nan_share=0.2), Budget(evaluations=18))
