"""Files of tables: what is read from them, and that whatever is wrong is refused by name, with the row."""

import decimal
import io
import json
import pathlib
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cells import CELLS, ROWS, csv, figure

from nasjax.tables import opening, writing
from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, Facts, given
from nasjax.train.untrusted import BadFileError


def read(path) -> Columns:
    return opening.read(pathlib.Path(path), str(path))


def saved(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def mine(tmp_path):
    return csv(tmp_path / "mine.csv")


# CSV


def test_csv(mine):
    table = read(mine)
    assert [table.archs.spec(row) for row in range(len(table))] == [CELLS[row] for row in ROWS]
    np.testing.assert_array_equal(table.column("val_acc", "").values, [figure(row) for row in ROWS])
    assert table.column("test_acc", "").there.all()
    assert (table.place(0), table.place(29)) == ("line 2", "line 31")
    assert (table.tasks, table.names("")) == ((), ("val_acc", "test_acc"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_of_other_programs(mine, tmp_path, end):
    """A byte order mark, any line ends, even mixed, blanks, blank lines, quotes, no end of the last line: the same table."""
    lines = pathlib.Path(mine).read_text().splitlines()
    lines[3] = ", ".join(f'"{field}"' for field in lines[3].split(","))
    text = "\ufeff" + end.join(lines[:20]) + "\n" + end + end.join(lines[20:])
    other = read(saved(tmp_path / "other.csv", text))
    np.testing.assert_array_equal(other.column("val_acc", "").values, read(mine).column("val_acc", "").values)
    assert other.archs == read(mine).archs


def test_places_without_figures_and_columns_without_numbers(tmp_path):
    text = f"arch,val_acc,note,later\n{CELLS[0]},,good,\n{CELLS[1]},1e1,,\n"
    table = read(saved(tmp_path / "t.csv", text))
    assert table.names("") == ("val_acc", "later")
    np.testing.assert_array_equal(table.column("val_acc", "").there, [False, True])
    np.testing.assert_array_equal(table.column("val_acc", "").values, [np.nan, 10])
    assert not table.column("later", "").there.any()
    assert table.left_out == {"note": "text (line 2: 'good')"}
    with pytest.raises(ValueError, match=r"t\.csv: column note is text \(line 2: 'good'\)"):
        table.column("note", "")


def test_a_column_of_decimal_commas_is_named_with_a_line(tmp_path):
    text = f'arch,val_acc\n{CELLS[0]},\n{CELLS[1]},"0,5"\n'
    table = read(saved(tmp_path / "t.csv", text))
    with pytest.raises(ValueError, match=r"val_acc is text \(line 3: '0,5'; numbers have a point, no comma\)"):
        table.column("val_acc", "")


def test_blank_lines_before_the_header(tmp_path):
    table = read(saved(tmp_path / "t.csv", f"\n\r\n{HEADER}\n{CELLS[0]},1\n"))
    assert (len(table), table.place(0)) == (1, "line 5")


HEADER = "arch,val_acc\n"
BAD_CSV = {
    "empty": ("", "no column 'arch'; there are none"),
    "no rows": (HEADER, "no rows"),
    "no arch": ("cell,val_acc\nx,1\n", "no column 'arch'; there are cell, val_acc"),
    "semicolons": ("arch;val_acc\nx;1\n", "columns are separated by commas"),
    "column twice": ("arch,a,a\nx,1,2\n", "column 'a' stands in it twice"),
    "too many columns": ("arch," + ",".join(map(str, range(10_000))) + "\n", "10,001 columns; at most 10,000"),
    "column without a name": ("arch,,a\nx,1,2\n", "column 2 is called ''"),
    "control characters": ("arch,\x1b[2J\nx,1\n", r"column 2 is called '\\x1b\[2J'"),
    "too many fields": (
        f"{HEADER}{CELLS[0]},1\n{CELLS[1]},1,5\n",
        "line 3: 3 fields, the first line has 2; an architecture",
    ),
    "too few": (f"{HEADER}{CELLS[0]},1\n\n{CELLS[1]}\n", "line 4: 1 fields, the first line has 2"),
    "no architecture": (f"{HEADER}{CELLS[0]},1\n ,2\n", "line 3: no architecture"),
    "open quote": (f'{HEADER}{CELLS[0]},1\n"{CELLS[1]},2\n', "line 3: unexpected end of data; a double quote"),
    "open quote in the first line": ('\n\n"arch,val_acc\nx,1\n', "line 3: unexpected end of data; a double quote"),
    "open quote long before the end": (f'{HEADER}"{CELLS[0]},1\n{CELLS[1]},2\n{CELLS[2]},3\n', "line 2: unexpected"),
    "utf-16": (HEADER.encode("utf-16"), "line 1: UTF-16; save it as UTF-8"),
    "latin-1": (HEADER.encode() + b"x,1\n\xe9,2\n", "line 3: a byte 0xe9 that is no UTF-8"),
    "zeros": (b"\0" * 100, "column 1 is called"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_csv_is_refused(tmp_path, name):
    text, message = BAD_CSV[name]
    with pytest.raises(BadFileError, match=message) as caught:
        read(saved(tmp_path / "bad.csv", text))
    assert str(caught.value).startswith(str(tmp_path / "bad.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nan", "line 3: val_acc is nan; an empty place says"),
        ("-inf", "line 3: val_acc is -inf"),
        ("1e999", "line 3: val_acc is inf"),
        ("-1e39", r"line 3: val_acc is -1e\+39; beyond float32"),
        ("2e38", r"line 3: val_acc is 2e\+38; beyond float32"),  # of which differences are to be taken
        ("1e-40", "line 3: val_acc is 1e-40; beyond float32"),
        ("NA", "line 3: val_acc is 'NA', which is no number"),
        ("1_000", "line 3: val_acc is '1_000'"),
        ('"93,5"', "line 3: val_acc is '93,5'"),
        ("0x10", "line 3: val_acc is '0x10'"),
        ("\u0661", "line 3: val_acc is '.u0661'"),
    ],
)
def test_what_is_no_figure_is_named_with_its_line(tmp_path, text, message):
    table = read(saved(tmp_path / "t.csv", f"{HEADER}{CELLS[0]},1\n{CELLS[1]},{text}\n"))
    with pytest.raises(ValueError, match=message):
        table.column("val_acc", "")


def test_unknown_columns_and_tasks_name_what_there_is(tmp_path):
    text = f"arch,a/val_acc@12,a/val_acc@12:run0,b/val_acc@12,params\n{CELLS[0]},1,2,3,4\n"
    table = read(saved(tmp_path / "t.csv", text))
    assert table.tasks == ("a", "b")
    assert table.names("a") == ("val_acc@12", "val_acc@12:run0", "params")
    assert table.column("val_acc@12", "b").values == [3]
    assert table.column("params", "b").values == [4]
    assert [run.values for run in table.runs("val_acc@12", "a")] == [[2]]
    with pytest.raises(
        ValueError,
        match=r"no column 'val_acc@1' of the task 'b', did you mean val_acc@12\?; there are val_acc@12, params",
    ):
        table.column("val_acc@1", "b")
    with pytest.raises(ValueError, match=r"t.csv: which task\? one of a, b"):
        table.task("")
    with pytest.raises(ValueError, match="no task 'c'; one of a, b"):
        table.task("c")


# Parquet and NPZ


def small_table():
    """Three rows, two columns of which one has an empty place, and facts."""
    loaders = {"x/val_acc@12": given([1.5, 2, 3]), "seconds": given([7, 8, 9], np.array([True, False, True]))}
    facts = Facts(
        space="nasbench201", unit="percent", signal="val_acc@12", modelled=("val_acc@12",), single=("x/val_acc@12",)
    )
    return Columns("small", "CSV", Specs(tuple(CELLS[:3])), loaders, facts)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_what_is_written_is_read(tmp_path, suffix):
    written = small_table()
    path = tmp_path / f"t{suffix}"
    writing.write_table(written, path)
    table = read(path)
    assert (table.archs, table.facts) == (written.archs, written.facts)
    assert set(table.loaders) == set(written.loaders)
    for name in table.loaders:
        for found, expected in zip(table.column(name, ""), written.column(name, ""), strict=True):
            np.testing.assert_array_equal(found, expected)
    again = tmp_path / f"again{suffix}"
    writing.write_table(written, again)
    assert again.read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="is there already"):
        writing.write_table(written, path)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_large_whole_numbers_are_written_as_they_are(tmp_path, suffix):
    """Up to 2**63 as integers, above rounded to float32; what no float32 holds is refused before anything is written."""
    figures = [3.0, float(1 << 40), 0.0]
    loaders = {"long": given(figures), "huge": given([1e30, 2.0, 0.0])}
    path = tmp_path / f"t{suffix}"
    writing.write_table(Columns("t", "CSV", Specs(tuple(CELLS[:3])), loaders), path)
    table = read(path)
    assert table.column("long", "").values.tolist() == figures
    np.testing.assert_allclose(table.column("huge", "").values, [1e30, 2, 0], rtol=1e-7)
    beyond = Columns("t", "CSV", Specs(tuple(CELLS[:3])), {"seconds": given([1.0, 1e300, 2.0])})
    with pytest.raises(ValueError, match=r"t: row 1: seconds is 1e\+300; beyond float32"):
        writing.write_table(beyond, tmp_path / f"u{suffix}")
    assert not (tmp_path / f"u{suffix}").exists()


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_a_damaged_file_is_refused(tmp_path, suffix):
    """Cut at several places, and each of some bytes changed: refused by name, or the very same table."""
    path = tmp_path / f"t{suffix}"
    writing.write_table(small_table(), path)
    data = path.read_bytes()
    for length in (0, 1, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(BadFileError, match=r"t2\."):
            read(saved(tmp_path / f"t2{suffix}", data[:length]))
    refused = 0
    for place in range(4, len(data), 23):
        changed = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        path = saved(tmp_path / f"t3{suffix}", changed)
        try:
            table = read(path)
        except BadFileError as error:
            refused += str(error).startswith(str(path))
        else:
            assert len(table) == 3
    assert refused > len(data) // 23 // 4


def parquet(path, **columns):
    metadata = columns.pop("metadata", None)
    pq.write_table(pa.table(columns, metadata=metadata), path)
    return path


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"arch": [1, 2], "a": [1.0, 2.0]}, "its architectures are int64, not strings"),
        ({"cell": ["x"], "a": [1.0]}, "no column 'arch'; there are cell, a"),
        ({"arch": ["x", None], "a": [1.0, 2.0]}, "row 1: no architecture"),
        ({"arch": pa.array([], pa.string()), "a": pa.array([], pa.float64())}, "no rows"),
        ({"arch": ["x"], "a": [1.0], "metadata": {"nasjax": "[]"}}, "metadata are no mapping"),
        ({"arch": ["x"], "a": [1.0], "metadata": {"nasjax": '{"space": 3}'}}, "metadata say 'space' in a form"),
        ({"arch": ["x"], "a": [1.0], "metadata": {"nasjax": "{"}}, "t.parquet: "),
        ({"arch": ["x"], "a": [1.0], "metadata": {"nasjax": '{"unit": "miles"}'}}, "say unit 'miles'; one of percent"),
        ({"arch": [["x"]], "a": [1.0]}, "t.parquet: "),
    ],
)
def test_bad_parquet_is_refused(tmp_path, columns, message):
    with pytest.raises(BadFileError, match=message):
        read(parquet(tmp_path / "t.parquet", **columns))


