"""What an evaluation says does not depend on how rows are cut into batches."""

import numpy as np
import pytest
import tiny
from datasets import load_dataset
from evaluate_rows import evaluation_loss, expected_loss

from hf_ctkd.cards import render_card
from hf_ctkd.records import Confidence, DistillationRecord
from hf_ctkd.tasks.reliability import reliability
from hf_ctkd.training import DistillationTrainer


@pytest.mark.parametrize("batch_size", [1, 2, 4, 13])
def test_loss_is_the_mean_over_labelled_rows(tmp_path, batch_size):
    assert evaluation_loss(tmp_path, batch_size) == pytest.approx(expected_loss(), rel=1e-5)


def test_loss_counts_labels_when_predictions_are_not_kept(config):
    rows = tiny.image_rows(13, unlabelled=8, seed=5)
    losses = [
        DistillationTrainer(
            tiny.image_student(),
            config(prediction_loss_only=only, per_device_eval_batch_size=4),
            eval_dataset=rows,
            processing_class=tiny.processor(),
        ).evaluate()["eval_loss"]
        for only in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1])


def saved(trainer):
    """What a student's folder says of it; the card must be able to say so too."""
    trainer.save_model()
    record = DistillationRecord.load(trainer.folder / "distillation.json")
    render_card(record)
    return record.results


def counting(*values):
    """A `compute_metrics` with known values, one an evaluation."""
    left = iter(values)
    return lambda prediction: {"accuracy": next(left)}


def steps(**changes):
    return {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, **changes}


def test_best_model_is_recorded_with_its_own_result(make, config):
    args = config(load_best_model_at_end=True, metric_for_best_model="accuracy", **steps())
    trainer = make(args=args, compute_metrics=counting(0.3, 0.9, 0.5, 0.2, 0.4))
    trainer.train()
    assert trainer.state.best_global_step == 2
    assert saved(trainer) == {"accuracy": Confidence(0.9)}
    trainer.evaluate()
    assert saved(trainer) == {"accuracy": Confidence(0.4)}, "a later evaluation of the same weights"


def test_best_of_the_saved_models_is_recorded_where_a_better_one_was_not_saved(make, config):
    args = config(
        load_best_model_at_end=True, metric_for_best_model="accuracy", max_steps=5, **steps(save_steps=2)
    )  # fmt: skip
    trainer = make(args=args, compute_metrics=counting(0.1, 0.6, 0.9, 0.3, 0.2))
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    assert saved(trainer) == {"accuracy": Confidence(0.6)}


def test_result_of_weights_that_were_trained_on_is_not_recorded(make, config):
    trainer = make(args=config(max_steps=2))
    trainer.evaluate()
    assert saved(trainer).keys() == {"accuracy", "macro_f1"}
    trainer.train()
    assert saved(trainer) == {}
    trainer.evaluate()
    assert saved(trainer).keys() == {"accuracy", "macro_f1"}
    trainer.train()
    assert saved(trainer) == {}, "the same step of another run"


def test_values_without_intervals_are_recorded(make, config):
    plain = make(args=config(bootstrap_resamples=0))
    metrics = plain.evaluate()
    assert saved(plain) == {name: Confidence(metrics[f"eval_{name}"]) for name in ("accuracy", "macro_f1")}
    own = make(compute_metrics=lambda prediction: {"recall_low": 0.3, "right": 4, "note": "of the user"})
    own.evaluate()
    assert saved(own) == {"recall_low": Confidence(0.3), "right": Confidence(4.0)}


def test_prefix_of_an_evaluation_is_not_part_of_a_name(make):
    trainer = make()
    metrics = trainer.evaluate(metric_key_prefix="test")
    assert saved(trainer)["accuracy"].value == metrics["test_accuracy"]


def test_evaluation_of_other_rows_is_not_recorded(make):
    trainer = make(compute_metrics=counting(0.5, 0.9, 0.8, 0.7))
    trainer.evaluate()
    trainer.evaluate(tiny.image_rows(9, seed=6))
    trainer.predict(tiny.image_rows(9, seed=6))
    trainer.evaluate({"a": tiny.image_rows(9, seed=6)})
    assert saved(trainer) == {"accuracy": Confidence(0.5)}


