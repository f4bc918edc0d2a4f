"""Layers against their definitions, against JAX's own derivatives, and in the text that XLA:CPU compiles them to.

All claims of equality are made in float64 and to 1e-10 of numbers near 1, unless a test says otherwise.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import USERS_TEXT
from jax import lax

from nasjax.train.networks import convolution as layers
from nasjax.train.networks.convolution import Moments, Norm
from nasjax.train.networks.nasbench201 import Skeleton

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Compiles in half the time, for tests of the algebra."""
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
WIDTHS = [(3, 2), (9, 10)]
"""Channels and outputs: few, where a matrix product is used, and many, where XLA's convolution is."""


def draw(seed, *shapes):
    """float64 arrays, one for each shape."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def convolution_problem(side, stride, channels, outputs):
    """Images wider than high, a kernel and a cotangent."""
    high, wide = side, side + 2
    return draw(
        side, (2, high, wide, channels), (3, 3, channels, outputs), (2, high // stride, wide // stride, outputs)
    )


def slow_conv3x3(x, kernel, stride):
    """Cross-correlation by its definition, with one pixel of zeros on every side."""
    images, high, wide, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = np.zeros((images, high // stride, wide // stride, kernel.shape[-1]))
    for i in range(high // stride):
        for j in range(wide // stride):
            window = padded[:, stride * i : stride * i + 3, stride * j : stride * j + 3]
            y[:, i, j] = np.einsum("bijc,ijco->bo", window, kernel)
    return y


def convolved(x, kernel, dy, stride, gemm):
    """Value, gradients by the custom rule, and the two gradient functions themselves."""
    y, pull = jax.vjp(lambda x, w: layers.conv3x3(x, w, stride, gemm), x, kernel)
    direct = (
        layers.conv3x3_data_gradient(kernel, dy, stride, gemm),
        layers.conv3x3_kernel_gradient(x, dy, stride, gemm),
    )
    return y, pull(dy), direct


@functools.partial(quick_jit, static_argnums=3)
def plainly_convolved(x, kernel, dy, stride):
    y, pull = jax.vjp(lambda x, w: layers.plain_conv3x3(x, w, stride), x, kernel)
    return y, pull(dy)


@pytest.mark.parametrize("widths", WIDTHS, ids=["narrow", "wide"])
@pytest.mark.parametrize("side", [8, 4, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_and_its_gradients(stride, side, widths):
    problem, run = convolution_problem(side, stride, *widths), quick_jit(convolved, static_argnums=(3, 4))
    with jax.enable_x64(True):
        y, gradients = plainly_convolved(*problem, stride)
        close(y, slow_conv3x3(*problem[:2], stride))
        for gemm in (False, True):
            ours, custom, direct = run(*problem, stride, gemm)
            assert ours.dtype == jnp.float64
            close(ours, y)
            jax.tree.map(close, custom, gradients)
            jax.tree.map(close, direct, gradients)


@pytest.mark.parametrize("stride", [1, 2])
def test_gemm_form_stays_a_product_under_vmap(stride):
    """Also the values: three problems at once are three problems."""
    problems = [convolution_problem(4, stride, 9, 10) for _ in range(3)]
    problems = [[(k + 1) * array for array in problem] for k, problem in enumerate(problems)]
    stacked = [np.stack(arrays) for arrays in zip(*problems, strict=True)]
    with jax.enable_x64(True):
        batched = jax.vmap(lambda x, w, dy: convolved(x, w, dy, stride, True))
        assert "conv_general_dilated" not in str(jax.make_jaxpr(batched)(*stacked))
        y, gradients, _ = quick_jit(batched)(*stacked)
        for k, problem in enumerate(problems):
            jax.tree.map(close, (y[k], tuple(g[k] for g in gradients)), plainly_convolved(*problem, stride))


def finite_differences(loss, arguments, gradients, entries=4):
    """Central differences of a scalar function at a few entries of each argument."""
    rng, step = np.random.default_rng(5), 1e-5
    for position, (argument, gradient) in enumerate(zip(arguments, gradients, strict=True)):
        for _ in range(entries):
            index = tuple(rng.integers(0, size) for size in argument.shape)
            values = []
            for sign in (1, -1):
                moved = argument.copy()
                moved[index] += sign * step
                values.append(float(loss(*arguments[:position], moved, *arguments[position + 1 :])))
            slope = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(gradient[index], slope, rtol=1e-6, atol=1e-8)


def cubic(y):
    """A scalar whose cotangent is different at every entry."""
    return (y**3).sum() / 10


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_against_finite_differences(stride):
    problem = convolution_problem(4, stride, 3, 2)[:2]
    with jax.enable_x64(True):
        loss = jax.jit(lambda x, w: cubic(layers.conv3x3(x, w, stride)))
        finite_differences(loss, problem, jax.jit(jax.grad(loss, (0, 1)))(*problem))


def test_pool_and_batch_norm_against_finite_differences():
    x, scale, shift = draw(2, (2, 3, 4, 2), (2,), (2,))
    with jax.enable_x64(True):
        loss = jax.jit(lambda x: cubic(layers.average_pool3x3(x)))
        finite_differences(loss, [x], jax.jit(jax.grad(loss, (0,)))(x))
        loss = jax.jit(lambda x, scale, shift: cubic(layers.batch_norm(x, Norm(scale, shift))[0]))
        finite_differences(loss, [x, scale, shift], jax.jit(jax.grad(loss, (0, 1, 2)))(x, scale, shift))


def test_average_pool_by_hand():
    """The image 1..9: a corner has four neighbours inside the image (itself included), a side six, the centre nine."""
    image = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    by_hand = [
        [(1 + 2 + 4 + 5) / 4, (1 + 2 + 3 + 4 + 5 + 6) / 6, (2 + 3 + 5 + 6) / 4],
        [(1 + 2 + 4 + 5 + 7 + 8) / 6, 45 / 9, (2 + 3 + 5 + 6 + 8 + 9) / 6],
        [(4 + 5 + 7 + 8) / 4, (4 + 5 + 6 + 7 + 8 + 9) / 6, (5 + 6 + 8 + 9) / 4],
    ]
    with jax.enable_x64(True):
        close(layers.average_pool3x3(image)[0, :, :, 0], by_hand)
        close(layers.plain_average_pool3x3(image)[0, :, :, 0], by_hand)
        # The gradient of the top left output: a quarter for each of its four pixels.
        first = np.zeros_like(image)
        first[0, 0, 0, 0] = 1
        quarters = [[1 / 4, 1 / 4, 0], [1 / 4, 1 / 4, 0], [0, 0, 0]]
        close(layers.average_pool3x3_gradient(first)[0, :, :, 0], quarters)


@pytest.mark.parametrize("side", [8, 4, 2])
def test_average_pool_gradient(side):
    x, dy = draw(side, *[(2, side, side + 2, 3)] * 2)
    with jax.enable_x64(True):

        @jax.jit
        def both(x, dy):
            pairs = [jax.vjp(pool, x) for pool in (layers.average_pool3x3, layers.plain_average_pool3x3)]
            return [(y, *pull(dy)) for y, pull in pairs]

        ours, plain = both(x, dy)
        jax.tree.map(close, ours, plain)
        close(layers.average_pool3x3_gradient(dy), plain[1])


def test_average_pool2x2_by_hand():
    image = np.arange(16.0).reshape(1, 4, 4, 1)
    with jax.enable_x64(True):
        close(layers.average_pool2x2(image)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])


def test_relu_has_no_gradient_at_zero():
    """As the hand-written backward pass of the cell has it. A diverged network must not look healthy: NaN stays NaN."""
    y, pull = jax.vjp(layers.relu, jnp.array([-2.0, 0.0, 3.0]))
    np.testing.assert_array_equal(y, [0, 0, 3])
    np.testing.assert_array_equal(pull(jnp.array([1.0, 1.0, 5.0]))[0], [0, 0, 5])
    assert jnp.isnan(layers.relu(jnp.array(jnp.nan)))


def test_batch_norm_and_its_gradient():
    x, scale, shift, dy = draw(3, (4, 3, 5, 2), (2,), (2,), (4, 3, 5, 2))
    x = 3 * x + 2
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    with jax.enable_x64(True):

        @functools.partial(jax.jit, static_argnums=0)
        def run(layer, x, norm):
            y, pull, moments = jax.vjp(lambda x, norm: layer(x, norm), x, norm, has_aux=True)
            return y, moments, pull(dy)

        results = [run(layer, x, Norm(scale, shift)) for layer in (layers.batch_norm, layers.plain_batch_norm)]
        for y, moments, _ in results:
            close(y, (x - mean) / np.sqrt(variance + 1e-5) * scale + shift)
            jax.tree.map(close, moments, Moments(mean, variance))
        jax.tree.map(close, results[0][2], results[1][2])
        direct = jax.jit(layers.batch_norm_gradient)(x, Norm(scale, shift), Moments(mean, variance), dy)
        jax.tree.map(close, direct, results[1][2])


@pytest.mark.parametrize("layer", [layers.batch_norm, layers.plain_batch_norm], ids=["ours", "plain"])
def test_given_moments(layer):
    """They are used and handed back; given those of the batch, the value is the same and the gradient is not."""
    x, scale, shift, mean = draw(4, (4, 3, 5, 2), (2,), (2,), (2,))
    norm, given = Norm(scale, shift), Moments(mean, np.array([0.5, 3.0]))
    with jax.enable_x64(True):

        def gradient(moments):
            return jax.jit(jax.grad(lambda x: cubic(layer(x, norm, moments)[0])))(x)

        y, used = layer(x, norm, given)
        close(y, (x - mean) / np.sqrt(given.variance + 1e-5) * scale + shift)
        jax.tree.map(np.testing.assert_array_equal, used, given)
        close(gradient(given), 3 * np.asarray(y) ** 2 / 10 * scale / np.sqrt(given.variance + 1e-5))
        own = layers.batch_moments(jnp.asarray(x))
        close(layer(x, norm, own)[0], layer(x, norm)[0])
        assert np.abs(gradient(own) - gradient(None)).max() > 0.01


@pytest.mark.parametrize("layer", [layers.batch_norm, layers.plain_batch_norm], ids=["ours", "plain"])
def test_no_gradient_through_the_returned_moments(layer):
    x, scale, shift = draw(4, (4, 3, 5, 2), (2,), (2,))

    def loss(x):
        moments = layer(x, Norm(scale, shift))[1]
        return moments.mean.sum() + moments.variance.sum()

    with jax.enable_x64(True):
        np.testing.assert_array_equal(jax.jit(jax.grad(loss))(x), np.zeros_like(x))


def test_variance_of_a_small_spread_about_a_large_mean():
    """Mean 1e4, deviation 1, in float32: squares are 1e8, whose spacing is 8. Two passes lose nothing by that."""
    x = (1e4 + draw(6, (16, 8, 8, 4))[0]).astype(np.float32)
    exact = x.astype(np.float64)
    mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    norm = Norm(jnp.ones(4), jnp.zeros(4))
    y, moments = jax.jit(lambda x: layers.batch_norm(x, norm))(x)
    assert moments.mean.dtype == moments.variance.dtype == y.dtype == jnp.float32
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-4)
    np.testing.assert_allclose(y, (exact - mean) / np.sqrt(variance + 1e-5), atol=1e-2)
    one_pass = jnp.square(x).mean((0, 1, 2)) - jnp.square(jnp.asarray(x).mean((0, 1, 2)))
    assert np.abs(one_pass - variance).max() > 0.1  # what this test would see


def test_constant_images_give_the_shift():
    """Variance 0: epsilon keeps value and gradient finite."""
    x, norm = jnp.full((2, 4, 4, 3), 7.0), Norm(jnp.full(3, 2.0), jnp.arange(3.0))
    y, pull = jax.vjp(lambda x, norm: layers.batch_norm(x, norm)[0], x, norm)
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(3.0), x.shape))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(pull(jnp.ones_like(y))))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_dtype_is_that_of_the_arguments(dtype):
    """Values and gradients, in a process that allows 64 bits."""

    def network(x, narrow, wide, norm):
        x = layers.conv3x3(layers.relu(x), narrow)
        x, moments = layers.batch_norm(layers.average_pool3x3(x), norm)
        return layers.average_pool2x2(layers.conv3x3(x, wide, 2, True)), moments

    with jax.enable_x64(True):
        arrays = [jax.ShapeDtypeStruct(s, dtype) for s in ((2, 8, 8, 9), (3, 3, 9, 10), (3, 3, 10, 2), (10,), (10,))]
        arguments = (*arrays[:3], Norm(*arrays[3:]))
        everything = jax.eval_shape(
            lambda *a: (network(*a), jax.grad(lambda *b: network(*b)[0].sum(), (0, 1, 2, 3))(*a)), *arguments
        )
    assert {leaf.dtype for leaf in jax.tree.leaves(everything)} == {jnp.dtype(dtype)}


def convolutions_in_bodies(compiled):
    """The attributes of every convolution outside the entry computation of a compiled program's text."""
    found, in_entry = [], False
    for line in compiled.as_text().splitlines():
        if line.rstrip().endswith("{") and not line.startswith(" "):
            in_entry = line.startswith("ENTRY")
        elif not in_entry and " convolution(" in line:
            found.append(line)
    return found


