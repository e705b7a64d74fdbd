import pytest
import torch
from accelerate import Accelerator

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import ProblemCode
from hf_ctkd.hub import folder_teachers
from hf_ctkd.metrics import LEEP, TransferabilityMetric, TransportScore
from hf_ctkd.selection.scorer import RunSettings, Scorer, settings_of
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.types import Needs


class Shaken(TransferabilityMetric):
    """Gives what it was told to give, or fails as a solver does."""

    name = "shaken"
    citation = "none"
    needs = Needs.FEATURES

    def __init__(self, value):
        self.value = value

    def of_rows(self, outputs, labels):
        if self.value is None:
            raise torch.linalg.LinAlgError("singular")
        return self.value


@pytest.fixture
def score(rows, zoo, tmp_path):
    labelled = TargetRows.of(rows)
    labelled = labelled.select([row for row in range(len(rows)) if row % 10 != 9])

    def of(*metrics, candidate=None):
        place = RunSettings(tmp_path / "cache", LoadOptions(), batch_size=32, progress=False)
        scorer = Scorer(metrics, labelled, None, Accelerator(), place, seed=0)
        return scorer.score(candidate or next(folder_teachers(zoo / "first")))

    return of


def test_settings_tell_metrics_apart():
    assert settings_of(LEEP()) == settings_of(LEEP()) == "hf_ctkd.metrics.leep.LEEP()"
    assert settings_of(TransportScore(folds=3)) != settings_of(TransportScore())


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_metric_beside_that_gives_no_finite_score_is_left_out(score, value):
    found = score(LEEP(), Shaken(value))
    assert found.skipped is None and "leep" in found.scores and "shaken" not in found.scores
    assert found.rows == 54 and found.seconds > 0


def test_a_metric_that_orders_must_give_a_finite_score(score):
    found = score(Shaken(None), LEEP())
    assert found.scores == {} and "cannot be ranked by 'shaken': its outputs give no finite score" in found.skipped
    assert found.skipped_code is ProblemCode.INCOMPATIBLE


def test_a_headless_teacher_cannot_be_ordered_by_predictions(score, zoo):
    found = score(LEEP(), candidate=next(folder_teachers(zoo / "headless")))
    assert "cannot be ranked by 'leep': it has no head. Order by another metric" in found.skipped
