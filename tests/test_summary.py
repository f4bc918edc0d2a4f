"""What a summary says, against numbers worked out by hand from rows made by hand."""

import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pytest

from nasjax import results, summary
from nasjax.spaces.toy import Toy
from nasjax.summary import About, Comparison

ABOUT = About("by_hand", "0" * 64, Toy(), 3, 2)
SOURCE = {"file": "x", "sha256": "y", "modelled": False, "unit": "points"}


def rows(method, regrets, tests=None, task="first", signal="value", repeats=(), keys=None):
    """Rows of searches: `regrets` [S][Q] of the incumbents, `tests` [S][Q] of the queries; T1 = 90 - regret."""
    found = []
    for seed, search in enumerate(regrets):
        for place, regret in enumerate(search):
            test = tests[seed][place] if tests else 90 - regret
            about = {"method": method, "space": "toy", "task": task, "signal_name": signal, "architecture": "x"}
            numbers = {"seed": seed, "query": place + 1, "step": place, "signal": -regret}
            numbers |= {"key_hi": sum(map(ord, method)), "key_lo": keys[seed][place] if keys else place}
            values = {"validation": -regret, "test": test, "incumbent_test": 90 - regret, "regret": regret}
            rest = {"test_regret": regret, "cost": 1.0, "cost_total": place + 1.0, "valid": True}
            found.append(about | numbers | values | rest | {"repeat": (seed, place) in repeats})
    return pa.Table.from_pylist(found, schema=results.SCHEMA)


def summarized(*tables, methods, compare=Comparison(references=()), unit="points", tasks=(("first", "value"),)):
    sources = {pair: SOURCE | {"unit": unit} for pair in tasks}
    return summary.summarize(results.join(tables), methods, ABOUT, sources, compare)


def test_results_by_hand():
    """Two searches of three queries; the second one repeats a key and ends after two."""
    table = rows("a", [[4, 0.3, 0], [2, 2]], [[80, 91, 85], [88, 70]], repeats={(1, 1)})
    found = summarized(table, methods=["a"])
    assert list(found) == ["config", "results", "tests", "ranks"]
    (row,) = found["results"]
    low, high = row.pop("ci95")
    assert 88 <= low < high <= 90
    low, high = row.pop("mean_regret_ci95")
    assert 0 <= low < high <= 2
    assert row == {
        "method": "a",
        "space": "toy",
        "task": "first",
        "signal": "value",
        "queries": 3,
        "seeds": 2,
        "mean": 89.0,
        "sd": pytest.approx(math.sqrt(2), rel=1e-5),
        "median": 89.0,
        "median_regret": 1.0,
        "mean_regret": 1.0,
        "share_at_optimum": 0.5,
        "t2_mean": 89.5,
        "unique_queries": 2.0,
        "queries_to": {
            "0.1": {"median": None, "share": 0.5},
            "0.5": {"median": None, "share": 0.5},
            "1": {"median": None, "share": 0.5},
        },
        "mean_rank": 1.0,
    }
    json.dumps(found, allow_nan=False)
    assert list(found["config"])[:8] == ["name", "hash", "space", "op_names", "unique", "budget", "seeds", "unit"]


def test_queries_to_a_regret():
    """First query within .5: 2, 1, 3; within .1: 3, never, never."""
    table = rows("a", [[1, 0.5, 0.05], [0.5, 0.4, 0.2], [9, 0.6, 0.11]])
    (row,) = summarized(table, methods=["a"])["results"]
    assert row["queries_to"]["0.5"] == {"median": 2.0, "share": 1.0}
    assert row["queries_to"]["0.1"] == {"median": None, "share": 0.333333}
    (row,) = summarized(table, methods=["a"], unit="nats")["results"]
    assert list(row["queries_to"]) == ["0.01", "0.05", "0.1"]


def test_the_optimum_is_a_matter_of_the_unit():
    """One image of 10,000 is .0001: off the optimum in fractions, and .0011 is not within .001 either."""
    table = rows("a", [[1e-4], [0.0], [0.00109]])
    (row,) = summarized(table, methods=["a"], unit="fraction")["results"]
    assert (row["share_at_optimum"], row["queries_to"]["0.001"]["share"]) == (0.333333, 0.666667)
    (row,) = summarized(rows("a", [[1e-4], [0.0], [0.1]]), methods=["a"])["results"]
    assert (row["share_at_optimum"], row["queries_to"]["0.1"]["share"]) == (0.666667, 1.0)


