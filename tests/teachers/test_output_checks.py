import pytest
import torch

from hf_ctkd.teachers.output_checks import finite_rows, not_finite, shape_fault


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.zeros(4), "its features have shape [4], expected [4, width]"),
        (torch.zeros(4, 3, 2), "its features have shape [4, 3, 2], expected [4, width]"),
        (torch.zeros(3, 2), "its features have shape [3, 2], expected [4, width]"),
        (torch.zeros(4, 0), "its features have shape [4, 0], expected [4, width]"),
        (torch.zeros(()), "its features have shape [], expected [4, width]"),
        (torch.zeros(4, 2, dtype=torch.long), "its features are torch.int64, expected floating-point numbers"),
    ],
)
def test_outputs_are_rows_of_numbers(tensor, reason):
    assert shape_fault({"features": tensor}, 4) == reason


def test_logits_have_a_number_for_each_class():
    outputs = {"features": torch.zeros(4, 2), "logits": torch.zeros(4, 3)}
    assert shape_fault(outputs, 4, classes=3) is shape_fault(outputs, 4) is None
    assert shape_fault(outputs, 4, classes=5) == "its logits have shape [4, 3], but its configuration names 5 classes"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_the_first_row_that_is_not_finite_is_named(number):
    logits = torch.zeros(4, 3)
    assert not_finite({"features": torch.zeros(4, 2), "logits": logits}) is None
    logits[2, 1] = number
    assert not_finite({"features": torch.zeros(4, 2), "logits": logits}) == ("logits", 2)
    assert finite_rows({"features": torch.zeros(4, 2), "logits": logits}).tolist() == [True, True, False, True]
