"""The table that comes with nasjax: every different NAS-Bench-201 cell, trained on digits."""

import numpy as np
import pytest

from nasjax.configs import digits_controls
from nasjax.methods.local_search import LocalSearch
from nasjax.search import Budget, Search, run_search
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.tables import Table, opening

DEAD = -np.log(10)
"""What a cell is worth whose output is not connected: constant logits."""


@pytest.fixture(scope="module")
def table():
    return opening.load("digits")[0]


def test_every_class_once_with_figures_that_can_be(table):
    space = NasBench201()
    specs = [table.archs.spec(row) for row in range(len(table))]
    codes = np.asarray(space.index(space.from_specs(specs)))
    assert np.array_equal(codes, np.sort(np.asarray(space.class_members())))
    assert opening.find("digits").stat().st_size < 2_000_000
    assert table.facts.unit == "fraction"
    assert table.facts.source.startswith("nasjax table build digits_table --seeds 3 ")
    for split, images in (("val", 937 * 4), ("test", 360 * 4)):
        losses, shares = table.runs(f"{split}_ce", ""), table.runs(f"{split}_acc", "")
        assert len(losses) == len(shares) == 3
        for loss, share in zip(losses, shares, strict=True):
            assert loss.there.all()
            assert ((loss.values > 0.2) & (loss.values < 2.5)).all()
            counts = share.values * images
            assert np.abs(counts - np.round(counts)).max() < 0.01
            assert np.corrcoef(loss.values, share.values)[0, 1] < -0.9


def test_a_search_needs_no_download(tmp_path, monkeypatch):
    monkeypatch.delenv("NASJAX_DATA", raising=False)
    result = run_search(
        Search(NasBench201(), LocalSearch(), Table("digits"), Budget(evaluations=30)), 0, tmp_path / "run"
    )
    best = result.summary["best"]
    assert result.evaluations == 30
    assert -0.6 < best["reward"] < -0.2
    assert best["metrics"]["test"] > 0.7


def test_the_dead_cell_is_known_and_worth_nothing():
    space = NasBench201()
    evaluator = Table("digits").build(space)
    dead = space.from_specs(["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"])
    found = evaluator(None, dead)
    assert bool(found.valid[0])
    assert float(found.reward[0]) == pytest.approx(DEAD, abs=0.02)


def test_the_sweep_of_the_controls_is_one_of_this_table():
    sweep = digits_controls.config()
    (task,) = sweep.tasks
    evaluator = task.build(sweep.space)
    assert evaluator.source["unit"] == "nats"
    assert not evaluator.notes
