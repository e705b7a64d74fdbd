import doctest

import numpy as np
import pytest
from transformers import EvalPrediction

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.tasks import pixel_metrics
from hf_ctkd.tasks.pixel_metrics import DepthMetrics, SegmentationMetrics


def test_examples_in_docstrings():
    assert doctest.testmod(pixel_metrics).failed == 0


def _segmentation(resamples=0, classes=4):
    return SegmentationMetrics(["mean_iou", "pixel_accuracy"], classes=classes, resamples=resamples, seed=0)


def test_segmentation_counts_as_written_out():
    generator = np.random.default_rng(0)
    predictions, references = generator.integers(0, 4, (2, 5, 6, 6))
    references[0, 0] = -100
    kept = references != -100
    found = _segmentation()(EvalPrediction(predictions, references))
    shares = [
        ((predictions == label) & (references == label))[kept].sum()
        / ((predictions == label) | (references == label))[kept].sum()
        for label in range(4)
    ]
    assert found["mean_iou"] == pytest.approx(np.mean(shares))
    assert found["pixel_accuracy"] == pytest.approx((predictions == references)[kept].mean())


def test_class_that_never_occurs_does_not_count():
    maps = np.zeros((2, 3, 3), np.int64)
    maps[0, 0] = 1
    assert _segmentation(classes=9)(EvalPrediction(maps, maps))["mean_iou"] == 1.0


def test_depth_counts_as_written_out():
    generator = np.random.default_rng(0)
    predictions, references = generator.uniform(1, 5, (2, 4, 6, 6))
    references[1, 2] = 0.0
    kept = references > 0
    found = DepthMetrics(["abs_rel", "rmse"], resamples=0, seed=0)(EvalPrediction(predictions, references))
    error = (predictions - references)[kept]
    assert found["abs_rel"] == pytest.approx(np.mean(np.abs(error) / references[kept]))
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))


def test_interval_holds_the_value_and_narrows_with_images():
    def width(count):
        generator = np.random.default_rng(1)
        references = generator.integers(0, 3, (count, 4, 4))
        # Images differ in how well they are met, from not at all to entirely.
        right = generator.uniform(size=(count, 4, 4)) < generator.uniform(size=(count, 1, 1))
        predictions = np.where(right, references, (references + 1) % 3)
        found = _segmentation(resamples=200)(EvalPrediction(predictions, references))
        assert found["mean_iou_low"] <= found["mean_iou"] <= found["mean_iou_high"]
        return found["pixel_accuracy_high"] - found["pixel_accuracy_low"]

    assert width(200) < width(10) / 2


def test_images_without_a_label_change_nothing():
    maps = np.array([[[0, 1], [1, 1]]])
    wrong = np.array([[[0, 1], [1, 0]]])
    empty = np.full_like(maps, -100)
    both = EvalPrediction(np.concatenate([wrong, wrong]), np.concatenate([maps, empty]))
    assert _segmentation(resamples=20)(both) == _segmentation(resamples=20)(EvalPrediction(wrong, maps))


def test_bad_input_is_named():
    with pytest.raises(InvalidArgumentError, match="`metrics` must be among abs_rel, rmse .* got 'accuracy'"):
        DepthMetrics(["accuracy"], resamples=0, seed=0)
    with pytest.raises(DatasetError, match="`eval_dataset` must have labelled pixels"):
        _segmentation()(EvalPrediction(np.zeros((1, 2, 2), np.int64), np.full((1, 2, 2), -100)))
