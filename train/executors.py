"""Train a population of children on whatever devices there are: one signature, five ways.

| name | how | for |
|---|---|---|
| `map` | `lax.map` over children, `lax.switch` on each operation: only the chosen one runs | CPU |
| `vmap` | children as a batch axis, all operations as batched matrix products | GPU, TPU |
| `shard` | the child axis over a device mesh (`shard_map`), inside it `map` or `vmap` | several devices |
| `pmap` | the same by `jax.pmap`, for code that still stands on it | tested equal, not chosen by itself |
| `static` | one program an architecture | final trainings, reference |

A child's result depends on its architecture, its key and its hyperparameters only, not on its neighbours, nor, at one
number of children a device, on the number of devices: bit for bit for NAS-Bench-201's network (a test), up to rounding
for any. Between executors and widths it agrees up to rounding. When a device runs out of memory the number of children in
flight is halved, which is said once; a child that does not fit alone is given up.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from nasjax.base import Arch, Key, PyTree
from nasjax.train.data import Data, Task
from nasjax.train.networks import native
from nasjax.train.recipe import Hyper, Network, Recipe, Scores, train_child

Executor: TypeAlias = Literal["auto", "map", "vmap", "shard", "pmap", "static"]
EXECUTORS: tuple[str, ...] = get_args(Executor)

VMAP_CHUNK = 128
"""Children that `vmap` trains at once on each device, if not told otherwise."""


@dataclasses.dataclass
class Population:
    """Trains populations with one network, recipe and task; remembers which width fits into memory.

    Attributes:
      network: static.
      recipe: static.
      task: static.
      data: the task's arrays.
      executor: see the module; "auto" = `choose()`.
      chunk: children in flight on all devices together; None = all (`map`: no more memory than one), or
        `VMAP_CHUNK` a device. The last chunk is padded to the same width, so that one program serves all.
      num_devices: how many devices `shard` and `pmap` use; None = all. As many children a device, same bits.
    """

    network: Network
    recipe: Recipe
    task: Task
    data: Data
    executor: Executor = "auto"
    chunk: int | None = None
    num_devices: int | None = None

    def __post_init__(self) -> None:
        """Refuses what there is not.

        Raises:
          ValueError: an unknown executor, a chunk below 1.
        """
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor is {self.executor!r}; one of {', '.join(EXECUTORS)}")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk is {self.chunk}; at least 1")
        if not 1 <= self._devices() <= jax.device_count():
            raise ValueError(f"num_devices is {self.num_devices}; from 1 to {jax.device_count()}")
        if self.executor == "auto":
            self.executor = choose()

    def train(self, archs: Arch, keys: Key, hyper: Hyper | None = None) -> Scores:
        """Returns the scores of K children, float32[K] each, on the host; NaN for one that has no result.

        Args:
          archs: Arch[K].
          keys: Key[K], one a child.
          hyper: float32[K] each; None = the recipe's.
        """
        num = keys.shape[0]
        if hyper is None:
            rate, decay = self.recipe.learning_rate, self.recipe.weight_decay
            hyper = Hyper(jnp.full(num, rate, jnp.float32), jnp.full(num, decay, jnp.float32))
        given = (archs, keys, hyper)
        done, results = 0, []
        while done < num:
            width = self._width(num)
            # Beyond the end: the first child again, whose result is dropped.
            rows = np.where(np.arange(done, done + width) < num, np.arange(done, done + width), 0)
            try:
                scores = self._run(jax.tree.map(lambda leaf, rows=rows: leaf[rows], given))
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                if width > self._least():
                    self.chunk = max(width // 2, self._least())
                    warnings.warn(
                        f"out of memory with {width} children at once; going on with {self.chunk}", stacklevel=2
                    )
                    continue
                scores = Scores(*[jnp.full(width, jnp.nan, jnp.float32)] * len(Scores._fields))
            results.append(jax.tree.map(lambda leaf, done=done: np.asarray(leaf)[: num - done], scores))
            done += width
        joined: Scores = jax.tree.map(lambda *leaves: np.concatenate(leaves).astype(np.float32), *results)
        return joined

    def _devices(self) -> int:
        return jax.device_count() if self.num_devices is None else self.num_devices

    def _least(self) -> int:
        """Children of the narrowest program: one a device."""
        return self._devices() if self.executor in ("shard", "pmap") else 1

    def _width(self, num: int) -> int:
        if self.executor == "static":
            return 1
        width = num if self.chunk is None else min(self.chunk, num)
        if self.chunk is None and inner_form() == "dense" and self.executor != "map":
            width = min(width, VMAP_CHUNK * self._least())
        return -(-width // self._least()) * self._least()

    def _run(self, given: tuple[Arch, Key, Hyper]) -> Scores:
        fixed = (self.network, self.recipe, self.task)
        if self.executor == "static":
            arch, key, hyper = jax.tree.map(lambda leaf: leaf[0], given)
            program = _static_program(*fixed, _Concrete(jax.tree.map(np.asarray, arch)))
            alone: Scores = jax.tree.map(lambda leaf: leaf[None], program(self.data, key, hyper))
            return alone
        return _program(self.executor, *fixed, self._devices(), native.wanted())(self.data, given)


def choose() -> Executor:
    """Returns the executor for the devices of this process: several are shared by `shard`, a CPU gets `map`."""
    if jax.device_count() > 1:
        return "shard"
    return "map" if inner_form() == "switch" else "vmap"


def inner_form() -> str:
    """Returns how a device trains its share: "switch" (by `lax.map`) on CPUs, "dense" (by `vmap`) elsewhere."""
    return "switch" if jax.default_backend() == "cpu" else "dense"


class _Concrete:
    """An architecture as a hashable value."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        leaves, structure = jax.tree.flatten(arch)
        self._identity = (structure, *(leaf.tobytes() for leaf in leaves))

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Concrete) and self._identity == other._identity


