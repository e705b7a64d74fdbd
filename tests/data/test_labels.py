import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_ctkd.data.labels import class_ids
from hf_ctkd.errors import DatasetError
from hf_ctkd.types import LabelSpace

TEXT, NUMBER, CLASSES = Value("string"), Value("int64"), ClassLabel(names=["cat", "dog"])


def ids(values, feature=NUMBER, **known):
    space, labels = class_ids(Dataset.from_dict({"y": values}, features=Features({"y": feature})), "y", **known)
    return space.names, labels.tolist()


def test_declared_classes_keep_their_ids_even_where_no_row_has_one():
    assert ids([1, None, 0, -1], CLASSES) == (("cat", "dog"), [1, -100, 0, -100])
    assert ids([1, 1], CLASSES) == (("cat", "dog"), [1, 1])


@pytest.mark.parametrize(
    ("values", "feature", "names", "labels"),
    [
        ([1, 3, 2, 3], NUMBER, ("1", "2", "3"), [0, 2, 1, 2]),
        ([30, 10, 20, -100], NUMBER, ("10", "20", "30"), [2, 0, 1, -100]),
        ([0, 1, None, -1], Value("int8"), ("0", "1"), [0, 1, -100, -100]),
        (["dog", "cat", "dog", None, "", " "], TEXT, ("cat", "dog"), [1, 0, 1, -100, -100, -100]),
        (["b", "a"], Value("large_string"), ("a", "b"), [1, 0]),
        ([True, False, None], Value("bool"), ("False", "True"), [1, 0, -100]),
        ([2.0, None, 1.0, float("nan"), -1.0], Value("float64"), ("1", "2"), [1, -100, 0, -100, -100]),
    ],
)
def test_every_value_is_a_class_and_no_other(values, feature, names, labels):
    assert ids(values, feature) == (names, labels)


def test_a_line_of_the_log_shows_the_mapping_where_it_is_none_of_plain_ids(caplog):
    ids([0, 1, 2])
    assert not caplog.text
    ids([7, 5, 7])
    assert "The values of `y` become 2 classes: 5 is 0, 7 is 1." in caplog.text
    ids(["red", "blue"], TEXT)
    assert "The values of `y` become 2 classes: 'blue' is 0, 'red' is 1." in caplog.text
    ids([100 + number for number in range(12)] * 2)
    assert "109 is 9, and 2 more." in caplog.text


def test_rows_with_minus_one_are_counted_in_the_log(caplog):
    ids([-1, 0, 1, -1])
    assert "2 of 4 rows hold -1 in `y`, which means no label." in caplog.text


@pytest.mark.parametrize(
    ("names", "values", "feature", "labels"),
    [
        (("10", "20", "30"), [30, 10], NUMBER, [2, 0]),
        (("1", "2", "3"), [3, None], NUMBER, [2, -100]),
        (("cat", "dog"), ["dog", ""], TEXT, [1, -100]),
        (("cat", "dog"), [1, 0], NUMBER, [1, 0]),
        (("10", "20"), ["20", "10"], TEXT, [1, 0]),
        (("False", "True"), [True], Value("bool"), [1]),
    ],
)
def test_values_are_looked_up_among_the_classes_of_other_rows(names, values, feature, labels):
    assert ids(values, feature, label_space=LabelSpace(names)) == (names, labels)


@pytest.mark.parametrize(("values", "feature", "got"), [([10, 40], NUMBER, "40"), (["20", "x"], TEXT, "'x'")])
def test_a_value_that_the_other_rows_do_not_have_is_refused(values, feature, got):
    message = rf"Row 1 of `y` must be one of the 2 classes \(10, 20\), got {got}. Leave such"
    with pytest.raises(DatasetError, match=message):
        ids(values, feature, label_space=LabelSpace(("10", "20")))


@pytest.mark.parametrize("feature", [NUMBER, Value("null")])
def test_where_the_classes_are_known_a_label_may_be_missing_everywhere(feature):
    classes = LabelSpace(("cat", "dog", "owl"))
    assert ids([None, None], feature, label_space=classes, required=False) == (classes.names, [-100, -100])
    with pytest.raises(DatasetError, match="must have labelled rows, but every label is missing"):
        ids([None, None], feature, label_space=classes)


@pytest.mark.parametrize(
    ("values", "feature", "message"),
    [
        (
            [0.5, 1.0],
            Value("float32"),
            "must hold classes, as whole numbers or as names, got 0.5 in row 0.*num_labels=1",
        ),
        ([[0], [1]], List(NUMBER), "must hold classes, as whole numbers or as names, got List"),
        ([-1, None], NUMBER, "must have labelled rows, but every label is missing"),
        ([None, ""], TEXT, "must have labelled rows, but every label is missing"),
        ([0, -7], NUMBER, "Row 1 of `y` must be a class of 0 or more, or -1 or -100 for no label, got -7"),
        (list(range(60)), NUMBER, "must hold classes, got 60 different values among 60 labelled rows"),
        ([str(number) for number in range(60)], TEXT, "must hold classes, got 60 different values among 60"),
    ],
)
def test_what_are_no_classes(values, feature, message):
    with pytest.raises(DatasetError, match=message):
        ids(values, feature)


def test_what_datasets_lets_into_a_column_of_declared_classes():
    """README says so: building rows refuses -100, casting and `map` let it through."""
    with pytest.raises(ValueError, match="Class label -100 greater than configured num_classes"):
        ids([0, -100], CLASSES)
    plain = Dataset.from_dict({"y": [0, 1, -100]})
    space, labels = class_ids(plain.cast_column("y", CLASSES), "y")
    assert labels.tolist() == [0, 1, -100]
    declared = Dataset.from_dict({"y": [0, 1]}, features=Features({"y": CLASSES}))
    assert class_ids(declared.map(lambda row: {"y": -100 * row["y"]}), "y")[1].tolist() == [0, -100]
    with pytest.raises(DatasetError, match=r"Row 1 of `y` must be in \[0, 2\) or -100, got -7"):
        class_ids(declared.map(lambda row: {"y": -7 * row["y"]}), "y")
