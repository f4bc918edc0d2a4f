"""Tables of a sweep as HTML: results, paired tests, ranks.

A difference is called one only where its test says so after Holm's correction; numbers alone are not set off.
"""

import math
from collections.abc import Sequence

from nasjax.report import curves, markup
from nasjax.report.numbers import decimals, fixed, last, p_value, percent, plain, reached
from nasjax.report.outcomes import Outcome, Place, Source, Test

_INTERVAL = '<span class="interval">[95&nbsp;%]</span>'
_TESTS = {"wilcoxon": "Wilcoxon's signed ranks, zeros split", "sign_flip": "exact sign flips of the mean"}
_CLAIMED = {"better": "yes", "worse": "the opposite does", "mixed": "mixed", "": ""}


def results(outcome: Outcome, place: Place, queries: int) -> str:
    """Returns the table of all methods at a place after some queries; "" where there is none."""
    rows = outcome.at(place, queries)
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
        cells += [percent(row.at_optimum), *(_below(*reached(row, key)) for key in thresholds), fixed(row.rank, 2)]
        cells += [*([fixed(row.t2, t1)] if tested else []), plain(row.unique)]
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
    methods = sorted(outcome.methods, key=lambda name: last(found.get((name, counts[0]), math.nan)))
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
