"""Searches: one program = host loop, budgets, invalid children, wrong evaluators, what a result says."""

import dataclasses
import gc
import json
import math
import os
import pathlib
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run

import nasjax.search
from nasjax import history, machine, rundir
from nasjax.methods.encoding import ByEncoding
from nasjax.methods.gp_bo import GpBo
from nasjax.methods.random_search import RandomSearch
from nasjax.search import Budget, run_search, scan_search
from nasjax.spaces.nasbench201 import NasBench201

SEARCH = toy_run.config()


def quiet(note):
    del note


def budget(evaluations):
    return dataclasses.replace(SEARCH, budget=Budget(evaluations))


def traced(search, seed):
    method = search.method.build(search.space, search.budget.evaluations)
    evaluator = dataclasses.replace(search.evaluator, pure=True).build(search.space)
    return jax.jit(scan_search(search.space, method, evaluator, search.budget.evaluations))(jax.random.key(seed))


@pytest.mark.parametrize(("evaluations", "pure"), [(18, False), (18, True), (40, False)])
def test_host_loop_equals_one_program(tmp_path, evaluations, pure):
    """Bit for bit; 18 leaves a half dead batch, 40 exhausts the 26 networks of the space."""
    search = dataclasses.replace(budget(evaluations), evaluator=toy_run.MadeUpRewards(0.2, pure))
    trace = traced(search, 3)
    record = run_search(search, 3, tmp_path / "run", on_note=quiet).record
    live = np.asarray(trace.live)
    assert len(record) == live.sum() == min(evaluations, 26)
    for name in ("keys", "reward", "valid", "cost", "origin"):
        np.testing.assert_array_equal(getattr(record, name), np.asarray(getattr(trace, name))[live])
    np.testing.assert_array_equal(record.metrics["val_acc"], np.asarray(trace.metrics["val_acc"])[live])
    archs = jax.tree.map(lambda leaf: np.asarray(leaf)[live], trace.archs)
    for row, spec in enumerate(record.specs):
        assert spec == search.space.to_spec(jax.tree.map(lambda leaf, row=row: leaf[row], archs))
    assert len({tuple(key) for key in record.keys.tolist()}) == len(record)


def products(lowered):
    return [line for line in lowered.as_text().splitlines() if "stablehlo.dot_general" in line]


@pytest.mark.parametrize("wanted", [None, "bfloat16"])
def test_products_keep_their_precision_on_accelerators_too(wanted):
    """Which round the factors of float32 products if nothing is said; what the user says stands."""
    space, key, step = NasBench201(), jax.random.key(0), jnp.int32(0)
    method = GpBo(initial=2).build(space, 4)
    with jax.default_matmul_precision(wanted):
        whole = jax.jit(scan_search(space, method, toy_run.MadeUpRewards(pure=True).build(space), 4)).lower(key)
        programs = nasjax.search._compiled(space, GpBo(initial=2), 4)
        ask = programs.ask.lower(jax.eval_shape(programs.init, key), key, step)
    for found in (products(whole), products(ask)):
        assert found
        assert all(("HIGHEST" in line) is (wanted is None) for line in found)


def test_a_batch_without_luck_is_not_the_end(tmp_path, monkeypatch):
    """A space known by its keys: all draws of a step may be seen without the space being exhausted."""
    monkeypatch.setattr(history, "ROUNDS", 1)  # with 32 of them bad luck is too rare to be met
    monkeypatch.setattr(
        nasjax.search, "_compiled", nasjax.search._compiled.__wrapped__
    )  # not what others compiled, nor for them
    space = ByEncoding(SEARCH.space)
    search = dataclasses.replace(budget(64), space=space, method=RandomSearch(batch=1))
    trace = traced(search, 1)
    live = np.asarray(trace.live)
    assert live.tolist()[55:] == [True, True, False, True, True, False, True, True, True]
    record = run_search(search, 1, tmp_path / "run", on_note=quiet).record
    assert record.steps == 64
    np.testing.assert_array_equal(record.step, np.flatnonzero(live))
    np.testing.assert_array_equal(record.keys, np.asarray(trace.keys)[live])
    np.testing.assert_array_equal(record.reward, np.asarray(trace.reward)[live])


