import math

import numpy as np
import ot
import pytest
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.metrics import FOTCE, NCE
from hf_ctkd.ot import CloudSinkhorn
from hf_ctkd.types import ModelOutputs

GENERATOR = torch.Generator().manual_seed(0)
SOURCE_LABELS = torch.arange(30) % 3
SOURCE = ModelOutputs(torch.randn(30, 4, generator=GENERATOR) + 2 * torch.eye(3, 4)[SOURCE_LABELS])
LABELS = torch.arange(24) % 2
TARGET = ModelOutputs(torch.randn(24, 4, generator=GENERATOR) + 2 * torch.eye(2, 4)[LABELS])


def test_agrees_with_pot_and_loops():
    cost = ot.dist(SOURCE.features.double().numpy(), TARGET.features.double().numpy())
    plan = ot.sinkhorn(np.full(30, 1 / 30), np.full(24, 1 / 24), cost, 0.05 * cost.max(), stopThr=1e-12)
    expected = 0.0
    for u in range(3):
        for v in range(2):
            both = plan[SOURCE_LABELS.numpy() == u][:, LABELS.numpy() == v].sum()
            expected += both * math.log(both / plan[SOURCE_LABELS.numpy() == u].sum())
    solver = CloudSinkhorn(tolerance=1e-8)
    assert FOTCE(SOURCE, SOURCE_LABELS, solver=solver).score(TARGET, LABELS) == pytest.approx(expected, abs=1e-6)


def test_is_nce_where_every_row_is_coupled_with_its_like():
    """With clusters far apart the coupling tells the source's class from the target row, as NCE does."""
    cluster = torch.arange(40) % 4
    labels = torch.tensor([0, 0, 1, 1])[cluster]
    labels[:4] = 1 - labels[:4]
    features = 50 * torch.eye(4)[cluster]
    fotce = FOTCE(ModelOutputs(50 * torch.eye(4)[cluster]), cluster, solver=CloudSinkhorn(0.01)).score(
        ModelOutputs(features), labels
    )
    assert fotce == pytest.approx(NCE().score(ModelOutputs(features, features), labels), abs=1e-3)


def test_unlabelled_source_rows_are_left_out():
    padded = ModelOutputs(torch.cat([SOURCE.features, torch.full((3, 4), 100.0)]))
    labels = torch.cat([SOURCE_LABELS, torch.full((3,), -100)])
    expected = FOTCE(SOURCE, SOURCE_LABELS).score(TARGET, LABELS)
    assert FOTCE(padded, labels).score(TARGET, LABELS) == pytest.approx(expected)


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
