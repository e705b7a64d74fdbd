from dataclasses import replace

import pytest
import torch

from hf_ctkd.costs import EmpiricalCost, relatedness
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.label_costs import TeacherLabelCosts, teacher_logits
from hf_ctkd.testing import LossCase


def test_matrices_and_relatedness_of_all_teachers():
    case = LossCase.of()
    costs = TeacherLabelCosts(EmpiricalCost())
    costs.fit(case.context, "a loss")
    for place, one in enumerate(case.context.teachers):
        space = case.context.label_space
        expected = EmpiricalCost().matrix(one, case.context.labels, target=space, teacher=space)
        assert torch.allclose(costs.matrix(place), expected)
        related = relatedness(one.logits.softmax(1), case.context.labels, 4)
        assert costs.relatedness[place].item() == pytest.approx(related)


def test_factors_share_out_the_weight():
    costs = TeacherLabelCosts(EmpiricalCost())
    costs.relatedness = torch.tensor([0.8, 0.0])
    assert costs.factors(2.0).tolist() == pytest.approx([0.64, 0.0])
    assert costs.factors(0.0).tolist() == pytest.approx([0.5, 0.5])
    costs.relatedness = torch.tensor([0.8, 0.8])
    assert costs.factors(1.0).tolist() == pytest.approx([0.4, 0.4])
    costs.relatedness = torch.tensor([0.0, 0.0])
    assert costs.factors(2.0).tolist() == [0.0, 0.0]


def test_logits_of_a_headless_teacher():
    with pytest.raises(InvalidArgumentError, match="`teachers` must have logits for this loss, got a headless"):
        teacher_logits(replace(LossCase.of().teachers[0], logits=None))
