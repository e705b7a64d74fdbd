import pytest
import torch
from sklearn.decomposition import PCA

from hf_ctkd.metrics.principal import principal_components

FEATURES = torch.randn(30, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(1.0, 9.0)


@pytest.mark.parametrize(("ours", "theirs"), [({"variance": 0.8}, 0.8), ({"most": 3}, 3), ({}, 8)])
def test_agrees_with_scikit_learn(ours, theirs):
    found = principal_components(FEATURES, **ours).numpy()
    expected = PCA(theirs, svd_solver="full").fit_transform(FEATURES.numpy())
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=1e-9)


def test_constant_features_keep_one_component():
    assert principal_components(torch.ones(5, 3)).shape[1] >= 1
    assert not principal_components(torch.ones(5, 3)).any()
