"""Files in folders and archives that come from anywhere, and NPY arrays in them.

Nothing is extracted: members are read into memory by the names that the caller expects, so that links and `..` lead
nowhere. Nothing that a header declares is allocated before it is limited, and no pickle is ever loaded.
"""

import contextlib
import gzip
import io
import os
import pathlib
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, Protocol

import numpy.typing as npt

from nasjax import npy

FILES = 250_000
"""Files in a folder or an archive; Tiny ImageNet has 120,609."""
UNPACKED = 1 << 30
"""Bytes of an archive, packed or not; the sets that are read have a third of it at most."""


class SupportsRead(Protocol):
    """An open file."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes, none at the end."""


class Tree(NamedTuple):
    """Files by name, of a folder or an archive. `read(name, limit)` gives the bytes of one, at most `limit`."""

    names: frozenset[str]
    read: Callable[[str, int], bytes]


class BadFileError(ValueError):
    """A file that is not what it should be; the message names it."""


@contextlib.contextmanager
def blamed(path: pathlib.Path) -> Iterator[None]:
    """Makes one line that names the file of whatever a damaged one raises; zipfile alone has a dozen kinds."""
    try:
        yield
    except (BadFileError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # the disk's fault, not the content's
            raise
        said = str(error).strip().partition("\n")[0][:300]
        if not isinstance(error, ValueError):
            said = f"damaged, or not what its name says ({type(error).__name__}: {said})"
        raise BadFileError(f"{path}: {said}") from error


@contextlib.contextmanager
def regular(path: pathlib.Path, limit: int = UNPACKED) -> Iterator[IO[bytes]]:
    """Opens a regular file of at most `limit` bytes.

    Raises:
      ValueError: it is something else, or longer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hang the command
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > limit:
            raise ValueError(f"{status.st_size:,} bytes; at most {limit:,} are read")
        yield file


def limited(file: SupportsRead, limit: int, what: str) -> bytes:
    """Returns the rest of a file.

    Raises:
      ValueError: it has more than `limit` bytes; no more than one above is read.
    """
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{what}: more than {limit:,} bytes")
    return data


def walk(folder: pathlib.Path) -> Iterator[str]:
    """Names of the files below `folder`, links to folders not followed."""
    count = 0
    for place, _, files in os.walk(folder):
        for file in files:
            count += 1
            if count > FILES:
                raise ValueError(f"more than {FILES:,} files; name the folder of the data set itself")
            yield os.path.relpath(os.path.join(place, file), folder)


def folder_tree(folder: pathlib.Path) -> Tree:
    """Returns the files below a folder.

    Raises:
      ValueError: there are too many.
    """
    names = frozenset(walk(folder))

    def read(name: str, limit: int) -> bytes:
        if name not in names:
            raise ValueError(f"{name} is missing")
        with blamed(folder / name), regular(folder / name) as file:
            return limited(file, limit, "content")

    return Tree(names, read)


def zip_tree(archive: zipfile.ZipFile) -> Tree:
    """Returns the members of a zip archive, which must stay open.

    Raises:
      ValueError: there are too many, they declare too many bytes, or one stands in it twice.
    """
    entries = archive.infolist()
    if len(entries) > FILES:
        raise ValueError(f"{len(entries):,} members; at most {FILES:,} are read")
    members = {entry.filename: entry for entry in entries}
    if len(members) < len(entries):
        twice = next(entry.filename for entry in entries if members[entry.filename] is not entry)
        raise ValueError(f"member {twice[:100]!r} stands in it twice")
    if sum(entry.file_size for entry in entries) > UNPACKED:
        raise ValueError(f"its members declare more than {UNPACKED:,} bytes")

    def read(name: str, limit: int) -> bytes:
        if name not in members:
            raise ValueError(f"member {name} is missing")
        entry = members[name]
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"member {name} is encrypted, or compressed in an unusual way")
        if entry.file_size > limit:
            raise ValueError(f"member {name} declares {entry.file_size:,} bytes; at most {limit:,} are read")
        with archive.open(entry) as file:
            return limited(file, limit, f"member {name}")

    return Tree(frozenset(members), read)


class _Unpacked:
    """A gzip stream that ends with an error once more has come out of it than any data set holds."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = gzip.GzipFile(fileobj=file)
        self._left = UNPACKED

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, 1 << 20))
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"unpacks to more than {UNPACKED:,} bytes")
        return data


def tar_tree(file: IO[bytes], pattern: re.Pattern[str], limit: int) -> Tree:
    """Reads the members of a .tar.gz whose names match `pattern` into memory, of at most `limit` bytes each.

    The archive is a stream, so all of them are read at once; links and all else that is no regular file are left out.
    """
    stream = _Unpacked(file)
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for count, member in enumerate(archive, 1):
            if count > FILES:
                raise ValueError(f"more than {FILES:,} members")
            name = member.name.removeprefix("./")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not pattern.search(name):
                continue
            if name in members:
                raise ValueError(f"member {name[:100]!r} stands in it twice")
            content = archive.extractfile(member)
            members[name] = limited(content, limit, f"member {name[:100]!r}") if content else b""
            if len(members[name]) != member.size:
                raise ValueError(f"member {name[:100]!r} is cut off")
    while stream.read(1 << 20):  # up to the checksum at the end
        pass

    def read(name: str, limit: int) -> bytes:
        if name not in members:
            raise ValueError(f"member {name} is missing")
        return limited(io.BytesIO(members[name]), limit, name)

    return Tree(frozenset(members), read)


def array(data: bytes, what: str) -> npt.NDArray[Any]:
    """Returns the array of an NPY file; integers and texts only, which is all that image sets need.

    Raises:
      ValueError: saying what is wrong with `what`.
    """
    return npy.read(data, what, "iuU")
