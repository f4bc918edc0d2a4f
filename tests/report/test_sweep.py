"""The report of a sweep: what it says, that it says it for any results, and that nothing in them becomes more than text."""

import io
import itertools
import json
import math
import re
import xml.etree.ElementTree as ET

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from report_page import TAGS, Page

from nasjax import cli, resolved, results, rundir, summary, terminal
from nasjax.report import curves, is_sweep, outcomes, sweep_tables
from nasjax.report.sweep import markdown, write_report
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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "three methods"
    compare = Comparison(references=("cem", "random"), at=(4, 12), claims=("strong",), against=("cem",))
    cells = make_sweep(folder, METHODS, PLACES, seeds=24, compare=compare, modelled=PLACES[1:])
    return folder, cells, read(folder)


# What it says


def test_head_and_settings(made):
    folder, _, page = made
    assert page.only("title") == "nasjax sweep three methods"
    assert page.only("h1") == "3 methods on 2 tasks"
    (status,) = [text for tag, text in page.items if tag == "p" and "queries ·" in text]
    assert status == (
        "toy · 4 operations: none, skip_connect, nor_conv_1x1, nor_conv_3x3 · 12 queries · 24 seeds · unique by key"
        " · config made_up"
    )
    tables = [text for tag, text in page.items if tag == "dd"][:2]
    assert tables == [
        "table.npz sha256 ab12ab12ab12: first, val_acc@200",
        "table.npz sha256 ab12ab12ab12 modelled table: second, val_acc@12:run",
    ]
    rows = [row for table in page.tables for row in table]
    assert ["nasjax", "1.2.3"] in rows
    assert ["strong", "Entry"] in rows
    assert rundir.read_config(folder)["hash"] in page.text


def test_results_are_those_of_the_searches(made):
    """Recomputed from the cells that were queried."""
    _, cells, page = made
    last_of_first = next(t for t in page.tables if t[0][:2] == ["method", "T1,\u00a0mean [95\u00a0%]"])
    assert last_of_first[0][1:] == [
        "T1,\u00a0mean [95\u00a0%]",
        "sd",
        "regret,\u00a0mean [95\u00a0%]",
        "median",
        "at the optimum",
        *(f"queries to\u00a0{x}" for x in ("0.1", "0.5", "1")),
        "rank",
        "T2, mean",
        "unique queries",
    ]
    for row in last_of_first[1:]:
        queried = cells[PLACE, row[0]]
        best = np.take_along_axis(queried, VALUES[queried].argmax(1)[:, None], 1)[:, 0]
        regret = 95 - VALUES[best].astype(float)
        numbers = [[float(x) for x in re.findall(r"[0-9.]+(?=[^0-9.%]|$)", cell)] for cell in row]
        assert numbers[1][0] == pytest.approx(TESTS[best].mean(), abs=0.006)
        assert numbers[1][1] < numbers[1][0] < numbers[1][2]
        assert numbers[2] == pytest.approx([TESTS[best].std(ddof=1)], abs=0.006)
        assert numbers[3][0] == pytest.approx(regret.mean(), abs=0.006)
        assert numbers[3][1] <= numbers[3][0] <= numbers[3][2]
        assert numbers[4] == pytest.approx([np.median(regret)], abs=0.006)
        assert row[5] == f"{100 * (regret == 0).mean():.0f} %"
        first = np.where(
            (95 - VALUES[queried] <= 0.5001).any(1), (95 - VALUES[queried] <= 0.5001).argmax(1) + 1, np.inf
        )
        median = "never" if np.isinf(np.median(first)) else f"{np.median(first):g}"
        assert row[7] == f"{median} ({100 * np.isfinite(first).mean():.0f} %)"
        assert numbers[10] == pytest.approx([TESTS[queried].max(1).mean()], abs=0.006)
        assert numbers[11] == pytest.approx([np.mean([len(set(search)) for search in queried])], abs=0.051)


