"""The C++ layers against the same layers in XLA: values and gradients to 1e-5 of the largest entry, float32."""

import functools
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.train.networks import cell, native
from nasjax.train.networks import convolution as layers
from nasjax.train.networks.cell import CellWeights
from nasjax.train.networks.convolution import Moments, Norm

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
SHAPES = [(3, 2, 2, 32), (2, 4, 4, 16), (2, 6, 4, 8), (2, 12, 10, 8), (1, 8, 8, 48), (5, 2, 8, 24)]
"""Images of each block of pixels (2x2, 2x4, 8 with and without overlap) and each block of channels (8, 16, 32)."""


@pytest.fixture(autouse=True)
def switched_on(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("NASJAX_NATIVE", "1")
    if not os.environ.get("NASJAX_CACHE"):
        monkeypatch.setenv("NASJAX_CACHE", str(tmp_path_factory.getbasetemp()))


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def close(ours, reference):
    assert ours.shape == reference.shape
    assert ours.dtype == reference.dtype
    scale = max(float(np.abs(reference).max()), 1e-3)
    np.testing.assert_allclose(np.asarray(ours) / scale, np.asarray(reference) / scale, rtol=0, atol=1e-5)


def by_xla(function, *arguments):
    """The same function compiled with the setting off."""
    os.environ["NASJAX_NATIVE"] = "0"
    result = jax.jit(lambda *given: function(*given))(*arguments)  # a new function, so nothing is compiled already
    os.environ["NASJAX_NATIVE"] = "1"
    return result


def by_us(function, *arguments):
    """The same function with the setting on; fails where nothing of it is ours."""
    ours = jax.jit(lambda *given: function(*given))
    assert "nasjax_" in ours.lower(*arguments).as_text()
    return ours(*arguments)


def agree(function, *arguments):
    jax.tree.map(close, by_us(function, *arguments), by_xla(function, *arguments))


@needs_compiler
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolution_and_gradients(shape, stride):
    batch, high, wide, channels = shape
    x, w, dy = draw(1, shape, (3, 3, channels, 16), (batch, high // stride, wide // stride, 16))

    def everything(x, w, dy):
        y, pull = jax.vjp(lambda x, w: layers.conv3x3(x, w, stride), x, w)
        return y, pull(dy)

    agree(everything, x, w, dy)


@needs_compiler
def test_stem_from_three_channels():
    x, w, dy = draw(2, (2, 8, 8, 3), (3, 3, 3, 8), (2, 8, 8, 8))
    agree(lambda w: (layers.conv3x3(x, w), jax.vjp(lambda w: layers.conv3x3(x, w), w)[1](dy)), w)


@needs_compiler
@pytest.mark.parametrize("stride", [1, 2])
def test_relu_convolution_norm(stride):
    x, w, scale, shift, dy = draw(3, (4, 8, 8, 8), (3, 3, 8, 16), (16,), (16,), (4, 8 // stride, 8 // stride, 16))

    def everything(x, w, scale, shift):
        def layer(x, w, scale, shift):
            return layers.relu_conv_norm(x, w, Norm(scale, shift), stride)

        y, pull, moments = jax.vjp(layer, x, w, scale, shift, has_aux=True)
        return y, moments, pull(dy)

    agree(everything, 2 * x + 1, w, scale, shift)


@needs_compiler
@pytest.mark.parametrize("channels", [8, 16])
def test_every_operation_of_an_edge(channels):
    """Forward against the cell's branches; backward likewise, from the same saved values."""
    x, dy, conv1, conv3, *norms = draw(
        4, *[(3, 6, 4, channels)] * 2, (channels, channels), (3, 3, channels, channels), *[(channels,)] * 4
    )
    weights = CellWeights(conv1, Norm(*norms[:2]), conv3, Norm(*norms[2:]))
    flat = (conv1, *norms[:2], conv3, *norms[2:])
    forward = jax.jit(native.edge_forward)
    backward = jax.jit(native.edge_backward)
    for name in range(len(cell.OPERATIONS)):
        operation = jnp.int32(name)
        y, convolved, mean, variance = forward(operation, x, flat)
        expected, expected_convolved, moments = by_xla(cell._FORWARD[name], weights, x)
        close(y, expected)
        jax.tree.map(close, Moments(mean, variance), moments)
        if name in (cell.CONV1, cell.CONV3):
            close(convolved, expected_convolved)
        dx, *dw = backward(operation, x, convolved, mean, variance, flat, dy)
        expected_dx, expected_dw = by_xla(cell._BACKWARD[name], weights, x, expected_convolved, moments, dy)
        close(dx, expected_dx)
        jax.tree.map(close, tuple(dw), tuple(jax.tree.leaves(expected_dw)))


@needs_compiler
def test_cell_and_its_gradient_in_a_loop():
    """As children are trained: architectures are data inside `lax.map`."""
    shapes = [(6, 8, 8), (6, 8), (6, 8), (6, 3, 3, 8, 8), (6, 8), (6, 8), (4, 4, 4, 8)]
    conv1, s1, b1, conv3, s3, b3, x = draw(5, *shapes)
    weights = CellWeights(conv1, Norm(s1, b1), conv3, Norm(s3, b3))
    cells = np.random.default_rng(6).integers(0, 5, (6, 6)).astype(np.int32)

    def everything(apply, weights, x, cell_of):
        def loss(weights, x):
            y, moments = apply(weights, cell_of, x)
            return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum(), moments

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(weights, x)

    plain_cell = functools.partial(cell.static_cell, plain=True)
    looped = by_us(lambda w, x: jax.lax.map(lambda ops: everything(cell.switch_cell, w, x, ops), cells), weights, x)
    for k in range(2):
        names = tuple(int(op) for op in cells[k])
        reference = by_xla(lambda w, x, names=names: everything(plain_cell, w, x, names), weights, x)
        jax.tree.map(lambda ours, expected, k=k: close(ours[k], expected), looped, reference)


@needs_compiler
def test_not_a_number_is_not_hidden():
    """A diverged child must be seen: ReLU and the kernels hand NaN on."""
    x, w = draw(7, (1, 4, 4, 8), (3, 3, 8, 8))
    x[0, 1, 1, 3] = np.nan
    y, _ = by_us(lambda x, w: layers.relu_conv_norm(x, w, Norm(jnp.ones(8), jnp.zeros(8)), 1), x, w)
    assert np.isnan(y).all()


@pytest.mark.parametrize("given", ["yes", "2"])
def test_an_unknown_setting_is_refused(monkeypatch, given):
    monkeypatch.setenv("NASJAX_NATIVE", given)
    with pytest.raises(ValueError, match=f"NASJAX_NATIVE is '{given}'; 1 = "):
        native.wanted()


def test_off_by_default_and_where_it_does_not_fit(monkeypatch):
    assert not native.covers(jnp.float64, 16)
    assert not native.covers(jnp.float32, 16, 12)
    monkeypatch.delenv("NASJAX_NATIVE")
    assert not native.covers(jnp.float32, 16)


def test_without_a_compiler_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"needs the compiler g\+\+"):
        native.build(tmp_path)


@needs_compiler
def test_a_library_is_compiled_once_and_errors_are_told(monkeypatch, tmp_path):
    """With another source, because the real one takes seconds."""
    source = tmp_path / "small.cc"
    source.write_text('extern "C" int f() { return 3; }')
    monkeypatch.setattr(native, "SOURCE", source)
    first = native.build(tmp_path / "cache")
    made = first.stat().st_mtime_ns
    assert native.build(tmp_path / "cache") == first
    assert first.stat().st_mtime_ns == made
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    source.write_text("not C++")
    with pytest.raises(RuntimeError, match=r"g\+\+ could not compile small\.cc: "):
        native.build(tmp_path / "cache")


@needs_compiler
def test_denormals_stay_as_they_are():
    """Fast-math start-up code would set flush-to-zero for the whole process."""
    code = (
        "import numpy as np, jax.numpy as jnp; from nasjax.train.networks import native; "
        "assert native.covers(jnp.float32, 8); x = np.float32(1e-40); assert x * np.float32(1) != 0"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
