import numpy as np
import pytest
import sklearn.linear_model
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hf_ctkd.probes.solver import Basis, fit_path, fit_paths


def _rows(rows, width):
    labels = torch.arange(rows) % 3
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0)) + torch.eye(3, width)[labels], labels


def test_wide_and_narrow_features_go_through_different_branches_alike():
    features, _ = _rows(30, 12)
    narrow, wide = Basis.of(features), Basis.of(features.repeat(1, 4))
    assert narrow.rows.shape == (30, 12) and wide.rows.shape == (30, 12)
    assert torch.allclose(narrow.rows @ narrow.rows.T, wide.rows @ wide.rows.T, atol=1e-8)
    assert torch.allclose((features.double() - narrow.mean) / narrow.scale @ narrow.axes, narrow.rows)


def test_mean_squared_length_is_one():
    assert abs(float(Basis.of(_rows(500, 12)[0] * 1000).rows.square().sum(1).mean()) - 1) < 0.02


def test_agrees_with_an_independent_solver():
    features, labels = _rows(60, 8)
    rows = Basis.of(features).rows
    ours = fit_path(
        rows, F.one_hot(labels).double(), log_prior=torch.zeros(3, dtype=torch.float64), strengths=(1.0, 0.1)
    )[1]
    inputs = np.hstack([rows.numpy(), np.ones((60, 1))])
    solver = sklearn.linear_model.LogisticRegression(C=10.0, fit_intercept=False, tol=1e-10, max_iter=5000)
    theirs = solver.fit(inputs, labels.numpy()).predict_proba(inputs)
    mine = (torch.from_numpy(inputs) @ ours).softmax(dim=1).numpy()
    # The tolerance of the fit leaves the likelihood exact to five digits, probabilities to about two and a half.
    assert np.abs(mine - theirs).max() < 0.01


def test_large_problems_in_single_precision_agree(monkeypatch):
    features, labels = _rows(60, 8)
    rows, log_prior = Basis.of(features).rows, torch.zeros(3, dtype=torch.float64)
    double = fit_path(rows, F.one_hot(labels).double(), log_prior=log_prior, strengths=(0.1,))[0]
    monkeypatch.setattr("hf_ctkd.probes.solver._LARGE", 0)
    single = fit_path(rows, F.one_hot(labels).double(), log_prior=log_prior, strengths=(0.1,))[0]
    assert single.dtype == torch.float64 and torch.allclose(single, double, atol=0.02 * float(double.abs().max()))


def test_a_row_of_weight_two_counts_as_two_rows():
    features, labels = _rows(60, 8)
    rows, truth = Basis.of(features).rows, F.one_hot(labels).double()
    settings = {"log_prior": torch.zeros(3, dtype=torch.float64), "strengths": (0.1,)}
    heavy = truth.clone()
    heavy[:20] *= 2
    (weighted,), (repeated,) = (
        fit_path(rows, heavy, **settings),
        fit_path(torch.cat([rows, rows[:20]]), torch.cat([truth, truth[:20]]), **settings),
    )
    assert torch.allclose(weighted, repeated, atol=2e-3 * float(repeated.abs().max()))


@pytest.mark.parametrize("large", [1, 10**9])
def test_a_batch_of_problems_gives_what_each_gives_alone(monkeypatch, large):
    monkeypatch.setattr("hf_ctkd.probes.solver._LARGE", large)
    features, labels = _rows(60, 8)
    rows, truth = Basis.of(features).rows, F.one_hot(labels).double()
    masses = torch.stack([truth * (torch.arange(60) % 4 != number)[:, None] for number in range(4)])
    # Another prior for each, so that they need different numbers of steps.
    log_prior = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double().log_softmax(dim=1)
    paths = fit_paths(rows.expand(4, -1, -1), masses, log_prior=log_prior, strengths=(1.0, 0.01))
    together = torch.stack(list(paths))
    assert together.shape == (2, 4, 9, 3) and together.dtype == torch.float64
    for number in range(4):
        alone = fit_path(rows, masses[number], log_prior=log_prior[number], strengths=(1.0, 0.01))
        # A problem may be given up to three evaluations more beside others, below the tolerance of the fit.
        torch.testing.assert_close(together[:, number], torch.stack(alone), rtol=0, atol=0.02)


class Operations(TorchDispatchMode):
    """Numbers of matrix products, and of looks of the host at a value."""

    def __init__(self):
        super().__init__()
        self.products = self.looks = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.products += "baddbmm" in str(function)
        self.looks += "_local_scalar_dense" in str(function)
        return function(*args, **(kwargs or {}))


def test_the_host_looks_once_in_four_evaluations_for_all_problems_together():
    features, labels = _rows(60, 8)
    rows, truth = Basis.of(features).rows, F.one_hot(labels).double()
    log_prior = torch.zeros(5, 3, dtype=torch.float64)
    with Operations() as operations:
        list(fit_paths(rows.expand(5, -1, -1), truth.expand(5, -1, -1), log_prior=log_prior, strengths=(1.0, 0.1)))
    # Two products in each evaluation, and one evaluation at the start of each strength.
    assert operations.looks == (operations.products / 2 - 2) / 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_a_large_fit_leaves_its_precision(monkeypatch, dtype):
    monkeypatch.setattr("hf_ctkd.probes.solver._LARGE", 1)
    features, labels = _rows(60, 8)
    rows, truth = Basis.of(features).rows, F.one_hot(labels).double()
    settings = {"log_prior": torch.zeros(3, dtype=torch.float64), "strengths": (0.1,)}
    (plain,) = fit_path(rows, truth, **settings)
    with torch.autocast("cpu", dtype):
        (inside,) = fit_path(rows, truth, **settings)
    assert torch.equal(inside, plain)
