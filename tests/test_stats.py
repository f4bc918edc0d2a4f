import itertools

import numpy as np
import pytest
import scipy.stats

from nasjax import stats


def test_ten_differences_of_one_sign_give_the_smallest_possible_p():
    assert stats.sign_flip_test(np.arange(1.0, 11.0)) == 2 / 1024


def test_equals_enumeration_and_scipy():
    differences = np.array([0.3, -0.1, 0.25, 0.7, -0.05, 0.4, 0.0])
    patterns = np.array(list(itertools.product([-1.0, 1.0], repeat=differences.size)))
    expected = (np.abs((patterns * differences).mean(1)) >= abs(differences.mean()) - 1e-12).mean()
    scipys = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert stats.sign_flip_test(differences) == pytest.approx(expected, abs=1e-15)
    assert stats.sign_flip_test(differences) == pytest.approx(scipys, abs=1e-12)


def test_many_pairs_are_flipped_at_random_and_close_to_the_normal_approximation():
    differences = np.random.default_rng(1).normal(0.3, 1.0, 60)
    z = differences.mean() / np.sqrt((differences**2).mean() / differences.size)
    assert stats.sign_flip_test(differences) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), abs=0.01)
    assert stats.sign_flip_test(differences) == stats.sign_flip_test(differences)


def test_interval_covers_the_mean_as_often_as_it_says():
    """400 samples of 30 normals: coverage within 4 standard errors of .93 (percentile intervals run a little short)."""
    rng = np.random.default_rng(0)
    hits = [(i := stats.mean_interval(rng.normal(size=30), resamples=400)).low <= 0 <= i.high for _ in range(400)]
    assert abs(np.mean(hits) - 0.93) < 4 * np.sqrt(0.93 * 0.07 / 400)


def test_an_interval_does_not_depend_on_how_many_resamples_are_made_at_a_time(monkeypatch):
    values = np.random.default_rng(0).normal(size=7)
    whole = stats.mean_interval(values, resamples=100)
    monkeypatch.setattr(stats, "_BLOCK", 3 * 7)
    assert stats.mean_interval(values, resamples=100) == whole


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [np.inf]])
def test_bad_values_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        stats.sign_flip_test(bad)
    with pytest.raises(ValueError, match="finite"):
        stats.mean_interval(bad)


