"""Sweeps end to end: chunks, resume, growth, refusals. One small program serves nearly all."""

import dataclasses
import json
import pathlib
import shutil
import types

import numpy as np
import pyarrow as pa
import pytest
import toy_sweep

from nasjax import results, rundir
from nasjax.methods.random_search import RandomSearch
from nasjax.search import Budget
from nasjax.spaces.enas import Enas
from nasjax.summary import Comparison
from nasjax.sweep import CHUNKS, PLAN, RESULTS, SUMMARY, Entry, _chunk_size, check, run_sweep
from nasjax.sweep_settings import check_comparison

SWEEP = toy_sweep.config()
ONE = dataclasses.replace(SWEEP, methods=SWEEP.methods[:1], tasks=SWEEP.tasks[:1])


def run(folder, sweep=ONE, name="toy", **options):
    return run_sweep(sweep, name, folder, **options)


def files(folder):
    return {name: (folder / name).read_bytes() for name in (RESULTS, SUMMARY)}


def chunks(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / CHUNKS).iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    result = run(folder)
    return folder, result


def test_what_a_sweep_leaves(whole):
    folder, result = whole
    assert (result.done, result.chunks) == (3, 3)
    assert sorted(chunks(folder)) == [
        "one-first-value-000000-000012.parquet",
        "one-first-value-000012-000024.parquet",
        "one-first-value-000024-000030.parquet",
    ]
    table, _ = results.unpack((folder / RESULTS).read_bytes())
    assert len(table) == 30 * 10
    assert table["query"].to_pylist() == list(range(1, 11)) * 30
    assert not any(table["repeat"].to_pylist())
    found = json.loads((folder / SUMMARY).read_text())
    assert found == json.loads(json.dumps(result.summary))
    assert [(row["queries"], row["seeds"]) for row in found["results"]] == [(5, 30), (10, 30)]
    assert json.loads((folder / PLAN).read_text())["widths"] == {"one-first-value": 64}


def test_a_space_that_is_used_up_is_told(tmp_path):
    told = []
    sweep = dataclasses.replace(ONE, budget=Budget(evaluations=30), seeds=2, compare=Comparison(references=()))
    run(tmp_path, sweep, on_note=told.append)
    assert told == ["one on first value: 2 of 2 searches ended before 30 queries, the shortest after 26"]


class StopHere(BaseException):
    """A kill: no `Exception`, so that nothing handles it."""


@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_sweep_ends_with_the_same_bytes(whole, tmp_path, after):
    folder = tmp_path / "killed"

    def stop(progress):
        if progress.chunk == after:
            raise StopHere

    with pytest.raises(StopHere):
        run(folder, on_chunk=stop)
    assert not (folder / RESULTS).exists()
    before = chunks(folder)
    assert len(before) == after
    assert run(folder).done == 3 - after
    assert files(folder) == files(whole[0])
    assert before.items() <= chunks(folder).items()


def test_other_chunks_give_the_same_rows(whole, tmp_path):
    sweep = dataclasses.replace(ONE, chunk=0)
    run(tmp_path / "one", sweep)
    assert len(chunks(tmp_path / "one")) == 1
    assert (tmp_path / "one" / RESULTS).read_bytes() == (whole[0] / RESULTS).read_bytes()


class Trained:
    """Settings of a method that says it trains a model."""

    def build(self, space, budget):
        return RandomSearch(batch=1).build(space, budget)._replace(learned=True)


@pytest.mark.parametrize(
    ("platform", "devices", "size"), [("cpu", 1, 4), ("cpu", 2, 8), ("gpu", 1, 64), ("tpu", 8, 512)]
)
def test_methods_that_train_a_model_are_saved_often(monkeypatch, platform, devices, size):
    monkeypatch.setattr("jax.local_devices", lambda: [types.SimpleNamespace(platform=platform)] * devices)
    assert _chunk_size(dataclasses.replace(ONE, chunk=0), Entry("trained", Trained())) == size
    assert _chunk_size(ONE, Entry("trained", Trained())) == 12
    assert _chunk_size(dataclasses.replace(ONE, chunk=0), ONE.methods[0]) == 1024


