"""Pickles are read, never run: what NATS-Bench's files hold comes out as Python's own reader gives it, all else is refused."""

import collections
import os
import pickle
import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from nasjax.tables.pickles import loads

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.text(), st.integers()), inner, max_size=4)
        | st.sets(st.integers(), max_size=4)
        | st.frozensets(st.text(), max_size=4)
    ),
    max_leaves=20,
)


@hypothesis.given(plain, st.sampled_from([4, 5]))
def test_data_come_back(data, protocol):
    assert loads(pickle.dumps(data, protocol), "it") == data


def numpys_own(data):
    """As NumPy 1 wrote it, whose module was called `numpy.core`."""
    return data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray").replace(
        b"\x8c\x16numpy.core.multiarray", b"\x8c\x15numpy.core.multiarray"
    )


@pytest.mark.parametrize(
    "value", [np.float64(0.25), np.float32(1.5), np.int64(-7), np.uint8(200), np.bool_(True), np.dtype(">i4").type(5)]
)
@pytest.mark.parametrize("protocol", [4, 5])
def test_numbers_of_numpy_become_pythons(value, protocol):
    found = loads(numpys_own(pickle.dumps([value, value], protocol)), "it")
    assert found == [value.item()] * 2
    assert type(found[0]) is type(value.item())


@pytest.mark.parametrize(("order", "expected"), [("<", 0x04030201), (">", 0x01020304)])
def test_byte_orders(order, expected):
    state = b"(K\x03" + word(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    kind = DTYPE + word("i4") + b"\x89\x88\x87R" + state
    assert loads(operations(SCALAR, kind, b"C\x04\x01\x02\x03\x04\x86R"), "it") == expected


def test_ordered_dicts_shared_objects_and_cycles():
    inner = collections.OrderedDict([(3, "x"), (1, "y")])
    found = loads(pickle.dumps({"a": inner, "b": inner}, 4), "it")
    assert found == {"a": {3: "x", 1: "y"}, "b": {3: "x", 1: "y"}}
    assert found["a"] is found["b"]
    cycle: list = []
    cycle.append(cycle)
    found = loads(pickle.dumps(cycle, 4), "it")
    assert found[0] is found


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, print, getattr, __import__, collections.namedtuple, np.load])
def test_nothing_is_called(tmp_path, protocol, function):
    made = tmp_path / "made"
    data = pickle.dumps({"x": [Runs(function, f"touch {made}")]}, protocol)
    with pytest.raises(
        ValueError, match=r"^it: byte \d+: (it asks for '.*', and nothing|instruction 0x\w\w is not read)"
    ):
        loads(data, "it")
    assert not made.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.arange(3),
        np.array(["x"], object),
        np.datetime64(1, "s"),
        object(),
        1j,
        range(3),
        Runs(os.getcwd),
        bytearray(3),
        slice(1),
    ],
)
def test_other_objects_are_refused(value):
    with pytest.raises(ValueError, match=r"^it: byte \d+: "):
        loads(numpys_own(pickle.dumps(value, 4)), "it")


def operations(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def word(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


DTYPE = word("numpy") + word("dtype") + b"\x93"
SCALAR = word("numpy.core.multiarray") + word("scalar") + b"\x93"
ORDERED = word("collections") + word("OrderedDict") + b"\x93"
F8 = DTYPE + word("f8") + b"\x89\x88\x87R"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged"),
        (b"\x80\x04", "damaged"),
        (b".", "damaged"),
        (operations(), "damaged"),
        (operations(ORDERED), "not data"),
        (operations(F8), "not data"),
        (operations(DTYPE, word("O"), b"\x85R"), "a call that makes no"),
        (operations(DTYPE, word("V8"), b"\x85R"), "a call that makes no"),
        (operations(DTYPE, b")R"), "a call that makes no"),
        (operations(SCALAR, F8, b"C\x04", bytes(4), b"\x86R"), "damaged"),  # four bytes for eight
        (operations(SCALAR, F8, b"N\x86R"), "damaged"),
        (operations(SCALAR, word("f8"), b"N\x86R"), "a call that makes no"),
        (operations(ORDERED, b"}\x85R"), "a call that makes no"),
        (operations(word("f8"), b")R"), "damaged"),  # calls a text
        (operations(ORDERED, b"}b"), "a state for something that has none"),
        (operations(ORDERED, b")R}b"), "a state for something that has none"),
        (operations(F8, b"}b"), "a state for something that has none"),
        (operations(word("a"), b"a"), "damaged"),  # appends to nothing
        (operations(word("a"), b"Na"), "damaged"),  # appends to a text
        (operations(b"}(N"), "damaged"),  # a mark and nothing more
        (operations(b"}(Nu"), "damaged"),
        (operations(b"}]Ns"), "damaged"),  # a list as a key
        (operations(b"h\x07"), "damaged"),  # what was never remembered
        (operations(b"N\x87"), "damaged"),
        (operations(b"u"), "damaged"),
        (operations(b"C\xff"), "cut off"),
        (operations(b"\x8e", struct.pack("<Q", 1 << 62)), "cut off"),  # bytes that a reader might allocate
        (operations(b"\x8d", struct.pack("<Q", 1 << 62)), "cut off"),
        (operations(b"\x96", struct.pack("<Q", 1 << 40)), "instruction 0x96 is not read"),
        (operations(b"X\x02\x00\x00\x00\xff\xfe"), "damaged"),  # no UTF-8
        (operations(word("a"), b"\x82\x01"), "instruction 0x82 is not read"),  # extension registry
        (operations(word("a"), b"Q"), "instruction 0x51 is not read"),  # persistent ids
        (operations(b"cnumpy\ncore\n"), "it asks for 'numpy.core'"),
        (operations(b"cnumpy\nload\n)R"), "it asks for 'numpy.load'"),
        (operations(b"(S'x'\no"), "instruction 0x53 is not read"),
        (b"\x93NUMPY", "damaged"),
    ],
)
def test_damaged_and_hostile_pickles(data, message):
    with pytest.raises(ValueError, match=rf"^it: byte \d+: .*{message}"):
        loads(data, "it")


def test_a_high_place_in_the_memo_takes_no_memory():
    """Python's own reader would take 64 GiB for this."""
    data = operations(b"Nr", struct.pack("<I", 0xFFFFFFFF))
    assert loads(data, "it") is None


def test_a_key_nested_very_deep_is_refused():
    """Its hash would overflow the stack of Python itself."""
    with pytest.raises(ValueError, match="damaged"):
        loads(operations(b"}", b")" + b"\x85" * 200_000, b"Ns"), "it")
    assert loads(operations(b")" + b"\x85" * 100_000), "it") is not None


@hypothesis.given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    for content in (data, b"\x80\x04" + data + b"."):
        try:
            loads(content, "it")
        except ValueError as error:
            assert str(error).startswith("it: byte ")  # noqa: PT017 - most bytes are refused, some are a pickle
