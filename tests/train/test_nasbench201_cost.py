"""Parameters and flops of the NAS-Bench-201 network for every cell and data set: the published ones, exactly."""

import dataclasses
import hashlib

import jax
import numpy as np
import pytest

from nasjax.spaces import nasbench201
from nasjax.train.networks.nasbench201 import Skeleton, cost, counted, table_flops

CELLS = np.indices((5,) * 6).reshape(6, -1).T
"""int[15625, 6], the operations of every code."""

SKELETONS = [  # CIFAR-10, CIFAR-100, ImageNet16-120
    Skeleton(channels=16, cells=5, resolution=side, classes=classes)
    for side, classes in ((32, 10), (32, 100), (16, 120))
]
EMPTY_PARAMS = [73_306, 79_156, 80_456]
EMPTY_FLOPS = [7_943_872, 7_949_632, 1_993_792]
PARAMS = "d6cf075f5a962915b8fbceffb726dc789f7f3eea6082c64cbf45e56b3071a9f5"
FLOPS = "e8526246d8a309c6e9f89a72e6640ac58fa17a9288704fa9d05960ff5e9b9e78"


def columns(field):
    """int64[15625, 3], one column a data set."""
    return np.stack([getattr(counted(CELLS, skeleton), field) for skeleton in SKELETONS], axis=1)


def cell(*operations):
    return nasbench201.from_operations(np.array(operations, np.int32))


@pytest.mark.parametrize(("field", "digest"), [("params", PARAMS), ("table_flops", FLOPS)])
def test_every_cell_has_the_published_figure(field, digest):
    figures = columns(field)
    assert figures.dtype == np.int64
    assert hashlib.sha256(figures.astype("<i4").tobytes()).hexdigest() == digest


def test_the_published_table(published_data):
    with np.load(published_data / "nasbench201.npz", allow_pickle=False) as table:
        code, params, flops = table["code"], table["params"], table["flops"]
        params_nats, flops_nats = table["params_nats"], table["flops_nats"]
    np.testing.assert_array_equal(columns("params")[code], params)
    np.testing.assert_array_equal(columns("table_flops")[code], flops)
    # NATS-Bench's own records count the classifier's biases as operations, and hold another cell's figure in 150 rows.
    biases = np.array([skeleton.classes for skeleton in SKELETONS])
    assert (columns("macs")[code] + biases == flops_nats).all(axis=1).sum() >= 15_625 - 150
    assert (columns("params")[code] != params_nats).any(axis=1).sum() == 150


def test_the_empty_network_and_the_largest():
    for skeleton, params, flops in zip(SKELETONS, EMPTY_PARAMS, EMPTY_FLOPS, strict=True):
        for operations in ((0,) * 6, (1,) * 6):  # skips are free
            assert cost(cell(*operations), skeleton).params == params
            assert table_flops(cell(*operations), skeleton) == flops
    params, flops = columns("params")[:, 0], columns("table_flops")[:, 0]
    assert (params.max(), flops.max()) == (1_531_546, 222_860_992)
    assert CELLS[params.argmax()].tolist() == CELLS[flops.argmax()].tolist() == [3] * 6


def test_one_cell_costs_what_its_row_says():
    for code in np.random.default_rng(0).choice(len(CELLS), 20, replace=False):
        for skeleton in SKELETONS:
            row, arch = counted(CELLS[code], skeleton), cell(*CELLS[code])
            assert cost(arch, skeleton) == (row.params, row.macs)
            assert table_flops(arch, skeleton) == row.table_flops
            assert type(cost(arch, skeleton).params) is type(table_flops(arch, skeleton)) is int


SMALL = Skeleton(channels=4, cells=2, resolution=8, classes=7, in_channels=1)


@pytest.mark.parametrize("skeleton", [SKELETONS[0], SMALL], ids=["published", "small"])
def test_params_are_the_weights_there_are(skeleton):
    """All convolutions of one size: then every weight is trained but those of the other size, with their norms."""

    def size(*parts):
        return sum(leaf.size for leaf in jax.tree.leaves(parts))

    weights = jax.eval_shape(skeleton.init, jax.random.key(0))
    for operation, others in ((3, ("conv1", "norm1")), (2, ("conv3", "norm3"))):
        unused = size([getattr(stage, name) for stage in weights.cells for name in others])
        assert cost(cell(*[operation] * 6), skeleton).params == size(weights) - unused


def multiply_adds(skeleton, operations):
    """Those of the convolutions and matrix products in the traced program, image by image, scans unrolled by length."""

    def in_program(jaxpr):
        total = 0
        for equation in jaxpr.eqns:
            shapes = [variable.aval.shape for variable in equation.invars]
            if equation.primitive.name == "conv_general_dilated":
                out, kernel = equation.outvars[0].aval.shape, shapes[1]
                spec = equation.params["dimension_numbers"].rhs_spec
                total += int(np.prod(out)) * int(np.prod(kernel)) // kernel[spec[0]]
            elif equation.primitive.name == "dot_general":
                contracted = equation.params["dimension_numbers"][0][0]
                total += int(np.prod(equation.outvars[0].aval.shape)) * int(np.prod([shapes[0][i] for i in contracted]))
            inner = [
                p for p in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr"))
            ]
            times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            for part in inner:
                if hasattr(part, "eqns") or hasattr(part, "jaxpr"):
                    total += times * in_program(getattr(part, "jaxpr", part))
        return total

    images = jax.ShapeDtypeStruct((1, skeleton.resolution, skeleton.resolution, skeleton.in_channels), np.float32)
    weights = jax.eval_shape(skeleton.init, jax.random.key(0))
    program = jax.make_jaxpr(lambda w, x: skeleton.static_apply_operations(w, operations, x, plain=True)[0])(
        weights, images
    )
    return in_program(program.jaxpr)


@pytest.mark.parametrize("skeleton", [SKELETONS[0], SMALL], ids=["published", "small"])
@pytest.mark.parametrize("operations", [(3, 3, 3, 3, 3, 3), (2, 3, 4, 1, 2, 3), (1, 0, 3, 0, 1, 4)], ids=str)
def test_macs_are_those_of_the_program(skeleton, operations):
    """The traced network, counted by its convolutions and products; every operation here is on a live edge."""
    assert multiply_adds(skeleton, np.array(operations)) == cost(cell(*operations), skeleton).macs


def test_costs_follow_the_skeleton():
    arch = cell(2, 3, 4, 1, 2, 3)
    base = cost(arch, SMALL)
    more = cost(arch, dataclasses.replace(SMALL, classes=8))
    width = 4 * SMALL.channels
    assert (more.params - base.params, more.macs - base.macs) == (width + 1, width)
    larger = cost(arch, dataclasses.replace(SMALL, resolution=16))
    head = width * SMALL.classes
    assert (larger.params, larger.macs - head) == (base.params, 4 * (base.macs - head))
