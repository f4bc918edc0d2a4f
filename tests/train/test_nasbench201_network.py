"""The whole network of NAS-Bench-201: its forms against each other, its statistics, its sizes, its first weights.

Equality is claimed in float64 and to 1e-10 of numbers near 1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nasjax.spaces import nasbench201
from nasjax.train.networks import convolution as layers
from nasjax.train.networks.cell import static_cell
from nasjax.train.networks.nasbench201 import FORMS, Skeleton

SKELETON = Skeleton(channels=2, cells=2, resolution=8, classes=3, in_channels=1)
CELLS = [(3, 2, 4, 1, 2, 3), (2, 0, 3, 4, 1, 0), (0, 3, 1, 2, 4, 2)]
NONE = (0,) * 6
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Compiles in half the time: the algebra is tested here, not the machine code."""
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)


@functools.cache
def arch(operations):
    """A concrete graph of JAX arrays, wherever it is first asked for."""
    with jax.ensure_compile_time_eval():
        return nasbench201.from_operations(jnp.array(operations, jnp.int32))


@functools.cache
def problem(skeleton=SKELETON):
    """Weights of a network in training (nothing is 1 or 0, as at the start), images and a cotangent; float64."""
    rng = np.random.default_rng(skeleton.channels)
    first = skeleton.init(jax.random.key(0))
    weights = jax.tree.map(lambda leaf: np.float64(leaf) + 0.3 * rng.normal(size=leaf.shape), first)
    shape = (3, skeleton.resolution, skeleton.resolution, skeleton.in_channels)
    return weights, rng.normal(size=shape), rng.normal(size=(3, skeleton.classes))


def everything(apply, weights, images, dy):
    """Logits, statistics, and the gradients for weights and images."""
    logits, pull, statistics = jax.vjp(apply, weights, images, has_aux=True)
    return logits, statistics, pull(dy)


@functools.cache
def results(form):
    """`everything` of all cells, stacked: "switch" in a `map`, "dense" in a `vmap`, as training runs them."""

    def run(operations, *arguments):
        graph = nasbench201.from_operations(operations)
        return everything(lambda w, x: SKELETON.apply(w, graph, x, form=form), *arguments)

    cells = np.int32([*CELLS, NONE])
    with jax.enable_x64(True):
        if form == "switch":
            tree = quick_jit(lambda cells, *a: lax.map(lambda ops: run(ops, *a), cells))(cells, *problem())
        else:
            tree = quick_jit(jax.vmap(run, (0, None, None, None)))(cells, *problem())
    return jax.tree.map(np.asarray, tree)


def at(tree, k):
    return jax.tree.map(lambda leaf: leaf[k], tree)


def assert_equal(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    jax.tree.map(close, tree, expected)


def unrolled(operations, params, x):
    """Logits by the description in the paper's section 2: no scan over cells, XLA's operations."""

    def conv(x, w, stride):
        ones = ((1, 1), (1, 1))
        return lax.conv_general_dilated(x, w, (stride, stride), ones, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def norm(x, weights):
        axes = (0, 1, 2)
        scaled = (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + 1e-5)
        return scaled * weights.scale[None, None, None] + weights.shift[None, None, None]

    x = norm(conv(x, params.stem, 1), params.stem_norm)
    for stage in range(3):
        if stage:
            w = params.reductions[stage - 1]
            y = norm(conv(layers.relu(x), w.first, 2), w.first_norm)
            y = norm(conv(layers.relu(y), w.second, 1), w.second_norm)
            means = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
            x = y + means @ w.shortcut
        for cell in range(params.cells[stage].conv1.shape[0]):
            x, _ = static_cell(at(params.cells[stage], cell), operations, x, None, True)
    features = layers.relu(norm(x, params.head_norm)).mean((1, 2))
    return features @ params.head + params.bias[None]


@pytest.fixture(scope="module")
def plain():
    """`everything` of the first cell, by XLA's operations differentiated by JAX."""
    apply = functools.partial(SKELETON.static_apply, plain=True)
    with jax.enable_x64(True):
        run = quick_jit(lambda *p: everything(lambda w, x: apply(w, arch(CELLS[0]), x), *p))
        return run(*problem())


def test_plain_network_is_the_described_one(plain):
    with jax.enable_x64(True):
        close(plain[0], quick_jit(functools.partial(unrolled, CELLS[0]))(*problem()[:2]))


@pytest.mark.parametrize("form", FORMS)
def test_forms_agree_with_plain_operations_and_derivatives(form, plain):
    """Logits, statistics and every gradient."""
    ours = at(results(form), 0)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(ours))
    assert_equal(ours, plain)
    gradient, dimages = ours[2]
    assert all(np.abs(leaf).max() > 1e-3 for leaf in (gradient.stem, gradient.head, dimages))


def test_forms_agree_on_other_cells():
    assert_equal(results("switch"), results("dense"))


@pytest.mark.parametrize("plain", [False, True])
def test_static_network_with_statistics(plain):
    """`static_apply` takes the statistics that `apply` collected and gives its logits, with either set of layers."""
    weights, images, _ = problem()
    logits, statistics, _ = at(results("switch"), 1)
    with jax.enable_x64(True):
        run = quick_jit(lambda w, x, s: SKELETON.static_apply(w, arch(CELLS[1]), x, s, plain))
        again, used = run(weights, images, statistics)
        close(again, logits)
        jax.tree.map(np.testing.assert_array_equal, used, statistics)


@pytest.mark.parametrize("form", FORMS)
def test_statistics_given_back(form):
    """A training pass's statistics give its logits again, and then no image matters to another."""
    weights, images, _ = problem()
    logits, statistics, _ = at(results("switch"), 0)
    with jax.enable_x64(True):
        run = quick_jit(lambda x, s: SKELETON.apply(weights, arch(CELLS[0]), x, s, form))
        again, used = run(images, statistics)
        close(again, logits)
        jax.tree.map(np.testing.assert_array_equal, used, statistics)
        others, _ = run(np.concatenate([images[:1], 3 * images[1:]]), statistics)
        close(others[0], logits[0])
        assert np.abs(others[1:] - logits[1:]).max() > 0.01
        moved, _ = run(images, jax.tree.map(lambda leaf: leaf + 1, statistics))
        assert np.abs(moved - logits).max() > 0.01


@pytest.mark.parametrize("form", FORMS)
def test_cell_of_nothing(form):
    """`none` on every edge: the same logits for every image, and no gradient for what lies before; zero, not NaN."""
    logits, _, (gradient, dimages) = at(results(form), len(CELLS))
    close(logits, np.broadcast_to(logits[:1], logits.shape))
    assert np.any(logits)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((logits, gradient, dimages)))
    for leaf in jax.tree.leaves((dimages, gradient.stem, gradient.stem_norm, gradient.cells)):
        assert not np.any(leaf)
    assert np.any(gradient.bias)


