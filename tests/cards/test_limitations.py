from dataclasses import replace

from hf_ctkd.cards.limitations import limitations
from hf_ctkd.records import Confidence, PoolRecord, TeacherRecord
from hf_ctkd.tasks import DepthEstimation, SemanticSegmentation
from hf_ctkd.types import LabelSpace


def text(record, ranking=None) -> str:
    return "\n".join(limitations(record, ranking))


def test_few_labels_and_unlabelled_rows(image_record):
    assert "Few labels: 50 labelled rows, 5 per class on average." in text(image_record)
    assert (
        "550 of 600 training rows have no label. Their targets come from the teacher alone, errors included."
        in text(image_record)
    )
    rich = replace(image_record, task=replace(image_record.task, train_rows=5000, labelled_rows=5000))
    assert "Few labels" not in text(rich)
    assert "have no label" not in text(rich)
    assert "teacher" not in text(replace(image_record, teachers=(), baseline={}, results={}))


def test_what_was_read_out_of_the_input_is_not_claimed_for_the_teachers(image_record):
    assert "input features" not in text(image_record)
    mixed = replace(image_record, loss=replace(image_record.loss, input_share=0.347))
    student = replace(mixed, loss=replace(mixed.loss, settings={"input_features": "student"}))
    assert any(
        "35 % of the distillation targets were predicted from the student's layers" in one
        for one in limitations(student, None)
    )
    assert "35 % of the distillation targets were predicted from the input features and not from a teacher." in text(
        mixed
    )
    assert "Their targets come from the teacher and the input features, errors included." in text(mixed)


def test_small_test_set(image_record):
    assert "with 300 rows, the 95 % interval of an accuracy of 0.5 is 5.7 points wide on either side." in text(
        image_record
    )
    large = replace(image_record, task=replace(image_record.task, eval_rows=5000))
    assert "Small test set" not in text(large)


def test_a_generic_teacher_says_nothing_of_its_students(image_record):
    generic = replace(image_record, pool=PoolRecord({"family": "vit"}, 2, {"heads": (2, 4)}))
    assert "Students of this teacher were not compared with students of an ordinary teacher." in text(generic)
    assert "pool" not in text(image_record)


def test_not_evaluated(text_record):
    assert "The model was not evaluated, so its quality is unknown." in text(text_record)
    assert "distillation" not in text(text_record)


def test_values_without_intervals(image_record):
    plain = replace(
        image_record, results={"accuracy": Confidence(0.9)}, baseline={"accuracy": Confidence(0.9)}, gain={}
    )
    assert "No intervals were computed, so the influence of the choice of test rows is unknown." in text(plain)
    assert "has no interval" not in text(plain)
    old = replace(image_record, gain={})
    assert "The difference to the student without distillation has no interval" in text(old)


def test_no_baseline_or_one_within_chance(image_record):
    assert "The interval of the difference to the student without distillation includes 0 for f1," in text(image_record)
    certain = replace(image_record, gain={"f1": Confidence(0.007, 0.001, 0.02)})
    assert "the difference" not in text(certain)
    alike = text(replace(image_record, gain={"f1": Confidence(0.0, 0.0, 0.0)}))
    assert (
        "It does no better than the student without distillation in f1: both do alike on every evaluation row." in alike
    )
    assert "due to chance" not in alike
    alone = replace(image_record, baseline={})
    assert "No student was trained without distillation, so the effect of the teachers is unknown." in text(alone)


def test_where_the_teachers_come_from(image_record, ranking):
    assert "chosen by hand" in text(image_record)
    assert "chosen by hand" not in text(image_record, ranking)
    assert "were ranked on rows" not in text(image_record, ranking)
    other = replace(ranking, dataset={"fingerprint": "zz99"})
    assert "were ranked on are a part of the training rows, or other rows: their fingerprint is zz99." in text(
        image_record, other
    )
    own = replace(image_record.teachers[0].candidate, model_id="zoo/own", source="folder", license=None)
    folder = text(replace(image_record, teachers=(TeacherRecord(own),)))
    assert "Not on the Hub, so others may be unable to obtain it: own." in folder
    assert "The terms of use are unclear: see the licence of own." in folder


def test_students_that_say_something_of_every_pixel(image_record):
    words = SemanticSegmentation(LabelSpace(image_record.task.label_names)).words("image")
    task = replace(image_record.task, task="image-segmentation", words=words)
    masks = text(replace(image_record, task=task))
    assert "Few labels: 50 labelled images." in masks and "Small test set: 300 images." in masks
    assert "It knows 10 classes and puts every pixel into one" in masks and "an accuracy" not in masks
    depths = text(replace(image_record, task=replace(task, label_names=(), words=DepthEstimation().words("image"))))
    assert "Its depths are metres" in depths and "classes" not in depths
    assert "Few labels" not in text(replace(image_record, task=replace(task, train_rows=1000, labelled_rows=1000)))


def test_what_went_wrong_in_training_is_stated(image_record):
    remark = "The student's features collapsed in training."
    assert remark not in text(image_record)
    assert remark in text(replace(image_record, loss=replace(image_record.loss, remarks=(remark,))))


def test_the_control_of_a_student_compared_with_itself_is_its_own_checkpoint(image_record):
    own = {**image_record.loss.settings, "input_features": "student"}
    mixed = replace(image_record, loss=replace(image_record.loss, input_share=0.347, settings=own))
    (sentence,) = [line for line in limitations(mixed) if "35 % of the distillation targets" in line]
    assert "the student's layers before training" in sentence and "TeacherFreeLoss" not in sentence
    assert "its own checkpoint as the only teacher to see what the teachers added." in sentence
    (teacher, *_) = mixed.teachers
    itself = replace(mixed, student=replace(mixed.student, base_model=teacher.candidate.model_id), teachers=(teacher,))
    (sentence,) = [line for line in limitations(itself) if "35 % of the distillation targets" in line]
    assert sentence.endswith("and not from a teacher.")
