import logging
import math

import pytest
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
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


def test_of_wide_layers_the_largest_axes_are_read_which_hardly_moves_the_gain():
    labels = torch.arange(700) % 7
    generator = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(7, 600, generator=generator)[labels] + torch.randn(700, 600, generator=generator)
    outputs = ModelOutputs(points * torch.arange(1, 601).float().rsqrt())
    gains = {axes: InformationGain(max_axes=axes).score(outputs, labels) for axes in (600, 512, 100)}
    assert InformationGain().score(outputs, labels) == gains[512] != gains[600]
    assert gains[512] == pytest.approx(gains[600], abs=5e-3) and 0.2 < gains[600] < 0.9
    assert abs(gains[100] - gains[600]) > 0.01


def test_a_class_with_one_row_is_named():
    with pytest.raises(DatasetError, match="single labelled row"):
        InformationGain().score(ModelOutputs(torch.randn(3, 2)), torch.tensor([0, 0, 1]))


def _many_classes(noise, classes=300, rows=900, width=16):
    """Rows of many classes, as a teacher with so much noise sees them."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    centres = torch.randn(classes, width, generator=generator)
    return ModelOutputs(centres[labels] + noise * torch.randn(rows, width, generator=generator)), labels


def test_a_large_problem_is_scored_on_the_same_classes_for_every_teacher_in_the_same_order(caplog):
    part, whole = InformationGain(max_size=1e5), InformationGain(max_size=math.inf)
    scores = []
    with caplog.at_level(logging.INFO, logger="hf_ctkd.metrics.information_gain"):
        for noise in (0.2, 0.5, 1.0, 2.0):
            outputs, labels = _many_classes(noise)
            scores.append((part.score(outputs, labels), whole.score(outputs, labels)))
    of_part, of_whole = zip(*scores, strict=True)
    assert list(of_part) == sorted(of_part, reverse=True) and list(of_whole) == sorted(of_whole, reverse=True)
    messages = {record.getMessage() for record in caplog.records}
    assert len(messages) == 1 and "on 256 of 300 classes (768 of 900 labelled rows)" in messages.pop()


def test_no_class_is_left_out_of_a_problem_of_few_classes_or_small_size():
    outputs, labels = _many_classes(0.5, classes=256, rows=512)
    assert InformationGain(max_size=1.0).score(outputs, labels) == InformationGain().score(outputs, labels)
    outputs, labels = _many_classes(0.5)
    assert InformationGain().score(outputs, labels) == InformationGain(max_size=math.inf).score(outputs, labels)
    few_axes = InformationGain(max_size=900 * 4 * 300.0, max_axes=4)
    assert few_axes.score(outputs, labels) == InformationGain(max_size=math.inf, max_axes=4).score(outputs, labels), (
        "the size counts the axes that are read"
    )


def test_a_size_that_is_not_positive_is_named():
    with pytest.raises(InvalidArgumentError, match=r"`max_size` must be positive, got 0\.0"):
        InformationGain(max_size=0.0)
    with pytest.raises(InvalidArgumentError, match="`max_axes` must be at least 1, got 0"):
        InformationGain(max_axes=0)
