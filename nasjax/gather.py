"""Rows of an array by their numbers, with a gradient that is the same number each time on every platform.

jax's own gradient of such a look-up adds rows up by a scatter. GPUs do that in whatever order their threads come in, so the
last bits differ from run to run: of 1,024 searches by GraphPNAS, run twice on one GPU, 64 parted (docs/sweep_speed.md).
"""

import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.base import Array

_Index: TypeAlias = Array | np.ndarray[Any, Any]


@jax.custom_vjp
def rows(array: Array, index: _Index) -> Array:
    """Returns float[*I, *R], `array[index]`: that of int32[*I], each within 0..N-1, of float[N, *R]."""
    return array[index]


def _forward(array: Array, index: _Index) -> tuple[Array, tuple[Array, Array]]:
    return array[index], (jnp.zeros_like(array), jnp.asarray(index))


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, None]:
    zeros, index = saved
    found = jax.lax.platform_dependent(zeros, index, gradient, cpu=_scattered, default=_multiplied)
    return found, None


def _scattered(zeros: Array, index: Array, gradient: Array) -> Array:
    return zeros.at[index].add(gradient)


def _multiplied(zeros: Array, index: Array, gradient: Array) -> Array:
    """A product with ones and zeros: as many multiplications as the table has rows, in an order that is fixed."""
    chosen = jax.nn.one_hot(index.reshape(-1), len(zeros), dtype=gradient.dtype)
    by_row = gradient.reshape(index.size, math.prod(zeros.shape[1:]))
    return jnp.matmul(chosen.T, by_row, precision="highest").reshape(zeros.shape)


rows.defvjp(_forward, _backward)
