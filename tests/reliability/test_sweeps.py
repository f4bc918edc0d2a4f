"""Sweeps under kills, signals, full disks and damaged files: in the end the bytes of one that nobody disturbed."""

import errno
import os
import pathlib
import random
import resource
import shutil
import time

import pytest
from disturbing import (
    ERRORS,
    fail_one_by_one,
    killed_then_resumed,
    named_points,
    signal_one_by_one,
    snapshots,
)

from nasjax import rundir

FIRST, SECOND = (f"one-first-value-00000{start}-00000{start + 2}.parquet" for start in (0, 2))


def test_every_point(sweep, tmp_path, monkeypatch):
    """A kill -9 at each operation of a whole sweep; chunks that were reported are not computed again."""
    with monkeypatch.context() as patch:
        points, on_batch = snapshots(patch, tmp_path / "run", tmp_path / "killed")
        sweep.search(tmp_path / "run", on_batch=on_batch)
    sweep.expect_whole(tmp_path / "run")
    kinds = {path.name.partition("-")[2] for path, _ in points}
    for name in ("config.json", "plan.json", FIRST, SECOND, "results.parquet", "summary.json"):
        assert {f"{name}.tmp-open", f"{name}.tmp-write", f"{name}.tmp-sync", f"{name}-rename"} <= kinds
    assert {"LOCK-write", "events.jsonl-write", "chunks-mkdir", "chunks-sync"} <= kinds
    for folder, reported in points:
        assert sweep.search(folder).resumed_from >= reported, folder
        sweep.expect_whole(folder)


def test_a_process_that_is_halted_and_dies(sweep, tmp_path, content):
    """While it holds the sweep, half a chunk written, a second one is refused in one line; then kill -9, and on it goes."""
    folder = tmp_path / "runs" / "run"
    first = sweep.start(folder, fault=f"stop {SECOND}.tmp:write 1")
    try:
        _, status = os.waitpid(first.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), first.communicate()
        before = content(folder)
        assert f"chunks/{SECOND}.tmp" in before
        status, out, err = sweep.run(folder)
        assert (status, out) == (2, "")
        assert err == f"nasjax: runs/run cannot be used: in use by process {first.pid} (runs/run/LOCK)\n"
        assert content(folder) == before
    finally:
        first.kill()
        first.communicate()
    assert sweep.search(folder).resumed_from == 1
    sweep.expect_whole(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (f"kill {FIRST}:rename 1", "2 chunks, 2 chunks computed now"),
        (f"kill {SECOND}.tmp:write 1", "2 chunks, 1 chunks computed now"),
        ("kill results.parquet.tmp:write 1", "2 chunks, nothing was missing"),
        ("kill summary.json:rename 1", "2 chunks, nothing was missing"),
        ("kill report.html.tmp:write 1", "2 chunks, nothing was missing"),
        ("kill curves-*.svg.tmp:write 1", "2 chunks, nothing was missing"),
    ],
)
def test_processes_killed_at_named_points(sweep, tmp_path, fault, said):
    assert said in killed_then_resumed(sweep, tmp_path / "runs" / "run", fault)


@pytest.mark.slow
def test_processes_killed_at_all_named_points(sweep, tmp_path):
    points = named_points(sweep, tmp_path)
    assert len(points) > 60
    for place, (name, number) in enumerate(points):
        killed_then_resumed(sweep, tmp_path / str(place) / "runs" / "run", f"kill {name} {number}")


MANY = ("--seeds", "60")


@pytest.fixture(scope="module")
def many(sweep, tmp_path_factory):
    """The undisturbed sweep in thirty chunks, which leaves more to hit, and the seconds it takes."""
    folder, start = tmp_path_factory.mktemp("many") / "runs" / "run", time.monotonic()
    assert sweep.run(folder, *MANY)[0] == 0
    return folder, time.monotonic() - start


