import numpy as np
import pytest
import tiny_dense
import torch
import torch.nn.functional as F
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from hf_ctkd.errors import DatasetError
from hf_ctkd.tasks import SemanticSegmentation, task_of
from hf_ctkd.types import LabelSpace

TASK = SemanticSegmentation(LabelSpace(tiny_dense.NAMES))


def test_class_ids_are_read_and_ignored_pixels_marked():
    read = TASK.read_pixels(np.array([[0, 2], [255, -100]]), "Row 0 of `mask`")
    assert read.tolist() == [[0, 2], [-100, -100]]
    assert TASK.read_pixels(np.array([[True, False]]), "").tolist() == [[1, 0]]


def test_reduced_labels_count_from_one():
    reduced = task_of(tiny_dense.mask_student(), SegformerImageProcessorPil(do_reduce_labels=True))
    assert reduced.read_pixels(np.array([[0, 1, 3, 255]], np.uint8), "").tolist() == [[-100, 0, 2, -100]]
    with pytest.raises(DatasetError, match=r"class ids in \[1, 4\), or 255 or -100 for none, got 4"):
        reduced.read_pixels(np.array([[4]]), "Row 0 of `mask`")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 3]]), r"Row 2 of `mask` must hold class ids in \[0, 3\), or 255 or -100 for none, got 3"),
        (np.array([[0, -1]]), "got -1"),
        (np.array([[0.5]]), "must hold integer class ids, got float64"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(DatasetError, match=message):
        TASK.read_pixels(values, "Row 2 of `mask`")


def test_loss_is_a_sum_over_labelled_pixels_of_scores_resized_to_the_mask():
    scores = torch.randn(2, 3, 4, 4)
    labels = torch.randint(0, 3, (2, 8, 8))
    labels[0, :4] = -100
    resized = F.interpolate(scores, size=(8, 8), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(resized, labels, ignore_index=-100)
    assert int(TASK.count(labels)) == 96
    torch.testing.assert_close(TASK.loss_sum(scores, labels) / 96, expected)
    assert TASK.loss_sum(scores, torch.full((2, 8, 8), -100)) == 0.0


def test_training_and_evaluation(make, config):
    trainer = make(args=config(max_steps=60, logging_steps=20), train_dataset=tiny_dense.mask_rows(24, ignored=2))
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_mean_iou"] > 0.7
    assert metrics["eval_mean_iou_low"] <= metrics["eval_mean_iou"] <= metrics["eval_mean_iou_high"]
    prediction = trainer.predict(tiny_dense.mask_rows(6, seed=5))
    masks = np.stack([np.asarray(mask) for mask in tiny_dense.mask_rows(6, seed=5)["mask"]])
    assert prediction.predictions.shape == masks.shape and (prediction.label_ids == masks).all()
    assert (prediction.predictions == masks).mean() == pytest.approx(metrics["eval_pixel_accuracy"])
