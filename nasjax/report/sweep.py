"""The report of a sweep: one HTML file that needs nothing else, pictures for papers beside it, tables as Markdown.

It says the same for the same results: clocks and durations (`events.jsonl`) are not in it.
"""

import itertools
import json
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from nasjax import files, results, rundir, summary
from nasjax.report import curves, markup, outcomes, sweep_markdown, sweep_tables
from nasjax.report.curves import Panel
from nasjax.report.outcomes import Outcome, Place
from nasjax.report.sweep_tables import badge, title
from nasjax.summary import Group, Searches

T = TypeVar("T")

REPORT, RESULTS, SUMMARY = "report.html", "results.parquet", "summary.json"

_MEASURES = ("regret", "test")
_RESULTS_LIMIT = 1 << 33
_SUMMARY_LIMIT = 1 << 26
_HASH = 12  # digits that are shown
_MOST_NOTES = 20
_REMEDY = "nasjax sweep makes it anew from the chunks"

_STYLE = (
    curves.STYLE
    + """
main { max-width: 68rem; } figure { margin: .6rem 0 1.4rem; } figcaption p { margin: .3rem 0; }
h3 { margin: 1.6rem 0 .4rem; } h4 { font-size: .95rem; margin: 1rem 0 .2rem; font-weight: 600; }
.badge { display: inline-block; font-size: .78rem; font-weight: 600; line-height: 1.45; padding: 0 .45em;
  border: 1px solid currentColor; border-radius: 4px; background: var(--warn-ground); color: var(--warn);
  white-space: nowrap; vertical-align: 1px; }
.first-column td, .first-column th { padding-right: 1.1rem; overflow-wrap: normal; }
.first-column td:first-child { white-space: nowrap; max-width: 17rem; overflow: hidden; text-overflow: ellipsis; }
.first-column th { vertical-align: bottom; } .interval { color: var(--quiet); font-size: .9em; white-space: nowrap; }
td .quiet { font-size: inherit; }
.results .interval { display: block; } .results { font-size: .88rem; } .first-column.results th,
.first-column.results td { padding-right: .75rem; } .first-column.claims td:first-child { white-space: normal; }
.first-column td:first-child, .first-column th:first-child { position: sticky; left: 0; background: var(--ground); }
@media (max-width: 480px) { .first-column td:first-child { max-width: 9.5rem; } .interval { display: block; }
  svg.key-line { width: 22px; } .results { font-size: .82rem; } }
@media print { :root { color-scheme: light; } .wide { display: block; } .narrow { display: none; } main { padding: 0; }
  body { font-size: 10pt; } table { font-size: 7.5pt; } .scroll { overflow: visible; } th, td { padding-right: .5rem; }
  .first-column td, .first-column th { padding-right: .5rem; position: static; }
  figure, tr, .first-column { break-inside: avoid; } h2, h3, h4 { break-after: avoid; } }
"""
)


def write_report(folder: pathlib.Path) -> pathlib.Path:
    """Writes a finished sweep's `report.html` and pictures `curves-….svg` beside it, and returns the former's path.

    Raises:
      RunDirError: a file of the sweep is missing or damaged; what was written before is as it was.
      OSError: a file cannot be written.
    """
    config = rundir.read_config(folder)
    outcome = read_summary(folder)
    groups = read_searches(folder)
    shown = panels(outcome, groups)
    html = render(folder.absolute().name, config, outcome, groups)
    for name, picture in pictures(shown).items():
        files.write(folder / name, picture.encode())
    path = folder / REPORT
    files.write(path, html.encode("utf-8", "replace"))
    return path


def markdown(found: Mapping[str, Any]) -> str:
    """Returns the tables of the content of a `summary.json` as GitHub's Markdown.

    Raises:
      ValueError: it is of another form.
    """
    return sweep_markdown.markdown(outcomes.parse(found))


def brief(found: Mapping[str, Any]) -> str:
    """Returns its main tables and claims only.

    Raises:
      ValueError: it is of another form.
    """
    return sweep_markdown.brief(outcomes.parse(found))


def read_markdown(folder: pathlib.Path) -> str:
    """Returns the tables of a sweep's `summary.json` as GitHub's Markdown, below warnings if the files beside it are others'.

    The results may be missing or damaged: they are large, and the tables do not need them.

    Raises:
      RunDirError: `config.json` or the summary is missing or damaged.
    """
    outcome, groups, warnings = read_summary(folder), None, []
    if (folder / RESULTS).exists():
        try:
            groups = read_searches(folder)
        except rundir.RunDirError as error:
            warnings.append(f"{error}.")
    warnings += _disagreements(rundir.read_config(folder), outcome, groups)
    return "".join(f"> **Warning:** {text}\n\n" for text in warnings) + sweep_markdown.markdown(outcome)


def read_summary(folder: pathlib.Path) -> Outcome:
    """Returns `summary.json`.

    Raises:
      RunDirError: it is missing or damaged.
    """
    path = folder / SUMMARY

    def unpack(data: bytes) -> Outcome:
        return outcomes.parse(json.loads(data))

    return _read(path, _SUMMARY_LIMIT, unpack)


