"""Finds a table's file, and reads it by what it is."""

import functools
import hashlib
import importlib.resources
import os
import pathlib
import re

from nasjax import options
from nasjax.tables.columns import Columns
from nasjax.tables.forms import known_archive, read_form
from nasjax.tables.npz_arrays import opened_npz
from nasjax.tables.reading import read_csv, read_npz, read_parquet

VARIABLE = "NASJAX_DATA"
"""The folder of published tables."""

SUFFIXES = ".csv, .parquet, .npz, .txt or .txt.gz"

_EMBEDDED = re.compile(r"[a-z0-9_]{1,60}")


def load(file: str) -> tuple[Columns, str]:
    """Returns a table and its file's SHA-256.

    Raises:
      FileNotFoundError: there is no such file; says where it was looked for.
      ValueError: it is no table, or damaged; the row is named.
    """
    path = find(file)
    status = path.stat()
    return _load(file, path, (status.st_mtime_ns, status.st_size, status.st_ino))


def find(file: str) -> pathlib.Path:
    """Returns the path of a table.

    A bare name is a table of the package; a path is looked for as it stands, then in the folder that NASJAX_DATA names.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: `file` cannot be the name of one.
    """
    if not file or "\0" in file or len(file) > 4096:
        raise ValueError(f"table: {file[:60]!a} is no file name")
    if _EMBEDDED.fullmatch(file):
        inside = importlib.resources.files("nasjax.tables") / "data"
        there = sorted(entry.name.removesuffix(".npz") for entry in inside.iterdir()) if inside.is_dir() else []
        if file not in there:
            close = options.nearest(file, there)
            hint = f"did you mean {close}?" if close else f"there are {', '.join(there) or 'none'}"
            raise FileNotFoundError(f"no table {file!r} in the package; {hint}; a file's name ends in {SUFFIXES}")
        return pathlib.Path(str(inside / f"{file}.npz"))
    folder = os.environ.get(VARIABLE, "")
    places = [_expanded(file)]
    if folder and not places[0].is_absolute():
        places.append(pathlib.Path(folder) / file)
    for place in places:
        try:
            if place.is_file():
                return place
        except OSError:  # a name that is too long
            continue
    known = f"{VARIABLE} is {folder}" if folder else f"{VARIABLE}, the folder of published tables, is not set"
    raise FileNotFoundError(f"no table {file!r} here, and {known}")


def _expanded(file: str) -> pathlib.Path:
    """The path, `~` being a home folder where there is such a one."""
    try:
        return pathlib.Path(file).expanduser()
    except RuntimeError:
        return pathlib.Path(file)


@functools.lru_cache(maxsize=4)  # three tasks, two signals: one reading
def _load(file: str, path: pathlib.Path, version: tuple[int, int, int]) -> tuple[Columns, str]:
    del version  # a changed file is another one
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return read(path, file), digest


def read(path: pathlib.Path, name: str) -> Columns:
    """Returns the table of a file, by its name's end.

    Raises:
      ValueError: it is of no form that is read, or damaged.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return read_csv(path, name)
    if suffix == ".parquet":
        return read_parquet(path, name)
    if suffix == ".npz":
        with opened_npz(path) as arrays:
            published = known_archive(arrays)
            return published(arrays, name) if published else read_npz(arrays, name)
    if path.name.lower().endswith((".txt", ".txt.gz")):
        return read_form("enas_dvae", path, name)
    raise ValueError(f"{name}: a table's name ends in {SUFFIXES}; `nasjax table import` reads other forms")
