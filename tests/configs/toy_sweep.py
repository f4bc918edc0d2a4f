"""Random search in small and large batches on toy cells, rewards made up.    nasjax sweep tests/configs/toy_sweep.py

Expected: 10 s.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Arch, Array, Evaluation, Key, Space, evaluation_key
from nasjax.methods.random_search import RandomSearch
from nasjax.search import Budget
from nasjax.spaces.toy import Toy
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["noise"])
@dataclasses.dataclass(frozen=True)
class ByCode:
    """A table by the 64 strings of `Toy`; the test column is minus the validation one."""

    values: Array
    noise: float

    pure = True
    source = {"file": "made up", "sha256": "", "modelled": True, "unit": "points"}  # noqa: RUF012

    def __call__(self, key: Key, archs: Arch) -> Evaluation:
        def one(arch: Arch) -> tuple[Array, Array]:
            value = self.values[Toy().index(arch)]
            drawn = jax.random.normal(evaluation_key(key, Toy().canonical_key(arch)), dtype=jnp.float32)
            return value + jnp.float32(self.noise) * drawn, value

        signal, value = jax.vmap(one)(archs)
        cost = jnp.full(signal.shape, 2, jnp.float32)
        return Evaluation(signal, jnp.isfinite(value), cost, {"validation": value, "test": -value})

    def best(self, space: Space) -> dict[str, float]:
        values = np.asarray(self.values)
        return {"validation": float(np.nanmax(values)), "test": float(np.nanmax(-values))}

    def searchable(self, space: Space) -> Space:
        return space


@dataclasses.dataclass(frozen=True)
class MadeUpTable:
    """Settings of `ByCode`: values drawn from `seed`, the best cell 63, cell 5 without a value."""

    task: str = "first"
    signal: str = "value"
    seed: int = 0
    noise: float = 0.0

    def build(self, space: Space) -> ByCode:
        values = np.random.default_rng(self.seed).uniform(0, 90, 64).astype(np.float32)
        values[63], values[5] = 95, np.nan
        return ByCode(jnp.asarray(values), self.noise)


def config() -> Sweep:
    return Sweep(
        Toy(),
        (Entry("one", RandomSearch(batch=1)), Entry("four", RandomSearch(batch=4))),
        (MadeUpTable(), MadeUpTable("second", "value:gauss(1)", 1, 1.0)),
        Budget(evaluations=10),
        seeds=30,
        compare=Comparison(references=("one",), at=(5, 10)),
        chunk=12,
    )