def test_nan_and_null_of_parquet_are_told_apart(tmp_path):
    path = parquet(
        tmp_path / "t.parquet", arch=CELLS[:3], a=[1.0, None, 2.0], b=[1.0, float("nan"), 2.0], text=["x", "y", "z"]
    )
    table = read(path)
    assert table.names("") == ("a", "b")
    assert table.left_out == {"text": "string"}
    np.testing.assert_array_equal(table.column("a", "").there, [True, False, True])
    with pytest.raises(ValueError, match=r"t.parquet: row 1: b is nan"):
        table.column("b", "")


def test_decimals_and_long_integers_of_parquet_are_figures(tmp_path):
    decimals = pa.array([decimal.Decimal("93.25"), None], pa.decimal128(6, 2))
    table = read(parquet(tmp_path / "t.parquet", arch=CELLS[:2], a=decimals, b=pa.array([1 << 60, 3], pa.int64())))
    assert table.column("a", "").values[0] == 93.25
    assert table.column("a", "").there.tolist() == [True, False]
    assert table.column("b", "").values.tolist() == [2.0**60, 3]


def npz(path, **members):
    """An archive of raw members: arrays, or bytes as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if isinstance(content, np.ndarray):
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, content, allow_pickle=True)
                content = buffer.getvalue()
            archive.writestr(name + ".npy", content)
    return path


def declared(shape, dtype="<f8"):
    """An NPY header that declares an array, and eight bytes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)


