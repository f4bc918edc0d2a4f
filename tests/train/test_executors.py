"""A child's scores depend on its architecture, its key and its hyperparameters: on nothing else."""

import dataclasses
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from compiling import USERS_TEXT

from nasjax.train import executors
from nasjax.train.executors import Population
from nasjax.train.networks.nasbench201 import Skeleton
from nasjax.train.recipe import Hyper, Recipe, Scores

PARALLEL = ("map", "vmap", "shard", "pmap")


def population(executor="map", chunk=None, **changes):
    recipe = dataclasses.replace(tiny.RECIPE, **changes)
    return Population(tiny.TinyNetwork(), recipe, tiny.TASK, tiny.data(), executor, chunk)


def same_bits(a: Scores, b: Scores):
    for name, left, right in zip(Scores._fields, a, b, strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)


def row(scores: Scores, number: int):
    return [float(column[number]) for column in scores]


def close(a: Scores, b: Scores, **tolerance):
    for name, left, right in zip(Scores._fields, a, b, strict=True):
        np.testing.assert_allclose(left, right, err_msg=name, **tolerance)


@pytest.mark.parametrize("executor", ["vmap", "shard", "pmap", "static"])
def test_executors_agree(executor):
    """In float64 the scores, which are handed over as float32, are the same to float32's last bits."""
    archs, keys = tiny.children(4)
    with jax.enable_x64(True):
        reference = population("map", dtype="float64").train(archs, keys)
        other = population(executor, dtype="float64").train(archs, keys)
    close(other, reference, rtol=2e-7, atol=1e-12)
    assert len(set(reference.val_ce.tolist())) == 4


