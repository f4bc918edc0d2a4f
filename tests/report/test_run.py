"""The report of a run: what it says, and that nothing in the run's files can become more than text."""

import dataclasses
import json
import re

import numpy as np
import pytest
import toy_run
from report_page import TAGS, Page

from nasjax import checkpoint, record, resolved, rundir
from nasjax.base import Origin
from nasjax.record import Record
from nasjax.report import charts, drawing, markup
from nasjax.report.run import write_report
from nasjax.search import run_search

NONE = float("nan")


def read(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    return Page(path)


def make_record(rewards, origins=None, specs=None, metrics=None, info=None):
    rewards = np.asarray(rewards, np.float32)
    n = len(rewards)
    info = {name: np.asarray(values, np.float32) for name, values in (info or {}).items()}
    steps = max([1, *map(len, info.values())])
    return Record(
        steps=steps,
        specs=tuple(specs or (f"spec {row}" for row in range(n))),
        keys=np.stack([np.arange(n)] * 2, axis=1).astype(np.uint32),
        reward=rewards,
        valid=np.isfinite(rewards),
        cost=np.ones(n, np.float32),
        origin=np.asarray([Origin.PRIOR] * n if origins is None else origins, np.int32),
        step=np.zeros(n, np.int32),
        metrics={name: np.asarray(values, np.float32) for name, values in (metrics or {}).items()},
        info=info,
    )


def make_run(folder, history, best=None, config=None, **about):
    """A run directory with these contents; finished if `best` is given."""
    folder.mkdir()
    config = config or {"type": "Search", "space": {"type": "Made"}, "budget": {"type": "Budget", "evaluations": 50}}
    content = {"format": 1, "hash": resolved.digest({"config": config, "seed": 0}), "seed": 0, "config": config}
    (folder / rundir.CONFIG).write_text(json.dumps(content | about))
    (folder / rundir.HISTORY).write_bytes(checkpoint.pack(record.to_arrays(history)))
    if best is not None:
        result = {"format": 1, "finished": True, "budget": 50, "best": best, "history": history.digest().hex()}
        (folder / rundir.RESULT).write_text(json.dumps(result))
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "run"
    result = run_search(toy_run.config(), 3, folder, on_note=lambda note: None)
    return result, read(folder)


def test_facts_of_a_finished_run(toy):
    result, page = toy
    best = result.summary["best"]
    assert page.only("h1") == f"Best reward {best['reward']:.4f}"
    status = next(text for tag, text in page.items if "evaluations ·" in text)
    assert (
        status
        == f"Toy · RandomSearch · MadeUpRewards · seed 3 · 18 of 18 evaluations · {result.invalid} invalid · finished"
    )
    facts = page.facts
    assert facts["reward"] == f"{best['reward']:.4f}"
    assert facts["evaluation"] == f"{best['evaluation']} of 18, exploring"
    assert facts["parameters"] == f"{best['parameters']:,}"
    assert facts["multiply-adds"] == f"{best['macs']:,}"
    assert facts["validation accuracy"] == f"{100 * best['metrics']['val_acc']:.2f} %"
    assert facts["test accuracy"] == f"{100 * best['metrics']['test_acc']:.2f} % not part of the reward"
    assert best["spec"] in page.text
    assert "Proposals of the model" not in page.text


def test_the_ten_best(toy):
    result, page = toy
    history = result.record
    order = sorted(np.flatnonzero(history.valid), key=lambda row: (-history.reward[row], row))[:10]
    head, *rows = page.best_table
    assert head == ["rank", "architecture", "reward", "test accuracy", "validation accuracy", "evaluation", "origin"]
    assert len(rows) == 10
    for rank, (row, cells) in enumerate(zip(order, rows, strict=True), 1):
        test, validation = (100 * history.metrics[name][row] for name in ("test_acc", "val_acc"))
        accuracies = [f"{test:.2f} %", f"{validation:.2f} %"]
        reward = f"{history.reward[row]:.4f}"
        assert cells == [str(rank), history.specs[row], reward, *accuracies, str(row + 1), "exploring"]


def test_config_and_versions(toy):
    result, page = toy
    rows = [row for table in page.tables for row in table]
    content = rundir.read_config(result.folder)
    assert ["nan_share", "0.2"] in rows
    assert ["pure", "no"] in rows
    assert ["op_names", "none, skip_connect, nor_conv_1x1, nor_conv_3x3"] in rows
    assert ["method", "RandomSearch"] in rows
    assert all([name, version] in rows for name, version in content["versions"].items())
    assert ["platform", "cpu"] in rows
    assert content["hash"] in page.text


def test_it_needs_nothing_else_and_is_accessible(toy):
    result, page = toy
    assert set(page.tags) <= TAGS
    assert not {"src", "href", "srcset", "action", "xlink:href", "data"} & {name for name, _ in page.attributes}
    assert not re.search(r"url\(|@import|https?:|//", page.source)
    assert ("lang", "en") in page.attributes
    assert page.only("title") == "nasjax run run"
    pictures = re.findall("<svg[^>]*>", page.source)
    assert len(pictures) > 3
    assert all('role="img"' in tag and re.search('aria-label="[^"]{30,}"', tag) for tag in pictures)
    assert "prefers-color-scheme: dark" in page.source
    first = (result.folder / "report.html").read_bytes()
    (result.folder / rundir.EVENTS).unlink()  # holds the clock
    assert write_report(result.folder).read_bytes() == first
    assert not list(result.folder.glob("*.tmp"))


def test_the_charts_draw_every_evaluation_with_its_kind(tmp_path):
    origins = [Origin.PRIOR] * 3 + [Origin.MODEL] * 4 + [Origin.EDIT, Origin.REFILL]
    history = make_record([0.1, 0.5, NONE, 0.4, 0.7, NONE, 0.6, 0.2, 0.3], origins)
    page = read(make_run(tmp_path / "run", history))
    wide = page.source.split("<svg")[1]
    marks = dict(re.findall(r'<path class="(prior|model|other|invalid)" d="([^"]*)"', wide))
    assert {name: path.count("M") for name, path in marks.items()} == {"prior": 2, "model": 3, "other": 2, "invalid": 2}
    (incumbent,) = re.findall(r'<path class="best" d="([^"]*)"', wide)
    assert incumbent.count("V") == 2  # from 0.1 to 0.5 to 0.7
    heights = [float(y) for y in re.findall(r"[V ]([0-9.]+)", incumbent)]
    assert heights == sorted(heights, reverse=True)
    table = next(table for table in page.tables if "mean" in table[0])
    assert table[1:] == [
        ["exploring (prior)", "3", "1", "0.3000", "0.3000", "0.5000"],
        ["generated (model)", "4", "1", "0.5667", "0.6000", "0.7000"],
        ["other (edits, refills)", "2", "0", "0.2500", "0.2500", "0.3000"],
    ]
    assert "exploring (prior), n = 2" in page.text
    assert "best was found at evaluation 5 of 9" in page.source


def test_bars_count_all_rewards():
    rewards = np.random.default_rng(0).random(200)
    figure = charts.distributions(make_record(rewards))
    heights = np.array([float(height) for height in re.findall(r'<rect [^>]*height="([0-9.]+)"', figure)])
    x = charts._padded(float(np.float32(rewards).min()), float(np.float32(rewards).max()), 0, 1)
    count = np.histogram(np.float32(rewards), 24, (x.low, x.high))[0]
    np.testing.assert_allclose(heights / heights.max(), count[count > 0] / count.max(), atol=0.03)


def test_far_outliers_do_not_flatten_the_chart(tmp_path):
    rewards = [0.1, *np.linspace(0.8, 0.9, 20)]
    page = read(make_run(tmp_path / "run", make_record(rewards)))
    assert "1 below the axis stand on its lower end; the lowest is 0.1000." in page.text
    assert charts.reward_floor(np.array(rewards)) == pytest.approx(0.8)
    assert charts.reward_floor(np.array([0.1] * 5 + rewards)) == pytest.approx(0.1)  # too many to be outliers
    assert charts.reward_floor(np.array([1.0, 1.0, 1.0])) == 1


def test_unfinished_run(tmp_path):
    history = make_record([0.1, 0.5], metrics={"val_acc": [0.1, 0.5]})
    page = read(make_run(tmp_path / "run", history))
    assert page.only("h1") == "Best reward 0.5000"
    assert "2 of 50 evaluations · 0 invalid · unfinished" in page.text
    assert page.facts["validation accuracy"] == "50.00 %"
    assert "parameters" not in page.facts


def test_a_run_that_has_just_begun(tmp_path):
    folder = make_run(tmp_path / "run", record.empty())
    (folder / rundir.HISTORY).unlink()
    page = read(folder)
    assert page.only("h1") == "No usable reward yet"
    assert "0 of 50 evaluations" in page.text
    assert page.best_table is None
    (folder / rundir.STATE).write_bytes(b"")  # once there is a state, a missing history is a loss
    with pytest.raises(rundir.RunDirError, match=r"history\.npz"):
        write_report(folder)


def test_no_valid_evaluation_at_all(tmp_path):
    history = make_record([NONE] * 4, [0, 0, 1, 1], metrics={"val_acc": [NONE] * 4}, info={"entropy": [NONE, 2.0]})
    folder = make_run(tmp_path / "run", history, best={})
    page = read(folder)
    assert page.only("h1") == "No usable reward"
    assert "4 of 50 evaluations · 4 invalid · finished" in page.text
    assert "Proposals of the model" in page.text
    assert page.best_table is None
    assert not re.search(r"\bnan\b|\binf\b", page.source.partition("</style>")[2], re.IGNORECASE)


@pytest.mark.parametrize("reward", [0.0, -3e38, 3e38, 1e-45, 91.25])
def test_equal_and_extreme_rewards_are_drawn(tmp_path, reward):
    page = read(make_run(tmp_path / "run", make_record([reward, reward, NONE, reward * 0.5])))
    assert not re.search(r"\bnan\b|\binf\b", page.source.partition("</style>")[2], re.IGNORECASE)
    coordinates = [float(y) for y in re.findall(r' cy="([^"]*)"', page.source)]
    assert coordinates
    assert all(0 <= y <= 320 for y in coordinates)


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"distinct": [NONE, 1.0, 0.24], "entropy": [NONE, 5.0, 4.0]}, "only 24 % of them are distinct."),
        (
            {"distinct": [NONE, 1.0, 0.9], "entropy": [NONE, 5.0, 0.49]},
            "their entropy fell from 5.0000 to 0.4900 nats.",
        ),
        ({"entropy": [5.0, 0.1], "distinct": [1.0, 0.1]}, "distinct and their entropy fell"),
        ({"distinct": [0.1, 0.2, NONE]}, "only 20 %"),
        ({"distinct": [0.1, 0.25], "entropy": [5.0, 0.51]}, None),
        ({"distinct": [NONE, NONE], "entropy": [NONE, NONE]}, None),
        ({"entropy": [-1.0, -5.0]}, None),
        ({"unseen": [0.0, 0.0]}, None),
        ({}, None),
    ],
)
def test_collapse_is_said_once_when_it_is_there(tmp_path, info, reason):
    page = read(make_run(tmp_path / "run", make_record([0.1, 0.2], info=info)))
    warnings = [text for _, text in page.items if text.startswith("Warning:")]
    assert len(warnings) == page.source.count('class="warning"') == (reason is not None)
    assert reason is None or reason in warnings[0]


