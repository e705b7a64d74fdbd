import json
from dataclasses import replace

import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import (
    Confidence,
    DistillationRecord,
    LossRecord,
    PoolRecord,
    Proportion,
    Reliability,
    ReliabilityBin,
    StudentRecord,
    TaskRecord,
    TeacherCandidate,
    TeacherRecord,
    TransportMap,
)

PLAIN = DistillationRecord(
    task=TaskRecord("me/pets", "1f2e", "image-classification", "image", "label", ("cat", "dog"), 60, 20, 30),
    student=StudentRecord("ResNetForImageClassification", parameters=6),
    teachers=(),
    loss=LossRecord("none", {}, ""),
)
FULL = DistillationRecord(
    task=PLAIN.task,
    student=PLAIN.student,
    teachers=(
        TeacherRecord(TeacherCandidate("zoo/a", "ab", label_names=("x", "y", "z")), 0.5, 100.0, Proportion(15, 20)),
    ),
    loss=LossRecord("row_transport", {"epsilon": 0.1, "probe": {"name": "linear_probe"}}, "ours"),
    results={"accuracy": Confidence(0.9, 0.8, 0.95), "recall": Confidence(0.8)},
    baseline={"accuracy": Confidence(0.7, 0.6, 0.75, level=0.9)},
    training={"seed": 0},
    command="hf-ctkd distill",
    versions={"torch": "2.13.0"},
    transport_map=TransportMap("zoo/a", ("x", "y", "z"), ("cat", "dog"), ((0.2, 0.1), (0.3, 0.0), (0.0, 0.4))),
    reliability=Reliability(0.2, 0.7, (ReliabilityBin(0.75, 0.5, 4), ReliabilityBin(0.95, 1.0, 2))),
)

GENERIC = replace(
    PLAIN,
    pool=PoolRecord({"family": "vit", "depths": [[1, 2], [1]]}, 4, {"heads": (2, 4)}, {"heads": (0.25, 0.75)}),
)


@pytest.mark.parametrize("record", [PLAIN, FULL, GENERIC], ids=["plain", "full", "generic"])
def test_what_is_saved_is_loaded_equal(record, tmp_path):
    assert DistillationRecord.load(record.save(tmp_path / "distillation.json")) == record


def test_a_record_from_before_reliability_and_accuracy_of_probes_is_loaded(tmp_path):
    path = FULL.save(tmp_path / "distillation.json")
    values = json.loads(path.read_text())
    del values["reliability"], values["teachers"][0]["probe_accuracy"]
    path.write_text(json.dumps(values))
    assert DistillationRecord.load(path) == replace(
        FULL, reliability=None, teachers=(replace(FULL.teachers[0], probe_accuracy=None),)
    )


def test_another_record_is_refused(tmp_path):
    (tmp_path / "ranking.json").write_text('{"kind": "teacher-ranking"}')
    with pytest.raises(InvalidArgumentError, match="must hold a record of kind 'distillation', got 'teacher-ranking'"):
        DistillationRecord.load(tmp_path / "ranking.json")


def test_a_gain_is_within_chance_where_its_interval_includes_0():
    gain = {"a": Confidence(1.0, 0.0, 2.0), "b": Confidence(-1.0, -2.0, -0.1), "c": Confidence(0.0)}
    gain |= {"same": Confidence(0.0, 0.0, 0.0), "unknown": Confidence(0.0)}
    assert replace(FULL, gain=gain).gain_within_chance == ("a",)
    assert replace(FULL, gain=gain).gain_nowhere == ("same",)


def test_a_difference_has_the_interval_of_the_gain_where_there_is_one():
    assert FULL.differences == {"accuracy": Confidence(pytest.approx(0.2))}
    paired = Confidence(0.2, 0.1, 0.3)
    assert replace(FULL, gain={"accuracy": paired}).differences == {"accuracy": paired}


def test_levels_of_the_intervals():
    assert FULL.confidence_levels == (0.9, 0.95)
    assert PLAIN.confidence_levels == ()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"labelled_rows": 61}, "`labelled_rows` must lie between 0 and `train_rows` = 60, got 61"),
        ({"eval_rows": -1}, "`eval_rows` must be at least 0, got -1"),
        ({"majority_share": 0.0}, r"`majority_share` must lie in \(0, 1\], got 0.0"),
    ],
)
def test_numbers_of_rows_that_do_not_fit_each_other(numbers, message):
    with pytest.raises(InvalidArgumentError, match=message):
        replace(PLAIN.task, **numbers)


def test_masses_that_do_not_fit_the_names():
    with pytest.raises(InvalidArgumentError, match="`mass` must be 2 by 3"):
        TransportMap("t", ("a", "b"), ("x", "y", "z"), ((0.5, 0.5),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Confidence(0.5, low=0.4), "`low` and `high` must both be numbers or both None"),
        (lambda: Confidence(0.5, 0.6, 0.4), "`low` must be at most `high` = 0.4, got 0.6"),
        (lambda: Confidence(0.5, level=95), r"`level` must lie in \(0, 1\), got 95"),
        (lambda: replace(PLAIN.student, parameters=-1), "`parameters` must not be negative, got -1"),
        (lambda: replace(FULL.teachers[0], weight=-0.5), "`weight` must not be negative, got -0.5"),
        (lambda: replace(PLAIN.loss, input_share=1.5), r"`input_share` must lie in \[0, 1\], got 1.5"),
        (lambda: TransportMap("t", (), ("x",), ()), "must name classes, got 0 and 1 of them"),
        (lambda: TransportMap("t", ("a",), ("x",), ((-1.0,),)), "`mass` must hold shares of 0 or more, got -1.0"),
        (lambda: PoolRecord({}, 0, {}), "`members` must be at least 1, got 0"),
        (lambda: PoolRecord({}, 2, {"heads": (2, 4)}, {"heads": (1.0,)}), "`probabilities` of 'heads' must be 2"),
        (
            lambda: replace(PLAIN.task, eval_rows=5, eval_rows_in_training=6),
            "`eval_rows_in_training` must lie between 0 and `eval_rows` = 5, got 6",
        ),
    ],
)
def test_numbers_that_cannot_be(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make()


def test_teachers_with_random_weights_are_no_pretrained_ones():
    random = replace(FULL.teachers[0], candidate=replace(FULL.teachers[0].candidate, random_weights=True))
    record = replace(FULL, teachers=(*FULL.teachers, random, replace(FULL.teachers[0], weight=0.0)))
    assert record.pretrained_teachers == FULL.teachers and record.teachers_with_weight == (*FULL.teachers, random)
