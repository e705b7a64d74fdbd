import inspect
import io

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PILImage
from tiny_models import image_rows, png, text_rows

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError


def columns(**values) -> Dataset:
    return Dataset.from_dict(values)


def test_columns_are_found_by_type_and_usual_name(images, texts):
    rows = TargetRows.of(images)
    assert (rows.modality, rows.input_columns, rows.label_column) == ("image", ("image",), "label")
    assert rows.label_space.names == ("cat", "dog", "fox")
    assert len(rows.inputs([3, 0])) == 2
    several = texts.add_column("title", ["t"] * 12).add_column("number", list(range(12)))
    rows = TargetRows.of(several)
    assert (rows.modality, rows.input_columns, rows.label_column) == ("text", ("text",), "label")


def test_columns_are_taken_as_named(texts):
    dataset = texts.rename_columns({"text": "a", "label": "b"}).add_column("c", texts["text"][:])
    with pytest.raises(
        DatasetError, match=r"Found 2 columns or pairs that may hold the input .* Name it with `input_col"
    ):
        TargetRows.of(dataset)
    rows = TargetRows.of(dataset, input_column="c", label_column="b")
    assert rows.inputs([0]) == texts["text"][:1]
    with pytest.raises(DatasetError, match=r"`input_column` 'd' is not a column; the data set has \['a', 'b', 'c'\]"):
        TargetRows.of(dataset, input_column="d")
    with pytest.raises(DatasetError, match="`label_column` 'd' is not a column"):
        TargetRows.of(dataset, input_column="c", label_column="d")
    with pytest.raises(DatasetError, match="`input_column` 'b' must hold images or texts"):
        TargetRows.of(dataset, input_column="b")
    with pytest.raises(DatasetError, match="Found no label column .* Name it with `label_column`"):
        TargetRows.of(texts.rename_column("text", "sentence").remove_columns("label").add_column("z", [0] * 12))


def test_only_one_split_is_taken(texts):
    for given in (DatasetDict({"train": texts}), texts.to_iterable_dataset(), [1]):
        with pytest.raises(
            DatasetError, match=rf"must be one split as a datasets.Dataset, got {type(given).__name__}\."
        ):
            inspect.unwrap(TargetRows.of.__func__)(TargetRows, given)  # without the tests' own type check
    with pytest.raises(DatasetError, match="`dataset` must have rows, got none"):
        TargetRows.of(texts.select([]))


def test_labels_that_are_missing_in_any_spelling():
    rows = TargetRows.of(text_rows(list("abcdefg"), [0, 1, None, -1, 0, 1, 2]))
    assert rows.labels.tolist() == [0, 1, -100, -100, 0, 1, 2]
    assert rows.labelled.tolist() == [0, 1, 4, 5, 6]
    plain = columns(text=list("abcd"), label=[0, -100, 1, 1])
    assert TargetRows.of(plain).labels.tolist() == [0, -100, 1, 1]
    assert TargetRows.of(plain).label_space.names == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.0, 1.0, 0.5, 1.0], r"`label_column` 'label' must hold classes, as whole numbers or as names, got 0.5"),
        ([None, -1, -100, -1], r"must have labelled rows, but every label is missing"),
        ([1, 1, 1, -100], r"must hold at least two classes with labelled rows, got 1"),
        ([0, -7, 1, 1], r"Row 1 of `label` must be a class of 0 or more, or -1 or -100 for no label, got -7"),
    ],
)
def test_labels_that_cannot_be_used(labels, message):
    with pytest.raises(DatasetError, match=message):
        TargetRows.of(columns(text=list("abcd"), label=labels))


def test_label_names_that_stand_twice_cannot_even_be_declared():
    with pytest.raises(ValueError, match="duplicated"):
        text_rows(["a", "b"], [0, 1], names=("cat", "cat"))


def test_a_class_with_one_row():
    dataset = text_rows(list("abcde"), [0, 0, 1, 1, 2])
    rows = TargetRows.of(dataset)
    with pytest.raises(DatasetError, match="Class 'fox' has a single labelled row.*`skip_bad_rows=True`"):
        rows.require_two_rows_a_class()
    rows = TargetRows.of(dataset, skip_bad_rows=True)
    rows.require_two_rows_a_class()
    assert rows.labels.tolist() == [0, 0, 1, 1]
    assert len(rows.label_space) == 3