def test_proposals_over_the_steps(tmp_path):
    info = {
        "entropy": [NONE, 4.0, 3.0, 2.0],
        "distinct": [NONE, 1, 0.9, 0.8],
        "unseen": [NONE, 1, 0.5, 0.4],
        "x": [0] * 4,
    }
    page = read(make_run(tmp_path / "run", make_record([0.1, 0.2], info=info)))
    assert "Entropy of the proposals over the steps: 4.0000 nats at first, 2.0000 at last." in page.source
    assert "distinct 100 % at first, 80 % at last; unseen 100 % at first, 40 % at last" in page.source
    lines = re.findall(r'class="(?:model|second)-line" d="([^"]*)"', page.source)
    assert [len(re.findall("[ML]", line)) for line in lines] == [3, 3, 3]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "|<b>~0|+|</svg><script>~0|'\"&~1|",
    "\x1b[2Jcleared \u202etxt.exe\u2066 \x00\x7f\u200b",
    "|op~0|" * 3000,
    "&lt;script&gt; &#60;",
    "A" * 5000,
    "",
]


@pytest.mark.parametrize("first", range(len(HOSTILE)))
def test_hostile_strings_stay_text(tmp_path, first):
    specs = HOSTILE[first:] + HOSTILE[:first]
    rewards = np.linspace(1, 0, len(specs))
    metrics = {text[:300]: rewards for text in specs if "\0" not in text} | {"test_<i>": rewards}
    history = make_record(rewards, range(len(specs)), specs, metrics, {"entropy": [1.0, 2.0]})
    config = {text: {"type": text, "a": [text, {text: text}], "b": None} for text in specs} | {"budget": specs}
    best = {"params": specs[0], "macs": 10**400, "parameters": [specs[0]], "metrics": specs}
    folder = make_run(tmp_path / "<b>&", history, best, config, versions=specs, devices={specs[0]: specs[0]})
    page = read(folder)
    assert set(page.tags) <= TAGS
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert all(c.isprintable() or c == "\n" for c in page.source)
    assert page.only("title") == "nasjax run <b>&"
    shown = " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in specs[0]).split())
    assert page.best_table[1][1] == (shown if len(shown) <= 600 else shown[:599] + "…")
    assert len(page.source) < 500_000


