"""Damaged and foreign files: each is named with what to do; none is executed, overwritten or deleted."""

import contextlib
import io
import json
import os
import pathlib
import pickle
import shutil
import zipfile

import numpy as np
import pytest

from nasjax import checkpoint, rundir
from nasjax.rundir import CONFIG, EVENTS, HISTORY, PREVIOUS, RESULT, STATE, RunDirError
from nasjax.search import run_search


def never_run():
    raise AssertionError("a pickle was executed")


class Hostile:
    def __reduce__(self):
        return (never_run, ())


def flipped(data, place):
    changed = bytearray(data)
    changed[place] ^= 8
    return bytes(changed)


def repacked(data, **changes):
    """The same archive with other arrays, and a digest that fits."""
    return checkpoint.pack(checkpoint.unpack(data) | changes)


def saved(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "last byte missing": lambda data: data[:-1],
    "bit flipped": lambda data: flipped(data, len(data) // 3),
    "zeros": lambda data: bytes(len(data)),
    "other version": lambda data: repacked(data, format=np.asarray(2, np.int32)),
    "version of another type": lambda data: repacked(data, format=np.asarray(1.0)),
    "one array more": lambda data: repacked(data, more=np.zeros(2)),
    "pickle": lambda data: pickle.dumps(Hostile()),
    "objects": lambda data: saved(specs=np.array([Hostile()], object)),
    "plain numpy": lambda data: saved(specs=np.array(["a"])),
}


def refused(toy, folder, content, match):
    """One line, and nothing in the directory has changed."""
    before = content(folder)
    with pytest.raises(RunDirError, match=match) as caught:
        toy.search(folder)
    assert "\n" not in str(caught.value)
    assert content(folder) == before
    return str(caught.value)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state(toy, half, damage):
    """The one before it is used, and the damaged one kept; the repeated batch has the same bits."""
    bad = DAMAGE[damage]((half / STATE).read_bytes())
    (half / STATE).write_bytes(bad)
    notes = []
    result = toy.search(half, on_note=notes.append)
    toy.expect_whole(half)
    assert result.resumed_from == 8
    assert (half / "state-damaged-1.npz").read_bytes() == bad
    assert f"{half / STATE}: " in notes[0]
    assert "moved aside to state-damaged-1.npz" in notes[0]
    assert "going back to the 8 evaluations" in notes[1]
    assert "4 after them are repeated" in notes[1]


def test_every_byte_of_the_state(half):
    """A bit flipped anywhere: the file does not open, or nothing of its content has changed."""
    data = (half / STATE).read_bytes()
    arrays = checkpoint.unpack(data)
    for place in range(len(data)):
        with contextlib.suppress(checkpoint.DamagedError):
            found = checkpoint.unpack(flipped(data, place))
            assert checkpoint.digest(found) == checkpoint.digest(arrays)


def test_a_missing_state(toy, half):
    (half / STATE).unlink()
    assert toy.search(half).resumed_from == 8
    toy.expect_whole(half)
    assert not list(half.glob("state-damaged*"))


def test_a_missing_previous_state(toy, half):
    (half / PREVIOUS).unlink()
    assert toy.search(half).resumed_from == 12
    toy.expect_whole(half)


def test_damaged_again_and_again(toy, half):
    """Each damaged file gets a name of its own."""
    for number in (1, 2, 3):
        (half / STATE).write_bytes(b"damaged %d" % number)
        toy.stopped(half, rundir.read_history(half).steps)
    toy.search(half)
    toy.expect_whole(half)
    for number in (1, 2, 3):
        assert (half / f"state-damaged-{number}.npz").read_bytes() == b"damaged %d" % number


def test_a_state_of_another_program(toy, half, content):
    """Its leaves have other shapes: named, as nothing says that the other state is any better."""
    for name in (STATE, PREVIOUS):
        arrays = checkpoint.unpack((half / name).read_bytes())
        leaf = next(leaf for leaf in arrays if leaf.startswith("leaf"))
        (half / name).write_bytes(checkpoint.pack(arrays | {leaf: np.zeros((7, 7), np.float32)}))
    said = refused(toy, half, content, r"float32\[7, 7\], this program's state has")
    assert str(half / STATE) in said
    assert str(half / PREVIOUS) in said


def test_states_of_another_history(toy, half, content, tmp_path):
    """A state belongs to the evaluations it has seen, not to any that are as many."""
    other = tmp_path / "other"
    with pytest.raises(RunDirError, match=r"is a run of another config \(seed: 3, now 4\); use another --run"):
        run_search(toy.module.config(), 4, half)
    run_search(toy.module.config(), 4, other, on_note=str)
    shutil.copy(other / HISTORY, half / HISTORY)
    refused(toy, half, content, f"belongs to another {HISTORY}.*put back a good copy")


@pytest.mark.parametrize("lost", ["damaged", "missing"])
def test_both_states_are_lost(toy, half, content, lost):
    good = {name: (half / name).read_bytes() for name in (STATE, PREVIOUS)}
    for name in good:
        (half / name).write_bytes(b"damaged") if lost == "damaged" else (half / name).unlink()
    said = refused(toy, half, content, "put back a good copy of one of them, or start again under another --run")
    assert str(half / STATE) in said
    assert str(half / PREVIOUS) in said
    (half / PREVIOUS).write_bytes(good[PREVIOUS])
    assert toy.search(half).resumed_from == 8
    toy.expect_whole(half)


HISTORIES = DAMAGE | {
    "a state": lambda data: saved(steps=np.asarray(3, np.int32)),
    "rows beyond the steps": lambda data: repacked(data, steps=np.asarray(2, np.int32)),
    "rows in another order": lambda data: repacked(data, step=np.asarray([2, 1, 0] * 4, np.int32)),
    "a shorter column": lambda data: repacked(data, reward=np.zeros(3, np.float32)),
    "another type": lambda data: repacked(data, reward=np.zeros(12)),
    "specs as bytes": lambda data: repacked(data, specs=np.zeros((12, 2), np.str_)),
    "steps below zero": lambda data: repacked(data, steps=np.asarray(-1, np.int32)),
}


@pytest.mark.parametrize("damage", HISTORIES)
def test_a_damaged_history(toy, half, content, damage):
    good = (half / HISTORY).read_bytes()
    (half / HISTORY).write_bytes(HISTORIES[damage](good))
    refused(toy, half, content, f"{half / HISTORY}: .*; put back a good copy, or start again under another --run")
    (half / HISTORY).write_bytes(good)
    toy.search(half)
    toy.expect_whole(half)


def test_a_missing_history(toy, half, content):
    (half / HISTORY).unlink()
    refused(toy, half, content, f"{half / HISTORY}: No such file")


def test_a_history_that_declares_more_than_it_has(toy, half, content):
    """Eight terabytes: refused before any memory is asked for."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (10**12,), "fortran_order": False, "descr": "<f8"})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cost.npy", header.getvalue() + bytes(8))
    good = (half / HISTORY).read_bytes()
    (half / HISTORY).write_bytes(buffer.getvalue())
    refused(toy, half, content, f"{half / HISTORY}: .*1000000000000.* declared, 8 bytes there")
    (half / HISTORY).write_bytes(good)
    toy.search(half)
    toy.expect_whole(half)


@pytest.mark.parametrize(("name", "size"), [(HISTORY, 5 << 30), (EVENTS, 2 << 30), (CONFIG, 1 << 30)])
def test_a_huge_file(toy, half, name, size):
    """Sparse, so that it costs the test no disk; it must not cost the run its memory either."""
    os.truncate(half / name, size)
    with pytest.raises(RunDirError, match=f"{half / name}: {size:,} bytes; at most"):
        toy.search(half)


@pytest.mark.parametrize("name", [CONFIG, HISTORY, STATE, EVENTS])
@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_no_regular_file(toy, half, name, kind):
    """A pipe must not hang the run, what stands there is not written over, and no error may lack the file's name."""
    (half / name).unlink()
    if kind == "folder":
        (half / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(half / name)
    else:
        (half / name).symlink_to("nowhere")
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RunDirError, match=f"{half / name}: (not a regular file|No such file)"):
        toy.search(half)
    assert (half / name).is_symlink() or not (half / name).is_file()
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("kept", [1, 2, 20, -1])
def test_a_torn_event(toy, half, kept):
    """The next line must not be glued to it."""
    lines = (half / EVENTS).read_bytes().splitlines(keepends=True)
    (half / EVENTS).write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    toy.search(half)
    toy.expect_whole(half)
    events = [json.loads(line) for line in (half / EVENTS).read_text().splitlines()]
    assert events == rundir.read_events(half)
    assert [event["event"] for event in events[len(lines) - 1 :]] == ["start", "batch", "batch", "finish"]


def test_foreign_events(toy, half, content):
    lines = (half / EVENTS).read_bytes()
    for foreign in (b"\x00\xffbinary\n", b"[1]\n", b"not json\n", b"[" * 100_000 + b"\n", b"1e999\n", b"\n\n"):
        lines += foreign
    (half / EVENTS).write_bytes(lines)
    assert len(rundir.read_events(half)) == 4
    toy.search(half)
    toy.expect_whole(half)
    assert (half / EVENTS).read_bytes().startswith(lines)
    assert len(rundir.read_events(half)) == 8


@pytest.mark.parametrize("end", [b"no event", b"\0" * 100, b'{"' + b"x" * 70_000])
def test_an_end_that_is_no_event(toy, half, content, end):
    """It is not ours to cut."""
    with (half / EVENTS).open("ab") as file:
        file.write(end)
    refused(toy, half, content, f"{half / EVENTS}: its end is no event")


def test_missing_events(toy, half):
    (half / EVENTS).unlink()
    toy.search(half)
    toy.expect_whole(half)


CONFIGS = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "binary": lambda data: b"\xff\xfe" + data,
    "a list": lambda data: b"[1]",
    "deep": lambda data: b"[" * 100_000,
    "no hash": lambda data: b'{"format": 1}',
    "other version": lambda data: data.replace(b'"format": 1', b'"format": 2'),
    "edited": lambda data: data.replace(b'"batch": 4', b'"batch": 5'),
    "not a number": lambda data: data.replace(b'"batch": 4', b'"batch": NaN'),
    "a huge integer": lambda data: data.replace(b'"batch": 4', b'"batch": ' + b"9" * 5000),
}


