import pytest
import torch

from hf_ctkd.costs import EmpiricalCost
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.testing import check_cost
from hf_ctkd.types import LabelSpace, ModelOutputs


def test_holds_the_contract():
    check_cost(EmpiricalCost())


def test_agrees_with_loops():
    generator = torch.Generator().manual_seed(3)
    probabilities = torch.rand(20, 4, generator=generator, dtype=torch.float64)
    probabilities /= probabilities.sum(dim=1, keepdim=True)
    labels = torch.arange(20) % 3
    expected = torch.empty(4, 3, dtype=torch.float64)
    for u in range(4):
        mass = sum(float(probabilities[i, u]) for i in range(20))
        for v in range(3):
            here = sum(float(probabilities[i, u]) for i in range(20) if labels[i] == v)
            prior = sum(1 for i in range(20) if labels[i] == v) / 20
            expected[u, v] = 1 - (here + 2.0 * prior) / (mass + 2.0)
    outputs = ModelOutputs(features=torch.zeros(20, 1), logits=probabilities.log().float())
    matrix = EmpiricalCost(smoothing=2.0).matrix(outputs, labels, target=LabelSpace(("a", "b", "c")))
    assert torch.allclose(matrix.double(), expected, atol=1e-5)


def test_a_teacher_class_never_shown_falls_back_to_the_prior():
    logits = torch.tensor([[40.0, 0, 0], [40, 0, 0], [0, 40, 0], [0, 40, 0]])
    labels = torch.tensor([0, 0, 0, 1])
    matrix = EmpiricalCost().matrix(
        ModelOutputs(torch.zeros(4, 1), logits), labels, target=LabelSpace(("a", "b", "never"))
    )
    assert matrix[2].tolist() == pytest.approx([0.25, 0.75, 1.0], abs=1e-5)


def test_bad_input_is_named():
    with pytest.raises(InvalidArgumentError, match="`smoothing` must be positive, got 0"):
        EmpiricalCost(smoothing=0.0)
    space = LabelSpace(("a", "b"))
    outputs = ModelOutputs(torch.zeros(2, 1), torch.zeros(2, 2))
    with pytest.raises(DatasetError, match="No row has a label"):
        EmpiricalCost().matrix(outputs, torch.tensor([-100, -100]), target=space)
    with pytest.raises(DatasetError, match="below 2, or -100 .* got 5"):
        EmpiricalCost().matrix(outputs, torch.tensor([0, 5]), target=space)
    with pytest.raises(InvalidArgumentError, match="one entry a row"):
        EmpiricalCost().matrix(outputs, torch.tensor([0]), target=space)
    bad = ModelOutputs(torch.zeros(2, 1), torch.tensor([[0.0, 0], [float("nan"), 0]]))
    with pytest.raises(InvalidArgumentError, match="`logits` must be finite, but row 1"):
        EmpiricalCost().matrix(bad, torch.tensor([0, 1]), target=space)
