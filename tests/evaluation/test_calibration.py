import numpy as np
import pytest
from scipy.special import softmax

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.evaluation import calibrate, fit_temperature


def _overconfident(rows=900, scale=4.0, seed=0):
    """Labels drawn from softmax(logits), and those logits times `scale`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, 3)) * 1.5
    labels = np.array([generator.choice(3, p=row) for row in softmax(logits, axis=1)])
    return scale * logits, labels


def test_the_temperature_is_the_scale_of_the_logits():
    logits, labels = _overconfident()
    # Its standard error over 900 rows is about 6 %.
    assert fit_temperature(logits, labels) == pytest.approx(4.0, rel=0.2)
    result = calibrate(logits, labels, seed=0)
    assert result.before.error > 0.15 > 0.06 > result.after.error
    assert result.after.log_loss < result.before.log_loss


def test_the_error_is_that_of_its_definition():
    # Two bins: 4 rows at probability 0.75, half of them right; 2 rows at 0.95, all right.
    def logits(probability):
        return [np.log(probability), np.log(1 - probability)]

    rows = np.array([logits(0.75)] * 4 + [logits(0.95)] * 2)
    labels = np.array([0, 0, 1, 1, 0, 0])
    result = calibrate(rows, labels, seed=0)
    assert result.before.error == pytest.approx(4 / 6 * 0.25 + 2 / 6 * 0.05)
    assert [each.count for each in result.before.bins] == [4, 2]
    assert result.after is None and result.temperature is None, "six rows are too few"


def test_no_row_is_judged_by_a_temperature_fitted_to_it():
    """Pure noise: what is fitted to a row itself would always lower its loss below that of the other half."""
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(40, 5)) * 6, generator.integers(5, size=40)
    result = calibrate(logits, labels, seed=0)
    fitted_to_all = logits / fit_temperature(logits, labels)
    own = -np.log(softmax(fitted_to_all, axis=1)[np.arange(40), labels]).mean()
    assert result.after.log_loss > own


def test_no_temperature_helps_a_student_that_is_no_better_than_chance():
    labels = np.arange(60) % 3
    assert calibrate(np.eye(3)[(labels + 1) % 3], labels, seed=0).temperature is None


def test_several_classes_a_row():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(600, 4))
    labels = (generator.random((600, 4)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    result = calibrate(3 * logits, labels, seed=0)
    assert result.temperature == pytest.approx(3.0, rel=0.2)
    assert result.after.error < result.before.error
    assert sum(each.count for each in result.before.bins) == 2400


@pytest.mark.parametrize(
    ("logits", "labels", "seed", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), 0, "`labels` must have an entry for each row of `logits`, 1 or more"),
        (np.zeros((4, 2)), np.zeros(3, int), 0, "`labels` must have an entry for each row of `logits`"),
        (np.full((4, 2), np.nan), np.zeros(4, int), 0, "`logits` must be finite"),
        (np.zeros((4, 2)), np.array([0, 1, 2, 0]), 0, "`labels` must lie between 0 and 1, got 0 to 2"),
        (np.zeros((4, 2)), np.array([0, 1, -100, 0]), 0, "`labels` must lie between 0 and 1, got -100 to 1"),
        (np.zeros((4, 2)), np.zeros(4, int), -1, "`seed` must be between 0 and 4294967295, got -1"),
    ],
)
def test_values_that_do_not_fit(logits, labels, seed, message):
    with pytest.raises(InvalidArgumentError, match=message):
        calibrate(logits, labels, seed=seed)
