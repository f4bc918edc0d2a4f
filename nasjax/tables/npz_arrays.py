"""Arrays of an NPZ archive that is not trusted: read by name, with the kind and the shape that are expected."""

import contextlib
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nasjax import npy
from nasjax.train.untrusted import blamed, regular, zip_tree

MEMBER = 1 << 28
"""Bytes of one array."""


class Arrays:
    """The arrays of an open archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Lists the members.

        Raises:
          ValueError: there are too many, they are too large, or one stands in it twice.
        """
        self._tree = zip_tree(archive)
        self.names = frozenset(name.removesuffix(".npy") for name in self._tree.names if name.endswith(".npy"))

    def any(self, name: str, kinds: str = "biufU") -> npt.NDArray[Any]:
        """Returns an array whatever its shape; `kinds` are NumPy's letters.

        Raises:
          ValueError: it is missing, damaged, or of another kind.
        """
        return npy.read(self._tree.read(name + ".npy", MEMBER), f"array {name}", kinds)

    def array(self, name: str, kinds: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Returns an array of the shape that is expected.

        Raises:
          ValueError: it is missing, damaged, or another one.
        """
        found = self.any(name, kinds)
        if found.shape != shape:
            raise ValueError(f"array {name}: {list(found.shape)}, expected {list(shape)}")
        return found

    def texts(self, name: str, expected: tuple[str, ...]) -> None:
        """Checks an array of names.

        Raises:
          ValueError: it does not hold exactly these; what follows from their order would be wrong.
        """
        found = tuple(str(text) for text in np.atleast_1d(self.any(name, "U")).ravel())
        if found != expected:
            raise ValueError(f"array {name}: {', '.join(found)[:200]!r}, expected {', '.join(expected)!r}")


@contextlib.contextmanager
def opened_npz(path: pathlib.Path) -> Iterator[Arrays]:
    """Opens an archive.

    Raises:
      untrusted.BadFileError: it is none, it is damaged, or what the block raises says so.
    """
    with blamed(path), regular(path) as file, zipfile.ZipFile(file) as archive:
        yield Arrays(archive)
