"""The record of a run says what happened in it, and nothing else."""

import pytest
import tiny
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import LabelTransportLoss, ProbeLoss, RowTransportLoss, SpectralLoss
from hf_ctkd.records import DistillationRecord


def test_a_loss_of_weight_0_taught_nothing(make, config, image_teacher):
    rows = tiny.image_rows(24, unlabelled=8)
    trainer = make(args=config(distillation_weight=0.0), teachers=[image_teacher], train_dataset=rows)
    record = trainer.record()
    assert record.labels_only and record.teachers == () and record.transport_map is None
    assert len(trainer.train_dataset) == record.task.train_rows == 16


def test_the_map_is_that_of_the_loss(make, image_teacher):
    for loss in (RowTransportLoss(), LabelTransportLoss()):
        trainer = make(loss=loss, teachers=[image_teacher])
        record = trainer.record()
        expected = trainer.loss.transport_map(trainer._context)
        torch.testing.assert_close(torch.tensor(record.transport_map.mass).double(), expected, atol=1e-7, rtol=0)
        assert record.transport_map.meaning == loss.transport_meaning
        assert record.loss.weight_meaning == loss.weight_meaning
    assert make(loss=ProbeLoss(), teachers=[image_teacher]).record().transport_map is None


def test_what_probes_read_from_a_teacher_is_recorded_where_the_loss_has_probes(make, image_teacher):
    rows = tiny.image_rows(24, unlabelled=6)
    trainer = make(loss=ProbeLoss(), teachers=[image_teacher], train_dataset=rows)
    (recorded,) = trainer.record().teachers
    assert recorded.probe_accuracy == trainer.loss.probe_accuracies()[0]
    assert recorded.probe_accuracy.rows == 18
    (recorded,) = make(loss=SpectralLoss(), teachers=[image_teacher], train_dataset=rows).record().teachers
    assert recorded.probe_accuracy is None


def test_evaluation_rows_that_are_trained_on_are_counted(make):
    train, other = tiny.image_rows(24, seed=1), tiny.image_rows(6, seed=2)
    assert make(train_dataset=train, eval_dataset=other).record().task.eval_rows_in_training == 0
    sets = {"a": other, "b": train.select(range(4))}
    assert make(train_dataset=train, eval_dataset=sets).record().task.eval_rows_in_training == 4
    assert make(train_dataset=train, eval_dataset=None).record().task.eval_rows_in_training is None


def test_how_others_open_the_student_is_recorded(make):
    task = make().record().task
    assert (task.modality, task.auto_class) == ("image", "AutoModelForImageClassification")


def test_the_card_is_written_from_the_records_in_memory(make):
    trainer = make()
    with pytest.raises(InvalidArgumentError, match="`saved_records` are written with the student. Call `save_model`"):
        _ = trainer.saved_records
    trainer.save_model()
    record, ranking = trainer.saved_records
    assert record == DistillationRecord.load(trainer.folder / "distillation.json") and ranking is None
