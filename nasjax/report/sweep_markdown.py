"""Tables of a sweep as GitHub's Markdown."""

import re
from collections.abc import Sequence

from nasjax.report import curves
from nasjax.report.numbers import NONE, decimals, fixed, p_value, percent, plus_minus, reached
from nasjax.report.outcomes import Outcome, Place, Row, Test


def markdown(outcome: Outcome) -> str:
    """Returns a table for each place and number of queries, then its claims, as GitHub's Markdown; in the summary's order."""
    parts = []
    for place in outcome.sources:
        counts = reversed(outcome.counts)
        tables = ((queries, outcome.at(place, queries)) for queries in counts)
        parts += [_main(outcome, place, queries, rows) for queries, rows in tables if rows]
        claims = [test for test in outcome.tests if test.place == place and test.family == "claim"]
        for method in dict.fromkeys(test.method for test in claims):
            parts.append(_claims(outcome, place, [test for test in claims if test.method == method]))
    return "\n\n".join(parts) + "\n"


def _main(outcome: Outcome, place: Place, queries: int, rows: Sequence[Row]) -> str:
    thresholds = list(dict.fromkeys(key for row in rows for key in row.reached))
    middle = thresholds[len(thresholds) // 2] if thresholds else None
    compared = [
        test for test in outcome.tests if (test.place, test.queries) == (place, queries) and test.family != "claim"
    ]
    reference = compared[0].reference if compared else None
    against = {test.method: test for test in compared if test.reference == reference}
    t1, regret = (
        decimals([row.high - row.low for row in rows]),
        decimals([row.regret_high - row.regret_low for row in rows]),
    )
    source = outcome.sources[place]
    heading = f"**{_cell(place.task)}, {_cell(place.signal)}**: {_cell(outcome.space)}, {queries:,} queries, "
    heading += curves.counted([row.seeds for row in rows])
    heading += ", **modelled table**" if source.modelled else ""
    head = ["method", "T1, mean", f"regret ({_cell(source.unit)})" if source.unit else "regret", "at the optimum"]
    head += [f"queries to {_cell(middle)}"] if middle is not None else []
    head += ["rank"] + ([f"p against {_cell(reference)} (Holm)"] if reference is not None else [])
    lines = [heading, "", _line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    for row in rows:
        cells = [_cell(row.method), plus_minus(row.mean, row.low, row.high, t1)]
        cells += [plus_minus(row.regret, row.regret_low, row.regret_high, regret), percent(row.at_optimum)]
        cells += [" ".join(filter(None, reached(row, middle)))] if middle is not None else []
        cells.append(fixed(row.rank, 2))
        if reference is not None:
            cells.append("reference" if row.method == reference else _against(against.get(row.method)))
        lines.append(_line(cells))
    short = [f"{_cell(row.method)} {fixed(row.unique, 2)}" for row in rows if row.unique < queries]
    lines += ["", f"Unique queries, where they are fewer: {', '.join(short)} on average."] if short else []
    return "\n".join(lines)


def _claims(outcome: Outcome, place: Place, claims: Sequence[Test]) -> str:
    """One method's differences from those that it is claimed to be better than, a row for each number of queries."""
    others = list(dict.fromkeys(test.reference for test in claims))
    found = {(test.queries, test.reference): test for test in claims}
    places = decimals([test.high - test.low for test in claims])
    measure = "T1" if claims[0].measure == "t1" else "regret"
    heading = f"**{_cell(place.task)}, {_cell(place.signal)}**: {measure} of {_cell(claims[0].method)} minus that of the others "
    heading += "[95 %], Holm's correction over them"
    heading += ", **modelled table**" if outcome.sources[place].modelled else ""
    lines = [heading, "", _line(["queries", *map(_cell, others)]), _line(["---:"] * (len(others) + 1))]
    for queries in dict.fromkeys(test.queries for test in claims):
        row = (found.get((queries, other)) for other in others)
        lines.append(_line([f"{queries:,}", *(_difference(test, places) for test in row)]))
    return "\n".join(lines)


def _difference(test: Test | None, places: int) -> str:
    """With its interval, and p after the correction."""
    if test is None:
        return NONE
    shown, low, high = (fixed(x, places, signed=True) for x in (test.difference, test.low, test.high))
    return f"{shown} [{low}, {high}], p = {p_value(test.p_holm)}".replace("p = \u2264", "p \u2264")


def _against(test: Test | None) -> str:
    if test is None:
        return NONE
    return p_value(test.p_holm) + (f", {test.verdict}" if test.verdict else "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: str) -> str:
    """A name in a cell of Markdown: on one line, and no markup."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(value[:61].split()))
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    return re.sub(r"[\\`*\[\]<>|~#!&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", shown)
