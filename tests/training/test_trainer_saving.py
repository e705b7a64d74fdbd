"""Nothing that was there is lost when a student cannot be written."""

import errno
import tempfile
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForImageClassification
from transformers.trainer_utils import get_last_checkpoint

from hf_ctkd.cards import read_records
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import RankedTeacher, TeacherCandidate, TeacherRanking
from hf_ctkd.training import DistillationTrainer


@pytest.fixture
def plain(config):
    return DistillationTrainer(
        tiny.image_student(), config(), train_dataset=tiny.image_rows(), processing_class=tiny.processor()
    )


def test_disk_that_fills_up_leaves_the_student_that_was_there(plain, tmp_path, monkeypatch):
    plain.save_model()
    folder = tmp_path / "student"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def half_written(target, **settings):
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(plain.student, "save_pretrained", half_written)
    with pytest.raises(InvalidArgumentError, match="No space left on device.*files that were there are whole"):
        plain.save_model()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    AutoModelForImageClassification.from_pretrained(folder)


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error",
    [NO_SPACE, RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598\nat")],
    ids=["OSError", "RuntimeError of torch.save"],
)
def test_disk_that_fills_up_in_a_checkpoint_leaves_the_ones_before(config, tmp_path, monkeypatch, error):
    trainer = DistillationTrainer(
        tiny.image_student(),
        config(save_strategy="steps", save_steps=1),
        train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(),
    )
    write = torch.save

    def refuses(**settings):
        raise NO_SPACE

    def full(saved, place, *rest, **settings):
        if "checkpoint-2" in str(place):
            monkeypatch.setattr(tempfile, "TemporaryFile", refuses)
            raise error
        write(saved, place, *rest, **settings)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        InvalidArgumentError, match="Cannot write the checkpoint .*checkpoint-2: .*No space left on device.* has room.$"
    ):
        trainer.train()
    assert Path(get_last_checkpoint(tmp_path / "student")).name == "checkpoint-1"


def test_what_goes_wrong_elsewhere_in_a_checkpoint_keeps_its_name_and_leaves_no_part(config, tmp_path, monkeypatch):
    trainer = DistillationTrainer(
        tiny.image_student(),
        config(save_strategy="steps", save_steps=1),
        train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(),
    )

    def broken(*arguments, **settings):
        raise RuntimeError("the device is lost")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="the device is lost"):
        trainer.train()
    assert get_last_checkpoint(tmp_path / "student") is None


def test_folder_that_cannot_be_made_is_named(plain, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidArgumentError, match="Cannot write the student to .*file"):
        plain.save_model(str(tmp_path / "file" / "student"))


def test_saving_again_takes_the_place_of_what_was_there(plain, tmp_path):
    plain.save_model()
    first = (tmp_path / "student" / "model.safetensors").read_bytes()
    plain.train()
    plain.save_model()
    assert (tmp_path / "student" / "model.safetensors").read_bytes() != first
    assert not list((tmp_path / "student").glob(".saving-*"))


def test_ranking_of_an_earlier_student_is_not_taken_for_this_ones(plain, tmp_path):
    teachers = [RankedTeacher(TeacherCandidate("org/x", "1f"), {"logme": 1.0}, rows=3)]
    plain.ranking = ranking = TeacherRanking.of(teachers, "logme", dataset={}, settings={})
    plain.save_model()
    folder = tmp_path / "student"
    assert read_records(folder)[1] == ranking
    plain.ranking = None
    plain.create_model_card()
    assert read_records(folder)[1] is None
    assert "Among 1 candidates" not in (folder / "README.md").read_text()
    assert TeacherRanking.load(folder / "ranking.old.json") == ranking  # it may be all that is left of a long search