SPECS = np.array(CELLS[:2])


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (np.array([b"x", b"y"]), r"of another kind (arrays of |S1 are not read; one of bool, int, float, str)"),
        (np.array([1, 2], "M8[D]"), "of another kind (arrays of datetime64[D] are not read"),
        (np.ones(2, complex), "of another kind (arrays of complex128 are not read"),
        (np.ones((3, 2)).T, "of another kind (an array in Fortran's order is not read)"),
        (np.ones((2, 3)), "float64[2, 3], not a figure a row"),
        (np.ones(3), "float64[3], not a figure a row"),
    ],
)
def test_other_arrays_are_left_out_and_listed(tmp_path, other, what):
    table = read(npz(tmp_path / "t.npz", arch=SPECS, a=np.ones(2), other=other))
    assert table.names("") == ("a",)
    assert table.left_out["other"].startswith(what)


@pytest.mark.parametrize("column", ["file", "allow_pickle", "args", "self", "cifar10/val_acc@12"])
def test_a_column_may_have_any_name(tmp_path, column):
    loaders = {column: given([1.0, 2.5, 3.0])}
    writing.write_table(Columns("t", "CSV", Specs(tuple(CELLS[:3])), loaders), tmp_path / "t.npz")
    np.testing.assert_array_equal(read(tmp_path / "t.npz").loaders[column]().values, [1.0, 2.5, 3.0])


