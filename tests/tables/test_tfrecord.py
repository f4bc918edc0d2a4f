"""NAS-Bench-101's own file: a small one in its published format, made here by an encoder that shares nothing with the reader."""

import base64
import json
import pathlib
import struct

import numpy as np
import pytest

from nasjax.tables import nasbench101_tfrecord, tfrecords
from nasjax.train.untrusted import BadFileError


def crc32c(data):
    """Bit by bit, Castagnoli's polynomial."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def masked(data):
    sum_ = crc32c(data)
    return struct.pack("<I", ((sum_ >> 15 | sum_ << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(content):
    length = struct.pack("<Q", len(content))
    return length + masked(length) + content + masked(content)


def varint(value):
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def evaluation(epoch, seconds, train, valid, test):
    numbers = enumerate((epoch, seconds, train, valid, test), 1)
    message = b"".join(bytes([number << 3 | 1]) + struct.pack("<d", value) for number, value in numbers)
    return message + b"\x32" + varint(4) + b"path"  # checkpoint_path, a text


def metrics(params, *evaluations):
    """ModelMetrics: evaluation_data = 1, trainable_parameters = 2, total_time = 3."""
    message = b"".join(b"\x0a" + varint(len(one)) + one for one in evaluations)
    return message + b"\x10" + varint(params) + b"\x19" + struct.pack("<d", 1234.5)


# Two published hashes and cells: input -> output, and row 0 of the whole table (its adjacency row by row)
ONE = ("hash", "0100", "input,output")
ROW0 = (
    "00005c142e6f48ac74fdcf73e3439874",
    "0100110" + "0010000" + "0001001" + "0000010" + "0000010" + "0000001" + "0000000",
    "input,conv3x3-bn-relu,maxpool3x3,conv3x3-bn-relu,conv3x3-bn-relu,conv1x1-bn-relu,output",
)


def record(cell, accuracy, seconds=100.0, params=8_555_530, epochs=108, hash_=None):
    """One training: figures that follow from one accuracy."""
    half = evaluation(epochs / 2, seconds / 2, accuracy, accuracy - 0.25, accuracy - 0.5)
    end = evaluation(epochs, seconds, accuracy + 0.1, accuracy, accuracy - 0.125)
    start = evaluation(0, 0.0, 0.1, 0.1, 0.1)
    content = base64.b64encode(metrics(params, start, half, end)).decode()
    return json.dumps([hash_ or cell[0], epochs, cell[1], cell[2], content]).encode()


def read(path) -> nasbench101_tfrecord.Columns:
    return nasbench101_tfrecord.read(pathlib.Path(path), str(path), lambda line: None)


def saved(path, *records):
    path.write_bytes(b"".join(map(framed, records)))
    return path


@pytest.fixture(scope="module")
def linear():
    from nasjax.spaces import nasbench101_hash

    matrix = np.array([[0, 1], [0, 0]])
    return (nasbench101_hash.hash_module(matrix, [-1, -2]), *ONE[1:])


@pytest.fixture(scope="module")
def fixture(tmp_path_factory, linear):
    """Two cells in turn, three trainings of 108 epochs each, and one of 4."""
    runs = [0.875, 0.75, 0.8125]
    records = [
        part for run in runs for part in (record(ROW0, run, 100 + run), record(linear, run / 2 + 0.25, params=227_274))
    ]
    return saved(tmp_path_factory.mktemp("tf") / "small.tfrecord", *records, record(ROW0, 0.625, 10.0, epochs=4))


def test_crc32c():
    """Of "123456789" the published check value, and texts of many lengths as the bitwise definition gives them."""
    assert crc32c(b"123456789") == 0xE3069283
    texts = [bytes(range(length)) for length in (9, 0, 1, 255, 9, 64, 3)]
    np.testing.assert_array_equal(tfrecords.crc32c(texts), [crc32c(text) for text in texts])
    assert tfrecords.crc32c([]).size == 0


def test_the_published_format(fixture):
    table = read(fixture)
    assert [table.archs.spec(row) for row in range(2)] == [
        "100110100001001010101:conv3x3-bn-relu,maxpool3x3,conv3x3-bn-relu,conv3x3-bn-relu,conv1x1-bn-relu",
        "1:",
    ]

    def figures(name, row=0):
        return float(table.column(name, "").values[row])

    assert figures("val_acc@108") == pytest.approx(81.25, abs=1e-9)
    assert [figures(f"val_acc@108:run{run}") for run in range(3)] == [87.5, 75, 81.25]
    assert [figures(f"test_acc@108:run{run}") for run in range(3)] == [75, 62.5, 68.75]
    assert figures("test_acc@108") == pytest.approx(68.75, abs=1e-9)
    assert figures("train_acc@108") == pytest.approx(91.25, abs=1e-9)
    assert figures("val_acc@54of108") == pytest.approx(56.25, abs=1e-9)
    assert figures("train_seconds@108") == pytest.approx(100.8125)
    assert figures("train_seconds@54of108") == pytest.approx(50.40625)
    assert figures("params") == 8_555_530
    assert figures("params", 1) == 227_274
    assert figures("val_acc@108", 1) == pytest.approx(65.625, abs=1e-9)
    np.testing.assert_array_equal(table.column("val_acc@4", "").there, [True, False])
    assert figures("val_acc@4") == 62.5
    assert table.column("val_acc@2of4", "").values[0] == 37.5
    assert table.facts.test == "test_acc@108"
    assert not table.facts.modelled


def test_any_changed_byte_is_found(fixture, tmp_path):
    data = fixture.read_bytes()
    for place in range(0, len(data), 41):
        changed = data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        path = tmp_path / "changed.tfrecord"
        path.write_bytes(changed)
        with pytest.raises(BadFileError, match=r"changed\.tfrecord: record \d+"):
            read(path)


def test_a_file_that_is_cut_off_names_the_record(fixture, tmp_path):
    data, first = fixture.read_bytes(), len(framed(record(ROW0, 0.875, 100.875)))
    path = tmp_path / "cut.tfrecord"
    for length in (first + 5, first + 12, first + 100, len(data) - 1):
        path.write_bytes(data[:length])
        number = 1 if length < 2 * first - 100 else 6
        with pytest.raises(BadFileError, match=rf"cut\.tfrecord: record {number}: the file is cut off"):
            read(path)
    path.write_bytes(struct.pack("<Q", 1 << 60) + bytes(8))
    with pytest.raises(
        BadFileError, match=r"record 0 declares 1,152,921,504,606,846,976 bytes; at most 65,536 are read"
    ):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(BadFileError, match="no records"):
        read(path)


def broken(**changes):
    """A record whose list has some parts replaced."""
    parts = dict(
        zip(("hash", "epochs", "adjacency", "operations", "metrics"), json.loads(record(ROW0, 0.5)), strict=True)
    )
    return json.dumps(list((parts | changes).values())).encode()


def base(message):
    return base64.b64encode(message).decode()


GOOD = evaluation(1, 1.0, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "not \\[hash, epochs"),
        (b"\xff", "codec can't decode"),
        (b"[" * 5000, "recursion"),
        (broken(epochs="108"), "not \\[hash, epochs"),
        (broken(epochs=True), "not \\[hash, epochs"),
        (broken(epochs=0), "0 epochs"),
        (broken(hash="0" * 32), "its cell has another hash than '000000"),
        (broken(adjacency=ROW0[1][::-1]), "an edge that leads back"),
        (broken(adjacency="01"), "an adjacency of 2 signs for 7 vertices"),
        (broken(adjacency="2" * 49), "an adjacency of 49 signs"),
        (
            broken(operations=ROW0[2].replace("maxpool3x3", "os.system")),
            "unknown operation 'os.system'; one of conv3x3-bn-relu",
        ),
        (broken(operations="input"), "operations 'input'"),
        (broken(operations="input," + "maxpool3x3," * 8 + "output"), "at most five others"),
        (broken(metrics="?"), "its metrics are no base64"),
        (broken(metrics=""), "0 evaluations and -1 parameters"),
        (broken(metrics=base(metrics(5, GOOD, GOOD))), "2 evaluations and 5 parameters"),
        (
            broken(metrics=base(metrics(5, GOOD, GOOD, evaluation(1, 1.0, 0.5, float("nan"), 0.5)))),
            "accuracies from 0 to 1",
        ),
        (broken(metrics=base(metrics(5, GOOD, evaluation(1, 1.0, 0.5, 1.5, 0.5), GOOD))), "accuracies from 0 to 1"),
        (broken(metrics=base(metrics(5, GOOD, GOOD, GOOD)[:-3])), "its metrics are cut off"),
        (broken(metrics=base(b"\x0a\xff\xff\xff\xff\x0fx")), "its metrics are cut off"),
        (broken(metrics=base(b"\xff" * 12)), "a number of more than ten bytes"),
        (broken(metrics=base(b"\x0b")), "a field of kind 3"),
        (broken(metrics=base(metrics(5, GOOD, GOOD) + b"\x08\x01")), "an evaluation that is no message"),
    ],
)
def test_bad_records_are_named(tmp_path, linear, content, message):
    with pytest.raises(BadFileError, match=rf"bad\.tfrecord: record 1: .*{message}"):
        read(saved(tmp_path / "bad.tfrecord", record(linear, 0.5), content))


def test_two_cells_under_one_hash_are_refused(tmp_path, linear):
    path = saved(tmp_path / "bad.tfrecord", record(linear, 0.5), record(linear, 0.5, params=7))
    with pytest.raises(BadFileError, match="record 1: another cell or size than before under the hash"):
        read(path)
    path = saved(tmp_path / "bad.tfrecord", *[record(linear, 0.5)] * 9)
    with pytest.raises(BadFileError, match="more than 8 trainings of one cell"):
        read(path)
