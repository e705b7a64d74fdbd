import torch

from hf_ctkd.costs import PrototypeCost
from hf_ctkd.testing import check_cost
from hf_ctkd.types import LabelSpace, ModelOutputs


def test_holds_the_contract():
    check_cost(PrototypeCost())


def test_agrees_with_loops():
    generator = torch.Generator().manual_seed(1)
    features, logits = torch.randn(12, 5, generator=generator), torch.randn(12, 3, generator=generator)
    labels = torch.arange(12) % 2
    matrix = PrototypeCost().matrix(ModelOutputs(features, logits), labels, target=LabelSpace(("a", "b")))
    centred, p = features - features.mean(0), logits.softmax(1)
    for u in range(3):
        soft = sum(p[i, u] * centred[i] for i in range(12)) / p[:, u].sum()
        for v in range(2):
            mean = centred[labels == v].mean(0)
            cosine = float(soft @ mean / soft.norm() / mean.norm())
            assert abs(float(matrix[u, v]) - (1 - cosine) / 2) < 1e-5


def test_a_class_without_rows_is_neutral_even_far_from_the_origin():
    outputs = ModelOutputs(100 + torch.eye(2)[[0, 0, 1, 1]], 40 * torch.eye(3)[[0, 0, 1, 1]])
    matrix = PrototypeCost().matrix(outputs, torch.tensor([0, 0, 1, 1]), target=LabelSpace(("a", "b", "never")))
    assert torch.allclose(matrix[:, 2], torch.full((3,), 0.5), atol=1e-4)
    assert torch.allclose(matrix[:2, :2], 1 - torch.eye(2), atol=1e-3)
