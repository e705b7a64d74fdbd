"""The task loss as users change it: class weights, a function of their own, an overridden `compute_loss`."""

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import ProbeLoss
from hf_ctkd.tasks import Classification, Regression
from hf_ctkd.training import DistillationTrainer
from hf_ctkd.training.task_loss import TaskLoss, resolve_class_weights

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.0], [1.0, 1.0, 3.0]])
LABELS = torch.tensor([0, 1, -100, 1])


def own_rows(count=24, rare=4):
    """Few bright rows among dark ones."""
    rows = tiny.image_rows(count)
    dark, bright = ([row for row in range(count) if row % 3 == label] for label in (0, 1))
    return rows.select([*dark, *bright[:rare], 2, 5])


def batch_losses(trainer):
    trainer.train()
    return [log["task_loss"] for log in trainer.state.log_history if "task_loss" in log]


# ---- class weights --------------------------------------------------------------------------------------------------


def test_class_weights_weigh_rows_and_unlabelled_ones_count_for_nothing():
    weights = torch.tensor([1.0, 3.0, 5.0])
    mine = TaskLoss(class_weights=weights)(LOGITS, LABELS)
    torch.testing.assert_close(mine, F.cross_entropy(LOGITS, LABELS, weight=weights, reduction="sum") / 3)
    assert TaskLoss(class_weights=weights)(LOGITS, torch.full((4,), -100)) == 0


def test_an_evaluation_is_without_class_weights():
    rows = TaskLoss(class_weights=torch.tensor([1.0, 3.0, 5.0])).row_losses(LOGITS, LABELS)
    torch.testing.assert_close(rows[:, 0], F.cross_entropy(LOGITS, LABELS, reduction="none"))
    assert rows[:, 1].tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("given", ["balanced", [1.0, 2.0, 4.0], "1,2,4", "1, 2, 4"])
def test_balanced_classes_weigh_the_same_and_labelled_rows_have_one_on_average(make, config, given):
    trainer = make(args=config(max_steps=1, class_weights=given), train_dataset=own_rows())
    weights = trainer.student_with_loss.task_loss.class_weights
    counts = torch.tensor([8.0, 4.0, 2.0])
    torch.testing.assert_close((weights * counts).sum(), counts.sum())
    torch.testing.assert_close(weights / weights[0], torch.tensor([1.0, 2.0, 4.0]))
    assert np.allclose(trainer.record("run").training["class_weights"], weights, rtol=1e-3)


def test_class_weights_change_what_is_trained(make, config):
    runs = [
        batch_losses(make(args=config(max_steps=2, class_weights=given), train_dataset=own_rows()))
        for given in (None, [1.0, 1.0, 1.0], [1.0, 1.0, 50.0])
    ]
    assert runs[0] == pytest.approx(runs[1]) and runs[0] != pytest.approx(runs[2])


@pytest.mark.parametrize("given", ["even", "1,2", [1.0, 2.0], [1.0, -2.0, 1.0], [1.0, float("nan"), 1.0]])
def test_class_weights_that_do_not_fit_the_classes_are_refused(make, config, given):
    with pytest.raises(InvalidArgumentError, match="`class_weights` must be 'balanced' or 3 positive numbers, one for"):
        make(args=config(class_weights=given))


def test_class_weights_without_classes_are_refused(make):
    rows = make()._reference_rows
    with pytest.raises(InvalidArgumentError, match="`class_weights` are for one class a row.*Regression"):
        resolve_class_weights("balanced", rows, Regression())
    assert resolve_class_weights("balanced", None, Classification()) is None


# ---- compute_loss_func ----------------------------------------------------------------------------------------------


def summed(outputs, labels, num_items_in_batch=None):
    return 2 * F.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


def averaged(outputs, labels, num_items_in_batch=None):
    return 2 * F.cross_entropy(outputs["logits"], labels)


@pytest.mark.parametrize("function", [summed, averaged])
def test_a_function_takes_the_place_of_the_task_loss(make, config, image_teacher, function):
    settings = {
        "args": config(max_steps=2, gradient_accumulation_steps=2),
        "teachers": [image_teacher],
        "loss": ProbeLoss(),
        "train_dataset": tiny.image_rows(24, unlabelled=6),
    }
    plain, twice = (make(**settings, compute_loss_func=given) for given in (None, function))
    plain.train(), twice.train()
    first, doubled = plain.state.log_history[0], twice.state.log_history[0]
    assert doubled["task_loss"] == pytest.approx(2 * first["task_loss"], rel=1e-4)
    assert doubled["probe"] == pytest.approx(first["probe"], rel=1e-4)
    assert twice.record("run").training["task_loss"] == "a function of the user's own"


