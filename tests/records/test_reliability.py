import numpy as np
import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import Reliability, ReliabilityBin

MEASURED = Reliability(0.2, 0.7, (ReliabilityBin(0.75, 0.5, 4), ReliabilityBin(0.95, 1.0, 2)))


def test_means_over_all_decisions():
    assert MEASURED.decisions == 6
    assert MEASURED.confidence == pytest.approx((4 * 0.75 + 2 * 0.95) / 6)
    assert MEASURED.accuracy == pytest.approx(4 / 6)


def test_the_error_by_chance_is_that_of_labels_drawn_from_the_probabilities():
    bins = tuple(ReliabilityBin(confidence, 0.5, count) for confidence, count in ((0.35, 7), (0.6, 40), (0.97, 200)))
    drawn = np.random.default_rng(0).binomial([7, 40, 200], [0.35, 0.6, 0.97], size=(20_000, 3))
    expected = np.abs(drawn - np.multiply([7, 40, 200], [0.35, 0.6, 0.97])).sum(axis=1).mean() / 247
    # A standard error of 20,000 draws is 0.3 % of the mean.
    assert Reliability(0.1, 0.5, bins).error_by_chance == pytest.approx(expected, rel=0.015)


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_certain_probabilities_have_no_error_by_chance(confidence):
    assert Reliability(0.0, 0.0, (ReliabilityBin(confidence, 1.0, 5),)).error_by_chance == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReliabilityBin(1.5, 0.5, 1), r"`confidence` must lie in \[0, 1\], got 1.5"),
        (lambda: ReliabilityBin(0.5, -0.5, 1), r"`accuracy` must lie in \[0, 1\], got -0.5"),
        (lambda: ReliabilityBin(0.5, 0.5, 0), "`count` must be at least 1, got 0. Leave out empty bins"),
        (lambda: Reliability(2.0, 0.5, MEASURED.bins), r"`error` must lie in \[0, 1\], got 2.0"),
        (lambda: Reliability(0.5, 0.5, ()), "`bins` must be 1 to `bin_count` = 15, got 0"),
        (lambda: Reliability(0.5, 0.5, MEASURED.bins, 1), "`bins` must be 1 to `bin_count` = 1, got 2"),
    ],
)
def test_numbers_that_cannot_be(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make()
