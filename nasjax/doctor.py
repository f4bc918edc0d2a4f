"""What there is on this machine, what runs on it, and what does not and why: the lines of `nasjax doctor`.

Every line is found out by trying, and a try that fails becomes a line itself: this is what a person runs when something
else has failed.
"""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from nasjax import startup

if TYPE_CHECKING:
    from jax import Array

REQUIRED = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "jraph",
    "numpy",
    "scipy",
    "chex",
    "tensorflow-datasets",
    "array_record",
    "tyro",
    "rich",
    "matplotlib",
    "pyarrow",
    "pillow",
    "scikit-learn",
)
OPTIONAL = {
    "torch": "benchmarks/child_training.py compares with it",
    "syne-tune": "benchmarks/sweep.py compares with it",
}

_GIB = 1 << 30
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Finding(NamedTuple):
    """One line.

    Attributes:
      name: of what.
      text: what was found.
    """

    name: str
    text: str


def lines() -> list[str]:
    """Returns the lines of `nasjax doctor`, names left, findings right, all aligned; starts jax's devices.

    Nothing is raised for anything that is missing or broken: the line says so. `startup.prepare_jax` goes before, so
    that what is said is what a search has.
    """
    parts = (_versions, _cores, _host_memory, _compile_cache, _devices, _data_sets)
    found = [finding for part in parts for finding in _guarded(part)]
    width = max(len(finding.name) for finding in found)
    return [f"{finding.name:{width}}  {finding.text}" for finding in found]


def _guarded(part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a part up to where it fails, and then why."""
    try:
        yield from part()
    except Exception as error:  # whatever it is, the other parts are still worth saying
        yield Finding(part.__name__.strip("_").replace("_", " "), f"could not be found out: {_reason(error)}")


def _reason(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    if first and isinstance(error, ValueError | OSError):  # those say enough
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _versions() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.machine()}".strip()
    yield Finding("python", f"{platform.python_version()}, {platform.python_implementation()} on {system}")
    import nasjax

    yield Finding("nasjax", nasjax.__version__)
    for name in REQUIRED:
        yield Finding(name, _version(name) or "missing, though nasjax needs it; install nasjax once more")
    for name, use in OPTIONAL.items():
        yield Finding(name, _version(name) or f"not installed; optional: {use}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cores() -> Iterator[Finding]:
    yield Finding("cores", f"{startup.num_cores()} for this process, {os.cpu_count()} in the machine")


def _host_memory() -> Iterator[Finding]:
    total, available = host_memory()
    free = f", {available / _GIB:.1f} GiB available" if available is not None else ""
    yield Finding("host memory", f"{total / _GIB:.1f} GiB{free}")


def host_memory() -> tuple[int, int | None]:
    """Returns the bytes of memory that this process may use at most, and those available now (None: not told).

    A container's limit counts, where it is lower than what the machine has.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = None
    meminfo = pathlib.Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    for limit in map(pathlib.Path, _CGROUPS):
        text = limit.read_text(encoding="ascii", errors="replace").strip() if limit.exists() else "max"
        if text.isdecimal():
            total = min(total, int(text))
    return total, None if available is None else min(available, total)


def _compile_cache() -> Iterator[Finding]:
    own = startup.setting("jax_compilation_cache_dir")
    variable = "JAX_COMPILATION_CACHE_DIR" if own else "NASJAX_CACHE"
    try:
        if own and "://" in own:
            text = f"{own}, not tried"  # a bucket, which jax writes to by itself
        else:
            text = f"{startup.tried(pathlib.Path(own)) if own else startup.usable_cache()}, usable"
    except OSError as error:
        text = f"not usable, so programs are compiled anew each time: {error}; {variable}=FOLDER names another one"
    yield Finding("compile cache", text)


def _devices() -> Iterator[Finding]:
    import jax

    startup.start_devices()
    devices = jax.devices()
    kinds = sorted({device.device_kind for device in devices})
    yield Finding("devices", f"{len(devices)} of platform {devices[0].platform}, kind {', '.join(kinds)}")
    if devices[0].platform == "cpu" and pathlib.Path("/dev/nvidia0").exists():
        yield Finding("gpu", "there is one that jax does not use: pip install 'nasjax[cuda]', or unset JAX_PLATFORMS")
    yield Finding("device memory", _device_memory())
    yield from _executors()


def _device_memory() -> str:
    import jax

    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        used = statistics.get("bytes_in_use", 0)
        return f"{statistics['bytes_limit'] / _GIB:.1f} GiB for jax on each, {used / _GIB:.1f} GiB in use on the first"
    return "not told by these devices" + ("; it is the host's" if jax.default_backend() == "cpu" else "")


def _executors() -> Iterator[Finding]:
    """Trains a population of tiny children with each executor, by the code that trains real ones."""
    import jax

    from nasjax.train import executors

    chosen = executors.choose()
    for name in executors.EXECUTORS:
        if name == "auto":
            continue
        try:
            _train_tiny(name)
        except Exception as error:
            text = f"does not run: {_reason(error)}"
        else:
            alone = jax.device_count() == 1 and name in ("shard", "pmap")
            text = "runs" + (", gains nothing on one device" if alone else "")
        yield Finding(f"executor {name}", text + (", chosen by itself" if name == chosen else ""))


@dataclasses.dataclass(frozen=True)
class _Linear:
    """The least child network: logits linear in the pixels, whatever the architecture."""

    def init(self, key: "Array") -> Any:
        import jax

        return jax.random.normal(key, (16, 2), "float32")

    def apply(self, params: Any, arch: Any, images: "Array", statistics: Any = None, form: str = "switch") -> Any:
        del arch, form
        return images.reshape(images.shape[0], -1) @ params, statistics

    def static_apply(self, params: Any, arch: Any, images: "Array", statistics: Any = None) -> Any:
        return self.apply(params, arch, images, statistics)


def _train_tiny(executor: Any) -> None:
    """Trains two children for one step on four images of 4x4.

    Raises:
      Exception: whatever keeps the executor from running.
      ArithmeticError: it ran, and its scores are none.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from nasjax.spaces.toy import Toy
    from nasjax.train.data import Data, Task
    from nasjax.train.executors import Population
    from nasjax.train.recipe import Recipe

    task = Task("made up", 4, 1, 2, train_images=4, num_validation=2, full_scale=1, augmentation="shift_noise")
    images, labels = jnp.linspace(0, 1, 64, dtype=jnp.float32).reshape(4, 4, 4, 1), jnp.array([0, 1, 0, 1], jnp.int32)
    one = jnp.ones(1, jnp.float32)
    data = Data(images, labels, images, images[None], labels[None], mean=0 * one, factor=one)
    recipe = Recipe(epochs=1, batch=4, augmentation=False)
    keys = jax.random.split(jax.random.key(0), 2)
    scores = Population(_Linear(), recipe, task, data, executor).train(jax.vmap(Toy().sample)(keys), keys)
    if not all(np.isfinite(value).all() for value in scores):
        raise ArithmeticError("the scores of its children are no numbers")


def _data_sets() -> Iterator[Finding]:
    from nasjax.train import prepared

    for entry in prepared.listing():
        name, _, text = entry.partition(" ")
        yield Finding(f"data set {name}", text.strip())