def test_a_column_with_the_name_of_the_facts_is_not_lost(tmp_path):
    table = Columns("t", "CSV", Specs(tuple(CELLS[:3])), {"nasjax": given(np.ones(3))})
    with pytest.raises(
        ValueError, match=r"t: column nasjax: an NPZ table keeps its facts under that name; write .parquet"
    ):
        writing.write_table(table, tmp_path / "t.npz")
    writing.write_table(table, tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").names("") == ("nasjax",)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"arch": SPECS, "a": np.array([1, "x"], object)}, "array a: arrays of object are not read"),
        ({"arch": np.array(CELLS[:2], object), "a": np.ones(2)}, "array arch: arrays of object are not read"),
        ({"arch": np.array([b"x", b"y"]), "a": np.ones(2)}, r"array arch: arrays of \|S1 are not read"),
        ({"arch": SPECS, "a": declared((1 << 40,))}, r"array a: float64\[1099511627776\] declared, 8 bytes there"),
        ({"arch": SPECS, "a": declared((-1,))}, "array a: .* declared"),
        ({"arch": SPECS, "a": declared((1,), "|O")}, "array a: arrays of object are not read"),
        ({"arch": SPECS.reshape(2, 1), "a": np.ones(2)}, r"array arch: \[2, 1\], expected one row an architecture"),
        ({"cell": SPECS}, "no array 'arch'; there are cell"),
        ({"arch": np.array([CELLS[0], ""]), "a": np.ones(2)}, "row 1: no architecture"),
        ({"arch": SPECS, "nasjax": np.array("{"), "a": np.ones(2)}, "t.npz: "),
        ({"arch": SPECS, "a": b"no array"}, "t.npz: "),
        ({"arch": SPECS, "nasjax": np.array('{"empty": 5}'), "a": np.ones(2)}, "metadata say 'empty' in a form"),
    ],
)
def test_bad_npz_is_refused(tmp_path, members, message):
    with pytest.raises(BadFileError, match=message):
        read(npz(tmp_path / "t.npz", **members))