def read_searches(folder: pathlib.Path) -> dict[Group, Searches]:
    """Returns the searches in `results.parquet`, by (task, signal, method).

    Raises:
      RunDirError: it is missing or damaged.
    """

    def unpack(data: bytes) -> dict[Group, Searches]:
        table, _ = results.unpack(data)
        _check(table)
        return summary.searches(table)

    return _read(folder / RESULTS, _RESULTS_LIMIT, unpack)


def _read(path: pathlib.Path, limit: int, unpack: Callable[[bytes], T]) -> T:
    try:
        return unpack(files.read(path, limit))
    except FileNotFoundError as error:
        raise rundir.RunDirError(f"{path} is missing: the sweep has not come to its end; {_REMEDY}") from error
    except OSError as error:
        raise rundir.RunDirError(f"{path}: {error.strerror or type(error).__name__}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error).partition("\n")[0][:120] or type(error).__name__
        raise rundir.RunDirError(f"{path}: {reason}; move it away, {_REMEDY}") from error


def _check(table: pa.Table) -> None:
    """Refuses what has no meaning."""
    if not table.num_rows:
        raise ValueError("it has no rows")
    if any(column.null_count for column in table.columns):
        raise ValueError("it has empty fields")


def panels(outcome: Outcome, groups: Mapping[Group, Searches]) -> dict[tuple[Place, str], Panel]:
    """Returns the curves of all places, "regret" and, where it is known, "test"."""
    found = {}
    for place, measure in itertools.product(outcome.sources, _MEASURES):
        source, drawn = outcome.sources[place], []
        for style, method in enumerate(outcome.methods):
            group = groups.get((*place, method))
            if group is not None:
                drawn.append(curves.curve(method, style, group.regret if measure == "regret" else group.test, measure))
        lines = tuple(line for line in drawn if line is not None)
        if lines:
            threshold = _near_zero(source.unit, [groups[key] for key in groups if key[:2] == place])
            heading = f"{place.task}, {place.signal}"
            found[place, measure] = Panel(heading, measure, source.unit, threshold, source.modelled, lines)
    return found


def _near_zero(unit: str, shown: Sequence[Searches]) -> float:
    """The regret below which an axis may be linear: the least that is counted to, or a thousandth of the worst median."""
    if unit in summary.THRESHOLDS:
        return summary.THRESHOLDS[unit][0]
    worst = max(np.median(np.nan_to_num(group.regret), axis=0).max(initial=0) for group in shown)
    return max(float(worst) / 1000, 1e-9)


def pictures(shown: Mapping[tuple[Place, str], Panel]) -> dict[str, str]:
    """Returns SVG files by name: one a panel, and where there are several places all of them in one."""
    names = _names(shown)
    found = {names[which]: curves.standalone(panel) for which, panel in shown.items()}
    for measure in _MEASURES:
        several = [panel for (_, kind), panel in shown.items() if kind == measure]
        if len(several) > 1:
            found[f"curves-{measure}.svg"] = curves.overview(several)
    return found


def _names(shown: Mapping[tuple[Place, str], Panel]) -> dict[tuple[Place, str], str]:
    """File names; two places whose names differ only in signs that file names lack get a number."""
    names: dict[tuple[Place, str], str] = {}
    for place, measure in shown:
        parts = [re.sub(r"[^A-Za-z0-9_.@+=]", "_", text)[:60] for text in place]
        stem, number = f"curves-{'-'.join(parts)}-{measure}", 2
        name = stem
        while f"{name}.svg" in names.values():
            name, number = f"{stem}-{number}", number + 1
        names[place, measure] = f"{name}.svg"
    return names


def render(name: str, config: Mapping[str, Any], outcome: Outcome, groups: Mapping[Group, Searches]) -> str:
    """Returns the report as HTML.

    Args:
      name: of the run directory.
      config: content of `config.json`.
      outcome: content of `summary.json`.
      groups: the searches in `results.parquet`.
    """
    shown = panels(outcome, groups)
    names = _names(shown)
    body = [_header(name, outcome)]
    warnings = _disagreements(config, outcome, groups)
    body += [f'<p class="warning" role="note"><strong>Warning:</strong> {text}</p>' for text in warnings]
    if len(outcome.sources) > 1 and outcome.ranks:
        body.append(f"<h2>Ranks over tasks</h2>\n{sweep_tables.ranks(outcome)}")
        body.append('<p class="quiet">Within a seed, methods are ranked by regret, 1 = best, ties averaged.</p>')
    for place in outcome.sources:
        body.append(f"<h2>{title(place)}{badge(outcome.sources[place])}</h2>")
        for measure in _MEASURES:
            if (place, measure) in shown:
                file = f"For papers: <code>{markup.text(names[place, measure])}</code>."
                body.append(curves.figure(shown[place, measure], file))
        for queries in outcome.counts:
            body.append(_tables(outcome, place, queries))
    body += [_explanations(outcome), _about(config)]
    return markup.page(f"nasjax sweep {markup.text(name, 200)}", "\n".join(part for part in body if part), _STYLE)


def _header(name: str, outcome: Outcome) -> str:
    num, tasks = len(outcome.methods), len(outcome.sources)
    what = title(next(iter(outcome.sources))) if tasks == 1 else f"{tasks} tasks"
    status = [markup.text(outcome.space, 60)]
    if outcome.op_names:
        status.append(f"{len(outcome.op_names)} operations: {markup.text(', '.join(outcome.op_names), 300)}")
    status += [f"{outcome.budget:,} queries", curves.counted([outcome.seeds])]
    status += [f"unique by {markup.text(outcome.unique, 20)}", f"config {markup.text(outcome.name, 60)}"]
    places: dict[str, list[str]] = {}
    for place, source in outcome.sources.items():
        digest = f" <code>sha256 {markup.text(source.sha256[:_HASH])}</code>" if source.sha256 else ""
        file = f"{markup.text(source.file, 200) or 'unknown'}{digest}{badge(source)}"
        places.setdefault(file, []).append(title(place))
    rows = [("table", file if len(places) == 1 else f"{file}: {'; '.join(which)}") for file, which in places.items()]
    notes = dict.fromkeys(note for source in outcome.sources.values() for note in source.notes)
    rows += [("note", markup.text(note, 300)) for note in itertools.islice(notes, _MOST_NOTES)]
    if len(notes) > _MOST_NOTES:
        rows.append(("notes", f"{len(notes) - _MOST_NOTES:,} more, in {SUMMARY}"))
    return (
        f'<p class="quiet name">nasjax sweep {markup.text(name, 200)}</p>\n'
        f"<h1>{num} method{'s' * (num != 1)} on {what}</h1>\n"
        f'<p class="quiet">{" · ".join(status)}</p>\n{markup.facts(rows)}'
    )


def _tables(outcome: Outcome, place: Place, queries: int) -> str:
    table = sweep_tables.results(outcome, place, queries)
    if not table:
        return ""
    tests = sweep_tables.tests(outcome, place, queries)
    return f"<h3>After {queries:,} queries{badge(outcome.sources[place])}</h3>\n{table}\n{tests}"


def _disagreements(config: Mapping[str, Any], outcome: Outcome, groups: Mapping[Group, Searches] | None) -> list[str]:
    """What a person must know of files that do not belong together, in words without a sign of HTML or Markdown."""
    found = []
    if outcome.hash != config.get("hash"):
        found.append(f"{SUMMARY} belongs to another config than config.json; {_REMEDY}.")
    seeds = {(*row.place, row.method): row.seeds for row in outcome.rows}
    if groups is not None and seeds != {group: len(searches.seeds) for group, searches in groups.items()}:
        found.append(f"{SUMMARY} and {RESULTS} are of different searches; {_REMEDY}.")
    return found


def _explanations(outcome: Outcome) -> str:
    rows = [
        ("incumbent", "the query with the best signal so far, the earlier one on ties"),
        ("regret", "the best noise-free signal that can be found, less the incumbent's"),
        ("T1", "the incumbent's test value"),
        ("T2", "the best test value among all queries: what a perfect choice among them would have reported"),
        ("at the optimum", f"share of seeds with a regret of {_optima(outcome)}"),
        ("queries to x", "first query with a regret of at most x: median over seeds and the share that got there"),
        ("[95 %]", "percentile bootstrap of the mean over seeds, 10,000 resamples"),
        (
            "verdict",
            "better or worse where p &lt; .05 after Holm's correction, else a difference is not shown; mixed where the "
            "mean of the differences and their ranks say opposite things",
        ),
    ]
    if any(source.modelled for source in outcome.sources.values()):
        rows.append(("modelled table", "its figures come from a model; nobody has measured them"))
    return f"<h2>How to read this</h2>\n{markup.facts(rows)}"


def _optima(outcome: Outcome) -> str:
    """What counts as the optimum in each unit that occurs."""
    units = dict.fromkeys(source.unit for source in outcome.sources.values())
    known = [f"at most {summary.OPTIMUM[unit]:g} {unit}" for unit in units if unit in summary.OPTIMUM]
    return " or ".join([*known, *(["0"] if len(known) < len(units) else [])])


def _about(config: Mapping[str, Any]) -> str:
    about = {name: value for name, value in config.items() if name not in ("format", "config", "seed", "hash")}
    settings = config.get("config")
    settings = {name: _numbered(value) for name, value in settings.items()} if isinstance(settings, dict) else {}
    return (
        '<h2>Settings</h2>\n<div class="columns">\n'
        f"<section><h3>Config</h3>{markup.nested(settings)}</section>\n"
        f"<section><h3>Versions and devices</h3>{markup.nested(about)}"
        f'<p class="quiet">config hash <code>{markup.text(config.get("hash"), 64)}</code></p></section>\n</div>'
    )


def _numbered(value: object) -> object:
    """Methods and tasks, lists of objects, as an object: by name, else by number."""
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        return value
    named = {str(item.get("name", number)): item.get("method", item) for number, item in enumerate(value, 1)}
    return named if len(named) == len(value) else dict(enumerate(value, 1))
