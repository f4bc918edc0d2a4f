"""Tables as evaluators: every architecture gets its own figures, on the device, and wrong tables are refused with the row."""

import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells import CELLS, QUICK, ROWS, TWO, csv, figure, nb201

from nasjax.base import Evaluator, evaluation_key
from nasjax.spaces.enas import Enas
from nasjax.spaces.nasbench101 import NasBench101
from nasjax.spaces.nasbench201 import NasBench201
from nasjax.spaces.toy import Toy
from nasjax.tables import Table, TableEvaluator, lookup, opening, searchable, writing
from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, Facts, given
from nasjax.tables.evaluator import About

TASKS = ("cifar10", "cifar100", "ImageNet16-120")
FULL, NARROW = NasBench201(), NasBench201(TWO)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def evaluate():
    """One program for all evaluators of equal structure and shapes; a second trace would be a second compilation."""
    program = chex.assert_max_traces(lambda evaluator, key, archs: evaluator(key, archs), n=20)
    return jax.jit(program, compiler_options=QUICK)


@pytest.fixture(scope="module")
def published(published_data):
    with np.load(published_data / "nasbench201.npz") as file:
        return dict(file)


# NAS-Bench-201


def test_two_hundred_cells_of_every_task_are_those_of_the_file(published):
    """And all tasks and noise-free signals share one program."""
    program = jax.jit(chex.assert_max_traces(lambda evaluator, key, archs: evaluator(key, archs), n=1))
    rows = np.random.default_rng(0).choice(15_625, 200, replace=False)
    archs = FULL.from_operations(jnp.asarray(published["ops"][rows], jnp.int32))
    for place, task in enumerate(TASKS):
        for epochs in (12, 200):
            found = program(Table("nasbench201.npz", task, f"val_acc@{epochs}").build(FULL), KEY, archs)
            np.testing.assert_array_equal(found.reward, published[f"val{epochs}"][rows, place])
            np.testing.assert_array_equal(found.metrics["validation"], found.reward)
            np.testing.assert_array_equal(found.metrics["test"], published["test200"][rows, place])
            np.testing.assert_allclose(
                found.cost, published["train_seconds200"][rows, place] * (epochs / 200), rtol=1e-6
            )
            assert found.valid.all()


@pytest.fixture(scope="module")
def noisy(published_data):
    """Signal -> evaluator of CIFAR-10."""
    return {
        signal: Table("nasbench201.npz", "cifar10", signal).build(FULL)
        for signal in ("val_acc@12:run", "val_acc@200:run")
    }


def test_facts_of_the_table(noisy):
    evaluator = noisy["val_acc@200:run"]
    assert isinstance(evaluator, Evaluator)
    assert evaluator.pure
    assert evaluator.source == {
        "file": "nasbench201.npz",
        "sha256": "e91a7b55447ff6399b3340603e8f9213a85539b07ee454900fd456ec5e05151d",
        "modelled": False,
        "unit": "percent",
    }
    assert evaluator.notes == ()
    assert noisy["val_acc@12:run"].source["modelled"]
    assert noisy["val_acc@12:run"].notes[0].startswith("val_acc@12:run is modelled")
    assert evaluator.best(FULL) == pytest.approx({"validation": 91.6067, "test": 94.3733}, abs=5e-5)
    assert searchable(FULL, evaluator) is FULL
    spec = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|"
    assert evaluator.describe(FULL.from_spec(spec)) == {"params": 802_426, "flops": 117_982_912}


@pytest.mark.parametrize("signal", ["val_acc@12:run", "val_acc@200:run"])
def test_noise_depends_on_key_and_cell_alone(noisy, evaluate, signal):
    """The same bits in other company, another order, alone; equal networks see the same draw."""
    # nor_conv_3x3 before or after a skip_connect is one network under two strings, hence one key
    twins = ["|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"]
    twins.append("|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|")
    names = np.random.default_rng(1).choice(FULL.op_names, (62, 6))
    archs = FULL.from_specs((*twins, *map(nb201, names)))
    evaluator = noisy[signal]
    together = evaluate(evaluator, KEY, archs)
    order = np.random.default_rng(0).permutation(64)
    shuffled = evaluate(evaluator, KEY, jax.tree.map(lambda leaf: leaf[order], archs)).reward
    np.testing.assert_array_equal(shuffled, together.reward[order])
    alone = jax.tree.map(lambda leaf: np.repeat(leaf[:1], 64, axis=0), archs)
    np.testing.assert_array_equal(evaluate(evaluator, KEY, alone).reward, np.repeat(together.reward[:1], 64))
    other = evaluate(evaluator, jax.random.key(6), archs).reward
    assert (other != together.reward).mean() > 0.3
    keys = [np.asarray(FULL.canonical_key(FULL.from_spec(spec))) for spec in twins]
    np.testing.assert_array_equal(keys[0], keys[1])
    key = evaluation_key(KEY, keys[0])
    for place, spec in enumerate(twins):  # each string has its own row
        code = int(FULL.index(FULL.from_spec(spec)))
        expected = evaluator.noise.seen(key, jnp.int32(code), evaluator.signal[code])
        assert float(together.reward[place]) == pytest.approx(float(expected), rel=1e-6)
        assert float(together.metrics["validation"][place]) == float(evaluator.signal[code])


