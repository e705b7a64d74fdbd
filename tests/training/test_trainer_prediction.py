import datasets
import numpy as np
import pytest
import tiny
from datasets import Dataset

from hf_ctkd.errors import DatasetError
from hf_ctkd.training import DistillationTrainer


@pytest.fixture
def make(config):
    def trainer(**changes):
        return DistillationTrainer(
            tiny.text_model(),
            config(**changes),
            train_dataset=tiny.text_rows(),
            processing_class=tiny.tokenizer(),
        )

    return trainer


def _labelled(dataset: Dataset, labels: list) -> Dataset:
    return Dataset.from_dict({"text": dataset["text"][:], "label": labels})


def test_rows_without_labels_are_predicted_and_give_no_metrics(make):
    trainer, rows = make(), tiny.text_rows(10)
    known = trainer.predict(rows)
    assert "test_accuracy" in known.metrics and known.label_ids is not None
    metrics_asked_for = trainer.compute_metrics
    for unlabelled in (rows.remove_columns("label"), *(_labelled(rows, [missing] * 10) for missing in (-1, None))):
        found = trainer.predict(unlabelled)
        np.testing.assert_array_equal(found.predictions, known.predictions)
        assert found.label_ids is None
        assert not [name for name in found.metrics if name.startswith("test_accuracy")]
    assert trainer.compute_metrics is metrics_asked_for


def test_metrics_are_of_the_rows_with_a_label(make):
    trainer, rows = make(), tiny.text_rows(10)
    right = trainer.predict(rows).predictions.argmax(axis=1)
    found = trainer.predict(_labelled(rows, [-1, *right[1:5].tolist(), *[None] * 5]))
    assert found.predictions.shape == (10, 2)
    assert found.metrics["test_accuracy"] == 1.0


def test_no_row_is_left_out_of_a_prediction(make):
    rows = _labelled(tiny.text_rows(10), [0, 1] * 5)
    bad = rows.map(lambda row, number: {"text": " " if number == 3 else row["text"]}, with_indices=True)
    with pytest.raises(DatasetError, match="Row 3 of `text` is empty.*out, except of predictions"):
        make(skip_bad_rows=True).predict(bad)


def test_an_image_that_cannot_be_predicted_is_named(config):
    trainer = DistillationTrainer(
        tiny.image_student(),
        config(skip_bad_rows=True),
        train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(),
    )
    stored = tiny.image_rows(6).cast_column("image", datasets.Image(decode=False))["image"][:]
    stored[4] = {"bytes": b"no image", "path": None}
    rows = Dataset.from_dict({"image": stored}, features=datasets.Features({"image": datasets.Image()}))
    with pytest.raises(DatasetError, match="Row 4 of `image` holds no image that can be decoded"):
        trainer.predict(rows)


def test_rows_labelled_with_other_classes_are_refused(make):
    rows = tiny.text_rows(6).cast_column("label", datasets.ClassLabel(names=["plant", "fruit"]))
    with pytest.raises(DatasetError, match="`test_dataset` must name its classes as `train_dataset` does"):
        make().predict(rows)
    with pytest.raises(DatasetError, match="Row 2 of `label` must be one of the 2 classes "):
        make().predict(_labelled(rows, [0, 1, 2] * 2))


def test_an_evaluation_still_needs_labels(make):
    with pytest.raises(DatasetError, match="must have labelled rows, but every label is missing"):
        make().evaluate(_labelled(tiny.text_rows(10), [-1] * 10))