def test_width_is_a_setting(whole, tmp_path):
    """The program is as wide as asked, the searches are the same; a run of another width is another run."""
    sweep = dataclasses.replace(ONE, width=4)
    run(tmp_path / "narrow", sweep)
    assert json.loads((tmp_path / "narrow" / PLAN).read_text())["widths"] == {"one-first-value": 4}
    narrow, wide = (results.unpack((folder / RESULTS).read_bytes())[0] for folder in (tmp_path / "narrow", whole[0]))
    assert narrow["architecture"].to_pylist() == wide["architecture"].to_pylist()
    np.testing.assert_allclose(narrow["signal"].to_numpy(), wide["signal"].to_numpy(), rtol=3e-7)
    with pytest.raises(rundir.RunDirError):
        run(tmp_path / "narrow", ONE)
    with pytest.raises(rundir.RunDirError):
        run(whole[0], sweep)
    plan = json.dumps({"format": 1, "widths": {"one-first-value": 5}})
    (tmp_path / "narrow" / PLAN).write_text(plan)
    with pytest.raises(rundir.RunDirError, match="its widths are none"):
        run(tmp_path / "narrow", dataclasses.replace(sweep, seeds=31))


@pytest.mark.parametrize(
    ("width", "learned", "size"), [(1000, True, 2000), (3, True, 8), (1000, False, 2000), (4, False, 1024)]
)
def test_chunks_are_no_smaller_than_what_stands_side_by_side(monkeypatch, width, learned, size):
    monkeypatch.setattr("jax.local_devices", lambda: [types.SimpleNamespace(platform="cpu")] * 2)
    entry = Entry("trained", Trained()) if learned else ONE.methods[0]
    assert _chunk_size(dataclasses.replace(ONE, chunk=0, width=width), entry) == size


@pytest.mark.parametrize("width", [-1, 1.0, True, (1 << 16) + 1])
def test_widths_that_are_none(tmp_path, width):
    with pytest.raises(ValueError, match=r"^width "):
        run(tmp_path, dataclasses.replace(ONE, width=width))


@pytest.mark.parametrize("batch", [0, 1.5, "1", None, True])
def test_a_setting_that_is_refused_claims_no_directory(tmp_path, batch):
    """So that the mended config can have it."""
    wrong = dataclasses.replace(ONE, methods=(Entry("one", RandomSearch(batch=batch)),))
    with pytest.raises(
        ValueError, match=r"a batch of 0; at least 1|RandomSearch\.batch is .*; a whole number is needed"
    ):
        run(tmp_path / "run", wrong)
    assert not (tmp_path / "run").exists()


def test_a_sweep_grows_and_is_asked_for_less(whole, tmp_path):
    """First 20 seeds, then all 30: only the missing ones run; then 5: nothing runs, and only they are reported."""
    folder = tmp_path / "grown"
    assert run(folder, dataclasses.replace(ONE, seeds=20)).done == 2
    before = chunks(folder)
    assert sorted(before) == ["one-first-value-000000-000012.parquet", "one-first-value-000012-000020.parquet"]
    progress = []
    assert run(folder, on_chunk=progress.append).done == 1
    assert [(p.start, p.stop, p.chunks) for p in progress] == [(20, 30, 1)]
    assert before.items() <= chunks(folder).items()
    assert (folder / RESULTS).read_bytes() == (whole[0] / RESULTS).read_bytes()
    fewer = run(folder, dataclasses.replace(ONE, seeds=5))
    assert (fewer.done, fewer.chunks) == (0, 1)
    assert {row["seeds"] for row in fewer.summary["results"]} == {5}


