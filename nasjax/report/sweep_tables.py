"""Tables of a sweep, as HTML and as Markdown: results, paired tests, ranks.

A difference is called one only where its test says so after Holm's correction; numbers alone are not set off.
"""

import math
import re
from collections.abc import Sequence

from nasjax.report import curves, markup
from nasjax.report.outcomes import Outcome, Place, Row, Source, Test

_NONE = "\u2013"
_INTERVAL = '<span class="interval">[95&nbsp;%]</span>'
_TESTS = {"wilcoxon": "Wilcoxon's signed ranks, zeros split", "sign_flip": "exact sign flips of the mean"}
_CLAIMED = {"better": "yes", "worse": "the opposite does", "mixed": "mixed", "": ""}


def results(outcome: Outcome, place: Place, queries: int) -> str:
    """Returns the table of all methods at a place after some queries; "" where there is none."""
    rows = _rows(outcome, place, queries)
    if not rows:
        return ""
    styles = {name: style for style, name in enumerate(outcome.methods)}
    tested = any(math.isfinite(row.mean) or math.isfinite(row.median) for row in rows)
    thresholds = list(dict.fromkeys(key for row in rows for key in row.reached))
    t1 = decimals([row.high - row.low for row in rows])
    regret = decimals([row.regret_high - row.regret_low for row in rows])
    head = ["method", *([f"T1,&nbsp;mean {_INTERVAL}", "sd"] if tested else [])]
    head += [f"regret,&nbsp;mean {_INTERVAL}", "median", "at the optimum"]
    head += [f"queries to&nbsp;{markup.text(key, 12)}" for key in thresholds] + ["rank"]
    head += [*(["T2, mean"] if tested else []), "unique queries"]
    body = []
    for row in rows:
        cells = [f"{curves.key(styles[row.method])}{markup.text(row.method, 60)}"]
        if tested:
            cells += [interval(row.mean, row.low, row.high, t1), fixed(row.sd, t1)]
        cells += [interval(row.regret, row.regret_low, row.regret_high, regret), fixed(row.median_regret, regret)]
        cells += [percent(row.at_optimum), *(_below(*_reached(row, key)) for key in thresholds), fixed(row.rank, 2)]
        cells += [*([fixed(row.t2, t1)] if tested else []), _plain(row.unique)]
        body.append(cells)
    return markup.table(head, body, [False] + [True] * (len(head) - 1), "first-column results")


def tests(outcome: Outcome, place: Place, queries: int) -> str:
    """Returns the paired tests at a place after some queries: one table a reference, then the claims; "" without any."""
    found = [test for test in outcome.tests if (test.place, test.queries) == (place, queries)]
    compared = [test for test in found if test.family != "claim"]
    parts = []
    for reference in dict.fromkeys(test.reference for test in compared):
        group = [test for test in compared if test.reference == reference]
        parts.append(f"<h4>Against {markup.text(reference, 60)}</h4>\n{_test_table(group, claims=False)}")
    claims = [test for test in found if test.family == "claim"]
    if claims:
        parts.append(f"<h4>Claims</h4>\n{_test_table(claims, claims=True)}")
    return "\n".join(parts)


def _test_table(group: Sequence[Test], *, claims: bool) -> str:
    places = decimals([test.high - test.low for test in group])
    measure = "T1" if group[0].measure == "t1" else "regret"
    kind = ["claim", "holds?"] if claims else ["method", "verdict"]
    head = [kind[0], f"difference in {measure} {_INTERVAL}", kind[1], "p,&nbsp;Holm", "p", "pairs"]
    body = []
    for test in group:
        name = markup.text(test.method, 60)
        name += f" better than {markup.text(test.reference, 60)}" if claims else ""
        difference = interval(test.difference, test.low, test.high, places, signed=True)
        corrected, verdict = p_value(test.p_holm), _CLAIMED[test.verdict] if claims else test.verdict
        if test.verdict:
            corrected, verdict = f"<strong>{corrected}</strong>", f"<strong>{verdict}</strong>"
        else:
            verdict = '<span class="quiet">not&nbsp;shown</span>'
        body.append([name, difference, verdict, corrected, p_value(test.p), f"{test.pairs:,}"])
    names = [_TESTS.get(name, markup.text(name, 40)) for name in dict.fromkeys(test.name for test in group)]
    over = "these claims" if claims else "these methods"
    note = f'<p class="quiet">Paired over seeds; {"; ".join(names)}; Holm\'s correction over {over}.</p>'
    style = "first-column claims" if claims else "first-column"
    return markup.table(head, body, [False, True, False, True, True, True], style) + "\n" + note


def ranks(outcome: Outcome) -> str:
    """Returns each method's mean rank over places, at all numbers of queries, and at each place after most queries."""
    counts = outcome.counts
    found = {(rank.method, rank.queries): rank.rank for rank in outcome.ranks}
    rows = {(row.method, row.place): row for row in outcome.rows if row.queries == counts[0]}
    places = list(outcome.sources)
    methods = sorted(outcome.methods, key=lambda name: _last(found.get((name, counts[0]), math.nan)))
    head = ["method", *(f"mean, {count:,} queries" for count in counts)]
    head += [title(place) + badge(outcome.sources[place], "modelled") for place in places]
    body = []
    for name in methods:
        each = [rows[name, place].rank if (name, place) in rows else math.nan for place in places]
        means = [found.get((name, count), math.nan) for count in counts]
        shown = [f"<strong>{fixed(means[0], 2)}</strong>", *(fixed(mean, 2) for mean in means[1:])]
        style = outcome.methods.index(name)
        cells = [f"{curves.key(style)}{markup.text(name, 60)}", *shown]
        body.append(cells + [fixed(rank, 2) for rank in each])
    return markup.table(head, body, [False] + [True] * (len(head) - 1), "first-column")


