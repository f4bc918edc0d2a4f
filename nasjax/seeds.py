"""Many searches of one method by one compiled program: seeds side by side at one width, on all devices.

A search's bits must depend neither on the seeds beside it nor on their number nor on the devices. They do not as long as
it is the same program that runs each of them: so every device always runs `width` seeds, and what is missing to that is
filled with seeds whose results are thrown away. Methods that train a model run one seed at a time on CPUs (side by side,
each of their products would become many small ones); all others, and on accelerators all, stand side by side (`vmap`).
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array, Evaluator, Method, MethodSettings, Space
from nasjax.scan import Trace, scan_search

WIDEST = 64
"""Seeds side by side: a few seeds should not pay for many, and more gain a quarter at most on CPUs (docs/sweep_speed.md)."""


@dataclasses.dataclass(frozen=True)
class Seeds:
    """A program that runs searches, seed by seed the same bits however many it is given.

    Attributes:
      width: seeds side by side on each device.
      num_devices: devices that share the seeds.
      run: (evaluator, uint32[num_devices * width]) -> Trace with that leading axis; compiled.
    """

    width: int
    num_devices: int
    run: Callable[[Evaluator, Array], Trace]

    def __call__(self, evaluator: Evaluator, seeds: Sequence[int]) -> Trace:
        """Returns the searches of `seeds`, Trace[S, T] in NumPy, without `info`.

        Args:
          evaluator: a pure one, of the structure and shapes that the program was made for.
          seeds: of each search's key, 0..2**32-1; at least one.
        """
        share = self.width * self.num_devices
        padded = np.resize(np.asarray(seeds, np.uint32), -(-len(seeds) // share) * share)
        traces, queued = [], None
        for part in padded.reshape(-1, share):
            # One round runs while the one before is fetched; more of them would fill the device.
            queued, before = self.run(evaluator, jnp.asarray(part)), queued
            if before is not None:
                traces.append(jax.tree.map(np.asarray, before))
        traces.append(jax.tree.map(np.asarray, queued))

        def join(*leaves: Array) -> np.ndarray[Any, Any]:
            return np.concatenate([np.asarray(leaf) for leaf in leaves])[: len(seeds)]

        found: Trace = jax.tree.map(join, *traces)
        return found


def program(
    space: Space,
    settings: MethodSettings,
    evaluator: Evaluator,
    budget: int,
    *,
    devices: Sequence[jax.Device] | None = None,
    limit: int | None = None,
    width: int | None = None,
    widest: int | None = None,
) -> Seeds:
    """Returns the compiled program of a method's searches.

    Args:
      space: where to search.
      settings: of the method.
      evaluator: a pure one; its structure and shapes count.
      budget: unique queries of each search.
      devices: that share the seeds; all of this process by default.
      limit: bytes that a device may use: `width` is halved until the compiled program's own account fits.
      width: given by who knows it, for example from an earlier part of the same sweep; then nothing is tried.
      widest: what halving begins from; `side_by_side` by default.

    Raises:
      ValueError: the evaluator is not pure, or not even one search fits into `limit`.
    """
    found = tuple(devices if devices is not None else jax.local_devices())
    method = settings.build(space, budget)
    scan_search(space, method, evaluator, budget)  # refuses here what cannot be traced
    leaves, structure = jax.tree.flatten(evaluator)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    tried = width or widest or side_by_side(method, found[0].platform)
    while True:
        made = _compiled(cast(Any, space), cast(Any, settings), budget, structure, shapes, found, tried)
        if width or limit is None or made.bytes <= limit:
            return Seeds(tried, len(found), made.run)
        if tried == 1:
            raise ValueError(f"one search needs {made.bytes:,} bytes of a device, the limit is {limit:,}")
        tried //= 2


def forget() -> None:
    """Drops the compiled programs of this process: the next `program` compiles anew, for whoever measures that."""
    _compiled.cache_clear()
    jax.clear_caches()  # type: ignore[no-untyped-call]


def side_by_side(method: Method, platform: str) -> int:
    """Returns how many seeds share a device of this platform where its memory allows."""
    return 1 if method.learned and platform == "cpu" else WIDEST


def _compiler_options(method: Method, platform: str) -> dict[str, Any]:
    """Less of LLVM where nothing is trained: a fifth less compiling, at no cost but to evolution (docs/sweep_speed.md).

    Where XLA_FLAGS say how much, that counts.
    """
    if method.learned or platform != "cpu" or "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", ""):
        return {}
    return {"xla_backend_optimization_level": 1}


class _Compiled(NamedTuple):
    """A program, and what a device needs for it by the program's own account."""

    run: Callable[[Evaluator, Array], Trace]
    bytes: int


@functools.lru_cache(maxsize=4)  # the chunks of a sweep, and its tasks if their tables have one shape, share a program
def _compiled(
    space: Space,
    settings: MethodSettings,
    budget: int,
    structure: Any,
    shapes: tuple[tuple[tuple[int, ...], Any], ...],
    devices: tuple[jax.Device, ...],
    width: int,
) -> _Compiled:
    method = settings.build(space, budget)

    def one(evaluator: Evaluator, seed: Array) -> Trace:
        trace = scan_search(space, method, evaluator, budget)(jax.random.key(seed))
        return trace._replace(info={})

    def side_by_side(evaluator: Evaluator, seeds: Array) -> Any:
        if width > 1:
            return jax.vmap(one, (None, 0))(evaluator, seeds)
        return jax.tree.map(lambda leaf: leaf[None], one(evaluator, seeds[0]))

    mesh = jax.make_mesh((len(devices),), ("seed",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,))
    everywhere, seed_axis = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("seed")  # type: ignore[no-untyped-call]
    # check_vma: a scan whose carry starts as a constant and then differs from device to device is refused otherwise.
    shared = jax.shard_map(
        side_by_side, mesh=mesh, in_specs=(everywhere, seed_axis), out_specs=seed_axis, check_vma=False
    )
    placed = jax.sharding.NamedSharding(mesh, everywhere), jax.sharding.NamedSharding(mesh, seed_axis)
    evaluator = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*shape) for shape in shapes])  # type: ignore[no-untyped-call]
    seeds = jax.ShapeDtypeStruct((len(devices) * width,), jnp.uint32)  # type: ignore[no-untyped-call]
    lowered = jax.jit(shared, in_shardings=placed).lower(evaluator, seeds)
    compiled = lowered.compile(compiler_options=_compiler_options(method, devices[0].platform))

    def run(evaluator: Evaluator, seeds: Array) -> Any:
        return compiled(jax.device_put(evaluator, placed[0]), jax.device_put(seeds, placed[1]))

    analysis: Any = compiled.memory_analysis()  # None on platforms that give no account
    sizes = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes")
    return _Compiled(run, sum(int(getattr(analysis, size, 0)) for size in sizes))
