"""A saved student opens where others open models, and a ranking where others open tables."""

import datasets
import pytest
import tiny
from transformers import pipeline

from hf_ctkd import DistillationConfig, DistillationTrainer, TeacherRanking


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
