"""Controls that are another implementation's pass, controls that are not fail, and standard errors are those of a textbook."""

import math

import controls_agree
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from nasjax.configs.nb201_controls import SIGNALS, TASKS
from nasjax.sweep import RESULTS

SEEDS = 50


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a sweep's results that have the other implementation's means; `moved`: standard errors of one test accuracy."""

    def written(moved=0.0, left_out=None):
        spread = np.resize([-1.0, 1.0], SEEDS)
        rows = []
        for method, other in controls_agree.OTHERS.items():
            for place, (signal, task) in enumerate((signal, task) for signal in SIGNALS for task in TASKS):
                regret = float(other.regret.split()[place]) if other.regret else 0.0
                for seed in range(SEEDS):
                    test = float(other.test.split()[place]) + spread[seed]
                    if (method, task, signal) == ("cem_a1", TASKS[1], SIGNALS[0]):
                        own = spread.std(ddof=1)
                        test += 0.005 + moved * math.sqrt(own**2 / SEEDS + own**2 / other.seeds)
                    rows.append((method, task, signal, seed, 100, test, regret + spread[seed]))
                    rows.append((method, task, signal, seed, 50, 0.0, 99.0))  # of other queries nothing is read
        rows = [row for row in rows if row[0] != left_out]
        columns = dict(zip(controls_agree.COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        pa.parquet.write_table(pa.table(columns), tmp_path / RESULTS)
        monkeypatch.setattr("sys.argv", ["controls_agree.py", str(tmp_path)])

    return written


@pytest.mark.parametrize(("moved", "fails"), [(0, False), (2.9, False), (-2.9, False), (3.2, True)])
def test_more_than_three_standard_errors_fail(write, capsys, moved, fails):
    """The accuracy lies half a last digit above theirs, which rounding may have taken, before it is moved."""
    write(moved)
    if fails:
        with pytest.raises(SystemExit, match="1"):
            controls_agree.main()
    else:
        controls_agree.main()
    out = capsys.readouterr().out
    shown = max(moved, -moved - 0.01 / 0.145) if moved else 0.0  # below, both halves of the digit are theirs
    assert f"The largest difference is {abs(shown):.1f} standard errors." in out
    assert out.count("\n| ") == 1 + 6 * len(controls_agree.OTHERS)


def test_a_method_that_did_not_run_is_named(write):
    write(left_out="gp_bo")
    with pytest.raises(SystemExit, match="no gp_bo on cifar10, val_acc@12, with 100 queries"):
        controls_agree.main()


@pytest.mark.parametrize(("theirs", "beyond"), [("0.5", 0.03), ("0.50", 0.075), ("0.500", 0.0795)])
def test_what_rounding_may_have_taken_is_that_of_the_decimals_kept(theirs, beyond):
    mine = 0.58 + np.resize([-1.0, 1.0], SEEDS)
    error = mine.std(ddof=1) * math.sqrt(1 / SEEDS + 1 / 10)
    assert controls_agree.apart(mine, theirs, 10, None) == pytest.approx(beyond / error)


def test_a_folder_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["controls_agree.py", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="none"):
        controls_agree.main()


def test_some_methods_alone(write, capsys, monkeypatch, tmp_path):
    write(left_out="gp_bo")
    monkeypatch.setattr("sys.argv", ["controls_agree.py", str(tmp_path), "--methods", "cem"])
    controls_agree.main()
    assert capsys.readouterr().out.count("\n| cem |") == 6
    monkeypatch.setattr("sys.argv", ["controls_agree.py", str(tmp_path), "--none", "--methods", "cem"])
    with pytest.raises(SystemExit, match="2"):
        controls_agree.main()
