"""The rule by which steps and learning rate are chosen, and that what the user gives stays."""

import dataclasses
import logging

import digit_rows
import pytest
import tiny
from datasets import ClassLabel
from transformers import ResNetForImageClassification

from hf_ctkd.training import DistillationTrainer
from hf_ctkd.training.schedule import Start, choose_epochs, choose_learning_rate, is_pretrained

HUNDRED_PICTURES = Start(rows=100, step_rows=8, classes=10, parameters=30_000, pretrained=False)
OPEN = {"max_steps": -1, "learning_rate": None}


def test_a_hundred_pictures_give_a_student_with_random_weights_a_thousand_steps():
    assert choose_epochs(HUNDRED_PICTURES) * 13 in range(1000, 1014)
    assert choose_learning_rate(HUNDRED_PICTURES) == 1e-3


def test_a_pretrained_student_needs_fewer_steps_and_smaller_ones_the_larger_it_is():
    pretrained = dataclasses.replace(HUNDRED_PICTURES, pretrained=True)
    assert choose_epochs(pretrained) * 13 in range(400, 414)
    sizes = [choose_learning_rate(dataclasses.replace(pretrained, parameters=size)) for size in (2e6, 22e6, 110e6, 7e9)]
    assert sizes == [4e-4, 2.5e-4, 5e-5, 1e-5]
    adapted = dataclasses.replace(pretrained, adapter=True, parameters=110e6)
    assert choose_learning_rate(adapted) == 5e-4


@pytest.mark.parametrize(("pretrained", "steps"), [(True, 2040), (False, 5100)])
def test_many_classes_take_more_steps(pretrained, steps):
    flowers = Start(rows=1020, step_rows=8, classes=102, parameters=10**7, pretrained=pretrained)
    assert steps <= choose_epochs(flowers) * 128 < steps + 128


def test_large_data_sets_are_seen_three_times():
    assert choose_epochs(dataclasses.replace(HUNDRED_PICTURES, rows=50_000)) == 3


@pytest.mark.parametrize(("rows", "epochs"), [(100, 31), (2974, 6), (4000, 6), (5000, 4), (7000, 3), (50_000, 3)])
def test_a_distilled_pretrained_student_is_given_more_epochs_while_they_are_few_steps(rows, epochs):
    start = dataclasses.replace(HUNDRED_PICTURES, rows=rows, pretrained=True, distils=True)
    assert choose_epochs(start) == epochs
    alone = choose_epochs(dataclasses.replace(start, distils=False))
    assert alone == max(3, -(-400 // -(-rows // 8)))


def test_weights_that_were_trained_are_told_from_random_ones(tmp_path):
    student = tiny.image_student()
    assert not is_pretrained(student)
    student.save_pretrained(tmp_path)
    assert not is_pretrained(ResNetForImageClassification.from_pretrained(tmp_path)), "random, whatever its name"
    student.resnet.embedder.embedder.normalization.weight.data[0] = 1.1
    assert is_pretrained(student)


def test_what_is_chosen_is_said_and_recorded(make, config, caplog):
    logging.getLogger("transformers").propagate = True
    try:
        with caplog.at_level("WARNING"):
            trainer = make(args=config(**OPEN), train_dataset=tiny.image_rows(24))
    finally:
        logging.getLogger("transformers").propagate = False
    assert trainer.args.num_train_epochs == 334 and trainer.args.learning_rate == 1e-3
    said = [record.message for record in caplog.records if "Chosen for" in record.message]
    assert len(said) == 1
    assert "24 rows, 3 outputs" in said[0] and "random weights: `num_train_epochs` 334 (1,002 steps) and" in said[0]
    assert trainer.record("run").training["chosen_by_default"] == "num_train_epochs, learning_rate"


@pytest.mark.parametrize(
    ("given", "epochs", "rate", "chosen"),
    [
        ({"max_steps": 5, "learning_rate": None}, 3, 1e-3, "learning_rate"),
        ({"num_train_epochs": 2, "max_steps": -1, "learning_rate": None}, 2, 1e-3, "learning_rate"),
        ({"max_steps": -1, "learning_rate": 5e-5}, 334, 5e-5, "num_train_epochs"),
        ({"num_train_epochs": 3.0, "max_steps": -1, "learning_rate": 5e-5}, 3, 5e-5, None),
    ],
)
def test_what_the_user_gives_stays_also_where_it_is_trainer_s_own_default(make, config, given, epochs, rate, chosen):
    args = config(**given)
    trainer = make(args=args)
    assert (trainer.args.num_train_epochs, trainer.args.learning_rate) == (epochs, rate)
    assert trainer.args.max_steps == given["max_steps"]
    assert trainer.record("run").training.get("chosen_by_default") == chosen
    assert args.learning_rate == given["learning_rate"], "the user's own arguments are not changed"


@pytest.mark.slow
def test_the_first_student_of_one_s_own_learns_with_every_default(config):
    train, test = digit_rows.splits(lambda digit: digit, ClassLabel(num_classes=10), 0)
    labelled = [row for row, label in enumerate(train["label"]) if label is not None]
    trainer = DistillationTrainer(
        digit_rows.model(10, widths=(16, 32), seed=0),
        config(**OPEN, logging_steps=500),
        train_dataset=train.select(labelled),
        eval_dataset=test,
        processing_class=tiny.processor(16),
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] > 0.75