def test_numbers_of_queries_and_tests_stand_in_their_places(made):
    _, _, page = made
    assert [text.split(" quer")[0] for text in re.findall("<h3>(.*?)</h3>", page.source)][:4] == [
        "After 12",
        "After 4",
        "After 12",
        "After 4",
    ]
    assert re.findall("<h4>(.*?)</h4>", page.source) == ["Against cem", "Against random", "Claims"] * 4
    said = json.loads((made[0] / "summary.json").read_text())
    shown = [
        row for rows in page.tables if rows[0][:2] == ["method", "difference in regret [95\u00a0%]"] for row in rows[1:]
    ]
    shown += [row for rows in table(page, "claim") for row in rows[1:]]
    assert len(shown) == len(said["tests"]) == 4 * (2 + 2 + 1)
    first = next(test for test in said["tests"] if test["queries"] == 12)
    assert shown[0][0] == first["method"] == "random"
    assert shown[0][3:5] == [sweep_tables.p_value(first["p_holm"]), sweep_tables.p_value(first["p"])]
    assert shown[0][2] == ("worse" if first["p_holm"] < 0.05 else "not\u00a0shown")
    assert shown[0][5] == "24"


def test_ranks_over_tasks(made):
    _, _, page = made
    ((head, *rows),) = [rows for rows in page.tables if rows[0][2:3] == ["mean, 4 queries"]]
    assert head == [
        "method",
        "mean, 12 queries",
        "mean, 4 queries",
        "first, val_acc@200",
        "second, val_acc@12:run modelled",
    ]
    said = json.loads((made[0] / "summary.json").read_text())
    expected = {row["method"]: row["mean_rank"] for row in said["ranks"] if row["queries"] == 12}
    assert [row[0] for row in rows] == sorted(expected, key=expected.get)
    for name, mean, _, first, second in rows:
        assert float(mean) == pytest.approx((float(first) + float(second)) / 2, abs=0.0101)
        assert float(mean) == pytest.approx(expected[name], abs=0.0051)


def test_the_badge_stands_beside_every_figure_of_a_modelled_table_and_nowhere_else(made):
    folder, _, page = made
    first, second = re.split("<h2>", page.source)[2:4]
    assert first.startswith("first")
    assert "modelled" not in first
    assert second.count('<span class="badge">modelled table</span>') == 1 + 2 + 2  # head, figures, tables
    for path in folder.glob("curves-*.svg"):
        assert ("modelled table" in path.read_text()) == (
            path.name.startswith(("curves-second", "curves-regret", "curves-test"))
        )
    texts = markdown(json.loads((folder / "summary.json").read_text())).split("\n\n**")
    assert ["modelled" in text for text in texts] == [False, False, True, True]


def test_it_needs_nothing_else_and_is_accessible(made):
    folder, _, page = made
    assert set(page.tags) <= TAGS | SVG_TAGS | {"h4"}
    assert not {"src", "href", "srcset", "action", "xlink:href", "data", "id"} & {name for name, _ in page.attributes}
    assert not re.search(r"url\(|@import|https?:|//", page.source)
    tags = re.findall("<svg[^>]*>", page.source)
    keys = [tag for tag in tags if 'aria-hidden="true"' in tag]
    pictures = [tag for tag in tags if tag not in keys]
    assert len(pictures) == 2 * 2 * 2  # places, measures, wide and narrow
    assert all('role="img"' in tag and re.search('aria-label="[^"]{60,}"', tag) for tag in pictures)
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 3 + 1 + 4 + 2  # config, results, summary; report; a picture a figure; one of each measure
    (folder / rundir.EVENTS).write_text('{"event": "start"}\n')
    write_report(folder)
    (folder / rundir.EVENTS).unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_pictures_for_papers_are_plain_svg(made):
    folder, _, page = made
    names = sorted(path.name for path in folder.glob("*.svg"))
    places = ("first-val_acc@200", "second-val_acc@12_run")
    assert names == sorted(
        f"curves-{place}{m}.svg" for m in ("regret", "test") for place in ("", *(f"{p}-" for p in places))
    )
    for name in names:
        root = ET.fromstring((folder / name).read_bytes())
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
            "svg",
            "style",
            "rect",
            "path",
            "text",
        } | SVG_TAGS
        assert not re.search(r"var\(|prefers-color-scheme|url\(|href", (folder / name).read_text())
        names_drawn = [element.text for element in root.iter() if element.tag.endswith("text")]
        assert set(METHODS) <= set(names_drawn)
        if name.startswith("curves-first"):
            assert f"<code>{name}</code>" in page.source


