"""The tables of a sweep's report, most from summaries made by hand."""

import io
import itertools
import json
import re

import pytest
from sweep_cases import NONE, comparison, make_summary, row

from nasjax import terminal
from nasjax.report import numbers, outcomes, sweep_tables
from nasjax.report.sweep import brief, markdown


def test_main_table_by_hand():
    rows = [
        row("random", mean_regret=0.75, mean_regret_ci95=[0.7, 0.8], share_at_optimum=0.02, mean_rank=2.9),
        row("cem"),
        row("new", mean=None, ci95=[None, None], queries_to={"0.1": {"median": 3, "share": 1.0}}, share_at_optimum=1.0),
    ]
    tests = [comparison("random", 0.6569, 2e-60), comparison("new", -0.01, 0.0499)]
    assert brief(make_summary(rows, tests)) == (
        "**t, s**: toy, 100 queries, 500 seeds\n\n"
        "| method | T1, mean | regret (points) | at the optimum | queries to 0.5 | rank | p against cem (Holm) |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| random | 94.321 \u00b1 0.013 | 0.750 \u00b1 0.050 | 2 % | 31.5 (97 %) | 2.90 | 2e-60, worse |\n"
        "| cem | 94.321 \u00b1 0.013 | 0.093 \u00b1 0.010 | 76 % | 31.5 (97 %) | 2.10 | reference |\n"
        "| new | \u2013 | 0.093 \u00b1 0.010 | 100 % | \u2013 | 2.10 | 0.050, better |\n"
    )


def test_methods_with_fewer_seeds_are_named():
    rows = [row("a"), row("slow_one", seeds=50)]
    text = markdown(make_summary(rows))
    assert "\nSeeds, where they are fewer than 500: slow_one 50.\n" in text
    assert "Seeds, where" not in markdown(make_summary([row("a"), row("b")]))


def test_searches_that_ended_early_show_beside_their_figures():
    said = "\n\nUnique queries, where they are fewer: b 98.75 on average.\n"
    assert brief(make_summary([row("a"), row("b", unique_queries=98.75)], [])).endswith(said)
    assert "fewer" not in markdown(make_summary([row("a"), row("b", unique_queries=None)], []))


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "better"),
        ({"p_holm": 0.05}, ""),
        ({"p_holm": None}, ""),
        ({"mean_difference": 0.2, "rank_biserial": 0.2}, "worse"),
        ({"measure": "t1"}, "worse"),
        ({"mean_difference": 0.2, "rank_biserial": 0.2, "measure": "t1"}, "better"),
        ({"rank_biserial": 0.1}, "mixed"),
        ({"rank_biserial": 0.1, "test": "sign_flip"}, "better"),
    ],
)
def test_a_verdict_needs_its_test(changes, verdict):
    tests = [comparison("a", -0.2, 0.01, **changes)]
    outcome = outcomes.parse(make_summary([row("a"), row("cem")], tests))
    assert outcome.tests[0].verdict == verdict
    shown = sweep_tables.tests(outcome, outcomes.Place("t", "s"), 100)
    assert re.findall("<strong>([a-z]+)</strong>", shown) == ([verdict] if verdict else [])
    assert ("not&nbsp;shown" in shown) == (not verdict)
    assert (f", {verdict} |" in brief(make_summary([row("a"), row("cem")], tests))) == bool(verdict)


def test_a_claim_that_fails_is_said():
    tests = [comparison("a", -0.2, p, family="claim", reference=other) for p, other in ((0.01, "cem"), (0.2, "b"))]
    tests.append(comparison("a", 0.2, 0.01, family="claim", reference="c"))
    outcome = outcomes.parse(make_summary([row(name) for name in ("a", "b", "c", "cem")], tests))
    shown = sweep_tables.tests(outcome, outcomes.Place("t", "s"), 100)
    found = re.findall(r"<td>(a better than \w+)</td>.*?<td>(.*?)</td>", shown)
    assert [(claim, re.sub("<[^>]*>", "", verdict)) for claim, verdict in found] == [
        ("a better than cem", "yes"),
        ("a better than b", "not&nbsp;shown"),
        ("a better than c", "the opposite does"),
    ]
    assert "Against" not in shown


