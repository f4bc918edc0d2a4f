"""Signals: their names, what they are made of, and the laws of their noise."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from cells import QUICK

from nasjax.base import evaluation_key
from nasjax.tables import nasbench201_npz, signals
from nasjax.tables.architectures import Specs
from nasjax.tables.columns import Columns, Facts, given

DRAWS = 4000


def table(facts=Facts(), **columns):  # noqa: B008 - never changed
    rows = len(next(iter(columns.values())))
    loaders = {
        name.replace("__", ":").replace("_at_", "@"): given(values, ~np.isnan(values))
        for name, values in columns.items()
    }
    return Columns("t.csv", "CSV", Specs(("x",) * rows), loaders, facts)


def array(*values):
    return np.array(values, float)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("val_acc@12", ("val_acc@12", "", 0)),
        ("val_acc@200:run", ("val_acc@200", "run", 0)),
        ("val_acc@200:run0", ("val_acc@200:run0", "", 0)),
        ("test_acc_model:nb101x3", ("test_acc_model", "nb101x3", 0)),
        ("neg_val_ce", ("neg_val_ce", "", 0)),
        ("x@2of4:gauss(0.25)", ("x@2of4", "gauss", 0.25)),
        ("val_acc@200:run1:gauss(1e-3)", ("val_acc@200:run1", "gauss", 1e-3)),
    ],
)
def test_names(text, expected):
    name = signals.parse(text)
    assert tuple(name) == expected
    assert name.metric + (f"@{name.fidelity}" if name.fidelity else "") == name.column.partition(":")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown signal"),
        (":run", "unknown noise 'run'"),
        ("val_acc:", "unknown noise ''"),
        ("val_acc@12:runs", "unknown noise 'runs'; METRIC@FIDELITY.:NOISE. with one of run, nb101, nb101x3, gauss.SD."),
        ("val_acc:nb102", "unknown noise 'nb102'"),
        ("val_acc:gauss", "unknown noise 'gauss'"),
        ("val_acc:gauss(0)", "needs a number above 0"),
        ("val_acc:gauss(-1)", "needs a number above 0"),
        ("val_acc:gauss(nan)", "needs a number above 0"),
        ("val_acc:gauss(x)", "needs a number above 0"),
        ("val_acc:\x1b[2J", "unknown noise"),
    ],
)
def test_names_that_are_none(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        signals.parse(text)
    assert "\x1b" not in str(caught.value)


def test_columns_that_follow_from_others():
    made = table(val_ce__run0=array(1, 2), val_ce__run1=array(3, np.nan), acc=array(5, 6))
    mean = signals.read_column(made, "", "val_ce")
    np.testing.assert_array_equal(mean.values, [2, 2])
    np.testing.assert_array_equal(signals.read_column(made, "", "neg_val_ce").values, [-2, -2])
    np.testing.assert_array_equal(signals.read_column(made, "", "neg_acc").values, [-5, -6])
    for name in ("neg_val_loss", "val_loss"):
        with pytest.raises(ValueError, match=f"no column '{name}'.*there are acc"):
            signals.read_column(made, "", name)


def test_noise_that_a_table_has_not():
    made = table(a_at_12=array(1, 2), b=array(1, 2), b__run0=array(1, 2))
    with pytest.raises(ValueError, match=r"t\.csv: no single runs of 'a@12'; there are those of b"):
        signals.read_signal(made, "", "a@12:run")
    with pytest.raises(ValueError, match="no column 'test_acc_model'"):
        signals.read_signal(made, "", "val_acc_model:nb101")
    with pytest.raises(ValueError, match="the noise nb101 is that of val_acc_model, not of b"):
        signals.read_signal(made, "", "b:nb101")


def test_what_is_offered():
    facts = Facts(single=("t/c",))
    loaders = {"t/a": given([1.0]), "t/a:run0": given([1.0]), "t/b@1": given([1.0]), "t/b@1:delta": given([1.0])}
    loaders |= {"t/c": given([1.0]), "test_acc_model": given([1.0])}
    found = signals.offered(Columns("t", "CSV", Specs(("x",)), loaders, facts), "t")
    expected = [
        "a",
        "a:run",
        "b@1",
        "b@1:run",
        "c",
        "c:run",
        "test_acc_model",
        "val_acc_model:nb101",
        "val_acc_model:nb101x3",
    ]
    assert found == expected


@pytest.fixture(scope="module")
def seen():
    """(signal, row, key) -> what evaluations with these keys see of a row; one program a kind of noise."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    @jax.vmap
    def draw(noise, mean, row, key):
        return noise.seen(jax.random.wrap_key_data(key), row, mean[row])

    def many(signal, row, keys):
        data = jax.random.key_data(keys)
        count = len(data)
        repeated = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (count, *leaf.shape)), signal.noise)
        mean = np.broadcast_to(signal.mean.values.astype(np.float32), (count, len(signal.mean.values)))
        return np.asarray(draw(repeated, mean, np.full(count, row, np.int32), data))

    return many


KEYS = jax.random.split(jax.random.key(3), DRAWS)


