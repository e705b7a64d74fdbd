"""Rows of two texts, from the columns to the record."""

import tiny
import torch
from datasets import Dataset

from hf_ctkd.training import DistillationTrainer


def pair_rows(count: int = 24) -> Dataset:
    """Whether the second text repeats the colour of the first: no text alone tells."""
    first = [f"the {tiny.WORDS[row % 3]} apple {'very ' * (row // 6)}" for row in range(count)]
    second = [f"is {tiny.WORDS[(row + row // 3 % 2) % 3]}" for row in range(count)]
    return Dataset.from_dict({"premise": first, "hypothesis": second, "label": ["no", "yes"] * (count // 2)})


def test_a_student_of_text_pairs_reads_both_as_its_teacher_does(config, text_teacher):
    trainer = DistillationTrainer(
        model=tiny.text_model(2),
        args=config(),
        teachers=[text_teacher],
        train_dataset=pair_rows(),
        eval_dataset=pair_rows(12),
        processing_class=tiny.tokenizer(),
    )
    batch = trainer.data_collator([trainer.train_dataset[1]])
    text = tiny.tokenizer()("the green apple", "is green")["input_ids"]
    assert batch["student"]["input_ids"].tolist() == [text]
    trainer.train()
    assert set(trainer.evaluate()) >= {"eval_accuracy", "eval_loss"}
    record = trainer.record("run")
    assert (record.task.input_column, record.task.label_names) == ("premise, hypothesis", ("no", "yes"))
    assert 'tokenizer("A text.", "Another text.", truncation' in record.task.words.example
    assert trainer.student.config.id2label == {0: "no", 1: "yes"}
    unlabelled = pair_rows().remove_columns("label")
    assert trainer.predict(unlabelled).predictions.shape == (24, 2)


def test_cached_inputs_and_an_augmentation_of_pairs(config, text_teacher):
    settings = {"train_dataset": pair_rows(), "processing_class": tiny.tokenizer(), "teachers": [text_teacher]}
    cached = DistillationTrainer(
        model=tiny.text_model(2),
        args=config(cache_student_inputs=True, input_column=["hypothesis", "premise"]),
        **settings,
    )
    row = cached.train_dataset[1]
    used = row.inputs["input_ids"][row.inputs["attention_mask"].bool()]
    assert torch.equal(used, torch.tensor(tiny.tokenizer()("is green", "the green apple")["input_ids"]))
    cached.train()
    seen = []

    def swapped(pair: tuple[str, str]) -> tuple[str, str]:
        seen.append(pair)
        return pair[1], pair[0]

    DistillationTrainer(model=tiny.text_model(2), args=config(max_steps=1), augmentation=swapped, **settings).train()
    assert len(seen) >= 8 and all(first.startswith("the ") and second.startswith("is ") for first, second in seen)
