import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from hf_ctkd.data.columns import class_ids, find_input, find_label
from hf_ctkd.errors import DatasetError
from hf_ctkd.types import LabelSpace

TEXT, NUMBER, CLASSES = Value("string"), Value("int64"), ClassLabel(names=["cat", "dog"])


@pytest.mark.parametrize(
    ("features", "named", "found"),
    [
        ({"picture": Image(), "caption": TEXT, "y": NUMBER}, None, "picture"),
        ({"title": TEXT, "text": TEXT}, None, "text"),
        ({"body": Value("large_string"), "y": NUMBER}, None, "body"),
        ({"picture": Image(), "caption": TEXT}, "caption", "caption"),
    ],
)
def test_the_input_is_found(features, named, found):
    assert find_input(Features(features), named) == found


@pytest.mark.parametrize(
    ("features", "named", "message"),
    [
        ({"left": Image(), "right": Image()}, None, "Found 2 columns that may hold the input among"),
        ({"y": NUMBER}, None, "Found 0 columns .* Name it with `input_column`"),
        ({"y": NUMBER}, "y", "`input_column` 'y' must hold images or texts"),
        ({"y": NUMBER}, "x", r"`input_column` 'x' is not a column; the data set has \['y'\]"),
    ],
)
def test_an_input_that_cannot_be_found(features, named, message):
    with pytest.raises(DatasetError, match=message):
        find_input(Features(features), named)


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
    with pytest.raises(DatasetError, match="Found no label column among .*it must hold integer class ids"):
        find_label(Features({"one": CLASSES, "other": CLASSES}), None)
    with pytest.raises(DatasetError, match="`label_column` 'y' is not a column"):
        find_label(Features({"label": CLASSES}), "y")


def ids(values, feature=NUMBER):
    return class_ids(Dataset.from_dict({"y": values}, features=Features({"y": feature})), "y")


def test_class_ids_with_and_without_names():
    space, labels = ids([1, None, 0, -1], CLASSES)
    assert space.names == ("cat", "dog") and labels.tolist() == [1, -100, 0, -100]
    space, labels = ids([3, 0, -100])
    assert space.names == ("0", "1", "2", "3") and labels.tolist() == [3, 0, -100]


@pytest.mark.parametrize("feature", [NUMBER, Value("null")])
def test_where_the_classes_are_known_no_label_is_needed(feature):
    classes = LabelSpace(("cat", "dog", "owl"))
    dataset = Dataset.from_dict({"y": [None, None]}, features=Features({"y": feature}))
    space, labels = class_ids(dataset, "y", label_space=classes)
    assert space == classes and labels.tolist() == [-100, -100]


@pytest.mark.parametrize(
    ("values", "feature", "message"),
    [
        (["cat"], TEXT, "must hold integer class ids, got .*class_encode_column"),
        ([0.5], Value("float32"), "must hold integer class ids"),
        ([-1, None], NUMBER, "must have labelled rows, but every label is missing"),
        ([0, 5000], NUMBER, "must hold class ids from 0 on, got 5000 among 2 rows"),
        ([0, -7], NUMBER, r"Row 1 of `y` must be in \[0, 1\) or -100, got -7"),
    ],
)
def test_what_are_no_class_ids(values, feature, message):
    with pytest.raises(DatasetError, match=message):
        ids(values, feature)
