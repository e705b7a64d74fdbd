import numpy as np
import sklearn.linear_model
import torch
import torch.nn.functional as F

from hf_ctkd.probes.solver import Basis, fit_path


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
