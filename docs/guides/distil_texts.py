from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_ctkd import DistillationConfig, DistillationTrainer

student = "students/bert"  # or "google/bert_uncased_L-2_H-128_A-2"


def train(csv_file: str, folder: str, classes: int) -> DistillationTrainer:
    rows = load_dataset("csv", data_files=csv_file, split="train").train_test_split(test_size=0.3, seed=0)
    trainer = DistillationTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(
            student, num_labels=classes, ignore_mismatched_sizes=True
        ),
        args=DistillationConfig(folder, max_steps=400, save_strategy="no"),
        processing_class=AutoTokenizer.from_pretrained(student),
        teachers=["text-teachers/bert"],  # or ["sentence-transformers/all-MiniLM-L6-v2"]
        train_dataset=rows["train"],
        eval_dataset=rows["test"],
    )
    trainer.train()
    print(trainer.evaluate()["eval_accuracy"])
    return trainer


train("texts.csv", "text-student", classes=3)  # columns text and label
train("pairs.csv", "pair-student", classes=2)  # columns premise, hypothesis and label