def test_claims_in_markdown_by_hand():
    tests = [
        comparison("a", -0.2, p, family="claim", reference=other, queries=queries, ci95=[-0.25, -0.15])
        for queries, p, other in ((50, 3e-5, "cem"), (50, 0.2, "b"), (100, 0.04, "cem"))
    ]
    tests.append(comparison("a", -0.2, 0.01))
    text = brief(make_summary([row(name, queries=n) for name in ("a", "b", "cem") for n in (50, 100)], tests))
    assert text.endswith(
        "\n\n**t, s**: regret of a minus that of the others [95 %], Holm's correction over them\n\n"
        "| queries | cem | b |\n"
        "| ---: | ---: | ---: |\n"
        "| 50 | \u22120.200 [\u22120.250, \u22120.150], p = 3e-05 | \u22120.200 [\u22120.250, \u22120.150], p = 0.200 |\n"
        "| 100 | \u22120.200 [\u22120.250, \u22120.150], p = 0.040 | \u2013 |\n"
    )
    assert "Holm's correction over them" not in markdown(make_summary([row("a"), row("cem")], tests[-1:]))


def precise(method, difference, p_holm, **changes):
    return comparison(method, difference, p_holm, ci95=[difference - 0.05, difference + 0.05], **changes)


def test_all_tables_by_hand():
    rows = [row(name, queries=n) for n in (50, 100) for name in ("random", "cem", "local")]
    rows[3] |= {"t2_mean": None, "queries_to": {"0.1": {"median": None, "share": 0.25}}}
    tests = [precise("random", 0.6569, 2e-60), precise("local", -0.01, 0.0499, pairs=100)]
    tests += [precise(name, 0.2, 0.3, reference="local") for name in ("random", "cem")]
    tests.append(precise("random", 0.25, 0.01, queries=50))
    content = make_summary(rows, tests)
    first, second = brief(content)[:-1].split("\n\n**t, s**: toy, 100 queries")
    assert markdown(content) == (
        f"{first}\n\n"
        "**t, s**: after 50 queries, mean difference in regret (points) [95 %], paired over 500 seeds\n\n"
        "| method | minus cem | p (Holm) |\n"
        "| --- | ---: | ---: |\n"
        "| random | +0.250 [+0.200, +0.300] | 0.010, worse |\n\n"
        f"**t, s**: toy, 100 queries{second}\n\n"
        "**t, s**: after 100 queries, mean difference in regret (points) [95 %], paired over 100 to 500 seeds\n\n"
        "| method | minus cem | p (Holm) | minus local | p (Holm) |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| random | +0.657 [+0.607, +0.707] | 2e-60, worse | +0.200 [+0.150, +0.250] | 0.300 |\n"
        "| cem | \u2013 | \u2013 | +0.200 [+0.150, +0.250] | 0.300 |\n"
        "| local | \u22120.010 [\u22120.060, +0.040] | 0.050, better | \u2013 | \u2013 |\n\n"
        "**t, s**: after 100 queries, best test value among them (T2); queries to a regret (points), median (share)\n\n"
        "| method | T2, mean | to 0.1 | to 0.5 |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| random | \u2013 | never (25 %) | \u2013 |\n"
        "| cem | 94.350 | 58 (80 %) | 31.5 (97 %) |\n"
        "| local | 94.350 | 58 (80 %) | 31.5 (97 %) |\n"
    )


