"""The layers of a child network as C++ for CPUs: optional, compiled on demand, off unless `NASJAX_NATIVE=1`.

XLA:CPU runs a 3x3 convolution of 16 channels at half the machine's speed and passes over each array several times for
ReLU, batch norm and their gradients. `conv3x3.cc` takes one image through all steps of a layer while it is in the cache
(`docs/child_training_speed.md` has the times). It is never required: without the setting nothing is compiled, and what
it does not cover (other dtypes than float32, widths that are not multiples of 8, other backends) stays with XLA.

It needs `g++`. The library goes to `native/` in the user's cache folder, under a name made from the source, the
compiler and the processor, so that a changed source or another machine gets its own.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array

SOURCE = pathlib.Path(__file__).with_name("conv3x3.cc")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fPIC", "-shared", "-w")
_TARGETS = (
    "conv_forward",
    "conv_data_gradient",
    "conv_kernel_gradient",
    "relu_conv_norm_forward",
    "relu_conv_norm_backward",
    "edge_forward",
    "edge_backward",
)


def wanted() -> bool:
    """Returns whether the setting `NASJAX_NATIVE` is on.

    Raises:
      ValueError: it is neither 0 nor 1.
    """
    given = os.environ.get("NASJAX_NATIVE") or "0"
    if given not in ("0", "1"):
        raise ValueError(f"NASJAX_NATIVE is {given!r}; 1 = use the C++ layers on CPUs, 0 = do not")
    return given == "1"


def covers(dtype: Any, *widths: int) -> bool:
    """Returns whether the setting is on and the C++ layers can be used here; loads them the first time.

    Args:
      dtype: of all arrays.
      widths: every number of channels that comes out of a convolution or its data gradient.

    Raises:
      FileNotFoundError: the setting is on and there is no `g++`.
      RuntimeError: `g++` refuses the source.
    """
    if not wanted() or dtype != jnp.float32 or any(width % 8 for width in widths) or jax.default_backend() != "cpu":
        return False
    _load()
    return True


def conv3x3(x: Array, kernel: Array, stride: int) -> Array:
    """`convolution.conv3x3`; O a multiple of 8."""
    batch, height, width, _ = x.shape
    shape = (batch, height // stride, width // stride, kernel.shape[3])
    return _call("conv_forward", [shape], x, kernel, stride=np.int32(stride))[0]


def conv3x3_data_gradient(kernel: Array, dy: Array, stride: int) -> Array:
    """`convolution.conv3x3_data_gradient`; C a multiple of 8."""
    batch, height, width, _ = dy.shape
    shape = (batch, stride * height, stride * width, kernel.shape[2])
    return _call("conv_data_gradient", [shape], kernel, dy, stride=np.int32(stride))[0]


def conv3x3_kernel_gradient(x: Array, dy: Array, stride: int) -> Array:
    """`convolution.conv3x3_kernel_gradient`; O a multiple of 8."""
    shape = (3, 3, x.shape[3], dy.shape[3])
    return _call("conv_kernel_gradient", [shape], x, dy, stride=np.int32(stride))[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def relu_conv_norm(x: Array, kernel: Array, scale: Array, shift: Array, stride: int) -> tuple[Array, Array, Array]:
    """Returns the batch norm of the 3x3 convolution of ReLU(x), and the batch's mean and variance (no gradient).

    Args:
      x: float32[B, H, W, C].
      kernel: float32[3, 3, C, O].
      scale: float32[O].
      shift: float32[O].
      stride: 1 or 2.
    """
    result: tuple[Array, Array, Array] = _relu_conv_norm_forward(x, kernel, scale, shift, stride)[0]
    return result


def _relu_conv_norm_forward(x: Array, kernel: Array, scale: Array, shift: Array, stride: int) -> tuple[Any, Any]:
    batch, height, width, _ = x.shape
    outputs = kernel.shape[3]
    images = (batch, height // stride, width // stride, outputs)
    shapes = [images, images, (outputs,), (outputs,)]
    arguments = (x, kernel, scale, shift)
    y, convolved, mean, variance = _call("relu_conv_norm_forward", shapes, *arguments, stride=np.int32(stride))
    return (y, mean, variance), (x, kernel, convolved, mean, variance, scale)


def _relu_conv_norm_backward(stride: int, residuals: tuple[Array, ...], cotangents: tuple[Array, ...]) -> Any:
    x, kernel, *_, scale = residuals
    shapes = [x.shape, kernel.shape, scale.shape, scale.shape]
    return tuple(_call("relu_conv_norm_backward", shapes, *residuals, cotangents[0], stride=np.int32(stride)))


relu_conv_norm.defvjp(_relu_conv_norm_forward, _relu_conv_norm_backward)


def edge_forward(operation: Array, x: Array, weights: tuple[Array, ...]) -> list[Array]:
    """Returns one edge's y, the convolved images (undefined without a convolution), mean and variance.

    Args:
      operation: int32[].
      x: float32[B, H, W, c].
      weights: of the 1x1 convolution float32[c, c], its scale and shift; of the 3x3 one, its scale and shift.
    """
    channel = x.shape[-1:]
    return _call("edge_forward", [x.shape, x.shape, channel, channel], operation, x, *weights)


def edge_backward(
    operation: Array, x: Array, convolved: Array, mean: Array, variance: Array, weights: tuple[Array, ...], dy: Array
) -> list[Array]:
    """Returns the gradients with respect to `x` and each of `weights`; arguments as `edge_forward` has and gives."""
    conv1, scale1, _, conv3, scale3, _ = weights
    shapes = [x.shape, *(w.shape for w in weights)]
    given = (operation, x, convolved, mean, variance, conv1, scale1, conv3, scale3, dy)
    return _call("edge_backward", shapes, *given)


def _call(name: str, shapes: list[tuple[int, ...]], *arguments: Array, **settings: Any) -> list[Array]:
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]  # type: ignore[no-untyped-call]
    call = jax.ffi.ffi_call(f"nasjax_{name}", results, vmap_method="sequential")
    return list(call(*arguments, **settings))


@functools.cache
def _load() -> None:
    """Compiles where needed, loads, registers; once in a process."""
    library = ctypes.CDLL(str(build(_folder())))
    for name in _TARGETS:
        capsule = jax.ffi.pycapsule(getattr(library, name))  # type: ignore[no-untyped-call]
        jax.ffi.register_ffi_target(f"nasjax_{name}", capsule, platform="cpu")


def build(folder: pathlib.Path) -> pathlib.Path:
    """Returns the library in `folder`, compiled if it is not there yet.

    Raises:
      FileNotFoundError: no `g++`.
      RuntimeError: the compiler's first line of complaint.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise FileNotFoundError(
            "NASJAX_NATIVE=1 needs the compiler g++, which is not on the PATH; NASJAX_NATIVE=0 does without"
        )
    path = folder / f"conv3x3-{_fingerprint(compiler)}.so"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:  # renamed when complete: others may be compiling too
        fresh = pathlib.Path(aside) / path.name
        command = [compiler, *FLAGS, f"-I{jax.ffi.include_dir()}", str(SOURCE), "-o", str(fresh)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if "error" in line] or result.stderr.splitlines()
            raise RuntimeError(f"g++ could not compile {SOURCE.name}: {lines[0] if lines else 'no message'}")
        os.replace(fresh, path)
    return path


def _fingerprint(compiler: str) -> str:
    """Everything the library depends on: `-march=native` code must not reach another processor by a shared home."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    parts = (SOURCE.read_text(), *FLAGS, version, platform.machine(), features, jax.__version__)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _folder() -> pathlib.Path:
    named, base = os.environ.get("NASJAX_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if named:
        return pathlib.Path(named).expanduser() / "native"
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "nasjax" / "native"
