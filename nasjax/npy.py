"""NPY arrays from bytes that are not trusted.

`numpy.load` allocates what a header declares before it looks whether it is there, and reads kinds that nobody asked for.
"""

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

_NAMES = {"b": "bool", "i": "int", "u": "int", "f": "float", "U": "str"}


def read(data: bytes, what: str, kinds: str) -> npt.NDArray[Any]:
    """Returns the array of an NPY file's bytes; nothing is executed, and nothing larger than `data` is allocated.

    Args:
      data: the whole file.
      what: its name, for errors.
      kinds: NumPy's letters of the kinds that are read, of "biufU".

    Raises:
      ValueError: saying what is wrong with `what`.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"{what}: NPY version {version}")
    shape, fortran, dtype = header(stream)
    body = data[stream.tell() :]
    if dtype.hasobject or dtype.kind not in kinds or fortran or not dtype.isnative:
        raise ValueError(f"{what}: arrays of {dtype} are not read; one of {names(kinds)}")
    if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{what}: {dtype}{list(shape)} declared, {len(body):,} bytes there")
    if dtype.kind == "U" and (np.frombuffer(body, np.uint32) > 0x10FFFF).any():
        raise ValueError(f"{what}: not a text")
    return np.frombuffer(body, dtype).reshape(shape)


def names(kinds: str) -> str:
    """Returns for example "bool, int, float, str"."""
    return ", ".join(dict.fromkeys(_NAMES[kind] for kind in kinds))
