"""Sweeps of tables: which file the results stand on, what a person is told of it, and by which names they go."""

import hashlib
import json

import jax
import numpy as np
import pytest

from nasjax import results, rundir
from nasjax.methods.random_search import RandomSearch
from nasjax.report.sweep import write_report
from nasjax.search import Budget, Search, run_search
from nasjax.spaces.enas import Enas
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy
from nasjax.summary import Comparison
from nasjax.sweep import CHUNKS, Entry, Sweep, run_sweep
from nasjax.tables import Table

SPACE = Toy()
SPECS = [SPACE.to_spec(jax.tree.map(lambda leaf, row=row: np.asarray(leaf[row]), SPACE.all())) for row in range(64)]


def csv(path, rows=range(64), offset=0):
    path.write_text("arch,val_acc,test_acc\n" + "".join(f"{SPECS[row]},{row + offset},{row}\n" for row in rows))
    return str(path)


def sweep(*tables, seeds=2):
    methods = (Entry("random_search", RandomSearch(batch=1)),)
    return Sweep(SPACE, methods, tables, Budget(5), seeds=seeds, compare=Comparison(references=()))


def test_a_table_that_has_changed_is_refused_before_anything_runs(tmp_path):
    path, folder = tmp_path / "t.csv", tmp_path / "run"
    table = Table(csv(path), "t", "val_acc")
    first = run_sweep(sweep(table), "mine", folder)
    before = sorted(chunk.name for chunk in (folder / CHUNKS).iterdir())
    csv(path, offset=1000)
    with pytest.raises(rundir.RunDirError, match=r"000000-000002\.parquet stands on other figures than t\.csv has now"):
        run_sweep(sweep(table, seeds=4), "mine", folder)
    assert sorted(chunk.name for chunk in (folder / CHUNKS).iterdir()) == before
    csv(path)
    grown = run_sweep(sweep(table, seeds=4), "mine", folder)
    assert (first.done, grown.done) == (1, 1)


@pytest.mark.parametrize("unit", [None, "", "fraction"])
def test_what_figures_are_called_is_none_of_them(tmp_path, unit):
    """Chunks of early versions, whose digest had a unit in it, now another one; and without what is no setting."""
    folder, table = tmp_path / "run", Table(csv(tmp_path / "t.csv"), "t", "val_acc")
    run_sweep(sweep(table), "mine", folder)
    (chunk,) = (folder / CHUNKS).iterdir()
    rows, about = results.unpack(chunk.read_bytes())
    if unit is not None:
        evaluator = table.build(SPACE)
        assert evaluator.source["unit"] == "percent"
        content = json.dumps([evaluator.source | {"unit": unit}, evaluator.best(SPACE)], sort_keys=True)
        about["table"] = hashlib.sha256(content.encode()).hexdigest()
    del about["law"]
    chunk.write_bytes(results.pack(rows, about))
    assert run_sweep(sweep(table, seeds=3), "mine", folder, on_note=pytest.fail).done == 1


def test_chunks_that_may_hold_short_searches_are_told(tmp_path):
    folder = tmp_path / "run"
    path = tmp_path / "enas.csv"
    path.write_text("arch,val_acc\n" + "".join(f'"[[{a}], [{b}, 0]]",{a + b}\n' for a in range(6) for b in range(6)))
    settings = Sweep(Enas(2), sweep().methods, (Table(str(path), "t", "val_acc"),), Budget(5), 2, Comparison(()))
    run_sweep(settings, "mine", folder)
    (chunk,) = (folder / CHUNKS).iterdir()
    rows, about = results.unpack(chunk.read_bytes())
    notes = []
    run_sweep(settings, "mine", folder, on_note=notes.append)
    assert not any("early nasjax" in note for note in notes)
    del about["law"]
    chunk.write_bytes(results.pack(rows, about))
    run_sweep(settings, "mine", folder, on_note=notes.append)
    assert f"{folder}: 1 chunks are of an early nasjax" in notes[-1]