def test_empty_texts_are_named_or_left_out():
    dataset = text_rows(["a", "b", " \n", None, "e", "f"], [0, 1, 0, 1, 0, 1])
    with pytest.raises(DatasetError, match=r"Row 2 of `text` is empty \(2 such rows\).*`skip_bad_rows=True`"):
        TargetRows.of(dataset)
    rows = TargetRows.of(dataset, skip_bad_rows=True)
    assert rows.inputs(range(4)) == ["a", "b", "e", "f"]
    assert rows.origin.tolist() == [0, 1, 4, 5]


def bomb() -> bytes:
    stream = io.BytesIO()
    PILImage.new("1", (20000, 20000)).save(stream, "PNG")
    return stream.getvalue()


def test_images_that_cannot_be_decoded_are_named_by_the_row_that_was_given():
    good = [png(row) for row in range(6)]
    dataset = image_rows([*good[:2], good[2][:40], b"no image", None, bomb(), *good[3:]], [0, 1, 0, 1, 0, 1, 0, 1, 0])
    rows = TargetRows.of(dataset)
    for bad in (2, 3, 4, 5):
        with pytest.raises(DatasetError, match=f"Row {bad} of `image` holds no image that can be decoded"):
            rows.inputs([0, bad])
        with pytest.raises(DatasetError, match=f"Row {bad} of `image`"):
            rows.select([8, bad]).inputs([0, 1])
    kept = TargetRows.of(dataset, skip_bad_rows=True)
    assert kept.origin.tolist() == [0, 1, 6, 7, 8]
    assert len(kept.inputs(range(5))) == 5


