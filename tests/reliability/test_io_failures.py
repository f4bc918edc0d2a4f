"""The n-th call to the operating system fails, for every n: one error that names the file, and nothing is lost."""

import contextlib
import errno
import os
import pathlib
import resource
import shutil
import tempfile

import pytest
from disturbing import ERRORS, fail_one_by_one

from nasjax import files, rundir


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
