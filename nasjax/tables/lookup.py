"""From an architecture to its row, on the device.

Enumerable spaces: one place an architecture, by `index`. Others: buckets of canonical keys, sorted so that a bucket's keys
lie side by side; a lookup reads where its bucket starts and compares the few keys there (NAS-Bench-101: 8 at most). With
424,000 keys and 8,192 lookups at once that takes 0.06 microseconds each on a CPU core, a binary search 0.13
(`benchmarks/table_lookup.py`).
"""

import dataclasses
import functools
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from nasjax import graph
from nasjax.base import Arch, Array, Enumerable, Space


class Dense(NamedTuple):
    """One place an architecture.

    Attributes:
      there: bool[size], whether the place holds figures.
    """

    there: Array

    def find(self, space: Space, arch: Arch) -> tuple[Array, Array]:
        """Returns int32[] row and bool[] whether there is one."""
        assert isinstance(space, Enumerable)
        row = space.index(arch)
        return row, self.there[row] & space.is_valid(arch)  # an architecture outside the subset has another one's index


@functools.partial(jax.tree_util.register_dataclass, data_fields=["keys", "starts"], meta_fields=["depth"])
@dataclasses.dataclass(frozen=True)
class Keyed:
    """Keys by bucket.

    Attributes:
      keys: uint32[rows, 2], bucket by bucket.
      starts: int32[buckets + 1], first row of each bucket; the number of buckets is a power of two.
      depth: keys in the fullest bucket.
    """

    keys: Array
    starts: Array
    depth: int

    def find(self, space: Space, arch: Arch) -> tuple[Array, Array]:
        """Returns int32[] row and bool[] whether there is one."""
        key = space.canonical_key(arch)
        start = self.starts[_bucket(key, self.starts.size - 1).astype(jnp.int32)]
        places = start + jnp.arange(self.depth, dtype=jnp.int32)  # runs into the next buckets, whose keys are others
        places = jnp.minimum(places, self.keys.shape[0] - 1)
        equal = (self.keys[places] == key[None]).all(axis=1)
        return places[jnp.argmax(equal)], equal.any()


Lookup: TypeAlias = Dense | Keyed


def keyed(identity: npt.NDArray[np.uint64]) -> tuple[Keyed, npt.NDArray[np.int64]]:
    """Returns the lookup of these keys in NumPy, and int64[rows]: which key stands in each row.

    Args:
      identity: uint64[rows], different keys, hi * 2^32 + lo; at least one.
    """
    words = np.stack([identity >> np.uint64(32), identity & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)
    buckets = 1 << max(len(identity) - 1, 1).bit_length()
    with jax.ensure_compile_time_eval():
        bucket = np.asarray(jax.vmap(_bucket, (0, None))(jnp.asarray(words), buckets))
    order = np.lexsort((identity, bucket))
    starts = np.searchsorted(bucket[order], np.arange(buckets + 1)).astype(np.int32)
    depth = int(np.diff(starts).max())
    return Keyed(words[order], starts, depth), order  # type: ignore[arg-type]


def _bucket(key: Array, buckets: int) -> Array:
    """uint32[]."""
    hashed: Array = graph.mix(key[0] ^ graph.mix(key[1])) & jnp.uint32(buckets - 1)
    return hashed
