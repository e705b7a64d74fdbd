from contextlib import nullcontext

import pytest
import tiny
import torch

from hf_ctkd.errors import InvalidArgumentError, NoTeacherLeftError, TeacherUnavailableError
from hf_ctkd.losses import BSSLoss, ProbeLoss
from hf_ctkd.teachers import LoadOptions, Teacher
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.training import DistillationTrainer
from hf_ctkd.training.teacher_runner import TeacherRunner, load_teachers
from hf_ctkd.types import Needs


class HalfAsked(BSSLoss):
    """Asks the first teacher about rows whose first feature is large, the second about none."""

    needs = Needs.TEACHER | Needs.FEATURES

    def select(self, student):
        features = student.features[:, 0]
        return torch.stack([features > features.median(), torch.zeros_like(features, dtype=torch.bool)], dim=1)

    def forward(self, student, teachers, labels):
        asked = self.select(student)
        assert [len(one) for one in teachers] == asked.sum(0).tolist()
        gap = student.features[asked[:, 0]].mean(1) - teachers[0].features.mean(1)
        return {"gap": gap.square().sum() / len(labels)}


@pytest.fixture
def make(config, image_teacher, tmp_path):
    other = str(tiny.save_image_teacher(tmp_path / "other", seed=8, classes=7, size=8))

    def trainer(loss=None, **changes):
        return DistillationTrainer(
            tiny.image_student(),
            config(**changes),
            teachers=[image_teacher, other],
            loss=loss or HalfAsked(),
            train_dataset=tiny.image_rows(),
            processing_class=tiny.processor(),
        )

    return trainer


def batch_of(trainer):
    return trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


@pytest.mark.parametrize("kept", [True, False])
def test_outputs_are_those_of_the_chosen_rows(make, kept):
    trainer = make(cache_teacher_outputs=kept)
    batch = batch_of(trainer)
    everything = trainer.teacher_runner.outputs(batch)
    chosen = torch.tensor([[row % 3 == 0, False] for row in range(8)])
    some = trainer.teacher_runner.outputs(batch, chosen)
    torch.testing.assert_close(some[0].features, everything[0].features[[0, 3, 6]])
    torch.testing.assert_close(some[0].logits, everything[0].logits[[0, 3, 6]])
    assert some[1].features.shape == (0, everything[1].features.shape[1]) and some[1].logits.shape == (0, 7)
    assert trainer.teacher_runner.passes.offered == 32 and trainer.teacher_runner.passes.read == 16 + 3


def test_teachers_run_on_the_chosen_rows_alone_and_the_passes_are_logged(make, passes):
    trainer = make(cache_teacher_outputs=False, max_steps=3)
    passes.clear()
    trainer.train()
    assert {name for name, _ in passes} == {"squares"}, "a teacher that nobody asked has run"
    last = [log for log in trainer.state.log_history if "teacher_passes" in log][-1]
    assert last["teacher_passes"] == sum(rows for _, rows in passes)
    assert last["teacher_passes"] + last["teacher_passes_skipped"] == 3 * 8 * 2
    share = last["teacher_passes_skipped"] / 48
    assert trainer.record().training["teacher_passes_skipped"] == pytest.approx(share, abs=1e-3)


