"""The statistics of `benchmarks/digits_reliability.py` beside scipy's, and on trainings whose best cells are known."""

import digits_reliability
import numpy as np
import pytest
import scipy.stats

RNG = np.random.default_rng(0)
TARGET = RNG.normal(size=80)
CLOSE, FAR = (TARGET + noise * RNG.normal(size=80) for noise in (0.3, 2.0))


def numbers(text):
    """Found, low, high of `0.1 [0.0, 0.2]`."""
    return [float(part) for part in text.replace("[", "").replace("]", "").replace(",", "").split()]


def test_resampled_rank_correlations_are_scipys_ties_included():
    tied = np.round(CLOSE)
    found = digits_reliability.resampled(tied, TARGET)
    rows = np.random.default_rng(0).integers(0, 80, (digits_reliability.RESAMPLES, 80))
    for number in (0, 1, 700, digits_reliability.RESAMPLES - 1):
        expected = scipy.stats.spearmanr(tied[rows[number]], TARGET[rows[number]]).statistic
        np.testing.assert_allclose(found[number], expected, rtol=1e-12)


def test_two_correlations_are_compared_over_the_same_cells():
    """So a column is ahead of itself by nothing at all, and of a copy with little noise by a narrow interval."""
    assert numbers(digits_reliability.ahead(CLOSE, CLOSE, TARGET)) == [0, 0, 0]
    found, low, high = numbers(digits_reliability.ahead(CLOSE, CLOSE + 0.01 * RNG.normal(size=80), TARGET))
    _, low_alone, high_alone = numbers(digits_reliability.spearman(CLOSE, TARGET))
    assert low <= found <= high
    assert high - low < (high_alone - low_alone) / 4
    difference = scipy.stats.spearmanr(CLOSE, TARGET).statistic - scipy.stats.spearmanr(FAR, TARGET).statistic
    found, low, high = numbers(digits_reliability.ahead(CLOSE, FAR, TARGET))
    assert abs(found - difference) < 6e-4
    assert 0 < low < found < high


def test_the_best_cells_of_one_training_are_compared_in_the_others(capsys):
    """Three trainings: of 300 cells, the order of the 100 best is known to two of them, and not to the third."""
    quality = np.arange(300.0)
    lucky = quality.copy()
    lucky[200:] = RNG.permutation(quality[200:])
    digits_reliability.best_cells(np.stack([quality, quality + 1e-6 * RNG.normal(size=300), lucky]))
    lines = {
        cells[0]: cells[1] for cells in (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines())
    }
    mean_best = int(np.argmax(2 * quality + lucky))
    assert lines["place of the mean's best cell in each seed"] == ", ".join(
        str(int((signal > signal[mean_best]).sum()) + 1) for signal in (quality, quality, lucky)
    )
    spread = np.stack([quality, quality, lucky])[:, 200:].std(0, ddof=1)
    found = float(lines["deviation between trainings of one cell, the mean's 100 best, nats"])
    np.testing.assert_allclose(found, np.sqrt((spread**2).mean()), atol=6e-4)
    assert numbers(lines["Spearman between seeds 0 and 1 among the 100 best of seed 2"])[0] == 1
    alone = scipy.stats.spearmanr(quality[200:], lucky[200:]).statistic
    for a, chosen in ((0, 1), (1, 0)):
        name = f"Spearman between seeds {a} and 2 among the 100 best of seed {chosen}"
        assert abs(numbers(lines[name])[0] - alone) < 6e-4
    assert abs(alone) < 0.3


@pytest.mark.parametrize(("source", "said"), [("nowhere.npz", "nowhere"), ("t.csv", "no columns val_ce:run0")])
def test_what_is_no_such_table_is_one_line(tmp_path, monkeypatch, source, said):
    (tmp_path / "t.csv").write_text("arch,val_ce\nx,1\n")
    (tmp_path / "r.csv").write_text("arch,cifar10/test_acc@200\nx,1\n")
    monkeypatch.setattr(digits_reliability, "REFERENCE", str(tmp_path / "r.csv"))
    monkeypatch.setattr("sys.argv", ["digits_reliability.py", str(tmp_path / source)])
    with pytest.raises(SystemExit, match=said):
        digits_reliability.main()
