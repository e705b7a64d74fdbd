import numpy as np
import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import TransRate
from hf_ctkd.types import ModelOutputs


@pytest.mark.parametrize("width", [5, 60])
def test_agrees_with_log_determinants_in_numpy(width):
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    features = np.random.default_rng(0).normal(size=(60, width)) + np.eye(3, width)[labels]
    centred = features - features.mean(0)
    centred /= np.sqrt((centred**2).sum(1).mean())

    def rate(rows):
        _, log_determinant = np.linalg.slogdet(np.eye(width) + rows.T @ rows / (len(rows) * 1e-2))
        return log_determinant / 2

    expected = rate(centred) - sum(len(centred[labels == k]) / 60 * rate(centred[labels == k]) for k in range(3))
    score = TransRate(distortion=1e-2).score(ModelOutputs(torch.tensor(features)), torch.tensor(labels))
    assert score == pytest.approx(expected)


def test_two_classes_look_alike_however_far_apart():
    labels = torch.arange(40) % 2
    noise = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, dim=0)
    noise = noise * (1 - 2 * labels[:, None])
    scores = [TransRate().score(ModelOutputs(noise + far * (2 * labels[:, None] - 1)), labels) for far in (0.0, 5.0)]
    assert scores == pytest.approx([0.0, 0.0], abs=1e-9)


def test_constant_features_score_nothing_and_bad_input_is_named():
    assert TransRate().score(ModelOutputs(torch.ones(8, 3)), torch.arange(8) % 2) == 0
    with pytest.raises(InvalidArgumentError, match="`distortion` must be positive, got 0"):
        TransRate(distortion=0.0)
