from dataclasses import replace

import pytest
import torch

from hf_ctkd.costs import Readout
from hf_ctkd.losses.readouts import TeacherReadouts
from hf_ctkd.testing import LossCase


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


def test_a_layer_that_knows_makes_up_for_features_that_do_not():
    case = LossCase.of(teachers=1)
    knowing = case.context.teachers[0]
    blind = replace(knowing, features=torch.randn(len(knowing), 4, generator=torch.Generator().manual_seed(1)))
    gains = []
    for outputs in (blind, replace(blind, layers=(knowing.features,)), knowing):
        readouts = TeacherReadouts(Readout())
        readouts.fit(replace(case.context, teachers=(outputs,)))
        gains.append(float(readouts.gains))
    assert gains[0] < 0.1
    assert gains[1] == pytest.approx(gains[2], abs=0.03)


def test_layers_are_mixed_by_powers_of_their_gain():
    case = LossCase.of(teachers=2)
    first, second = case.context.teachers
    readouts = TeacherReadouts(Readout(), power=2.0)
    readouts.fit(replace(case.context, teachers=(replace(first, layers=(second.features,)),)))
    fitted = [Readout().fit(one.features, case.context.labels, 4) for one in (second, first)]
    shares = torch.tensor([one.gain for one in fitted]) ** 2
    mixed = sum(
        share * one.log_posterior(outputs.features)
        for share, one, outputs in zip(shares / shares.sum(), fitted, (second, first), strict=True)
    )
    found = readouts.log_posterior((replace(first, layers=(second.features,)),))
    assert torch.allclose(found, mixed.log_softmax(1), atol=1e-5)
