import dataclasses

import pytest
import torch
from tiny_models import image_processor, tiny_bert, tiny_resnet, word_tokenizer

from hf_ctkd.data import InputFeatureReader, Preprocessor, TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.metrics import InformationGain
from hf_ctkd.selection import TeacherSelector
from hf_ctkd.teachers import Teacher


@pytest.fixture
def selector(tmp_path):
    return TeacherSelector(cache_dir=tmp_path / "cache", progress=False)


def information_gain(rows, features_of) -> float:
    labelled = TargetRows.of(rows)
    labelled = labelled.select(labelled.labelled.tolist())
    return InformationGain().score(features_of(labelled), labelled.labels)


def test_a_student_is_scored_like_a_teacher(selector, zoo, rows):
    named = [str(zoo / "second"), zoo / "second", next(folder_teachers(zoo / "second"))]
    for student in named:
        ranking = dataclasses.replace(selector, student=student).rank([zoo / "first", zoo / "second"], rows)
        (as_teacher,) = [teacher for teacher in ranking.scored if teacher.candidate.name == "second"]
        metrics = set(as_teacher.scores) - {"parameters", "random"}
        assert ranking.baseline.scores == {name: as_teacher.scores[name] for name in metrics}
        assert ranking.baseline.student == as_teacher.candidate
        assert as_teacher not in ranking.above_baseline
    committee = dataclasses.replace(selector, student=zoo / "second").select_committee(zoo / "first", rows, 1)
    assert committee.ranking.baseline == ranking.baseline


def test_without_a_student_the_input_features_are_the_line(selector, zoo, rows, monkeypatch):
    baseline = selector.rank(zoo / "first", rows).baseline
    assert baseline.student is None and set(baseline.scores) == {"information_gain"}
    expected = information_gain(rows, InputFeatureReader.without_model)
    assert baseline.scores["information_gain"] == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(InputFeatureReader, "without_model", None)  # nothing is read again
    assert selector.rank(zoo / "first", rows).baseline == baseline


def test_a_loaded_student_keeps_its_modes(selector, zoo, rows):
    student = tiny_resnet(7, seed=2).train()
    student.classifier.eval()
    student.config.name_or_path = "org/second"
    given = dataclasses.replace(selector, student=student, processing_class=image_processor())
    ranking = given.rank(zoo / "second", rows)
    assert ranking.baseline.student.name == "org/second"
    gain = ranking.scored[0].scores["information_gain"]
    assert ranking.baseline.scores["information_gain"] == pytest.approx(gain, abs=1e-6)
    assert student.training and not student.classifier.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_rows_that_a_student_has_no_finite_outputs_for_are_left_out_as_of_a_teacher(selector, zoo, rows, monkeypatch):
    plain = Teacher.outputs

    def outputs(self, batch, *arguments, **options):
        result = plain(self, batch, *arguments, **options)
        result.features[batch["pixel_values"].flatten(1).mean(dim=1).topk(1).indices] = torch.nan
        return result

    monkeypatch.setattr(Teacher, "outputs", outputs)  # the brightest row of each batch
    loaded = tiny_resnet(7, seed=2)
    loaded.config.name_or_path = "org/second"
    for student in (loaded, zoo / "second"):
        scored = dataclasses.replace(selector, student=student, processing_class=image_processor())
        ranking = scored.rank(zoo / "second", rows)
        (teacher,) = ranking.scored
        assert (ranking.baseline.rows, ranking.baseline.not_finite) == (teacher.rows, teacher.not_finite) == (53, 1)
        gain = teacher.scores["information_gain"]
        assert ranking.baseline.scores["information_gain"] == pytest.approx(gain, abs=1e-6)
        remark = "Its outputs are NaN or infinite for 1 of 54 rows, which were left out of its scores."
        assert f"\n{ranking.baseline.name}: {remark}\nsecond: {remark}" in str(ranking)


@pytest.mark.parametrize("loaded", [True, False])
def test_a_student_that_starts_from_nothing_has_its_input_features(selector, zoo, rows, loaded):
    student = tiny_resnet(3) if loaded else f"random:{zoo / 'first'}"
    processing_class = image_processor() if loaded else None
    ranking = dataclasses.replace(selector, student=student, processing_class=processing_class).rank(
        zoo / "first", rows
    )
    preprocessor = Preprocessor.of(image_processor(), "image", tiny_resnet(3).config)
    expected = information_gain(rows, lambda labelled: InputFeatureReader.of(preprocessor, labelled)[1])
    assert ranking.baseline.student is None
    assert ranking.baseline.scores["information_gain"] == pytest.approx(expected, abs=1e-6)


def test_input_features_have_no_score_by_other_metrics(selector, zoo, rows, caplog):
    other = dataclasses.replace(selector, metric="leep")
    assert other.rank(zoo / "first", rows).baseline is None
    assert dataclasses.replace(other, student=zoo / "first").rank(zoo / "first", rows).baseline.student.name == "first"
    nothing = dataclasses.replace(other, student=f"random:{zoo / 'first'}")
    assert nothing.rank(zoo / "first", rows).baseline is None
    assert "`student` starts from nothing, and leep does not score its input features" in caplog.text


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ("bad-nan", "bad-nan' cannot be scored: its weights are not finite"),
        ("bad-modality", "bad-modality' cannot be scored: takes input_ids, not image rows"),
        ("", "' cannot be scored: it holds 8 models. Name one of them"),
    ],
)
def test_a_student_that_cannot_be_scored_is_refused(selector, zoo, rows, student, message):
    with pytest.raises(InvalidArgumentError, match=f"`student` .*{message}"):
        dataclasses.replace(selector, student=zoo / student).rank(zoo / "first", rows)


def test_a_loaded_student_needs_its_preprocessing(selector, zoo, rows):
    with pytest.raises(InvalidArgumentError, match="`processing_class` must be that of the loaded `student`, got None"):
        dataclasses.replace(selector, student=tiny_resnet(3)).rank(zoo / "first", rows)
    with pytest.raises(InvalidArgumentError, match="`processing_class` must be an image processor for image rows"):
        dataclasses.replace(selector, student=tiny_bert(), processing_class=word_tokenizer()).rank(zoo / "first", rows)