# Curves


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


@pytest.mark.parametrize("measure", ["regret", "test"])
def test_lines_are_the_medians_over_seeds(made, measure):
    """Read off the picture, by the numbers on its axes, at every query where the line is within them."""
    folder, cells, page = made
    picture = (folder / f"curves-first-val_acc@200-{measure}.svg").read_text()
    ys, xs = pixels(picture)
    (left, x0), (right, x1) = xs[0], xs[-1]
    assert (left, right) == (1, 12)
    lines = re.findall(r'<path class="curve" d="([^"]*)"', picture)
    bands = re.findall(r'<path class="band" d="([^"]*)Z"', picture)
    assert len(lines) == len(bands) == 3
    scale = math.asinh if measure == "regret" else float
    unit = float(re.findall("near to linear below ([0-9.]+),", body(page))[0]) if measure == "regret" else 1
    grid = np.array([[scale(value / unit), y] for value, y in ys])
    slope, offset = np.polyfit(grid[:, 0], grid[:, 1], 1)
    np.testing.assert_allclose(grid @ [slope, 0] + offset, grid[:, 1], atol=0.11)
    seen = 0
    for method, line in zip(METHODS, lines, strict=True):
        queried = cells[PLACE, method]
        best = np.maximum.accumulate(VALUES[queried], axis=1)
        at = np.array([[row[: q + 1].argmax() for q in range(12)] for row in VALUES[queried]])
        values = 95 - best if measure == "regret" else TESTS[np.take_along_axis(queried, at, 1)]
        points = steps(line)
        for query in range(1, 12):
            expected = slope * scale(float(np.median(values[:, query - 1])) / unit) + offset
            place = x0 + (x1 - x0) * math.log(query) / math.log(12)
            if place >= points[0][0] - 0.1 and expected < max(y for _, y in points) + 0.1:
                assert height(points, place) == pytest.approx(expected, abs=0.25)
                seen += 1
    assert seen > 20


def test_bands_hold_the_lines_and_single_seeds_have_none(made, tmp_path):
    picture = (made[0] / "curves-first-val_acc@200-regret.svg").read_text()
    lines = [steps(path) for path in re.findall(r'<path class="curve" d="([^"]*)"', picture)]
    bands = [steps(path) for path in re.findall(r'<path class="band" d="([^"]*)Z"', picture)]
    for line, band in zip(lines, bands, strict=True):
        turn = max(range(len(band)), key=lambda place: (band[place][0], place))
        top, base = band[: turn + 1], band[:turn:-1]
        for x in {x for x, _ in line if x < line[-1][0]}:
            assert height(top, x) - 0.11 <= height(line, x) <= height(sorted(base), x) + 0.11
    make_sweep(tmp_path / "one", {"cem": 1, "b": 3}, seeds=1)
    page = read(tmp_path / "one")
    assert 'class="band"' not in page.source
    assert page.text.count("one seed: there is no band") == 2
    assert "1 seed ·" in page.text