def test_ranks_tests_and_their_correction():
    """Three seeds of three methods: ranks by hand, ties averaged; exact sign flips; Holm within a reference and a task."""
    tables = [
        rows("a", [[1, 1, 0], [1, 1, 0], [1, 1, 0]]),
        rows("b", [[3, 3, 3], [1, 2, 0], [2, 2, 2]]),
        rows("c", [[5, 4, 4], [5, 5, 5], [5, 4, 4]]),
    ]
    compare = Comparison(references=("a", "missing"), at=(1, 3), claims=("a",), against=("c", "b"))
    found = summarized(*tables, methods=["c", "b", "a"], compare=compare)
    ranks = {(row["method"], row["queries"]): row["mean_rank"] for row in found["results"]}
    assert ranks["a", 3] == pytest.approx((1 + 1.5 + 1) / 3, rel=1e-5)
    assert ranks["b", 3] == pytest.approx((2 + 1.5 + 2) / 3, rel=1e-5)
    assert ranks["c", 3] == 3
    assert [(row["method"], row["queries"]) for row in found["ranks"]] == [
        (method, query) for query in (1, 3) for method in "abc"
    ]
    tests = [row for row in found["tests"] if row["queries"] == 3]
    assert [(t["family"], t["method"], t["reference"]) for t in tests] == [
        ("reference", "c", "a"),
        ("reference", "b", "a"),
        ("claim", "a", "c"),
        ("claim", "a", "b"),
    ]
    c_against_a, b_against_a = tests[0], tests[1]
    assert c_against_a["p"] == 0.25  # 2 of 8 sign patterns
    assert c_against_a["p_holm"] == 0.5
    assert b_against_a["mean_difference"] == pytest.approx(5 / 3, rel=1e-5)
    assert b_against_a["p"] == 0.5  # 3, 0, 2: the patterns that keep 3 and 2 of one sign are 4 of 8
    assert b_against_a["p_holm"] == 0.5
    assert tests[2]["mean_difference"] == pytest.approx(-13 / 3, rel=1e-5)
    by_test = summarized(*tables, methods=["a", "b"], compare=Comparison(references=("a",), measure="t1"))
    assert by_test["tests"][0]["mean_difference"] == pytest.approx(-5 / 3, rel=1e-5)


@pytest.mark.parametrize("measure", ["regret", "t1"])
def test_tests_see_the_table_s_figures_and_not_their_rounding(measure):
    """Ten searches of each method end at figures with one decimal: p is that of the decimals, 52 of 1,024 patterns."""
    ours = np.array([90.6, 91.4, 91.5, 91.3, 91.3, 90.5, 90.5, 90.7, 90.9, 91.5])
    others = np.array([90.5, 91.5, 91.7, 91.5, 91.5, 90.7, 90.5, 90.9, 90.8, 91.7])

    def ending(method, figures):
        regrets = (np.float32(91.7) - figures.astype(np.float32))[:, None].tolist()
        made = rows(method, regrets)
        for column in ("validation", "test", "incumbent_test"):
            made = made.set_column(made.schema.get_field_index(column), column, pa.array(figures.astype(np.float32)))
        return made

    compare = Comparison(references=("b",), measure=measure)
    found = summarized(ending("a", ours), ending("b", others), methods=["a", "b"], compare=compare)
    tenths = np.round(10 * (ours - others))
    patterns = np.array(list(itertools.product([-1, 1], repeat=10))) @ tenths
    assert found["tests"][0]["p"] == pytest.approx((abs(patterns) >= abs(tenths.sum())).mean(), rel=1e-5)
    assert found["tests"][0]["p"] == pytest.approx(52 / 1024, rel=1e-5)


def test_only_shared_seeds_are_paired():
    a, b = rows("a", [[0, 0, 0]] * 4), rows("b", [[1, 1, 1]] * 2)
    (test,) = summarized(a, b, methods=["a", "b"], compare=Comparison(references=("a",)))["tests"]
    assert test["pairs"] == 2
    assert test["mean_difference"] == 1


def test_tasks_and_signals_are_told_apart():
    tables = [rows("a", [[i, i, i]], task=task, signal=signal) for i, (task, signal) in enumerate(TASKS)]
    found = summarized(*tables, methods=["a"], tasks=TASKS)
    regrets = {(row["task"], row["signal"]): row["mean_regret"] for row in found["results"]}
    assert regrets == {pair: float(i) for i, pair in enumerate(TASKS)}


TASKS = [("first", "value"), ("first", "value@2"), ("second", "value")]


def test_a_search_without_a_usable_query():
    """Its T1 is unknown, which is said, and it ranks last; nothing fails."""
    table = rows("a", [[float("nan")] * 3, [1, 1, 1]])
    other = rows("b", [[2, 2, 2], [2, 2, 2]])
    found = summarized(table, other, methods=["a", "b"], compare=Comparison(references=("b",)))
    a = found["results"][0]
    assert a["mean"] is None
    assert a["mean_regret"] is None
    assert a["mean_rank"] == 1.5
    (test,) = found["tests"]
    assert (test["test"], test["pairs"]) == ("none", 2)
    assert {test[key] for key in ("mean_difference", "p", "p_holm", "rank_biserial")} == {None}
    json.dumps(found, allow_nan=False)


def test_shared_matrices_do_not_mix_searches():
    found = summary.searches(results.join([rows("a", [[3, 2, 1], [9], [5, 4]])]))["first", "value", "a"]
    np.testing.assert_allclose(found.regret, [[3, 2, 1], [9, 9, 9], [5, 4, 4]])
    np.testing.assert_array_equal(found.unique, [[1, 2, 3], [1, 1, 1], [1, 2, 2]])
    np.testing.assert_array_equal(found.seeds, [0, 1, 2])


