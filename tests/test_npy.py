"""NPY arrays from bytes that are not trusted: what is read, and a line with the file's name for all the rest."""

import io
import itertools
import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from nasjax import npy

KINDS = "biufU"
GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"


def written(array, version=None):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version, allow_pickle=False)
    return buffer.getvalue()


def raw(header, body=b"", version=(1, 0), length=None):
    """A file with any header, which may say that it is of another length."""
    length = len(header) if length is None else length
    size = struct.pack("<H" if version == (1, 0) else "<I", length)
    return b"\x93NUMPY" + bytes(version) + size + header.encode("latin1") + body


def declared(descr, shape, body=b"", fortran=False):
    return raw(repr({"descr": descr, "fortran_order": fortran, "shape": shape}), body)


def refusal(data, kinds=KINDS):
    with pytest.raises(ValueError, match=r"^") as caught:
        npy.read(data, "a.npy", kinds)
    message = str(caught.value)
    other = "object" not in message and ("are not read" in message or "Fortran" in message)
    assert type(caught.value) is (npy.OtherKindError if other else ValueError)
    assert message.startswith("a.npy: ")
    assert "\n" not in message
    assert len(message) < 200
    return message


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asarray(-3, np.int8),
        np.zeros((0, 2), np.uint32),
        np.array([True, False]),
        np.array(["|x~0|", "é"]),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_round_trip(array, version):
    found = npy.read(written(array, version), "a.npy", KINDS)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "EOF: reading magic string, expected 8 bytes got 0"),
        (b"\x93NUMPY\x01", "EOF: reading magic string"),
        (b"\x80\x04\x95a pickle, say", "the magic string is not correct"),
        (b"\x93NUMPY\x01\x00\x10", "EOF: reading array header length"),
        (raw(GOOD, length=500), "EOF: reading array header, expected 500 bytes got 55"),
        (raw(GOOD, version=(2, 0), length=2**32 - 1), "EOF: reading array header"),
        (raw(GOOD, version=(3, 0)), "version 3.0; 1.0 and 2.0 are read"),
        (raw(GOOD, version=(1, 7)), "version 1.7"),
        (raw(GOOD, version=(255, 255)), "version 255.255"),
        (raw("\x00"), ("Cannot parse header", "source code cannot contain null bytes")),
        (raw("[" + GOOD), ("EOF in multi-line statement", "unexpected EOF in multi-line statement")),
        (raw("(" * 3000), ""),
        (raw("-" * 9000 + "1"), ""),
        (raw("[]"), "Header is not a dictionary"),
        (raw("{[]: 1}"), "unhashable"),
        (raw("{1: 2, 'a': 3}"), ""),
        (raw("{'descr': '<f4'}"), "Header does not contain the correct keys"),
        (raw(GOOD.replace("2,", "1" + "0" * 5000 + ",")), "Cannot parse header"),
        (raw(GOOD.replace("(2,)", "'2'")), "shape is not valid"),
        (raw(GOOD.replace("False", "0")), "fortran_order is not a valid bool"),
        (raw(GOOD.replace("'<f4'", "'zz'")), "descr is not a valid dtype"),
        (raw(GOOD.replace("'<f4'", "('<f4',)")), "tuple index out of range"),
        (raw(GOOD + " " * 20_000), "Header info length"),
    ],
    ids=itertools.count(),  # the bytes are too long for names
)
def test_what_is_no_npy_file_is_called_so(data, reason):
    """In the words of NumPy, or of the Python that it calls: those differ between versions."""
    reasons = (reason,) if isinstance(reason, str) else reason
    assert refusal(data).startswith(tuple(f"a.npy: not an NPY file ({reason}" for reason in reasons))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (declared("|O", (1,), b"x" * 8), "arrays of object are not read; one of bool, int, float, str"),
        (declared(">f4", (2,), b"x" * 8), "arrays of >f4 are not read"),
        (declared("<M8[s]", (1,), b"x" * 8), "arrays of datetime64[s] are not read"),
        (declared("<c8", (1,), b"x" * 8), "arrays of complex64 are not read"),
        (declared([("a", "<f4")], (2,), b"x" * 8), "arrays of [('a', '<f4')] are not read"),
        (declared("<f4", (2, 1), b"x" * 8, fortran=True), "an array in Fortran's order"),
        (declared("<f8", (10**15,), b"x" * 8), "float64[1000000000000000] declared, 8 bytes there"),
        (declared("<f4", (2,), b"x" * 9), "float32[2] declared, 9 bytes there"),
        (declared("<f4", (-1,)), "float32[-1] declared"),
        (declared("<f4", (-1, -2), b"x" * 8), "float32[-1, -2] declared"),
        (declared("<U1", (1,), b"\xff" * 4), "not a text"),
        (declared("<f4", (0, 2**70)), "float32[0, 1180591620717411303424] is no array"),
        (declared("<f4", (0,) + (1,) * 64), "float32[0, 1"),
        (declared("<f4", (True,), b"x" * 4), "float32[True] is no array"),
        (declared("<U0", (3,)), "<U0[3] is no array"),
    ],
    ids=itertools.count(),  # the bytes are too long for names
)
def test_what_is_declared_is_not_believed(data, message):
    with pytest.raises(ValueError, match=r"^a\.npy: ") as caught:
        npy.read(data, "a.npy", KINDS)
    assert str(caught.value).startswith(f"a.npy: {message}")


def test_only_the_kinds_asked_for_are_read():
    data = written(np.zeros(2, np.float32))
    assert refusal(data, "iuU") == "a.npy: arrays of float32 are not read; one of int, str"
    assert npy.read(data, "a.npy", "f").tolist() == [0, 0]


def complaint(data):
    try:
        return f"a.npy: {npy.read(data, 'a.npy', KINDS)}"
    except ValueError as error:
        return str(error)


@hypothesis.given(place=st.integers(0, 135), byte=st.integers(0, 255), cut=st.integers(0, 136))
@pytest.mark.filterwarnings("ignore:Reading `.npy`")  # a byte may turn into an L, as Python 2 wrote
def test_any_byte_anywhere_is_an_array_or_a_refusal(place, byte, cut):
    data = bytearray(written(np.arange(2, dtype=np.float32)))
    assert len(data) == 136
    data[place] = byte
    for damaged in (bytes(data), bytes(data[:cut])):
        assert complaint(damaged).startswith("a.npy: ")