def test_several_evaluation_sets_are_recorded_by_their_names(make):
    sets = {"near": tiny.image_rows(12, seed=5), "far": tiny.image_rows(9, seed=6)}
    trainer = make(eval_dataset=sets, compute_metrics=counting(0.5, 0.25, 0.75))
    trainer.evaluate()
    assert saved(trainer) == {"near_accuracy": Confidence(0.5), "far_accuracy": Confidence(0.25)}
    trainer.evaluate("far")
    assert saved(trainer) == {"near_accuracy": Confidence(0.5), "far_accuracy": Confidence(0.75)}
    task = trainer.record().task
    assert (task.eval_rows, task.eval_split) == (21, "near and far")


def test_share_of_the_most_frequent_class_is_recorded(make):
    rows = tiny.image_rows(12, seed=5)
    labels = [label for label in rows["label"] if label >= 0]
    assert make(eval_dataset=rows).record().task.majority_share == max(map(labels.count, labels)) / len(labels)


def test_only_data_that_were_loaded_from_the_hub_are_recorded_as_being_there(make, config, tmp_path, monkeypatch, hub):
    (tmp_path / "me" / "rows").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name, dataset in (("me/rows", "rows"), ("me/pets", "me/pets"), ("pets of mine", "pets of mine")):
        task = make(args=config(dataset_name=name)).record().task
        assert (task.dataset, task.hub_dataset) == (dataset, None)
    tiny.image_rows().to_parquet(tmp_path / "MyPets" / "train.parquet")
    hub.add("me/MyPets", {"train.parquet": (tmp_path / "MyPets" / "train.parquet").read_bytes()})
    loaded = {name: load_dataset(name, split="train") for name in ("me/MyPets", "./MyPets")}
    for source, hub_dataset in (("me/MyPets", "me/MyPets"), ("./MyPets", None)):
        rows = loaded[source].shuffle(seed=0).select(range(20))
        task = make(args=config(dataset_name="me/MyPets"), train_dataset=rows).record().task
        assert (task.dataset, task.hub_dataset) == ("me/MyPets", hub_dataset)
    task = make(args=config(dataset_name="other/MyPets"), train_dataset=loaded["me/MyPets"]).record().task
    assert task.hub_dataset is None


def test_reliability_of_the_labelled_rows_is_recorded(make):
    rows = tiny.image_rows(12, unlabelled=3, seed=5)
    trainer = make(eval_dataset=rows)
    assert trainer.record().reliability is None, "not evaluated yet"
    passes = []
    trainer.student.register_forward_hook(lambda *_: passes.append(1))
    trainer.evaluate()
    assert len(passes) == 2, "two batches of eight and four rows, once each"
    prediction = trainer.predict(rows)
    expected = reliability(np.asarray(prediction.predictions)[:9], np.asarray(prediction.label_ids)[:9])
    assert trainer.record().reliability == expected and expected.decisions == 9
    trainer.save_model()
    assert DistillationRecord.load(trainer.folder / "distillation.json").reliability == expected


def test_reliability_is_that_of_the_best_weights(make, config):
    args = config(load_best_model_at_end=True, metric_for_best_model="accuracy", **steps())
    trainer = make(args=args, compute_metrics=counting(0.3, 0.9, 0.5, 0.2, 0.4))
    trainer.train()
    during_training = trainer.record().reliability
    assert trainer.state.best_global_step == 2
    trainer.evaluate()
    assert during_training == trainer.record().reliability, "of the restored weights, once more"


def test_reliability_of_weights_that_were_trained_on_is_not_recorded(make, config):
    trainer = make(args=config(max_steps=2))
    trainer.evaluate()
    trainer.train()
    assert trainer.record().reliability is None


def test_reliability_is_left_out_where_it_is_not_known(make, config):
    several = make(eval_dataset={"near": tiny.image_rows(12, seed=5), "far": tiny.image_rows(9, seed=6)})
    other_rows, no_predictions = make(), make(args=config(prediction_loss_only=True))
    changed = make(
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(dim=-1),
        compute_metrics=lambda prediction: {"accuracy": 0.5},
    )
    for trainer in (several, no_predictions, changed):
        trainer.evaluate()
    other_rows.evaluate(tiny.image_rows(9, seed=6))
    assert [each.record().reliability for each in (several, other_rows, no_predictions, changed)] == [None] * 4