def test_holm_by_hand():
    """Sorted .01 .02 .04: 3 x .01, max(2 x .02, .03), max(1 x .04, .04); in the order given."""
    assert stats.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert stats.holm([0.5, 0.6]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_paired_test_by_size_and_zeros():
    """Up to 20 pairs exact flips; above, signed ranks with zeros split; without any difference, no evidence."""
    assert stats.paired_test([1.0, 2.0, 3.0]) == ("sign_flip", 0.25)
    assert stats.paired_test(np.zeros(30)) == ("wilcoxon", 1.0)
    values = np.concatenate([np.zeros(15), np.arange(1, 16)])
    name, p = stats.paired_test(values)
    wanted = scipy.stats.wilcoxon(values, zero_method="zsplit", method="asymptotic").pvalue
    assert (name, p) == ("wilcoxon", pytest.approx(wanted))
    with pytest.raises(ValueError, match="at least one value"):
        stats.paired_test([])


def decimals(seed, size, places):
    """Differences in the last decimal between figures near 91.7, exact and as they come out in float32."""
    rng = np.random.default_rng(seed)
    units = rng.integers(-5, 8, (2, size)) + np.array([[0], [1]])
    regrets = np.float32(91.7) - (91.1 + units / 10.0**places).astype(np.float32)
    return (units[1] - units[0]).astype(float), (regrets[0] - regrets[1]).astype(float)


@pytest.mark.parametrize(("size", "places"), [(10, 1), (14, 2), (16, 4), (30, 1), (30, 4)])
def test_rounding_is_no_finding(size, places):
    """91.7 - 91.6 and 91.5 - 91.4 are equal; as float32 they are not, and p would tell them apart."""
    resolution, told_apart = 2 * 2.0**-23 * 92.5, 0
    for seed in range(20):
        exact, rounded = decimals(seed, size, places)
        assert stats.rank_biserial(rounded, resolution) == pytest.approx(stats.rank_biserial(exact))
        name, p = stats.paired_test(exact)
        assert stats.paired_test(rounded, resolution) == (name, pytest.approx(p, rel=1e-12))
        told_apart += stats.paired_test(rounded)[1] != pytest.approx(p, rel=1e-6)
    assert told_apart > 5


def test_means_of_three_runs_lie_on_a_grid_too():
    thirds = np.array([1, 2, -4, 5, 0, 2, 3, -1, 7, 4, 4, -2]) / 75
    rounded = np.float32(72.34) + thirds.astype(np.float32) - np.float32(72.34)
    assert stats.sign_flip_test(rounded, 2e-5) == stats.sign_flip_test(np.round(75 * thirds))


def test_differences_on_no_grid_are_taken_as_they_are():
    differences = np.random.default_rng(0).normal(0.01, 0.03, 14)
    assert stats.sign_flip_test(differences, 1e-7) == pytest.approx(stats.sign_flip_test(differences), abs=1e-3)


def test_a_group_of_ties_is_no_wider_than_the_resolution():
    """Many close figures do not become one by a chain of neighbours; signs and places stay."""
    close = np.linspace(1.0, 2.0, 101)[::-1] * np.where(np.arange(101) % 2, 1, -1)
    found = stats.tied(close, 0.1)
    assert np.abs(found - close).max() <= 0.1
    assert 9 <= np.unique(np.abs(found)).size <= 11
    np.testing.assert_array_equal(np.sign(found), np.sign(close))
    np.testing.assert_array_equal(stats.tied([3e-6, -2e-6, 0.5], 1e-5), [0, 0, 0.5])
    np.testing.assert_array_equal(stats.tied(close, 0.0), close)


def test_large_differences_are_flipped_as_small_ones_are():
    for seed in range(50):
        differences = np.random.default_rng(seed).uniform(1e4, 1e6, 10)
        assert stats.sign_flip_test(differences) == stats.sign_flip_test(1e-9 * differences) == 2 / 1024


def test_median_bands():
    """Equal rows have no width; the band of one column is the median's bootstrap interval; infinities stay."""
    rng = np.random.default_rng(1)
    values = np.stack([np.full(40, 3.0), rng.normal(size=40), np.full(40, np.inf)], axis=1)
    median, low, high = stats.median_bands(values)
    assert (low[0], median[0], high[0]) == (3, 3, 3)
    assert low[1] < median[1] < high[1]
    assert median[1] == np.median(values[:, 1])
    assert (low[2], median[2], high[2]) == (np.inf, np.inf, np.inf)
    again = stats.median_bands(values[:, 1:2])  # the same resamples of seeds, whatever stands beside
    assert (again[1][0], again[2][0]) == (low[1], high[1])
    with pytest.raises(ValueError, match="median_bands"):
        stats.median_bands([[np.nan]])


def test_mean_ranks_average_ties_and_put_nan_last():
    assert stats.mean_ranks([[1, 5, np.nan], [1, 4, 2], [3, 6, 2]]).tolist() == pytest.approx(
        [(1.5 + 2 + 3) / 3, (1.5 + 1 + 1.5) / 3, (3 + 3 + 1.5) / 3]
    )


def test_interquartile_mean_cuts_a_quarter_at_each_end():
    assert stats.interquartile_mean([100, 1, 2, 3, 4, 5, 6, -50]) == 3.5


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_median_bands_are_those_of_every_resample(n):
    """Up to 7 ** 7 resamples enumerated: with odd n the band's ends are the exact percentiles, with 2 too."""
    values = np.random.default_rng(n).normal(size=(n, 1))
    resamples = np.array(list(itertools.product(range(n), repeat=n)))
    expected = np.percentile(np.median(values[resamples, 0], axis=1), [2.5, 97.5], method="inverted_cdf")
    _, low, high = stats.median_bands(values)
    assert (low[0], high[0]) == tuple(expected)


def test_median_bands_of_even_numbers_are_a_rank_wider_at_most():
    """200,000 drawn resamples of 40: the band holds theirs, and the next value inwards does not."""
    values = np.sort(np.random.default_rng(3).normal(size=40))
    medians = np.median(values[np.random.default_rng(0).integers(0, 40, (200_000, 40))], axis=1)
    lower, upper = np.percentile(medians, [2.5, 97.5])
    _, low, high = stats.median_bands(values[:, None])
    first, last = np.searchsorted(values, [low[0], high[0]])
    assert low[0] <= lower <= values[first + 1]
    assert values[last - 1] <= upper <= high[0]


def test_rank_biserial_by_hand():
    """Ranks 1, 2, 3.5, 3.5 of .1, .2, -3, 3; a zero counts for neither side; the mean may say the opposite."""
    assert stats.rank_biserial([0.1, 0.2, -3, 3]) == pytest.approx((1 + 2 - 3.5 + 3.5) / 10)
    assert stats.rank_biserial([0.0, 1.0]) == pytest.approx(2 / 3)
    assert stats.rank_biserial([0.0, 0.0]) == 0
    few_big_losses = [0.1] * 9 + [-5.0] * 2
    assert np.mean(few_big_losses) < 0 < stats.rank_biserial(few_big_losses)
