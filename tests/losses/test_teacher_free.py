from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import LossContext, ProbeLoss, RowTransportLoss, TeacherFreeLoss
from hf_ctkd.probes import LinearProbe
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs, Needs

SPACE = LabelSpace(("a", "b"))


def _rows():
    truth = torch.arange(80) % 2
    labels = torch.where(torch.arange(80) < 20, truth, UNLABELLED)
    return truth, labels, F.one_hot(truth, 2) + 0.6 * torch.randn(80, 2)


def _term(loss, labels, inputs, logits):
    loss.setup(LossContext(labels, SPACE, ModelOutputs(inputs), inputs=ModelOutputs(inputs)))
    (term,) = loss(ModelOutputs(inputs, logits, inputs=inputs), (), labels).values()
    return term


def test_contract():
    check_loss(TeacherFreeLoss, weighs_labelled_rows=True)


def test_reads_the_classes_with_no_teacher_at_all():
    truth, labels, inputs = _rows()
    logits = torch.zeros(80, 2, requires_grad=True)
    loss = TeacherFreeLoss()
    assert loss.needs == Needs.FIT | Needs.INPUT
    _term(loss, labels, inputs, logits).backward()
    unlabelled = labels == UNLABELLED
    assert float(((-logits.grad).argmax(1) == truth)[unlabelled].float().mean()) > 0.85
    share, sizes = float((~unlabelled).float().mean()), logits.grad.norm(dim=1)
    assert float(sizes[~unlabelled].mean()) < 2 * share * float(sizes[unlabelled].mean())
    assert loss.diagnostics()["input_information_gain"] > 0.3 and loss.weights() == ()


def test_is_the_transport_loss_with_the_input_for_a_teacher():
    _, labels, inputs = _rows()
    logits = torch.randn(80, 2)
    teacher = ModelOutputs(inputs)
    other = RowTransportLoss(input_features=False)
    other.setup(LossContext(labels, SPACE, teacher, (teacher,), (None,)))
    theirs = other(ModelOutputs(inputs, logits), (teacher,), labels)["row_transport"]
    assert torch.equal(_term(TeacherFreeLoss(), labels, inputs, logits), theirs)


def test_without_transport_it_is_the_plain_probe():
    _, labels, inputs = _rows()
    logits = torch.randn(80, 2)
    teacher = ModelOutputs(inputs)
    other = ProbeLoss()
    other.setup(LossContext(labels, SPACE, teacher, (teacher,), (None,)))
    theirs = other(ModelOutputs(inputs, logits), (teacher,), labels)["probe"]
    mine = _term(
        TeacherFreeLoss(epsilon=1.0, prior_strength=1e-6, self_distillation=0.0, refit_rounds=0), labels, inputs, logits
    )
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_teachers_are_not_looked_at():
    case = LossCase.of()
    alone = replace(case.context, teachers=())
    found = []
    for context in (case.context, alone):
        loss = TeacherFreeLoss()
        loss.setup(context)
        found.append(loss(case.student, case.teachers, case.labels)["teacher_free"])
    assert torch.equal(*found)


def test_settings_are_recorded_and_refused_as_those_of_the_transport_loss():
    assert TeacherFreeLoss().settings()["refit_rounds"] == 2 and TeacherFreeLoss(LinearProbe(folds=3)).probe.folds == 3
    with pytest.raises(InvalidArgumentError, match="`prior_strength` must be positive, got 0"):
        TeacherFreeLoss(prior_strength=0.0)
    with pytest.raises(InvalidArgumentError, match="`inputs` must be given"):
        TeacherFreeLoss().setup(replace(LossCase.of().context, inputs=None))
    with pytest.raises(DatasetError, match="single labelled row"):
        _term(TeacherFreeLoss(), torch.tensor([0, 0, 1] + [UNLABELLED] * 77), torch.randn(80, 2), torch.zeros(80, 2))
