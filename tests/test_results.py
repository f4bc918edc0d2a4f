"""The rows of a sweep's results, from traces made by hand."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasjax import results
from nasjax.base import Graph
from nasjax.results import Best, Labels
from nasjax.scan import Trace
from nasjax.spaces.toy import Toy

SPACE = Toy()
LABELS = Labels("random", "toy", "first", "value")
NAN = float("nan")


def trace(ops, reward, valid, live, validation=None, test=None, cost=None):
    """A trace in NumPy; `ops` [S, T, 3] are the labels of the three edges, and stand for the keys too."""
    ops = np.asarray(ops, np.int32)
    edges = np.zeros((*ops.shape[:2], 3, 3), np.int32)
    edges[..., [0, 0, 1], [1, 2, 2]] = ops
    metrics = {name: np.asarray(x, np.float32) for name, x in (("validation", validation), ("test", test)) if x}
    number = (ops @ np.array([16, 4, 1])).astype(np.uint32)
    return Trace(
        archs=Graph(np.ones((*ops.shape[:2], 3), np.int32), edges),
        keys=np.stack([number // 32, number % 32], axis=-1).astype(np.uint32),
        reward=np.asarray(reward, np.float32),
        valid=np.asarray(valid, bool),
        live=np.asarray(live, bool),
        cost=np.ones(ops.shape[:2], np.float32) if cost is None else np.asarray(cost, np.float32),
        origin=np.zeros(ops.shape[:2], np.int32),
        metrics=metrics,
        info={},
    )


TRACE = trace(
    ops=[[[1, 2, 3], [3, 3, 3], [1, 2, 3], [0, 0, 0]], [[2, 2, 2], [1, 1, 1], [0, 1, 0], [3, 0, 0]]],
    reward=[[1, 3, 3, 9], [NAN, 2, 1, 4]],
    valid=[[1, 1, 1, 1], [0, 1, 1, 1]],
    live=[[1, 1, 1, 0], [1, 1, 1, 1]],
    validation=[[1.5, 2, 1.5, 9], [NAN, 2.5, 1, 3.5]],
    test=[[10, 20, 10, 99], [NAN, 30, 50, 40]],
    cost=[[1, 2, 3, 50], [1, 1, 1, 1]],
)


def test_rows_by_hand():
    """A noisy tie keeps the earlier incumbent; what is not live, not valid or repeated is told apart."""
    table = results.rows(SPACE, TRACE, [4, 9], 2, LABELS, Best(4, 50))
    assert table.schema.equals(results.SCHEMA)
    found = table.to_pydict()
    assert found["seed"] == [4, 4, 4, 9, 9, 9, 9]
    assert found["query"] == [1, 2, 3, 1, 2, 3, 4]
    assert found["step"] == [0, 0, 1, 0, 0, 1, 1]
    assert found["valid"] == [True] * 3 + [False, True, True, True]
    assert found["repeat"] == [False, False, True, False, False, False, False]
    assert found["architecture"][:2] == [
        "|skip_connect~0|+|nor_conv_1x1~0|nor_conv_3x3~1|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|",
    ]
    assert found["key_hi"] == [0, 1, 0, 1, 0, 0, 1]
    np.testing.assert_array_equal(found["signal"], [1, 3, 3, NAN, 2, 1, 4])
    np.testing.assert_array_equal(found["validation"], [1.5, 2, 1.5, NAN, 2.5, 1, 3.5])
    np.testing.assert_array_equal(found["test"], [10, 20, 10, NAN, 30, 50, 40])
    np.testing.assert_array_equal(found["incumbent_test"], [10, 20, 20, NAN, 30, 30, 40])
    np.testing.assert_array_equal(found["regret"], [2.5, 2, 2, NAN, 1.5, 1.5, 0.5])
    np.testing.assert_array_equal(found["test_regret"], [40, 30, 30, NAN, 20, 20, 10])
    assert found["cost_total"] == [1, 3, 6, 1, 2, 3, 4]
    assert set(found["method"]) == {"random"}


def test_without_columns_the_signal_is_the_validation():
    bare = TRACE._replace(metrics={})
    found = results.rows(SPACE, bare, [0, 1], 1, LABELS, Best(NAN, NAN)).to_pydict()
    np.testing.assert_array_equal(found["validation"], found["signal"])
    assert np.isnan(found["test"]).all()
    assert np.isnan(found["regret"]).all()


def test_incumbents_of_random_searches():
    """Against a loop."""
    rng = np.random.default_rng(0)
    signal = rng.integers(0, 4, (50, 12)).astype(np.float32)
    usable = rng.random((50, 12)) < 0.7
    found = results.incumbents(signal, usable)
    for row in range(50):
        best = -1
        for place in range(12):
            if usable[row, place] and (best < 0 or signal[row, place] > signal[row, best]):
                best = place
            assert found[row, place] == best


def test_joined_rows_are_sorted_and_equal_bytes_whatever_the_order():
    one = results.rows(SPACE, TRACE, [4, 9], 2, LABELS, Best(4, 50))
    two = results.rows(SPACE, TRACE, [2, 0], 2, LABELS._replace(method="cem"), Best(4, 50))
    three = results.rows(SPACE, TRACE, [1, 3], 2, LABELS._replace(task="another"), Best(4, 50))
    whole = results.join([one, two, three])
    assert results.pack(whole) == results.pack(results.join([three, one, two]))
    keys = list(
        zip(*(whole[name].to_pylist() for name in ("method", "task", "signal_name", "seed", "query")), strict=True)
    )
    assert keys == sorted(keys)
    assert len(whole) == 21
    again, about = results.unpack(results.pack(whole, {"sweep": "abc"}))
    assert results.pack(again) == results.pack(whole)
    assert again.schema.equals(whole.schema)
    assert about["sweep"] == "abc"


@pytest.mark.parametrize("data", [b"", b"PAR1" * 10, results.pack(results.SCHEMA.empty_table())[:-9]])
def test_damaged_files_are_refused(data):
    with pytest.raises(ValueError, match="no Parquet file"):
        results.unpack(data)


def test_other_columns_are_refused():
    other = results.SCHEMA.empty_table().drop_columns(["seed"])
    with pytest.raises(ValueError, match="not those of a sweep's results"):
        results.unpack(results.pack(other))
    wrong = results.SCHEMA.empty_table().set_column(4, "seed", pa.array([], pa.int64()))
    with pytest.raises(ValueError, match="not those of a sweep's results"):
        results.unpack(results.pack(wrong))


@pytest.mark.parametrize("said", [3, -3])
def test_a_group_that_says_that_it_is_shorter_is_refused(said):
    """The footer has no checksum; its whole numbers are zigzag varints, here of two bytes."""
    sink = io.BytesIO()
    one = pa.Table.from_pylist([dict.fromkeys(results.SCHEMA.names)], schema=results.SCHEMA)
    pq.write_table(one.take(pa.array([0] * 720)), sink, row_group_size=500, write_page_checksum=True)
    data = sink.getvalue()

    def varint(number: int) -> bytes:
        zigzag = number * 2 if number >= 0 else -number * 2 - 1
        return bytes([zigzag & 127 | 128, zigzag >> 7])

    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    places = [place for place in range(footer, len(data)) if data.startswith(varint(220), place)]
    assert len(results.unpack(data)[0]) == 720
    outcomes = []
    for place in places:  # the group's own count, and those of its columns, which need not be true
        try:
            outcomes.append(len(results.unpack(data[:place] + varint(said) + data[place + 2 :])[0]))
        except ValueError as error:
            outcomes.append(str(error))
    assert f"{500 + said:,} rows in place of the 720 that it declares" in outcomes
    assert {count for count in outcomes if isinstance(count, int)} <= {720}


def test_a_small_file_that_would_fill_the_memory_is_refused(monkeypatch):
    """Equal rows take next to nothing in a file."""
    one = pa.Table.from_pylist([dict.fromkeys(results.SCHEMA.names)], schema=results.SCHEMA)
    data = results.pack(one.take(pa.array([0] * 1000)))
    assert len(results.unpack(data)[0]) == 1000
    monkeypatch.setattr("nasjax.results._MOST_BYTES", 50_000)
    with pytest.raises(ValueError, match=r"1,000 rows, .* bytes: too large for this machine's memory"):
        results.unpack(data)
