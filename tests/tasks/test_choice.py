import pytest
import tiny
import tiny_dense

from hf_ctkd.tasks import Classification, DepthEstimation, SemanticSegmentation, first_student, task_of


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        (tiny.image_student, Classification),
        (tiny.text_model, Classification),
        (tiny_dense.mask_student, SemanticSegmentation),
        (tiny_dense.normless_mask_student, SemanticSegmentation),
        (tiny_dense.depth_student, DepthEstimation),
    ],
)
def test_the_class_of_the_student_tells_its_task(student, expected):
    assert type(task_of(student(), tiny_dense.processor())) is expected


def test_model_of_two_tasks_is_told_by_its_head_not_by_its_configuration():
    assert type(task_of(tiny_dense.depth_student(), tiny_dense.processor())) is DepthEstimation
    assert type(task_of(tiny_dense.normless_mask_student(), tiny_dense.processor())) is SemanticSegmentation


def test_ignored_class_and_classes_come_from_the_configuration():
    student = tiny_dense.mask_student(id2label=dict(enumerate(tiny_dense.NAMES)), semantic_loss_ignore_index=9)
    task = task_of(student, tiny_dense.processor())
    assert task.ignored == 9 and task.label_space.names == tiny_dense.NAMES and not task.reduced


@pytest.mark.parametrize("make", [lambda: tiny_dense.mask_student(), lambda trial: tiny_dense.mask_student()])
def test_student_of_model_init_is_looked_at(make):
    assert type(task_of(first_student(None, make), tiny_dense.processor())) is SemanticSegmentation


def test_without_a_student_rows_are_classified():
    assert type(task_of(first_student(None, None), tiny_dense.processor())) is Classification
