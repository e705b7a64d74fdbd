import importlib.util
import inspect

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from index_teachers import teacher

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub.limits import check_max_parameters
from hf_ctkd.index import TeacherFilter, TeacherIndex, WordLlamaEncoder


def names(candidates) -> list[str]:
    return [candidate.model_id.removeprefix("org/") for candidate in candidates]


def test_shared_words_and_inflections_find_a_teacher(index):
    assert names(index.search(["cats", "dogs"])) == ["pets-popular", "pets"]
    assert names(index.search(["truck"])) == ["cars"]
    assert names(index.search(["negatively", "positively"])) == ["mood"]
    assert index.search(["fjord"]) == []


def test_of_teachers_with_the_same_classes_the_more_downloaded_comes_first(index):
    (first, cost), (second, same) = index.search_with_costs(["golden retriever", "tabby cat"])
    assert names([first, second]) == ["pets-popular", "pets"] and cost == same


def test_the_same_classes_cost_nothing_and_others_more(tmp_path):
    same, part = ["rose", "tulip", "oak"], ["rose", "hammer", "anvil"]
    many = [*same, *(f"{word} tool" for word in ("big", "red", "odd", "old", "new", "hot", "wet", "dry", "raw"))]
    teachers = [teacher("part", part), teacher("same", same), teacher("many", many)]
    ranked = TeacherIndex.build(teachers, tmp_path).search_with_costs(same)
    assert names(candidate for candidate, _ in ranked) == ["same", "many", "part"]
    costs = [cost for _, cost in ranked]
    assert abs(costs[0]) < 0.02 and costs[1] < 0.2 and costs[2] > 0.4


def test_filters_are_conditions_on_metadata(index):
    labels = ["cat", "truck", "positive"]
    assert set(names(index.search(labels))) == {"pets", "pets-popular", "cars", "mood"}
    assert names(index.search(labels, task="text-classification")) == ["mood"]
    assert set(names(index.search(labels, license="mit"))) == {"pets", "cars"}
    assert names(index.search(labels, language="de")) == ["mood"]
    assert names(index.search(labels, max_parameters=1e7)) == ["pets"]
    assert names(index.search(labels, min_downloads=100)) == ["pets-popular"]
    assert index.search(labels, task="no-such-task") == []
    assert len(index.search(labels, k=2)) == 2


def test_the_classes_of_a_data_set_are_searched_for(index):
    features = Features({"text": Value("string"), "kind": ClassLabel(names=["positive", "negative"])})
    rows = Dataset.from_dict({"text": ["a", "b"], "kind": [0, 1]}, features=features)
    assert names(index.search(rows)) == ["mood"]
    rows = Dataset.from_dict({"text": ["a", "b"], "topic": ["truck", "sports car"]})
    assert names(index.search(rows, label_column="topic")) == ["cars"]


def test_an_index_is_read_as_it_was_written(index, teachers, tmp_path):
    assert index.teachers == teachers and len(index) == len(teachers)
    assert TeacherIndex.load(tmp_path / "index").teachers == teachers
    [part] = (tmp_path / "index" / "data").iterdir()
    assert TeacherIndex.load(part).teachers == teachers


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="holds no index of teachers. Name another folder, or make"):
        TeacherIndex.load(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidArgumentError, match="a.parquet cannot be read as Parquet"):
        TeacherIndex.load(tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["org/a"]}), tmp_path / "b.parquet")
    with pytest.raises(InvalidArgumentError, match="is no index of teachers: its column 'revision' is missing"):
        TeacherIndex.load(tmp_path / "b.parquet")


def unchecked_search(index, label_names, **arguments):
    """Without the types that the tests have checked at each call, as users have it."""
    return inspect.unwrap(TeacherIndex.search_with_costs)(index, label_names, **arguments)


def test_a_number_of_parameters_is_no_text():
    with pytest.raises(InvalidArgumentError, match="must be a positive number, got '300M'. Try 300e6"):
        check_max_parameters("300M")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"k": 0}, "`k` must be at least 1, got 0"),
     ({"max_parameters": 0}, "`max_parameters` must be a positive number, got 0"),
     ({"min_downloads": -1}, "`min_downloads` must be 0 or more, got -1")],
)  # fmt: skip
def test_values_out_of_range_are_refused(index, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        index.search(["cat"], **arguments)


def test_a_feature_names_its_classes(index):
    assert names(index.search(ClassLabel(names=["positive", "negative"]))) == ["mood"]
    from_iterator = unchecked_search(index, (name for name in ("truck", "car")))
    assert names(teacher for teacher, _ in from_iterator) == ["cars"]
    with pytest.raises(InvalidArgumentError, match="`k` must be at least 1, got 2.0. Give a whole number"):
        unchecked_search(index, ["cat"], k=2.0)


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda rows: DatasetDict(train=rows, test=rows), "DatasetDict"),
        (lambda rows: rows.to_iterable_dataset(), "IterableDataset"),
        (lambda rows: rows.features, "Features"),
        (lambda rows: {0: "cat", 1: "dog"}, "dict"),
        (lambda rows: [0, 1], "int"),
        (lambda rows: None, "NoneType"),
    ],
)
def test_what_holds_no_names_is_refused(index, make, given):
    rows = Dataset.from_dict({"text": ["a"], "label": ["cat"]})
    with pytest.raises(
        InvalidArgumentError, match=f"one split as a datasets.Dataset, got {given}. Pass a list of names"
    ):
        unchecked_search(index, make(rows))


def test_names_that_say_nothing_are_refused(index):
    with pytest.raises(
        InvalidArgumentError, match=r"`label_names` must name classes, got \['LABEL_0', '1'\], which say"
    ):
        index.search(["LABEL_0", "1"])


def test_an_encoder_is_any_function_with_a_name(teachers, tmp_path):
    class Initials:
        name = "initials"

        def __call__(self, names: list[str]) -> np.ndarray:
            return np.eye(26)[[ord(name[0]) - ord("a") for name in names]]

    index = TeacherIndex.build(teachers, tmp_path, encoder=Initials())
    assert names(index.search(["pasta", "noodles"])) == ["mood", "cars", "pets-popular", "pets"]


@pytest.mark.skipif(importlib.util.find_spec("wordllama") is None, reason="wordllama is not installed")
def test_meaning_counts_with_word_vectors(teachers, tmp_path):
    index = TeacherIndex.build(teachers, tmp_path, encoder=WordLlamaEncoder())
    assert names(index.search(["kitten", "puppy"]))[:2] == ["pets-popular", "pets"]
    assert names(index.search(["automobile"]))[0] == "cars"
    assert names(index.search(["happy", "unhappy"]))[0] == "mood"


def test_conditions_may_be_passed_whole(index):
    assert len(index.search_with_costs(["cat"], TeacherFilter(max_parameters=1e7))) == 1
