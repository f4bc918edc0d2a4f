"""NPY arrays from bytes that are not trusted.

`numpy.load` allocates what a header declares before it looks whether it is there, and reads kinds that nobody asked for.
"""

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

_NAMES = {"b": "bool", "i": "int", "u": "int", "f": "float", "U": "str"}
_REASON = 120  # characters of NumPy's reason that are passed on: it may quote a whole header


class OtherKindError(ValueError):
    """A sound array, of a kind or in an order that is not read."""


def read(data: bytes, what: str, kinds: str) -> npt.NDArray[Any]:
    """Returns the array of an NPY file's bytes; nothing is executed, and nothing larger than `data` is allocated.

    Args:
      data: the whole file.
      what: its name, for errors.
      kinds: NumPy's letters of the kinds that are read, of "biufU".

    Raises:
      OtherKindError: it holds something else, though no objects, or stands in Fortran's order.
      ValueError: saying what is wrong with `what`; no other error comes through.
    """
    stream = io.BytesIO(data)
    try:
        shape, fortran, dtype = _header(stream)
    except Exception as error:  # NumPy's reader raises six kinds: IndexError, tokenize.TokenError, MemoryError, ...
        said = error.args[0] if error.args else error  # beside it may stand a place in the header
        reason = " ".join(str(said).split())[:_REASON] or type(error).__name__
        raise ValueError(f"{what}: not an NPY file ({reason})") from error
    body = data[stream.tell() :]
    if dtype.hasobject or dtype.kind not in kinds or not dtype.isnative:
        kind = ValueError if dtype.hasobject else OtherKindError
        raise kind(f"{what}: arrays of {dtype} are not read; one of {names(kinds)}")
    if fortran:
        raise OtherKindError(f"{what}: an array in Fortran's order is not read")
    if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{what}: {dtype}{list(shape)} declared, {len(body):,} bytes there")
    if dtype.kind == "U" and (np.frombuffer(body, np.uint32) > 0x10FFFF).any():
        raise ValueError(f"{what}: not a text")
    try:
        return np.frombuffer(body, dtype).reshape(shape)
    except Exception as error:  # nothing there, in a form that NumPy has not: [0, 2**70], 65 axes, "<U0"
        raise ValueError(f"{what}: {dtype}{list(shape)} is no array ({error})") from error


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    major, minor = np.lib.format.read_magic(stream)
    if (major, minor) == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if (major, minor) == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {major}.{minor}; 1.0 and 2.0 are read")


def names(kinds: str) -> str:
    """Returns for example "bool, int, float, str"."""
    return ", ".join(dict.fromkeys(_NAMES[kind] for kind in kinds))
