"""The file layer: whole or not at all, lines at the end of a log, a lock that dies with its process."""

import os
import signal
import subprocess
import sys

import pytest

from nasjax import files


def test_write_makes_and_replaces(tmp_path):
    path = tmp_path / "a"
    for data in (b"one", b"", b"longer than before" * 100_000):
        files.write(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["a"]


def operations(monkeypatch):
    seen = []
    monkeypatch.setattr(files, "_point", lambda operation, path: seen.append(f"{path.name}:{operation}"))
    return seen


def test_order_of_a_write(tmp_path, monkeypatch):
    """The bytes are on the disk before the name is, and the name before anybody is told."""
    seen = operations(monkeypatch)
    files.write(tmp_path / "a", b"data")
    folder = tmp_path.name
    assert seen == ["a.tmp:open", "a.tmp:write", "a.tmp:sync", "a:rename", f"{folder}:open", f"{folder}:sync"]


def test_a_line_is_flushed(tmp_path, monkeypatch):
    seen = operations(monkeypatch)
    files.append(tmp_path / "log", b"line\n")
    assert seen == ["log:open", "log:write", "log:sync"]


def test_each_operation_that_fails_leaves_old_or_new(tmp_path, monkeypatch):
    path = tmp_path / "a"
    for number in range(7):
        path.write_bytes(b"old")
        left = [number]

        def point(operation, target, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(5, f"broken at {operation}")

        monkeypatch.setattr(files, "_point", point)
        if number == 0:  # nothing fails
            files.write(path, b"new")
        else:
            with pytest.raises(OSError, match=rf"broken at .*{tmp_path}"):
                files.write(path, b"new")
        assert path.read_bytes() == (b"new" if number in (0, 5, 6) else b"old")
        assert os.listdir(tmp_path) == ["a"]


def test_a_disk_that_takes_a_few_bytes_at_a_time(tmp_path, monkeypatch):
    """`os.write` may write less than it was given."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
    files.write(tmp_path / "a", b"0123456789")
    files.append(tmp_path / "a", b"line\n")
    assert (tmp_path / "a").read_bytes() == b"0123456789line\n"


def test_a_temporary_file_left_behind_is_overwritten(tmp_path):
    (tmp_path / "a.tmp").write_bytes(b"x" * 1000)
    files.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_links_do_not_lead_a_write_out_of_the_folder(tmp_path):
    precious, folder = tmp_path / "precious", tmp_path / "run"
    precious.write_bytes(b"precious")
    folder.mkdir()
    for name in ("a", "a.tmp", "log", "LOCK"):
        (folder / name).symlink_to(precious)
    with pytest.raises(OSError, match=r"a\.tmp"):
        files.write(folder / "a", b"new")
    with pytest.raises(OSError, match="log"):
        files.append(folder / "log", b"line\n")
    with pytest.raises(OSError, match="log"):
        files.cut(folder / "log", 1)
    with pytest.raises(OSError, match="LOCK"), files.lock(folder / "LOCK"):
        pass
    files.write(folder / "a", b"new")  # the link under the temporary name is gone, that under the name is replaced
    assert (folder / "a").read_bytes() == b"new"
    assert not (folder / "a").is_symlink()
    assert precious.read_bytes() == b"precious"


def test_append_and_cut(tmp_path):
    path = tmp_path / "log"
    files.append(path, b"one\n")
    files.append(path, b"two\n")
    files.cut(path, 5)
    files.append(path, b"!\n")
    assert path.read_bytes() == b"one\nt!\n"


def test_read_refuses_what_is_too_long_or_no_file(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match=r"5 bytes; at most 4 are read.*a"):
        files.read(tmp_path / "a", 4)
    with pytest.raises(FileNotFoundError, match="missing"):
        files.read(tmp_path / "missing", 4)
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/proc/self/fd")
    for name in ("pipe", "."):
        with pytest.raises(OSError, match="not a regular file"):
            files.read(tmp_path / name, 4)
    assert os.listdir("/proc/self/fd") == before


HOLD = """
import pathlib, sys
from nasjax import files
with files.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, None])
def test_a_lock_dies_with_its_process(tmp_path, end):
    path = tmp_path / "LOCK"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=f"in use by process {process.pid}.*{path}"), files.lock(path):
            pass
        process.send_signal(end) if end else process.stdin.close()
        process.wait(timeout=30)
        with files.lock(path):
            assert path.read_text() == f"{os.getpid()}\n"
            with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"), files.lock(path):
                pass
    assert path.exists()


def test_a_lock_is_given_back_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), files.lock(tmp_path / "LOCK"):
            raise KeyError


def test_a_lock_is_not_inherited(tmp_path):
    """A process started by an evaluator must not hold the lock after the run has ended."""
    with files.lock(tmp_path / "LOCK"):
        child = subprocess.Popen(["sleep", "60"])
    try:
        with files.lock(tmp_path / "LOCK"):
            pass
    finally:
        child.kill()
        child.wait()


def test_the_fault_variable(tmp_path, monkeypatch):
    """Only the operation that fits, only the time that is named, and no other variable."""
    caught = []
    previous = signal.signal(signal.SIGTERM, lambda signum, frame: caught.append(len(caught)))
    try:
        monkeypatch.setattr(files, "_count", 0)
        monkeypatch.setenv("NASJAX_TEST_FAULT", "term a:rename 2")
        counts = []
        for _ in range(3):
            files.write(tmp_path / "a", b"")
            files.write(tmp_path / "b", b"")
            counts.append(len(caught))
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert counts == [0, 1, 1]