Program: TypeAlias = Callable[[Data, Any], Scores]


def _share(network: Network, recipe: Recipe, task: Task, how: str) -> Program:
    """Trains children on one device: by `map`, or all at once."""

    def train(data: Data, given: tuple[Arch, Key, Hyper]) -> Scores:
        def child(one: tuple[Arch, Key, Hyper]) -> Scores:
            return train_child(network, recipe, task, "switch" if how == "map" else "dense", data, *one)

        scores: Scores = jax.lax.map(child, given) if how == "map" else jax.vmap(child)(given)
        return scores

    return train


@functools.lru_cache(maxsize=16)
def _program(
    executor: str, network: Network, recipe: Recipe, task: Task, num_devices: int, native_layers: bool
) -> Program:
    del native_layers  # read again when the program is traced; here it keeps the two programs apart
    if executor in ("map", "vmap"):
        program: Program = jax.jit(_share(network, recipe, task, executor))
        return program
    inner = _share(network, recipe, task, "map" if inner_form() == "switch" else "vmap")
    if executor == "pmap":
        parallel = jax.pmap(inner, in_axes=(None, 0), devices=jax.devices()[:num_devices])

        def pmapped(data: Data, given: PyTree) -> Scores:
            split = jax.tree.map(lambda leaf: leaf.reshape(num_devices, -1, *leaf.shape[1:]), given)
            scores: Scores = jax.tree.map(lambda leaf: leaf.reshape(-1), parallel(data, split))
            return scores

        return pmapped
    mesh = Mesh(np.array(jax.devices()[:num_devices]), ("child",))
    everywhere, by_child = PartitionSpec(), PartitionSpec("child")  # type: ignore[no-untyped-call]
    # check_vma: a scan's carry starts from constants and becomes device-varying, which the check refuses.
    sharded = jax.shard_map(inner, mesh=mesh, in_specs=(everywhere, by_child), out_specs=by_child, check_vma=False)
    return jax.jit(sharded)


@functools.lru_cache(maxsize=64)
def _static_program(
    network: Network, recipe: Recipe, task: Task, concrete: _Concrete
) -> Callable[[Data, Key, Hyper], Scores]:
    def train(data: Data, key: Key, hyper: Hyper) -> Scores:
        return train_child(network, recipe, task, "static", data, concrete.arch, key, hyper)

    return jax.jit(train)
