import pytest

from hf_ctkd.demo import text
from hf_ctkd.demo.text import collect_docstrings, docstrings_dataset, load_docstrings, text_key
from hf_ctkd.errors import DatasetError, MissingExtraError


def test_first_paragraphs_are_collected_once_with_package_and_kind(library):
    found = [(row.text, row.package, row.kind) for row in collect_docstrings(library)]
    assert found == [
        ("take one SMALL step, downhill", "optim", "function"),
        ("Solve many kinds of equations here.", "optim", "module"),
        ("A solver that takes small steps.", "optim", "class"),
        ("Smooth a signal over time.", "signal", "function"),
    ]


def test_depth_two_labels_by_module(library):
    packages = {row.package for row in collect_docstrings(library, depth=2)}
    assert packages == {"optim.again", "optim.solve", "signal.filter"}


def test_equal_words_have_one_key():
    assert text_key("Take one, step!") == text_key("take  ONE step") != text_key("take two step")


def test_docstrings_of_an_installed_library_are_parsed_once(tmp_path, monkeypatch):
    first = load_docstrings("accelerate")
    assert list((tmp_path / "cache" / "docstrings").iterdir())
    monkeypatch.setattr(text, "collect_docstrings", lambda *_, **__: pytest.fail("parsed again"))
    assert load_docstrings("accelerate") == first


def test_classes_with_few_rows_are_dropped(tmp_path):
    dataset = docstrings_dataset("accelerate", min_rows=10)
    assert "utils" in dataset.features["label"].names
    labels = dataset["label"][:]
    assert min(labels.count(label) for label in set(labels)) >= 10
    kinds = docstrings_dataset("accelerate", min_rows=10, label="kind").features["label"].names
    assert {"class", "function", "method"} <= set(kinds)


def test_too_few_classes_and_a_missing_library_are_refused():
    with pytest.raises(DatasetError, match="'accelerate' has 0 classes of `min_rows`=100000"):
        docstrings_dataset("accelerate", min_rows=100000)
    with pytest.raises(MissingExtraError, match="`library` 'no_such_library' is not installed as a package"):
        docstrings_dataset("no_such_library")