def test_marks_and_colours_are_a_methods_own(made):
    """The same in all figures, tables and files; twelve methods, twelve looks."""
    _, _, page = made
    for style, name in enumerate(METHODS):
        labels = re.findall(
            rf'<g class="c(\d+)"><path class="lead"[^>]*/><text class="name"[^>]*>{name}</text>', page.source
        )
        labels += re.findall(rf'viewBox="0 0 30 14"><g class="c(\d+)">[^g]*</g></svg>{name}<', page.source)
        assert len(labels) > 8
        assert set(labels) == {str(style)}
    looks = {re.sub(r'd="M[0-9. ]*', "", curves.key(style)) for style in range(12)}
    assert len(looks) == 12
    assert curves.key(12) == curves.key(0)
    light, dark = (re.findall(r"--c(\d+): (#\w+)", part) for part in curves.STYLE.split("@media"))
    assert len(light) == len(dark) == len(dict(light)) == len(set(dict(dark).values()))
    for name, colour in light:
        assert colour != dict(dark)[name]
        assert contrast(colour, "#ffffff") > 3
        assert contrast(dict(dark)[name], "#14171b") > 3


def contrast(one, other):
    """WCAG's contrast ratio of two colours."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_grid_of_queries():
    """Every one to 100; then as many, evenly in the logarithm, to the last."""
    assert curves.grid(30).tolist() == list(range(1, 31))
    assert curves.grid(100).tolist() == list(range(1, 101))
    grid = curves.grid(10_000)
    assert grid[:100].tolist() == list(range(1, 101))
    assert (len(grid), grid[-1]) == (200, 10_000)
    np.testing.assert_allclose(np.diff(np.log(grid[99:])), math.log(100) / 100, atol=0.01)
    assert curves.grid(103).tolist() == list(range(1, 104))


@hypothesis.given(st.lists(st.floats(0, 300), min_size=1, max_size=12).map(sorted))
def test_labels_are_moved_apart_and_no_further_than_needed(places):
    moved = curves.spread(places, 15, 0, 300)
    assert all(b - a >= 15 - 1e-6 for a, b in itertools.pairwise(moved))
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in moved)
    if all(b - a >= 15 for a, b in itertools.pairwise(places)):
        assert moved == pytest.approx(places)
    if len(moved) == 2 and 10 <= sum(places) / 2 <= 290:  # two in the way of each other give way by the same
        assert sum(moved) == pytest.approx(sum(places))


def test_a_search_without_a_value_is_the_worst_one():
    """Median over 1, unknown, 3 is 3, over two unknown of three unknown; known values come in from above."""
    values = np.array([[NONE, 1.0, 1.0], [NONE, NONE, 0.5], [4.0, 3.0, 0.0]])
    line = curves.curve("a", 0, values, "regret")
    assert line.median.tolist() == [math.inf, 3.0, 0.5]
    assert curves.curve("a", 0, -values, "test").median.tolist() == [-math.inf, -3.0, -0.5]
    assert curves.curve("a", 0, np.full((3, 2), NONE), "regret") is None
    panel = curves.Panel("t", "regret", "points", 0.1, False, (line,))
    path = re.findall(r'class="curve" d="([^"]*)"', curves.standalone(panel))
    assert path[0].startswith("M")
    assert not re.search(r"\bnan\b|\binf\b", curves.figure(panel))


NUMBERS = st.one_of(st.floats(width=32, allow_infinity=False), st.floats(0, 100), st.sampled_from([0.0, 1.0, 1e-7]))


@hypothesis.given(
    st.lists(st.lists(NUMBERS, min_size=6, max_size=6), min_size=1, max_size=4), st.sampled_from(["regret", "test"])
)
def test_whatever_is_drawn_stays_in_the_picture(values, measure):
    values = np.array(values)
    if measure == "regret":
        values = np.minimum.accumulate(np.abs(values), axis=1)
    lines = [curves.curve(f"line {n}", n, values[n:], measure) for n in range(len(values))]
    panel = curves.Panel("t", measure, "", 0.1, False, tuple(line for line in lines if line is not None))
    if not panel.curves:
        return
    picture = curves.standalone(panel)
    assert not re.search(r"\bnan\b|\binf\b", picture)
    for path in re.findall(r'class="(?:curve|band|lead)[^"]*" d="([^"]*)"', picture):
        xs = [float(x) for x in re.findall(r"[MLH]([-0-9.e+]+)", path)]
        ys = [float(y) for y in re.findall(r"(?:[ML][-0-9.e+]+ |V)([-0-9.e+]+)", path)]
        assert all(0 <= x <= 620 for x in xs)
        assert all(0 <= y <= 360 for y in ys)


# Tables from summaries made by hand


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


def test_numbers():
    assert [sweep_tables.percent(x) for x in (0, 1, 0.5, 0.0004, 0.9996, 0.974, NONE)] == (
        ["0 %", "100 %", "50 %", "0.1 %", "99.9 %", "97 %", "\u2013"]
    )
    assert [sweep_tables.p_value(x) for x in (1.0, 0.0123, 0.001, 0.00099, 3.2e-60, 0.0, NONE)] == (
        ["1.000", "0.012", "0.001", "1e-03", "3e-60", "\u2264 1e-300", "\u2013"]
    )
    assert sweep_tables.decimals([0.026, 0.04, 2.0]) == 3
    assert sweep_tables.decimals([NONE, 20.0]) == 2
    assert sweep_tables.decimals([1e-9]) == 4
    assert sweep_tables.decimals([]) == 3
    assert sweep_tables.fixed(-0.0001, 2) == "0.00"
    assert sweep_tables.fixed(-1.5, 1, signed=True) == "\u22121.5"
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


def nothing_known(value):
    """The same with every number that is no count unknown."""
    if isinstance(value, dict):
        return {
            key: item if key in ("queries", "seeds", "pairs", "budget") else nothing_known(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [nothing_known(item) for item in value]
    return None if isinstance(value, int | float) and not isinstance(value, bool) else value


def test_nothing_is_known(tmp_path):
    """No usable query at all: NaN everywhere in the results, null everywhere in the summary."""
    folder = tmp_path / "sweep"
    make_sweep(folder, METHODS, PLACES, valid=False, tests=False)
    content = nothing_known(json.loads((folder / "summary.json").read_text()))
    (folder / "summary.json").write_text(json.dumps(content))
    page = read(folder)
    assert "<figure>" not in page.source
    assert not list(folder.glob("*.svg"))
    assert page.tables[1][1] == ["random", "\u2013", "\u2013", "\u2013", *["never (\u2013)"] * 3, "\u2013", "\u2013"]
    assert not re.search(r"\b[Nn]a[Nn]\b|\binf\b|\bNone\b", body(page))
    assert "| random | \u2013 | \u2013 | \u2013 | never (\u2013) | \u2013 |" in markdown(content)


def test_results_without_a_test_column(tmp_path):
    make_sweep(tmp_path / "sweep", METHODS, tests=False)
    page = read(tmp_path / "sweep")
    assert [path.name for path in (tmp_path / "sweep").glob("*.svg")] == ["curves-first-val_acc@200-regret.svg"]
    assert len(re.findall('<svg class="wide"', page.source)) == 1
    assert page.only("h1") == "3 methods on first, val_acc@200"
    assert page.tables[0][0][1].startswith("regret")
    assert "T2, mean" not in page.tables[0][0]


@pytest.mark.parametrize(
    ("methods", "options"),
    [
        ({"only": 3}, {"seeds": 1, "budget": 1}),
        ({"only": 3}, {"seeds": 5, "budget": 130}),
        ({f"method_{i}": 1 + i for i in range(14)}, {"seeds": 2, "budget": 8}),
        ({"cem": 1, "b": 2}, {"seeds": 3, "unit": "nats", "places": [(f"task {i}", "val_acc") for i in range(6)]}),
        ({"cem": 1, "same": 1}, {"seeds": 3}),
    ],
)
def test_one_method_many_methods_many_tasks(tmp_path, methods, options):
    folder = tmp_path / "sweep"
    make_sweep(folder, methods, **options)
    page = read(folder)
    assert len(re.findall('<svg class="wide"', page.source)) == 2 * len(options.get("places", [1]))
    assert page.only("h1").startswith(f"{len(methods)} method")
    assert not re.search(r"\bnan\b|\binf\b", body(page), re.IGNORECASE)
    for path in folder.glob("*.svg"):
        root = ET.fromstring(path.read_bytes())
        width, tall = (float(root.get(name)) for name in ("width", "height"))
        texts = [e for e in root.iter() if e.tag.endswith("text") and e.get("x")]
        assert len(texts) > len(methods)
        assert all(0 < float(e.get("x")) < width and 0 < float(e.get("y")) < tall for e in texts)


def test_searches_that_ended_early_and_other_seeds(tmp_path):
    """One method's searches are shorter, another has fewer seeds: each line ends where its searches do."""
    folder = tmp_path / "sweep"
    make_sweep(folder, METHODS)
    whole, _ = results.unpack((folder / "results.parquet").read_bytes())
    keep = [
        (m != "random" or q <= 5) and (m != "cem" or s < 3)
        for m, q, s in zip(*(whole[n].to_pylist() for n in ("method", "query", "seed")), strict=True)
    ]
    (folder / "results.parquet").write_bytes(results.pack(whole.filter(keep)))
    page = read(folder)
    assert "Warning: summary.json and results.parquet are of different searches" in page.text
    assert "over 3 to 8 seeds" in page.text
    picture = (folder / "curves-first-val_acc@200-regret.svg").read_text()
    ends = [steps(path)[-1][0] for path in re.findall(r'<path class="curve" d="([^"]*)"', picture)]
    assert ends[0] < ends[1] == ends[2]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg><b>|",
    "\x1b[2Jcleared \u202etxt.exe\u2066 \x7f\u200b",
    "&lt;b&gt; `code` | _x_ **bold** [a](//b) ~no~",
    "A" * 3000,
    "../../../etc/passwd",
    "",
]


