"""A saved student opens where others open models, and a ranking where others open tables."""

import datasets
import pytest
import tiny
from evaluate import evaluator
from transformers import AutoConfig, pipeline

from hf_ctkd import DistillationConfig, DistillationTrainer, TeacherRanking
from hf_ctkd.evaluation import EvaluationSettings, evaluate_student
from hf_ctkd.tasks import Accuracy


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder for each modality that the trainer wrote, with the rows."""
    students = {}
    for modality, model, processor, rows in (
        ("image", tiny.image_student(), tiny.processor(), tiny.image_rows(12)),
        ("text", tiny.text_model(), tiny.tokenizer(), tiny.text_rows(12)),
    ):
        folder = tmp_path_factory.mktemp(modality)
        trainer = DistillationTrainer(
            model=model,
            args=DistillationConfig(
                str(folder), max_steps=1, use_cpu=True, disable_tqdm=True, save_strategy="no", distillation_weight=0.0
            ),
            loss=None,
            train_dataset=rows,
            processing_class=processor,
        )
        trainer.train()
        trainer.save_model()
        students[modality] = folder, rows
    return students


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_pipeline_gives_the_names_of_the_data(saved, modality):
    folder, rows = saved[modality]
    opened = pipeline(f"{modality}-classification", str(folder), device="cpu", top_k=None)
    (answer,) = opened([rows[0][modality].convert("RGB") if modality == "image" else rows[0][modality]])
    assert {each["label"] for each in answer} == set(rows.features["label"].names)
    assert sum(each["score"] for each in answer) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_an_evaluator_opens_the_folder_and_agrees_with_the_evaluation(saved, modality):
    folder, rows = saved[modality]
    classes = AutoConfig.from_pretrained(folder).label2id
    measured = evaluator(f"{modality}-classification").compute(
        str(folder), rows, metric=Accuracy(), input_column=modality, label_mapping=classes
    )
    settings = EvaluationSettings(bootstrap_resamples=0)
    assert measured["accuracy"] == evaluate_student(folder, rows, settings=settings).metrics["accuracy"].value


def test_an_evaluator_takes_no_pipeline(saved):
    """`evaluate` 0.4.6 looks for a class of TensorFlow that transformers 5 no longer has; the documentation says so."""
    folder, rows = saved["text"]
    opened = pipeline("text-classification", str(folder), device="cpu")
    with pytest.raises(AttributeError, match="TFPreTrainedModel"):
        evaluator("text-classification").compute(opened, rows, metric=Accuracy())


def test_a_ranking_opens_in_pandas_and_datasets(tmp_path):
    ranking = _ranking(tmp_path)
    table = ranking.to_pandas()
    opened = datasets.Dataset.from_pandas(table)
    assert opened["teacher"][:] == [teacher.candidate.model_id for teacher in ranking.teachers]
    assert set(ranking.score_names) <= set(opened.column_names)


def _ranking(tmp_path) -> TeacherRanking:
    from hf_ctkd import TeacherSelector, folder_teachers

    tiny.save_image_teacher(tmp_path / "zoo" / "teacher")
    (tmp_path / "zoo" / "broken").mkdir()
    (tmp_path / "zoo" / "broken" / "config.json").write_text("{}")
    return TeacherSelector(cache_dir=tmp_path / "cache").rank(folder_teachers(tmp_path / "zoo"), tiny.image_rows(24))
