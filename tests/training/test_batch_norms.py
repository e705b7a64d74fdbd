import logging

import pytest
import tiny
import torch
from torch import nn
from transformers import (
    EfficientNetConfig,
    EfficientNetForImageClassification,
    MobileNetV1Config,
    MobileNetV1ForImageClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
)

from hf_ctkd.training import DistillationTrainer
from hf_ctkd.training.batch_norms import average_over_batches, drops_single_row

LABELS = {"num_labels": 3}
STUDENTS = {
    "MobileNetV1": lambda: MobileNetV1ForImageClassification(MobileNetV1Config(depth_multiplier=0.1, **LABELS)),
    "MobileNetV2": lambda: MobileNetV2ForImageClassification(
        MobileNetV2Config(depth_multiplier=0.1, finegrained_output=False, **LABELS)
    ),
    "EfficientNet": lambda: EfficientNetForImageClassification(
        EfficientNetConfig(width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128, **LABELS)
    ),
}


def _norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_evaluates_with_more_than_its_last_batch(name, config, caplog):
    student = STUDENTS[name]()
    assert max(norm.momentum for norm in _norms(student)) > 0.9, "transformers has mended it: take the module out"
    with caplog.at_level(logging.WARNING):
        trainer = DistillationTrainer(
            student, config(), train_dataset=tiny.image_rows(), processing_class=tiny.processor(32)
        )
    assert "evaluate with the last training batch alone" in caplog.text
    norm = _norms(trainer.student)[0].train()
    norm.running_mean.zero_()
    norm(torch.ones(4, norm.num_features, 2, 2))
    assert norm.running_mean.mean().item() == pytest.approx(0.1)


def test_others_are_left_as_they_are(caplog):
    model = nn.Sequential(
        nn.BatchNorm2d(2, momentum=0.01), nn.BatchNorm1d(2, momentum=None), nn.Linear(2, 2), nn.LayerNorm(2)
    )
    average_over_batches(model)
    assert [model[0].momentum, model[1].momentum] == [0.01, None] and caplog.text == ""
    fixed = nn.BatchNorm2d(2, momentum=0.99, track_running_stats=False)
    average_over_batches(fixed)
    assert fixed.momentum == 0.99 and caplog.text == ""


@pytest.mark.parametrize(("rows", "steps"), [(17, 2), (18, 3)])
def test_an_epoch_never_ends_with_a_single_row(make, config, caplog, rows, steps):
    with caplog.at_level(logging.WARNING):
        trainer = make(
            config(max_steps=-1, num_train_epochs=1, per_device_train_batch_size=8),
            model=STUDENTS["MobileNetV2"](),
            train_dataset=tiny.image_rows(18).select(range(rows)),
        )
    assert ("Each epoch leaves out one of its 17 rows" in caplog.text) == (rows == 17)
    trainer.train()
    assert trainer.state.global_step == steps
    assert not drops_single_row(trainer.student, 1, trainer.args), "there is no other batch"


def test_a_student_without_batch_norms_reads_every_row(make, config):
    args = config(per_device_train_batch_size=8)
    trainer = make(args, model=tiny.normless_student(), train_dataset=tiny.image_rows(17))
    assert not trainer.args.dataloader_drop_last
    with_norms = make(args, train_dataset=tiny.image_rows(17))
    assert with_norms.args.dataloader_drop_last and not args.dataloader_drop_last, "the user's own stay as they are"
