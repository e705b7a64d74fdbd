"""Training rows whose teacher outputs are NaN or infinite."""

import pytest
import tiny
import torch

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.losses import CommitteeLoss, ProbeLoss, ProjectionLoss, RowTransportLoss
from hf_ctkd.losses.base import DistillationLoss
from hf_ctkd.teachers import Teacher
from hf_ctkd.training.finite_rows import FiniteRows, OutputsOfRows, distilled
from hf_ctkd.training.labelled_rows import task_weight
from hf_ctkd.training.teacher_runner import candidate_named
from hf_ctkd.types import ModelOutputs, RowOutputs

BAD = (1, 4, 5, 13)


@pytest.fixture
def poison(monkeypatch, image_teacher):
    """Makes any teacher's outputs NaN for some rows of the training data."""

    def spoil(rows):
        loaded = Teacher.load(candidate_named(image_teacher), "image")
        contents = TargetRows.of(tiny.image_rows()).inputs(rows)
        bad = loaded.collate(contents)["pixel_values"]
        plain = Teacher.outputs

        def outputs(self, batch, *arguments, **settings):
            result = plain(self, batch, *arguments, **settings)
            same = (batch["pixel_values"][:, None] == bad).flatten(2).all(dim=2).any(dim=1)
            result.features[same] = torch.nan
            return result

        monkeypatch.setattr(Teacher, "outputs", outputs)

    return spoil


def batch_of(trainer, numbers):
    batch = trainer.data_collator([trainer.train_dataset[number] for number in numbers])
    return trainer._prepare_inputs(batch)


@pytest.mark.parametrize("kind", [RowTransportLoss, ProbeLoss])
def test_the_loss_is_set_up_and_trained_as_without_these_rows(make, image_teacher, poison, kind, caplog):
    good = [row for row in range(24) if row not in BAD]
    without = make(teachers=[image_teacher], loss=kind(), train_dataset=tiny.image_rows().select(good))
    poison(BAD)
    trainer = make(teachers=[image_teacher], loss=kind())
    (message,) = [message for message in caplog.messages if "NaN" in message]
    assert message == (
        "The outputs of squares are NaN or infinite for 4 of 24 training rows, which were left out of the distillation "
        "loss."
    )
    assert len(trainer.train_dataset) == 24
    torch.testing.assert_close(trainer.train_dataset.targets[good], without.train_dataset.targets)
    assert trainer.train_dataset.targets.isfinite().all()
    assert trainer._context.steps == make(teachers=[image_teacher], loss=kind())._context.steps

    trainer.student_with_loss.eval(), without.student_with_loss.eval()
    numbers = list(range(8))
    left = [good.index(number) for number in numbers if number in good]
    _, whole = trainer.compute_loss(trainer.model, batch_of(trainer, numbers), return_outputs=True)
    _, part = without.compute_loss(without.model, batch_of(without, left), return_outputs=True)
    torch.testing.assert_close(whole[kind.name], part[kind.name])
    # A mean over all rows, in which those left out have no weight; the task loss reads every row.
    torch.testing.assert_close(trainer._terms[kind.name], without._terms[kind.name] * 5 / 8)
    assert len(whole["logits"]) == 8 and part["task_loss"] != whole["task_loss"]
    weight = task_weight(trainer.loss, trainer._labelled_row_weight, torch.tensor([8, 8, 8]))
    torch.testing.assert_close(trainer._terms["task_loss"] / weight, whole["task_loss"])


@pytest.mark.parametrize(
    "kind", [RowTransportLoss, ProjectionLoss, CommitteeLoss, lambda: RowTransportLoss(input_features="student")],
    ids=["kept targets", "kept outputs", "selects rows", "untrained student"],
)  # fmt: skip
def test_every_loss_trains_on(make, config, image_teacher, poison, kind, tmp_path):
    poison(BAD)
    other = str(tiny.save_image_teacher(tmp_path / "other", seed=4))
    loss: DistillationLoss = kind()
    trainer = make(config(max_steps=3, per_device_train_batch_size=5), teachers=[image_teacher, other], loss=loss)
    trainer.train()
    assert all(value.isfinite().all() for value in trainer.student_with_loss.state_dict().values())
    assert all(log[loss.name] >= 0 for log in trainer.state.log_history if loss.name in log)
    if trainer._distils:
        assert any("NaN or infinite for 4 of 24" in remark for remark in trainer.record().loss.remarks)