def test_a_picture_whose_file_is_gone_is_named(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(png(number))
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    dataset = Dataset.from_dict({"image": list(map(str, paths)), "label": [0, 1, 0, 1]}, features=features)
    paths[2].unlink()
    rows = TargetRows.of(dataset)
    assert len(set(rows.digests)) == 4
    with pytest.raises(DatasetError, match="Row 2 of `image`"):
        rows.inputs([2])


def test_other_columns_are_never_decoded():
    dataset = image_rows([png(0), png(1)], [0, 1])
    features = Features({**dataset.features, "mask": Image()})
    broken = dataset.add_column("mask", [{"bytes": b"nothing", "path": None}] * 2).cast(features)
    assert len(TargetRows.of(broken, input_column="image").inputs([0, 1])) == 2


def test_a_row_keeps_its_digest_wherever_it_goes(images, texts):
    for dataset in (images, texts):
        rows = TargetRows.of(dataset)
        assert len(set(rows.digests)) == 12
        shuffled = TargetRows.of(dataset.shuffle(seed=1))
        assert sorted(shuffled.digests) == sorted(rows.digests)
        assert rows.select([5, 2]).digests == [rows.digests[5], rows.digests[2]]
        assert TargetRows.of(dataset.with_format("torch")).fingerprint == rows.fingerprint


def test_the_fingerprint_follows_order_inputs_and_labels(texts):
    rows = TargetRows.of(texts)
    assert rows.fingerprint == TargetRows.of(texts.select(range(12))).fingerprint
    other = text_rows(texts["text"][:], [1, *texts["label"][1:]])
    assert len({rows.fingerprint, TargetRows.of(other).fingerprint, rows.select(range(11)).fingerprint}) == 3
    assert rows.select([1, 0]).fingerprint != rows.select([0, 1]).fingerprint


def test_large_strings_count_as_text(texts):
    rows = TargetRows.of(texts.cast_column("text", Value("large_string")))
    assert rows.modality == "text"


def test_images_in_another_mode_are_other_rows(images):
    rows, grey = TargetRows.of(images), TargetRows.of(images.cast_column("image", Image(mode="1")))
    assert not set(rows.digests) & set(grey.digests)
    assert rows.fingerprint != grey.fingerprint
    stored = [{"bytes": png(row), "path": None} for row in range(2)]
    masks = [
        Dataset.from_dict({"image": stored, "mask": stored}, Features({"image": Image(), "mask": Image(mode=mode)}))
        for mode in (None, "1")
    ]
    of_labels = [
        TargetRows.with_raw_labels(each, rows.label_space, label_column="mask").label_digests for each in masks
    ]
    assert not set(of_labels[0]) & set(of_labels[1])


def test_rows_to_predict_need_no_labels_and_are_all_kept(texts):
    like = TargetRows.of(texts)
    for dataset in (texts.remove_columns("label"), text_rows(texts["text"][:], [-1] * 12)):
        rows = TargetRows.to_predict(dataset, like)
        assert len(rows) == 12 and len(rows.labelled) == 0
        assert rows.label_space == like.label_space
        assert rows.inputs([3]) == like.inputs([3])
    assert torch.equal(TargetRows.to_predict(texts, like).labels, like.labels)
    assert TargetRows.to_predict(texts.remove_columns("label"), like).label_digests == [None] * 12
    with pytest.raises(DatasetError, match=r"Row 1 of `text` is empty.*out, except of predictions"):
        TargetRows.to_predict(text_rows(["a", " "], [0, 1]), like)
    with pytest.raises(DatasetError, match="`input_column` 'text' is not a column"):
        TargetRows.to_predict(texts.rename_column("text", "words"), like)


def test_transform_that_would_be_dropped_is_refused(images):
    changed = images.with_transform(lambda batch: batch)
    with pytest.raises(DatasetError, match=r"`dataset` has a transform, .* `reset_format\(\)`, .* `augmentation=`"):
        TargetRows.of(changed)
    assert len(TargetRows.of(changed.with_format(None))) == len(images)
    assert len(TargetRows.of(images.with_format("torch"))) == len(images)


def pairs(**columns) -> Dataset:
    texts = {"hypothesis": list("wxyz"), "premise": list("abcd")}
    return Dataset.from_dict({**texts, "label": [0, 1, 0, 1], **columns})


def test_two_columns_of_texts_are_read_as_a_pair_in_order():
    rows = TargetRows.of(pairs())
    assert (rows.modality, rows.input_columns) == ("text", ("premise", "hypothesis"))
    assert rows.inputs([2, 0]) == [("c", "y"), ("a", "w")]
    assert rows.text_lengths == [2] * 4
    turned = TargetRows.of(pairs(), input_column=["hypothesis", "premise"])
    assert turned.inputs([0]) == [("w", "a")]
    assert TargetRows.of(pairs(), input_column="premise").inputs([0]) == ["a"]
    assert TargetRows.to_predict(pairs().remove_columns("label"), rows).inputs([3]) == [("d", "z")]
    like = TargetRows.with_raw_labels(pairs(), rows.label_space, label_column="label")
    assert like.input_columns == ("premise", "hypothesis")


def test_the_digest_of_a_pair_is_that_of_both_texts_where_they_are_cut():
    rows = TargetRows.of(pairs(premise=["ab", "a", "a", "a"], hypothesis=["c", "bc", "x", "y"]))
    assert len(set(rows.digests)) == 4
    swapped = TargetRows.of(rows.dataset, input_column=["hypothesis", "premise"])
    assert not set(rows.digests) & set(swapped.digests)


@pytest.mark.parametrize("empty", [" ", None])
def test_half_a_pair_is_a_bad_row(empty):
    dataset = pairs(hypothesis=["w", empty, "y", "z"], label=[0, 0, 0, 1]).add_column("id", list("1234"))
    with pytest.raises(DatasetError, match=r"Row 1 of `premise` and `hypothesis` is empty \(1 such rows\)"):
        TargetRows.of(dataset)
    both = pairs(hypothesis=["w", empty, "y", "z"], label=[0, 0, 1, 1])
    with pytest.raises(DatasetError, match="Row 1 of `premise` and `hypothesis`"):
        TargetRows.to_predict(both, TargetRows.of(pairs()))


def test_labels_of_evaluation_rows_are_those_of_the_training_rows():
    train = TargetRows.of(columns(text=list("abcd"), label=[10, 20, 30, 30]))
    rows = TargetRows.of(columns(text=list("ef"), label=[30, 10]), evaluation=True, label_space=train.label_space)
    assert rows.labels.tolist() == [2, 0] and rows.label_space == train.label_space
    predicted = TargetRows.to_predict(columns(text=list("ef"), label=[20, -1]), train)
    assert predicted.labels.tolist() == [1, -100]


def test_names_as_labels_are_no_input():
    rows = TargetRows.of(columns(label=["cat", "dog", "cat", "dog"], words=list("abcd")))
    assert rows.input_columns == ("words",) and rows.label_space.names == ("cat", "dog")
