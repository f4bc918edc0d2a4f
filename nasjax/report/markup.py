"""HTML from strings that are not trusted: escaping, numbers, tables, the page around them.

Specs, metric names and configs come from files. Nothing of them may become markup, reach the network or reorder the
text around it; what escaping cannot do, the page's content security policy does (no script, no fetch).
"""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

_REPLACED = "\ufffd"
_NOTHING = "\u2013"  # a dash
_DEPTH = 8  # levels of a nested table; deeper ones are cut
_ROWS = 1000  # rows of a nested table

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --panel: #f6f7f9; --ink: #1b1f24; --quiet: #57606a;
  --line: #d5dae0; --grid: #e6e9ed; --prior: #6e7781; --model: #bc4c00; --other: #7a3fbf; --best: #0550ae;
  --warn: #7d4e00; --warn-ground: #fff4d6; --op-0: #0550ae; --op-1: #00746b; --op-2: #97600a; --op-3: #6e7781;
  --op-4: #a3357d; --op-5: #5b5bd6; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --panel: #1c2127; --ink: #e4e8ec; --quiet: #9aa4af;
  --line: #3a424b; --grid: #2a3038; --prior: #98a2ad; --model: #ff9a52; --other: #c79bff; --best: #76b2ff;
  --warn: #ffd479; --warn-ground: #3a2d0c; --op-0: #76b2ff; --op-1: #4fd1c0; --op-2: #e8b04b; --op-3: #98a2ad;
  --op-4: #f28fcb; --op-5: #a5a5ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
  "Liberation Sans", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .2rem 0 .6rem; font-weight: 650; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: .4rem 0; }
code, td, th, dd, .name { overflow-wrap: anywhere; unicode-bidi: isolate; }
code { font: .92em/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.spec { display: block; padding: .6rem .8rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: 6px; }
.quiet, figcaption { color: var(--quiet); font-size: .9rem; }
.warning { padding: .6rem .8rem; border-left: 4px solid var(--warn); background: var(--warn-ground);
  overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.2rem 2rem;
  align-items: start; }
.columns > * { min-width: 0; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; fill: var(--quiet); }
svg .strong { fill: var(--ink); }
.narrow { display: none; }
@media (max-width: 760px) { .wide { display: none; } .narrow { display: block; max-width: 34rem; } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--grid); }
th { font-weight: 600; color: var(--quiet); }
thead th { border-bottom-color: var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; white-space: nowrap; }
thead .number { white-space: normal; }
.best-table { font-size: .86rem; }
.best-table th, .best-table td { padding-right: .6rem; }
.best-table td:nth-child(2) { min-width: 15.5rem; }
.best-table code { font-size: .86em; }
td:last-child, th:last-child { padding-right: 0; }
@media (max-width: 480px) { th, td { padding-right: .4rem; } table { font-size: .82rem; } }
.phase-table td:first-child { min-width: 5.2rem; overflow-wrap: normal; }
.nested td:first-child, .nested th:first-child { min-width: 9rem; }
.small { max-width: 32rem; }
.best-table td:last-child { white-space: nowrap; }
dl { display: grid; grid-template-columns: fit-content(45%) 1fr; gap: .25rem 1.2rem; margin: 0; }
dt { color: var(--quiet); overflow-wrap: anywhere; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
.key { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .4em; }
ul.plain { list-style: none; margin: .4rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; }
.prior-key { border: 2px solid var(--prior); } .model-key { background: var(--model); }
.other-key { background: var(--other); border-radius: 0; transform: rotate(45deg) scale(.8); }
.best-key { background: var(--best); height: 3px; border-radius: 0; width: 1.2em; vertical-align: middle; }
.invalid-key { background: var(--quiet); width: 2px; border-radius: 0; }
.axis { stroke: var(--line); fill: none; } .grid { stroke: var(--grid); fill: none; }
.prior { stroke: var(--prior); fill: none; stroke-width: 1.5; } .model { fill: var(--model); stroke: none; }
.other { fill: var(--other); stroke: none; } .best { stroke: var(--best); fill: none; stroke-width: 2; }
.best-dot { fill: var(--best); } .invalid { stroke: var(--quiet); fill: none; stroke-width: 1.2; }
.prior-bar { fill: var(--prior); } .model-bar { fill: var(--model); } .other-bar { fill: var(--other); }
.mean { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; fill: none; }
.model-line { stroke: var(--model); fill: none; stroke-width: 2; stroke-linejoin: round; }
.second-line { stroke: var(--best); fill: none; stroke-width: 2; stroke-dasharray: 6 3; stroke-linejoin: round; }
.model-dot { fill: var(--model); }
.node { fill: var(--ground); stroke: var(--ink); stroke-width: 1.5; }
"""


def text(value: object, limit: int = 2000) -> str:
    """Returns `value` as HTML text, also safe in a quoted attribute: escaped, on one line, cut to `limit` characters.

    Control characters and the marks that reorder or hide text become U+FFFD: unlike markup, they would work escaped.
    """
    shown = " ".join(str(value)[: limit + 1].split())
    shown = "".join(c if c.isprintable() else _REPLACED for c in shown)
    return html.escape(shown if len(shown) <= limit else shown[: limit - 1] + "…")


def spec(value: str, limit: int = 2000) -> str:
    """Returns an architecture's string as code that breaks between the groups of a cell where it can."""
    return text(value, limit).replace("+", "+<wbr>")


def number(value: float | int | None) -> str:
    """Returns integers with separators, else four decimals or what digits the value needs; a dash for None and NaN."""
    if value is None or value != value:
        return _NOTHING
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.4g}" if abs(value) < 10**300 else "…"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}"
    return f"{value:.4g}"