def test_runs_are_drawn_equally_often(seen):
    """Chi-square over runs, n = 4,000, level 1e-3; power > 0.99 if one of three comes half as often again."""
    made = table(a=array(2, 5), a__run0=array(1, 4), a__run1=array(np.nan, 5), a__run2=array(3, 6))
    signal = signals.read_signal(made, "", "a:run")
    assert not signal.modelled
    for row, runs in ((0, [1, 3]), (1, [4, 5, 6])):
        values = seen(signal, row, KEYS)
        counts = [int((values == run).sum()) for run in runs]
        assert sum(counts) == DRAWS
        assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_runs_of_a_negative(seen):
    made = table(val_ce__run0=array(1), val_ce__run1=array(3))
    signal = signals.read_signal(made, "", "neg_val_ce:run")
    assert set(seen(signal, 0, KEYS)) == {-1.0, -3.0}
    np.testing.assert_array_equal(signal.mean.values, [-2])


def test_a_pair_of_runs_is_mean_plus_and_minus_a_fixed_difference(seen):
    """Both equally likely: binomial, n = 4,000, level 1e-3."""
    made = table(a_at_12=array(60, 70), a_at_12__delta=array(0.25, 0.5))
    signal = signals.read_signal(made, "", "a@12:run")
    assert signal.modelled
    assert "a@12:run is modelled" in signal.notes[0]
    values = seen(signal, 1, KEYS)
    assert set(values) == {69.5, 70.5}
    assert scipy.stats.binomtest(int((values > 70).sum()), DRAWS).pvalue > 1e-3


def test_a_single_run_is_itself(seen):
    made = table(Facts(single=("a",)), a=array(60, 70))
    signal = signals.read_signal(made, "", "a:run")
    assert set(seen(signal, 1, KEYS[:10])) == {70.0}
    assert signal.notes == ("a:run of t.csv is a itself: there is one run",)
    assert not signal.modelled


def test_gauss_adds_a_standard_normal_draw_times_sd(seen):
    """Exactly the key's normal; its law by Kolmogorov-Smirnov, n = 4,000, level 1e-3."""
    signal = signals.read_signal(table(a=array(1, 2)), "", "a:gauss(0.5)")
    values = seen(signal, 1, KEYS)
    np.testing.assert_allclose(values, 2 + 0.5 * np.array(jax.vmap(jax.random.normal)(KEYS)), rtol=1e-6)
    assert scipy.stats.kstest((values - 2) / 0.5, "norm").pvalue > 1e-3


def test_nasbench101s_modelled_signal(seen):
    """T + m(t) + s(t) z by the page's bins: below 90, 90-92, 92-93, 93-93.5, 93.5 and above; three runs: s / sqrt 3."""
    test = array(30, 89.99, 90, 91.5, 92, 92.9, 93, 93.4, 93.5, 94.2)
    above = array(1.00, 1.00, 0.93, 0.93, 0.82, 0.82, 0.76, 0.76, 0.70, 0.70)
    sd = array(0.36, 0.36, 0.27, 0.27, 0.24, 0.24, 0.23, 0.23, 0.23, 0.23)
    made = table(test_acc_model=test)
    normal = np.array(jax.vmap(jax.random.normal)(KEYS[:3]))
    for name, deviation in (("nb101", sd), ("nb101x3", sd / 3**0.5)):
        for column in ("test_acc_model", "val_acc_model"):
            signal = signals.read_signal(made, "", f"{column}:{name}")
            assert signal.modelled
            np.testing.assert_allclose(signal.mean.values, test + above)
        for row in range(len(test)):
            expected = test[row] + above[row] + deviation[row] * normal
            np.testing.assert_allclose(seen(signal, row, KEYS[:3]), expected, rtol=1e-6)


def test_differences_of_nasbench201():
    """|normal(fold_in(key(201), code))| * 0.445 one by one; median .30 over all strings, as between two published runs."""
    codes = np.arange(15_625)
    found = nasbench201_npz.deltas(codes)
    for code in (0, 1, 6876, 15_624):
        expected = abs(float(jax.random.normal(jax.random.fold_in(jax.random.key(201), code)))) * 0.445
        assert found[code] == pytest.approx(expected, rel=1e-6)
    assert np.median(found) == pytest.approx(0.3001, abs=0.008)  # two standard errors
    assert np.sqrt((found**2).mean()) == pytest.approx(0.445, abs=0.006)
    assert len(np.unique(found)) > 15_500


def test_the_key_is_the_runs_with_the_cells_folded_in():
    key, words = jax.random.key(7), jnp.array([5, 9], jnp.uint32)
    expected = jax.random.fold_in(jax.random.fold_in(key, 5), 9)
    assert jax.random.key_data(evaluation_key(key, words)).tolist() == jax.random.key_data(expected).tolist()
    assert (
        len(
            {
                tuple(jax.random.key_data(evaluation_key(key, jnp.array(pair, jnp.uint32))).tolist())
                for pair in itertools.product((0, 1), (0, 1))
            }
        )
        == 4
    )
