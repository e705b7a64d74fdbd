import pytest
import torch

from hf_ctkd.metrics import LogME
from hf_ctkd.probes.bayesian import BayesianRegression
from hf_ctkd.types import ModelOutputs


def rows(count=60, width=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    means = torch.randn(classes, width, generator=generator)
    return torch.randn(count, width, generator=generator) + 2 * means[labels], labels


@pytest.mark.parametrize("width", [5, 90])
def test_weight_is_a_fixed_point_of_the_evidence_equations(width):
    features, labels = rows(width=width)
    fit = BayesianRegression.fit(features, labels, 3)
    x, y = features.double(), torch.nn.functional.one_hot(labels, 3).double()
    for class_id in range(3):
        weight, target = fit.weight[class_id], y[:, class_id]
        # At the posterior mean, beta X^T (y - X m) = alpha m: a ridge regression of strength alpha / beta ...
        gradient = x.T @ (target - x @ weight)
        strength = float(gradient @ weight / (weight @ weight))
        torch.testing.assert_close(gradient, strength * weight, atol=1e-6, rtol=1e-6)
        # ... and both precisions satisfy MacKay's conditions on the number of well-determined directions.
        power = torch.linalg.svdvals(x).square()
        determined = float((power / (power + strength)).sum())
        alpha = determined / float(weight @ weight)
        beta = (len(x) - determined) / float((target - x @ weight).square().sum())
        assert alpha / beta == pytest.approx(strength, rel=1e-3)


def test_log_evidence_is_logme():
    features, labels = rows()
    fit = BayesianRegression.fit(features, labels, 3)
    assert fit.log_evidence == pytest.approx(LogME().score(ModelOutputs(features), labels))


def test_class_without_a_row_changes_nothing():
    features, labels = rows()
    fit, more = BayesianRegression.fit(features, labels, 3), BayesianRegression.fit(features, labels, 5)
    assert more.log_evidence == fit.log_evidence
    torch.testing.assert_close(more.weight[:3], fit.weight)
    assert not more.weight[3:].any()
