"""The three forms of a cell against each other, JAX's own derivatives, and a slow NumPy cell written from the paper.

Five cells put every operation on every edge. Equality is claimed in float64 and to 1e-10 of numbers near 1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nasjax.spaces.nasbench201 import OPERATIONS
from nasjax.train.networks.cell import CellWeights, dense_cell, static_cell, switch_cell
from nasjax.train.networks.convolution import Moments, Norm

WIDTH = 3
CELLS = [tuple((shift + 2 * edge) % 5 for edge in range(6)) for shift in range(5)]
DEAD = {  # cell: its edges without a way to the output
    (3, 2, 0, 1, 0, 0): (0, 1, 2, 4, 5),
    (3, 3, 3, 0, 0, 0): (0, 1, 2, 3, 4, 5),
    (0, 0, 3, 4, 2, 3): (0, 1),  # nodes 1 and 2 are zero, and convolved: variance 0
}
SEEDS = (0, 1)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Compiles in half the time; for forms that training on a CPU does not use, and where only the algebra is tested."""
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)


def draw_weights(rng):
    """Scales and shifts are random too: at 1 and 0 several mistakes cancel."""

    def norm():
        return Norm(rng.uniform(0.5, 1.5, (6, WIDTH)), rng.normal(size=(6, WIDTH)))

    conv1, conv3 = rng.normal(size=(6, WIDTH, WIDTH)), rng.normal(size=(6, 3, 3, WIDTH, WIDTH)) / 3
    return CellWeights(conv1, norm(), conv3, norm())


@functools.cache
def problem(seed):
    """Weights, images (with exact zeros among them, where ReLU has its kink) and a cotangent."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 4, 4, WIDTH))
    x[:, :, 1] = 0
    return draw_weights(rng), x, rng.normal(size=x.shape)


def everything(cell, weights, x, dy):
    """Output, moments, and gradients for weights and images, of a cell with its operations bound."""
    y, pull, moments = jax.vjp(cell, weights, x, has_aux=True)
    return y, moments, pull(dy)


def switched(weights, operations, x, dy):
    return everything(lambda w, x: switch_cell(w, operations, x), weights, x, dy)


def dense(weights, operations, x, dy):
    return everything(lambda w, x: dense_cell(w, operations, x), weights, x, dy)


def static(operations, plain):
    return quick_jit(lambda w, x, dy: everything(lambda w, x: static_cell(w, operations, x, None, plain), w, x, dy))


@functools.cache
def reference(operations):
    """For each seed `everything` of a cell of XLA's own operations, differentiated by JAX; float64."""
    program = static(operations, True)
    with jax.enable_x64(True):
        return [program(*problem(seed)) for seed in SEEDS]


@jax.jit
def mapped(operations, problems):
    """As training on CPUs runs cells: a `map` over operations, in it a `scan` over problems."""

    def child(ops):
        return lax.scan(lambda carry, p: (carry, switched(p[0], ops, *p[1:])), None, problems)[1]

    return lax.map(child, operations)


def vmapped(form):
    """As accelerators run cells: `vmap` over operations and all else; one problem a cell, the same for all."""
    return quick_jit(jax.vmap(form, (None, 0, None, None)))


VMAPPED = {"switch": vmapped(switched), "dense": vmapped(dense)}


@functools.cache
def results(form, dtype="float64"):
    """{(operations, seed): everything} for all cells."""
    cells = (*CELLS, *DEAD)
    problems = jax.tree.map(lambda leaf: leaf.astype(dtype), [problem(seed) for seed in SEEDS])
    with jax.enable_x64(dtype == "float64"):
        if form == "map":
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *problems)
            tree = mapped(np.int32(cells), stacked)
        else:
            trees = [VMAPPED[form](w, np.int32(cells), x, dy) for w, x, dy in problems]
            tree = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *trees)
    tree = jax.tree.map(np.asarray, tree)
    return {(cell, seed): at(tree, k, n) for k, cell in enumerate(cells) for n, seed in enumerate(SEEDS)}


every_form = pytest.mark.parametrize("form", ["map", "switch", "dense"])


