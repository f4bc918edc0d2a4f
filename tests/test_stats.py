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


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [np.inf]])
def test_bad_values_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        stats.sign_flip_test(bad)
    with pytest.raises(ValueError, match="finite"):
        stats.mean_interval(bad)
