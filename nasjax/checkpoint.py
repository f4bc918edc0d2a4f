"""Arrays and pytrees in NPZ files that are the same bytes for the same content, and that are not trusted when read.

`numpy.savez` leaves the archive's dates to the Python version, and `numpy.load` trusts the sizes that a header declares
and keeps no digest. Files written here open with `numpy.load(..., allow_pickle=False)`.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from nasjax import npy
from nasjax.base import PyTree

Arrays = dict[str, npt.NDArray[Any]]
"""Arrays by name."""

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can hold
_KINDS = "biufU"  # booleans, integers, floats, strings: nothing that could hold an object
_DIGEST = "digest"


class DamagedError(ValueError):
    """A file's content is not what was written."""


def pack(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Returns an NPZ archive of `arrays` and of a digest over them. Same arrays in the same order, same bytes.

    Raises:
      ValueError: an array of a kind that is not stored, such as objects.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in [*arrays.items(), (_DIGEST, np.frombuffer(digest(arrays), np.uint8))]:
            if array.dtype.kind not in _KINDS:
                raise ValueError(f"{name}: arrays of {array.dtype} cannot be stored; one of {npy.names(_KINDS)}")
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            entry = zipfile.ZipInfo(name + ".npy", _DATE)
            entry.create_system = 3  # the same on every platform
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def unpack(data: bytes) -> Arrays:
    """Returns the arrays of an archive that `pack` made.

    Nothing is executed, and nothing larger than the file is ever allocated.

    Raises:
      DamagedError: saying what is wrong.
    """
    try:
        arrays = _members(data)
    except DamagedError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds, from struct.error to NotImplementedError
        raise DamagedError(f"not an NPZ archive ({type(error).__name__}: {error})") from error
    stored = arrays.pop(_DIGEST, None)
    if stored is None or stored.tobytes() != digest(arrays):
        raise DamagedError("its digest does not fit its content")
    return arrays


def digest(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Returns 32 bytes that depend on the names, types, shapes and values of `arrays`, in their order."""
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(np.asarray(array, order="C").tobytes())
    return total.digest()


def leaves(tree: PyTree) -> Arrays:
    """Returns a pytree's leaves by path, typed keys as their data, on the host.

    Raises:
      ValueError: two leaves have the same path.
    """
    arrays: Arrays = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path)
        if name in arrays:
            raise ValueError(f"two leaves of the state are called {name!r}")
        array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        # bfloat16 and its like have no name in the NPY format: their bits are stored
        arrays[name] = array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array
    return arrays


def restore(template: PyTree, arrays: Mapping[str, npt.NDArray[Any]]) -> PyTree:
    """Returns a pytree like `template` (arrays; its values are not used) with leaves from `arrays`.

    Raises:
      DamagedError: a leaf is missing, or one too many, or has another shape or dtype.
    """
    expected = leaves(template)
    if expected.keys() != arrays.keys():
        different = sorted(expected.keys() ^ arrays.keys())
        raise DamagedError(f"it holds other leaves than this program's state: {', '.join(different[:3])}")
    restored = []
    for (name, like), leaf in zip(expected.items(), jax.tree.leaves(template), strict=True):
        array = arrays[name]
        if (array.shape, array.dtype) != (like.shape, like.dtype):
            found, wanted = f"{array.dtype}{list(array.shape)}", f"{like.dtype}{list(like.shape)}"
            raise DamagedError(f"leaf {name} is {found}, this program's state has {wanted}")
        if _is_key(leaf):
            restored.append(jax.random.wrap_key_data(jax.numpy.asarray(array), impl=jax.random.key_impl(leaf)))
        else:
            restored.append(jax.numpy.asarray(array.view(leaf.dtype)))
    return jax.tree.unflatten(jax.tree.structure(template), restored)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _members(data: bytes) -> Arrays:
    arrays: Arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > len(data):  # also stops members that overlap
            raise DamagedError("it declares more bytes than it has")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DamagedError(f"{name} is compressed, which nasjax never writes")
            if name in arrays:
                raise DamagedError(f"{name} stands in it twice")
            try:
                arrays[name] = npy.read(archive.read(entry), name, _KINDS)
            except ValueError as error:
                raise DamagedError(str(error)) from error
    return arrays