@pytest.mark.slow
@pytest.mark.parametrize("lot", range(8))
def test_processes_killed_at_random_instants(sweep, many, tmp_path, lot):
    """24 instants: each sweep is killed three times; half of them anywhere, the others among their chunks."""
    reference, seconds = many
    folder, lots = tmp_path / "runs" / "run", random.Random(lot)
    for _ in range(3):
        process = sweep.start(folder, *MANY)
        if lot % 2:
            line = process.stderr.readline()
            while line and " on first value, seeds " not in line:
                line = process.stderr.readline()
            time.sleep(lots.uniform(0, 0.1))
        else:
            time.sleep(lots.uniform(0, seconds))
        process.kill()
        _, err = process.communicate(timeout=60)
        reported = sum(" on first value, seeds " in line for line in err.splitlines())
        assert len(list((folder / "chunks").glob("*.parquet"))) >= reported
    status, _, err = sweep.run(folder, *MANY)
    assert status == 0, err
    for name in sweep.results:
        assert (folder / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "status", "there"),
    [
        (f"term {SECOND}.tmp:write 1", 143, 1),
        ("int plan.json:rename 1", 130, 0),
        ("term results.parquet.tmp:sync 1", 143, 2),
    ],
)
def test_signals(sweep, tmp_path, fault, status, there):
    """One line, the right exit status, no temporary file left behind."""
    folder = tmp_path / "runs" / "run"
    found, out, err = sweep.run(folder, fault=fault)
    name = {143: "SIGTERM", 130: "SIGINT"}[status]
    assert (found, out) == (status, "")
    assert err.splitlines()[-1] == f"nasjax: stopped by {name}; the same command goes on from what is saved"
    assert "Traceback" not in err
    assert not list(folder.rglob("*.tmp"))
    assert sweep.search(folder).resumed_from == there
    sweep.expect_whole(folder)


def test_signals_at_many_points(sweep, tmp_path, monkeypatch):
    """SIGTERM and SIGINT in turn, within this process."""
    assert signal_one_by_one(sweep, tmp_path, monkeypatch, 5) > 50


@pytest.mark.slow
def test_signals_at_all_points(sweep, tmp_path, monkeypatch):
    assert signal_one_by_one(sweep, tmp_path, monkeypatch, 1) > 50


@pytest.mark.slow
@pytest.mark.parametrize("error", [list(ERRORS), errno.EINTR, errno.EDQUOT])
def test_each_call_of_a_sweep_fails(sweep, tmp_path, monkeypatch, error):
    """Every write, flush and rename in turn: one error that names the file, and nothing is lost."""
    assert fail_one_by_one(sweep, lambda folder: folder, tmp_path, monkeypatch, error) > 50


def test_a_full_disk(sweep, small_disk):
    """Page by page more room, until all fits: each time a file is named, and what was written is gone on from."""
    folder, filler = small_disk / "run", small_disk / "filler"
    named, there = set(), 0
    for pages in range(1, 24):
        filler.write_bytes(bytes((24 - pages) << 12))
        try:
            result = sweep.search(folder)
        except (OSError, rundir.RunDirError) as failure:
            text = str(failure)
        else:
            break
        assert "No space left on device" in text, text
        assert str(folder) in text, text
        named |= {name for name in ("config.json", FIRST, "results.parquet") if name in text}
        chunks = len(list((folder / "chunks").glob("*.parquet")))
        assert chunks >= there
        there = chunks
    assert {"config.json", FIRST, "results.parquet"} <= named
    assert result.resumed_from == there == 2
    sweep.expect_whole(folder)


@pytest.mark.slow
def test_files_may_not_grow(sweep, many, tmp_path):
    """A limit on the size of a file stops a process at its results; the chunks before them are smaller, and stay."""
    reference, folder = many[0], tmp_path / "runs" / "run"
    limit = (reference / "results.parquet").stat().st_size - 10
    assert max(path.stat().st_size for path in (reference / "chunks").iterdir()) < limit
    process = sweep.start(folder, *MANY)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))  # before it has imported jax
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    last = err.splitlines()[-1]
    assert "File too large: runs/run/results.parquet.tmp" in last
    assert "the same command goes on" in last
    assert "Traceback" not in err
    status, out, err = sweep.run(folder, *MANY)
    assert status == 0, err
    assert "nothing was missing" in out
    for name in sweep.results:
        assert (folder / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.slow
def test_bits_flipped_in_a_chunk(sweep, tmp_path):
    """In every third byte: the file is named, or nothing of its content has changed."""
    folder = pathlib.Path(shutil.copytree(sweep.reference, tmp_path / "run"))
    path = folder / "chunks" / FIRST
    good = path.read_bytes()
    named = 0
    for place in range(0, len(good), 3):
        damaged = bytearray(good)
        damaged[place] ^= 1 << random.Random(place).randrange(8)
        path.write_bytes(damaged)
        try:
            sweep.search(folder)
            said = ""
        except rundir.RunDirError as error:
            said = str(error)
        if not said:
            sweep.expect_whole(folder)
            continue
        assert said.startswith(str(path)), place
        assert path.read_bytes() == damaged
        named += 1
    assert named > len(good) / 6


def test_a_process_says_it_in_one_line(sweep, tmp_path):
    folder = pathlib.Path(shutil.copytree(sweep.reference, tmp_path / "runs" / "run"))
    path = folder / "chunks" / FIRST
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = sweep.run(folder)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"nasjax: runs/run/chunks/{FIRST}: no Parquet file")
    assert err.endswith("; move it away and run again: it is computed anew\n")