@pytest.mark.parametrize(
    "result", [{"best": None}, {"best": []}, {"best": {"metrics": 3}}, {"budget": "<p>", "best": {"macs": {}}}]
)
def test_a_result_of_other_types_is_no_crash(tmp_path, result):
    history = make_record([0.5])
    folder = make_run(tmp_path / "run", history)
    (folder / rundir.RESULT).write_text(json.dumps({"format": 1, "history": history.digest().hex(), **result}))
    assert "· finished" in read(folder).text


def test_a_result_of_another_run_is_said(tmp_path):
    folder = make_run(tmp_path / "run", make_record([0.5]), best={"params": 5})
    other = dataclasses.replace(make_record([0.5]), cost=np.zeros(1, np.float32))
    (folder / rundir.HISTORY).write_bytes(checkpoint.pack(record.to_arrays(other)))
    page = read(folder)
    assert "Warning: result.json does not belong to history.npz" in page.text
    assert "unfinished" in page.text
    assert "parameters" not in page.facts


@pytest.mark.parametrize("name", [rundir.CONFIG, rundir.HISTORY, rundir.RESULT])
def test_damage_is_refused_and_the_old_report_stays(tmp_path, name):
    folder = make_run(tmp_path / "run", make_record([0.5]), best={})
    write_report(folder)
    before = (folder / "report.html").read_bytes()
    (folder / name).write_bytes(b"{damaged")
    with pytest.raises(rundir.RunDirError, match=name):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("|a~0|+|b~0|c~1|", (3, [(0, 1, "a"), (0, 2, "b"), (1, 2, "c")])),
        (
            "|a~0|+|none~0|c~1|+|d~0|e~1|f~2|",
            (4, [(0, 1, "a"), (0, 2, "none"), (1, 2, "c"), (0, 3, "d"), (1, 3, "e"), (2, 3, "f")]),
        ),
        ("|a~0|+|b~0|", (3, [(0, 1, "a"), (0, 2, "b")])),
        ("|a~0|+|b~0|b~0|", None),
        ("|a~1|+|b~0|c~1|", None),
        ("|a~0|+|b~0|c~2|", None),
        ("|a~0|", None),
        ("|a~0|+||", None),
        ("|a~0|+|b~0|c~1|\n", None),
        ("|a~0|+|b~0|+|c~0|+|d~0|", None),
        ("a~0+b~0", None),
        ("", None),
    ],
)
def test_cells_are_parsed(spec, expected):
    assert drawing.parse_cell(spec) == expected


