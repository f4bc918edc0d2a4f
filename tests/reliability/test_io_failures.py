"""The n-th call to the operating system fails, for every n: one error that names the file, and nothing is lost."""

import contextlib
import errno
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile

import pytest

from nasjax import files, rundir

CALLS = ("open", "write", "fsync", "replace", "ftruncate")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


class Failing:
    """`os`, whose n-th call of CALLS fails; a failing write has taken a part of the bytes, as on a full disk."""

    def __init__(self, number, error):
        self.left, self.error = number, error

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in CALLS:
            return function

        def call(*args, **kwargs):
            self.left -= 1
            if self.left != 0:
                return function(*args, **kwargs)
            if name == "write":
                os.write(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise OSError(self.error, os.strerror(self.error))

        return call


def fail_one_by_one(toy, prepare, tmp_path, monkeypatch, error):
    """Fails each call in turn in a directory that `prepare` makes; returns how many calls a whole run takes.

    `error` is the one to raise, or a list to go round.
    """
    number = 0
    while True:
        number += 1
        folder = prepare(tmp_path / str(number))
        told = error[number % len(error)] if isinstance(error, list) else error
        failing, reported = Failing(number, told), [0]
        descriptors = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", failing)
            try:
                toy.search(folder, on_batch=lambda progress, reported=reported: reported.append(progress.evaluations))
            except (OSError, rundir.RunDirError) as failure:
                # What a person reads says which file and why.
                text = str(failure)
                assert os.strerror(told) in text, (number, text)
                assert str(folder) in text, (number, text)
            else:
                assert failing.left > 0, f"call {number} failed and nobody noticed"
                toy.expect_whole(folder)
                return number - 1
        assert len(os.listdir("/proc/self/fd")) == descriptors, f"call {number} leaks a descriptor"
        assert toy.search(folder).resumed_from >= reported[-1]
        toy.expect_whole(folder)
        shutil.rmtree(folder)


def test_each_call_of_a_run_fails(toy, tmp_path, monkeypatch):
    calls = fail_one_by_one(toy, lambda folder: folder, tmp_path, monkeypatch, list(ERRORS))
    assert calls > 100


def test_each_call_fails_when_a_damaged_state_is_moved_aside(toy, half, tmp_path, monkeypatch):
    (half / rundir.STATE).write_bytes(b"damaged")
    with (half / rundir.EVENTS).open("ab") as events:
        events.write(b'{"event": "ba')  # its cut fails, too

    def prepare(folder):
        return pathlib.Path(shutil.copytree(half, folder))

    assert fail_one_by_one(toy, prepare, tmp_path, monkeypatch, list(ERRORS)) > 50


@pytest.mark.slow
@pytest.mark.parametrize("error", [*ERRORS, errno.EINTR, errno.EAGAIN, errno.EDQUOT, errno.ENOENT], ids=os.strerror)
def test_each_call_of_a_run_fails_with_each_error(toy, tmp_path, monkeypatch, error):
    assert fail_one_by_one(toy, lambda folder: folder, tmp_path, monkeypatch, error) > 100


def test_files_may_not_grow(toy, tmp_path):
    """A limit on the size of a file stops the history of a process in the middle."""
    folder = tmp_path / "runs" / "run"
    limit = toy.reference.joinpath("history.npz").stat().st_size - 200  # the last batch is too much

    process = toy.start(folder)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))  # before it has imported jax
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    last = err.splitlines()[-1]
    assert "File too large: runs/run/history.npz.tmp" in last
    assert "the same command goes on" in last
    assert "Traceback" not in err
    assert rundir.read_history(folder).steps == 4
    status, out, err = toy.run(folder)
    assert status == 0, err
    assert "resumed from 16 evaluations" in out
    toy.expect_whole(folder)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "nasjax-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(toy, small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (70 << 10))  # a few of its pages are left
    folder = small_disk / "run"
    with pytest.raises(OSError, match=f"No space left on device.*{folder}"):
        toy.search(folder)
    filler.unlink()
    toy.search(folder)
    toy.expect_whole(folder)


@contextlib.contextmanager
def without_privileges():
    """The superuser may write everywhere; nobody may not."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def readable():
    """A folder that other users may enter, unlike pytest's own."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nasjax-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_folder_that_may_not_be_written(toy, readable, half, content):
    """A new run, and one half done."""
    readable.chmod(0o555)
    with without_privileges(), pytest.raises(rundir.RunDirError, match="cannot be used: Permission denied"):
        toy.search(readable / "new")
    readable.chmod(0o755)
    folder = pathlib.Path(shutil.copytree(half, readable / "run"))
    folder.chmod(0o555)
    before = content(folder)
    with without_privileges(), pytest.raises(rundir.RunDirError, match=f"{folder} cannot be used: Permission denied"):
        toy.search(folder)
    assert content(folder) == before
    folder.chmod(0o755)
    toy.search(folder)
    toy.expect_whole(folder)


@pytest.mark.parametrize("name", ["history.npz", "state.npz", "config.json", "events.jsonl"])
def test_a_file_that_may_not_be_read(toy, readable, half, content, name):
    """It may be readable tomorrow: it is neither taken for damaged nor replaced."""
    folder = pathlib.Path(shutil.copytree(half, readable / "run"))
    before = content(folder)
    for path in [folder, folder / "LOCK", *folder.iterdir()]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    (folder / name).chmod(0)
    with without_privileges(), pytest.raises(rundir.RunDirError, match=f"{folder / name}: Permission denied"):
        toy.search(folder)
    (folder / name).chmod(0o666)
    assert content(folder) == before
    toy.search(folder)
    toy.expect_whole(folder)


def test_no_folder_can_be_made(toy, tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(rundir.RunDirError, match=r"runs/run cannot be used: (Not a directory|File exists)"):
        toy.search(tmp_path / "runs" / "run")


def test_a_file_system_without_locks(toy, tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patch:
        patch.setattr(files.fcntl, "flock", flock)
        with pytest.raises(rundir.RunDirError, match="cannot be used: No locks available"):
            toy.search(tmp_path / "run")
    toy.search(tmp_path / "run")
    toy.expect_whole(tmp_path / "run")
