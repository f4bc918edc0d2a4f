"""The figures that pages take from `benchmarks/queried.py`, beside the same ones by loops over the queries."""

import statistics

import pyarrow.parquet
import pytest
import queried
from sweep_cases import METHODS, PLACES, TESTS, VALUES, make_sweep

from nasjax.sweep import RESULTS

QUERIES, SEEDS, BELOW = 12, 8, 90.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A sweep whose seeds ask other cells each, and the cells by place and method."""
    folder = tmp_path_factory.mktemp("queried") / "run"
    return folder, make_sweep(folder, METHODS, PLACES, SEEDS, QUERIES)


def printed(capsys, monkeypatch, *arguments):
    """The lines of the table that it prints, each a dictionary by title."""
    monkeypatch.setattr("sys.argv", ["queried.py", *map(str, arguments)])
    queried.main()
    titles, _, *lines = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()]
    return [dict(zip(titles, line, strict=True)) for line in lines]


def expected(cells, at):
    """Incumbents after so many queries, one a seed: the best so far, the earlier one on ties."""
    return [max(seed[:at], key=lambda cell: VALUES[cell]) for seed in cells.tolist()]


def test_every_figure_is_that_of_the_queries(made, capsys, monkeypatch):
    folder, found = made
    lines = printed(capsys, monkeypatch, folder, "--at", 3, 10, "--spans", "1-3", "4-12", "--below", BELOW)
    assert len(lines) == len(found)
    for line in lines:
        cells = found[tuple(line["task, signal"].split(", ")), line["method"]]
        last = [float(TESTS[cell]) for cell in expected(cells, 10)]
        first = [float(TESTS[cell]) for cell in expected(cells, 3)]
        assert line["seeds"] == str(SEEDS)
        assert float(line["T1 at 3"]) == pytest.approx(statistics.mean(first), abs=6e-4)
        assert float(line["T1 at 10"]) == pytest.approx(statistics.mean(last), abs=6e-4)
        assert float(line["sd"]) == pytest.approx(statistics.stdev(last), abs=6e-4)
        for span, (start, end) in {"queries 1-3": (0, 3), "queries 4-12": (3, 12)}.items():
            values = [float(TESTS[cell]) for seed in cells.tolist() for cell in seed[start:end]]
            assert float(line[span]) == pytest.approx(statistics.mean(values), abs=6e-3)
        best = [max(float(TESTS[cell]) for cell in seed[:10]) for seed in cells.tolist()]
        assert float(line["T2"]) == pytest.approx(statistics.mean(best), abs=6e-4)
        assert int(line["at the optimum"]) == sum(cell == 63 for cell in expected(cells, 10))
        assert int(line["below 90"]) == sum(value < BELOW for value in last)
    assert {int(line["below 90"]) for line in lines} != {0}
    assert {int(line["at the optimum"]) for line in lines} != {0}


def test_seeds_can_be_chosen(made, capsys, monkeypatch):
    folder, found = made
    for line in printed(capsys, monkeypatch, folder, "--at", 12, "--seeds", "2-4"):
        cells = found[tuple(line["task, signal"].split(", ")), line["method"]]
        last = [float(TESTS[cell]) for cell in expected(cells[2:5], 12)]
        assert (line["seeds"], float(line["T1 at 12"])) == ("3", pytest.approx(statistics.mean(last), abs=6e-4))


def test_a_search_that_ended_early_keeps_its_incumbent_and_has_no_further_queries(made, capsys, monkeypatch, tmp_path):
    folder, found = made
    cells = found[PLACES[0], "random"]
    table = pyarrow.parquet.read_table(folder / RESULTS).filter(pyarrow.compute.field("method") == "random")
    ends = [TESTS[expected(cells, 5)[seed]] != TESTS[expected(cells, 12)[seed]] for seed in range(SEEDS)].index(True)
    short = (pyarrow.compute.field("seed") != ends) | (pyarrow.compute.field("query") <= 5)
    pyarrow.parquet.write_table(table.filter(short), tmp_path / RESULTS)
    line = printed(capsys, monkeypatch, tmp_path, "--at", 12, "--spans", "6-12")[0]
    last = [float(TESTS[cell]) for cell in expected(cells, 12)]
    last[ends] = float(TESTS[expected(cells, 5)[ends]])
    assert float(line["T1 at 12"]) == pytest.approx(statistics.mean(last), abs=6e-4)
    values = [float(TESTS[cell]) for seed, row in enumerate(cells.tolist()) if seed != ends for cell in row[5:]]
    assert float(line["queries 6-12"]) == pytest.approx(statistics.mean(values), abs=6e-3)


@pytest.mark.parametrize(("at", "said"), [("0", "queries are counted from 1"), ("12", "nowhere")])
def test_what_cannot_be_read_is_one_line(capsys, monkeypatch, tmp_path, at, said):
    with pytest.raises(SystemExit) as ended:
        printed(capsys, monkeypatch, tmp_path / "nowhere", "--at", at)
    assert said in f"{ended.value} {capsys.readouterr().err}"