def test_how_often_rows_are_read_is_that_of_the_rows_left(make, image_teacher, poison):
    poison(BAD)
    data = tiny.image_rows(24, unlabelled=20)
    trainer = make(loss=ProjectionLoss(), teachers=[image_teacher], train_dataset=data)
    read = [row.number for row in map(trainer.train_dataset.__getitem__, range(len(trainer.train_dataset)))]
    expected = [read.count(row) for row in range(24) if row not in BAD]
    assert trainer._context.times_read.tolist() == expected and max(expected) > 1


@pytest.mark.parametrize("kind", [RowTransportLoss, ProjectionLoss])
def test_a_batch_of_such_rows_alone_teaches_labels_alone(make, image_teacher, poison, kind):
    poison(BAD)
    trainer = make(teachers=[image_teacher], loss=kind())
    batch = batch_of(trainer, BAD)
    assert distilled(batch) == (None, 0.0)
    trainer.compute_loss(trainer.model, batch).backward()
    assert trainer._terms[kind.name] == 0 and trainer._terms["task_loss"] > 0
    gradients = [parameter.grad for parameter in trainer.student_with_loss.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("count", [13, 24])
def test_a_teacher_without_finite_outputs_for_most_rows_is_refused(make, image_teacher, poison, count):
    poison(range(count))
    message = rf"Teacher 'squares': its outputs are not finite for {count} of 24 rows, such as row 0; at most 50%"
    with pytest.raises(TeacherUnavailableError, match=message):
        make(teachers=[image_teacher])


@pytest.mark.parametrize("kind", [ProbeLoss, ProjectionLoss], ids=["fits on all rows", "sets up on a few"])
def test_a_teacher_that_runs_at_every_step_is_refused(make, config, image_teacher, poison, kind):
    poison(BAD)
    with pytest.raises(
        TeacherUnavailableError, match="^Teacher 'squares': its (features|outputs) are (not finite|NaN)"
    ):
        make(config(cache_teacher_outputs=False), teachers=[image_teacher], loss=kind())


def test_a_row_that_turns_bad_during_training_names_the_teacher(make, config, image_teacher, poison):
    trainer = make(config(cache_teacher_outputs=False), teachers=[image_teacher], loss=ProjectionLoss())
    poison(range(24))
    message = "^Teacher 'squares': its outputs are NaN or infinite for 8 of 8 rows. Such rows are left out only where"
    with pytest.raises(TeacherUnavailableError, match=message):
        trainer.train()


def test_rows_of_several_teachers():
    first, second = (ModelOutputs(torch.arange(5.0)[:, None].repeat(1, 2)) for _ in range(2))
    assert FiniteRows.of([first, second], ["one", "two"]).numbers is None is FiniteRows.of([], []).numbers
    first.features[0], second.features[3] = torch.nan, torch.nan
    finite = FiniteRows.of([first, second], ["one", "two"])
    assert finite.numbers.tolist() == [1, 2, 4] and len(finite.remarks) == 2
    assert [len(part) for part in finite.outputs([first, second])] == [3, 3]
    stand_ins = finite.with_stand_ins([first])[0]
    assert stand_ins.select(torch.arange(5)).features[:, 0].tolist() == [1, 1, 2, 2, 4]
    assert finite.targets(torch.tensor([[1.0], [2.0], [4.0]])).flatten().tolist() == [1, 1, 2, 2, 4]
    assert finite.in_batch(torch.tensor([4, 0, 2]))["distilled"].tolist() == [0, 2]
    assert finite.in_batch(torch.tensor([4, 2])) == {}
    with pytest.raises(TeacherUnavailableError, match="No training row has finite outputs of all teachers: one, two."):
        FiniteRows.of([first.select(torch.tensor([0, 1])), second.select(torch.tensor([0, 3]))], ["one", "two"])


def test_outputs_of_rows_are_read_as_they_are_selected():
    outputs = OutputsOfRows(ModelOutputs(torch.arange(6.0)[:, None]), torch.tensor([5, 0, 0, 3]))
    assert isinstance(outputs, RowOutputs) and len(outputs) == 4
    assert outputs.select(torch.tensor([True, False, False, True])).features.flatten().tolist() == [5, 3]
    parts = [(rows, part.features.flatten().tolist()) for rows, part in outputs.chunks(3)]
    assert parts == [(slice(0, 3), [5, 0, 0]), (slice(3, 4), [3])]