def test_the_drawing_has_an_arrow_for_every_operation_but_none(tmp_path):
    spec = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|a_very_long_operation~1|none~2|"
    picture = drawing.draw_cell(spec)
    assert picture.count("<polygon") == 4
    assert picture.count("<circle") == 4
    assert ">none<" not in picture
    assert "input to node 1: nor_conv_3x3; node 1 to node 2: skip_connect; input to output: avg_pool_3x3" in picture
    assert "none, 2 of 6 edges" in picture
    assert "var(--op-0)" in picture
    width, height = (float(v) for v in re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', picture).groups())
    for x, y in re.findall(r'<text [^>]*x="([0-9.-]+)" y="([0-9.-]+)"', picture):
        assert 0 < float(x) < width
        assert 12 <= float(y) <= height - 4
    page = read(make_run(tmp_path / "run", make_record([0.5], specs=["other ~ form"])))
    assert "Graph of the best architecture" not in page.source
    assert page.text.count("other ~ form") == 3  # head, beside the facts, table


def test_text_is_cut_and_numbers_are_readable():
    assert markup.text("a" * 30, 10) == "a" * 9 + "…"
    assert markup.text("a\n\tb") == "a b"
    assert markup.number(1234567) == "1,234,567"
    assert markup.number(1.5e-7) == "1.5e-07"
    assert markup.number(float("nan")) == "\u2013"
    assert markup.quantity("val_acc", 0.912) == "91.20 %"
    assert markup.quantity("val_acc", 91.2) == "91.2000"
    assert markup.quantity("params", True) == "True"


@pytest.mark.parametrize(
    ("evaluator", "unit"), [("ChildTraining", "multiply-adds"), ("Table", "seconds"), ("Mine", None), (None, None)]
)
def test_the_cost_has_the_unit_of_its_evaluator(tmp_path, evaluator, unit):
    config = {"type": "Search", "evaluator": {"type": evaluator}} if evaluator else {"type": "Search"}
    page = read(make_run(tmp_path / "run", make_record([0.5]), config=config))
    label = f"cost of training, {unit}" if unit else "cost"
    assert f"<dt>{label}</dt>" in page.source


def test_a_table_without_seconds_says_no_cost(tmp_path):
    made = make_record([0.5])
    config = {"type": "Search", "evaluator": {"type": "Table"}}
    for folder, cost in (("known", made.cost), ("unknown", np.zeros(1, np.float32))):
        page = read(make_run(tmp_path / folder, dataclasses.replace(made, cost=cost), config=config))
        assert ("<dt>cost" in page.source) == (folder == "known")
