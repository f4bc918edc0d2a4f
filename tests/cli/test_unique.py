"""`--unique`: what tells that a query is new."""

import json

import jax
import pytest
from command_line import REFUSED, SMALL, TOY

from nasjax import results
from nasjax.spaces.nasbench201 import NasBench201

OWN_TABLE = '''
"""Random search on the 64 cells of two operations.    nasjax KIND mine.py"""

from nasjax.methods.random_search import RandomSearch
from nasjax.search import Budget, Search
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.sweep import Entry, Sweep
from nasjax.tables import Table

SPACE, TABLE = NasBench201(("skip_connect", "nor_conv_1x1")), Table("mine.csv", signal="a")


def config():
    if KIND == "sweep":
        return Sweep(SPACE, (Entry("random", RandomSearch(batch=8)),), (TABLE,), Budget(64), seeds=2)
    return Search(SPACE, RandomSearch(batch=8), TABLE, Budget(64))
'''


@pytest.fixture
def own_table(here):
    """Configs sweep.py and search.py on a table of their own; returns the cells' strings."""
    space = NasBench201(("skip_connect", "nor_conv_1x1"))
    cells = [jax.tree.map(lambda leaf, row=row: leaf[row], space.all()) for row in range(64)]
    specs = [space.to_spec(cell) for cell in cells]
    (here / "mine.csv").write_text("arch,a\n" + "".join(f"{spec},{row}\n" for row, spec in enumerate(specs)))
    for kind in ("sweep", "search"):
        (here / f"{kind}.py").write_text(OWN_TABLE.replace("KIND ", f'"{kind}" ').replace("KIND", kind))
    return specs


def test_sweeps_by_published_classes(nasjax_main, here, own_table):
    """A search of all there is ends after 39 queries by key, after 35 by published class: these two partitions differ."""
    for unique, number in (("config", 39), ("key", 39), ("published", 35)):
        status, _, err = nasjax_main("sweep", "sweep.py", "--unique", unique, "--run", unique)
        assert status == 0, err
        found = json.loads((here / "runs" / unique / "summary.json").read_text())
        assert found["config"]["unique"] == ("published" if unique == "published" else "key")
        assert found["results"][0]["unique_queries"] == number
        table, _ = results.unpack((here / "runs" / unique / "results.parquet").read_bytes())
        assert len(table) == 2 * number
        assert not any(table["repeat"].to_pylist())
        assert table["signal"].to_pylist() == [own_table.index(spec) for spec in table["architecture"].to_pylist()]
        for name in ("summary.json", "results.parquet") * (unique == "key"):
            assert (here / "runs/key" / name).read_bytes() == (here / "runs/config" / name).read_bytes()
    page = (here / "runs" / "published" / "report.html").read_text()
    assert "unique by published" in page
    status, _, err = nasjax_main("sweep", "sweep.py", "--unique", "published", "--run", "key")
    assert (status, err.count("\n")) == (REFUSED, 1)
    assert 'runs/key is a run of another config (config.space.classes: absent, now "published")' in err


def test_searches_by_published_classes(nasjax_main, here, own_table):
    """The same as the space's own option; --unique has the last word."""
    for name, options, number in (
        ("key", (), 39),
        ("published", ("--unique", "published"), 35),
        ("space", ("--space.classes", "published"), 35),
        ("back", ("--space.classes", "published", "--unique", "key"), 39),
    ):
        status, out, err = nasjax_main("search", "search.py", "--run", name, *options)
        assert status == 0, err
        assert f"runs/{name}: fresh run, {number} evaluations" in out
    for one, other in (("published", "space"), ("key", "back")):
        for file in ("history.npz", "config.json"):
            assert (here / "runs" / one / file).read_bytes() == (here / "runs" / other / file).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", TOY), "--unique published: the space toy has no published classes, as nasbench201 has"),
        (("sweep", TOY.replace("_run", "_sweep")), "--unique published: the space toy has no published classes"),
        (
            ("search", TOY, "--unique=publshed"),
            "'publshed' is not one of config, key, published; did you mean published?",
        ),
    ],
)
def test_spaces_without_published_classes(nasjax_main, here, arguments, message):
    unique = () if "=" in arguments[-1] else ("--unique", "published")
    status, out, err = nasjax_main(*arguments, *unique)
    assert (status, out, err.count("\n")) == (REFUSED, "", 1)
    assert message in err
    assert not list(here.iterdir())


def test_by_key_is_what_every_space_has(nasjax_main):
    assert nasjax_main("search", *SMALL, "--unique", "key")[0] == 0
