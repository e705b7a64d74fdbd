import pytest
from datasets import ClassLabel, Features, Image, Value

from hf_ctkd.data.columns import find_inputs, find_label
from hf_ctkd.errors import DatasetError

TEXT, NUMBER, CLASSES = Value("string"), Value("int64"), ClassLabel(names=["cat", "dog"])


@pytest.mark.parametrize(
    ("features", "named", "found"),
    [
        ({"picture": Image(), "caption": TEXT, "y": NUMBER}, None, ("picture",)),
        ({"title": TEXT, "text": TEXT}, None, ("text",)),
        ({"body": Value("large_string"), "y": NUMBER}, None, ("body",)),
        ({"picture": Image(), "caption": TEXT}, "caption", ("caption",)),
        ({"question": TEXT, "sentence": TEXT, "idx": NUMBER}, None, ("question", "sentence")),
        ({"hypothesis": TEXT, "premise": TEXT}, None, ("premise", "hypothesis")),
        ({"sentence1": TEXT, "sentence2": TEXT}, None, ("sentence1", "sentence2")),
        ({"query": TEXT, "passage": TEXT, "url": TEXT}, None, ("query", "passage")),
        ({"text": TEXT, "text_pair": TEXT}, None, ("text", "text_pair")),
        ({"text": TEXT, "text_pair": TEXT}, "text", ("text",)),
        ({"b": TEXT, "a": TEXT}, ["a", "b"], ("a", "b")),
        ({"question": TEXT, "sentence": NUMBER}, None, ("question",)),
    ],
)
def test_the_inputs_are_found(features, named, found):
    assert find_inputs(Features(features), named) == found


def test_columns_of_texts_that_are_not_read_are_named(caplog):
    find_inputs(Features({"text": TEXT, "headline": TEXT, "source": TEXT}), None)
    assert "Models read `text` of each row, but not `headline` and `source`" in caplog.text
    find_inputs(Features({"photo": Image(), "subtitle": TEXT}), None)
    assert "Models read `photo` of each row, but not `subtitle`; `input_column` names other" in caplog.text


@pytest.mark.parametrize(
    ("features", "named", "message"),
    [
        ({"left": Image(), "right": Image()}, None, "Found 2 columns or pairs .*: `left` or `right`. Name it"),
        ({"y": NUMBER}, None, "Found 0 columns .* Name it with `input_column`"),
        (
            {"question": TEXT, "context": TEXT, "answer": TEXT},
            None,
            "Found 2 columns or pairs .*: `question` and `answer` or `question` and `context`",
        ),
        ({"text": TEXT, "question": TEXT, "answer": TEXT}, None, "Found 2 columns or pairs"),
        ({"a": TEXT, "b": TEXT}, ["a", "c"], r"`input_column` 'c' is not a column; the data set has \['a', 'b'\]"),
        ({"a": TEXT, "y": NUMBER}, ["a", "y"], "`input_column` 'y' must hold texts, as both columns of a pair do"),
        (
            {"a": TEXT, "p": Image()},
            ["a", "p"],
            "`input_column` 'p' must hold texts, .* are no pair: name one",
        ),
        ({"a": TEXT, "b": TEXT}, ["a", "a"], r"must name one column, or two different columns .*got \['a', 'a'\]"),
        ({"a": TEXT, "b": TEXT}, [], "must name one column, or two different columns"),
        ({"y": NUMBER}, "y", "`input_column` 'y' must hold images or texts"),
        ({"y": NUMBER}, "x", r"`input_column` 'x' is not a column; the data set has \['y'\]"),
    ],
)
def test_an_input_that_cannot_be_found(features, named, message):
    with pytest.raises(DatasetError, match=message):
        find_inputs(Features(features), named)


@pytest.mark.parametrize(
    ("features", "named", "found"),
    [
        ({"kind": CLASSES, "label": NUMBER}, None, "kind"),
        ({"coarse": CLASSES, "fine_label": CLASSES}, None, "fine_label"),
        ({"text": TEXT, "target": NUMBER}, None, "target"),
        ({"text": TEXT, "label": CLASSES}, "text", "text"),
    ],
)
def test_the_label_is_found(features, named, found):
    assert find_label(Features(features), named) == found


def test_a_label_that_cannot_be_found():
    with pytest.raises(
        DatasetError, match="Found no label column among .*it must hold classes, as whole numbers or as names"
    ):
        find_label(Features({"one": CLASSES, "other": CLASSES}), None)
    with pytest.raises(DatasetError, match="from sub-folders named by class, or from metadata.csv"):
        find_label(Features({"image": Image()}), None)
    with pytest.raises(DatasetError, match="`label_column` 'y' is not a column"):
        find_label(Features({"label": CLASSES}), "y")
