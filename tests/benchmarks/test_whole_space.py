"""The best signal of a whole table is what a search that asks everything ends with."""

import jax
import numpy as np
import pytest
import whole_space

from nasjax import seeds
from nasjax.methods.random_search import RandomSearch
from nasjax.spaces.toy import Toy
from nasjax.tables import Table

SEEDS, FEW = 6, 2


@pytest.fixture
def build(tmp_path):
    """A table with a string of each of the toy's networks, by signal."""
    archs = Toy().all()
    _, first = np.unique(np.asarray(jax.vmap(Toy().canonical_key)(archs)), axis=0, return_index=True)
    rng = np.random.default_rng(0)
    signal, test = rng.permutation(first.size) / 10 + 60, rng.permutation(first.size) / 10 + 50
    lines = [
        f"{Toy().to_spec(jax.tree.map(lambda leaf, row=row: leaf[row], archs))},{a},{b}"
        for row, a, b in zip(first, signal, test, strict=True)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["arch,val_acc,test_acc", *lines]) + "\n")
    return lambda name: (Table(str(tmp_path / "t.csv"), "", name).build(Toy()), signal, test)


def test_with_noise_it_is_the_incumbent_of_a_search_that_asks_everything(build):
    evaluator, signal, test = build("val_acc:gauss(1)")
    program = seeds.program(evaluator.searchable(Toy()), RandomSearch(batch=1), evaluator, signal.size)
    found = program(evaluator, range(SEEDS))
    assert found.live.sum(axis=1).tolist() == [signal.size] * SEEDS, "a search did not ask everything"
    place = np.where(found.live, found.reward, -np.inf).argmax(axis=1)
    searched = found.metrics["test"][np.arange(SEEDS), place]
    of_all, of_few, highest = whole_space.worth(evaluator, SEEDS, best=signal.size)
    np.testing.assert_array_equal(of_all, searched)
    np.testing.assert_array_equal(of_few, searched)
    assert np.unique(searched).size > 1, "the noise decides nothing"
    assert highest == pytest.approx(test.max())


def test_without_noise_it_is_the_row_of_the_best_signal(build):
    evaluator, signal, test = build("val_acc")
    few = np.argsort(-test)[:FEW]
    of_all, of_few, _ = whole_space.worth(evaluator, 2, best=FEW)
    np.testing.assert_allclose(of_all, test[signal.argmax()], rtol=1e-6)
    np.testing.assert_allclose(of_few, test[few[signal[few].argmax()]], rtol=1e-6)
    assert of_all[0] != of_few[0], "the case shows nothing"
