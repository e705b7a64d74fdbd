import digit_rows
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


@pytest.fixture(scope="session")
def digit_teacher(tmp_path_factory):
    return digit_rows.save_teacher(tmp_path_factory.mktemp("teachers") / "digits")


@pytest.fixture
def make_digits(config, digit_teacher):
    """A trainer of a small student of digits whose first rows alone have a label, with a related teacher or without."""

    def trainer(label_of, feature, problem_type, outputs, seed, distils, **changes):
        train, test = digit_rows.splits(label_of, feature, seed)
        settings = {
            "model": digit_rows.model(outputs, widths=(8, 16), seed=seed, problem_type=problem_type),
            "args": config(
                max_steps=80, per_device_train_batch_size=32, per_device_eval_batch_size=200, logging_steps=80,
                seed=seed, cache_student_inputs=True,
            ),
            "teachers": [digit_teacher] if distils else None,
            "train_dataset": train,
            "eval_dataset": test,
            "processing_class": tiny_dense.processor(8),
        }  # fmt: skip
        return DistillationTrainer(**{**settings, **changes})

    return trainer