def test_methods_and_tasks_in_company(whole, tmp_path):
    """All methods and tasks; then a choice of methods: the rows of the one that ran alone are the same."""
    folder = tmp_path / "all"
    result = run(folder, SWEEP)
    assert {(r["method"], r["task"]) for r in result.summary["results"]} == {
        (method, task) for method in ("one", "four") for task in ("first", "second")
    }
    assert {t["reference"] for t in result.summary["tests"]} == {"one"}
    chosen = run(folder, SWEEP, methods=["one"])
    assert (chosen.done, {r["method"] for r in chosen.summary["results"]}) == (0, {"one"})
    found, _ = results.unpack((folder / RESULTS).read_bytes())
    alone, _ = results.unpack((whole[0] / RESULTS).read_bytes())
    first = found.filter([task == "first" for task in found["task"].to_pylist()])
    assert results.pack(results.join([first])) == results.pack(alone)
    noisy = found.filter([task == "second" for task in found["task"].to_pylist()])
    assert noisy["signal"].to_pylist() != noisy["validation"].to_pylist()


def test_another_config_is_refused(whole):
    before = files(whole[0]), chunks(whole[0])
    for other in (
        dataclasses.replace(ONE, budget=Budget(9)),
        dataclasses.replace(ONE, methods=(Entry("one", RandomSearch(batch=2)),)),
        dataclasses.replace(ONE, tasks=(toy_sweep.MadeUpTable(seed=5),)),
    ):
        with pytest.raises(rundir.RunDirError, match="is a run of another config"):
            run(whole[0], other)
    assert (files(whole[0]), chunks(whole[0])) == before


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: b"x" * len(data)])
def test_a_damaged_chunk_is_named_and_not_touched(whole, tmp_path, damage):
    folder = tmp_path / "damaged"
    run(folder)
    path = folder / CHUNKS / "one-first-value-000012-000024.parquet"
    good = path.read_bytes()
    path.write_bytes(damage(good))
    with pytest.raises(rundir.RunDirError, match=r"000012-000024\.parquet: no Parquet file"):
        run(folder)
    assert path.read_bytes() == damage(good)
    path.rename(tmp_path / "aside")  # what the message says
    assert run(folder).done == 1
    assert files(folder) == files(whole[0])


CHUNK = "one-first-value-000000-000012.parquet"


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of the whole sweep, and one of its chunks."""
    folder = pathlib.Path(shutil.copytree(whole[0], tmp_path / "copied"))
    return folder, folder / CHUNKS / CHUNK


def test_a_chunk_of_another_sweep_is_refused(copied):
    folder, path = copied
    table, _ = results.unpack(path.read_bytes())
    path.write_bytes(results.pack(table, {"sweep": "0" * 64}))
    with pytest.raises(rundir.RunDirError, match="belongs to another sweep"):
        run(folder)


def changed(column, values):
    def change(table):
        field = results.SCHEMA.field(column)
        return table.set_column(
            table.schema.get_field_index(column), field, pa.array(values(table[column]), field.type)
        )

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("signal", lambda column: [column[0].as_py() + 1, *column.to_pylist()[1:]]),
        changed("cost", lambda column: [None, *column.to_pylist()[1:]]),
        changed("architecture", lambda column: column.to_pylist()[::-1]),
        changed("seed", lambda column: column.to_pylist()[::-1]),
        lambda table: table.slice(0, len(table) - 1),
    ],
)
def test_rows_that_have_changed_are_refused(whole, copied, tmp_path, change):
    """What a Parquet file's own checksums leave out, such as a bit in its footer."""
    folder, path = copied
    table, about = results.unpack(path.read_bytes())
    assert about["digest"] == results.digest(table) == results.digest(table.take(pa.array(range(len(table)))))
    path.write_bytes(results.pack(change(table), about))
    with pytest.raises(rundir.RunDirError, match=f"{CHUNK}: its rows have changed since it was written; move it away"):
        run(folder)
    path.rename(tmp_path / "aside")
    assert run(folder).done == 1
    assert files(folder) == files(whole[0])


