import math

import pytest
import torch

from hf_ctkd.metrics import NCE
from hf_ctkd.types import ModelOutputs


def test_agrees_with_loops():
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    predicted, labels = logits.argmax(dim=1).tolist(), [i % 3 for i in range(20)]
    expected = 0.0
    for z in set(predicted):
        for y in range(3):
            both = sum(p == z and label == y for p, label in zip(predicted, labels, strict=True))
            if both:
                expected += both / 20 * math.log(both / predicted.count(z))
    score = NCE().score(ModelOutputs(torch.zeros(20, 1), logits), torch.tensor(labels))
    assert score == pytest.approx(expected)
