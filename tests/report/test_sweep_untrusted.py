"""Names that would be more than text, and files that are damaged or of another sweep."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from report_page import TAGS
from sweep_cases import METHODS, SVG_TAGS, make_sweep, read

from nasjax import results, rundir
from nasjax.report.sweep import markdown, read_markdown, write_report
from nasjax.summary import Comparison

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
    compare = Comparison(references=tuple(names[: 2 + first % 2]), claims=(names[3],), against=(names[0],))
    places = [(names[4], names[5]), (names[6], names[7])]
    make_sweep(folder, {name: 1 + i for i, name in enumerate(names[:4])}, places, 3, 5, compare)
    content = json.loads((folder / "summary.json").read_text())
    for result in content["results"]:
        result["queries_to"] = {name: result["queries_to"]["0.5"] for name in names[5:7]}
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
    columns = []
    for block in markdown(content)[:-1].split("\n\n"):
        for line in block.splitlines():
            assert line.isprintable()
            assert len(line) < 2000
            assert not re.search(r"(?<!\\)[<`]|(?<!\\)\[a", line)
        (cells,) = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        columns += [cells - 1] if cells else []
    assert columns == [7, 4 if first % 2 else 5, 2, 4] * 2 + [2]  # main, differences, claims, T2; ranks


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
    warnings = "\n\n".join(
        f"> **Warning:** {text}; nasjax sweep makes it anew from the chunks."
        for text in (
            "summary.json belongs to another config than config.json",
            "summary.json and results.parquet are of different searches",
        )
    )
    assert read_markdown(folder) == f"{warnings}\n\n{markdown(content)}"
    (folder / "results.parquet").write_bytes(b"x")
    text = read_markdown(folder)
    assert text.startswith(f"> **Warning:** {folder}/results.parquet: no Parquet file")
    assert text.endswith(f"\n\n{markdown(content)}")
    (folder / "results.parquet").unlink()
    assert read_markdown(folder).count("Warning") == 1