def test_npz_of_others(tmp_path):
    """Arrays of other lengths are left out; NaN is a mistake unless the metadata say that it is an empty place."""
    path = npz(tmp_path / "t.npz", arch=SPECS, a=np.array([1.5, np.nan]), other=np.ones(5), square=np.ones((2, 2)))
    assert read(path).names("") == ("a",)
    assert read(path).left_out["other"] == "float64[5], not a figure a row"
    with pytest.raises(ValueError, match="row 1: a is nan"):
        read(path).column("a", "")
    path = npz(tmp_path / "u.npz", arch=SPECS, a=np.array([1.5, np.nan]), nasjax=np.array(json.dumps({"empty": ["a"]})))
    assert read(path).column("a", "").there.tolist() == [True, False]


def test_members_that_point_elsewhere_lead_nowhere(tmp_path):
    with zipfile.ZipFile(npz(tmp_path / "t.npz", arch=SPECS, a=np.ones(2)), "a") as archive:
        archive.writestr("../outside.npy", b"x")
        archive.writestr("/etc/outside", b"x")
    with pytest.raises(BadFileError, match=r"t\.npz"):  # it is no array, and never a file
        read(tmp_path / "t.npz")
    assert not list(tmp_path.parent.glob("outside*"))


# finding


def test_a_file_is_looked_for_here_then_in_the_data_folder(tmp_path, monkeypatch, mine):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NASJAX_DATA", raising=False)
    assert opening.find("mine.csv") == pathlib.Path("mine.csv")
    with pytest.raises(
        FileNotFoundError,
        match=r"no table 'other\.csv' here, and NASJAX_DATA, the folder of published tables, is not set",
    ):
        opening.find("other.csv")
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("NASJAX_DATA", str(folder))
    with pytest.raises(FileNotFoundError, match="here, and NASJAX_DATA is "):
        opening.find("other.csv")
    csv(folder / "other.csv")
    assert opening.find("other.csv") == folder / "other.csv"
    with pytest.raises(FileNotFoundError, match="no table 'no_such_table' in the package"):
        opening.find("no_such_table")


@pytest.mark.parametrize("name", ["", "a\0b.csv", "x" * 5000])
def test_names_that_are_none(name):
    with pytest.raises(ValueError, match="is no file name"):
        opening.find(name)


def test_long_names_folders_and_pipes_are_no_tables(tmp_path, monkeypatch):
    import os

    monkeypatch.delenv("NASJAX_DATA", raising=False)
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in (
        "y" * 300 + ".csv",
        "~nobody_at_all/t.csv",
        "../" * 40 + "t.csv",
        str(tmp_path / "folder.csv"),
        str(tmp_path / "pipe.csv"),
    ):
        with pytest.raises(FileNotFoundError, match="no table"):
            opening.find(name)


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "t.csv"
    first, digest = opening.load(csv(path))
    assert opening.load(str(path))[0] is first
    second, other = opening.load(csv(path, rows=ROWS[:3]))
    assert (len(first), len(second)) == (30, 3)
    assert digest != other


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a table's name ends in \.csv, \.parquet"):
        read(saved(tmp_path / "t.xlsx", "x"))
