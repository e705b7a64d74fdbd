from dataclasses import replace

from hf_ctkd.cards.limitations import limitations
from hf_ctkd.records import Confidence, PoolRecord, TeacherRecord
from hf_ctkd.tasks import DepthEstimation, SemanticSegmentation
from hf_ctkd.types import LabelSpace


def said(record, ranking=None) -> str:
    return "\n".join(limitations(record, ranking))


def test_few_labels_and_unlabelled_rows(image_record):
    assert "Few labels: 50 labelled rows, 5 a class on average." in said(image_record)
    assert "550 of 600 training rows had no label. They were learnt from the teacher alone" in said(image_record)
    rich = replace(image_record, task=replace(image_record.task, train_rows=5000, labelled_rows=5000))
    assert "Few labels" not in said(rich)
    assert "had no label" not in said(rich)
    assert "teacher" not in said(replace(image_record, teachers=(), baseline={}, results={}))


def test_what_was_read_out_of_the_input_is_not_claimed_for_the_teachers(image_record):
    assert "its own input" not in said(image_record)
    mixed = replace(image_record, loss=replace(image_record.loss, input_share=0.347))
    assert "35 % of what it was taught beside its labels was read out of its own input" in said(mixed)
    assert "They were learnt from the teacher and the input, with whatever errors" in said(mixed)


def test_small_test_set(image_record):
    assert "with 300 rows, an accuracy is uncertain by up to 5.7 points" in said(image_record)
    large = replace(image_record, task=replace(image_record.task, eval_rows=5000))
    assert "Small test set" not in said(large)


def test_a_generic_teacher_says_nothing_of_its_students(image_record):
    generic = replace(image_record, pool=PoolRecord({"family": "vit"}, 2, {"heads": (2, 4)}))
    assert "Whether its students are better than those of a plainly trained teacher is not measured here" in said(
        generic
    )
    assert "pool" not in said(image_record)


def test_not_evaluated(text_record):
    assert "It was not evaluated: nothing is known of how well it does." in said(text_record)
    assert "distillation" not in said(text_record)


def test_values_without_intervals(image_record):
    plain = replace(image_record, results={"accuracy": Confidence(0.9)}, baseline={"accuracy": Confidence(0.9)})
    assert "No intervals were computed: how much the result depends on the choice of test rows" in said(plain)
    assert "The intervals" not in said(plain)


def test_no_baseline_or_one_within_chance(image_record):
    assert "The intervals with and without distillation overlap for f1:" in said(image_record)
    alone = replace(image_record, baseline={})
    assert "No student was trained without distillation, so what the teacher added is not known." in said(alone)


def test_where_the_teachers_come_from(image_record, ranking):
    assert "chosen by hand" in said(image_record)
    assert "chosen by hand" not in said(image_record, ranking)
    assert "ranked on other rows" not in said(image_record, ranking)
    other = replace(ranking, dataset={"fingerprint": "zz99"})
    assert "ranked on other rows than those trained on: zz99 instead of 1f2e3d." in said(image_record, other)
    own = replace(image_record.teachers[0].candidate, model_id="zoo/own", source="folder", license=None)
    folder = said(replace(image_record, teachers=(TeacherRecord(own),)))
    assert "Not on the Hub, so that others may be unable to get it: own." in folder
    assert "Under which terms it may be used is not settled: see the licence of own." in folder


def test_students_that_say_something_of_every_pixel(image_record):
    words = SemanticSegmentation(LabelSpace(image_record.task.label_names)).words("image")
    task = replace(image_record.task, task="image-segmentation", words=words)
    masks = said(replace(image_record, task=task))
    assert "Few labels: 50 labelled images." in masks and "Small test set: 300 images." in masks
    assert "It knows 10 classes and puts every pixel into one" in masks and "an accuracy" not in masks
    depths = said(replace(image_record, task=replace(task, label_names=(), words=DepthEstimation().words("image"))))
    assert "Its depths are metres" in depths and "classes" not in depths
    assert "Few labels" not in said(replace(image_record, task=replace(task, train_rows=1000, labelled_rows=1000)))
