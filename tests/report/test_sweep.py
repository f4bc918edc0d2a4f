"""The report of a sweep: what it says, that it says it for any results, and that it is a page of its own."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from report_page import TAGS
from sweep_cases import METHODS, PLACE, PLACES, SVG_TAGS, TESTS, VALUES, body, make_sweep, read, steps, table

from nasjax import cli, results, rundir
from nasjax.report import is_sweep
from nasjax.report.numbers import p_value
from nasjax.report.sweep import markdown, write_report

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
    assert shown[0][3:5] == [p_value(first["p_holm"]), p_value(first["p"])]
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
    assert ["modelled" in text for text in texts] == [False] * 6 + [True] * 6 + [True]  # two of each main; ranks


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


def test_notes_beyond_those_shown_are_counted(tmp_path):
    folder = tmp_path / "sweep"
    make_sweep(folder, METHODS)
    said = json.loads((folder / "summary.json").read_text())
    said["config"]["tables"][0]["notes"] = [f"note {number}" for number in range(23)]
    (folder / "summary.json").write_text(json.dumps(said))
    page = read(folder)
    assert "note 19" in page.text
    assert "note 20" not in page.text
    assert "3 more, in summary.json" in page.text


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
