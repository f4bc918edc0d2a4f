"""The one place where a run directory is written: whole files, lines at the end of a log, a lock.

A whole file goes to a temporary name in the same folder, is flushed to the disk, takes its name by a rename, and the
folder is flushed. So a name always stands for a complete file, the old or the new one, whenever the process dies. A
temporary file that a kill left behind is never read; the next write of that name overwrites it.

Every operation passes `_point`, where tests make the n-th one fail or kill the process; see there.
"""

import contextlib
import fcntl
import fnmatch
import os
import pathlib
import signal
import stat
from collections.abc import Iterator

_count = 0
"""Operations so far that matched NASJAX_TEST_FAULT."""


def write(path: pathlib.Path, data: bytes) -> None:
    """Makes `path` hold `data`, whole or not at all.

    Raises:
      OSError: naming the file; `path` is as it was, or whole and new if only the folder's flush failed.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        # O_NOFOLLOW: a link laid under the temporary name must not lead the write out of the folder.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        descriptor = _open(temporary, flags)  # killed here: an empty temporary file, never read
        try:
            _write(descriptor, data, temporary)  # here: a torn temporary file, never read
            _sync(descriptor, temporary)  # here: likewise
        finally:
            os.close(descriptor)
        rename(temporary, path)  # here: old or new file, each whole, as its bytes were flushed before
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def append(path: pathlib.Path, line: bytes) -> None:
    """Adds one line, which must end in a newline, and flushes it. A kill leaves at most a torn last line (`cut`)."""
    descriptor = _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW)
    try:
        _write(descriptor, line, path)
        _sync(descriptor, path)
    finally:
        os.close(descriptor)


def cut(path: pathlib.Path, length: int) -> None:
    """Shortens a file to `length` bytes."""
    descriptor = _open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        with _named(path):
            _point("cut", path)
            os.ftruncate(descriptor, length)
        _sync(descriptor, path)
    finally:
        os.close(descriptor)


def rename(source: pathlib.Path, target: pathlib.Path) -> None:
    """Gives `source` the name `target`, atomically; what stood there is gone."""
    with _named(target):
        _point("rename", target)
        os.replace(source, target)


def read(path: pathlib.Path, limit: int) -> bytes:
    """Returns a file's bytes.

    Raises:
      FileNotFoundError: there is none.
      OSError: it cannot be read, is no regular file, or is longer than `limit` bytes.
    """
    descriptor = _open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe under that name must not hang the run
    try:
        with _named(path):
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "not a regular file")
            if status.st_size > limit:
                raise OSError(0, f"{status.st_size:,} bytes; at most {limit:,} are read")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(limit)
    finally:
        os.close(descriptor)


def make_folder(path: pathlib.Path) -> None:
    """Makes a folder and those above it."""
    with _named(path):
        _point("mkdir", path)
        path.mkdir(parents=True, exist_ok=True)


def sync_folder(path: pathlib.Path) -> None:
    """Flushes a folder's names. Until then a power cut, unlike a kill, may bring the old file back: whole, too."""
    descriptor = _open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(descriptor, path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(path: pathlib.Path) -> Iterator[None]:
    """Holds an advisory lock on `path`, which is made if need be and stays: the kernel drops the lock with the process.

    Raises:
      BlockingIOError: another process holds it; the message names that process.
    """
    descriptor = _open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        with _named(path):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                text = f"in use by process {holder}" if holder.isdigit() else "in use by another process"
                raise BlockingIOError(error.errno, text) from error
            os.ftruncate(descriptor, 0)
        _write(descriptor, b"%d\n" % os.getpid(), path)
        yield
    finally:
        os.close(descriptor)


def _open(path: pathlib.Path, flags: int) -> int:
    with _named(path):
        _point("open", path)
        return os.open(path, flags | os.O_CLOEXEC, 0o666)


def _write(descriptor: int, data: bytes, path: pathlib.Path) -> None:
    """Writes all of `data`. The named point lies halfway, so that an injected fault leaves a torn file."""
    with _named(path):
        half = len(data) // 2
        _write_all(descriptor, data[:half])
        _point("write", path)
        _write_all(descriptor, data[half:])


def _write_all(descriptor: int, data: bytes) -> None:
    """A nearly full disk takes a part of a write and refuses the rest only on the next call."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync(descriptor: int, path: pathlib.Path) -> None:
    with _named(path):
        _point("sync", path)
        os.fsync(descriptor)


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
    """Puts the file's name into an OSError that lacks it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def _point(operation: str, path: pathlib.Path) -> None:
    """Where tests break things: `NASJAX_TEST_FAULT="SIGNAL PATTERN N"`.

    Sends this process SIGNAL (kill, term, int) at the N-th operation whose `FILE:OPERATION` fits the pattern, for
    example "kill state.npz:rename 3". Nothing else reads the variable.
    """
    fault = os.environ.get("NASJAX_TEST_FAULT")
    if not fault:
        return
    global _count
    name, pattern, number = fault.split()
    if fnmatch.fnmatchcase(f"{path.name}:{operation}", pattern):
        _count += 1
        if _count == int(number):
            os.kill(os.getpid(), getattr(signal, f"SIG{name.upper()}"))
