"""`nasjax sweep CONFIG --table FILE --signals …`: a published protocol on another file of figures."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from command_line import REFUSED, TOY

from nasjax import config_files, results, sweep_command
from nasjax.spaces import nasbench101_cells, nasbench101_specs
from nasjax.spaces.nasbench201 import NasBench201

SIGNALS = "val_acc@108:run,val_acc@108"

MINE = '''
"""Random search on the 64 cells of two operations.    nasjax sweep mine.py"""

from nasjax.methods.random_search import RandomSearch
from nasjax.search import Budget
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.summary import Comparison
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table


def config():
    space = NasBench201(("nor_conv_1x1", "nor_conv_3x3"))
    methods = (Entry("random", RandomSearch(batch=1)),)
    return Sweep(space, methods, (Table("a.csv", signal="val_acc"),), Budget(6), seeds=2, compare=Comparison(references=()))
'''


@pytest.fixture
def cells():
    """The strings of all cells of two operations."""
    space = NasBench201(("nor_conv_1x1", "nor_conv_3x3"))
    archs = space.all()
    return [space.to_spec(jax.tree.map(lambda leaf, row=row: leaf[row], archs)) for row in range(space.size)]


@pytest.fixture
def official(here):
    """A file with the columns that `nasjax table import nasbench101_tfrecord` makes, of the seven smallest cells."""
    words = np.concatenate([nasbench101_cells.encodings(n) for n in (2, 3)])
    rng = np.random.default_rng(0)
    runs = rng.uniform(90, 94, (words.size, 3)).round(3)
    lines = ["arch,val_acc@108,val_acc@108:run0,val_acc@108:run1,val_acc@108:run2,test_acc@108"]
    for row, word in enumerate(words.tolist()):
        figures = [runs[row].mean(), *runs[row], row]
        lines.append(f'"{nasbench101_specs.write(word)}",' + ",".join(f"{figure:.4f}" for figure in figures))
    (here / "official.csv").write_text("\n".join(lines) + "\n")
    return runs


@pytest.mark.slow
def test_nasbench101_with_official_figures(nasjax_main, here, official):
    """The config's two modelled signals make way for the two that are asked for, and nothing is called modelled."""
    options = ("--methods", "random_search", "--seeds", "3", "--budget.evaluations", "4")
    status, _, err = nasjax_main("sweep", "nb101_controls", "--table", "official.csv", "--signals", SIGNALS, *options)
    assert status == 0, err
    found = json.loads((here / "runs/nb101_controls/summary.json").read_text())
    assert [row["signal"] for row in found["results"]] == SIGNALS.split(",")
    assert [(table["file"], table["modelled"]) for table in found["config"]["tables"]] == [("official.csv", False)] * 2
    table, _ = results.unpack((here / "runs/nb101_controls/results.parquet").read_bytes())
    rows = np.array(table["test"].to_pylist(), int)
    signal, single = table["signal"].to_numpy(), np.array(table["signal_name"].to_pylist()) == "val_acc@108:run"
    np.testing.assert_allclose(signal[~single], official[rows[~single]].mean(axis=1), atol=1e-3)
    assert np.isclose(official[rows[single]], signal[single, None], atol=1e-3).any(axis=1).all()
    assert not np.isclose(signal[single], official[rows[single]].mean(axis=1), atol=1e-3).all()


def test_each_data_set_once_with_each_signal(here):
    """NAS-Bench-201's three data sets stand in the config with two signals each; what is reported is the new file's choice."""
    names = ("cifar10", "cifar100", "ImageNet16-120")
    (here / "mine.csv").write_text("arch," + ",".join(f"{name}/a" for name in names) + "\nx,1,2,3\n")
    sweep = config_files.load("nb201_controls", "sweep").value
    tasks = (dataclasses.replace(task, test="test_acc@200", cost="train_seconds@12") for task in sweep.tasks)
    sweep = dataclasses.replace(sweep, tasks=tuple(tasks))
    found = sweep_command._tasks(sweep, "mine.csv", ["a", "b"])
    assert [(task.task, task.signal) for task in found] == [(task, signal) for task in names for signal in ("a", "b")]
    assert {(task.file, task.test, task.cost) for task in found} == {("mine.csv", "", "")}
    digits = config_files.load("digits_controls", "sweep").value
    (told,) = sweep_command._tasks(digits, "", ["val_acc"])
    assert told == dataclasses.replace(digits.tasks[0], signal="val_acc")
    assert sweep_command._tasks(sweep, "", []) is sweep.tasks


def test_a_file_of_one_data_set_is_reported_once(nasjax_main, here, cells):
    """Three data sets of a config on figures that belong to none of them would be one sweep under three names."""
    (here / "mine.csv").write_text("arch,val_acc\n" + "".join(f"{cell},{60 + n / 8}\n" for n, cell in enumerate(cells)))
    options = ("--table", "mine.csv", "--signals", "val_acc", "--methods", "random_search", "--seeds", "2")
    status, _, err = nasjax_main("sweep", "nb201_controls", *options, "--budget.evaluations", "4")
    assert status == 0, err
    found = json.loads((here / "runs/nb201_controls/summary.json").read_text())
    assert {(row["task"], row["signal"]) for row in found["results"]} == {("mine", "val_acc")}


def test_a_sweep_on_another_file(nasjax_main, here, cells):
    (here / "a.csv").write_text(
        "arch,val_acc,test_acc\n" + "".join(f"{cell},{60 + n / 8},1\n" for n, cell in enumerate(cells))
    )
    (here / "b.csv").write_text("arch,seen,test_acc\n" + "".join(f"{cell},{-n},{n}\n" for n, cell in enumerate(cells)))
    (here / "mine.py").write_text(MINE)
    assert nasjax_main("sweep", "mine.py", "--run", "a")[0] == 0
    status, _, err = nasjax_main("sweep", "mine.py", "--run", "b", "--table", "b.csv", "--signals", "seen")
    assert status == 0, err
    a, b = (results.unpack((here / "runs" / run / "results.parquet").read_bytes())[0] for run in ("a", "b"))
    assert a["architecture"].to_pylist() == b["architecture"].to_pylist()
    places = [cells.index(cell) for cell in b["architecture"].to_pylist()]
    assert b["signal"].to_pylist() == [-place for place in places]
    assert b["test"].to_pylist() == places
    status, _, err = nasjax_main("sweep", "mine.py", "--run", "a", "--table", "b.csv", "--signals", "seen")
    assert (status, err.count("\n")) == (REFUSED, 1), "one run directory does not hold two tables"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--table", "official.csv"), "official.csv: no column 'test_acc_model'"),
        (("--table", "nowhere.csv", "--signals", "val_acc@108"), "no table 'nowhere.csv'"),
        (("--signals", "val_acc@7"), "val_acc@7"),
        (("--signals", ","), "option --signals: ',' names none"),
    ],
)
def test_what_there_is_not_is_refused(nasjax_main, here, official, options, message):
    status, _, err = nasjax_main("sweep", "nb101_controls", "--methods", "random_search", *options)
    assert (status, err.count("\n")) == (REFUSED, 1)
    assert message in err
    assert not (here / "runs/nb101_controls/results.parquet").exists()


def test_a_sweep_of_no_tables_has_none_to_change(nasjax_main):
    status, _, err = nasjax_main("sweep", TOY.replace("toy_run", "toy_sweep"), "--table", "official.csv")
    assert (status, err.count("\n")) == (REFUSED, 1)
    assert "MadeUpTable, a task of the config, is no table" in err
