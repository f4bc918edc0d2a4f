"""Layers of small convolutional networks, in the forms that are fast inside the loops of a compiled program.

XLA:CPU brings convolutions into the dimension order of its fast kernel only in the entry computation. Inside the body
of `scan`, `map`, `switch` the transposed convolutions that autodiff makes for gradients run as scalar loops, up to a
hundred times slower. So every 3x3 convolution here carries its own gradients, written as ordinary NHWC x HWIO
convolutions or matrix products (`tests/train/test_convolution.py` reads the compiled text).

Arrays are images `float[B, H, W, C]`, kernels `float[3, 3, C, O]`; everything follows the dtype of its arguments.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nasjax.base import Array
from nasjax.train.networks import native

EPSILON = 1e-5  # added to the variance, as everywhere in the field
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Norm(NamedTuple):
    """Weights of a batch norm: float[..., C] each."""

    scale: Array
    shift: Array


class Moments(NamedTuple):
    """Mean and biased variance over images and pixels: float[..., C] each."""

    mean: Array
    variance: Array


def relu(x: Array) -> Array:
    """Returns max(x, 0); its derivative at 0 is 0, where that of `jnp.maximum` is 1/2."""
    y: Array = jax.nn.relu(x)
    return y


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv3x3(x: Array, kernel: Array, stride: int = 1, gemm: bool = False) -> Array:
    """Returns the 3x3 convolution with one pixel of zeros around the images: float[B, H/stride, W/stride, O].

    Args:
      x: float[B, H, W, C]; H and W even where stride is 2.
      kernel: float[3, 3, C, O].
      stride: 1 or 2.
      gemm: patches times a matrix in all three directions; stays one batched product under `vmap`, where a convolution
        would become a grouped one. Otherwise the fastest form for the shape on a CPU.
    """
    return _conv3x3(x, kernel, stride, gemm)


def _conv3x3_forward(x: Array, kernel: Array, stride: int, gemm: bool) -> tuple[Array, tuple[Array, Array]]:
    return _conv3x3(x, kernel, stride, gemm), (x, kernel)


def _conv3x3_backward(stride: int, gemm: bool, residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    return conv3x3_data_gradient(kernel, dy, stride, gemm), conv3x3_kernel_gradient(x, dy, stride, gemm)


conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)


def conv3x3_kernel_gradient(x: Array, dy: Array, stride: int = 1, gemm: bool = False) -> Array:
    """Returns the gradient of `conv3x3` with respect to its kernel: float[3, 3, C, O].

    It is itself a convolution: channels act as images, images as channels, and dy as an H x W kernel.
    """
    channels, outputs = x.shape[-1], dy.shape[-1]
    if gemm:
        patches = _patches(x, stride).reshape(-1, 9 * channels)
        return (patches.T @ dy.reshape(-1, outputs)).reshape(3, 3, channels, outputs)
    if native.covers(x.dtype, outputs):
        return native.conv3x3_kernel_gradient(x, dy, stride)
    gradient = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        dy.transpose(1, 2, 0, 3),
        (1, 1),
        _padding(stride),
        rhs_dilation=(stride, stride),
        dimension_numbers=_LAYOUT,
    )
    return gradient.transpose(1, 2, 0, 3)


def conv3x3_data_gradient(kernel: Array, dy: Array, stride: int = 1, gemm: bool = False) -> Array:
    """Returns the gradient of `conv3x3` with respect to its images: float[B, H, W, C]."""
    if stride == 1:
        return _conv3x3(dy, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), 1, gemm)
    channels, outputs = kernel.shape[2:]
    if not gemm and native.covers(dy.dtype, channels):
        return native.conv3x3_data_gradient(kernel, dy, stride)
    batch, height, width, _ = dy.shape
    images = jnp.zeros((batch, stride * height, stride * width, channels), dy.dtype)  # for its shape alone
    patches = dy.reshape(-1, outputs) @ kernel.reshape(9 * channels, outputs).T
    transpose = jax.linear_transpose(lambda x: _patches(x, stride), images)
    gradient: Array = transpose(patches.reshape(batch, height, width, 9 * channels))[0]
    return gradient


@jax.custom_vjp
def average_pool3x3(x: Array) -> Array:
    """Returns the mean over the 3x3 neighbours inside the image: the count leaves out the padding."""
    return _sum3x3(x) * _inverse_count(x)


def _average_pool_forward(x: Array) -> tuple[Array, None]:
    return average_pool3x3(x), None


def _average_pool_backward(_: None, dy: Array) -> tuple[Array]:
    return (average_pool3x3_gradient(dy),)


average_pool3x3.defvjp(_average_pool_forward, _average_pool_backward)


def average_pool3x3_gradient(dy: Array) -> Array:
    """Returns the gradient of `average_pool3x3` with respect to its images."""
    return _sum3x3(dy * _inverse_count(dy))  # the 3x3 sum is its own transpose


def average_pool2x2(x: Array) -> Array:
    """Returns the means of 2x2 blocks: float[B, H/2, W/2, C]."""
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return blocks.mean((2, 4))


def batch_norm(x: Array, norm: Norm, moments: Moments | None = None) -> tuple[Array, Moments]:
    """Returns the normalised images and the moments that were used.

    Args:
      x: float[B, H, W, C].
      norm: float[C].
      moments: None = those of `x`, in two passes (the second subtracts the mean, so nothing cancels). The gradient runs
        through them, but not through the returned copy.
    """
    if moments is None:
        y, mean, variance = _batch_norm(x, norm.scale, norm.shift)
        return y, Moments(lax.stop_gradient(mean), lax.stop_gradient(variance))
    return normalise(x, norm, moments), moments


def relu_conv_norm(
    x: Array, kernel: Array, norm: Norm, stride: int, moments: Moments | None = None, gemm: bool = False
) -> tuple[Array, Moments]:
    """Returns `batch_norm` of `conv3x3` of ReLU(x): one C++ call where `native` is on and covers it."""
    if moments is None and not gemm and native.covers(x.dtype, *kernel.shape[2:]):
        y, mean, variance = native.relu_conv_norm(x, kernel, norm.scale, norm.shift, stride)
        return y, Moments(lax.stop_gradient(mean), lax.stop_gradient(variance))
    return batch_norm(conv3x3(relu(x), kernel, stride, gemm), norm, moments)


def normalise(x: Array, norm: Norm, moments: Moments) -> Array:
    """Returns (x - mean) / sqrt(variance + eps) * scale + shift."""
    factor = norm.scale * lax.rsqrt(moments.variance + _epsilon(x))
    return (x - _channels(moments.mean, x)) * _channels(factor, x) + _channels(norm.shift, x)


def batch_moments(x: Array) -> Moments:
    """Returns the moments of a batch, in two passes."""
    mean = x.mean((0, 1, 2))
    return Moments(mean, jnp.square(x - _channels(mean, x)).mean((0, 1, 2)))


def batch_norm_gradient(x: Array, norm: Norm, moments: Moments, dy: Array) -> tuple[Array, Norm]:
    """Returns the gradients of `batch_norm` with batch moments, with respect to `x` and `norm`."""
    count = jnp.asarray(x.size // x.shape[-1], x.dtype)
    inverse = lax.rsqrt(moments.variance + _epsilon(x))
    centred = (x - _channels(moments.mean, x)) * _channels(inverse, x)
    shift = dy.sum((0, 1, 2))
    scale = (dy * centred).sum((0, 1, 2))
    inner = dy - _channels(shift / count, x) - centred * _channels(scale / count, x)
    return inner * _channels(norm.scale * inverse, x), Norm(scale, shift)


def plain_conv3x3(x: Array, kernel: Array, stride: int = 1) -> Array:
    """`conv3x3` as XLA has it, differentiated by JAX: the reference."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), _padding(stride), dimension_numbers=_LAYOUT)


