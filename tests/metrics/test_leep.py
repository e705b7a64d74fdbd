import math

import pytest
import torch

from hf_ctkd.metrics import LEEP
from hf_ctkd.types import ModelOutputs


def test_agrees_with_loops():
    logits = torch.randn(15, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta, labels = logits.softmax(dim=1), [i % 3 for i in range(15)]
    total = 0.0
    for i in range(15):
        predicted = 0.0
        for z in range(4):
            together = sum(float(theta[j, z]) for j in range(15) if labels[j] == labels[i]) / 15
            alone = sum(float(theta[j, z]) for j in range(15)) / 15
            predicted += together / alone * float(theta[i, z])
        total += math.log(predicted) / 15
    score = LEEP().score(ModelOutputs(torch.zeros(15, 1), logits), torch.tensor(labels))
    assert score == pytest.approx(total)