@pytest.mark.parametrize("first", range(len(HOSTILE)))
def test_hostile_names_stay_text(tmp_path, first):
    names = HOSTILE[first:] + HOSTILE[:first]
    folder = tmp_path / "<b>&"
    make_sweep(
        folder, {name: 1 + i for i, name in enumerate(names[:4])}, [(names[4], names[5]), (names[6], names[7])], 3, 5
    )
    content = json.loads((folder / "summary.json").read_text())
    content["config"] |= {"name": names[0], "space": names[1], "op_names": names, "unique": names[2]}
    content["config"]["tables"] = [
        t | {"file": names[0], "sha256": names[1], "unit": names[2]} for t in content["config"]["tables"]
    ]
    (folder / "summary.json").write_text(json.dumps(content))
    page = read(folder)
    assert set(page.tags) <= TAGS | SVG_TAGS | {"h4"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert all(c.isprintable() or c == "\n" for c in page.source)
    assert page.only("title") == "nasjax sweep <b>&"
    assert len(page.source) < 600_000
    files = sorted(path.name for path in folder.iterdir())
    assert len(files) == 4 + 4 + 2
    assert all(
        re.fullmatch(r"curves[A-Za-z0-9_.@+=-]*\.svg", name) and len(name) < 200 for name in files if "curves" in name
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["<b>&"]
    for path in folder.glob("*.svg"):
        root = ET.fromstring(path.read_bytes())
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
            "svg",
            "style",
            "rect",
            "path",
            "text",
        } | SVG_TAGS
    for line in markdown(content).splitlines():
        assert line.isprintable()
        assert len(line) < 2000
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert cells in (0, 7)
        assert not re.search(r"(?<!\\)[<`]|(?<!\\)\[a", line)


def test_names_that_differ_only_in_signs_have_files_of_their_own(tmp_path):
    make_sweep(tmp_path / "sweep", {"cem": 1}, [("a", "b:c"), ("a", "b_c"), ("a-b", "c")], 2, 4)
    write_report(tmp_path / "sweep")
    stems = ["a-b_c", "a_b-c"]
    names = {f"curves-{s}-{m}.svg" for s in stems for m in ("regret", "test")} | {
        f"curves-a-b_c-{m}-2.svg" for m in ("regret", "test")
    }
    assert {path.name for path in (tmp_path / "sweep").glob("*.svg")} == names | {
        "curves-regret.svg",
        "curves-test.svg",
    }


# Files


@pytest.mark.parametrize("name", [rundir.CONFIG, "results.parquet", "summary.json"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"[" * 5000, None]
)
def test_damage_is_refused_by_name_and_the_old_report_stays(made, tmp_path, name, damage):
    folder = tmp_path / "sweep"
    folder.mkdir()
    for path in made[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != name}
    if damage is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(rundir.RunDirError, match=re.escape(name)) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != name} == before