def test_arrays_are_arguments_of_programs(noisy):
    """Constants of the program are the space's own class table, 31,250 bytes, and less than a thousand besides."""
    archs = jax.tree.map(lambda leaf: jnp.zeros((4, *leaf.shape), leaf.dtype), FULL.from_specs((nb201(["none"] * 6),)))
    archs = jax.tree.map(lambda leaf: leaf[:, 0], archs)
    program = jax.make_jaxpr(lambda evaluator, key, archs: evaluator(key, archs))(noisy["val_acc@200:run"], KEY, archs)
    constants = [np.asarray(constant).nbytes for constant in program.consts]
    assert sum(constants) < 31_250 + 1000
    assert "callback" not in str(program)


def test_an_operation_subset_ignores_the_other_rows(published, published_data):
    """Of 4,096 strings; the maxima are over them alone, and codes outside are not taken for others."""
    narrow = NasBench201(("avg_pool_3x3", "none", "skip_connect"))
    evaluator = Table("nasbench201.npz", "cifar10", "val_acc@200").build(narrow)
    inside = np.isin(published["ops"], [0, 1, 4]).all(axis=1)
    expected = {"validation": published["val200"][inside, 0].max(), "test": published["test200"][inside, 0].max()}
    assert evaluator.best(narrow) == pytest.approx({name: float(value) for name, value in expected.items()})
    assert searchable(narrow, evaluator) is narrow
    specs = (published["arch"][np.flatnonzero(inside)[7]], "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    archs = FULL.from_specs(tuple(map(str, specs)))
    found = jax.jit(lambda archs: evaluator(KEY, archs), compiler_options=QUICK)(archs)
    np.testing.assert_array_equal(found.valid, [True, False])
    assert float(found.reward[0]) == published["val200"][np.flatnonzero(inside)[7], 0]
    assert np.isnan(found.reward[1])
    with pytest.raises(ValueError, match="it was built for the space NasBench201"):
        evaluator.best(FULL)
    with pytest.raises(ValueError, match="it was built for the space NasBench201"):
        evaluator.searchable(Toy())


# a table of one's own


@pytest.fixture
def mine(tmp_path):
    return csv(tmp_path / "mine.csv")


def build(file, space=NARROW, **settings) -> TableEvaluator:
    return Table(file, **{"signal": "val_acc", **settings}).build(space)


def test_own_table(mine, evaluate):
    evaluator = build(mine)
    found = evaluate(evaluator, KEY, NARROW.all())
    expected = np.array([figure(row) if row in ROWS else np.nan for row in range(64)])
    np.testing.assert_allclose(found.reward, expected)
    np.testing.assert_allclose(found.metrics["test"], expected - 1, rtol=1e-6)
    np.testing.assert_array_equal(found.valid, ~np.isnan(expected))
    np.testing.assert_array_equal(found.cost, np.zeros(64))
    best = max(map(figure, ROWS))
    assert evaluator.best(NARROW) == pytest.approx({"validation": best, "test": best - 1})
    assert evaluator.source["file"] == "mine.csv"
    assert evaluator.describe(NARROW.from_spec(CELLS[0])) == {}
    assert "34 of 64 classes of nasbench201 have no row, for example " + CELLS[1] in evaluator.notes[0]


def test_whole_tables_of_subsets_and_of_classes(tmp_path, evaluate):
    """A class is there if one of its strings is; a string without a row takes the row of its class's smallest code."""
    space = Toy()
    archs = space.all()
    classes = np.asarray(space.class_of(np.arange(64, dtype=np.int32)))
    strings = [space.to_spec(jax.tree.map(lambda leaf, row=row: leaf[row], archs)) for row in range(64)]
    last = {int(one): row for row, one in enumerate(classes)}  # one string a class, the one of largest code
    twice = next(row for row in range(64) if row != last[int(classes[row])])  # and of one class a second
    rows = sorted({*last.values(), twice})
    path = tmp_path / "toy.csv"
    path.write_text("arch,a\n" + "".join(f'"{strings[row]}",{row}\n' for row in rows))
    evaluator = Table(str(path), signal="a", complete=True).build(space)
    found = np.asarray(evaluate(evaluator, KEY, archs).reward)
    shared = [
        float(row if row in rows else (twice if one == classes[twice] else last[int(one)]))
        for row, one in enumerate(classes)
    ]
    np.testing.assert_array_equal(found, shared)
    assert evaluator.searchable(space) is space
    path.write_text("arch,a\n" + "".join(f'"{strings[row]}",{row}\n' for row in rows[:-1]))
    with pytest.raises(
        ValueError, match=r"toy\.csv: complete=True, but 1 of 26 classes of toy have no row, for example \|"
    ):
        Table(str(path), signal="a", complete=True).build(space)


def test_a_table_in_a_space_by_published_classes(tmp_path, evaluate):
    """Every string keeps its own figures; only what stands for a missing row, and the noise, follow the classes."""
    spaces = [NasBench201(("skip_connect", "nor_conv_1x1"), classes=classes) for classes in ("exact", "published")]
    archs = spaces[0].all()
    path = tmp_path / "t.csv"
    strings = [spaces[0].to_spec(jax.tree.map(lambda leaf, row=row: leaf[row], archs)) for row in range(64)]
    path.write_text("arch,a\n" + "".join(f"{string},{row}\n" for row, string in enumerate(strings)))
    for space in spaces:
        whole = Table(str(path), signal="a", complete=True).build(space)
        np.testing.assert_array_equal(evaluate(whole, KEY, archs).reward, np.arange(64))
        noisy = Table(str(path), signal="a:gauss(1)").build(space)
        noise = np.asarray(evaluate(noisy, KEY, archs).reward) - np.arange(64)
        keys = np.asarray(jax.vmap(space.canonical_key)(archs))[:, 1]
        for key in np.unique(keys):
            np.testing.assert_allclose(noise[keys == key], noise[keys == key][0], atol=1e-5)
        assert len(np.unique(noise.round(4))) == len(np.unique(keys)) == {"exact": 39, "published": 35}[space.classes]
    classes = [np.asarray(space.class_of(np.arange(64, dtype=np.int32))) for space in spaces]
    sole, twin = next(
        (a, b)
        for a in range(64)
        for b in range(64)
        if classes[1][a] == classes[1][b] and classes[0][a] != classes[0][b]
    )
    path.write_text(f"arch,a\n{strings[sole]},5\n")
    exact, published = (Table(str(path), signal="a").build(space) for space in spaces)
    assert not evaluate(exact, KEY, archs).valid[twin]
    assert evaluate(published, KEY, archs).reward[twin] == 5
    for evaluator, other in ((exact, spaces[1]), (published, spaces[0])):
        with pytest.raises(ValueError, match="it was built for the space"):
            evaluator.searchable(other)


def test_repeated_rows(tmp_path, evaluate):
    """Equal ones are accepted and counted; others are refused with both lines."""
    path = pathlib.Path(csv(tmp_path / "mine.csv", rows=[*ROWS, 4, 4, 8]))
    evaluator = build(str(path))
    assert evaluator.about.repeats == 3
    assert any("3 rows repeat an architecture with equal figures" in note for note in evaluator.notes)
    np.testing.assert_array_equal(
        evaluate(evaluator, KEY, NARROW.all()).reward,
        evaluate(build(csv(tmp_path / "b.csv")), KEY, NARROW.all()).reward,
    )
    path.write_text(path.read_text() + f"{CELLS[8]},{figure(8)},1.5\n")
    with pytest.raises(
        ValueError,
        match=rf"mine\.csv: line 35: the architecture of line 6 again, where the test figure is {figure(8) - 1:g}, here 1\.5",
    ):
        build(str(path))
    path.write_text(f"arch,val_acc\n{CELLS[1]},1\n{CELLS[1]},2\n")
    with pytest.raises(ValueError, match=r"line 3: the architecture of line 2 again, where val_acc is 1, here 2"):
        build(str(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|,1",
            r"line 3: nasbench201: unknown operation 'conv' at character 1 of",
        ),
        (f"{CELLS[1]}x,1", r"line 3: nasbench201: trailing text 'x' at character"),
        ("nonsense,1", r"line 3: nasbench201: unexpected 'n' at character 0"),
        (f"{CELLS[1]},nan", "line 3: val_acc is nan"),
        (f"{CELLS[1]},high", "line 3: val_acc is 'high'"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, message):
    path = tmp_path / "bad.csv"
    path.write_text(f"arch,val_acc\n{CELLS[0]},1\n{line}\n")
    with pytest.raises(ValueError, match=rf"bad\.csv: {message}"):
        build(str(path))


def test_bad_settings(mine, tmp_path):
    for settings, message in (
        ({"signal": ""}, r"mine\.csv: which signal\? one of val_acc, test_acc"),
        ({"signal": "val_ac"}, r"no column 'val_ac', did you mean val_acc\?; there are val_acc, test_acc"),
        ({"test": "tset_acc"}, r"no column 'tset_acc', did you mean test_acc\?"),
        ({"cost": "hours"}, "no column 'hours'"),
        ({"cost": 5}, "table.cost is 5; a text is needed"),
        ({"draws": "some"}, "table.draws is 'some'; one of 'auto', 'prior', 'rows' is needed"),
        ({"signal": "val_acc:run"}, "no single runs of 'val_acc'; there are those of none"),
    ):
        with pytest.raises(ValueError, match=message):
            build(mine, **settings)
    two = csv(tmp_path / "two.csv", header="arch,test_acc@1,test_acc@2")
    with pytest.raises(ValueError, match=r"which test figure is reported\? test= one of test_acc@1, test_acc@2"):
        build(two, signal="test_acc@1")
    with pytest.raises(ValueError, match="no row has val_acc and an architecture of nasbench201"):
        build(mine, NasBench201(("none",)))
    with pytest.raises(ValueError, match=r"mine\.csv: line 2: toy: trailing text"):
        build(mine, Toy())


def test_places_without_figures_are_no_rows(tmp_path, evaluate):
    path = tmp_path / "t.csv"
    path.write_text(f"arch,val_acc,test_acc\n{CELLS[0]},1,\n{CELLS[1]},,5\n{CELLS[2]},3,6\n")
    evaluator = build(str(path))
    found = evaluate(evaluator, KEY, NARROW.all())
    np.testing.assert_array_equal(found.valid[:4], [True, False, True, False])
    np.testing.assert_array_equal(found.metrics["test"][:3], [np.nan, np.nan, 6])
    assert "1 of 3 rows have no val_acc and are left out" in evaluator.notes[0]
    assert f"{path}: 1 rows have no test_acc; where a search ends at one" in evaluator.notes[1]
    assert evaluator.best(NARROW) == {"validation": 3.0, "test": 6.0}
    path.write_text(f"arch,val_acc\n{CELLS[0]},1\n")
    untested = build(str(path))
    assert np.isnan(untested.best(NARROW)["test"])
    assert not any("test_acc" in note for note in untested.notes)


@pytest.mark.parametrize(
    ("signal", "figures", "unit"),
    [
        ("val_acc", (0.9, 1.0), "fraction"),
        ("val_acc@12", (9, 100), "percent"),
        ("neg_val_acc", (-90, -3), "percent"),
        ("top1", (9, 100.0001), "percent"),
        ("Valid-Accuracy@3", (0.5, 1.00001), "fraction"),
        ("val_acc", (9, 101), ""),
        ("neg_seconds", (0.1, 0.2), ""),
        ("acc_loss", (0.1, 0.2), ""),
        ("score", (0.1, 0.2), ""),
        ("neg_val_ce", (-0.1, -0.2), "nats"),
    ],
)
def test_the_unit_is_the_signals(tmp_path, signal, figures, unit):
    """Where the file says none, as a CSV cannot, the size of accuracies does; other figures have none that is known."""
    path = tmp_path / "t.csv"
    path.write_text(f"arch,{signal}\n{CELLS[0]},{figures[0]}\n{CELLS[1]},{figures[1]}\n")
    assert build(str(path), signal=signal).source["unit"] == unit


@pytest.mark.parametrize(("signal", "unit"), [("score", "fraction"), ("neg_seconds", ""), ("val_ce", "nats")])
def test_a_declared_unit_is_that_of_accuracies(tmp_path, signal, unit):
    """Under whatever name, but not of what is none by its name."""
    path, name = tmp_path / "t.parquet", signal.removeprefix("neg_")
    table = Columns("t", "", Specs(tuple(CELLS[:2])), {name: given([9.0, 8.0])}, Facts(unit="fraction"))
    writing.write_table(table, path)
    assert build(str(path), signal=signal).source["unit"] == unit


def test_what_no_program_depends_on_is_equal(mine):
    one, other = build(mine), build(mine, signal="test_acc")
    assert one.about == other.about
    assert isinstance(one.about, About)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert jax.tree.structure(one) != jax.tree.structure(build(mine, signal="val_acc:gauss(1)"))


# spaces with keys


def test_lookup_by_key():
    """1,000 keys of two words, and as many that are none of them; buckets as long as they must be."""
    rng = np.random.default_rng(0)
    identity = rng.integers(0, 1 << 63, 2000, dtype=np.uint64)
    identity[:4] = [0, 1, 1 << 32, (1 << 32) + 1]
    table, order = lookup.keyed(identity[:1000])

    class Keys:
        def canonical_key(self, arch):
            return arch

    def rows_of(table, keys):
        return jax.vmap(lambda key: table.find(Keys(), key))(keys)

    find = jax.jit(rows_of, compiler_options=QUICK)

    words = np.stack([identity >> np.uint64(32), identity & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)
    rows, found = find(jax.tree.map(jnp.asarray, table), words)
    assert found[:1000].all()
    assert not found[1000:].any()
    np.testing.assert_array_equal(order[np.asarray(rows)[:1000]], np.arange(1000))
    assert np.diff(table.starts).max() == table.depth
    alone, _ = lookup.keyed(identity[:1])
    rows, found = find(jax.tree.map(jnp.asarray, alone), words[:3])
    np.testing.assert_array_equal(found, [True, False, False])


def test_enas(published_data, evaluate):
    """The 19,015 architectures by their keys; five rows repeat one; what is not in the file has no row."""
    space = Enas(6)
    evaluator = Table("enas_final_structures6.txt.gz").build(space)
    assert evaluator.about.repeats == 5
    assert evaluator.signal.shape == (19_015,)
    best = "[[2], [5, 0], [4, 0, 0], [0, 0, 0, 1], [5, 1, 0, 0, 0], [2, 0, 0, 1, 1, 0]]"
    archs = space.from_specs((best, "[[0], [0, 0], [0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]"))
    found = evaluate(evaluator, KEY, archs)
    np.testing.assert_array_equal(found.valid, [True, False])
    assert float(found.reward[0]) == pytest.approx(75.02)
    assert np.isnan(found.metrics["test"]).all()
    assert evaluator.best(space)["validation"] == pytest.approx(75.02)


@pytest.fixture(scope="module")
def nb101(published_data):
    return Table("nasbench101.npz", signal="test_acc_model:nb101").build(NasBench101())


def test_nasbench101(nb101, evaluate, published_data):
    """200 random cells have the file's figures; the noise is the page's, drawn from each cell's key."""
    space = NasBench101()
    with np.load(published_data / "nasbench101.npz") as file:
        test, params = file["test_model_rough"] / 500, file["params"]
    rows = np.random.default_rng(1).choice(423_624, 200, replace=False)
    table, _ = opening.load("nasbench101.npz")
    specs = tuple(table.archs.spec(int(row)) for row in rows)
    archs = space.from_specs(specs)
    found = evaluate(nb101, KEY, archs)
    assert found.valid.all()
    np.testing.assert_allclose(found.metrics["test"], test[rows], rtol=1e-6)
    above = np.array([1.00, 0.93, 0.82, 0.76, 0.70])[np.digitize(test[rows], [90, 92, 93, 93.5])]
    np.testing.assert_allclose(found.metrics["validation"], test[rows] + above, rtol=1e-6)
    spread = np.array([0.36, 0.27, 0.24, 0.23, 0.23])[np.digitize(test[rows], [90, 92, 93, 93.5])]
    normal = (np.asarray(found.reward) - test[rows] - above) / spread
    assert abs(normal.mean()) < 4 / 200**0.5
    assert 0.8 < normal.std() < 1.2
    assert nb101.describe(space.from_spec(specs[3])) == {"params": int(params[rows[3]])}
    assert nb101.source["modelled"]
    assert "a modelled table, nobody has measured test_acc_model:nb101, test_acc_model" in nb101.notes[0]
    assert searchable(space, nb101) is space
    best = nb101.best(space)
    assert best["test"] == pytest.approx(94.208, abs=1e-3)
    assert best["validation"] == pytest.approx(94.908, abs=1e-3)