def is_slow(line):
    """XLA:CPU runs every other order of dimensions, and dilation of the left side, by scalar loops."""
    labels = re.search(r"dim_labels=([\w>-]+)", line).group(1)
    return labels != "b01f_01io->b01f" or "lhs_dilate" in line or "rhs_reversal" in line


@functools.cache
def compiled_training(plain):
    """Two steps of gradient descent for each of two children: `scan` inside `map`, N = 1, C = 8, 8x8, batch 4."""
    skeleton = Skeleton(channels=8, cells=1, resolution=8)

    def loss(params, operations, images):
        if plain:
            logits, _ = skeleton.static_apply_operations(params, (3, 0, 0, 1, 0, 0), images, plain=True)
        else:
            logits, _ = skeleton.apply_operations(params, operations, images)
        return jnp.square(logits).mean()

    def train(params, operations, batches):
        def step(params, images):
            value, gradient = jax.value_and_grad(loss)(params, operations, images)
            return jax.tree.map(lambda w, g: w - jnp.float32(0.1) * g, params, gradient), value

        return lax.scan(step, params, batches)

    @jax.jit
    def population(params, operations, batches):
        return lax.map(lambda child: train(params, child, batches), operations)

    params = jax.eval_shape(skeleton.init, jax.random.key(0))
    shapes = jax.ShapeDtypeStruct((2, 6), jnp.int32), jax.ShapeDtypeStruct((2, 4, 8, 8, 3), jnp.float32)
    return population.lower(params, *shapes).compile(USERS_TEXT)


needs_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the text is XLA:CPU's")


@needs_cpu
def test_compiled_training_has_fast_convolutions_only(monkeypatch):
    """JAX's own derivative of a convolution may not reach a loop's body. (Layers in C++ leave no convolution to read.)"""
    monkeypatch.delenv("NASJAX_NATIVE", raising=False)
    lines = convolutions_in_bodies(compiled_training(plain=False))
    assert len(lines) > 5
    assert [line for line in lines if is_slow(line)] == []


@needs_cpu
def test_compiled_plain_training_has_slow_convolutions():
    """The control: without our gradients XLA does get the slow forms, and the reader above sees them."""
    lines = convolutions_in_bodies(compiled_training(plain=True))
    slow = [line for line in lines if is_slow(line)]
    assert len(slow) >= 2
    assert any("lhs_dilate" in line for line in slow)  # the data gradient at stride 2
