"""Forms of one 3x3 convolution inside a compiled loop, on one thread of a CPU.

    python benchmarks/convolution_forms.py [--rounds 5] [--repeats 4]

Prints one Markdown table: CPU microseconds of a forward pass (smallest round), for XLA's convolution, nine shifted
slices and one matrix product, Winograd's F(2x2, 3x3) (Lavin and Gray, arXiv:1509.09308) on all images and in chunks, and
the C++ layers where there is a compiler. Every output is summed, so that nothing can be left out of the program, and
every form is compared with XLA's first.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.train.networks import convolution, native

SHAPES = [(64, 8, 8), (32, 16, 16), (64, 32, 16), (64, 16, 32)]  # images, side, channels
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)


def im2col(x: jax.Array, w: jax.Array) -> jax.Array:
    return convolution.conv3x3(x, w, 1, True)


def winograd(x: jax.Array, w: jax.Array) -> jax.Array:
    """Sixteen products of a quarter as many rows: 16/36 of the multiplications; transforms are shifted additions."""
    images, side, _, channels = x.shape
    half, outputs = side // 2, w.shape[-1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tile = [[padded[:, a : a + side : 2, b : b + side : 2] for b in range(4)] for a in range(4)]
    rows = [_into([tile[a][b] for a in range(4)]) for b in range(4)]  # [b][a]
    mixed = [_into([rows[b][a] for b in range(4)]) for a in range(4)]  # [a][b]
    tiles = jnp.stack([mixed[a][b] for a in range(4) for b in range(4)]).reshape(16, -1, channels)
    kernels = jnp.einsum("ai,bj,ijco->abco", KERNEL, KERNEL, w).reshape(16, channels, outputs)
    product = (tiles @ kernels).reshape(4, 4, images, half, half, outputs)
    rows = [_out_of([product[a, b] for a in range(4)]) for b in range(4)]
    blocks = [_out_of([rows[b][i] for b in range(4)]) for i in range(2)]
    whole = jnp.stack([jnp.stack(block, 3) for block in blocks], 2)  # [images, half, 2, half, 2, outputs]
    return whole.reshape(images, side, side, outputs)


def _into(d: list[jax.Array]) -> list[jax.Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _out_of(m: list[jax.Array]) -> list[jax.Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def chunked(form: Callable[..., jax.Array], images: int) -> Callable[..., jax.Array]:
    """Returns `form` on so many images at a time, so that its temporaries stay in the cache."""

    def apply(x: jax.Array, w: jax.Array) -> jax.Array:
        chunks = x.reshape(-1, images, *x.shape[1:])
        return jax.lax.map(lambda chunk: form(chunk, w), chunks).reshape(*x.shape[:-1], w.shape[-1])

    return apply


def forms() -> dict[str, Callable[..., jax.Array]]:
    found = {
        "XLA": convolution.plain_conv3x3,
        "im2col": im2col,
        "Winograd": winograd,
        "Winograd, 4 images": chunked(winograd, 4),
    }
    if shutil.which("g++"):
        os.environ["NASJAX_NATIVE"] = "1"
        found["C++"] = lambda x, w: native.conv3x3(x, w, 1) if native.covers(x.dtype, x.shape[-1]) else x
    return found


def program(form: Callable[..., jax.Array], repeats: int) -> Callable[..., jax.Array]:
    """Returns a jitted loop: `repeats` times the form after a ReLU, each on other images, summed."""

    def one(total: jax.Array, k: jax.Array, x: jax.Array, w: jax.Array) -> tuple[jax.Array, None]:
        return total + form(jnp.maximum(x - k, 0), w).sum(), None

    return jax.jit(
        lambda x, w: jax.lax.scan(lambda t, k: one(t, k, x, w), jnp.float32(0), 0.01 * jnp.arange(1.0, repeats + 1))[0]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4)
    arguments = parser.parse_args()
    names = list(forms())
    print(f"| images, side, channels | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    rng = np.random.default_rng(0)
    for images, side, channels in SHAPES:
        x = jnp.asarray(rng.standard_normal((images, side, side, channels)), jnp.float32)
        w = jnp.asarray(rng.standard_normal((3, 3, channels, channels)), jnp.float32)
        reference = convolution.plain_conv3x3(x, w)
        programs = {}
        for name, form in forms().items():
            error = float(jnp.abs(jax.jit(form)(x, w) - reference).max() / jnp.abs(reference).max())
            if error > 1e-5:
                raise RuntimeError(f"{name} is wrong by {error:.0e}")
            programs[name] = program(form, arguments.repeats)
            jax.block_until_ready(programs[name](x, w))
        best = dict.fromkeys(names, float("inf"))
        for _ in range(arguments.rounds):
            for name, run in programs.items():
                start = time.process_time()
                jax.block_until_ready(run(x, w))
                best[name] = min(best[name], (time.process_time() - start) / arguments.repeats)
        print(f"| {images}, {side}, {channels} | {' | '.join(f'{1e6 * best[n]:.0f}' for n in names)} |", flush=True)


if __name__ == "__main__":
    main()
