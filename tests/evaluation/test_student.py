import json
import logging

import numpy as np
import pytest
import tiny
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value, load_dataset
from sklearn.metrics import accuracy_score

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.evaluation import EvaluationSettings, evaluate_student
from hf_ctkd.tasks.evaluation import MacroF1

NAMES = tiny.NAMES
FAST = EvaluationSettings(bootstrap_resamples=20, batch_size=8)


def _save(folder, model, processor, names, problem=None):
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: number for number, name in enumerate(names)}
    model.config.problem_type = problem
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("student"), tiny.image_student(), tiny.processor(), NAMES)


def _logits(folder, rows):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    images = [image.convert("RGB") for image in rows["image"][:]]
    with torch.no_grad():
        return model(**processor(images=images, return_tensors="pt")).logits.numpy()


def test_metrics_errors_and_calibration_of_an_image_student(student, tmp_path):
    rows = tiny.image_rows(30)
    evaluation = evaluate_student(student, rows, settings=FAST)
    predicted, labels = _logits(student, rows).argmax(axis=1), np.array(rows["label"][:])
    accuracy = evaluation.metrics["accuracy"]
    assert accuracy.value == pytest.approx(accuracy_score(labels, predicted))
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert evaluation.confusion.sum() == 30 and evaluation.confusion.trace() == (labels == predicted).sum()
    assert sum(pair.count for pair in evaluation.confused) == (labels != predicted).sum()
    assert all(row.label != row.predicted and row.label == NAMES[labels[row.row]] for row in evaluation.wrong)
    losses = [row.loss for row in evaluation.wrong]
    assert losses == sorted(losses, reverse=True)
    assert evaluation.calibration.after is not None
    assert evaluation.models[0].rows_per_second > 0
    folder = evaluation.save(tmp_path / "made")
    assert {path.name for path in folder.iterdir()} == {
        "evaluation.json", "evaluation.txt", "most_wrong.csv", "most_confused.csv", "confusion_matrix.csv",
        "confusion_matrix.png", "reliability.png",
    }  # fmt: skip
    assert json.loads((folder / "evaluation.json").read_text())["models"][0]["metrics"]["accuracy"]["low"] is not None
    assert "Most confused:" in str(evaluation) and "Calibration error" in str(evaluation)


def test_classes_are_compared_by_name_not_by_number(student):
    rows = tiny.image_rows(30)
    turned = rows.map(lambda row: {"label": 2 - row["label"]}, load_from_cache_file=False)
    turned = turned.cast_column("label", ClassLabel(names=NAMES[::-1]))
    same = evaluate_student(student, rows, settings=FAST)
    assert evaluate_student(student, turned, settings=FAST).metrics == same.metrics
    named = rows.cast_column("label", Value("int64")).map(
        lambda row: {"class": NAMES[row["label"]]}, remove_columns="label", load_from_cache_file=False
    )
    assert evaluate_student(student, named, settings=FAST).metrics == same.metrics


def test_one_row_and_one_absent_class_are_one(student, caplog):
    rows = tiny.image_rows(30)
    assert "On 1 labelled row of" in str(evaluate_student(student, rows.select([0]), settings=FAST))
    few = rows.filter(lambda label: label < 2, input_columns="label")
    few = few.cast_column("label", Value("int64")).cast_column("label", ClassLabel(names=NAMES[:2]))
    with caplog.at_level(logging.WARNING):
        evaluation = evaluate_student(student, few, settings=FAST)
    assert "1 class of the student is not among those of the data." in caplog.text
    assert f"On {len(few)} labelled rows of" in str(evaluation)


@pytest.mark.parametrize("names", [["dark", "bright", "spotted"], ["dark", "bright", "striped", "new"]])
def test_a_class_that_the_student_does_not_know_is_refused(student, names):
    rows = tiny.image_rows(30).cast_column("label", ClassLabel(names=names))
    with pytest.raises(DatasetError, match=r"The classes of `label` are . \(dark, .* those of the student 3 \(dark,"):
        evaluate_student(student, rows, settings=FAST)


def test_rows_without_a_label_are_left_out(student, caplog):
    with caplog.at_level(logging.WARNING):
        evaluation = evaluate_student(student, tiny.image_rows(30, unlabelled=6), settings=FAST)
    assert evaluation.rows == 24 and "6 of 30 rows have no label" in caplog.text
    rows = tiny.image_rows(30).cast_column("label", Value("int64"))
    unlabelled = rows.map(lambda row: {"label": -100}, load_from_cache_file=False)
    with pytest.raises(DatasetError, match="every label is missing"):
        evaluate_student(student, unlabelled, settings=FAST)


def test_a_baseline_is_compared_on_the_same_rows(student, tmp_path):
    rows = tiny.image_rows(30)
    turned = tiny.image_student()  # the same weights, its classes in another order
    head = turned.classifier[1]
    with torch.no_grad():
        head.weight.copy_(head.weight.flip(0))
        head.bias.copy_(head.bias.flip(0))
    baseline = _save(tmp_path / "baseline", turned, tiny.processor(), NAMES[::-1])
    other = _save(tmp_path / "other", tiny.image_student(5), tiny.processor(), list("abcde"))
    evaluation = evaluate_student(student, rows, teacher=other, baseline=baseline, settings=FAST)
    model, teacher, compared = evaluation.models
    assert compared.metrics == model.metrics
    assert all((gain.value, gain.low, gain.high) == (0, 0, 0) for gain in compared.gain.values())
    assert not teacher.metrics and teacher.parameters > 0 and teacher.milliseconds_a_row > 0
    assert "student - baseline" in str(evaluation) and "[+0.000, +0.000]" not in str(evaluation)
    assert "In accuracy, macro_f1 student and baseline do alike on every row." in str(evaluation).splitlines()