def test_a_search_does_not_go_on_with_other_figures(tmp_path):
    """Stopped after two batches; the table changes, and comes back."""
    path, folder = tmp_path / "t.csv", tmp_path / "run"
    search = Search(SPACE, RandomSearch(batch=2), Table(csv(path), "t", "val_acc"), Budget(8))

    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(search, 0, folder, on_batch=stop)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    csv(path, offset=1000)
    with pytest.raises(
        rundir.RunDirError, match=r"run stands on other figures than t\.csv has now; put that file back"
    ):
        run_search(search, 0, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    csv(path)
    result = run_search(search, 0, folder, on_note=pytest.fail)
    assert (result.begun, result.resumed_from, result.evaluations) == ("resumed", 4, 8)
    csv(path, offset=1000)
    assert run_search(search, 0, folder).begun == "finished"


def test_what_a_search_is_told_a_sweep_is_told_once(tmp_path):
    path, notes = csv(tmp_path / "part.csv", range(0, 64, 3)), []
    tables = Table(path, "t", "val_acc"), Table(path, "t", "val_acc:gauss(0.5)")
    result = run_sweep(sweep(*tables), "mine", tmp_path / "run", on_note=notes.append)
    (lacking,) = [note for note in notes if "have no row" in note]
    assert all(lacking in table["notes"] for table in result.summary["config"]["tables"])
    assert lacking in write_report(tmp_path / "run").read_text()


def test_what_the_settings_leave_out_has_the_tables_names(tmp_path):
    """The file's name for a task, where it has none, and the signal that it says; two such tables are two tasks."""
    files = csv(tmp_path / "mine.csv"), csv(tmp_path / "yours.csv")
    result = run_sweep(sweep(*(Table(file, signal="val_acc") for file in files)), "mine", tmp_path / "run")
    assert [(row["task"], row["signal"]) for row in result.summary["results"]] == [
        ("mine", "val_acc"),
        ("yours", "val_acc"),
    ]
    assert (tmp_path / "run" / CHUNKS / "random_search-mine-val_acc-000000-000002.parquet").exists()
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert [task["task"] for task in config["tasks"]] == ["", ""]  # as written
    with pytest.raises(ValueError, match="task 'mine' with signal 'val_acc' stands in the sweep twice"):
        run_sweep(sweep(*(Table(files[0], signal="val_acc") for _ in files)), "twice", tmp_path / "twice")


@pytest.mark.parametrize(("file", "name"), [("a.v1.csv", "a.v1"), (".hidden.csv", ".hidden"), ("T.CSV", "T")])
def test_a_task_has_its_files_name_without_the_end(tmp_path, file, name):
    assert Table(csv(tmp_path / file), signal="val_acc").build(SPACE).named == (name, "val_acc")


def test_the_packages_table_by_its_own_names():
    table = Table("digits")
    assert table.build(NasBench201()).named == ("digits", "neg_val_ce")


def test_a_space_without_enumeration_loses_no_query_to_missing_rows(tmp_path):
    """An eighth of ENAS's three-layer networks have rows: more than a tenth, so the prior is drawn from again and again."""
    rng = np.random.default_rng(0)
    specs = [
        f"[[{row % 6}], [{row // 6 % 6}, {row // 36 % 2}], [{row // 72 % 6}, {row // 432 % 2}, {row // 864}]]"
        for row in rng.choice(216 * 8, 216, replace=False)
    ]
    path = tmp_path / "enas.csv"
    path.write_text("arch,val_acc\n" + "".join(f'"{spec}",{rng.uniform(0, 90):.3f}\n' for spec in specs))
    settings = sweep(Table(str(path), "t", "val_acc"), seeds=8)
    settings = Sweep(Enas(3), settings.methods, settings.tasks, Budget(40), 8, settings.compare)
    (row,) = run_sweep(settings, "enas", tmp_path / "run").summary["results"]
    assert row["unique_queries"] == 40
