import pytest
import torch
from contract import LossCase

from hf_ctkd.costs import Readout
from hf_ctkd.losses.readouts import TeacherReadouts


def test_posterior_of_a_committee_is_the_log_mean_by_powers_of_the_gain():
    case = LossCase.of(teachers=3)
    readouts = TeacherReadouts(Readout(), power=2.0)
    readouts.fit(case.context)
    fitted = [Readout().fit(one.features, case.context.labels, 4) for one in case.context.teachers]
    gains = torch.tensor([one.relatedness for one in fitted])
    shares = gains**2 / (gains**2).sum()
    mixed = sum(
        share * one.log_posterior(outputs.features)
        for share, one, outputs in zip(shares, fitted, case.teachers, strict=True)
    )
    assert torch.allclose(readouts.log_posterior(case.teachers), mixed.log_softmax(1), atol=1e-5)
    assert float(readouts.weight) == pytest.approx(float((gains * shares).sum()), rel=1e-5)


def test_committee_of_teachers_that_say_nothing_has_no_weight():
    case = LossCase.of()
    readouts = TeacherReadouts(Readout())
    readouts.fit(case.context)
    readouts.gains.zero_()
    assert float(readouts.weight) == 0
    assert torch.isfinite(readouts.log_posterior(case.teachers)).all()
