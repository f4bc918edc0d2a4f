"""What `benchmarks/accelerator.py` says of a program: found from its own keys, and whether two runs are the same."""

import argparse
import hashlib
import types

import accelerator
import numpy as np

from nasjax import seeds
from nasjax.methods.random_search import RandomSearch
from nasjax.tables import Table

WIDTH, BUDGET = 4, 6


def test_a_line_says_what_the_searches_found(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "METHODS", {"random": (RandomSearch(batch=1), BUDGET)})
    monkeypatch.setattr(accelerator, "EARLY", 2)
    evaluator = Table("digits").build(accelerator.SPACE)
    asked = argparse.Namespace(rounds=2, anew=True, save=tmp_path)
    cells = accelerator.row("random", WIDTH, evaluator, asked).strip("| ").split(" | ")
    found = seeds.program(accelerator.SPACE, RandomSearch(batch=1), evaluator, BUDGET, width=WIDTH)(
        evaluator, range(WIDTH)
    )
    best = evaluator.best(accelerator.SPACE)["validation"]
    early, late = (best - found.reward[:, :queries].max(axis=1) for queries in (2, BUDGET))
    assert cells[:2] == ["random", str(WIDTH)]
    assert [float(cell.split(" ± ")[0]) for cell in cells[5:7]] == [
        round(float(some.mean()), 4) for some in (early, late)
    ]
    assert cells[7] == f"{(early <= 1e-4).mean():.1%}"
    assert cells[8:] == ["yes", "yes", hashlib.sha256(found.keys.tobytes()).hexdigest()[:8]]
    np.testing.assert_array_equal(np.load(tmp_path / f"random-{WIDTH}.npy"), found.keys)


def test_searches_that_part_are_counted():
    keys = np.arange(24, dtype=np.uint32).reshape(3, 4, 2)
    other = keys.copy()
    other[1, 3, 0] += 1
    assert accelerator.same(types.SimpleNamespace(keys=keys), types.SimpleNamespace(keys=keys.copy())) == "yes"
    assert accelerator.same(types.SimpleNamespace(keys=keys), types.SimpleNamespace(keys=other)) == "2 of 3"
