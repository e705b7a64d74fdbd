"""Nothing that was there is lost when a student cannot be written."""

import errno

import pytest
import tiny
from transformers import AutoModelForImageClassification

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
