import numpy as np
import pytest
import tiny_dense
import torch
import torch.nn.functional as F
from datasets import Dataset, Features, Image
from PIL import Image as PILImage

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.tasks import DepthEstimation

TASK = DepthEstimation()


def test_depths_are_read_and_unknown_pixels_marked():
    values = np.array([[1.5, 0.0], [-3.0, np.nan], [np.inf, 2.0]], np.float32)
    assert TASK.read_pixels(values, "").tolist() == [[1.5, 0.0], [0.0, 0.0], [0.0, 2.0]]
    assert TASK.read_pixels(np.array([[3, 0]], np.uint16), "").dtype == np.float32


def test_wrong_values_are_named():
    with pytest.raises(DatasetError, match="Row 1 of `depth` must hold depths in metres, got bool"):
        TASK.read_pixels(np.array([[True]]), "Row 1 of `depth`")


def test_loss_is_a_sum_over_labelled_pixels_of_depths_resized_to_the_label():
    depths, labels = torch.rand(2, 4, 4) * 5, torch.rand(2, 8, 8) * 5 + 0.1
    labels[1, :, :4] = 0.0
    resized = F.interpolate(depths[:, None], size=(8, 8), mode="bilinear", align_corners=False)[:, 0]
    kept = labels > 0
    assert int(TASK.count(labels)) == int(kept.sum())
    torch.testing.assert_close(TASK.loss_sum(depths, labels), (resized - labels)[kept].abs().sum())


def test_training_and_evaluation(make_depth, config):
    trainer = make_depth(
        args=config(max_steps=25, logging_steps=25, learning_rate=5e-3), train_dataset=tiny_dense.depth_rows(24)
    )
    before = trainer.evaluate()["eval_rmse"]
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_rmse"] < 0.75 * before
    assert metrics["eval_abs_rel_low"] <= metrics["eval_abs_rel"] <= metrics["eval_abs_rel_high"]
    assert trainer.record().task.label_names == ()
    assert trainer.record().task.task == "depth-estimation"


def test_label_smoothing_is_refused(make_depth, config):
    with pytest.raises(InvalidArgumentError, match="`label_smoothing_factor` must be 0 for DepthEstimation, got 0.1"):
        make_depth(args=config(label_smoothing_factor=0.1))


def test_depths_may_be_images(make_depth):
    rows = tiny_dense.depth_rows(4)
    stored = [PILImage.fromarray(np.nan_to_num(np.array(depth, np.float32))) for depth in rows["depth"]]
    features = Features({"image": Image(), "depth": Image()})
    rows = Dataset.from_dict({"image": rows["image"], "depth": stored}, features=features)
    trainer = make_depth(train_dataset=rows, eval_dataset=None)
    labels = next(iter(trainer.get_train_dataloader()))["labels"]
    assert set(labels.unique().tolist()) == {0.0, 1.0, 2.0, 4.0}
