import pytest
import tiny_dense
from training_fixtures import config, image_teacher, text_teacher  # noqa: F401

from hf_ctkd.losses import InvertedProjectionLoss
from hf_ctkd.training import DistillationTrainer


@pytest.fixture
def make(config, image_teacher):  # noqa: F811
    """Trains a segmentation student unless told otherwise."""

    def trainer(args=None, **changes):
        settings = {
            "model": tiny_dense.mask_student(),
            "args": args or config(),
            "teachers": [image_teacher],
            "loss": InvertedProjectionLoss(layers=[(-1, -1)]),
            "train_dataset": tiny_dense.mask_rows(),
            "eval_dataset": tiny_dense.mask_rows(6, seed=5),
            "processing_class": tiny_dense.processor(),
        }
        return DistillationTrainer(**{**settings, **changes})

    return trainer


@pytest.fixture
def make_depth(make):
    def trainer(args=None, **changes):
        settings = {
            "model": tiny_dense.depth_student(),
            "train_dataset": tiny_dense.depth_rows(),
            "eval_dataset": tiny_dense.depth_rows(6, seed=5),
        }
        return make(args, **{**settings, **changes})

    return trainer
