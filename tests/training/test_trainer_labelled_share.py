"""How the task term and the distillation term weigh, whatever share of the rows has a label."""

from dataclasses import replace

import pytest
import tiny
import torch
import torch.nn.functional as F

from hf_ctkd.cards.card import labelled_rows_counted
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import BSSLoss, ProbeLoss, RelationshipMatchingLoss

ROWS = 300
SHARES = (1, 3, 10, 30, 100)


def rows(percent, count=ROWS):
    """Of every 100 rows so many with a label, spread over all."""
    dataset = tiny.image_rows(count)
    labelled = {number * 100 // percent for number in range(count * percent // 100)}
    labels = [label if row in labelled else -1 for row, label in enumerate(dataset["label"])]
    return dataset.remove_columns("label").add_column("label", labels, feature=dataset.features["label"])


class LabelTeacher(BSSLoss):
    """A loss without teachers that counts row by row with the task loss, whatever the share of labelled rows."""

    teaches_labels = True


def one_step(make, config, percent, loss=LabelTeacher, **settings):
    """Logits before the only step, and what was logged of it."""
    args = config(
        max_steps=1,
        per_device_train_batch_size=ROWS,
        learning_rate=0.0,
        train_sampling_strategy="sequential",
        **settings,
    )
    dataset = rows(percent)
    trainer = make(args=args, loss=loss(weight=1.0), model=tiny.normless_student(), train_dataset=dataset)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(len(dataset))])
    logits = trainer.student(**batch["student"]).logits
    trainer.train()
    return F.cross_entropy(logits.detach(), batch["labels"], reduction="sum"), trainer.state.log_history[0]


@pytest.mark.parametrize("percent", SHARES)
@pytest.mark.parametrize("weight", [1.0, 3.0, float("inf")])
def test_a_labelled_row_counts_as_often_as_said_at_every_share(make, config, percent, weight):
    total, log = one_step(make, config, percent, labelled_row_weight=weight)
    times = min(weight, 100 / percent)
    assert log["task_loss"] == pytest.approx(times * float(total) / ROWS, rel=1e-4)
    assert log["loss"] == pytest.approx(log["task_loss"] + log["bss"], rel=1e-4)


def test_beside_a_loss_of_features_the_task_loss_is_a_mean_over_labelled_rows(make, config):
    total, log = one_step(make, config, 10, loss=BSSLoss, labelled_share=0)
    assert log["task_loss"] == pytest.approx(float(total) / (ROWS / 10), rel=1e-4)


@pytest.mark.parametrize(
    ("percent", "share", "read"), [(10, 0.5, 540), (10, 0.25, 360), (30, 0.25, 300), (100, 0.5, 300)]
)
def test_beside_a_loss_of_features_labelled_rows_are_a_share_of_those_read(make, config, logged, percent, share, read):
    trainer = make(args=config(labelled_share=share), loss=BSSLoss(), train_dataset=rows(percent))
    dataset = trainer.train_dataset
    numbers = [row.number for row in map(dataset.__getitem__, range(len(dataset)))]
    labelled = sum(dataset.rows.labels[number] >= 0 for number in numbers)
    assert len(numbers) == read and set(numbers) == set(range(ROWS))
    assert labelled / read == pytest.approx(max(share, percent / 100))
    assert ("labelled rows are repeated: an epoch reads 540 rows, of which 300" in logged.text) == (read == 540)
    assert ("are repeated" in logged.text) == (read > ROWS)


def test_soft_labels_of_labelled_rows_count_alike_however_often_these_are_repeated(make, config, image_teacher):
    terms = []
    for share, read in ((0, 300), (0.25, 360), (0.5, 540)):  # each labelled row once, three and nine times
        trainer = make(
            args=config(labelled_share=share, max_steps=1, per_device_train_batch_size=read),
            loss=RelationshipMatchingLoss(embedding_share=0.0, unlabelled_rows="none"),
            model=tiny.normless_student(),
            train_dataset=rows(10),
            teachers=[image_teacher],
        )
        trainer.train()
        terms.append(trainer.state.log_history[0]["relationship_classifier"])
    assert terms[0] > 1e-3
    assert terms == pytest.approx([terms[0]] * 3, rel=1e-4)


