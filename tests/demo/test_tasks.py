import doctest
import importlib

import numpy as np
import pytest

from hf_ctkd.demo import tasks
from hf_ctkd.demo.tasks import (
    FAMILIES,
    RARE_DIGITS,
    TASKS,
    assemble_task,
    build_task,
    digit_pools,
    docstring_pools,
    stratified_rows,
)
from hf_ctkd.demo.text import text_key
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.types import UNLABELLED


def images_of(dataset):
    return {image.tobytes() for image in dataset["image"]}


def test_examples_run():
    assert doctest.testmod(tasks).failed == 0


def test_no_row_is_in_two_splits_nor_with_the_teachers():
    teachers, _ = digit_pools()
    task = build_task("digits", labels=50, seed=3)
    splits = [images_of(part) for part in (teachers, task.labelled, task.unlabelled, task.validation, task.test)]
    assert sum(len(part) for part in splits) == len(set().union(*splits)) == 1797


def test_a_seed_moves_labels_and_nothing_else():
    first, second = (build_task("digits", labels=50, seed=seed) for seed in (0, 1))
    assert images_of(first.test) == images_of(second.test)
    assert images_of(first.validation) == images_of(second.validation)
    assert images_of(first.train()) == images_of(second.train())
    assert images_of(first.labelled) != images_of(second.labelled)
    assert images_of(first.labelled) == images_of(build_task("digits", labels=50, seed=0).labelled)


def test_labels_of_unlabelled_rows_are_hidden_but_known_to_an_oracle():
    task = build_task("digits", labels=100, seed=0)
    assert set(task.unlabelled["label"][:]) == {UNLABELLED}
    assert task.train().features == task.test.features
    truth = {image.tobytes(): label for image, label in zip(*digit_rows(), strict=True)}
    assert [truth[image.tobytes()] for image in task.unlabelled["image"]] == list(task.hidden_labels)


def digit_rows():
    train = digit_pools()[1].train
    return train["image"], train["label"][:]


def test_families_are_other_labels_over_the_same_rows():
    plain, families = (build_task(name, labels=50, seed=0) for name in ("digits", "digit-families"))
    assert images_of(plain.test) == images_of(families.test)
    assert families.label_space.names == tuple(FAMILIES)
    digit = plain.label_names[plain.test[0]["label"]]
    assert digit in FAMILIES[families.label_names[families.test[0]["label"]]]


def test_rare_digits_keep_every_fifth_row():
    full, thin = digit_pools()[1].train, TASKS["digits-imbalanced"][1]().train
    counts, thinned = np.bincount(full["label"][:]), np.bincount(thin["label"][:])
    rare = [thin.features["label"].names.index(name) for name in RARE_DIGITS]
    assert np.array_equal(thinned[rare], -(-counts[rare] // 5))
    assert np.array_equal(np.delete(thinned, rare), np.delete(counts, rare))


def test_glyph_task_has_enough_rows_to_test_on():
    task = build_task("greek-letters", labels=100, seed=0)
    assert len(task.label_names) == 24 and len(task.test) >= 300
    assert not images_of(task.train()) & images_of(task.test)


def test_texts_are_shared_out_by_their_words_whatever_the_library():
    teachers, pools = docstring_pools("accelerate", min_rows=10)
    parts = [
        {text_key(text) for text in part["text"]} for part in (teachers, pools.train, pools.validation, pools.test)
    ]
    assert all(parts) and sum(map(len, parts)) == len(set().union(*parts))
    kinds = docstring_pools("accelerate", min_rows=1, label="kind")[0]
    assert parts[0] <= {text_key(text) for text in kinds["text"]}
    assert not (parts[1] | parts[3]) & {text_key(text) for text in kinds["text"]}


def test_labelled_rows_follow_the_classes_with_two_at_least():
    labels = np.repeat([0, 1, 2], [80, 16, 4])
    rows = stratified_rows(labels, 20, seed=0)
    assert np.bincount(labels[rows]).tolist() == [15, 3, 2]
    assert len(set(rows.tolist())) == 20


@pytest.mark.parametrize("labels", [19, 600])
def test_too_few_or_too_many_labels_are_refused(labels):
    with pytest.raises(InvalidArgumentError, match=f"`labels` must lie between 20 .* and 599, got {labels}"):
        build_task("digits", labels=labels, seed=0)


def test_a_task_of_ones_own_joins_by_name(tmp_path, monkeypatch, text_task):
    source = "build = lambda labels, seed: (labels, seed)\nready = lambda labels, seed: TASK\n"
    (tmp_path / "own_task.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib.import_module("own_task"), "TASK", text_task, raising=False)
    assert build_task("own_task:ready", labels=7, seed=2) is text_task
    with pytest.raises(InvalidArgumentError, match="must be a function that returns a `DemoTask`, got tuple"):
        build_task("own_task:build", labels=7, seed=2)
    with pytest.raises(InvalidArgumentError, match="'own_task:other' cannot be imported"):
        build_task("own_task:other", labels=7, seed=2)
    with pytest.raises(InvalidArgumentError, match="`name` must be one of digits, .*, got 'nothing'"):
        build_task("nothing", labels=7, seed=2)


def test_pools_of_ones_own_make_a_task(text_task):
    assert text_task.modality == "text" and len(text_task.labelled) == 8
    again = assemble_task(
        "toy", "text", tasks.Pools(text_task.test, text_task.validation, text_task.labelled), labels=4, seed=0
    )
    assert len(again.train()) == len(text_task.test)
