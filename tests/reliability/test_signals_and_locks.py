"""SIGTERM, SIGINT and a second one; two runs in one directory; the lock of a dead process."""

import os
import select
import signal
import time

import pytest
from disturbing import signal_one_by_one

from nasjax import rundir

BUSY = '''
"""The toy run, whose second batch is a compiled program that never ends."""

import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np

spec = importlib.util.spec_from_file_location("toy_run", os.environ["TOY_RUN"])
toy_run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy_run)
config = toy_run.config
quick, calls = toy_run.MadeUp.__call__, []


@jax.jit
def long(x):
    return jax.lax.while_loop(lambda x: x < 2, jnp.sin, x)


def call(self, key, archs):
    calls.append(key)
    if len(calls) == 2:
        program = long.lower(jnp.float32(1)).compile()
        print("busy", flush=True)
        np.asarray(program(jnp.float32(1)))
    return quick(self, key, archs)


toy_run.MadeUp.__call__ = call
'''


@pytest.mark.parametrize(
    ("fault", "status", "resumed_from"),
    [
        ("term history.npz.tmp:write 3", 143, 4),  # a torn file, abandoned
        ("int state.npz:rename 3", 130, 4),
        ("int result.json.tmp:sync 1", 130, 18),
    ],
)
def test_signals(toy, tmp_path, fault, status, resumed_from):
    """One line, the right exit status, no temporary file left behind."""
    folder = tmp_path / "runs" / "run"
    found, out, err = toy.run(folder, fault=fault)
    name = {143: "SIGTERM", 130: "SIGINT"}[status]
    assert (found, out) == (status, "")
    assert err.splitlines()[-1] == f"nasjax: stopped by {name}; the same command goes on from what is saved"
    assert "Traceback" not in err
    assert not list(folder.glob("*.tmp"))
    status, out, err = toy.run(folder)
    assert status == 0, err
    assert f"resumed from {resumed_from} evaluations" in out
    toy.expect_whole(folder)


def test_a_signal_while_the_report_is_written(toy, tmp_path):
    """The search is over; a line says so, and the same command writes what is missing."""
    folder = tmp_path / "runs" / "run"
    status, out, err = toy.run(folder, fault="term report.html.tmp:write 1")
    assert (status, out) == (143, "")
    assert err.splitlines()[-1] == "nasjax: stopped by SIGTERM; the same command goes on from what is saved"
    assert not list(folder.glob("*.tmp"))
    assert not (folder / "report.html").exists()
    status, out, err = toy.run(folder)
    assert status == 0, err
    assert "already finished" in out
    assert (folder / "report.html").is_file()
    toy.expect_whole(folder)


def test_signals_at_many_points(toy, tmp_path, monkeypatch):
    """A batch's operations are no multiple of three, so five batches show all of them."""
    assert signal_one_by_one(toy, tmp_path, monkeypatch, 3) > 100


@pytest.mark.slow
def test_signals_at_all_points(toy, tmp_path, monkeypatch):
    assert signal_one_by_one(toy, tmp_path, monkeypatch, 1) > 100


def wait_for(stream, text):
    end, seen = time.monotonic() + 60, ""
    while text not in seen:
        ready, _, _ = select.select([stream], [], [], end - time.monotonic())
        assert ready, f"no {text!r} in a minute, but {seen!r}"
        seen += os.read(stream.fileno(), 4096).decode()


def test_a_second_signal_leaves_at_once(toy, tmp_path):
    """The first one waits for a compiled program, in which Python runs no handler."""
    config, folder = tmp_path / "toy_run.py", tmp_path / "runs" / "run"
    config.write_text(BUSY)
    process = toy.start(folder, config=config, environment={"TOY_RUN": str(toy.config)})
    try:
        wait_for(process.stdout, "busy")
        time.sleep(0.5)  # from saying so to being so
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "nasjax: stopped at once; what is in the run directory is safe"
    status, out, err = toy.run(folder)
    assert status == 0, err
    assert "resumed from 4 evaluations" in out
    toy.expect_whole(folder)


def test_two_processes_never_write_one_directory(toy, tmp_path, content):
    """The first one is halted while it holds the lock; the second one is told whom to look for."""
    folder = tmp_path / "runs" / "run"
    first = toy.start(folder, fault="stop state.npz.tmp:write 3")
    try:
        _, status = os.waitpid(first.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        before = content(folder)
        status, out, err = toy.run(folder)
        assert (status, out) == (2, "")
        assert err == f"nasjax: runs/run cannot be used: in use by process {first.pid} (runs/run/LOCK)\n"
        with pytest.raises(rundir.RunDirError, match=f"in use by process {first.pid}"):
            toy.search(folder)
        assert content(folder) == before
        first.send_signal(signal.SIGCONT)
        _, err = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 0, err
    toy.expect_whole(folder)


@pytest.mark.parametrize("left", [b"", b"1\n", b"99999999\n", b"no number\n", b"\xff" * 50])
def test_a_stale_lock(toy, half, left):
    """Only the kernel's lock counts, whatever process the file names, and whether that lives."""
    (half / rundir.LOCK).write_bytes(left)
    assert toy.search(half).resumed_from == 12
    toy.expect_whole(half)
    assert (half / rundir.LOCK).read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_lock_that_is_no_file(toy, half, tmp_path, content, kind):
    """A link must not make the run write a number into somebody's file."""
    (half / rundir.LOCK).unlink()
    (tmp_path / "precious").write_text("precious")
    if kind == "link":
        (half / rundir.LOCK).symlink_to(tmp_path / "precious")
    else:
        (half / rundir.LOCK).mkdir()
    with pytest.raises(rundir.RunDirError, match=f"{half} cannot be used: .*LOCK"):
        toy.search(half)
    assert (tmp_path / "precious").read_text() == "precious"
