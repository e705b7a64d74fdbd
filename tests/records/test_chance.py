import math

import pytest
import torch

from hf_ctkd.metrics import LEEP, NCE, InformationGain, NearestNeighbour
from hf_ctkd.records import chance_level
from hf_ctkd.types import ModelOutputs

ROWS = {"cat": 400, "dog": 200, "cow": 200}


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    # Of 800 rows the nearest neighbour's standard deviation is 0.02; the others are biased by a few free parameters.
    [(InformationGain(), 0.05), (NearestNeighbour(), 0.05), (LEEP(), 0.02), (NCE(), 0.02)],
)
def test_outputs_that_know_nothing_of_the_labels_score_at_chance(metric, tolerance):
    labels = torch.arange(3).repeat_interleave(torch.tensor(list(ROWS.values())))
    generator = torch.Generator().manual_seed(0)
    outputs = ModelOutputs(
        torch.randn(800, 4, generator=generator, dtype=torch.float64), torch.randn(800, 3, generator=generator)
    )
    assert metric.score(outputs, labels) == pytest.approx(chance_level(metric.name, ROWS), abs=tolerance)


def test_levels():
    assert chance_level("nearest_neighbour", {"cat": 5, "dog": 5, "cow": 0}) == 0.5
    assert chance_level("leep", {"cat": 5, "dog": 5}) == pytest.approx(-math.log(2))
    assert chance_level("transport_empirical", ROWS) is None
    assert chance_level("information_gain", {}) is None