def plain_average_pool3x3(x: Array) -> Array:
    """`average_pool3x3` as a window reduction, differentiated by JAX: the reference."""
    window: Array = lax.reduce_window(x, np.zeros((), x.dtype), lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    return window * _inverse_count(x)


def plain_batch_norm(x: Array, norm: Norm, moments: Moments | None = None) -> tuple[Array, Moments]:
    """`batch_norm` differentiated by JAX: the reference."""
    used = batch_moments(x) if moments is None else moments
    return normalise(x, norm, used), jax.tree.map(lax.stop_gradient, used)


@jax.custom_vjp
def _batch_norm(x: Array, scale: Array, shift: Array) -> tuple[Array, Array, Array]:
    moments = batch_moments(x)
    return normalise(x, Norm(scale, shift), moments), *moments


def _batch_norm_forward(
    x: Array, scale: Array, shift: Array
) -> tuple[tuple[Array, Array, Array], tuple[Array, Norm, Moments]]:
    norm, moments = Norm(scale, shift), batch_moments(x)
    return (normalise(x, norm, moments), *moments), (x, norm, moments)


def _batch_norm_backward(
    residuals: tuple[Array, Norm, Moments], cotangents: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    x, norm, moments = residuals
    dx, gradient = batch_norm_gradient(x, norm, moments, cotangents[0])
    return dx, gradient.scale, gradient.shift


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def _conv3x3(x: Array, kernel: Array, stride: int, gemm: bool) -> Array:
    channels, outputs = kernel.shape[2:]
    if not gemm and native.covers(x.dtype, outputs):
        return native.conv3x3(x, kernel, stride)
    if gemm or x.shape[1] <= 2 or channels <= 8:  # narrow: one tall matrix product beats XLA's convolution
        patches = _patches(x, stride)
        return patches @ kernel.reshape(9 * channels, outputs)
    return lax.conv_general_dilated(x, kernel, (stride, stride), _padding(stride), dimension_numbers=_LAYOUT)


def _padding(stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """One pixel of zeros; at stride 2 and an even side the one at the far end is never read."""
    far = 2 - stride
    return (1, far), (1, far)


def _patches(x: Array, stride: int) -> Array:
    """float[B, H/stride, W/stride, 9 C]: the nine shifted images side by side."""
    batch, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), *_padding(stride), (0, 0)))
    last = (batch, height - stride + 1, width - stride + 1, channels)
    shifts = [
        lax.slice(padded, (0, i, j, 0), (last[0], i + last[1], j + last[2], last[3]), (1, stride, stride, 1))
        for i in range(3)
        for j in range(3)
    ]
    return jnp.concatenate(shifts, -1)


def _sum3x3(x: Array) -> Array:
    rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    x = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    columns = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    return columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:]


def _inverse_count(x: Array) -> Array:
    """float[1, H, W, 1]: one over the number of neighbours inside the image."""
    sides = [np.convolve(np.ones(side), np.ones(3))[1:-1] for side in x.shape[1:3]]
    return jnp.asarray(1 / np.outer(*sides), x.dtype)[None, :, :, None]


def _channels(values: Array, x: Array) -> Array:
    return values.reshape((1,) * (x.ndim - 1) + values.shape)


def _epsilon(x: Array) -> Array:
    return jnp.asarray(EPSILON, x.dtype)