def test_flipped_bits_are_seen(made):
    """Each of 60 flipped bits of `results.parquet` is refused, or changes nothing that is read; none ends the process."""
    data = (made[0] / "results.parquet").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        try:
            table, _ = results.unpack(bytes(damaged))
        except ValueError:
            refused += 1
        else:
            assert results.pack(table) == data
    assert refused > 30


def test_results_that_make_no_sense_are_refused(tmp_path):
    folder = tmp_path / "sweep"
    make_sweep(folder, {"cem": 1})
    path = folder / "results.parquet"
    whole, _ = results.unpack(path.read_bytes())
    field = whole.schema.get_field_index("query")
    for queries in (
        np.full(len(whole), 2**31 - 1),
        np.zeros(len(whole)),
        np.ones(len(whole)),
        -whole["query"].to_numpy(),
    ):
        column = results.pa.array(queries.astype(np.int32))
        path.write_bytes(results.pack(whole.set_column(field, whole.schema.field(field), column)))
        with pytest.raises(rundir.RunDirError, match=r"results\.parquet: the queries of a search are not 1, 2, 3"):
            write_report(folder)
    path.write_bytes(results.pack(whole.slice(0, 0)))
    with pytest.raises(rundir.RunDirError, match="no rows"):
        write_report(folder)
    holes = results.pa.array([None] * len(whole), results.pa.int32())
    path.write_bytes(results.pack(whole.set_column(field, whole.schema.field(field), holes)))
    with pytest.raises(rundir.RunDirError, match="empty fields"):
        write_report(folder)