def test_executors_agree_in_float32():
    """Rounding differs between the forms, and 12 steps of training carry it on: 1e-4 in the cross-entropy."""
    archs, keys = tiny.children(4)
    reference = population("map").train(archs, keys)
    for executor in ("vmap", "static"):
        close(population(executor).train(archs, keys), reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("executor", ["shard", "pmap"])
def test_two_devices_give_the_bits_of_one(executor):
    """At three children a device. The real network's are the same bit for bit: `test_the_real_network_s_bits`."""
    assert jax.device_count() == 2
    archs, keys = tiny.children(6)
    two = population(executor).train(archs, keys)
    one = population(executor, chunk=3)
    one.num_devices = 1
    close(one.train(archs, keys), two, rtol=5e-7)  # a bit: XLA fuses this tiny network's loop otherwise for two devices
    close(population("map").train(archs, keys), two, rtol=5e-7)


@pytest.mark.parametrize("executor", PARALLEL)
def test_a_child_does_not_see_its_neighbours(executor):
    """The same child in another place, among other children, of another population size where the width is kept."""
    archs, keys = tiny.children(4)
    others, other_keys = tiny.children(4, seed=9)
    reference = population(executor).train(archs, keys)
    mixed = jax.tree.map(lambda a, b: jnp.stack([b[0], a[2], b[2], a[0]]), archs, others)
    mixed_keys = jnp.stack([other_keys[0], keys[2], other_keys[2], keys[0]])
    found = population(executor).train(mixed, mixed_keys)
    assert row(found, 1) == row(reference, 2)
    assert row(found, 3) == row(reference, 0)
    first_three = jax.tree.map(lambda leaf: leaf[:3], (archs, keys))
    padded = population(executor, chunk=4).train(*first_three)
    padded_reference = jax.tree.map(lambda leaf: leaf[:3], reference)
    if executor in ("map", "shard", "pmap"):  # another width: `vmap` may round differently
        same_bits(padded, padded_reference)
    close(padded, padded_reference, rtol=1e-5)


@pytest.mark.parametrize("executor", ["map", "vmap", "shard"])
@pytest.mark.parametrize("rate", [np.nan, 1e30])
def test_a_diverging_child_costs_itself_only(executor, rate):
    archs, keys = tiny.children(4)
    plain = Hyper(jnp.full(4, 0.1, jnp.float32), jnp.full(4, 5e-4, jnp.float32))
    reference = population(executor).train(archs, keys, plain)
    assert np.isfinite(reference.val_ce).all()
    broken = population(executor).train(archs, keys, plain._replace(learning_rate=plain.learning_rate.at[1].set(rate)))
    assert not np.isfinite(broken.val_ce[1])
    for child in (0, 2, 3):
        assert row(broken, child) == row(reference, child)


def test_hyperparameters_are_the_childs_own():
    archs, keys = tiny.children(3)
    rates, decays = jnp.array([0.1, 0.02, 0.1], jnp.float32), jnp.array([5e-4, 5e-4, 0.1], jnp.float32)
    mixed = population().train(archs, keys, Hyper(rates, decays))
    same = population().train(archs, keys)
    assert row(mixed, 0) == row(same, 0)
    slow = population(learning_rate=0.02).train(archs, keys)
    np.testing.assert_allclose(row(mixed, 1), row(slow, 1), rtol=1e-6)
    decayed = population(weight_decay=0.1).train(archs, keys)
    np.testing.assert_allclose(row(mixed, 2), row(decayed, 2), rtol=1e-6)
    assert mixed.val_ce[1] != same.val_ce[1]
    assert mixed.val_ce[2] != same.val_ce[2]


def limited(population, most):
    """Lets the device of a population run out of memory with more than `most` children."""
    run, widths = population._run, []

    def refuse(given):
        widths.append(given[1].shape[0])
        if widths[-1] > most:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.")
        return run(given)

    population._run = refuse
    return widths


@pytest.mark.parametrize("executor", ["map", "shard", "vmap"])
def test_out_of_memory_halves_the_chunk_and_says_so_once(executor):
    archs, keys = tiny.children(8)
    reference = population(executor).train(archs, keys)
    small = population(executor)
    widths = limited(small, 4)
    with pytest.warns(UserWarning, match="out of memory with 8 children at once; going on with 4") as caught:
        scores = small.train(archs, keys)
    assert len(caught) == 1
    assert widths == [8, 4, 4]
    if executor == "vmap":
        close(scores, reference, rtol=1e-5)
    else:
        same_bits(scores, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same_bits(small.train(archs, keys), scores)  # remembers, and says nothing again


def test_a_child_that_does_not_fit_alone_is_given_up():
    archs, keys = tiny.children(3)
    broken = population("map")
    run = broken._run

    def refuse(given):
        if given[1].shape[0] > 1 or (jax.random.key_data(given[1][0]) == jax.random.key_data(keys[1])).all():
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return run(given)

    broken._run = refuse
    with pytest.warns(UserWarning, match="out of memory"):
        scores = broken.train(archs, keys)
    assert np.isnan(scores.val_ce[1])
    assert np.isfinite(scores.val_ce[[0, 2]]).all()


def test_other_errors_are_not_taken_for_lack_of_memory():
    broken = population("map")

    def fail(given):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    broken._run = fail
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        broken.train(*tiny.children(2))


def test_unknown_executors_and_chunks_are_refused():
    with pytest.raises(ValueError, match="executor is 'gpu'; one of auto, map"):
        population("gpu")
    with pytest.raises(ValueError, match="chunk is 0; at least 1"):
        population("map", chunk=0)


def test_the_executor_is_chosen_by_the_devices(monkeypatch):
    assert executors.choose() == "shard"
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert executors.choose() == "map"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert executors.choose() == "vmap"


@pytest.mark.slow
def test_the_real_network_s_bits():
    """NAS-Bench-201's skeleton as `digits` trains it, eight children: two devices, one device, `map` and `pmap`."""
    skeleton, recipe = Skeleton(8, 1, 4, 3, 1), Recipe(epochs=3, batch=6, learning_rate=0.05)
    archs, keys = tiny.children(4, seed=5)
    fixed = (skeleton, recipe, tiny.TASK, tiny.data())
    reference = Population(*fixed, "shard").train(archs, keys)
    for other in (Population(*fixed, "shard", 2, 1), Population(*fixed, "map", 2), Population(*fixed, "pmap")):
        same_bits(other.train(archs, keys), reference)


def test_float64_is_refused_where_jax_would_compute_in_float32():
    recipe = dataclasses.replace(tiny.RECIPE, dtype="float64")
    with pytest.raises(ValueError, match="recipe: dtype is 'float64'; it needs jax's 64 bits"):
        recipe.check(tiny.TASK)
    with jax.enable_x64(True):
        recipe.check(tiny.TASK)


@pytest.mark.slow
def test_the_real_network_agrees():
    """NAS-Bench-201's skeleton in float64: `map` against static builds. (Its forms: test_nasbench201_network.py.)"""
    archs, keys = tiny.children(2, seed=3)
    archs = archs._replace(edges=archs.edges.at[:, 0, 2].set(jnp.array([0, 3], jnp.int32)))  # `none` too
    skeleton, recipe = Skeleton(2, 1, 4, 3, 1), Recipe(epochs=2, batch=6, learning_rate=0.05, dtype="float64")
    with jax.enable_x64(True):
        reference = Population(skeleton, recipe, tiny.TASK, tiny.data(), "static").train(archs, keys)
        found = Population(skeleton, recipe, tiny.TASK, tiny.data(), "map").train(archs, keys)
    close(found, reference, rtol=2e-7, atol=1e-12)


@pytest.mark.slow
def test_the_compiled_population_has_no_naive_convolution():
    """XLA:CPU runs a convolution inside a loop fast only in the one layout below; see `convolution`. Digits' shapes.

    (A training step alone: test_nasbench201_network.py.)
    """
    task = dataclasses.replace(tiny.TASK, resolution=8)
    program = executors._program("map", Skeleton(16, 1, 8, 3, 1), Recipe(epochs=2, batch=6), task, 2, False)

    def shaped(leaf):
        shape = tuple(8 if side == 4 else side for side in leaf.shape)
        return jax.ShapeDtypeStruct(shape, leaf.dtype)

    archs, keys = tiny.children(2)
    hyper = Hyper(jnp.zeros(2, jnp.float32), jnp.zeros(2, jnp.float32))
    text = program.lower(jax.tree.map(shaped, tiny.data()), (archs, keys, hyper)).compile(USERS_TEXT).as_text()
    convolutions = re.findall(r"^.* convolution\(.*$", text, re.MULTILINE)
    assert len(convolutions) > 10
    for convolution in convolutions:
        assert "dim_labels=b01f_01io->b01f" in convolution
        assert "lhs_dilate" not in convolution
        assert "rhs_reversal" not in convolution
