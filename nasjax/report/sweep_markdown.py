"""Tables of a sweep as GitHub's Markdown.

The main tables stand in published pages as they are printed. Their p-values are worth little alone: tables of differences
with intervals follow them, then what else the summary knows of each place, then ranks.
"""

import math
import re
from collections.abc import Sequence

from nasjax.report import curves
from nasjax.report.numbers import NONE, decimals, fixed, last, p_value, percent, plus_minus, reached
from nasjax.report.outcomes import Outcome, Place, Row, Test

_BESIDE = 2
"""So many references have columns beside each other; with more, each comparison has a row."""


def markdown(outcome: Outcome) -> str:
    """Returns all tables: of each place the main ones with their differences, its claims, T2 and thresholds; then ranks."""
    parts = []
    for place in outcome.sources:
        for queries in reversed(outcome.counts):
            parts += [_main(outcome, place, queries), _differences(outcome, place, queries)]
        parts += [*_claims(outcome, place), _reaching(outcome, place)]
    parts.append(_ranks(outcome))
    return _joined(parts)


def brief(outcome: Outcome) -> str:
    """Returns each place's main tables and its claims: what fits a terminal."""
    parts = []
    for place in outcome.sources:
        parts += [_main(outcome, place, queries) for queries in reversed(outcome.counts)]
        parts += _claims(outcome, place)
    return _joined(parts)


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(filter(None, parts)) + "\n"


def _main(outcome: Outcome, place: Place, queries: int) -> str:
    """All methods at a place after some queries; "" where there is none."""
    rows = outcome.at(place, queries)
    if not rows:
        return ""
    thresholds = _thresholds(rows)
    middle = thresholds[len(thresholds) // 2] if thresholds else None
    compared = _compared(outcome, place, queries)
    reference = compared[0].reference if compared else None
    against = {test.method: test for test in compared if test.reference == reference}
    t1, regret = (
        decimals([row.high - row.low for row in rows]),
        decimals([row.regret_high - row.regret_low for row in rows]),
    )
    said = f"{_cell(outcome.space)}, {queries:,} queries, {curves.counted([row.seeds for row in rows])}"
    head = ["method", "T1, mean", _regret(outcome, place), "at the optimum"]
    head += [f"queries to {_cell(middle)}"] if middle is not None else []
    head += ["rank"] + ([f"p against {_cell(reference)} (Holm)"] if reference is not None else [])
    lines = [_heading(outcome, place, said), "", *_head(head)]
    for row in rows:
        cells = [_cell(row.method), plus_minus(row.mean, row.low, row.high, t1)]
        cells += [plus_minus(row.regret, row.regret_low, row.regret_high, regret), percent(row.at_optimum)]
        cells += [_joint(row, middle)] if middle is not None else []
        cells.append(fixed(row.rank, 2))
        if reference is not None:
            cells.append("reference" if row.method == reference else _against(against.get(row.method)))
        lines.append(_line(cells))
    most = max(row.seeds for row in rows)
    fewer = [f"{_cell(row.method)} {row.seeds:,}" for row in rows if row.seeds < most]
    lines += ["", f"Seeds, where they are fewer than {most:,}: {', '.join(fewer)}."] if fewer else []
    short = [f"{_cell(row.method)} {fixed(row.unique, 2)}" for row in rows if row.unique < queries]
    lines += ["", f"Unique queries, where they are fewer: {', '.join(short)} on average."] if short else []
    return "\n".join(lines)


def _differences(outcome: Outcome, place: Place, queries: int) -> str:
    """Each method's differences from the references; "" without any."""
    tests = _compared(outcome, place, queries)
    if not tests:
        return ""
    references = list(dict.fromkeys(test.reference for test in tests))
    places = decimals([test.high - test.low for test in tests])
    what = "T1" if tests[0].measure == "t1" else _regret(outcome, place)
    said = f"after {queries:,} queries, mean difference in {what} [95 %], "
    said += f"paired over {curves.counted([test.pairs for test in tests])}"
    lines = [_heading(outcome, place, said), ""]
    if len(references) > _BESIDE:
        lines += _head(["method", "minus", "difference", "p (Holm)"], texts=2)
        for test in tests:
            lines.append(_line([_cell(test.method), _cell(test.reference), _effect(test, places), _against(test)]))
        return "\n".join(lines)
    found = {(test.method, test.reference): test for test in tests}
    lines += _head(["method", *(text for name in references for text in (f"minus {_cell(name)}", "p (Holm)"))])
    for method in outcome.methods:
        row = [found.get((method, reference)) for reference in references]
        if any(row):
            pairs = ((_effect(test, places), _against(test)) for test in row)
            lines.append(_line([_cell(method), *(cell for pair in pairs for cell in pair)]))
    return "\n".join(lines)


def _claims(outcome: Outcome, place: Place) -> list[str]:
    """For each method its differences from those that it is claimed to be better than, a row for each number of queries."""
    tests = [test for test in outcome.tests if test.place == place and test.family == "claim"]
    methods = dict.fromkeys(test.method for test in tests)
    return [_claim(outcome, place, [test for test in tests if test.method == method]) for method in methods]


def _claim(outcome: Outcome, place: Place, claims: Sequence[Test]) -> str:
    others = list(dict.fromkeys(test.reference for test in claims))
    found = {(test.queries, test.reference): test for test in claims}
    places = decimals([test.high - test.low for test in claims])
    measure = "T1" if claims[0].measure == "t1" else "regret"
    said = f"{measure} of {_cell(claims[0].method)} minus that of the others [95 %], Holm's correction over them"
    lines = [_heading(outcome, place, said), "", *_head(["queries", *map(_cell, others)], texts=0)]
    for queries in dict.fromkeys(test.queries for test in claims):
        row = (found.get((queries, other)) for other in others)
        lines.append(_line([f"{queries:,}", *(_difference(test, places) for test in row)]))
    return "\n".join(lines)


def _reaching(outcome: Outcome, place: Place) -> str:
    """T2 and the queries until the regret is within each threshold, after all queries; "" where neither is known."""
    rows = next(filter(None, (outcome.at(place, queries) for queries in outcome.counts)), [])
    thresholds = _thresholds(rows)
    tested = any(math.isfinite(row.t2) for row in rows)
    if not thresholds and not tested:
        return ""
    t1 = decimals([row.high - row.low for row in rows])
    parts = ["best test value among them (T2)"] if tested else []
    parts += [f"queries to a {_regret(outcome, place)}, median (share)"] if thresholds else []
    said = f"after {rows[0].queries:,} queries, {'; '.join(parts)}"
    head = ["method", *(["T2, mean"] if tested else []), *(f"to {_cell(key)}" for key in thresholds)]
    lines = [_heading(outcome, place, said), "", *_head(head)]
    for row in rows:
        cells = [_cell(row.method), *([fixed(row.t2, t1)] if tested else [])]
        lines.append(_line(cells + [_joint(row, key) for key in thresholds]))
    return "\n".join(lines)


def _ranks(outcome: Outcome) -> str:
    """Mean ranks over places, best first after most queries; "" where there is one place."""
    places = [place for place in outcome.sources if any(row.place == place for row in outcome.rows)]
    if len(places) < 2 or not outcome.ranks:
        return ""
    counts = outcome.counts
    found = {(rank.method, rank.queries): rank.rank for rank in outcome.ranks}
    modelled = sum(outcome.sources[place].modelled for place in places)
    heading = f"**Mean rank over {len(places)} tasks and signals**, 1 = best"
    heading += f", {modelled} of them **modelled**" if modelled else ""
    lines = [heading, "", *_head(["method", *(f"{count:,} queries" for count in reversed(counts))])]
    for method in sorted(outcome.methods, key=lambda name: last(found.get((name, counts[0]), math.nan))):
        means = (found.get((method, count), math.nan) for count in reversed(counts))
        lines.append(_line([_cell(method), *(fixed(mean, 2) for mean in means)]))
    return "\n".join(lines)


# Parts


def _compared(outcome: Outcome, place: Place, queries: int) -> list[Test]:
    """The comparisons with references."""
    return [test for test in outcome.tests if (test.place, test.queries) == (place, queries) and test.family != "claim"]


def _thresholds(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.reached))


