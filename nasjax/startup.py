"""What has to be settled before jax starts its devices: one CPU device a core, one thread an operation, a cache.

The products of small children are too small to be shared between threads, but children are easily shared between
devices. What the user has set is left as it is.
"""

import contextlib
import os
import pathlib
import tempfile
from typing import Any

_FLAGS = ("--xla_cpu_multi_thread_eigen=false", "intra_op_parallelism_threads=1")
_OWN_DEVICES = "--xla_force_host_platform_device_count"


def one_blas_thread() -> None:
    """Keeps matrix factorisations from being shared between threads, unless the user says how many; before SciPy loads.

    jax's linear algebra on CPUs is SciPy's OpenBLAS, which reads the number once, when SciPy is imported, and whose threads
    cost more than small solves: a search of gp_bo took 4.7 CPU-seconds instead of 0.14 on two cores in use.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def prepare_jax() -> list[str]:
    """Sets up jax for a search; imports it, and starts no device.

    Where devices have been started already, only the compilation cache is still set. `XLA_FLAGS`,
    `JAX_NUM_CPU_DEVICES` and `JAX_COMPILATION_CACHE_DIR` of the user's are respected.

    Returns:
      What a person should be told, a line each: that there is no compilation cache, and why.
    """
    own = os.environ.get("XLA_FLAGS", "")
    one_blas_thread()
    names = {flag.split("=")[0].lstrip("-") for flag in own.split()}
    missing = [flag for flag in _FLAGS if flag.split("=")[0].lstrip("-") not in names]
    os.environ["XLA_FLAGS"] = " ".join([*own.split(), *missing])  # read once, when the first device starts

    if setting("jax_num_cpu_devices") < 0 and _OWN_DEVICES not in own:
        with contextlib.suppress(RuntimeError):  # devices have been started: their number stands
            _set("jax_num_cpu_devices", num_cores())
    return _use_cache()


def start_devices() -> None:
    """Starts jax's devices, so that what keeps them from starting is said before there is a run directory.

    Raises:
      ValueError: none starts; names the platforms asked for.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # an assertion where a platform is known and not installed
        asked = setting("jax_platforms")
        reason = str(error).strip().partition("\n")[0] or "none of them is there"
        raise ValueError(f"jax starts no device (JAX_PLATFORMS={asked or ''}): {reason}") from error


def setting(name: str) -> Any:
    """Returns jax's setting called `name`."""
    import jax

    return getattr(jax.config, name)


def _set(name: str, value: object) -> None:
    import jax

    jax.config.update(name, value)  # type: ignore[no-untyped-call]


def num_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_folder() -> pathlib.Path:
    """Returns the user's cache folder: `NASJAX_CACHE`, else `XDG_CACHE_HOME`/nasjax, else ~/.cache/nasjax.

    Raises:
      OSError: none of the three can be told.
    """
    named = os.environ.get("NASJAX_CACHE")
    if named:
        return pathlib.Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the standard says to ignore relative ones
        return pathlib.Path(base) / "nasjax"
    try:
        return pathlib.Path.home() / ".cache" / "nasjax"
    except RuntimeError as error:
        raise OSError("no home directory; NASJAX_CACHE=FOLDER names a cache folder") from error


def usable_cache() -> pathlib.Path:
    """Returns the folder of compiled programs, made if need be and tried by writing a file.

    Raises:
      OSError: saying why there is none.
    """
    return tried(cache_folder() / "xla")


def tried(folder: pathlib.Path) -> pathlib.Path:
    """Returns `folder`, made if need be, once a file could be written into it.

    Raises:
      OSError: naming the folder and the reason.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"{folder}: {reason}") from error


def _use_cache() -> list[str]:
    """A second process then finds the children's program compiled."""
    _set("jax_persistent_cache_min_compile_time_secs", 0.0)
    _set("jax_persistent_cache_min_entry_size_bytes", 0)
    if setting("jax_compilation_cache_dir"):  # the user's own
        return []
    try:
        _set("jax_compilation_cache_dir", str(usable_cache()))
    except OSError as error:
        return [f"no compilation cache, so programs are compiled anew each time: {error}"]
    return []
