"""A user's program, checked by mypy from outside: the types of the public names are complete and meet its own."""

from pathlib import Path

import datasets
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_ctkd import (
    DistillationConfig,
    DistillationTrainer,
    RowTransportLoss,
    TeacherCandidate,
    TeacherRanking,
    TeacherSelector,
    evaluate_student,
    folder_teachers,
)
from hf_ctkd.deprecation import deprecated
from hf_ctkd.evaluation import Evaluation, predict
from hf_ctkd.records import Confidence


def rank(rows: datasets.Dataset, zoo: Path) -> TeacherRanking:
    ranking = TeacherSelector(metric="leep").rank(folder_teachers(zoo), rows)
    best: list[TeacherCandidate] = ranking.top(2)
    names: list[str] = [teacher.name for teacher in best]
    print(ranking.advice, names)
    return ranking


def distill(rows: datasets.Dataset, ranking: TeacherRanking, student: str, output: str) -> Evaluation:
    trainer = DistillationTrainer(
        model=AutoModelForImageClassification.from_pretrained(student),
        args=DistillationConfig(output, max_steps=10),
        processing_class=AutoImageProcessor.from_pretrained(student),
        teachers=ranking.top(1),
        loss=RowTransportLoss(epsilon=0.2),
        train_dataset=rows,
    )
    trainer.train()
    evaluation = evaluate_student(output, rows)
    accuracy: Confidence = evaluation.metrics["accuracy"]
    print(accuracy.value, predict(output, rows)["score"])
    return evaluation


@deprecated("twice", removal="9.0.0", instead="`2 * x`")
def twice(x: int) -> int:
    return 2 * x


number: int = twice(3)
