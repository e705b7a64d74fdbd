import pytest
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.metrics import FOTCE
from hf_ctkd.types import ModelOutputs


def test_bad_source_is_named():
    labels = torch.arange(6) % 2
    outputs = ModelOutputs(torch.randn(6, 3))
    with pytest.raises(InvalidArgumentError, match="`labels` must have one entry a row"):
        FOTCE(outputs, labels[:-1])
    with pytest.raises(DatasetError, match="No row has a label"):
        FOTCE(outputs, torch.full_like(labels, -100))
    with pytest.raises(
        InvalidArgumentError, match="`source` must come from the teacher that is scored, .* 3 wide inst"
    ):
        FOTCE(outputs, labels).score(ModelOutputs(torch.randn(6, 4)), labels)
