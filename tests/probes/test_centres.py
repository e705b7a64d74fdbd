import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.probes.centres import leave_one_out_accuracy, unit_centres


def test_unit_centres_have_length_one_or_are_zero():
    centres = unit_centres(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    assert torch.allclose(centres, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_accuracy_against_a_loop_over_rows(scale):
    labels = torch.arange(30) % 3
    # One class has larger features, which a product with a centre of its own length would favour.
    features = (torch.randn(30, 4) + torch.eye(3, 4)[labels]) * torch.tensor([1.0, 1.0, scale])[labels][:, None]
    right = 0
    for row in range(30):
        others = torch.arange(30) != row
        centres = torch.stack([features[others & (labels == k)].mean(0) for k in range(3)])
        right += int((features[row] @ F.normalize(centres, dim=1).T).argmax() == labels[row])
    assert 0 < right < 30
    assert leave_one_out_accuracy(features, labels, 3) == pytest.approx(right / 30)


def test_single_row_of_a_class_is_never_right_and_classes_without_rows_do_not_matter():
    features = torch.eye(3)[[0, 0, 1, 1, 2]]
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert leave_one_out_accuracy(features, labels, 3) == leave_one_out_accuracy(features, labels, 7) == 0.8
