"""Ridge probes of teachers' features as a soft target for labels that are numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import RegressionProbeLoss
from hf_ctkd.losses.regression_probe import _fit_ridge
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import UNLABELLED, LossContext, ModelOutputs


def _case(rows=200, *, noise=0.1, seed=0):
    """Two numbers a row, of which a linear map of the features gives the first; every other row has no label."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 6, generator=generator)
    targets = torch.stack([2 * features[:, 0] - features[:, 1] + 5, torch.randn(rows, generator=generator)], dim=1)
    targets[:, 0] += noise * torch.randn(rows, generator=generator)
    labels = torch.where(torch.arange(rows) % 2 == 0, 0, UNLABELLED)
    known = targets.clone()
    known[labels == UNLABELLED] = torch.nan
    case = LossCase.of()
    context = replace(
        case.context,
        labels=labels,
        teachers=(ModelOutputs(features),),
        teacher_label_spaces=(None,),
        targets=known,
        inputs=None,
    )
    return context, targets


@pytest.mark.parametrize("link", ["identity", "logistic"])
def test_contract(link):
    check_loss(lambda: RegressionProbeLoss(link), reads_labels=True)


def test_a_labelled_row_counts_less_than_one_without_a_label():
    context, _ = _case()
    loss = RegressionProbeLoss()
    loss.setup(context)
    student = ModelOutputs(torch.zeros(200, 1), torch.randn(200, 2, generator=torch.Generator().manual_seed(1)))
    none, all_ = (
        loss(student, context.teachers, torch.full((200,), label))["regression_probe"] for label in (UNLABELLED, 0)
    )
    assert none > 0
    torch.testing.assert_close(all_, 0.3 * none)


def test_it_predicts_unlabelled_rows_and_trusts_only_what_it_can_predict():
    context, targets = _case()
    loss = RegressionProbeLoss()
    loss.setup(context)
    predicted = loss.row_targets(context)
    unlabelled = context.labels == UNLABELLED
    error = (predicted - targets)[unlabelled, 0].square().mean() / targets[unlabelled, 0].var()
    assert error < 0.02
    assert loss.output_weights[0] > 0.95 and loss.output_weights[1] < 0.1
    assert loss.weights() == pytest.approx((float(loss.output_weights.mean()),), abs=1e-5)
    assert loss.strength() == pytest.approx(loss.weights()[0], abs=1e-5)


def test_fit_is_that_of_scikit_learn():
    context, targets = _case(80)
    features = context.teachers[0].features.double()
    probe = _fit_ridge(features, targets.double(), strengths=(0.5,), folds=4, seed=0)
    scale = ((features - features.mean(0)).square().mean(0) + 0.01 * features.var(0, correction=0).mean()).sqrt()
    scaled = (features - features.mean(0)) / (scale * features.shape[1] ** 0.5)
    expected = Ridge(alpha=0.5).fit(scaled.numpy(), targets.double().numpy()).predict(scaled.numpy())
    np.testing.assert_allclose((features @ probe.weight + probe.bias).numpy(), expected, rtol=1e-6, atol=1e-6)


def test_labels_of_chance_give_no_weight():
    context, _ = _case()
    shuffled = torch.randn(context.targets.shape, generator=torch.Generator().manual_seed(3))
    loss = RegressionProbeLoss()
    loss.setup(replace(context, targets=torch.where(context.targets.isnan(), torch.nan, shuffled)))
    assert loss.strength() < 0.05


def test_a_teacher_that_knows_nothing_does_no_harm():
    context, targets = _case()
    noise = ModelOutputs(torch.randn(len(targets), 6, generator=torch.Generator().manual_seed(9)))
    loss = RegressionProbeLoss()
    loss.setup(replace(context, teachers=(noise, *context.teachers), teacher_label_spaces=(None, None)))
    useless, useful = loss.weights()
    assert useless < 0.1 < useful and loss.output_weights[0] > 0.95


def test_targets_computed_once_are_those_of_the_step():
    case = LossCase.of()
    loss = RegressionProbeLoss("logistic")
    loss.setup(case.context)
    rows = loss.row_targets(case.context)[: len(case.labels)]
    assert rows.min() >= 0.01 and rows.max() <= 0.99
    torch.testing.assert_close(loss.on_targets(case.student, rows, case.labels), case.terms(loss))


def test_student_that_agrees_has_no_loss():
    case = LossCase.of()
    for link in ("identity", "logistic"):
        loss = RegressionProbeLoss(link)
        loss.setup(case.context)
        targets = loss.row_targets(case.context)[: len(case.labels)]
        agreeing = replace(case.student, logits=targets.logit() if link == "logistic" else targets)
        assert float(loss.on_targets(agreeing, targets, case.labels)["regression_probe"]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"link": "probit"}, "`link` must be 'identity' or 'logistic', got 'probit'"),
        ({"strengths": (1.0, 0.0)}, "`strengths` must hold positive numbers"),
        ({"folds": 1}, "`folds` must be at least 2, got 1"),
    ],
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        RegressionProbeLoss(**settings)


def test_labels_that_are_no_numbers_or_too_few_are_refused():
    context: LossContext = LossCase.of().context
    with pytest.raises(InvalidArgumentError, match="needs labels as numbers, but the task has none"):
        RegressionProbeLoss().setup(replace(context, targets=None))
    few = context.targets.clone()
    few[3:] = torch.nan
    with pytest.raises(DatasetError, match="at least 4 labelled rows to fit probes on, got"):
        RegressionProbeLoss().setup(replace(context, targets=few))
    with pytest.raises(InvalidArgumentError, match="`teachers` must hold at least one teacher"):
        RegressionProbeLoss().setup(replace(context, teachers=()))