@pytest.mark.parametrize("damage", CONFIGS)
def test_a_damaged_config(toy, half, content, damage):
    good = (half / CONFIG).read_bytes()
    (half / CONFIG).write_bytes(CONFIGS[damage](good))
    assert (half / CONFIG).read_bytes() != good
    refused(toy, half, content, str(half / CONFIG))
    (half / CONFIG).write_bytes(good)
    toy.search(half)
    toy.expect_whole(half)


def test_a_missing_config(toy, half, content):
    """Without it nothing says that these are a run's files."""
    (half / CONFIG).unlink()
    refused(toy, half, content, f"holds .* but no {CONFIG}, so it is no run directory; use another --run")


@pytest.mark.parametrize("damage", ["empty", "cut", "binary", "a list", "deep", "no hash", "other version"])
def test_a_damaged_result(toy, tmp_path, content, damage):
    folder = pathlib.Path(shutil.copytree(toy.reference, tmp_path / "run"))
    (folder / RESULT).write_bytes(CONFIGS[damage]((folder / RESULT).read_bytes()))
    refused(toy, folder, content, f"{folder / RESULT}.*move it away and run again")
    (folder / RESULT).rename(folder / "away.json")
    assert toy.search(folder).resumed_from == 18
    toy.expect_whole(folder)


def test_the_result_of_another_history(toy, half, content):
    shutil.copy(toy.reference / RESULT, half / RESULT)
    refused(toy, half, content, f"{half / RESULT} does not belong to {half / HISTORY}; move it away and run again")
    (half / RESULT).unlink()
    toy.search(half)
    toy.expect_whole(half)


def test_a_process_says_it_in_one_line(toy, half):
    (half / HISTORY).write_bytes(pickle.dumps(Hostile()))
    status, out, err = toy.run(half)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("nasjax: runs/run/history.npz: not an NPZ archive")
