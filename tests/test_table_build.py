"""Building a table: every network once a seed, resumable to the bit, and what is written opens as a table."""

import dataclasses

import jax
import numpy as np
import pytest
import toy_run

from nasjax import checkpoint, rundir, table_build
from nasjax.base import evaluation_key
from nasjax.spaces.toy import Toy
from nasjax.table_build import TableBuild, order, read_seed, run_build

SPACE = Toy()
BUILD = TableBuild(SPACE, toy_run.MadeUpRewards(nan_share=0.2), seeds=2, chunk=7)


class StopHere(BaseException):
    """A kill: no `Exception`, so that nothing handles it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build") / "whole"
    progress = []
    return folder, run_build(BUILD, folder, on_chunk=progress.append), progress


def test_every_network_once_a_seed_with_the_rewards_of_that_run_key(whole):
    """26 classes in chunks of 7; a row is what the evaluator says with the run key of that seed."""
    _, seeds, progress = whole
    assert [(p.seed, p.done, p.networks) for p in progress] == [
        (seed, done, 26) for seed in (0, 1) for done in (7, 14, 21, 26)
    ]
    assert progress[-1].left == 0
    everything = SPACE.all()
    for number, seed in enumerate(seeds):
        assert sorted(seed.places.tolist()) == sorted(p for p in np.asarray(SPACE.class_members()).tolist() if p >= 0)
        assert 0 < seed.valid.sum() < 26
        assert set(seed.metrics) == {"reward", "val_acc", "test_acc"}
        for row in (0, 13, 25):
            arch = jax.tree.map(lambda leaf, row=row, seed=seed: leaf[seed.places[row]], everything)
            key = evaluation_key(jax.random.key(number), SPACE.canonical_key(arch))
            value = jax.random.uniform(key, dtype=np.float32)
            if seed.valid[row]:
                assert seed.metrics["val_acc"][row] == value
    assert not np.array_equal(seeds[0].metrics["reward"], seeds[1].metrics["reward"], equal_nan=True)


def test_the_order_is_random_and_fixed():
    """So that what is there early on is a sample of the space."""
    assert np.array_equal(order(SPACE), order(Toy()))
    assert not np.array_equal(order(SPACE), np.sort(order(SPACE)))


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_killed_build_ends_with_the_same_bytes(whole, tmp_path, after):
    folder, seen = tmp_path / "killed", []

    def stop(progress):
        seen.append(progress)
        if len(seen) == after:
            raise StopHere

    with pytest.raises(StopHere):
        run_build(BUILD, folder, on_chunk=stop)
    rest = []
    run_build(BUILD, folder, on_chunk=rest.append)
    assert len(seen) + len(rest) == 8
    for number in (0, 1):
        name = f"seed-{number}.npz"
        assert (folder / name).read_bytes() == (whole[0] / name).read_bytes()


def test_more_seeds_go_on_and_another_config_is_refused(whole, tmp_path):
    folder = tmp_path / "one"
    run_build(dataclasses.replace(BUILD, seeds=1), folder)
    assert not (folder / "seed-1.npz").exists()
    run_build(BUILD, folder)
    assert (folder / "seed-1.npz").read_bytes() == (whole[0] / "seed-1.npz").read_bytes()
    with pytest.raises(rundir.RunDirError, match="another config"):
        run_build(dataclasses.replace(BUILD, chunk=5), folder)


def test_damaged_and_foreign_results_are_named(whole, tmp_path):
    path = tmp_path / "seed-0.npz"
    good = (whole[0] / "seed-0.npz").read_bytes()
    path.write_bytes(good[:-30])
    with pytest.raises(rundir.RunDirError, match=r"seed-0\.npz: "):
        read_seed(tmp_path, 0, SPACE)
    arrays = dict(checkpoint.unpack(good))
    path.write_bytes(checkpoint.pack(arrays | {"places": arrays["places"][::-1].copy()}))
    with pytest.raises(rundir.RunDirError, match="its rows are not those of toy"):
        read_seed(tmp_path, 0, SPACE)
    path.write_bytes(checkpoint.pack(arrays | {"valid": arrays["valid"][:-1]}))
    with pytest.raises(rundir.RunDirError, match="do not fit together"):
        read_seed(tmp_path, 0, SPACE)


def test_what_is_written_is_a_table(whole):
    _, seeds, _ = whole
    found = table_build.table(BUILD, seeds, "toy_build")
    assert len(found) == 26
    assert set(found.loaders) == {f"{metric}:run{seed}" for metric in ("val_acc", "test_acc") for seed in (0, 1)}
    row = int(np.argsort(seeds[1].places)[4])
    column = found.column("val_acc:run1", "")
    assert column.there[4] == seeds[1].valid[row]
    if column.there[4]:
        assert column.values[4] == seeds[1].metrics["val_acc"][row]
    place = int(np.sort(seeds[0].places)[4])
    assert found.archs.spec(4) == SPACE.to_spec(jax.tree.map(lambda leaf: leaf[place], SPACE.all()))
    assert "nasjax table build toy_build --seeds 2" in found.facts.source


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "must be at least 1"),
        ({"chunk": 0}, "must be at least 1"),
        ({"seeds": "3"}, "build.seeds is '3'; a whole number is needed"),
    ],
)
def test_bad_settings_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_build(dataclasses.replace(BUILD, **changes), tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
