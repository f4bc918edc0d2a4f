"""Looked-up rows, and that no search adds up floating-point numbers in an order that GPUs leave open."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run

from nasjax import gather
from nasjax.configs.graphpnas_nb201_improved import IMPROVED
from nasjax.methods.bananas import Bananas
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.graphpnas import GraphPNAS
from nasjax.methods.reinforce_rnn import ReinforceRnn
from nasjax.scan import scan_search
from nasjax.spaces.nasbench201 import NasBench201

SPACE, BUDGET = NasBench201(), 12
SMALL = {"batch": 1, "explore_iters": 2, "elite": 3, "epochs": 2}


@pytest.mark.parametrize("shape", [(4,), (3, 5), (0,)])
def test_rows_and_their_gradient_are_jaxs_own(shape):
    """Bit for bit on this platform, alone and side by side."""
    random = np.random.default_rng(0)
    array, weight = (
        random.normal(size=(2, 6, 7)).astype(np.float32),
        random.normal(size=(2, *shape, 7)).astype(np.float32),
    )
    index = random.integers(0, 6, (2, *shape)).astype(np.int32)

    def ours(array, index, weight):
        return (gather.rows(array, index) * weight).sum()

    def jaxs(array, index, weight):
        return (array[index] * weight).sum()

    both = [jax.jit(jax.vmap(jax.value_and_grad(function)))(array, index, weight) for function in (ours, jaxs)]
    jax.tree.map(np.testing.assert_array_equal, *both)
    assert (np.asarray(both[0][1]) != 0).any() == (0 not in shape)


def test_other_platforms_multiply():
    """Repeated rows add up, rows that nobody asked for get nothing; whole numbers, so that no order matters."""
    index = jnp.array([[3, 0], [3, 3]], jnp.int32)
    gradient = jnp.arange(16, dtype=jnp.float32).reshape(2, 2, 2, 2)
    zeros = jnp.zeros((5, 2, 2), jnp.float32)
    found = gather._multiplied(zeros, index, gradient)
    np.testing.assert_array_equal(found, gather._scattered(zeros, index, gradient))
    np.testing.assert_array_equal(found[3], gradient[0, 0] + gradient[1].sum(0))
    assert not found[1].any()


def sums_by_scatter(lowered):
    """The types of floating-point scatters that add."""
    regions = [part.partition("}) :") for part in lowered.as_text().split('"stablehlo.scatter"')[1:]]
    adding = [types for region, _, types in regions if re.search(r"stablehlo.add .*tensor<f\d+>", region)]
    return [types.partition("->")[0].strip() for types in adding]


def lowered_for_gpus(settings):
    search = scan_search(SPACE, settings.build(SPACE, BUDGET), toy_run.MadeUpRewards(pure=True).build(SPACE), BUDGET)
    return jax.jit(search).trace(jax.random.key(0)).lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize(
    "settings",
    [IMPROVED, GraphPNAS(form="dense", **SMALL), GpBo(), Bananas(), ReinforceRnn(), ReinforceRnn(objective="elite")],
)
def test_no_search_adds_up_in_an_open_order_on_gpus(settings):
    assert not sums_by_scatter(lowered_for_gpus(settings))


def test_the_form_of_jraph_does():
    """Its sums over edges are scatters: so the test above can see them."""
    assert sums_by_scatter(lowered_for_gpus(GraphPNAS(form="jraph", **SMALL)))