def quantity(name: str, value: object) -> str:
    """Returns a named value for a cell: accuracies within 0..1 in per cent, other numbers as such, others as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _NOTHING if value is None else text(value, 200)
    if name.endswith(("_acc", "accuracy")) and 0 <= value <= 1:
        return f"{100 * value:.2f} %"
    return number(value)


def is_test(name: str) -> bool:
    """Whether a metric is of the test set, which a reward must not contain."""
    return name.startswith("test")


def label(name: str) -> str:
    """Returns what a metric or a fact is called in the report, as HTML."""
    known = {
        "val_acc": "validation accuracy",
        "test_acc": "test accuracy",
        "val_ce": "validation cross-entropy",
        "test_ce": "test cross-entropy",
        "params": "parameters",
        "macs": "multiply-adds",
        "flops": "FLOPs",
    }
    return known.get(name) or text(name, 60)


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Returns a definition list; both parts of a row are HTML."""
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows) + "</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool], kind: str = "") -> str:
    """Returns a table that scrolls in itself where it is too wide; cells are HTML."""

    def cells(tag: str, row: Sequence[str]) -> str:
        marks = [' class="number"' if right else "" for right in numeric]
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(f"<{tag}{scope}{mark}>{cell}</{tag}>" for cell, mark in zip(row, marks, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    style = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="table"><table{style}>'
        f"<thead><tr>{cells('th', head)}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def nested(content: dict[str, Any]) -> str:
    """Returns a JSON object as a table of two columns, its levels indented."""
    if not content:
        return '<p class="quiet">not recorded</p>'
    rows: list[str] = []
    _nest(content, 0, rows)
    return f'<table class="nested"><tbody>\n{"".join(rows)}</tbody></table>'


def _nest(content: dict[str, Any], depth: int, rows: list[str]) -> None:
    for name, value in content.items():
        if len(rows) >= _ROWS:
            return
        if depth and name == "type":  # stands beside the name of the level
            continue
        inner = value if isinstance(value, dict) and depth < _DEPTH else None
        shown = _inline(value) if inner is None else text(inner.get("type", ""), 100)
        shown_name = text(name, 100).replace("_", "_<wbr>")
        weight = "th" if inner is not None else "td"
        style = f' style="padding-left:{1.2 * depth:g}rem"' if depth else ""
        scope = ' scope="row"' if inner is not None else ""
        rows.append(f"<tr><{weight}{scope}{style}>{shown_name}</{weight}><td>{shown}</td></tr>\n")
        if inner is not None:
            _nest(inner, depth + 1, rows)


def _inline(value: Any) -> str:
    if isinstance(value, list):
        shown = ", ".join("…" if isinstance(item, list | dict) else _plain(item) for item in value[:100])
        return text(shown + (", …" if len(value) > 100 else ""), 600) or "none"
    return "…" if isinstance(value, dict) else text(_plain(value), 600)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else _NOTHING
    return str(value) if not isinstance(value, int) or abs(value) < 10**300 else "…"


def page(title: str, body: str, style: str = "") -> str:
    """Returns the whole document; `title` is HTML, as `body` is; `style` is CSS beside `STYLE`."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
