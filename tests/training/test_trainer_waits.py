"""A step of distillation makes the host wait for an accelerator as often as one of plain `Trainer`, and no more."""

from collections import Counter
from itertools import islice

import pytest
import tiny
from registry import LOSSES
from transformers import Trainer, TrainingArguments, default_data_collator
from waits import counted_waits

SETTINGS = {
    "max_steps": 3,
    "per_device_train_batch_size": 8,
    "use_cpu": True,
    "disable_tqdm": True,
    "logging_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
}
OF_OTHER_DATA = {"KLLoss", "WeightedSum", "RegressionProbeLoss"}
"""They need classes that teacher and student share, or numbers as labels."""
KEPT = [name for name in LOSSES if not LOSSES[name]().hidden and name not in OF_OTHER_DATA]
"""Losses whose teachers run once."""
# The transport is over at a step that the error decides where the tensors are on the CPU; tests of the loss run it on
# another device. For the others see `test_waits` of the losses.
BY_VALUE = {"CommitteeLoss, top 1", "RelationshipMatchingLoss", "LabelTransportLoss", "LabelTransportLoss, sharp"}


def waits_of_steps(trainer) -> Counter:
    """Those of all steps of a training after its first, in which the head is compared; loading of rows apart."""
    counts = []
    training_step, get_batch_samples = trainer.training_step, trainer.get_batch_samples

    def counted_step(*args):
        with counted_waits() as names:
            result = training_step(*args)
        counts.append(names)
        return result

    def counted_samples(iterator, count, device):
        drawn = list(islice(iterator, count))
        with counted_waits() as names:
            result = get_batch_samples(iter(drawn), count, device)
        if counts:
            counts[-1].update(names)
        return result

    trainer.training_step, trainer.get_batch_samples = counted_step, counted_samples
    trainer.train()
    assert len(counts) == 3
    return counts[1] + counts[2]


def test_plain_trainer_waits_for_nothing_in_these_parts_of_a_step(tmp_path):
    rows = tiny.image_rows()
    images = [image.convert("RGB") for image in rows["image"]]
    pixels = tiny.processor()(images, return_tensors="pt")["pixel_values"]
    inputs = [{"pixel_values": image, "labels": label} for image, label in zip(pixels, rows["label"], strict=True)]
    args = TrainingArguments(str(tmp_path), **SETTINGS)
    trainer = Trainer(tiny.image_student(), args, train_dataset=inputs, data_collator=default_data_collator)
    assert not waits_of_steps(trainer)


@pytest.mark.parametrize("name", [name for name in KEPT if name not in BY_VALUE])
def test_with_kept_outputs(make, config, image_teacher, name):
    assert not waits_of_steps(make(config(**SETTINGS), loss=LOSSES[name](), teachers=[image_teacher]))


@pytest.mark.parametrize("name", ["RowTransportLoss", "ProbeLoss", "CommitteeLoss"])
def test_with_teachers_that_run_at_every_step(make, config, image_teacher, name):
    args = config(cache_teacher_outputs=False, **SETTINGS)
    assert not waits_of_steps(make(args, loss=LOSSES[name](), teachers=[image_teacher]))


def test_with_labels_alone(make, config):
    assert not waits_of_steps(make(config(**SETTINGS)))


def test_a_committee_that_selects_rows_is_seen_to_wait(make, config, image_teacher):
    loss = LOSSES["CommitteeLoss, top 1"]()
    assert waits_of_steps(make(config(**SETTINGS), loss=loss, teachers=[image_teacher]))