def test_a_chunk_without_a_digest_is_read(whole, copied):
    """As early versions wrote them."""
    folder, path = copied
    table, about = results.unpack(path.read_bytes())
    path.write_bytes(results.pack(table, {"sweep": about["sweep"]}))
    assert run(folder).done == 0
    assert files(folder) == files(whole[0])


@pytest.mark.parametrize(
    "seeds", ["000012-000024", "000030-000042", "000000-000030", "000000-000006", "000006-99999999999999"]
)
def test_a_chunk_under_another_name_is_refused(copied, seeds):
    """Also one of more seeds than it holds: those would be missing without a word."""
    folder, path = copied
    for other in (folder / CHUNKS).iterdir():
        if other != path:
            other.unlink()
    path.rename(path.with_name(f"one-first-value-{seeds}.parquet"))
    sweep = dataclasses.replace(ONE, seeds=40)
    with pytest.raises(
        rundir.RunDirError, match=rf"{seeds}\.parquet: its rows are of other searches than its name says"
    ):
        run(folder, sweep)


def test_seeds_that_are_there_twice_are_refused(whole, copied):
    """A chunk that was moved away, computed anew in other pieces, and moved back."""
    folder, path = copied
    shutil.copy(path, path.with_name("one-first-value-000003-000015.parquet"))
    said = f"{CHUNK} and one-first-value-000003-000015.parquet hold the same seeds; move one of them away"
    with pytest.raises(rundir.RunDirError, match=said):
        run(folder)
    path.with_name("one-first-value-000003-000015.parquet").unlink()
    for stray in ("one-first-value-3-15.parquet", "one-first-value-000009-000003.parquet", f"{CHUNK}.tmp", "notes.txt"):
        (folder / CHUNKS / stray).write_bytes(b"not a chunk by its name")
    assert run(folder).done == 0
    assert files(folder) == files(whole[0])


@pytest.mark.parametrize(
    "plan",
    [
        "",
        "[1]",
        '{"format": 1}',
        '{"format": 2, "widths": {}}',
        '{"format": 1, "widths": 64}',
        '{"format": 1, "widths": {"one-first-value": 0}}',
        '{"format": 1, "widths": {"one-first-value": true}}',
        '{"format": 1, "widths": {"one-first-value": 65}}',
        '{"format": 1, "widths": {"one-first-value": "64"}}',
    ],
)
def test_a_damaged_plan_is_named_and_not_touched(whole, copied, plan):
    folder, path = copied
    path.unlink()
    (folder / PLAN).write_text(plan)
    with pytest.raises(rundir.RunDirError, match=r"plan\.json: .*; move it away and run again"):
        run(folder)
    assert (folder / PLAN).read_text() == plan
    (folder / PLAN).unlink()
    assert run(folder).done == 1
    assert files(folder) == files(whole[0])


