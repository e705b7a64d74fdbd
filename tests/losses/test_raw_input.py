from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.costs import Readout
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import LossContext, RawInputLoss, ReadoutLoss, TransportLoss
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs, Needs

SPACE = LabelSpace(("a", "b"))


def _rows():
    truth = torch.arange(80) % 2
    labels = torch.where(torch.arange(80) < 20, truth, UNLABELLED)
    return truth, labels, F.one_hot(truth, 2) + 0.6 * torch.randn(80, 2)


def _term(loss, labels, inputs, logits):
    loss.setup(LossContext(labels, SPACE, ModelOutputs(inputs), inputs=inputs))
    (term,) = loss(ModelOutputs(inputs, logits, inputs=inputs), (), labels).values()
    return term


def test_contract():
    check_loss(RawInputLoss, reads_labels=True)


def test_reads_the_classes_with_no_teacher_at_all():
    truth, labels, inputs = _rows()
    logits = torch.zeros(80, 2, requires_grad=True)
    loss = RawInputLoss()
    assert loss.needs == Needs.FIT | Needs.INPUT
    _term(loss, labels, inputs, logits).backward()
    unlabelled = labels == UNLABELLED
    assert float(((-logits.grad).argmax(1) == truth)[unlabelled].float().mean()) > 0.85
    share, sizes = float((~unlabelled).float().mean()), logits.grad.norm(dim=1)
    assert float(sizes[~unlabelled].mean()) < 2 * share * float(sizes[unlabelled].mean())
    assert loss.diagnostics()["input_gain"] > 0.3 and loss.weights() == ()


def test_is_the_transport_loss_with_the_input_for_a_teacher():
    _, labels, inputs = _rows()
    logits = torch.randn(80, 2)
    teacher = ModelOutputs(inputs)
    other = TransportLoss(raw_input=False)
    other.setup(LossContext(labels, SPACE, teacher, (teacher,), (None,)))
    theirs = other(ModelOutputs(inputs, logits), (teacher,), labels)["transport"]
    assert torch.equal(_term(RawInputLoss(), labels, inputs, logits), theirs)


def test_without_transport_it_is_the_plain_readout():
    _, labels, inputs = _rows()
    logits = torch.randn(80, 2)
    teacher = ModelOutputs(inputs)
    other = ReadoutLoss()
    other.setup(LossContext(labels, SPACE, teacher, (teacher,), (None,)))
    theirs = other(ModelOutputs(inputs, logits), (teacher,), labels)["readout"]
    mine = _term(RawInputLoss(epsilon=1.0, relax=1e-6, own=0.0, rounds=0), labels, inputs, logits)
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_teachers_are_not_looked_at():
    case = LossCase.of()
    alone = replace(case.context, teachers=())
    found = []
    for context in (case.context, alone):
        loss = RawInputLoss()
        loss.setup(context)
        found.append(loss(case.student, case.teachers, case.labels)["raw_input"])
    assert torch.equal(*found)


def test_settings_are_recorded_and_refused_as_those_of_the_transport_loss():
    assert RawInputLoss().settings()["rounds"] == 2 and RawInputLoss(Readout(folds=3)).readout.folds == 3
    with pytest.raises(InvalidArgumentError, match="`relax` must be positive, got 0"):
        RawInputLoss(relax=0.0)
    with pytest.raises(InvalidArgumentError, match="`inputs` must be given"):
        RawInputLoss().setup(replace(LossCase.of().context, inputs=None))
    with pytest.raises(DatasetError, match="single labelled row"):
        _term(RawInputLoss(), torch.tensor([0, 0, 1] + [UNLABELLED] * 77), torch.randn(80, 2), torch.zeros(80, 2))
