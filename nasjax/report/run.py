"""The report of one run: one HTML file that needs nothing else, no script and no network.

It says the same for the same run: clocks and durations (`events.jsonl`) are not in it.
"""

import pathlib
from typing import Any

import numpy as np

from nasjax import files, record, rundir
from nasjax.base import Origin
from nasjax.record import Record
from nasjax.report import charts, drawing, markup

REPORT = "report.html"

_TOP = 10
_LEAST_DISTINCT = 0.25
_LEAST_ENTROPY = 0.1  # of the first step's
_ORIGINS: dict[int, str] = {
    Origin.PRIOR: "exploring",
    Origin.MODEL: "generated",
    Origin.EDIT: "edit",
    Origin.REFILL: "refill",
    Origin.FALLBACK: "fallback",
}
_COST = {"ChildTraining": "cost of training, multiply-adds", "Table": "cost of training, seconds"}
"""What an evaluator's cost is; those of others have no unit that is known here."""


def write_report(folder: pathlib.Path) -> pathlib.Path:
    """Writes `report.html` of a run, finished or not, and returns its path.

    Raises:
      RunDirError: a file of the run is missing or damaged.
      OSError: the report cannot be written; an older one is as it was.
    """
    config = rundir.read_config(folder)
    unstarted = not any((folder / name).exists() for name in (rundir.HISTORY, rundir.STATE, rundir.RESULT))
    history = record.empty() if unstarted else rundir.read_history(folder)
    html = render(folder.absolute().name, config, history, rundir.read_result(folder))
    path = folder / REPORT
    files.write(path, html.encode("utf-8", "replace"))
    return path


def render(name: str, config: dict[str, Any], history: Record, result: dict[str, Any] | None) -> str:
    """Returns the report as HTML; `result` is None for a run that is not finished."""
    warnings = []
    if result is not None and result.get("history") != history.digest().hex():
        warnings.append("result.json does not belong to history.npz; the run is shown as unfinished.")
        result = None
    warnings += collapse(history)
    mask = charts.usable(history)
    best = int(np.argmax(np.where(mask, history.reward, -np.inf))) if mask.any() else None
    body = [_header(name, config, history, result, best)]
    body += [f'<p class="warning" role="note"><strong>Warning:</strong> {text}</p>' for text in warnings]
    if best is not None:
        body.append(f"<h2>Rewards</h2>\n{charts.rewards_over_time(history)}")
        body.append(_best(config, history, result, best))
        body.append(f"<h2>Distribution of the rewards</h2>\n{charts.distributions(history)}")
    body += [_diagnostics(history), _top(history, mask), _about(config)]
    return markup.page(f"nasjax run {markup.text(name, 200)}", "\n".join(part for part in body if part))


def collapse(history: Record) -> list[str]:
    """Returns one line if the proposals have collapsed, else none.

    They have when, at the last step that was generated, fewer than a quarter of them are distinct or their entropy is
    below a tenth of the first generated step's.
    """
    reasons = []
    distinct, entropy = charts.info(history, "distinct"), charts.info(history, "entropy")
    if distinct is not None:
        last = float(distinct[np.isfinite(distinct)][-1])
        if last < _LEAST_DISTINCT:
            reasons.append(f"only {100 * last:.0f} % of them are distinct")
    if entropy is not None:
        first, last = (float(entropy[np.isfinite(entropy)][place]) for place in (0, -1))
        if first > 0 and last < _LEAST_ENTROPY * first:
            reasons.append(f"their entropy fell from {markup.number(first)} to {markup.number(last)} nats")
    if not reasons:
        return []
    return [f"the proposals of the last generated step have collapsed: {' and '.join(reasons)}."]


def _header(name: str, config: dict[str, Any], history: Record, result: dict[str, Any] | None, best: int | None) -> str:
    settings = _dict(config.get("config"))
    parts = [_dict(settings.get(part)).get("type") for part in ("space", "method", "evaluator")]
    budget = (result or {}).get("budget", _dict(settings.get("budget")).get("evaluations"))
    of = f" of {budget:,}" if isinstance(budget, int) and abs(budget) < 10**15 else ""
    state = "unfinished"
    if result is not None:
        state = "finished, no unseen architecture left" if result.get("exhausted") is True else "finished"
    invalid = len(history) - int(charts.usable(history).sum())
    status = [
        *(markup.text(part, 60) for part in parts if part),
        f"seed {markup.text(config.get('seed'), 20)}",
        f"{len(history):,}{of} evaluations",
        f"{invalid:,} invalid",
        state,
    ]
    headline = "No usable reward yet" if result is None else "No usable reward"
    spec = ""
    if best is not None:
        headline = f"Best reward {markup.number(float(history.reward[best]))}"
        spec = f'<code class="spec">{markup.spec(history.specs[best])}</code>'
    return (
        f'<p class="quiet name">nasjax run {markup.text(name, 200)}</p>\n<h1>{headline}</h1>\n{spec}\n'
        f'<p class="quiet">{" · ".join(status)}</p>'
    )


