"""kill -9 at any instant: the same command goes on, and nothing tells the two histories apart."""

import random
import time

import pytest
from disturbing import killed_then_resumed, named_points, snapshots

from nasjax import rundir


def test_every_point(toy, tmp_path, monkeypatch):
    """All operations of a whole run; what was reported before the kill is not evaluated again."""
    with monkeypatch.context() as patch:
        points, on_batch = snapshots(patch, tmp_path / "run", tmp_path / "killed")
        toy.search(tmp_path / "run", on_batch=on_batch)
    toy.expect_whole(tmp_path / "run")
    kinds = {path.name.partition("-")[2] for path, _ in points}
    for name in ("config.json", "history.npz", "state.npz", "result.json"):
        assert {f"{name}.tmp-open", f"{name}.tmp-write", f"{name}.tmp-sync", f"{name}-rename"} <= kinds
    assert {"state-previous.npz-rename", "events.jsonl-write", "LOCK-write", "run-sync"} <= kinds
    for folder, reported in points:
        result = toy.search(folder)
        assert result.resumed_from >= reported, folder
        toy.expect_whole(folder)


def test_every_point_of_going_on_after_a_damaged_state(toy, half, tmp_path, monkeypatch):
    """The second kill hits while the damaged state is moved aside and the one before it takes its place."""
    (half / rundir.STATE).write_bytes(b"damaged")
    with monkeypatch.context() as patch:
        points, on_batch = snapshots(patch, half, tmp_path / "killed")
        toy.search(half, on_batch=on_batch)
    assert len(points) > 30
    for folder, reported in points:
        assert toy.search(folder).resumed_from >= reported, folder
        toy.expect_whole(folder)
        assert (folder / "state-damaged-1.npz").read_bytes() == b"damaged"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("kill state-previous.npz:rename 3", "resumed from 8 evaluations"),  # between history and state
        ("kill history.npz.tmp:write 3", "resumed from 4 evaluations"),  # a torn temporary file
        ("kill result.json:rename 1", "resumed from 18 evaluations"),
        ("kill report.html.tmp:write 1", "already finished, 18 evaluations"),
    ],
)
def test_processes_killed_at_named_points(toy, tmp_path, fault, said):
    """The lock of a dead process is no lock, though its file stays."""
    assert said in killed_then_resumed(toy, tmp_path / "runs" / "run", fault)


@pytest.mark.slow
def test_processes_killed_at_all_named_points(toy, tmp_path):
    points = named_points(toy, tmp_path)
    assert len(points) > 100
    for place, (name, number) in enumerate(points):
        killed_then_resumed(toy, tmp_path / str(place) / "runs" / "run", f"kill {name} {number}")


FINE = ("--method.batch", "1", "--budget.evaluations", "26")


@pytest.fixture(scope="module")
def fine(toy, tmp_path_factory):
    """The undisturbed run in 26 batches, which leaves more to hit, and the seconds it takes."""
    folder, start = tmp_path_factory.mktemp("fine") / "runs" / "run", time.monotonic()
    assert toy.run(folder, *FINE)[0] == 0
    return folder, time.monotonic() - start


@pytest.mark.slow
@pytest.mark.parametrize("lot", range(10))
def test_processes_killed_at_random_instants(toy, fine, tmp_path, lot):
    """30 instants: each run is killed three times; a third of the runs anywhere, the others among their batches."""
    reference, seconds = fine
    folder, lots = tmp_path / "runs" / "run", random.Random(lot)
    reported = 0
    for _ in range(3):
        process = toy.start(folder, *FINE)
        if lot % 3:
            line = process.stderr.readline()
            while line and "/26 evaluations" not in line:
                line = process.stderr.readline()
            time.sleep(lots.uniform(0, 0.1))
        else:
            time.sleep(lots.uniform(0, seconds))
        process.kill()
        _, err = process.communicate(timeout=60)
        done = [int(line.split("/26")[0]) for line in err.splitlines() if "/26 evaluations" in line]
        there = rundir.read_history(folder) if (folder / rundir.HISTORY).exists() else ()
        reported = max([reported, *done])
        assert len(there) >= reported
    status, _, err = toy.run(folder, *FINE)
    assert status == 0, err
    for name in (rundir.HISTORY, rundir.RESULT):
        assert (folder / name).read_bytes() == (reference / name).read_bytes()
