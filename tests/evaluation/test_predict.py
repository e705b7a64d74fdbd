import pytest
import tiny
from datasets import Dataset, DatasetDict
from transformers import pipeline

from hf_ctkd.errors import DatasetError
from hf_ctkd.evaluation import predict


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    model = tiny.text_model()
    model.config.id2label, model.config.label2id = {0: "fruit", 1: "plant"}, {"fruit": 0, "plant": 1}
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_labels_and_scores_are_those_of_a_pipeline(student):
    rows = tiny.text_rows(10).remove_columns("label")
    predictions = predict(student, rows, all_scores=True, batch_size=4)
    assert predictions.column_names == ["label", "score", "score_fruit", "score_plant"]
    expected = pipeline("text-classification", str(student), device="cpu")(rows["text"][:])
    assert predictions["label"][:] == [each["label"] for each in expected]
    assert predictions["score"][:] == pytest.approx([each["score"] for each in expected], abs=1e-5)
    assert [sum(pair) for pair in zip(predictions["score_fruit"], predictions["score_plant"], strict=True)] == (
        pytest.approx([1.0] * 10)
    )


def test_numbers_have_no_label(tmp_path):
    model = tiny.text_model(1)
    model.config.problem_type = "regression"
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    assert predict(tmp_path, tiny.text_rows(4), all_scores=True).column_names == ["score"]


def test_rows_without_inputs_are_refused(student):
    with pytest.raises(DatasetError, match="must have rows, got none"):
        predict(student, Dataset.from_dict({"text": []}))
    with pytest.raises(DatasetError, match="Found 0 columns"):
        predict(student, Dataset.from_dict({"number": [1, 2]}))


def test_what_is_no_split_is_refused(student):
    rows = tiny.text_rows(4)
    for dataset in (DatasetDict(test=rows), rows.to_iterable_dataset(), None):
        with pytest.raises(DatasetError, match="`dataset` must be one split"):
            predict(student, dataset)


def test_a_column_may_be_named_alone(student):
    rows = tiny.text_rows(4).add_column("other", ["x"] * 4)
    assert predict(student, rows, input_column="text")[:] == predict(student, rows, input_column=["text"])[:]