def test_the_files_of_pictures_that_are_most_wrong_are_named(student, tmp_path):
    for row in tiny.image_rows(12):
        (tmp_path / "rows" / NAMES[row["label"]]).mkdir(parents=True, exist_ok=True)
        row["image"].save(tmp_path / "rows" / NAMES[row["label"]] / f"{row['label']}.png")
    evaluation = evaluate_student(student, load_dataset(str(tmp_path / "rows"), split="train"), settings=FAST)
    assert evaluation.wrong and all(row.input.endswith(".png") for row in evaluation.wrong)
    assert evaluation.wrong[0].input in str(evaluation)


def test_texts(tmp_path):
    folder = _save(tmp_path / "bert", tiny.text_model(), tiny.tokenizer(), ["fruit", "plant"])
    evaluation = evaluate_student(folder, tiny.text_rows(24), settings=FAST)
    assert evaluation.rows == 24 and evaluation.wrong[0].input.startswith("the ")


def test_several_classes_a_row(tmp_path):
    folder = _save(tmp_path / "student", tiny.image_student(), tiny.processor(), NAMES, "multi_label_classification")
    images = tiny.image_rows(24)["image"][:]
    features = Features({"image": Image(), "labels": List(ClassLabel(names=NAMES[::-1]))})
    rows = Dataset.from_dict({"image": images, "labels": [[0], [1, 2], []] * 8}, features=features)
    evaluation = evaluate_student(folder, rows, settings=FAST)
    assert set(evaluation.metrics) == {"micro_f1", "macro_f1", "mean_average_precision"}
    assert evaluation.confusion is None and evaluation.calibration.before.bins
    assert {row.label for row in evaluation.wrong} <= {"striped", "dark; bright", ""}


def test_numbers(tmp_path):
    folder = _save(tmp_path / "student", tiny.image_student(1), tiny.processor(), ["value"], "regression")
    images = tiny.image_rows(24)["image"][:]
    rows = Dataset.from_dict({"image": images, "label": [row / 7 for row in range(24)]}).cast_column("image", Image())
    evaluation = evaluate_student(folder, rows, settings=FAST)
    assert evaluation.metrics["mae"].value > 0 and evaluation.calibration is None and not evaluation.confused
    assert len(evaluation.wrong) == 20


def test_models_that_cannot_be_evaluated(tmp_path, student):
    rows = tiny.image_rows(12)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgumentError, match=r"`student` 'empty' cannot be used: "):
        evaluate_student(tmp_path / "empty", rows, settings=FAST)
    headless = tiny.image_student().base_model
    headless.save_pretrained(tmp_path / "headless")
    tiny.processor().save_pretrained(tmp_path / "headless")
    with pytest.raises(InvalidArgumentError, match="`baseline` 'headless' has no classification or regression head."):
        evaluate_student(student, rows, baseline=tmp_path / "headless", settings=FAST)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", -1), ("seed", 2**32), ("batch_size", 0), ("bootstrap_resamples", -1)]
)
def test_settings_out_of_range(name, value):
    with pytest.raises(InvalidArgumentError, match=f"`{name}` must be .*, got {value}"):
        EvaluationSettings(**{name: value})


@pytest.mark.parametrize("name", ["", " ", "/"])
def test_a_metric_without_a_name(student, name):
    with pytest.raises(InvalidArgumentError, match="`metrics` must hold names, got '.*'. Use accuracy or macro_f1"):
        evaluate_student(student, tiny.image_rows(6), settings=EvaluationSettings(metrics=[name]))


def test_all_splits_together_are_refused(student):
    with pytest.raises(DatasetError, match="`dataset` must be one split .* got DatasetDict"):
        evaluate_student(student, DatasetDict(test=tiny.image_rows(6)))


def test_without_resamples_no_interval_is_mentioned(student):
    settings = EvaluationSettings(bootstrap_resamples=0)
    assert "intervals" not in str(evaluate_student(student, tiny.image_rows(6), settings=settings))


def test_resamples_of_a_gain_do_not_go_through_evaluate(student, tmp_path, monkeypatch):
    calls = []
    compute = MacroF1._compute
    monkeypatch.setattr(MacroF1, "_compute", lambda self, **values: calls.append(1) or compute(self, **values))
    other = _save(tmp_path, tiny.image_student(seed=5), tiny.processor(), NAMES)
    settings = EvaluationSettings(bootstrap_resamples=50, metrics=["macro_f1"])
    evaluation = evaluate_student(student, tiny.image_rows(30), baseline=other, settings=settings)
    assert len(calls) == 2  # the macro F1 of each model, once
    gain = evaluation.models[1].gain["macro_f1"]
    values = [model.metrics["macro_f1"].value for model in evaluation.models]
    assert gain.value == pytest.approx(values[0] - values[1]) and gain.low <= gain.value <= gain.high
