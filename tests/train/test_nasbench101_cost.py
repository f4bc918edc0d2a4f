"""Parameters and multiply-adds of the NAS-Bench-101 network: the published ones, and a walk through the official builder."""

import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.spaces import nasbench101_cells, nasbench101_specs
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.train.networks.nasbench101 import Skeleton, cost, counted

SPACE = NasBench101()
PUBLISHED = Skeleton()
UNEVEN = Skeleton(channels=13, stacks=2, cells=2, resolution=6, classes=7, in_channels=1)


def published_words(published_data):
    with np.load(published_data / "nasbench101.npz", allow_pickle=False) as table:
        return nasbench101_cells.from_published(table["cell"], table["n"]), table["params"]


def test_every_cell_has_its_published_parameters(published_data):
    words, params = published_words(published_data)
    found = counted(words, PUBLISHED)
    assert found.params.dtype == found.macs.dtype == np.int64
    np.testing.assert_array_equal(found.params, params)
    assert (found.params.min(), found.params.max()) == (227_274, 49_979_274)


def test_parameters_of_the_second_table(published_data):
    """Its cells come as matrices and names, hence through strings and the arrays of architectures."""
    with np.load(published_data / "nasbench101_ec5v.npz", allow_pickle=False) as table:
        size, triangle, labels, params = (table[name] for name in ("n", "adj", "ops", "params"))
        names = table["op_names"]
    for row in np.random.default_rng(0).choice(len(size), 30, replace=False):
        n = size[row]
        bits = np.zeros((5, 5), int)
        bits[np.triu_indices(5, 1)] = triangle[row]
        spec = "".join(map(str, bits[:n, :n][np.triu_indices(n, 1)])) + ":" + ",".join(names[labels[row, 1 : n - 1]])
        assert cost(SPACE.from_spec(spec), PUBLISHED).params == params[row]


def test_by_hand():
    """Input to output: a stem, three projections a stack, a classifier."""
    found = cost(SPACE.from_spec("1:"), PUBLISHED)
    stacks = 3 * 128**2, 128 * 256 + 2 * 256**2, 256 * 512 + 2 * 512**2
    norms = 2 * (128 + 3 * (128 + 256 + 512))
    assert found.params == 27 * 128 + sum(stacks) + norms + 512 * 10 + 10 == 882_570
    on_images = 27 * 128 * 32**2 + stacks[0] * 32**2 + stacks[1] * 16**2 + stacks[2] * 8**2
    assert found.macs == on_images + 5120 == 137_761_792
    assert type(found.params) is type(found.macs) is int


def built(matrix, operations, skeleton):
    """Weights and multiply-adds as the official builder would lay them, layer by layer; operations by vertex."""
    matrix = np.array(matrix)
    n = len(matrix)
    layers = []  # kernel side, channels in, channels out, side of the image

    def vertex_channels(before, after):
        widths = [0] * n
        widths[0], widths[n - 1] = before, after
        if n == 2:
            return widths
        in_degree = matrix[1:].sum(axis=0)
        share, correction = divmod(after, int(in_degree[n - 1]))
        for v in range(1, n - 1):
            if matrix[v, n - 1]:
                widths[v] = share
                if correction:
                    widths[v] += 1
                    correction -= 1
        for v in range(n - 3, 0, -1):
            if not matrix[v, n - 1]:
                widths[v] = max(widths[dst] for dst in range(v + 1, n - 1) if matrix[v, dst])
        return widths

    def cell(before, after, side):
        widths = vertex_channels(before, after)
        joined = 0
        for v in range(1, n - 1):
            if matrix[0, v]:
                layers.append((1, before, widths[v], side))
            if operations[v - 1] < 2:
                layers.append((3 if operations[v - 1] == 0 else 1, widths[v], widths[v], side))
            joined += widths[v] * matrix[v, n - 1]
        assert joined == (after if n > 2 else 0)
        if matrix[0, n - 1]:
            layers.append((1, before, after, side))

    width, side = skeleton.channels, skeleton.resolution
    layers.append((3, skeleton.in_channels, width, side))
    for stack in range(skeleton.stacks):
        channels = width
        if stack:
            side, channels = side // 2, 2 * width
        for _ in range(skeleton.cells):
            cell(width, channels, side)
            width = channels
    head = width * skeleton.classes
    params = sum(k * k * a * b + 2 * b for k, a, b, _ in layers) + head + skeleton.classes
    return params, sum(k * k * a * b * s * s for k, a, b, s in layers) + head


@pytest.mark.parametrize("skeleton", [PUBLISHED, UNEVEN], ids=["published", "uneven"])
def test_costs_are_those_of_the_official_builder(skeleton):
    random = np.random.default_rng(1)
    words = np.concatenate([random.choice(nasbench101_cells.encodings(n), 40) for n in nasbench101_cells.VERTICES])
    found = counted(words, skeleton)
    expected = [built(*nasbench101_specs.vertices(int(word)), skeleton) for word in words]
    np.testing.assert_array_equal(np.stack([found.params, found.macs], axis=1), expected)


def test_dead_parts_are_free_and_what_is_no_cell_is_refused():
    cell = SPACE.from_spec("101:conv3x3-bn-relu")
    with_dead = cell._replace(nodes=cell.nodes.at[3].set(2), edges=cell.edges.at[0, 3].set(1))
    assert cost(with_dead, PUBLISHED) == cost(cell, PUBLISHED)
    with pytest.raises(ValueError, match=r"^nasbench101: input and output not connected$"):
        cost(cell._replace(edges=jnp.zeros((7, 7), jnp.int32)), PUBLISHED)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": 0}, "skeleton: cells must be >= 1, got 0"),
        ({"channels": 4}, "skeleton: channels must be >= 5"),
        ({"resolution": 30}, r"skeleton: resolution must be a multiple of 4 \(it halves 2 times\), got 30"),
    ],
)
def test_sizes_that_no_network_has(settings, message):
    with pytest.raises(ValueError, match="^" + message):
        Skeleton(**settings)
