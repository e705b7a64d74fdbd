import torch
import torch.nn.functional as F

from hf_ctkd.losses.alignment import align, same_positions
from hf_ctkd.types import Hidden


def image(height, width, channels=3):
    return Hidden(torch.randn(2, height * width, channels), (height, width))


def text(positions, lengths, channels=3):
    mask = torch.arange(positions) < torch.tensor(lengths)[:, None]
    return Hidden(torch.randn(len(lengths), positions, channels), (positions,), mask)


def test_teachers_grid_is_resized_to_the_students():
    student, teacher = image(4, 6), image(2, 3, 5)
    found = align(student, teacher)
    images = teacher.values.transpose(1, 2).reshape(2, 5, 2, 3)
    expected = F.interpolate(images, size=(4, 6), mode="bilinear").flatten(2).transpose(1, 2)
    assert torch.equal(found.student, student.values)
    assert torch.allclose(found.teacher, expected)


def test_shrinking_a_grid_averages_and_keeps_its_orientation():
    rows = torch.arange(8.0)[:, None].expand(8, 8).reshape(1, 64, 1)
    found = align(image(2, 2), Hidden(rows.expand(2, 64, 1), (8, 8))).teacher[0, :, 0]
    assert found[0] == found[1] < found[2] == found[3]
    assert torch.allclose(found.mean(), torch.tensor(3.5))


def test_texts_with_the_same_tokens_are_compared_by_position():
    student, teacher = text(5, [5, 2]), text(5, [5, 2], 4)
    found = align(student, teacher)
    assert same_positions(student, teacher)
    assert torch.equal(found.teacher, teacher.values)
    assert torch.equal(found.mask, student.mask)


def test_texts_with_other_tokens_are_averaged_without_their_padding():
    student = text(5, [5, 2])
    for teacher, positionwise in ((text(7, [4, 7]), True), (text(5, [4, 5]), True), (text(5, [5, 2]), False)):
        found = align(student, teacher, positionwise=positionwise)
        assert found.mask is None
        assert torch.allclose(found.student[1, 0], student.values[1, :2].mean(0))
        assert torch.allclose(found.teacher[0, 0], teacher.values[0, : int(teacher.mask[0].sum())].mean(0))


def test_text_against_image_is_averaged():
    found = align(text(4, [4, 1]), image(2, 2))
    assert found.student.shape == found.teacher.shape == (2, 1, 3)


def test_teachers_side_has_no_gradient_and_both_are_in_32_bits():
    values = torch.randn(2, 4, 3, requires_grad=True)
    teacher = Hidden(values, (2, 2))
    found = align(Hidden(values.bfloat16(), (2, 2)), teacher)
    assert found.student.requires_grad
    assert not found.teacher.requires_grad
    assert found.student.dtype == found.teacher.dtype == torch.float32