def test_seeds_under_vmap_are_the_single_runs(tmp_path):
    method = SEARCH.method.build(SEARCH.space, 18)
    evaluator = toy_run.MadeUpRewards(0.2, True).build(SEARCH.space)
    run = scan_search(SEARCH.space, method, evaluator, 18)
    together = jax.jit(jax.vmap(run))(jax.vmap(jax.random.key)(jnp.arange(3)))
    for seed in range(3):
        alone = run_search(SEARCH, seed, tmp_path / str(seed), on_note=quiet).record
        live = np.asarray(together.live[seed])
        np.testing.assert_array_equal(alone.keys, np.asarray(together.keys[seed])[live])
        np.testing.assert_array_equal(alone.reward, np.asarray(together.reward[seed])[live])


def test_an_impure_evaluator_is_not_traced():
    method = SEARCH.method.build(SEARCH.space, 18)
    with pytest.raises(ValueError, match="MadeUp is not pure"):
        scan_search(SEARCH.space, method, SEARCH.evaluator.build(SEARCH.space), 18)


def test_result_and_progress(tmp_path):
    told, notes = [], []
    result = run_search(SEARCH, 3, tmp_path / "run", on_batch=told.append, on_note=notes.append)
    record, summary = result.record, json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result.begun, result.resumed_from, result.evaluations) == ("fresh", 0, 18)
    assert [progress.evaluations for progress in told] == [4, 8, 12, 16, 18]
    assert {progress.steps for progress in told} == {5}
    assert (
        told[-1].best_spec == result.best_spec == summary["best"]["spec"] == record.specs[np.nanargmax(record.reward)]
    )
    assert summary["best"]["reward"] == result.best_reward == np.nanmax(record.reward)
    assert summary["best"]["metrics"]["val_acc"] == result.best_reward
    arch = SEARCH.space.from_spec(result.best_spec)
    assert summary["best"]["parameters"] == 10 * int(arch.edges.sum())
    assert (summary["finished"], summary["budget"], summary["evaluations"]) == (True, 18, 18)
    assert summary["invalid"] == result.invalid == told[-1].invalid == np.isnan(record.metrics["val_acc"]).sum() > 0
    assert len(notes) == 1
    assert "no usable reward" in notes[0]
    assert rundir.read_history(tmp_path / "run").digest() == record.digest()
    with np.load(tmp_path / "run" / "history.npz", allow_pickle=False) as history:
        assert list(history["specs"]) == list(record.specs)
        np.testing.assert_array_equal(history["metric/test_acc"], record.metrics["test_acc"])


def test_finished_run_does_no_work(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    first = run_search(SEARCH, 3, folder, on_note=quiet)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(toy_run.MadeUpRewards, "build", None)  # not even the data are loaded
    compiled = machine.num_compiled()
    again = run_search(SEARCH, 3, folder, on_batch=None)
    assert (again.begun, again.resumed_from, again.summary) == ("finished", 18, first.summary)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert machine.num_compiled() == compiled


@dataclasses.dataclass(frozen=True)
class Spoilt:
    """The made-up rewards, with `value` where `spoil` says: "first", "middle" (of a batch), "all"."""

    spoil: str
    value: float = math.nan

    def build(self, space):
        inner = toy_run.MadeUpRewards().build(space)

        class Evaluator:
            pure = False
            calls = 0

            def __call__(self, key, archs):
                evaluation = inner(key, archs)
                mask = {"first": Evaluator.calls == 0, "middle": jnp.arange(4) == 2, "all": True}[spoil]
                Evaluator.calls += 1
                return evaluation._replace(reward=jnp.where(mask, jnp.float32(value), evaluation.reward))

        spoil, value = self.spoil, self.value
        return Evaluator()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("spoil", ["first", "middle", "all"])
def test_a_reward_that_is_none_costs_itself_only(tmp_path, spoil, value):
    clean = run_search(dataclasses.replace(SEARCH, evaluator=toy_run.MadeUpRewards()), 3, tmp_path / "a").record
    search = dataclasses.replace(SEARCH, evaluator=Spoilt(spoil, value))
    notes = []
    result = run_search(search, 3, tmp_path / "b", on_note=notes.append)
    place = np.arange(18)
    spoilt = {"first": place < 4, "middle": place % 4 == 2, "all": place >= 0}[spoil]
    np.testing.assert_array_equal(result.record.valid, ~spoilt)
    np.testing.assert_array_equal(result.record.reward, np.where(spoilt, np.float32(np.nan), clean.reward))
    np.testing.assert_array_equal(result.record.keys, clean.keys)
    assert len(notes) == 1
    assert result.invalid == spoilt.sum()
    assert (result.best_spec is None) == (result.summary["best"] is None) == (spoil == "all")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": jnp.zeros(3)}, r"reward is float32\[3\], expected float32\[4\]"),
        ({"reward": jnp.zeros(4, jnp.int32)}, r"reward is int32\[4\]"),
        ({"valid": jnp.ones(4)}, r"valid is float32\[4\], expected bool\[4\]"),
        ({"metrics": {"loss": jnp.zeros((4, 1))}}, r"metric loss is float32\[4, 1\]"),
    ],
)
def test_a_wrong_evaluation_is_refused(tmp_path, monkeypatch, change, message):
    inner = toy_run.MadeUp.__call__
    monkeypatch.setattr(toy_run.MadeUp, "__call__", lambda *args: inner(*args)._replace(**change))
    with pytest.raises(ValueError, match="MadeUp: " + message):
        run_search(SEARCH, 3, tmp_path / "run", on_note=quiet)