def test_a_summary_of_another_sweep_is_said(tmp_path):
    folder = tmp_path / "sweep"
    make_sweep(folder, METHODS)
    content = json.loads((folder / "summary.json").read_text())
    assert "Warning" not in read(folder).text
    content["config"]["hash"] = "0" * 64
    content["results"] = [row for row in content["results"] if row["method"] != "random"]
    (folder / "summary.json").write_text(json.dumps(content))
    page = read(folder)
    assert page.source.count('class="warning"') == 2
    assert "Warning: summary.json belongs to another config than config.json" in page.text
    assert page.only("h1").startswith("2 methods")


# The command


def test_the_command_tells_a_sweep_from_a_search(made, capsys, monkeypatch, tmp_path):
    folder = made[0]
    assert is_sweep(folder)
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}/report.html\n"
    assert cli.main(["report", str(folder), "--markdown"]) == 0
    assert capsys.readouterr().out == markdown(json.loads((folder / "summary.json").read_text()))
    monkeypatch.setattr("nasjax.report.run.write_report", lambda folder: folder / "of a search")
    search = tmp_path / "search"
    search.mkdir()
    (search / rundir.CONFIG).write_text("{}")
    assert not is_sweep(search)
    assert cli.main(["report", str(search)]) == 0
    assert capsys.readouterr().out == f"{search}/of a search\n"
    assert cli.main(["report", "--markdown", str(search)]) == 2
    assert capsys.readouterr().err == f"nasjax: report: {search} is a search's; --markdown is for sweeps\n"
    (search / "chunks").mkdir()  # a sweep that was stopped
    (search / rundir.CONFIG).write_bytes((folder / rundir.CONFIG).read_bytes())
    assert cli.main(["report", str(search), "--markdown"]) == 2
    err = capsys.readouterr().err
    assert err == (
        f"nasjax: {search}/summary.json is missing: the sweep has not come to its end; nasjax sweep makes it anew from "
        "the chunks\n"
    )
