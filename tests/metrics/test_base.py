import pytest
import torch
from sklearn.decomposition import PCA

from hf_ctkd.errors import DatasetError
from hf_ctkd.metrics import LEEP, TransferabilityMetric
from hf_ctkd.metrics.base import canonical, class_means, log_likelihoods_of_map, principal_components
from hf_ctkd.types import ModelOutputs, Needs


def rows(count=12):
    return ModelOutputs(torch.randn(count, 3), torch.randn(count, 2), layers=(torch.randn(count, 4),))


def test_canonical_rows_follow_from_content():
    outputs, labels = rows(), torch.arange(12) % 3
    ordered, classes = canonical(outputs, labels)
    shuffle, names = torch.randperm(12), torch.tensor([7, 4, 9])
    again, renamed = canonical(outputs.select(shuffle), names[labels[shuffle]])
    assert torch.equal(ordered.features, again.features) and torch.equal(ordered.logits, again.logits)
    assert torch.equal(ordered.layers[0], again.layers[0]) and torch.equal(classes, renamed)
    assert classes.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert ordered.features.dtype == ordered.logits.dtype == ordered.layers[0].dtype == torch.float64


def test_one_class_is_refused():
    with pytest.raises(DatasetError, match="All labelled rows are of one class, but two are needed"):
        canonical(rows(), torch.zeros(12, dtype=torch.long))


def test_a_map_of_certain_clusters_is_the_conditional_share():
    clusters = torch.eye(2, dtype=torch.float64)[[0, 0, 0, 1]]
    expected = (2 * torch.tensor(2 / 3).log() + torch.tensor(1 / 3).log()) / 4
    likelihoods = log_likelihoods_of_map(clusters, torch.tensor([0, 0, 1, 1]))
    assert float(likelihoods.mean()) == pytest.approx(float(expected), rel=1e-6)


def test_class_means_with_their_numbers_of_rows():
    means, counts = class_means(torch.tensor([[1.0], [3.0], [10.0]]), torch.tensor([0, 0, 1]))
    assert means.tolist() == [[2.0], [10.0]] and counts.tolist() == [2.0, 1.0]


def test_a_metric_has_a_name():
    class Unnamed(TransferabilityMetric):
        citation = "none"
        needs = Needs.NOTHING

        def of_rows(self, outputs, labels):
            return 0.0

    with pytest.raises(TypeError, match="abstract .* 'name'|abstract .*name"):
        Unnamed()
    assert LEEP.name == LEEP().name == "leep"


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