def test_a_single_search_has_no_interval():
    (row,) = summarized(rows("a", [[2, 1, 1]]), methods=["a"])["results"]
    assert (row["mean"], row["ci95"], row["mean_regret_ci95"], row["sd"]) == (89.0, [None, None], [None, None], None)


def test_searches_that_ended_early_are_told():
    """Their last values count on, so that nothing else in a table shows it."""
    tables = [rows("a", [[3, 2, 1], [9], [5, 4]]), rows("b", [[1, 1, 1]] * 3)]
    found = summarized(*tables, methods=["a", "b"])
    note = "a on first value: 2 of 3 searches ended before 3 queries, the shortest after 1"
    assert found["config"]["tables"][0]["notes"] == [note]


def test_methods_that_asked_the_same_are_told():
    """In the same order, over the seeds that both have; `da` has another order, `cb` another last key in one search."""
    keys = [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    tables = [rows(name, [[3, 2, 1]] * seeds, keys=keys) for name, seeds in (("ad", 3), ("bc", 2))]
    tables += [rows("da", [[3, 2, 1]] * 3, keys=[[7, 9, 8], *keys[1:]])]
    tables += [rows("cb", [[3, 2, 1]] * 3, keys=[keys[0], [4, 5, 7], keys[2]])]
    found = summarized(*tables, methods=["ad", "bc", "da", "cb"])
    (note,) = found["config"]["tables"][0]["notes"]
    assert note.startswith("ad, bc on first value: the same queries in each of 2 searches; a method that explores")


def test_gaps_are_refused():
    with pytest.raises(ValueError, match="the queries of a search are not 1, 2, 3"):
        summary.searches(results.join([rows("a", [[3, 2, 1]]), rows("a", [[3, 2]])]))


def test_tables_by_task_and_their_units():
    """A unit is a signal's own, and thresholds follow it; per cents are points; without a unit only the optimum is known."""
    tables = [rows("a", [[1, 0.04, 0]], task=task, signal=signal) for task, signal in TASKS[:2]]
    sources = {TASKS[1]: SOURCE | {"unit": "nats", "modelled": True}, TASKS[0]: SOURCE}
    found = summary.summarize(results.join(tables), ["a"], ABOUT, sources, Comparison(references=()))
    assert found["config"]["table"] == sources[TASKS[1]] | {"notes": []}
    assert [(t["task"], t["signal"], t["unit"]) for t in found["config"]["tables"]] == [
        (*TASKS[1], "nats"),
        (*TASKS[0], "points"),
    ]
    assert [list(row["queries_to"]) for row in found["results"]] == [["0.01", "0.05", "0.1"], ["0.1", "0.5", "1"]]
    for given, said, counted in (
        ("percent", "points", ["0.1", "0.5", "1"]),
        ("", "", ["0"]),
        ("miles", "miles", ["0"]),
    ):
        found = summarized(tables[0], methods=["a"], unit=given)
        assert found["config"]["unit"] == found["config"]["tables"][0]["unit"] == said
        assert list(found["results"][0]["queries_to"]) == counted


def test_without_a_unit_the_optimum_is_no_regret_at_all():
    """The best figure is one of the table's, so its regret is exactly 0."""
    (row,) = summarized(rows("a", [[0.0], [1e-4], [2.0]]), methods=["a"], unit="")["results"]
    assert row["share_at_optimum"] == row["queries_to"]["0"]["share"] == pytest.approx(1 / 3, rel=1e-5)


@pytest.mark.parametrize("size", [1e2, 1e6])
def test_a_query_that_is_no_incumbent_changes_no_test(size):
    """A diverged network among the queries; the incumbents stay, and so do differences and p."""
    compare = Comparison(references=("b",), at=(2,))
    wanted = None
    for outlier in (0.0, -size):
        pair = [
            rows(name, [[0.03 + shift + 0.001 * i] * 3 for i in range(12)]) for name, shift in (("a", 0), ("b", 0.03))
        ]
        place = pair[0].schema.get_field_index("validation")
        values = pair[0]["validation"].to_pylist()
        values[2] += outlier
        pair[0] = pair[0].set_column(place, "validation", pa.array(values, pa.float32()))
        found = summarized(*pair, methods=["a", "b"], compare=compare, unit="nats")
        wanted = wanted or found["tests"]
        assert found["tests"] == wanted
    assert wanted[0]["p"] == pytest.approx(2 / 4096, rel=1e-5)


def test_numbers_of_queries_beyond_the_budget_are_the_budget():
    found = summarized(rows("a", [[1, 1, 0]]), methods=["a"], compare=Comparison(references=(), at=(2, 3, 50)))
    assert [(row["queries"], row["mean_regret"]) for row in found["results"]] == [(2, 1.0), (3, 0.0)]
    short = summarized(rows("a", [[1, 0.5]]), methods=["a"])["results"]  # all its searches ended early
    assert (short[0]["queries"], short[0]["mean_regret"], short[0]["unique_queries"]) == (3, 0.5, 2.0)