def _heading(outcome: Outcome, place: Place, said: str) -> str:
    modelled = ", **modelled table**" if outcome.sources[place].modelled else ""
    return f"**{_cell(place.task)}, {_cell(place.signal)}**: {said}{modelled}"


def _regret(outcome: Outcome, place: Place) -> str:
    unit = outcome.sources[place].unit
    return f"regret ({_cell(unit)})" if unit else "regret"


def _joint(row: Row, key: str) -> str:
    return " ".join(filter(None, reached(row, key)))


def _effect(test: Test | None, places: int) -> str:
    """A difference with its interval."""
    if test is None:
        return NONE
    shown, low, high = (fixed(x, places, signed=True) for x in (test.difference, test.low, test.high))
    return f"{shown} [{low}, {high}]"


def _difference(test: Test | None, places: int) -> str:
    """With its interval, and p after the correction."""
    if test is None:
        return NONE
    return f"{_effect(test, places)}, p = {p_value(test.p_holm)}".replace("p = \u2264", "p \u2264")


def _against(test: Test | None) -> str:
    if test is None:
        return NONE
    return p_value(test.p_holm) + (f", {test.verdict}" if test.verdict else "")


def _head(cells: Sequence[str], texts: int = 1) -> list[str]:
    """A table's first two lines; so many columns, the first, hold text, the others numbers."""
    return [_line(cells), _line(["---"] * texts + ["---:"] * (len(cells) - texts))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: str) -> str:
    """A name in a cell of Markdown: on one line, and no markup."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(value[:61].split()))
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    return re.sub(r"[\\`*\[\]<>|~#!&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", shown)
