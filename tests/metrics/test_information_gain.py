import pytest
import torch

from hf_ctkd.errors import DatasetError
from hf_ctkd.metrics import InformationGain
from hf_ctkd.probes import LinearProbe
from hf_ctkd.types import ModelOutputs


def test_is_the_gain_of_the_probe_that_it_was_given():
    labels = torch.arange(60) % 3
    features = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) + torch.eye(3, 5)[labels]
    probe = LinearProbe(strengths=(10.0,), folds=3)
    assert InformationGain(probe).score(ModelOutputs(features), labels) == pytest.approx(
        probe.fit(features, labels, 3).information_gain, abs=1e-4
    )


def test_a_class_with_one_row_is_named():
    with pytest.raises(DatasetError, match="single labelled row"):
        InformationGain().score(ModelOutputs(torch.randn(3, 2)), torch.tensor([0, 0, 1]))
