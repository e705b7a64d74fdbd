from dataclasses import replace

import pytest
import torch

from hf_ctkd.costs import Readout, gain_shares, log_mean, read_layers
from hf_ctkd.errors import DatasetError
from hf_ctkd.losses import TransportLoss
from hf_ctkd.losses.expertise import Expertise
from hf_ctkd.testing import LossCase
from hf_ctkd.types import ModelOutputs


def with_layers(case):
    """The same case, its teachers having two layers besides."""
    layered = [
        replace(one, layers=(one.features[:, :3] * 2 + 1, one.features.square())) for one in case.context.teachers
    ]
    return replace(case.context, teachers=tuple(layered))


def test_one_matrix_a_member_says_what_its_readouts_say():
    context = with_layers(LossCase.of(teachers=1))
    expertise = Expertise(Readout(), context)
    outputs = context.teachers[0]
    found = read_layers(Readout(), outputs, context.labels, 4)
    said = [
        one.log_posterior(view) for one, view in zip(found.readouts, (*outputs.layers, outputs.features), strict=True)
    ]
    torch.testing.assert_close(
        expertise._mean(context.teachers, None).log_softmax(1), log_mean(found.shares, said), rtol=1e-4, atol=1e-4
    )
    assert float(expertise.trust) == pytest.approx(max(found.gain, 0.0))


def test_target_is_what_the_transport_loss_distils():
    case = LossCase.of(teachers=3)
    expertise = Expertise(Readout(), case.context)
    transport = TransportLoss(own=0.0, raw_input=False, rounds=0)
    transport.setup(case.context)
    expected = transport.term._target(transport.term.readouts.log_posterior(None, case.teachers))
    torch.testing.assert_close(expertise.target(case.teachers, None), expected, rtol=1e-3, atol=1e-4)
    gains, shares = transport.term.readouts.gains, transport.term.readouts.shares
    assert float(expertise.trust) == pytest.approx(float((gains * shares).sum()), rel=1e-5)


def test_target_of_a_row_is_that_of_the_teachers_that_were_asked():
    case = LossCase.of(teachers=3)
    expertise = Expertise(Readout(), case.context)
    alone = Expertise(Readout(), replace(case.context, teachers=case.context.teachers[1:2]))
    alone.potential = expertise.potential
    chosen = torch.zeros(48, 3, dtype=torch.bool)
    chosen[:, 1] = True
    nobody = torch.arange(0)
    teachers = (case.teachers[0].select(nobody), case.teachers[1], case.teachers[2].select(nobody))
    torch.testing.assert_close(expertise.target(teachers, chosen), alone.target(case.teachers[1:2], None))
    everybody = torch.ones(48, 3, dtype=torch.bool)
    torch.testing.assert_close(expertise.target(case.teachers, everybody), expertise.target(case.teachers, None))


def test_a_teacher_that_says_nothing_starts_with_next_to_no_importance():
    case = LossCase.of(teachers=1)
    noise = ModelOutputs(torch.randn(96, 6, generator=torch.Generator().manual_seed(3)))
    expertise = Expertise(Readout(), replace(case.context, teachers=(*case.context.teachers, noise)))
    assert float(expertise.gains[1]) < 0.1 < float(expertise.gains[0])
    assert 0 < float(expertise.importance[1]) < 0.01
    torch.testing.assert_close(expertise.importance.sum(), torch.tensor(1.0))
    torch.testing.assert_close(expertise.shares, gain_shares(expertise.gains, 4.0))


def test_a_class_with_one_labelled_row_is_named():
    case = LossCase.of()
    labels = case.context.labels.clone()
    labels[labels == 2] = -100
    labels[2] = 2
    with pytest.raises(DatasetError, match="'owl' has a single labelled row"):
        Expertise(Readout(), replace(case.context, labels=labels))
