import doctest
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import BayesianRidge

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import BTuningLoss, b_tuning
from hf_ctkd.metrics import LogME
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import UNLABELLED, ModelOutputs


def set_up(case, **arguments):
    loss = BTuningLoss(**arguments)
    loss.setup(case.context)
    return loss


def test_contract():
    check_loss(BTuningLoss)
    check_loss(lambda: BTuningLoss(3.0, temperature=2.0))


def test_doctests():
    assert doctest.testmod(b_tuning).failed == 0


def test_teachers_are_weighted_by_the_softmax_of_their_logme():
    case = LossCase.of(teachers=3)
    scores = torch.tensor([LogME().score(teacher, case.context.labels) for teacher in case.context.teachers])
    assert torch.tensor(set_up(case, temperature=0.5).weights()) == pytest.approx((scores / 0.5).softmax(0), abs=1e-6)
    sharp = set_up(case, temperature=1e-4).weights()
    assert sharp[int(scores.argmax())] == pytest.approx(1.0)
    assert list(set_up(case).diagnostics().values()) == pytest.approx(scores.tolist(), rel=1e-5)


def test_teacher_that_is_the_untrained_student_leaves_nothing_to_learn():
    case = LossCase.of(teachers=1)
    same = replace(case, context=replace(case.context, teachers=(case.context.student_rows,)), teachers=(case.student,))
    # The student's features through its map are the target itself: zero, and no gradient.
    features = case.student.features.clone().requires_grad_()
    term = set_up(same)(ModelOutputs(features), same.teachers, same.labels)["b_tuning"]
    term.backward()
    assert term.item() == pytest.approx(0, abs=1e-8) and float(features.grad.abs().max()) < 1e-6


def test_term_agrees_with_bayesian_ridge_regressions_of_scikit_learn():
    case = LossCase.of(teachers=1)
    labels = case.context.labels
    labelled = labels != UNLABELLED

    def scores(fitted_on, batch):
        columns = []
        for class_id in range(4):
            # Without priors on the precisions it maximises the same evidence.
            model = BayesianRidge(
                fit_intercept=False, alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, max_iter=1000, tol=1e-9
            )
            model.fit(fitted_on[labelled].double().numpy(), (labels[labelled] == class_id).double().numpy())
            columns.append(torch.tensor(batch.double().numpy() @ model.coef_))
        return torch.stack(columns, 1)

    target = scores(case.context.teachers[0].features, case.teachers[0].features)
    predicted = scores(case.context.student_rows.features, case.student.features)
    expected = 7.0 * F.mse_loss(predicted, target)
    assert case.terms(set_up(case, weight=7.0))["b_tuning"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_targets_are_as_wide_as_there_are_classes():
    case = LossCase.of(teachers=3)
    assert set_up(case).row_targets(case.context).shape == (96, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 0.0}, "`weight` must be a positive number, got 0.0"),
        ({"weight": float("inf")}, "`weight` must be a positive number, got inf"),
        ({"temperature": 0.0}, "`temperature` must be positive, got 0.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        BTuningLoss(**arguments)


def test_without_the_students_outputs_or_labels():
    case = LossCase.of()
    with pytest.raises(InvalidArgumentError, match="`student_rows` must hold the untrained student's outputs"):
        set_up(replace(case, context=replace(case.context, student_rows=None)))
    unlabelled = torch.full_like(case.context.labels, UNLABELLED)
    with pytest.raises(DatasetError, match="No row has a label"):
        set_up(replace(case, context=replace(case.context, labels=unlabelled)))
