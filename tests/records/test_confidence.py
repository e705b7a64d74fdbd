import doctest

import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import Proportion, confidence


def test_examples():
    assert doctest.testmod(confidence).failed == 0


def test_a_share_with_its_interval():
    # (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.959964, n = 50, p = 0.96
    share = Proportion(48, 50).confidence()
    assert (share.value, share.low, share.high) == pytest.approx((0.96, 0.86539, 0.98896), abs=1e-4)
    assert Proportion(5, 5).confidence().low < 0.6, "five of five is no certainty"


@pytest.mark.parametrize(
    ("right", "rows", "message"),
    [(0, 0, "`rows` must be at least 1, got 0"), (6, 5, "`right` must lie between 0 and `rows` = 5, got 6")],
)
def test_numbers_that_cannot_be(right, rows, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Proportion(right, rows)


def test_what_is_rounded_to_zero_has_no_minus():
    assert confidence.Confidence(-2e-4, -4e-4, 1e-4).text() == "0.000 [0.000, 0.000]"
    assert confidence.Confidence(-2e-4).text(sign=True) == "+0.000" and confidence.Confidence(-0.1).text() == "-0.100"
