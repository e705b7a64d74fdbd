import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import ProbeLoss
from hf_ctkd.probes import LinearProbe
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs


def test_contract():
    check_loss(ProbeLoss, weighs_labelled_rows=True)
    check_loss(lambda: ProbeLoss(LinearProbe(folds=3), temperature=2.0), weighs_labelled_rows=True)


def test_term_is_the_weighted_kl_from_the_probes_posterior():
    case = LossCase.of(teachers=1)
    loss = ProbeLoss()
    loss.setup(case.context)
    fitted = LinearProbe().fit(case.context.teachers[0].features, case.context.labels, 4)
    target = fitted.posterior(case.teachers[0].features)
    rows = F.kl_div(case.student.logits.log_softmax(1), target, reduction="none").sum(1)
    assert 0.3 < (case.context.labels != UNLABELLED).float().mean() < 1
    expected = fitted.information_gain * (rows * torch.where(case.labels == UNLABELLED, 1.0, 0.3)).mean()
    assert 0.1 < fitted.information_gain < 1
    assert loss.weights() == pytest.approx((fitted.information_gain,))
    assert torch.allclose(case.terms(loss)["probe"], expected, rtol=1e-4)


def test_reads_headless_encoders():
    case = LossCase.of(teachers=1)
    loss = ProbeLoss()
    loss.setup(case.context)
    assert loss.needs == Needs.TEACHER | Needs.FEATURES | Needs.LAYERS | Needs.FIT
    assert torch.isfinite(loss(case.student, (ModelOutputs(case.teachers[0].features),), case.labels)["probe"])


def test_bad_temperature():
    with pytest.raises(InvalidArgumentError, match="`temperature` must be positive, got 0.0"):
        ProbeLoss(temperature=0.0)