def test_metrics_may_not_change_their_names(tmp_path, monkeypatch):
    inner, calls = toy_run.MadeUp.__call__, []

    def call(*args):
        calls.append(args)
        return inner(*args)._replace(metrics={f"loss{len(calls)}": jnp.zeros(4)})

    monkeypatch.setattr(toy_run.MadeUp, "__call__", call)
    with pytest.raises(ValueError, match=r"step 1: metrics \['loss2'\], but \['loss1'\]"):
        run_search(SEARCH, 3, tmp_path / "run", on_note=quiet)


@dataclasses.dataclass(frozen=True)
class Annotated(RandomSearch):
    extra: Any = ()


@pytest.mark.parametrize(
    ("search", "seed", "message"),
    [
        (budget(0), 0, "budget.evaluations 0: at least 1"),
        (SEARCH, -1, "seed -1"),
        (SEARCH, 1 << 32, "seed 4294967296"),
        (SEARCH, "3", "seed '3': 0 to 4294967295 are allowed"),
        (
            dataclasses.replace(SEARCH, method=RandomSearch),
            0,
            "config.method is the class RandomSearch; its settings are",
        ),
        (budget(2.5), 0, "config.budget.evaluations is 2.5; a whole number is needed"),
        (
            dataclasses.replace(SEARCH, method=RandomSearch(batch=[])),
            0,
            r"config.method.batch is \[\]; a whole number is needed",
        ),
        (
            dataclasses.replace(SEARCH, evaluator=toy_run.MadeUpRewards("0")),
            0,
            "config.evaluator.nan_share is '0'; a number is",
        ),
        (dataclasses.replace(SEARCH, method=Annotated(extra=[])), 0, "config.method: unhashable type: 'list'"),
    ],
)
def test_bad_settings_make_no_folder(tmp_path, search, seed, message):
    with pytest.raises(ValueError, match=message):
        run_search(search, seed, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_data_make_no_folder(tmp_path, monkeypatch):
    def build(self, space):
        raise FileNotFoundError("no data")

    monkeypatch.setattr(toy_run.MadeUpRewards, "build", build)
    with pytest.raises(FileNotFoundError):
        run_search(SEARCH, 3, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def resident():
    """Bytes of memory that this process holds now."""
    gc.collect()
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_thousand_batches_leak_nothing(tmp_path, monkeypatch):
    """Descriptors, threads and compiled programs are those after 20 batches; memory grows by the history alone."""
    search = dataclasses.replace(SEARCH, space=NasBench201(), method=RandomSearch(batch=1), budget=Budget(1000))
    seen, memory = {}, {}
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # 6,000 of them wait for the disk, a minute on a busy one

    def count(progress):
        if progress.step in (20, 1000):
            seen[progress.step] = len(os.listdir("/proc/self/fd")), threading.active_count(), machine.num_compiled()
        if progress.step in (200, 1000):
            memory[progress.step] = resident()

    run_search(search, 0, tmp_path / "run", on_batch=count, on_note=quiet)
    assert seen[20] == seen[1000]
    assert memory[1000] - memory[200] < 16 << 20  # the history has 0.4 MB, and is copied a batch
    assert len(rundir.read_events(tmp_path / "run")) == 1002
