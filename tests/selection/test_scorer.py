import re

import pytest
import torch
from accelerate import Accelerator

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import ProblemCode
from hf_ctkd.hub import folder_teachers
from hf_ctkd.metrics import LEEP, InformationGain, TransferabilityMetric, TransportScore
from hf_ctkd.selection.scorer import RunSettings, Scorer, settings_of
from hf_ctkd.teachers import LoadOptions, Teacher
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
def labelled(rows):
    every = TargetRows.of(rows)
    return every.select([row for row in range(len(rows)) if row % 10 != 9])


@pytest.fixture
def scorer_of(labelled, tmp_path):
    def of(*metrics, rows=labelled):
        # Outputs are cached by rows alone, so those of rows that are made NaN need a folder of their own.
        folder = tmp_path / f"cache of {len(rows)}"
        return Scorer(
            metrics,
            rows,
            None,
            Accelerator(),
            RunSettings(folder, LoadOptions(), batch_size=32, progress=False),
            seed=0,
        )

    return of


@pytest.fixture
def score(scorer_of, labelled, zoo):
    def of(*metrics, candidate=None, rows=labelled):
        return scorer_of(*metrics, rows=rows).score(candidate or next(folder_teachers(zoo / "first")))

    return of


def test_settings_tell_metrics_apart():
    assert settings_of(LEEP()) == settings_of(LEEP()) == "hf_ctkd.metrics.leep.LEEP()"
    assert settings_of(TransportScore(folds=3)) != settings_of(TransportScore())


def spoil(monkeypatch, rows, chosen):
    """Makes any teacher's outputs NaN for some of the labelled rows."""
    plain, bad = Teacher.outputs, None

    def outputs(self, batch, *arguments, **options):
        nonlocal bad
        if bad is None:
            bad = self.collate(rows.inputs(chosen))["pixel_values"]
        result = plain(self, batch, *arguments, **options)
        result.features[(batch["pixel_values"][:, None] == bad).flatten(2).all(dim=2).any(dim=1)] = torch.nan
        return result

    monkeypatch.setattr(Teacher, "outputs", outputs)


def test_rows_whose_outputs_are_not_finite_are_left_out_and_counted(score, labelled, monkeypatch):
    good = [row for row in range(len(labelled)) if row not in (0, 7, 20)]
    expected = score(InformationGain(), LEEP(), rows=labelled.select(good))
    spoil(monkeypatch, labelled, [0, 7, 20])
    for _ in range(2):  # the second time from the cache
        ranked = score(InformationGain(), LEEP(), rows=labelled)
        assert (ranked.rows, ranked.not_finite) == (51, 3)
        assert ranked.scores == pytest.approx(expected.scores, abs=1e-6)
        assert ranked.interval == pytest.approx(expected.interval, abs=1e-6)
        assert ranked.remark == ("Its outputs are NaN or infinite for 3 of 54 rows, which were left out of its scores.")
    assert expected.remark == ""


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (range(28), "its outputs are not finite for 28 of 54 rows, such as row .*; at most 50% of them may be so"),
        (range(54), "its outputs are not finite for 54 of 54 rows"),
        (None, "its outputs are not finite for 17 of 54 rows, which leaves class 'dark' with fewer than the two that"),
    ],
)
def test_a_teacher_without_finite_outputs_for_too_many_rows_is_skipped(score, labelled, monkeypatch, bad, reason):
    of_first_class = (labelled.labels == 0).nonzero()[:, 0].tolist()
    spoil(monkeypatch, labelled, of_first_class[:-1] if bad is None else list(bad))
    ranked = score(InformationGain(), rows=labelled)
    assert re.match(reason, ranked.skipped) and ranked.skipped_code is ProblemCode.NOT_FINITE and ranked.scores == {}


def test_a_committee_predicts_the_rows_that_a_teacher_has_finite_outputs_for(scorer_of, labelled, zoo, monkeypatch):
    second = next(folder_teachers(zoo / "second"))
    good = [row for row in range(len(labelled)) if row not in (0, 7)]
    expected = scorer_of(InformationGain(), rows=labelled.select(good)).posterior(second)
    spoil(monkeypatch, labelled, [0, 7])
    posterior = scorer_of(InformationGain()).posterior(second)
    assert (
        (~posterior.finite).nonzero().flatten().tolist()
        == [0, 7]
        == posterior.log_posterior[:, 0].isnan().nonzero()[:, 0].tolist()
    )
    torch.testing.assert_close(posterior.log_posterior[good], expected.log_posterior)
    assert posterior.information_gain == pytest.approx(expected.information_gain, abs=1e-6)
    assert posterior.mean_prior_log_likelihood == pytest.approx(expected.mean_prior_log_likelihood, abs=1e-6)


def test_a_committee_has_no_member_with_too_few_finite_rows_of_a_class(scorer_of, labelled, zoo, monkeypatch):
    of_first_class = (labelled.labels == 0).nonzero()[:, 0].tolist()
    spoil(monkeypatch, labelled, of_first_class[:-1])
    assert scorer_of(InformationGain()).posterior(next(folder_teachers(zoo / "second"))) is None


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
