"""What the tests of a sweep's report are made of: sweeps and summaries made by hand, and a reader of pictures."""

import json
import re

import numpy as np
from report_page import Page

from nasjax import resolved, results, rundir, summary
from nasjax.report.sweep import write_report
from nasjax.results import Best, Labels
from nasjax.scan import Trace
from nasjax.spaces.toy import Toy
from nasjax.summary import Comparison

NONE = float("nan")
SVG_TAGS = {"g", "tspan"}
SOURCE = {"file": "table.npz", "sha256": "ab12" * 16, "modelled": False, "unit": "points"}
PLACE = ("first", "val_acc@200")
VALUES = np.random.default_rng(0).uniform(70, 94, 64).round(2).astype(np.float32)
VALUES[63] = 95
TESTS = (VALUES - np.random.default_rng(1).uniform(0, 2, 64)).astype(np.float32)


class Writer:
    """Stands for a space where only strings are wanted."""

    def to_spec(self, arch):
        return f"cell {int(arch)}"


def draw(strength, seeds, budget, start=0):
    """int[S, Q], each query the best of `strength` cells drawn at random."""
    rng = np.random.default_rng(start)
    cells = rng.integers(0, 64, (seeds, budget, strength))
    return np.take_along_axis(cells, VALUES[cells].argmax(-1)[..., None], -1)[..., 0]


def make_trace(cells, valid=True, tests=True):
    valid = np.broadcast_to(valid, cells.shape)
    metrics = {"validation": VALUES[cells]} | ({"test": TESTS[cells]} if tests else {})
    keys = np.stack([np.zeros_like(cells), cells], axis=-1).astype(np.uint32)
    zeros = np.zeros(cells.shape, np.int32)
    live = np.ones(cells.shape, bool)
    return Trace(cells, keys, VALUES[cells], valid, live, zeros.astype(np.float32), zeros, metrics, {})


def make_sweep(
    folder, methods, places=(PLACE,), seeds=8, budget=12, compare=None, modelled=(), unit="points", about=None, **trace
):
    """A sweep's directory; `methods` are strengths by name. Returns the cells queried, by place and method."""
    folder.mkdir()
    found, tables = {}, []
    for number, place in enumerate(places):
        for method, strength in methods.items():
            cells = found[place, method] = draw(strength, seeds, budget, 10 * number + strength)
            labels, best = Labels(method, "toy", *place), Best(95.0, float(TESTS.max()))
            tables.append(results.rows(Writer(), make_trace(cells, **trace), range(seeds), 1, labels, best))
    whole = results.join(tables)
    settings = {"space": {"type": "Toy"}, "methods": [{"type": "Entry", "name": name} for name in methods]}
    settings["tasks"] = [{"type": "Made", "task": task, "signal": signal} for task, signal in places]
    content = {"format": 1, "seed": 0, "config": settings, "hash": resolved.digest({"config": settings, "seed": 0})}
    (folder / rundir.CONFIG).write_text(json.dumps(content | (about or {"versions": {"nasjax": "1.2.3"}})))
    (folder / "results.parquet").write_bytes(results.pack(whole))
    sources = {place: SOURCE | {"modelled": place in modelled, "unit": unit} for place in places}
    what = summary.About("made_up", content["hash"], Toy(), budget, seeds)
    said = summary.summarize(whole, list(methods), what, sources, compare or Comparison(references=("cem",)))
    (folder / "summary.json").write_text(json.dumps(said))
    return found


def read(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    return Page(path)


def body(page):
    return page.source.partition("</style>")[2]


def table(page, *names):
    """The tables whose first row begins so."""
    return [rows for rows in page.tables if rows and rows[0][: len(names)] == list(names)]


METHODS = {"random": 1, "cem": 2, "strong": 4}
PLACES = (PLACE, ("second", "val_acc@12:run"))


# Pictures


def pixels(picture):
    """Value against pixel, from an axis's ticks: [(value, y)], [(value, x)]."""
    texts = re.findall(r'<text x="([0-9.]+)" y="([0-9.]+)" text-anchor="(end|middle)">([0-9.,]+)</text>', picture)
    ys = [(float(value.replace(",", "")), float(y) - 4) for _, y, anchor, value in texts if anchor == "end"]
    xs = [(float(value.replace(",", "")), float(x)) for x, _, anchor, value in texts if anchor == "middle"]
    return ys, xs


def steps(path):
    """(x, y) at which each step of a path begins."""
    x, y = (float(value) for value in re.match(r"M([0-9.]+) ([0-9.]+)", path).groups())
    found = [(x, y)]
    for kind, value in re.findall(r"([HV])([0-9.]+)", path):
        x, y = (float(value), y) if kind == "H" else (x, float(value))
        found.append((x, y))
    return found


def height(points, x):
    """The y of a step line at a place shortly right of `x`."""
    return [y for place, y in points if place <= x + 0.11][-1]


# Summaries


def row(method, **changes):
    base = {"method": method, "space": "toy", "task": "t", "signal": "s", "queries": 100, "seeds": 500}
    base |= {"mean": 94.3211, "sd": 0.15, "ci95": [94.308, 94.334], "median": 94.37, "median_regret": 0.0}
    base |= {"mean_regret": 0.0931, "share_at_optimum": 0.76, "t2_mean": 94.35, "unique_queries": 100.0}
    base |= {"queries_to": {"0.1": {"median": 58, "share": 0.8}, "0.5": {"median": 31.5, "share": 0.974}}}
    return base | {"mean_rank": 2.1, "mean_regret_ci95": [0.0831, 0.1031]} | changes


def comparison(method, difference, p_holm, /, **changes):
    base = {"task": "t", "signal": "s", "queries": 100, "measure": "regret", "reference": "cem", "method": method}
    base |= {
        "pairs": 500,
        "p_holm": p_holm,
        "mean_difference": difference,
        "ci95": [difference - 0.1, difference + 0.1],
    }
    base |= {"test": "wilcoxon", "p": 0.001, "family": "reference"}
    return base | {"rank_biserial": difference} | changes


def make_summary(rows, tests=(), ranks=(), **config):
    base = {"name": "n", "hash": "h", "space": "toy", "op_names": [], "unique": "key", "budget": 100, "seeds": 500}
    base |= {"unit": "points", "table": SOURCE, "tables": [{"task": "t", "signal": "s", **SOURCE}]}
    return {"config": base | config, "results": list(rows), "tests": list(tests), "ranks": list(ranks)}
