"""Files that were edited, cut off, or written by another version: each gives one line that names file and field."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import (
    CommitteeMember,
    Confidence,
    DistillationRecord,
    LossRecord,
    PoolRecord,
    RankedTeacher,
    StudentRecord,
    TaskRecord,
    TeacherCandidate,
    TeacherRanking,
    TeacherRecord,
    TransportMap,
)

CANDIDATE = TeacherCandidate("zoo/a", "ab", label_names=("x", "y"), parameters=9000)
RECORD = DistillationRecord(
    task=TaskRecord("me/pets", "1f2e", "image-classification", "image", "label", ("cat", "dog"), 60, 20, 30),
    student=StudentRecord("ResNetForImageClassification", parameters=6),
    teachers=(TeacherRecord(CANDIDATE, 0.5),),
    loss=LossRecord("row_transport", {"epsilon": 0.1}, "Lu et al. 2022"),
    results={"accuracy": Confidence(0.9, 0.8, 0.95)},
    transport_map=TransportMap("zoo/a", ("x", "y"), ("cat", "dog"), ((0.5, 0.0), (0.0, 0.5))),
    pool=PoolRecord({"family": "vit"}, 2, {"heads": (2, 4)}),
)
RANKING = TeacherRanking(
    (RankedTeacher(CANDIDATE, {"leep": -0.5}, rows=20),), "leep", members=(CommitteeMember(1, "zoo/a", 0.3),)
)
MISSING = object()


def save_damaged(record: DistillationRecord | TeacherRanking, path: Path, place: tuple[str | int, ...], value: object):
    """Save a record in which one value is replaced, or removed when it is `MISSING`."""
    record.save(path)
    values = json.loads(path.read_text())
    parent = values
    for key in place[:-1]:
        parent = parent[key]
    if value is MISSING:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    path.write_text(json.dumps(values))


def message(kind: type[DistillationRecord] | type[TeacherRanking], path: Path) -> str:
    with pytest.raises(InvalidArgumentError) as error:
        kind.load(path)
    text = str(error.value)
    assert str(path) in text and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("format",), MISSING, "the field `format` must be 2, which this version of hf_ctkd reads, got None. Make"),
        (
            ("format",),
            1,
            "the field `format` must be 2, which this version of hf_ctkd reads, got 1. Make the file again",
        ),
        (("format",), 3, "got 3. Install a newer hf_ctkd."),
        (("format",), True, "the field `format` must be 2"),
        (("format",), 2.0, "the field `format` must be 2"),
        (("kind",), "teacher-ranking", "must hold a record of kind 'distillation', got 'teacher-ranking'"),
        (("student",), MISSING, "the field `student` is missing. Restore the file, or make it again."),
        (("student",), [], "the field `student` must be an object, got []."),
        (("student", "parameters"), "6", "the field `student.parameters` must be a valid integer, got '6'."),
        (("student", "parameters"), True, "the field `student.parameters` must be a valid integer, got True."),
        (("student", "parameters"), 6.5, "the field `student.parameters` must be a valid integer, got 6.5."),
        (("student", "parametres"), 6, "the field `student.parametres` is unknown."),
        (("task", "label_names"), "cat", "the field `task.label_names` must be a valid array, got 'cat'."),
        (("task", "label_names", 1), None, "the field `task.label_names[1]` must be a valid string, got None."),
        (("task", "labelled_rows"), 70, "the field `task` is wrong: `labelled_rows` must lie between 0 and"),
        (("teachers",), {}, "the field `teachers` must be a valid array, got {}."),
        (
            ("teachers", 0, "candidate", "source"),
            "disk",
            "`teachers[0].candidate.source` must be 'hub' or 'folder', got",
        ),
        (
            ("teachers", 0, "candidate", "random_weights"),
            1,
            "`teachers[0].candidate.random_weights` must be a valid boolean",
        ),
        (("teachers", 0, "weight"), float("nan"), "is not valid JSON: NaN is not a finite number. Restore"),
        (("results",), [], "the field `results` must be an object, got []."),
        (("results", "accuracy", "value"), MISSING, "the field `results.accuracy.value` is missing."),
        (("loss", "settings"), "x" * 100, f"the field `loss.settings` must be an object, got '{'x' * 58}…."),
        (("transport_map", "mass", 0), [0.5], "the field `transport_map` is wrong: `mass` must be 2 by 2"),
        (
            ("pool", "choices", "heads", 0),
            "two",
            "the field `pool.choices.heads[0]` must be a valid integer, got 'two'.",
        ),
    ],
)
def test_a_damaged_record_names_its_field(tmp_path, place, value, expected):
    path = tmp_path / "distillation.json"
    save_damaged(RECORD, path, place, value)
    assert expected in message(DistillationRecord, path)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("metric",), None, "the field `metric` must be a valid string, got None."),
        (
            ("teachers", 0, "scores", "leep"),
            "high",
            "the field `teachers[0].scores.leep` must be a valid number, got 'high'",
        ),
        (
            ("teachers", 0, "skipped_code"),
            "tired",
            "the field `teachers[0].skipped_code` must be 'unknown', 'gated'",
        ),
        (("teachers", 0, "candidate"), MISSING, "the field `teachers[0].candidate` is missing."),
        (("members", 0, "rank"), 2, "`members` must be ranked between 1 and 1, got rank 2."),
        (("dataset",), None, "the field `dataset` must be an object, got None."),
    ],
)
def test_a_damaged_ranking_names_its_field(tmp_path, place, value, expected):
    path = tmp_path / "ranking.json"
    save_damaged(RANKING, path, place, value)
    assert expected in message(TeacherRanking, path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off(tmp_path, share):
    path = RECORD.save(tmp_path / "distillation.json")
    content = path.read_text()
    path.write_text(content[: int(share * len(content))])
    assert "is not valid JSON" in message(DistillationRecord, path)


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "distillation.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not valid JSON" in message(DistillationRecord, path)


def test_whole_numbers_are_finite_numbers_and_defaults_may_be_missing(tmp_path):
    path = tmp_path / "distillation.json"
    save_damaged(RECORD, path, ("teachers", 0, "weight"), 1)
    assert DistillationRecord.load(path).teachers[0].weight == 1.0
    save_damaged(RECORD, path, ("pool",), MISSING)
    assert DistillationRecord.load(path).pool is None


def test_a_number_beyond_the_largest_float_is_no_number(tmp_path):
    path = tmp_path / "distillation.json"
    RECORD.save(path)
    path.write_text(path.read_text().replace('"epsilon": 0.1', '"epsilon": 1e999'))
    assert "is not valid JSON: 1e999 is not a finite number" in message(DistillationRecord, path)
    save_damaged(RECORD, path, ("teachers", 0, "weight"), 10**400)
    message(DistillationRecord, path)


MODEL_CARDS = Path(__file__).parents[2] / "model_cards"
REPLACEMENTS = (None, True, -1, 0.5, "text", [], [None], {}, {"x": None})


def fields(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every field of a file; of a list of numbers or names the first entry stands for all."""
    if place:
        yield place
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from fields(entry, (*place, name))
    elif isinstance(value, list) and value:
        yield from fields(value[0], (*place, 0))


