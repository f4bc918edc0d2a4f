"""What a run is done with: versions, devices, memory, seconds spent on compiling. None of it changes a result."""

import functools
import importlib.metadata
import os
import platform
import resource
from typing import Any

import jax

_LIBRARIES = ("nasjax", "jax", "jaxlib", "numpy", "flax", "optax", "jraph")
_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"

_compiled = {"seconds": 0.0, "programs": 0.0}


def describe() -> dict[str, Any]:
    """Returns {"versions": {library: version}, "devices": {"platform", "kind", "count"}, "native_layers": bool}.

    Initialises the devices.
    """
    devices = jax.devices()
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}},
        "devices": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "native_layers": os.environ.get("NASJAX_NATIVE") == "1",  # other last bits: a run that changes it says so
    }


def memory() -> dict[str, int]:
    """Returns peak bytes: "host", of this process, and "device", of the first device where it tells."""
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        peak["device"] = int(statistics["peak_bytes_in_use"])
    return peak


def usable_memory() -> int:
    """Returns bytes that programs on the first device should keep to: half of what it has; cores share the host's."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is not None:
        return int(limit) // 2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 // len(jax.local_devices())


def compile_seconds() -> float:
    """Returns the seconds that compiling has taken since the first call of this function."""
    _listen()
    return _compiled["seconds"]


def num_compiled() -> int:
    """Returns the number of programs compiled since the first call of this module's counters."""
    _listen()
    return int(_compiled["programs"])


@functools.cache
def _listen() -> None:
    """Registered once: jax has no way to take one listener back."""

    def count(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event == _COMPILE_EVENT:
            _compiled["seconds"] += duration_secs
            _compiled["programs"] += 1

    jax.monitoring.register_event_duration_secs_listener(count)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # run from a tree that is not installed
        return None