def test_the_evaluation_loss_is_that_function_s(make):
    plain, twice = (make(compute_loss_func=given) for given in (None, averaged))
    assert twice.evaluate()["eval_loss"] == pytest.approx(2 * plain.evaluate()["eval_loss"], rel=1e-4)


def test_a_function_sees_labelled_rows_alone():
    seen = []
    loss = TaskLoss(compute_loss_func=lambda outputs, labels, num_items_in_batch: seen.append(labels) or LOGITS.sum())
    loss(LOGITS, LABELS)
    assert seen[0].tolist() == [0, 1, 1]
    assert loss(LOGITS, torch.full((4,), -100)) == 0 and len(seen) == 1


@pytest.mark.parametrize("value", [1.0, torch.ones(2)])
def test_a_function_that_returns_no_number_is_refused(value):
    with pytest.raises(InvalidArgumentError, match="`compute_loss_func` must return a tensor with one number"):
        TaskLoss(compute_loss_func=lambda *_, **__: value)(LOGITS, LABELS)


@pytest.mark.parametrize(("name", "value"), [("class_weights", "balanced"), ("label_smoothing_factor", 0.1)])
def test_settings_of_the_task_s_own_loss_are_refused_beside_a_function(make, config, name, value):
    with pytest.raises(InvalidArgumentError, match=f"`{name}` has no effect beside a `compute_loss_func`"):
        make(args=config(**{name: value}), compute_loss_func=averaged)
    with pytest.raises(InvalidArgumentError, match="`compute_loss_func` must be a function"):
        make(compute_loss_func="focal")


# ---- logits for metrics ---------------------------------------------------------------------------------------------


def test_logits_are_preprocessed_for_metrics(make):
    seen = []

    def metrics(prediction):
        seen.append(prediction.predictions)
        return {"right": float((prediction.predictions == prediction.label_ids).mean())}

    trainer = make(compute_metrics=metrics, preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1))
    assert 0 <= trainer.evaluate()["eval_right"] <= 1
    assert seen[0].shape == (12,)
    with pytest.raises(InvalidArgumentError, match="`preprocess_logits_for_metrics` needs a `compute_metrics`"):
        make(preprocess_logits_for_metrics=lambda logits, labels: logits)


# ---- compute_loss ---------------------------------------------------------------------------------------------------


class Weighted(DistillationTrainer):
    """As the documentation of transformers has it."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        logits = outputs.get("logits")
        reduction = "mean" if num_items_in_batch is None else "sum"
        weight = torch.tensor([1.0, 2.0, 3.0], device=model.device, dtype=logits.dtype)
        function = nn.CrossEntropyLoss(weight=weight, reduction=reduction)
        loss = function(logits.view(-1, self.model.config.num_labels), labels.view(-1))
        if num_items_in_batch is not None:
            loss = loss / num_items_in_batch
        return (loss, outputs) if return_outputs else loss


class Extended(DistillationTrainer):
    """Adds a term to what the trainer computes."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        loss = loss + outputs.logits.square().mean()
        return (loss, outputs) if return_outputs else loss


@pytest.mark.parametrize(("kind", "teaches"), [(Weighted, False), (Extended, True)])
@pytest.mark.parametrize("cached", [True, False])
def test_a_compute_loss_of_the_user_s_trains_and_the_record_says_whether_teachers_taught(
    config, image_teacher, kind, teaches, cached
):
    trainer = kind(
        tiny.image_student(),
        config(max_steps=30, logging_steps=10, cache_teacher_outputs=cached),
        teachers=[image_teacher],
        loss=ProbeLoss(),
        train_dataset=tiny.image_rows(),
        eval_dataset=tiny.image_rows(12, seed=5),
        processing_class=tiny.processor(),
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] > 0.8
    record = trainer.record("run")
    assert record.labels_only is not teaches and bool(record.teachers) is teaches
