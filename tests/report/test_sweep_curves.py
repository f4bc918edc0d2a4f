"""The pictures of a sweep's report: lines and bands are where the results are, and nothing is drawn outside."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from sweep_cases import (
    METHODS,
    NONE,
    PLACE,
    SVG_TAGS,
    TESTS,
    VALUES,
    body,
    height,
    make_sweep,
    pixels,
    read,
    steps,
)

from nasjax.report import curves


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
