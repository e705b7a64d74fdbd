import pytest
import torch

from hf_ctkd.costs import SharedCost, Specification
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.testing import check_cost
from hf_ctkd.types import LabelSpace, ModelOutputs


def test_holds_the_contract():
    check_cost(SharedCost(Specification("org/encoder@1a2b", torch.eye(4, 6))))


def test_classes_are_matched_across_data_sets_however_far_from_the_origin():
    generator = torch.Generator().manual_seed(0)
    directions = 3 * torch.randn(4, 8, generator=generator) + 50

    def rows(labels):
        return ModelOutputs(directions[labels] + torch.randn(len(labels), 8, generator=generator))

    theirs, ours = torch.arange(80) % 4, torch.arange(40) % 2
    specification = Specification.of("org/encoder@1a2b", rows(theirs), labels=theirs, n_classes=4)
    matrix = SharedCost(specification).matrix(rows(ours + 2), ours, target=LabelSpace(("third", "fourth")))
    assert matrix.argmin(dim=0).tolist() == [2, 3] and float(matrix[[2, 3], [0, 1]].max()) < 0.1


def test_bad_input_is_named():
    specification = Specification("org/encoder@1a2b", torch.eye(3))
    outputs, space = ModelOutputs(torch.zeros(2, 4)), LabelSpace(("a", "b"))
    with pytest.raises(InvalidArgumentError, match="4 features, but the specification has 3.*'org/encoder@1a2b'"):
        SharedCost(specification).matrix(outputs, torch.tensor([0, 1]), target=space)
    with pytest.raises(InvalidArgumentError, match="class 1 has no row"):
        SharedCost(specification).matrix(outputs, torch.tensor([0, 0]), target=space)
    with pytest.raises(InvalidArgumentError, match="class 2 has no row"):
        Specification.of("org/encoder", outputs, labels=torch.tensor([0, 1]), n_classes=3)
