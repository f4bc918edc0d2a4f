"""`nasjax table`: what it prints, its exit status, and one line for each mistake."""

import pytest
from cells import CELLS, csv

from nasjax import cli

REFUSED = 2


@pytest.fixture
def table(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nasjax.startup.prepare_jax", list)

    def run(*arguments):
        status = cli.main(["table", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_help(table):
    status, out, err = table("--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: nasjax table inspect FILE\n       nasjax table import FORM SRC DST\n")
    for form in (
        "nasbench201_npz",
        "nasbench201_zerocost",
        "nasbench101_npz",
        "nasbench101_ec5v",
        "nasbench101_tfrecord",
        "nats_bench",
        "enas_dvae",
        "table",
    ):
        assert f"\n  {form} " in out
    assert table("inspect", "--help") == (0, out, "")


def test_inspect(table, tmp_path):
    csv(tmp_path / "mine.csv", rows=[0, 1, 2, 2], header="arch,val_acc@12,val_acc@12:run0")
    status, out, err = table("inspect", "mine.csv")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("file          mine.csv, CSV, 4 rows, sha256 ")
    assert lines[1:] == [
        "space         nasbench201",
        "architectures 3 different; rows that repeat one with equal figures: 1",
        "column        val_acc@12: 60 to 64.625",
        "column        val_acc@12:run0: 59 to 63.625",
        "signals       val_acc@12, val_acc@12:run",
    ]


def test_import_and_inspect(table, tmp_path):
    csv(tmp_path / "mine.csv", rows=[0, 1])
    assert table("import", "table", "mine.csv", "mine.parquet") == (
        0,
        "mine.parquet: 2 architectures of nasbench201\n",
        "",
    )
    status, out, _ = table("inspect", "mine.parquet")
    assert status == 0
    assert "file          mine.parquet, Parquet, 2 rows" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "table: no command; usage: nasjax table inspect FILE | nasjax table import FORM SRC DST"),
        (("inspct", "x"), "table: unknown command 'inspct'; did you mean inspect?"),
        (("inspect",), "0 files; usage: nasjax table inspect FILE"),
        (("inspect", "a.csv", "b.csv"), "2 files; usage: nasjax table inspect FILE"),
        (("inspect", "--all", "a.csv"), "unknown option --all; nasjax table --help says more"),
        (("inspect", "other.csv"), "no table 'other.csv' here, and NASJAX_DATA"),
        (("inspect", "no_such_name"), "no table 'no_such_name' in the package"),
        (("import", "table", "mine.csv"), "2 arguments; usage: nasjax table import FORM SRC DST"),
        (("import", "nats_bnch", "x", "y.npz"), "unknown form 'nats_bnch'; did you mean nats_bench?"),
        (("import", "table", "mine.csv", "t.xls"), "t.xls: tables are written as .parquet or .npz"),
        (("import", "table", "mine.csv", "mine.npz"), "mine.npz is there already; remove it, or write to another name"),
        (("import", "table", "mine.csv", "no/t.npz"), "no: there is no such folder; make it first"),
        (("import", "nats_bench", "mine.csv", "t.npz"), "mine.csv: no directory; NATS-Bench's simple one holds"),
        (("import", "nasbench101_tfrecord", "mine.csv", "t.npz"), "mine.csv: record 0"),
        (("import", "nasbench201_npz", "mine.csv", "t.npz"), "mine.csv: damaged, or not what its name says"),
        (("inspect", "bad.csv"), "bad.csv: line 2: 'x' is an architecture of none of nasbench201"),
        (("inspect", "twice.csv"), "twice.csv: line 3: the architecture of line 2 again, where val_acc is 1, here 2"),
        (("inspect", "escape.csv"), "escape.csv: line 2: val_acc is '\\x1b[2J', which is no number"),
    ],
)
def test_mistakes_are_one_line(table, tmp_path, arguments, message):
    csv(tmp_path / "mine.csv", rows=[0, 1])
    (tmp_path / "mine.npz").write_bytes(b"x")
    (tmp_path / "bad.csv").write_text("arch,val_acc\nx,1\n")
    (tmp_path / "twice.csv").write_text(f"arch,val_acc\n{CELLS[0]},1\n{CELLS[0]},2\n")
    (tmp_path / "escape.csv").write_text(f"arch,val_acc\n{CELLS[0]},\x1b[2J\n{CELLS[1]},2\n")
    status, out, err = table(*arguments)
    assert out == ""
    assert status == REFUSED
    assert err.startswith("nasjax: ")
    assert message in err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"mine.csv", "mine.npz", "bad.csv", "twice.csv", "escape.csv"}


def test_a_built_table_does_not_take_the_place_of_its_trainings(table, tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    said = "option --to: runs/a/seed-0.npz is where the build keeps what it has computed"
    status, _, err = table("build", "digits_table", "--run", "a", "--to", "runs/a/seed-0.npz")
    assert (status, err) == (REFUSED, f"nasjax: {said}\n")
    assert not list((tmp_path / "runs" / "a").iterdir())


def test_a_built_tables_folder_is_asked_for_before_anything_is_trained(table, tmp_path):
    said = "nasjax: away: there is no such folder; make it first\n"
    assert table("build", "digits_table", "--to", "away/x.npz") == (REFUSED, "", said)
    assert not (tmp_path / "runs").exists()