@pytest.mark.parametrize("name", [PLAN, f"{CHUNKS}/{CHUNK}"])
def test_a_folder_in_a_files_place_is_named(copied, name):
    folder, path = copied
    if name == PLAN:
        path.unlink()
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(rundir.RunDirError, match=f"{name}: not a regular file"):
        run(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds 0: a whole number, 1 to 2,147,483,647"),
        ({"seeds": 1 << 40}, "seeds 1099511627776: a whole number, 1 to 2,147,483,647"),
        ({"budget": Budget(0)}, "budget.evaluations 0: a whole number, 1 to"),
        ({"chunk": -1}, "chunk -1"),
        ({"seeds": "5"}, "seeds '5': a whole number"),
        ({"space": Enas(6.0)}, "Enas.layers is 6.0; a whole number is needed"),
        ({"methods": (Entry("one", RandomSearch),)}, "RandomSearch is the class RandomSearch; its settings are needed"),
        ({"compare": Comparison(measure="T1")}, "compare.measure is 'T1'; one of 'regret', 't1' is needed"),
        ({"methods": ()}, "needs methods and tasks"),
        ({"methods": SWEEP.methods[:1] * 2}, "two methods are called 'one'"),
        ({"methods": (Entry("../x", RandomSearch()),)}, r"method name '\.\./x': lower-case letters"),
        ({"methods": (Entry("x" * 71, RandomSearch()),)}, "method name 'x+.*70 at most"),
        ({"methods": {"x": RandomSearch()}}, r"methods: a dict where a tuple of Entry\(name, settings\) is needed"),
        ({"methods": (RandomSearch(),)}, "methods: a RandomSearch where a tuple of Entry"),
        ({"methods": (Entry("one", RandomSearch(), seeds="2"),)}, "method one: seeds '2'; a whole number"),
        ({"tasks": SWEEP.tasks[0]}, "tasks: a MadeUpTable where a tuple"),
        ({"tasks": (3,)}, "tasks: a int where a tuple"),
        ({"tasks": (toy_sweep.MadeUpTable(signal=5),)}, "task 'first' with signal 5: both are texts"),
        ({"tasks": (toy_sweep.MadeUpTable("t" * 71),)}, r"70 characters at most; a table can be given a name, Table\("),
        ({"tasks": SWEEP.tasks[:1] * 2}, "task 'first' with signal 'value' stands in the sweep twice"),
        (
            {"tasks": (toy_sweep.MadeUpTable("a b"), toy_sweep.MadeUpTable("a:b"))},
            "task 'a b' with signal 'value' and task 'a:b' with signal 'value' would have the same file names",
        ),
    ],
)
def test_bad_sweeps_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "bad", dataclasses.replace(SWEEP, **changes))
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measure": "T1"}, r"compare\.measure is 'T1'; one of 'regret', 't1' is needed"),
        ({"at": (10, 0)}, r"compare\.at 0: a whole number, at least 1"),
        ({"at": (2.5,)}, r"compare\.at\[0\] is 2\.5; a whole number is needed$"),
        ({"at": ("3",)}, r"compare\.at\[0\] is '3'; a whole number is needed$"),
        ({"at": 3}, r"compare\.at is 3; a tuple of whole numbers, as \(3,\), is needed$"),
        ({"references": (3,)}, r"compare\.references\[0\] is 3; a text is needed$"),
        ({"claims": ("cem",)}, r"compare\.claims and compare\.against go together"),
        ({"references": "cem"}, r"compare\.references is 'cem'; a tuple of texts, as \('cem',\), is needed$"),
        ({"references": ("cemm",)}, r"compare\.references 'cemm' is no method of the sweep; did you mean cem\?"),
        ({"claims": ("ours",)}, r"compare\.claims 'ours' is no method of the sweep; one of cem, random_search"),
        ({"against": ("cem", "random")}, r"compare\.against 'random' is no method of the sweep; did you mean"),
    ],
)
def test_comparisons_that_no_result_could_answer_are_refused(change, message):
    methods = ["cem", "random_search"]
    check_comparison(Comparison(at=(1, 5)), methods)  # the default references need not be there
    with pytest.raises(ValueError, match=message):
        check_comparison(Comparison(**change), methods)


def test_the_longest_names_are_names_of_files(tmp_path):
    method, task = Entry("m" * 70, SWEEP.methods[0].method), toy_sweep.MadeUpTable("t" * 70, "s" * 70)
    assert (
        run(tmp_path, dataclasses.replace(ONE, methods=(method,), tasks=(task,), seeds=2, compare=Comparison(()))).done
        == 1
    )
    assert len(f"{'x' * 212}-4294967294-4294967295.parquet.tmp") <= 255


def test_methods_by_name():
    assert [entry.name for entry in check(SWEEP)] == ["one", "four"]
    assert [entry.name for entry in check(SWEEP, ["four"])] == ["four"]
    with pytest.raises(ValueError, match="unknown method 'fuor'; did you mean four"):
        check(SWEEP, ["fuor"])
