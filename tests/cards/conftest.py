"""Records of made-up students, and a folder as `save_pretrained` leaves it: only tests read these numbers."""

from pathlib import Path

import pytest
import tiny

from hf_ctkd.records import (
    Confidence,
    DistillationRecord,
    LossRecord,
    Proportion,
    RankedTeacher,
    Reliability,
    ReliabilityBin,
    StudentRecord,
    TaskRecord,
    TeacherCandidate,
    TeacherRanking,
    TeacherRecord,
    TransportMap,
)
from hf_ctkd.tasks import Classification

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def candidate(name: str, license: str | None = "apache-2.0", **facts) -> TeacherCandidate:
    return TeacherCandidate(**{"model_id": name, "revision": "0123456789abcdef" * 2, "license": license, **facts})


@pytest.fixture
def image_record() -> DistillationRecord:
    letters = tuple("abcdefgh")
    mass = tuple(
        tuple((0.09 if u == v else 0.28 / 72) if u < 8 else 0.0 for v in range(10)) for u in range(len(letters))
    )
    return DistillationRecord(
        task=TaskRecord(
            "me/digits",
            "1f2e3d",
            "image-classification",
            "image",
            "label",
            DIGITS,
            600,
            labelled_rows=50,
            eval_rows=300,
            majority_share=0.12,
            hub_dataset="me/digits",
            words=Classification().words("image"),
        ),
        student=StudentRecord(
            "ResNetForImageClassification", 78_000, "org/tiny-resnet", 4200.0, "cpu", batch_size=32, license="mit"
        ),
        teachers=(
            TeacherRecord(
                candidate("zoo/letters", "cc-by-nc-4.0", label_names=letters, parameters=1_200_000),
                0.39,
                900.0,
                probe_accuracy=Proportion(47, 50),
            ),
        ),
        loss=LossRecord("label_transport", {"epsilon": 0.1, "cost": "empirical"}, "@misc{lu2022,\n  title = {SCTD}\n}"),
        results={"accuracy": Confidence(0.915, 0.88, 0.945), "f1": Confidence(0.912, 0.875, 0.941)},
        baseline={"accuracy": Confidence(0.773, 0.72, 0.82), "f1": Confidence(0.905, 0.86, 0.93)},
        gain={"accuracy": Confidence(0.142, 0.1, 0.19), "f1": Confidence(0.007, -0.01, 0.02)},
        training={"seed": 0, "learning_rate": 1e-3, "num_train_epochs": 20},
        command="hf-ctkd distill \\\n  --teachers ranking.json",
        versions={"torch": "2.13.0", "hf_ctkd": "0.1.0"},
        transport_map=TransportMap("zoo/letters", letters, DIGITS, mass),
        reliability=Reliability(
            0.05, 0.3, (ReliabilityBin(0.5, 0.65, 40), ReliabilityBin(0.8, 0.85, 60), ReliabilityBin(0.98, 1.0, 200))
        ),
    )


@pytest.fixture
def text_record() -> DistillationRecord:
    return DistillationRecord(
        task=TaskRecord(
            "docstrings of scipy",
            "77aa",
            "text-classification",
            "text",
            "label",
            ("fft", "stats"),
            900,
            900,
            words=Classification().words("text"),
        ),
        student=StudentRecord("BertForSequenceClassification", 400_000),
        teachers=(),
        loss=LossRecord("SpectralLoss", {}, "Auty et al. 2024, reconstructed from the abstract"),
    )


@pytest.fixture
def ranking() -> TeacherRanking:
    teachers = [
        RankedTeacher(
            candidate(f"zoo/{name}", license, parameters=1_200_000 - 1000 * i),
            {
                "transport": -0.2 - 0.04 * i,
                "probe": 0.9 - 0.05 * i,
                "leep": -1.0 - 0.1 * i,
                "parameters": 1.2e6 - 1000.0 * i,
            },
            rows=50,
            seconds=1.5 + i,
        )
        for i, (name, license) in enumerate(
            [("letters", "cc-by-nc-4.0"), ("greek", "mit"), *((f"other-{k}", "mit") for k in range(10))]
        )
    ]
    teachers.append(RankedTeacher(candidate("closed/model", None), skipped="gated: ask its owner for access"))
    return TeacherRanking.of(
        teachers,
        "transport",
        controls=("parameters",),
        dataset={"name": "me/digits", "fingerprint": "1f2e3d"},
        settings={"seed": 0},
    )


@pytest.fixture
def pets_record() -> DistillationRecord:
    teacher = TeacherCandidate("zoo/letters", "ab12" * 10, license="mit", label_names=("a", "b"), parameters=9000)
    return DistillationRecord(
        task=TaskRecord(
            "me/pets",
            "1f2e",
            "image-classification",
            "image",
            "label",
            ("cat", "dog"),
            60,
            20,
            30,
            hub_dataset="me/pets",
            modality="image",
            auto_class="AutoModelForImageClassification",
            words=Classification().words("image"),
        ),
        student=StudentRecord("ResNetForImageClassification", parameters=6),
        teachers=(TeacherRecord(teacher),),
        loss=LossRecord("row_transport", {"epsilon": 0.1}, "after Lu et al. 2022"),
        results={"accuracy": Confidence(0.9, 0.8, 0.95), "f1": Confidence(0.88, 0.75, 0.94)},
    )


@pytest.fixture
def pets_ranking(pets_record) -> TeacherRanking:
    return TeacherRanking((RankedTeacher(pets_record.teachers[0].candidate, {"probe": 0.7}, rows=20),), "probe")


@pytest.fixture
def folder(tmp_path, pets_record, pets_ranking) -> Path:
    """Publishable, and full of what must stay at home."""
    folder = tmp_path / "student"
    (folder / "checkpoint-5").mkdir(parents=True)
    (folder / "runs").mkdir()
    student = tiny.image_student(2)
    student.config.id2label, student.config.label2id = {0: "cat", 1: "dog"}, {"cat": 0, "dog": 1}
    student.save_pretrained(folder)
    tiny.processor().save_pretrained(folder)
    for name in (
        "training_args.bin",
        "optimizer.pt",
        "loss.safetensors",
        "trainer_state.json",
        "modeling_custom.py",
        ".cache.json",
        "checkpoint-5/model.safetensors",
        "runs/events.out",
        "notes.txt",
        ".env",
    ):
        (folder / name).write_text("private")
    pets_record.save(folder / "distillation.json")
    pets_ranking.save(folder / "ranking.json")
    return folder
