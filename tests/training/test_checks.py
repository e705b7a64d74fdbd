"""What cannot be followed is refused by name, before anything is loaded."""

from pathlib import Path

import pytest
import tiny
from transformers import TrainingArguments

from hf_ctkd.data.notices import warn_once
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import RowTransportLoss, SpectralLoss
from hf_ctkd.training import DistillationTrainer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": "org/model"}, "`teachers` must be a list .* got 'org/model'. Put a single teacher into a list"),
        ({"teachers": iter(["org/model"])}, "`teachers` must be a list .* got list_iterator"),
        ({"teachers": []}, "`teachers` must name at least one, got an empty list. Give None"),
        ({"teachers": [], "loss": RowTransportLoss()}, "`teachers` must name at least one, got an empty list"),
        ({"teachers": (), "loss": SpectralLoss()}, "`teachers` must name at least one, got an empty list"),
        ({"teachers": [Path("model")]}, "`teachers` must hold candidates, .* got PosixPath. Give a folder as a string"),
        (
            {"loss": RowTransportLoss},
            r"`loss` must be an object, such as RowTransportLoss\(\), got the class RowTransportLoss",
        ),
        ({"loss": "row_transport"}, "`loss` must be an object, .* got 'row_transport'"),
    ],
)
def test_teachers_and_losses_of_another_kind(make, changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make(**changes)


def test_arguments_of_the_plain_trainer(make, tmp_path):
    with pytest.raises(InvalidArgumentError, match="`args` must be a DistillationConfig, got TrainingArguments"):
        make(args=TrainingArguments(str(tmp_path), use_cpu=True))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("include_for_metrics", ["loss", "inputs"]),
        ("include_num_input_tokens_seen", "all"),
        ("train_sampling_strategy", "group_by_length"),
        ("train_sampling_strategy", "batch_rebalance"),
        ("batch_eval_metrics", True),
        ("eval_do_concat_batches", False),
    ],
)
def test_arguments_that_cannot_be_followed(make, config, argument, value):
    with pytest.raises(InvalidArgumentError, match=f"`{argument}` "):
        make(args=config(**{argument: value}))


def test_own_metrics_may_be_computed_batch_by_batch(make, config):
    right = []

    def accuracy(prediction, compute_result):
        right.extend((prediction.predictions.argmax(1) == prediction.label_ids).tolist())
        return {"accuracy": sum(right) / len(right)} if compute_result else {}

    args = config(batch_eval_metrics=True, include_for_metrics=["loss"], per_device_eval_batch_size=5)
    trainer = make(args=args, compute_metrics=accuracy)
    assert len(right) == 0
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(sum(right) / 12)
    assert trainer.results["accuracy"].value == pytest.approx(sum(right) / 12)


def test_noise_on_embeddings_reaches_the_student_alone(config, text_teacher):
    losses = []
    for alpha in (None, 50.0):
        trainer = DistillationTrainer(
            tiny.text_model(),
            config(max_steps=1, neftune_noise_alpha=alpha),
            teachers=[text_teacher],
            train_dataset=tiny.text_rows(),
            processing_class=tiny.tokenizer(),
        )
        trainer.train()
        losses.append(trainer.state.log_history[0]["task_loss"])
        assert not trainer.student.get_input_embeddings()._forward_hooks
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_evaluation_rows_that_are_trained_on_are_counted_in_the_log(make, caplog):
    warn_once.cache_clear()
    make()
    assert not caplog.text
    train = tiny.image_rows()
    make(train_dataset=train, eval_dataset={"train": train.select(range(6, 15)), "other": tiny.image_rows(12, seed=5)})
    assert (
        "`eval_dataset` train: 9 evaluation rows are training rows too, such as evaluation row 0, which is"
        in caplog.text
    )
    assert "training row 6. Its results are too good for new rows." in caplog.text and "other" not in caplog.text