def test_beside_a_loss_that_teaches_labels_every_row_is_read_once(make, logged):
    assert len(make(loss=LabelTeacher(weight=1.0), train_dataset=rows(10)).train_dataset) == ROWS
    assert "repeated" not in logged.text


def test_the_chosen_number_of_epochs_counts_repeated_rows(make, config):
    epochs = [
        make(
            args=config(labelled_share=share, max_steps=-1, num_train_epochs=None, per_device_train_batch_size=10),
            loss=BSSLoss(),
            train_dataset=rows(10),
        ).args.num_train_epochs
        for share in (0, 0.5)
    ]
    assert epochs == [34, 19]  # 1,000 steps of 300 and of 540 rows in batches of ten


def test_the_share_must_be_below_one(config):
    message = "`labelled_share` must be between 0 and 1, but not the latter, got 1.0"
    with pytest.raises(InvalidArgumentError, match=message):
        config(labelled_share=1.0)


def test_by_default_every_row_counts_once(make, config):
    total, log = one_step(make, config, 10)
    assert log["task_loss"] == pytest.approx(float(total) / ROWS, rel=1e-4)


def test_with_every_row_labelled_the_weight_changes_nothing(make, config):
    logs = [one_step(make, config, 100, labelled_row_weight=weight)[1] for weight in (0.5, 1.0, 7.0)]
    assert logs[1]["task_loss"] == logs[2]["task_loss"] == pytest.approx(2 * logs[0]["task_loss"])


def test_the_weight_of_the_distillation_term_does_not_depend_on_the_share(make, config):
    terms = [one_step(make, config, percent)[1]["bss"] for percent in SHARES]
    assert terms == pytest.approx([terms[0]] * len(SHARES), rel=1e-5)


def test_weight_must_be_positive(config):
    with pytest.raises(InvalidArgumentError, match="`labelled_row_weight` must be more than 0, got 0"):
        config(labelled_row_weight=0)


def test_without_a_loss_unlabelled_rows_are_left_out_and_that_is_said(make, logged):
    trainer = make(train_dataset=tiny.image_rows(24, unlabelled=12))
    assert len(trainer.train_dataset) == 12
    assert "There is no distillation loss: the student trains on its 12 labelled rows alone, of 24 rows." in logged.text


def test_nothing_is_said_where_all_rows_are_labelled(make, logged):
    assert len(make().train_dataset) == 24
    assert not logged.text


class Ignorant(ProbeLoss):
    """Whatever its teachers, it trusts none of them."""

    def strength(self):
        return 0.0


def test_a_loss_without_any_weight_leaves_the_student_as_it_is_without_one(make, config, image_teacher, logged):
    def settings(folder):
        return config(max_steps=6, output_dir=f"{config().output_dir}-{folder}")

    data = tiny.image_rows(24, unlabelled=12)
    taught = make(args=settings("a"), train_dataset=data, teachers=[image_teacher], loss=Ignorant())
    plain = make(args=settings("b"), train_dataset=data)
    assert "The teachers know nothing that probe can use: the student trains on its 12" in logged.text
    for trainer in (taught, plain):
        trainer.train()
    same = zip(taught.student.parameters(), plain.student.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)
    record = taught.record()
    assert record.labels_only and not record.teachers and record.task.train_rows == 12


def test_the_card_says_for_how_many_rows_a_labelled_one_counted(make, config):
    trainer = make(args=config(max_steps=1), loss=LabelTeacher(), train_dataset=tiny.image_rows(24, unlabelled=12))
    trainer.train()
    record = trainer.record()
    assert labelled_rows_counted(record).endswith(
        "a mean over all rows, in which a labelled row counted once, like any other."
    )
    heavy = replace(record, training={**record.training, "labelled_row_weight": float("inf")})
    assert labelled_rows_counted(heavy).endswith("was a mean over labelled rows.")
    assert labelled_rows_counted(replace(record, task=replace(record.task, labelled_rows=24))) == ""


def test_the_card_says_that_labelled_rows_were_repeated(make, config):
    trainer = make(args=config(max_steps=1), loss=BSSLoss(), train_dataset=tiny.image_rows(24, unlabelled=20))
    trainer.train()
    record = trainer.record()
    assert labelled_rows_counted(record) == " Labelled rows were repeated until they were 50% of those read."
    assert "labelled_row_weight" not in record.training