def title(place: Place) -> str:
    """Returns task and signal as HTML."""
    return f"{markup.text(place.task, 60)}, {markup.text(place.signal, 60)}"


def badge(source: Source, text: str = "modelled table") -> str:
    """Returns the badge that stands beside every figure from a modelled table, "" for a measured one."""
    return f' <span class="badge">{text}</span>' if source.modelled else ""


# Markdown


def markdown(outcome: Outcome) -> str:
    """Returns a table for each place and number of queries, then its claims, as GitHub's Markdown; in the summary's order."""
    parts = []
    for place in outcome.sources:
        counts = reversed(outcome.counts)
        tables = ((queries, _rows(outcome, place, queries)) for queries in counts)
        parts += [_markdown_table(outcome, place, queries, rows) for queries, rows in tables if rows]
        claims = [test for test in outcome.tests if test.place == place and test.family == "claim"]
        for method in dict.fromkeys(test.method for test in claims):
            parts.append(_markdown_claims(outcome, place, [test for test in claims if test.method == method]))
    return "\n\n".join(parts) + "\n"


def _markdown_table(outcome: Outcome, place: Place, queries: int, rows: Sequence[Row]) -> str:
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
        cells = [_cell(row.method), _plus_minus(row.mean, row.low, row.high, t1)]
        cells += [_plus_minus(row.regret, row.regret_low, row.regret_high, regret), percent(row.at_optimum)]
        cells += [" ".join(filter(None, _reached(row, middle)))] if middle is not None else []
        cells.append(fixed(row.rank, 2))
        if reference is not None:
            cells.append("reference" if row.method == reference else _against(against.get(row.method)))
        lines.append(_line(cells))
    short = [f"{_cell(row.method)} {fixed(row.unique, 2)}" for row in rows if row.unique < queries]
    lines += ["", f"Unique queries, where they are fewer: {', '.join(short)} on average."] if short else []
    return "\n".join(lines)


def _markdown_claims(outcome: Outcome, place: Place, claims: Sequence[Test]) -> str:
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
        return _NONE
    shown, low, high = (fixed(x, places, signed=True) for x in (test.difference, test.low, test.high))
    return f"{shown} [{low}, {high}], p = {p_value(test.p_holm)}".replace("p = \u2264", "p \u2264")


def _against(test: Test | None) -> str:
    if test is None:
        return _NONE
    return p_value(test.p_holm) + (f", {test.verdict}" if test.verdict else "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: str) -> str:
    """A name in a cell of Markdown: on one line, and no markup."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(value[:61].split()))
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    return re.sub(r"[\\`*\[\]<>|~#!&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", shown)


# Numbers


def decimals(widths: Sequence[float]) -> int:
    """Returns the decimals that show two digits of the usual half interval, 2 to 4, of one above 10 none; 3 without any."""
    halves = sorted(width / 2 for width in widths if math.isfinite(width) and width > 0)
    if not halves:
        return 3
    half = halves[len(halves) // 2]
    return min(max(1 - math.floor(math.log10(half)), 2), 4) if half < 10 else 0


def fixed(value: float, places: int, *, signed: bool = False) -> str:
    """Returns a number with so many decimals, large ones with five digits; a dash for what is not known."""
    if not math.isfinite(value):
        return _NONE
    sign = "+" if signed else ""
    shown = f"{value:{sign}.4e}" if abs(value) >= 1e6 else f"{value:{sign}.{places}f}"
    return shown.replace("-", "\u2212") if float(shown) else f"{0:.{places}f}"


def interval(value: float, low: float, high: float, places: int, *, signed: bool = False) -> str:
    """Returns a mean with its interval in brackets, as HTML."""
    shown = fixed(value, places, signed=signed)
    if not (math.isfinite(low) and math.isfinite(high)):
        return shown
    ends = f"[{fixed(low, places, signed=signed)}, {fixed(high, places, signed=signed)}]"
    return _below(shown, ends)


def _below(main: str, beside: str) -> str:
    """HTML of a figure and of what is said of it, in a line of its own where the table is wide."""
    return f'{main} <span class="interval">{beside}</span>'


def percent(share: float) -> str:
    """Returns a share in per cent; only all is 100, only none is 0."""
    if not math.isfinite(share):
        return _NONE
    inner = min(max(100 * share, 0.1), 99.9) if 0 < share < 1 else 100 * share
    return f"{inner:.1f} %" if 0 < inner < 1 or 99 < inner < 100 else f"{inner:.0f} %"


def p_value(p: float) -> str:
    """Returns a p-value: three decimals, or its power of ten."""
    if not math.isfinite(p):
        return _NONE
    if p >= 0.001:
        return f"{p:.3f}"
    return f"{p:.0e}" if p >= 1e-300 else "\u2264 1e-300"


def _rows(outcome: Outcome, place: Place, queries: int) -> list[Row]:
    return [row for row in outcome.rows if (row.place, row.queries) == (place, queries)]


def _reached(row: Row, key: str) -> tuple[str, str]:
    """The median number of queries until a regret, and the share that came there in brackets."""
    if key not in row.reached:
        return _NONE, ""
    median, share = row.reached[key]
    shown = _plain(median) if math.isfinite(median) else "never"
    return shown, f"({percent(share)})"


def _plus_minus(value: float, low: float, high: float, places: int) -> str:
    half = (high - low) / 2
    return fixed(value, places) + (f" \u00b1 {fixed(half, places)}" if math.isfinite(half) else "")


def _plain(value: float) -> str:
    """A count, or the mean or median of counts: whole, or with one decimal."""
    if not math.isfinite(value):
        return _NONE
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _last(rank: float) -> float:
    """NaN sorts last."""
    return math.inf if math.isnan(rank) else rank