def variants(text: str) -> Iterator[tuple[str, dict]]:
    """A record with every field deleted and retyped in turn, and with a field too many at every level."""
    for place in fields(json.loads(text)):
        for replacement in (MISSING, *REPLACEMENTS):
            changed = json.loads(text)
            parent = changed
            for key in place[:-1]:
                parent = parent[key]
            if replacement is MISSING:
                del parent[place[-1]]
            else:
                parent[place[-1]] = replacement
            yield f"{place} -> {'missing' if replacement is MISSING else replacement!r}", changed


@pytest.mark.parametrize(("name", "kind"), [("distillation", DistillationRecord), ("ranking", TeacherRanking)])
def test_a_file_with_any_field_deleted_or_retyped_loads_or_names_itself(tmp_path, name, kind):
    text = (MODEL_CARDS / "digits-image-student" / f"{name}.json").read_text()
    path = tmp_path / f"{name}.json"
    refused = loaded = 0
    for change, changed in variants(text):
        path.write_text(json.dumps(changed))
        try:
            record = kind.load(path)
        except InvalidArgumentError as error:
            assert str(path) in str(error) and "\n" not in str(error), change
            refused += 1
        else:
            json.dumps(record.to_dict(), allow_nan=False)
            loaded += 1
    assert refused > 200 and loaded > 50
