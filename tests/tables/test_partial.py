"""Tables that have a part of a space: what they lack counts as seen, in whole searches and step by step."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from cells import CELLS, QUICK, ROWS, TWO, csv, figure

from nasjax import history
from nasjax.base import Enumerable, Factored, Generable, Origin, Partial, Space
from nasjax.methods.encoding import by_encoding
from nasjax.methods.random_search import RandomSearch
from nasjax.search import Budget, Search, run_search, scan_search
from nasjax.spaces.enas import Enas
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.tables import Table, searchable

NARROW = NasBench201(TWO)
PRIOR = NasBench201(TWO, "no_none")


@pytest.fixture
def mine(tmp_path):
    return csv(tmp_path / "mine.csv")


def test_the_part_is_such_a_space(mine):
    evaluator = Table(mine, signal="val_acc").build(NARROW)
    part = searchable(NARROW, evaluator)
    for kind in (Space, Enumerable, Generable, Factored, NasBench201):
        assert isinstance(part, kind)
    assert part.name == NARROW.name
    assert part != NARROW
    assert (hash(part), part) == (hash(searchable(NARROW, evaluator)), searchable(NARROW, evaluator))
    assert part == searchable(NARROW, Table(mine, signal="test_acc").build(NARROW))
    members = np.asarray(part.class_members())
    assert sorted(members[members >= 0].tolist()) == ROWS  # here every string is its own class
    assert evaluator.best(part) == evaluator.best(NARROW)
    assert evaluator.searchable(PRIOR).prior == "no_none"


def test_a_users_own_table_works_from_end_to_end(mine, tmp_path):
    """64 strings, 30 rows, 40 queries: all thirty once, some of them by the uniform fallback, then the space is exhausted.

    The result names the table, notes are said, a restart finds the run finished.
    """
    notes = []
    search = Search(NARROW, RandomSearch(batch=8), Table(mine, signal="val_acc"), Budget(40))
    result = run_search(search, 3, tmp_path / "run", on_note=notes.append)
    assert result.evaluations == 30
    assert sorted(result.record.specs) == sorted(CELLS[row] for row in ROWS)
    assert result.record.valid.all()
    assert int(Origin.FALLBACK) in result.record.origin
    np.testing.assert_allclose(result.record.reward, [figure(CELLS.index(spec)) for spec in result.record.specs])
    assert result.best_reward == pytest.approx(max(map(figure, ROWS)))
    assert result.summary["exhausted"]
    assert result.summary["table"]["file"] == "mine.csv"
    assert not result.summary["table"]["modelled"]
    assert result.summary["best"]["metrics"]["test"] == pytest.approx(max(map(figure, ROWS)) - 1)
    assert any("34 of 64 classes of nasbench201 have no row" in note for note in notes)
    pathlib.Path(mine).unlink()  # a finished run needs no data
    assert run_search(search, 3, tmp_path / "run", on_note=notes.append).begun == "finished"


def test_rows_are_drawn_where_the_priors_draws_have_none(tmp_path):
    """Draws = "auto" draws rows under a tenth; uniformly: chi-square, n = 4,000, level 1e-3; "prior" and "rows" are obeyed."""
    few = csv(tmp_path / "few.csv", rows=ROWS[:5])
    evaluator = Table(few, signal="val_acc").build(NARROW)
    assert any("rows of the table are drawn in place of the space's prior" in note for note in evaluator.notes)
    part = searchable(NARROW, evaluator)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: part.index(part.sample(key))))(keys))
    assert set(drawn.tolist()) == set(ROWS[:5])
    assert scipy.stats.chisquare(np.bincount(drawn, minlength=10)[ROWS[:5]]).pvalue > 1e-3
    prior = searchable(NARROW, Table(few, signal="val_acc", draws="prior").build(NARROW))
    key = keys[0]
    for found, expected in zip(prior.sample(key), NARROW.sample(key), strict=True):
        np.testing.assert_array_equal(found, expected)
    many = Table(csv(tmp_path / "many.csv"), signal="val_acc").build(NARROW)
    assert not searchable(NARROW, many).draw_rows
    assert searchable(NARROW, Table(str(tmp_path / "many.csv"), signal="val_acc", draws="rows").build(NARROW)).draw_rows


# spaces that are known by keys


@pytest.fixture(scope="module")
def enas(tmp_path_factory):
    """Thirty architectures of three layers, of 6^3 * 2^3."""
    space = Enas(3)
    rows = np.random.default_rng(0).choice(216 * 8, 30, replace=False)
    specs = [
        f"[[{row % 6}], [{row // 6 % 6}, {row // 36 % 2}], [{row // 72 % 6}, {row // 432 % 2}, {row // 864}]]"
        for row in rows
    ]
    path = tmp_path_factory.mktemp("enas") / "t.csv"
    path.write_text("arch,a\n" + "".join(f'"{spec}",{number}\n' for number, spec in enumerate(specs)))
    return space, specs, Table(str(path), signal="a").build(space)


def test_no_query_is_lost_where_the_priors_draws_run_dry(enas):
    """256 draws of the prior meet some 4 of the 30 rows, so `draws="prior"` left batches short; now rows fill them."""
    space, specs, evaluator = enas
    assert searchable(space, evaluator).draw_rows
    about = dataclasses.replace(evaluator.about, draw_rows=False)  # as draws="prior" has it
    prior = dataclasses.replace(evaluator, about=about)
    for wrap in (lambda part: part, by_encoding):
        part = wrap(searchable(space, prior))
        method = RandomSearch(batch=10).build(part, 40)
        search = jax.jit(scan_search(part, method, prior, 40), compiler_options=QUICK)
        trace = search(jax.random.key(0))
        live = np.asarray(trace.live)
        different = np.unique(np.asarray(trace.keys)[live], axis=0)
        assert live.sum() == len(different) == len(specs)  # then there are no more
        assert trace.valid[live].all()
        assert {Origin.REFILL, Origin.FALLBACK} <= set(np.asarray(trace.origin)[live].tolist())


def test_a_space_without_a_list_is_asked_for_each_candidate(enas):
    """`history` proposes only what has a row; rows are drawn, as the prior would hardly ever meet one."""
    space, specs, evaluator = enas
    part = searchable(space, evaluator)
    assert isinstance(part, Partial)
    assert not isinstance(space, Partial)
    candidates = space.from_specs((*specs[:2], "[[0], [0, 0], [0, 0, 0]]", specs[0], specs[5]))
    candidates = jax.tree.map(jnp.asarray, candidates)
    unseen = jax.jit(
        lambda past, key: history.first_unseen(part, past, candidates, 4, key, origin=Origin.EDIT, refills=8),
        compiler_options=QUICK,
    )
    past = history.empty(part, 20)
    proposals = unseen(past, jax.random.key(0))
    found = [space.to_spec(jax.tree.map(lambda leaf, row=row: leaf[row], proposals.archs)) for row in range(4)]
    assert found[:3] == [specs[0], specs[1], specs[5]]
    assert found[3] in specs
    assert proposals.live.all()
    assert proposals.origin.tolist() == [Origin.EDIT] * 3 + [Origin.REFILL]
    outside = space.from_spec("[[0], [0, 0], [0, 0, 0]]")
    assert bool(history.contains(part, past, outside))
    assert not bool(history.contains(part, past, space.from_spec(specs[3])))
    assert not bool(history.contains(space, history.empty(space, 20), outside))


def test_telling_apart_by_encodings_keeps_to_the_part(enas, mine):
    """GraphPNAS's `dedupe="encoding"` wraps the space."""
    space, specs, evaluator = enas
    wrapped = by_encoding(searchable(space, evaluator))
    assert isinstance(wrapped, Partial)
    assert bool(wrapped.has_row(space.from_spec(specs[0])))
    assert not bool(wrapped.has_row(space.from_spec("[[0], [0, 0], [0, 0, 0]]")))
    assert space.to_spec(wrapped.sample_row(jax.random.key(0))) in specs
    assert not isinstance(by_encoding(space), Partial)
    listed = by_encoding(searchable(NARROW, Table(mine, signal="val_acc").build(NARROW)))
    members = np.asarray(listed.class_members())
    assert members[members >= 0].tolist() == ROWS


@pytest.mark.slow
def test_the_published_part_of_nasbench101(published_data):
    """`val_acc@108`: 30,001 of 423,624 cells; 150 queries of random search meet 150 different ones of them.

    The matrix prior draws so many small cells that 19 % of its draws have a row, but few different ones: rows fill batches.
    """
    del published_data
    space = NasBench101()
    evaluator = Table("nasbench101.npz", signal="val_acc@108").build(space)
    part = searchable(space, evaluator)
    assert not part.draw_rows
    assert evaluator.best(space)["validation"] == pytest.approx(94.9119, abs=1e-4)
    assert evaluator.notes[1].startswith("nasbench101.npz: 393,623 of 423,624 rows have no val_acc@108")
    method = RandomSearch(batch=5).build(part, 150)
    trace = jax.jit(lambda table, key: scan_search(part, method, table, 150)(key))(evaluator, jax.random.key(0))
    assert np.asarray(trace.live & trace.valid).all()
    assert len(np.unique(trace.keys, axis=0)) == 150
    assert {Origin.PRIOR, Origin.FALLBACK} <= set(np.asarray(trace.origin).tolist())
