"""Run directories without a search: names, identity, states that are any pytree, what a result says."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import record, rundir
from nasjax.record import Record
from nasjax.rundir import Identity, RunDirError

IDENTITY = Identity({"type": "Search", "rate": 0.1, "names": ["a", "b"]}, 7, {"versions": {"jax": "1"}})


def initial():
    return {"key": jax.random.key(0), "half": jnp.zeros(3, jnp.bfloat16), "count": jnp.int32(0)}


def after(steps):
    """The state after some batches; every leaf tells which."""
    key = jax.random.fold_in(jax.random.key(0), steps)
    return {"key": key, "half": jnp.full(3, steps, jnp.bfloat16), "count": jnp.int32(steps)}


def batch(step, size=2):
    rows = np.arange(size) + 10 * step
    return Record(
        steps=1,
        specs=tuple(f"|op{row}~0|" for row in rows),
        keys=np.stack([rows, rows], axis=1).astype(np.uint32),
        reward=rows.astype(np.float32),
        valid=np.ones(size, bool),
        cost=np.ones(size, np.float32),
        origin=np.zeros(size, np.int32),
        step=np.zeros(size, np.int32),
        metrics={"test_acc": rows.astype(np.float32)},
        info={"loss": np.asarray([step], np.float32)},
    )


def save(run, steps):
    run.save(run.record.extended(batch(steps - 1)), after(steps))


def same_state(state, steps):
    expected = after(steps) if steps else initial()
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    for found, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        assert found.dtype == wanted.dtype
        if jnp.issubdtype(found.dtype, jax.dtypes.prng_key):
            found, wanted = jax.random.key_data(found), jax.random.key_data(wanted)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def test_what_is_saved_is_what_is_opened(tmp_path):
    folder = tmp_path / "runs" / "run"
    for steps in range(4):
        with rundir.opened(folder, IDENTITY, initial) as run:
            assert run.record.steps == steps
            assert len(run.record) == 2 * steps
            assert run.notes == []
            assert run.result is None
            same_state(run.state, steps)
            save(run, steps + 1)
            same_state(run.state, steps + 1)
    assert rundir.read_history(folder).digest() == run.record.digest()
    assert sorted(os.listdir(folder)) == ["LOCK", "config.json", "history.npz", "state-previous.npz", "state.npz"]


def test_a_run_that_is_finished(tmp_path):
    with rundir.opened(tmp_path / "run", IDENTITY, initial) as run:
        save(run, 1)
        assert not rundir.is_finished(tmp_path / "run")
        run.finish({"best": None})
    assert rundir.is_finished(tmp_path / "run")
    with rundir.opened(tmp_path / "run", IDENTITY, pytest.fail) as run:
        assert run.result["best"] is None
        assert run.result["finished"] is True
        assert run.result["history"] == run.record.digest().hex()


def test_a_result_holds_no_nan(tmp_path):
    with rundir.opened(tmp_path / "run", IDENTITY, initial) as run, pytest.raises(ValueError, match="JSON"):
        run.finish({"reward": float("nan")})
    assert not rundir.is_finished(tmp_path / "run")


@pytest.mark.parametrize(
    ("config", "seed", "message"),
    [
        ({"type": "Search", "rate": 0.2, "names": ["a", "b"]}, 7, "config.rate: 0.1, now 0.2"),
        ({"type": "Search", "rate": 0.1, "names": ["a"]}, 7, 'config.names: ."a", "b"., now ."a".'),
        ({"type": "Search", "rate": 0.1}, 7, "config.names: .* now absent"),
        (IDENTITY.config, 8, "seed: 7, now 8"),
    ],
)
def test_another_config_is_refused(tmp_path, config, seed, message):
    with rundir.opened(tmp_path / "run", IDENTITY, initial) as run:
        save(run, 1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    other = Identity(config, seed, IDENTITY.about)
    match = f"is a run of another config .*{message}.*; use another --run"
    with pytest.raises(RunDirError, match=match), rundir.opened(tmp_path / "run", other, initial):
        pass
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_other_versions_are_said_and_allowed(tmp_path):
    with rundir.opened(tmp_path / "run", IDENTITY, initial) as run:
        save(run, 1)
    other = Identity(IDENTITY.config, IDENTITY.seed, {"versions": {"jax": "2"}})
    with rundir.opened(tmp_path / "run", other, initial) as run:
        assert len(run.notes) == 1
        assert 'begun with other versions or devices (versions.jax: "1", now "2")' in run.notes[0]
        same_state(run.state, 1)
    assert rundir.read_config(tmp_path / "run")["versions"] == {"jax": "1"}


def test_the_order_of_settings_is_none_of_them(tmp_path):
    shuffled = dict(reversed(list(IDENTITY.config.items())))
    assert Identity(shuffled, 7, {}).hash == IDENTITY.hash
    assert Identity(IDENTITY.config, 8, {}).hash != IDENTITY.hash


def test_events(tmp_path):
    with rundir.opened(tmp_path / "run", IDENTITY, initial) as run:
        assert rundir.read_events(tmp_path / "run") == []
        run.log({"event": "a", "text": "line\nbreak é"})
        run.log({"event": "b"})
    (tmp_path / "run" / "events.jsonl").open("ab").write(b'{"event": "to')
    assert rundir.read_events(tmp_path / "run") == [{"event": "a", "text": "line\nbreak é"}, {"event": "b"}]
    with rundir.opened(tmp_path / "run", IDENTITY, initial) as run:
        run.log({"event": "c"})
    assert [event["event"] for event in rundir.read_events(tmp_path / "run")] == ["a", "b", "c"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("precious")
    with (
        pytest.raises(RunDirError, match="run is a file, not a run directory"),
        rundir.opened(tmp_path / "run", IDENTITY, initial),
    ):
        pass
    assert (tmp_path / "run").read_text() == "precious"


def test_an_empty_folder_is_taken(tmp_path):
    """As `mkdir runs/mine` leaves it, and a kill before the first file."""
    (tmp_path / "LOCK").write_text("")
    (tmp_path / "config.json.tmp").write_text("{")
    with rundir.opened(tmp_path, IDENTITY, initial) as run:
        same_state(run.state, 0)
    assert not (tmp_path / "config.json.tmp").exists()


@pytest.mark.parametrize("name", ["graphpnas-0", "a", "x" * 200, "with space", "é", "a.b", "CON", "2026-01-01T00:00"])
def test_names(name):
    assert rundir.run_folder(name) == pathlib.Path("runs") / name


@pytest.mark.parametrize(
    "name",
    [
        *["", ".", "..", "../a", "a/b", "/a", "~", "~a", "-a", "a\\b", "x" * 201, "é" * 101, "a\0"],
        # what a terminal would act on, or what looks like another name
        *["a\nb", "\x1b[1m", "a\u202eb", "a\u2028b", "a\ud800"],
    ],
    ids=ascii,
)
def test_hostile_names(name):
    with pytest.raises(ValueError, match=r"^run name '.* are allowed$|^run name '.*: one folder's name") as caught:
        rundir.run_folder(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_rewards_of_a_history_that_nobody_has(tmp_path):
    """A run of no valid row has no best one."""
    none = batch(0)
    none = record.empty().extended(
        Record(**{**vars(none), "valid": np.zeros(2, bool), "reward": np.full(2, np.nan, np.float32)})
    )
    with rundir.opened(tmp_path / "run", IDENTITY, initial) as run:
        run.save(none, after(1))
    found = rundir.read_history(tmp_path / "run")
    assert found.best is None
    assert found.num_invalid == 2
    assert found.digest() == none.digest()


def test_two_equal_runs_have_equal_files(tmp_path):
    """Of what is compared, nothing holds a clock, a path or a process number."""
    for name in ("a", "b"):
        with rundir.opened(tmp_path / name, IDENTITY, initial) as run:
            save(run, 1)
            save(run, 2)
            run.finish({"best": 1.5})
    for name in ("config.json", "history.npz", "state.npz", "state-previous.npz", "result.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert json.loads((tmp_path / "a" / "result.json").read_text())["best"] == 1.5