@pytest.mark.parametrize(
    "skeleton",
    [
        Skeleton(channels=1, cells=1, resolution=4, classes=1, in_channels=1),  # the last stage is one pixel
        Skeleton(channels=3, cells=1, resolution=12, classes=4, in_channels=2),  # the last stage has an odd side
    ],
    ids=["smallest", "12x12"],
)
def test_sizes(skeleton):
    weights, images, _ = problem(skeleton)
    with jax.enable_x64(True):
        logits, statistics = quick_jit(lambda w, x: skeleton.apply(w, arch(CELLS[0]), x))(weights, images)
        close(logits, quick_jit(functools.partial(unrolled, CELLS[0]))(weights, images))
    width = skeleton.channels
    assert logits.shape == (3, skeleton.classes)
    assert weights.stem.shape == (3, 3, skeleton.in_channels, width)
    assert weights.head.shape == (4 * width, skeleton.classes)
    for stage, (stacked, moments) in enumerate(zip(weights.cells, statistics.cells, strict=True)):
        side = width << stage
        assert stacked.conv3.shape == (skeleton.cells, 6, 3, 3, side, side)
        assert moments.mean.shape == moments.variance.shape == (skeleton.cells, 6, side)


def test_first_weights():
    """Means and variances of the normal draws within five standard errors; the rest is 0 and 1."""
    skeleton = Skeleton(channels=16, cells=1, resolution=8, in_channels=3)
    params = skeleton.init(jax.random.key(3))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    draws = [(params.stem, 2 / 27)]
    for stage, width in enumerate((16, 32, 64)):
        draws += [(params.cells[stage].conv1, 2 / width), (params.cells[stage].conv3, 2 / (9 * width))]
    for w, width in zip(params.reductions, (16, 32), strict=True):
        draws += [(w.first, 2 / (9 * width)), (w.second, 1 / (9 * width)), (w.shortcut, 1 / width)]
    for array, variance in draws:
        values = np.float64(array).ravel() / variance**0.5
        assert abs(values.mean()) < 5 / values.size**0.5
        assert abs(values.var() - 1) < 5 * (2 / values.size) ** 0.5
    norms = [params.stem_norm, params.head_norm]
    norms += [norm for cell in params.cells for norm in (cell.norm1, cell.norm3)]
    norms += [norm for w in params.reductions for norm in (w.first_norm, w.second_norm)]
    for norm in norms:
        np.testing.assert_array_equal(norm.scale, np.ones(norm.scale.shape))
        np.testing.assert_array_equal(norm.shift, np.zeros(norm.shift.shape))
    assert not np.any(params.head)
    assert not np.any(params.bias)
    pairs = [np.float64(array).ravel()[:100] for array, _ in draws]  # no two arrays are one draw
    assert np.abs(np.corrcoef(pairs) - np.eye(len(pairs))).max() < 0.6
    jax.tree.map(np.testing.assert_array_equal, params, skeleton.init(jax.random.key(3)))
    assert np.any(params.stem != skeleton.init(jax.random.key(4)).stem)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "channels must be >= 1, got 0"),
        ({"cells": -1}, "cells must be >= 1, got -1"),
        ({"classes": 0}, "classes must be >= 1, got 0"),
        ({"in_channels": 0}, "in_channels must be >= 1, got 0"),
        ({"resolution": 10}, "resolution must be a multiple of 4 .*, got 10"),
        ({"resolution": 0}, "resolution must be a multiple of 4 .*, got 0"),
    ],
    ids=str,
)
def test_sizes_that_no_network_has(change, message):
    with pytest.raises(ValueError, match=message):
        Skeleton(**change)


def test_refused_calls():
    weights, images, _ = problem()
    with pytest.raises(ValueError, match=r"no form 'desne'; one of \('switch', 'dense'\)"):
        SKELETON.apply(weights, arch(NONE), images, form="desne")
    with pytest.raises(ValueError, match=r"images must be \[B, 8, 8, 1\], got \[3, 8, 8\]"):
        SKELETON.apply(weights, arch(NONE), images[..., 0])
    with pytest.raises(ValueError, match=r"images must be \[B, 8, 8, 1\], got \[3, 8, 4, 1\]"):
        SKELETON.static_apply(weights, arch(NONE), images[:, :, :4])