def test_kept_and_running_teachers_train_the_same_student(make):
    losses = []
    for kept in (True, False):
        trainer = make(cache_teacher_outputs=kept, max_steps=3)
        trainer.train()
        losses.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_batch_that_does_not_fit_beside_the_student_runs_in_parts(make, monkeypatch, caplog):
    plain = Teacher.outputs
    sizes, losses = [], []

    def small_memory(self, batch, *arguments, **settings):
        sizes.append(len(batch["pixel_values"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return plain(self, batch, *arguments, **settings)

    for small in (False, True):
        trainer = make(ProbeLoss(), cache_teacher_outputs=False, max_steps=2)
        if small:
            monkeypatch.setattr(Teacher, "outputs", small_memory)
        trainer.train()
        losses.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert sizes == [8, 4, 2, 2, 2, 2] * 2 + [2] * 8  # two teachers, two steps
    (first, _) = [message for message in caplog.messages if "fit" in message]
    assert first == "8 rows do not fit the memory of cpu: squares runs 2 rows at a time from now on."


def test_a_row_that_does_not_fit_beside_the_student_names_the_teacher(make, monkeypatch):
    trainer = make(ProbeLoss(), cache_teacher_outputs=False)

    def no_memory(self, batch, *arguments, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Teacher, "outputs", no_memory)
    with pytest.raises(
        TeacherUnavailableError, match="^Teacher 'squares': a single row does not fit the memory of cpu."
    ):
        trainer.train()


def test_a_loss_that_reads_all_logs_no_skipped_pass(make):
    trainer = make(ProbeLoss(), max_steps=1)
    trainer.train()
    assert "teacher_passes_skipped" not in trainer.state.log_history[0]
    assert "teacher_passes_skipped" not in trainer.record().training


@pytest.mark.parametrize("kept", [True, False])
def test_one_resident_teacher_gives_the_same_outputs(make, kept, monkeypatch):
    places = []
    plain = Teacher.move

    def noted(self, device):
        places.append((self.candidate.name, torch.device(device).type))
        return plain(self, device)

    monkeypatch.setattr(Teacher, "move", noted)
    everything = make(cache_teacher_outputs=kept)
    assert not places
    one = make(cache_teacher_outputs=kept, resident_teachers=1)
    assert [name for name, _ in places if name == "other"], "nobody moved"
    batch = batch_of(one)
    for found, expected in zip(
        one.teacher_runner.outputs(batch), everything.teacher_runner.outputs(batch), strict=True
    ):
        torch.testing.assert_close(found.features, expected.features)
    one.train()
    assert one.record().teachers[1].rows_per_second > 0


def test_teachers_that_are_loaded_already_come_to_the_device(image_teacher):
    loaded = load_teachers([image_teacher], "image", torch.device("cpu"), LoadOptions())
    moved = load_teachers(loaded, "image", torch.device("meta"), LoadOptions())
    assert moved[0] is loaded[0] and moved[0].device.type == "meta"


@pytest.mark.parametrize("chosen", [None, torch.tensor([[True], [False]]), torch.zeros(2, 1, dtype=torch.bool)])
def test_outputs_are_on_the_device_of_the_batch_wherever_teachers_are(image_teacher, chosen, monkeypatch):
    teachers = load_teachers([image_teacher], "image", torch.device("cpu"), LoadOptions())
    view = teachers[0].collate(tiny.image_rows(2)["image"][:])
    teacher_runner = TeacherRunner(teachers, samples=(teachers[0].outputs(view),))
    # There is no autocast for the one other device that every machine has.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    (found,) = teacher_runner.outputs({"numbers": torch.arange(2, device="meta"), "teacher_inputs": [view]}, chosen)
    assert found.features.device.type == found.logits.device.type == "meta"
    assert len(found) == (2 if chosen is None else int(chosen.sum()))


def test_number_of_resident_teachers_is_checked(config):
    with pytest.raises(InvalidArgumentError, match="`resident_teachers` must be between 1 and .* got 0"):
        config(resident_teachers=0)


def test_inputs_that_are_missing_are_refused(make):
    trainer = make(cache_teacher_outputs=False)
    with pytest.raises(InvalidArgumentError, match="must hold inputs for each of 2 teachers, got 0"):
        trainer.teacher_runner.outputs({"numbers": torch.arange(2), "teacher_inputs": []})


def test_a_name_that_holds_several_models_is_refused(image_teacher, tmp_path):
    for name in ("one", "two"):
        tiny.save_image_teacher(tmp_path / "zoo" / name)
    with pytest.raises(NoTeacherLeftError, match="holds 2 models. Name one of them"):
        load_teachers([str(tmp_path / "zoo")], "image", torch.device("cpu"), LoadOptions())


@pytest.mark.parametrize("kept", [True, False])
def test_fewer_layers_are_read_where_the_user_says_so(make, kept):
    def layers(**changes):
        trainer = make(ProbeLoss(), cache_teacher_outputs=kept, **changes)
        outputs = trainer._context.teachers if kept else trainer.teacher_runner.outputs(batch_of(trainer))
        return [output.select(torch.arange(4)).layers for output in outputs]

    usual, single = layers(), layers(teacher_layers=1)
    assert all(len(of_teacher) > 1 for of_teacher in usual) and [len(of_teacher) for of_teacher in single] == [1, 1]
    if kept:
        torch.testing.assert_close([one[-1] for one in single], [one[-1] for one in usual])
    with pytest.raises(InvalidArgumentError, match="`teacher_layers` must be between 1 and"):
        layers(teacher_layers=0)


def test_as_many_layers_are_read_as_by_compute_outputs(config):
    assert config().teacher_layers == MOST_LAYERS


def test_outputs_over_the_limit_name_what_takes_less(make):
    fewer = "use fewer rows, keep fewer layers by `teacher_layers=1`, or store half as much"
    with pytest.raises(InvalidArgumentError, match=fewer):
        make(ProbeLoss(), max_cache_bytes=10)
    with pytest.raises(InvalidArgumentError, match="use fewer rows, or store half as much"):
        make(ProbeLoss(), max_cache_bytes=10, teacher_layers=1)