def test_more_than_two_references_have_a_row_for_each_comparison():
    names = ("a", "b", "c")
    tests = [precise(x, 0.2, 0.3, reference=y, measure="t1") for y in names for x in names if x != y]
    text = markdown(make_summary([row(name) for name in names], tests))
    assert (
        "**t, s**: after 100 queries, mean difference in T1 [95 %], paired over 500 seeds\n\n"
        "| method | minus | difference | p (Holm) |\n"
        "| --- | --- | ---: | ---: |\n"
        "| b | a | +0.200 [+0.150, +0.250] | 0.300 |\n"
        "| c | a | +0.200 [+0.150, +0.250] | 0.300 |\n"
        "| a | b | +0.200 [+0.150, +0.250] | 0.300 |\n"
    ) in text
    assert text.count("+0.200 [+0.150, +0.250]") == 6


def test_tables_that_would_be_empty_are_left_out():
    claim = comparison("a", -0.2, 0.01, family="claim")
    unknown = {"t2_mean": None, "queries_to": {}}
    rows = [row(name, **unknown) for name in ("a", "cem")]
    ranks = [{"method": name, "queries": 100, "mean_rank": 1.5} for name in ("a", "cem")]
    content = make_summary(rows, [claim], ranks)
    assert markdown(content) == brief(content)
    assert "minus that of the others" in markdown(content)
    content = make_summary([row("a", t2_mean=None)])
    assert "queries, queries to a regret (points), median (share)\n\n| method | to 0.1 | to 0.5 |" in markdown(content)
    content = make_summary([row("a", queries_to={})])
    assert "queries, best test value among them (T2)\n\n| method | T2, mean |" in markdown(content)


def test_ranks_stand_where_there_are_several_places():
    rows = [row(name, queries=n, task=task) for task in ("t", "u") for n in (50, 100) for name in ("a", "b", "c")]
    found = {("a", 50): 1.5, ("a", 100): 2.125, ("b", 50): 3, ("b", 100): 1.25, ("c", 100): None}
    ranks = [{"method": name, "queries": n, "mean_rank": rank} for (name, n), rank in found.items()]
    content = make_summary(rows, (), ranks)
    content["config"]["tables"].append(content["config"]["tables"][0] | {"task": "u", "modelled": True})
    assert markdown(content).endswith(
        "\n\n**Mean rank over 2 tasks and signals**, 1 = best, 1 of them **modelled**\n\n"
        "| method | 50 queries | 100 queries |\n"
        "| --- | ---: | ---: |\n"
        "| b | 3.00 | 1.25 |\n"
        "| a | 1.50 | 2.12 |\n"
        "| c | \u2013 | \u2013 |\n"
    )
    assert "Mean rank" not in brief(content)
    assert "Mean rank" not in markdown(content | {"ranks": []})
    assert "Mean rank" not in markdown(content | {"results": [r for r in rows if r["task"] == "t"]})


def test_all_of_the_summary_is_there(made):
    """Three methods, two references, claims, two places: each figure of `summary.json` that these tables are for."""
    said = json.loads((made[0] / "summary.json").read_text())
    blocks = markdown(said)[:-1].split("\n\n")
    tables = {}
    for heading, block in itertools.pairwise(blocks):
        if block[0] != "|":
            continue
        head, _, *lines = (line[2:-2].split(" | ") for line in block.splitlines())
        found = {(line[0], name): line[1 + i : 3 + i] for line in lines for i, name in enumerate(head[1:])}
        assert heading not in tables
        tables[heading] = found

    def under(test, start):
        place = f"**{test['task']}, {test['signal']}**: "
        (found,) = (table for heading, table in tables.items() if heading.startswith(place + start))
        return found

    def figures(cell):
        return [float(x) for x in re.findall(r"-?[0-9.]+", cell.replace("\u2212", "-"))]

    tests = [test for test in said["tests"] if test["family"] == "reference"]
    assert len({(test["reference"], test["method"], test["queries"], test["task"]) for test in tests}) == 2 * 2 * 2 * 2
    for test in tests:
        found = under(test, f"after {test['queries']} queries, mean difference in regret (points)")
        difference, p = found[test["method"], f"minus {test['reference']}"]
        assert figures(difference) == pytest.approx([test["mean_difference"], *test["ci95"]], abs=0.0051)
        assert p.split(", ")[0] == numbers.p_value(test["p_holm"])
    for result in said["results"]:
        if result["queries"] == 12:
            found = under(result, "after 12 queries, best test value")
            assert figures(found[result["method"], "T2, mean"][0]) == pytest.approx([result["t2_mean"]], abs=0.0051)
            for key, reached in result["queries_to"].items():
                median, share = found[result["method"], f"to {key}"][0].split(" ", 1)
                assert median == ("never" if reached["median"] is None else f"{reached['median']:g}")
                assert figures(share) == pytest.approx([100 * reached["share"]], abs=0.51)
    (ranks,) = (table for heading, table in tables.items() if heading.startswith("**Mean rank over 2 "))
    assert len(said["ranks"]) == len(ranks) == 3 * 2
    for rank in said["ranks"]:
        shown = ranks[rank["method"], f"{rank['queries']} queries"][0]
        assert float(shown) == pytest.approx(rank["mean_rank"], abs=0.0051)
    assert [name for name, queries in ranks if queries == "12 queries"] == (
        [rank["method"] for rank in said["ranks"] if rank["queries"] == 12]
    )
    short = brief(said)[:-1].split("\n\n")
    assert [block for block in blocks if block in short] == short
    assert sum(block[0] == "|" for block in short) == 2 * (2 + 1)


