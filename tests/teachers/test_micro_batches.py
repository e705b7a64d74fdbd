import pytest
import torch

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.teachers.micro_batches import in_micro_batches, joined
from hf_ctkd.types import Hidden, ModelOutputs

CPU = torch.device("cpu")


def test_parts_are_halved_until_they_fit_and_stay_so():
    sizes = []

    def run(part):
        sizes.append(part.stop - part.start)
        return None if sizes[-1] > 3 else list(range(10))[part]

    assert in_micro_batches(run, 10, 64, CPU) == ([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]], 2)
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    assert in_micro_batches(run, 3, 3, CPU) == ([[0, 1, 2]], 3)


def test_a_single_row_that_does_not_fit():
    with pytest.raises(
        TeacherUnavailableError, match="^a single row does not fit the memory of cpu. Choose a"
    ) as raised:
        in_micro_batches(lambda part: None, 4, 4, CPU)
    assert raised.value.code is ProblemCode.TOO_LARGE


def test_parts_are_joined_with_their_hidden_layers():
    whole = ModelOutputs(
        torch.rand(5, 2),
        torch.rand(5, 3),
        (Hidden(torch.rand(5, 4, 2), (4,), torch.rand(5, 4) > 0.5), Hidden(torch.rand(5, 4, 2), (2, 2))),
        (torch.rand(5, 2),),
    )
    parts = [whole.select(torch.arange(start, stop)) for start, stop in ((0, 2), (2, 5))]
    result = joined(parts)
    assert torch.equal(result.features, whole.features) and torch.equal(result.logits, whole.logits)
    assert torch.equal(result.layers[0], whole.layers[0])
    for layer, expected in zip(result.hidden, whole.hidden, strict=True):
        assert torch.equal(layer.values, expected.values) and layer.grid == expected.grid
    assert torch.equal(result.hidden[0].mask, whole.hidden[0].mask)