def _best(config: dict[str, Any], history: Record, result: dict[str, Any] | None, row: int) -> str:
    evaluator = _dict(_dict(config.get("config")).get("evaluator")).get("type")
    found = _dict((result or {}).get("best"))
    rows = [
        ("reward", markup.number(float(history.reward[row]))),
        ("evaluation", f"{row + 1:,} of {len(history):,}, {_origin(history, row)}"),
    ]
    values: dict[str, Any] = {name: float(column[row]) for name, column in sorted(history.metrics.items())}
    values |= {name: found[name] for name in ("parameters", "params", "macs", "flops") if name in found}
    for name, value in values.items():
        note = ' <span class="quiet">not part of the reward</span>' if markup.is_test(name) else ""
        rows.append((markup.label(name), markup.quantity(name, value) + note))
    if history.cost[row] or evaluator != "Table":  # many tables do not say
        rows.append((_COST.get(str(evaluator), "cost"), markup.number(float(history.cost[row]))))
    spec = history.specs[row]
    picture = drawing.draw_cell(spec) or f'<code class="spec">{markup.spec(spec)}</code>'
    return (
        '<h2>Best architecture</h2>\n<div class="columns">\n'
        f"<div>{picture}</div>\n<div>{markup.facts(rows)}</div>\n</div>"
    )


def _diagnostics(history: Record) -> str:
    entropy, shares = charts.entropies(history), charts.shares(history)
    if not entropy and not shares:
        return ""
    keys = (
        '<ul class="plain"><li><span class="key model-key"></span>distinct</li>'
        '<li><span class="key best-key"></span>unseen (dashed)</li></ul>'
    )
    panels = []
    if entropy:
        panels.append(f"<figure><h3>Entropy</h3>{entropy}</figure>")
    if shares:
        panels.append(f"<figure><h3>Distinct and unseen</h3>{shares}<figcaption>{keys}</figcaption></figure>")
    return (
        f'<h2>Proposals of the model</h2>\n<div class="columns">{"".join(panels)}</div>\n'
        '<p class="quiet">Steps that explore have no value: nothing is drawn from the model there.</p>'
    )


def _top(history: Record, mask: "np.ndarray[Any, Any]") -> str:
    if not mask.any():
        return ""
    order = np.argsort(np.where(mask, -history.reward.astype(np.float64), np.inf), kind="stable")
    names = sorted(history.metrics)[:8]
    rows = [
        [
            str(rank),
            f"<code>{markup.spec(history.specs[row], 600)}</code>",
            markup.number(float(history.reward[row])),
            *(markup.quantity(name, float(history.metrics[name][row])) for name in names),
            f"{row + 1}",
            _origin(history, row),
        ]
        for rank, row in enumerate(order[: min(_TOP, int(mask.sum()))].tolist(), 1)
    ]
    head = ["rank", "architecture", "reward", *(markup.label(n) for n in names), "evaluation", "origin"]
    numeric = [True, False, True, *(True for _ in names), True, False]
    tests = any(markup.is_test(name) for name in names)
    note = '<p class="quiet">Test metrics are not part of the reward.</p>' if tests else ""
    title = f"The {len(rows)} best" if len(rows) > 1 else "The only usable reward"
    return f"<h2>{title}</h2>\n{markup.table(head, rows, numeric, 'best-table')}\n{note}"


def _about(config: dict[str, Any]) -> str:
    about = {name: value for name, value in config.items() if name not in ("format", "config", "seed", "hash")}
    settings = {"seed": config.get("seed"), **_dict(config.get("config"))}
    settings.pop("type", None)
    return (
        '<h2>Settings</h2>\n<div class="columns">\n'
        f"<section><h3>Config</h3>{markup.nested(settings)}</section>\n"
        f"<section><h3>Versions and devices</h3>{markup.nested(about)}"
        f'<p class="quiet">config hash <code>{markup.text(config.get("hash"), 64)}</code></p></section>\n</div>'
    )


def _origin(history: Record, row: int) -> str:
    origin = int(history.origin[row])
    return _ORIGINS.get(origin, f"origin {origin}")


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
