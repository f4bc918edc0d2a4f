"""NPZ files: same content, same bytes; nothing that a hostile or damaged file says is believed."""

import io
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import checkpoint
from nasjax.checkpoint import DamagedError

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "texts": np.array(["|x~0|", "é"]),
    "scalar": np.asarray(3, np.int32),
    "none": np.zeros((0, 2), np.uint32),
    "flags": np.array([True, False]),
}


def archive(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members:
            file.writestr(zipfile.ZipInfo(name) if compression == zipfile.ZIP_STORED else name, data)
    return buffer.getvalue()


def npy(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def declared(shape, descr, body=b""):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": descr})
    return buffer.getvalue() + body


def test_round_trip_and_numpy_can_read_it():
    data = checkpoint.pack(ARRAYS)
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        assert loaded.files == [*ARRAYS, "digest"]
    for arrays in (checkpoint.unpack(data), dict(np.load(io.BytesIO(data)))):
        for name, array in ARRAYS.items():
            assert arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(arrays[name], array)


def test_the_bytes_hold_no_clock(monkeypatch):
    data = checkpoint.pack(ARRAYS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 0, 0, 0))
    assert checkpoint.pack({name: array.copy() for name, array in ARRAYS.items()}) == data


def test_a_flipped_bit_is_found_or_harmless():
    """Every byte in turn: either the file does not open, or its arrays are the same (a date, a reserved field)."""
    data = checkpoint.pack({"a": ARRAYS["a"], "scalar": ARRAYS["scalar"]})
    harmless = 0
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        try:
            arrays = checkpoint.unpack(bytes(flipped))
        except DamagedError:
            continue
        harmless += 1
        assert arrays.keys() == {"a", "scalar"}
        np.testing.assert_array_equal(arrays["a"], ARRAYS["a"])
    assert harmless < len(data) / 4


@pytest.mark.parametrize("length", [0, 1, 22, 100, -1])
def test_truncated(length):
    with pytest.raises(DamagedError, match="not an NPZ archive"):
        checkpoint.unpack(checkpoint.pack(ARRAYS)[:length])


def never_run():
    raise AssertionError("a pickle was executed")


class Hostile:
    def __reduce__(self):
        return (never_run, ())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive([("a.npy", npy(np.array([Hostile()], object), allow_pickle=True))]), "arrays of object"),
        (archive([("a.npy", pickle.dumps(Hostile()))]), r"^a: not an NPY file \(the magic string"),
        (archive([("a.npy", declared((10**15,), "<f8", b"x" * 8))]), "declared, 8 bytes there"),
        (archive([("a.npy", declared((2,), ">f4", b"x" * 8))]), "arrays of"),
        (archive([("a.npy", declared((1,), "<M8[s]", b"\0" * 8))]), "arrays of"),
        (archive([("a.npy", npy(np.zeros(10_000)))], zipfile.ZIP_DEFLATED), "declares more bytes|compressed"),
        (archive([("a.npy", npy(np.zeros(1)))]), "digest"),
        (b"", "not an NPZ archive"),
        (b"PK\x05\x06" + b"\xff" * 18, "not an NPZ archive"),
    ],
)
def test_hostile(data, message):
    with pytest.raises(DamagedError, match=message):
        checkpoint.unpack(data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_twice():
    with pytest.raises(DamagedError, match="twice"):
        checkpoint.unpack(archive([("a.npy", npy(np.zeros(1))), ("a.npy", npy(np.zeros(1)))]))


def test_objects_are_not_written():
    with pytest.raises(ValueError, match="a: arrays of object"):
        checkpoint.pack({"a": np.array([None])})


def tree():
    return {
        "key": jax.random.key(1),
        "keys": jax.random.split(jax.random.key(2, impl="rbg"), 3),
        "half": jnp.arange(3, dtype=jnp.bfloat16),
        "nested": (jnp.float32(2), [jnp.zeros((2, 0), jnp.int32)]),
        "a['b']": jnp.uint32(7),
    }


def test_tree_round_trip_with_typed_keys():
    stored = checkpoint.unpack(checkpoint.pack(checkpoint.leaves(tree())))
    template = jax.tree.map(lambda leaf: leaf, tree()) | {"half": jnp.zeros(3, jnp.bfloat16)}
    restored = checkpoint.restore(template, stored)
    assert jax.tree.structure(restored) == jax.tree.structure(tree())
    for new, old in zip(jax.tree.leaves(restored), jax.tree.leaves(tree()), strict=True):
        assert new.dtype == old.dtype
        if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
            new, old = jax.random.key_data(new), jax.random.key_data(old)
        np.testing.assert_array_equal(np.asarray(new), np.asarray(old))


def test_other_leaves_are_named():
    stored = checkpoint.leaves({"a": jnp.zeros(3), "b": jnp.zeros(2)})
    with pytest.raises(DamagedError, match=r"\['b'\]"):
        checkpoint.restore({"a": jnp.zeros(3)}, stored)
    with pytest.raises(DamagedError, match=r"leaf \['b'\] is float32\[2\], this program's state has int32\[2\]"):
        checkpoint.restore({"a": jnp.zeros(3), "b": jnp.zeros(2, jnp.int32)}, stored)
    with pytest.raises(DamagedError, match=r"leaf \['a'\] is float32\[3\]"):
        checkpoint.restore({"a": jnp.zeros(4), "b": jnp.zeros(2)}, stored)