def test_numbers():
    assert [numbers.percent(x) for x in (0, 1, 0.5, 0.0004, 0.9996, 0.974, NONE)] == (
        ["0 %", "100 %", "50 %", "0.1 %", "99.9 %", "97 %", "\u2013"]
    )
    assert [numbers.p_value(x) for x in (1.0, 0.0123, 0.001, 0.00099, 3.2e-60, 0.0, NONE)] == (
        ["1.000", "0.012", "0.001", "1e-03", "3e-60", "\u2264 1e-300", "\u2013"]
    )
    assert numbers.decimals([0.026, 0.04, 2.0]) == 3
    assert numbers.decimals([NONE, 19.0]) == 2
    assert numbers.decimals([2e5, 20.0, 2e6]) == 0
    assert numbers.decimals([1e-9]) == 4
    assert numbers.decimals([]) == 3
    assert numbers.fixed(-0.0001, 2) == "0.00"
    assert numbers.fixed(-1.5, 1, signed=True) == "\u22121.5"
    assert numbers.fixed(-2e6, 1) == "\u22122.0000e+06"
    assert numbers.fixed(2e6, 1, signed=True) == "+2.0000e+06"
    plain = terminal.encodable("\u22121.5 \u00b1 0.1, \u2264 1e-300, \u2013", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert plain == "-1.5 +/- 0.1, <= 1e-300, -"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("results"), "results is None, no list"),
        (lambda s: s.__setitem__("config", 3), "config is 3, no object"),
        (lambda s: s["results"].append([]), r"results.1 is \[\], no object"),
        (lambda s: s["results"][0].__setitem__("mean", "x"), "results.0.mean is 'x', no number"),
        (lambda s: s["results"][0].__setitem__("mean", 10**400), "results.0.mean is 1000"),
        (lambda s: s["results"][0].__setitem__("ci95", [1]), "results.0.ci95 has 1 values, not 2"),
        (lambda s: s["results"][0].__setitem__("method", None), "results.0.method is None, no string"),
        (lambda s: s["results"][0].__setitem__("queries", -1), "results.0.queries is -1, no count"),
        (lambda s: s["results"][0].__setitem__("seeds", True), "results.0.seeds is True, no count"),
        (lambda s: s["config"].__setitem__("budget", 1 << 40), "config.budget is 1099511627776, no count"),
        (lambda s: s["config"].__setitem__("tables", [5]), "config.tables.0 is 5, no object"),
        (lambda s: s["tests"].append({"task": 1}), "tests.0.task is 1, no string"),
    ],
)
def test_a_summary_of_another_form_is_refused(change, message):
    content = make_summary([row("a")])
    markdown(content)
    change(content)
    with pytest.raises(ValueError, match=f"^{message}"):
        markdown(content)


# Whatever the results are