def at(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def assert_equal(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    jax.tree.map(close, tree, expected)


def test_cells_have_every_operation_on_every_edge():
    assert {(edge, cell[edge]) for cell in CELLS for edge in range(6)} == {(e, op) for e in range(6) for op in range(5)}


# -- a cell from its definition


def slow_cell(names, weights, x, given=None):
    """Dong and Yang (2020), section 2: node j is the sum over i < j of operations on node i. Loops over everything."""
    edges = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    nodes = [x] + [np.zeros_like(x) for _ in range(3)]
    moments = np.zeros((6, WIDTH)), np.ones((6, WIDTH))
    images, high, wide, _ = x.shape
    pixels = [(i, j) for i in range(high) for j in range(wide)]
    for e, (source, target) in enumerate(edges):
        image, result = nodes[source], np.zeros_like(x)
        if names[e] == "skip_connect":
            result = image.copy()
        elif names[e] == "avg_pool_3x3":
            for i, j in pixels:
                near = [image[:, k, m] for k, m in pixels if abs(k - i) <= 1 and abs(m - j) <= 1]
                result[:, i, j] = sum(near) / len(near)
        elif names[e] in ("nor_conv_1x1", "nor_conv_3x3"):
            reach = 1 if names[e] == "nor_conv_3x3" else 0
            norm = weights.norm3[:] if reach else weights.norm1[:]
            for b in range(images):
                for i, j in pixels:
                    for k, m in pixels:
                        if abs(k - i) > reach or abs(m - j) > reach:
                            continue
                        kernel = weights.conv3[e, k - i + 1, m - j + 1] if reach else weights.conv1[e]
                        for c in range(WIDTH):
                            if image[b, k, m, c] > 0:
                                result[b, i, j] += image[b, k, m, c] * kernel[c]
            for c in range(WIDTH):
                values = result[..., c]
                moments[0][e, c] = values.sum() / values.size
                moments[1][e, c] = ((values - moments[0][e, c]) ** 2).sum() / values.size
                mean, variance = (m[e, c] for m in (moments if given is None else given))
                result[..., c] = (values - mean) / (variance + 1e-5) ** 0.5 * norm[0][e, c] + norm[1][e, c]
        nodes[target] = nodes[target] + result
    return nodes[3], Moments(*moments) if given is None else given


# -- the forms against the definition and each other


@every_form
def test_values_are_those_of_the_definition(form):
    for operations in (*CELLS, *DEAD):
        weights, x, _ = problem(0)
        y, moments, _ = results(form)[operations, 0]
        assert_equal((y, moments), slow_cell([OPERATIONS[op] for op in operations], weights, x))


@every_form
@pytest.mark.parametrize("operations", CELLS, ids=str)
def test_value_moments_and_gradients(operations, form):
    for seed in SEEDS:
        ours = results(form)[operations, seed]
        assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(ours))
        assert_equal(ours, reference(operations)[seed])


@pytest.mark.parametrize("operations", [CELLS[1]], ids=str)
def test_static_cell_with_our_layers(operations):
    with jax.enable_x64(True):
        assert_equal(static(operations, False)(*problem(1)), reference(operations)[1])


def test_given_moments():
    """All forms use them, whatever the batch, and hand them back."""
    weights, x, _ = problem(0)
    rng = np.random.default_rng(9)
    given = Moments(rng.normal(size=(6, WIDTH)), rng.uniform(0.5, 2, (6, WIDTH)))
    cells = np.int32(CELLS)
    with jax.enable_x64(True):
        trees = [
            quick_jit(lambda x: lax.map(lambda ops: switch_cell(weights, ops, x, given), cells))(x),
            quick_jit(jax.vmap(lambda ops, x: dense_cell(weights, ops, x, given), (0, None)))(cells, x),
        ]
        for k, operations in enumerate(CELLS):
            expected = slow_cell([OPERATIONS[op] for op in operations], weights, x, given)
            for tree in trees:
                assert_equal(at(tree, k), expected)
            for plain in (False, True):
                assert_equal(static_cell(weights, operations, jnp.asarray(x), given, plain), expected)


def test_float32():
    """Within 2e-4 of the largest entry of each array (24 bits, sums of about a hundred terms)."""
    for operations in CELLS:
        ours, exact = results("map", "float32")[operations, 0], reference(operations)[0]
        for leaf, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(exact), strict=True):
            assert leaf.dtype == np.float32
            np.testing.assert_allclose(leaf, expected, rtol=0, atol=2e-4 * max(1, np.abs(expected).max()))


# -- what must be zero


@every_form
def test_operations_that_do_not_run_get_no_gradient(form):
    """Exactly zero for what an edge does not do, so that sums over steps and weight decay see nothing of it."""
    for (operations, _), (_, moments, (gradient, _)) in results(form).items():
        kernels = {2: (gradient.conv1, gradient.norm1), 3: (gradient.conv3, gradient.norm3)}
        for edge, operation in enumerate(operations):
            for name, leaves in kernels.items():
                if operation != name:
                    assert not any(np.any(leaf[edge]) for leaf in jax.tree.leaves(leaves))
            if operation not in kernels:
                np.testing.assert_array_equal(moments.mean[edge], np.zeros(WIDTH))
                np.testing.assert_array_equal(moments.variance[edge], np.ones(WIDTH))


@every_form
@pytest.mark.parametrize(("operations", "dead"), DEAD.items(), ids=str)
def test_dead_edges(operations, dead, form):
    """Zero, not NaN, although a dead convolution does run and a convolution of nothing has no variance."""
    y, moments, (gradient, dx) = results(form)[operations, 0]
    for leaf in jax.tree.leaves((y, moments, gradient, dx)):
        assert np.isfinite(leaf).all()
    for edge in dead:
        assert not any(np.any(leaf[edge]) for leaf in jax.tree.leaves(gradient))
    if len(dead) == 6:
        assert not np.any(y)
        assert not np.any(dx)
    if operations[2] == operations[5] == 3 and operations[0] == 0:
        assert np.any(gradient.norm3.shift[5])  # of a convolution of zeros the shift is left, and only that learns
        for leaf in (gradient.conv3[2], gradient.conv1[4], gradient.norm3.scale[2], gradient.norm1.scale[4]):
            close(leaf, np.zeros_like(leaf))
