"""The tables of a sweep's report, from summaries made by hand."""

import io
import re

import pytest
from sweep_cases import NONE, comparison, make_summary, row

from nasjax import terminal
from nasjax.report import numbers, outcomes, sweep_tables
from nasjax.report.sweep import markdown


def test_markdown_by_hand():
    rows = [
        row("random", mean_regret=0.75, mean_regret_ci95=[0.7, 0.8], share_at_optimum=0.02, mean_rank=2.9),
        row("cem"),
        row("new", mean=None, ci95=[None, None], queries_to={"0.1": {"median": 3, "share": 1.0}}, share_at_optimum=1.0),
    ]
    tests = [comparison("random", 0.6569, 2e-60), comparison("new", -0.01, 0.0499)]
    assert markdown(make_summary(rows, tests)) == (
        "**t, s**: toy, 100 queries, 500 seeds\n\n"
        "| method | T1, mean | regret (points) | at the optimum | queries to 0.5 | rank | p against cem (Holm) |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| random | 94.321 \u00b1 0.013 | 0.750 \u00b1 0.050 | 2 % | 31.5 (97 %) | 2.90 | 2e-60, worse |\n"
        "| cem | 94.321 \u00b1 0.013 | 0.093 \u00b1 0.010 | 76 % | 31.5 (97 %) | 2.10 | reference |\n"
        "| new | \u2013 | 0.093 \u00b1 0.010 | 100 % | \u2013 | 2.10 | 0.050, better |\n"
    )


def test_searches_that_ended_early_show_beside_their_figures():
    said = "\n\nUnique queries, where they are fewer: b 98.75 on average.\n"
    assert markdown(make_summary([row("a"), row("b", unique_queries=98.75)], [])).endswith(said)
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
    assert (f", {verdict} |" in markdown(make_summary([row("a"), row("cem")], tests))) == bool(verdict)


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
    text = markdown(make_summary([row(name, queries=n) for name in ("a", "b", "cem") for n in (50, 100)], tests))
    assert text.endswith(
        "\n\n**t, s**: regret of a minus that of the others [95 %], Holm's correction over them\n\n"
        "| queries | cem | b |\n"
        "| ---: | ---: | ---: |\n"
        "| 50 | \u22120.200 [\u22120.250, \u22120.150], p = 3e-05 | \u22120.200 [\u22120.250, \u22120.150], p = 0.200 |\n"
        "| 100 | \u22120.200 [\u22120.250, \u22120.150], p = 0.040 | \u2013 |\n"
    )
    assert "Holm's correction over them" not in markdown(make_summary([row("a"), row("cem")], tests[-1:]))


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
