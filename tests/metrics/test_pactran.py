import numpy as np
import pytest
import scipy.optimize
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import PACTran
from hf_ctkd.probes.solver import Basis
from hf_ctkd.types import ModelOutputs


@pytest.mark.parametrize("variance", [0.5, 20.0])
def test_is_the_least_bound_over_posteriors_with_one_variance(variance):
    """Minimises loss plus KL divergence directly, with the whole Hessian from automatic differentiation."""
    labels = torch.tensor([0] * 10 + [1] * 14 + [2] * 6)
    noise = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = noise + torch.eye(3, 4)[labels]
    basis = Basis.of(features)
    standard = (features - basis.mean) / basis.scale
    inputs = torch.cat([standard, torch.ones(30, 1)], dim=1).double()
    log_prior = (torch.bincount(labels) / 30).double().log()

    def loss(flat):
        return torch.nn.functional.cross_entropy(log_prior + inputs @ flat.view(5, 3), labels)

    def penalised(flat):
        weights = torch.tensor(flat, requires_grad=True)
        value = loss(weights) + weights.square().sum() / (2 * 30 * variance)
        value.backward()
        return float(value.detach()), weights.grad.numpy()

    best = scipy.optimize.minimize(penalised, np.zeros(15), jac=True, tol=1e-10)
    trace = float(torch.autograd.functional.hessian(loss, torch.tensor(best.x)).trace())

    def spread(log_variance):
        own = np.exp(log_variance)
        divergence = 0.5 * 15 * (own / variance - 1 - np.log(own / variance))
        return 0.5 * trace * own + divergence / 30

    expected = best.fun + scipy.optimize.minimize_scalar(spread, bounds=(-15, 5), method="bounded").fun
    score = PACTran(prior_variance=variance).score(ModelOutputs(features), labels)
    assert score == pytest.approx(-expected, abs=1e-5)


def test_noise_in_wider_features_costs_and_bad_input_is_named():
    labels = torch.arange(60) % 3
    noise = torch.randn(60, 40, generator=torch.Generator().manual_seed(0))
    useful = 2 * torch.eye(3)[labels] + noise[:, :3]
    narrow = PACTran().score(ModelOutputs(useful), labels)
    assert PACTran().score(ModelOutputs(torch.cat([useful, noise[:, 3:]], dim=1)), labels) < narrow
    with pytest.raises(InvalidArgumentError, match="`prior_variance` must be positive, got 0"):
        PACTran(prior_variance=0.0)
