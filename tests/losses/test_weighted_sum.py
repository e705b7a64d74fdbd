import copy
import doctest

import pytest
import torch

import hf_ctkd.losses.weighted_sum
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import (
    BSSLoss,
    InvertedProjectionLoss,
    KLLoss,
    LabelMapLoss,
    ProjectionLoss,
    RowTransportLoss,
    SpectralLoss,
    TeacherFreeLoss,
    WeightedSum,
)
from hf_ctkd.losses.base import on_selected_rows
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import ModelOutputs, Needs


def test_contract():
    check_loss(lambda: WeightedSum({KLLoss(): 0.5, InvertedProjectionLoss("vid"): 2.0, SpectralLoss(2): 1.0}))
    check_loss(lambda: WeightedSum([(ProjectionLoss(layers=((0, 0), (2, 1))), 1.0), (SpectralLoss(layer=3), 1.0)]))
    check_loss(lambda: WeightedSum({WeightedSum({BSSLoss(): 1.0}): 3.0, SpectralLoss(): 1.0}))
    check_loss(lambda: WeightedSum({KLLoss(): 0.5, RowTransportLoss(): 2.0}), reads_labels=True)


def test_doctests():
    assert doctest.testmod(hf_ctkd.losses.weighted_sum).failed == 0


def test_needs_and_layers_are_those_of_all():
    loss = WeightedSum({ProjectionLoss(layers=((0, 1), (2, 3))): 1.0, SpectralLoss(layer=2): 1.0, LabelMapLoss(): 1.0})
    assert loss.needs == Needs.TEACHER | Needs.HIDDEN | Needs.FIT | Needs.LOGITS
    assert loss.hidden == ((0, 1), (2, 3), (2, -1))
    assert WeightedSum({BSSLoss(): 1.0}).needs == Needs.NOTHING


def test_every_loss_gets_its_own_layers():
    case = LossCase.of(3)
    parts = ProjectionLoss(layers=((5, 5), (0, 0))), ProjectionLoss("traditional", layers=((1, 1), (5, 5)))
    loss = WeightedSum([(part, 1.0) for part in parts])
    assert loss.hidden == ((5, 5), (0, 0), (1, 1))
    loss.setup(case.context)
    found = case.terms(loss)
    for place, (part, layers) in enumerate(zip(parts, ((0, 1), (2, 0)), strict=True)):
        student, *teachers = (
            hf_ctkd.types.ModelOutputs(one.features, one.logits, tuple(one.hidden[layer] for layer in layers))
            for one in (case.student, *case.teachers)
        )
        alone = part(student, tuple(teachers), case.labels)["projection"]
        assert torch.allclose(found[f"{place}_projection"], alone)


def test_terms_are_weighted_and_prefixed_only_where_names_collide():
    case = LossCase.of()
    parts = KLLoss(2.0), KLLoss(8.0), BSSLoss()
    loss = WeightedSum([(parts[0], 0.5), (parts[1], 2.0), (parts[2], 3.0)])
    loss.setup(case.context)
    found = case.terms(loss)
    assert list(found) == ["0_kl", "1_kl", "bss"]
    for name, part, weight in zip(found, parts, (0.5, 2.0, 3.0), strict=True):
        assert torch.allclose(found[name], weight * sum(case.terms(part).values()))


def test_settings_are_nested():
    loss = WeightedSum({KLLoss(2.0): 0.5, WeightedSum({BSSLoss(2): 1.0}): 3.0})
    assert loss.settings() == {
        "losses": [
            [{"name": "kl", "temperature": 2.0, "mapping": None}, 0.5],
            [
                {"name": "weighted_sum", "losses": [[{"name": "bss", "k": 2, "weight": 0.048, "layer": None}, 1.0]]},
                3.0,
            ],
        ]
    }


def test_weights_of_teachers_are_the_mean_over_losses_that_know_them():
    case = LossCase.of()
    parts = LabelMapLoss(), RowTransportLoss()
    loss = WeightedSum([(parts[0], 1.0), (parts[1], 3.0), (BSSLoss(), 5.0)])
    loss.setup(case.context)
    expected = [(one + 3 * two) / 4 for one, two in zip(parts[0].weights(), parts[1].weights(), strict=True)]
    assert loss.weights() == pytest.approx(expected)
    assert WeightedSum({BSSLoss(): 1.0}).weights() == ()


def test_copy_has_losses_of_its_own():
    case = LossCase.of()
    loss = WeightedSum({InvertedProjectionLoss(): 1.0})
    loss.setup(case.context)
    twin = copy.deepcopy(loss)
    before = case.terms(loss)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.allclose(*(sum(terms.values()) for terms in (before, case.terms(loss))))
    case.terms(twin)  # the rank of the student's features is logged from the first batch on
    assert list(twin.diagnostics()) == list(loss.diagnostics())


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([], "`losses` must hold at least one loss, got none"),
        ([(BSSLoss(), 0.0)], "`losses` must have positive weights, got 0.0 for bss"),
        ([(BSSLoss(), float("nan"))], "`losses` must have positive weights, got nan for bss"),
        ([BSSLoss(), BSSLoss()], "`losses` must hold losses with their weights, got BSSLoss alone. Write `WeightedSum"),
        ([(BSSLoss, 1.0)], "`losses` must hold losses with their weights, got the class BSSLoss for a loss. Pass an"),
        ([(BSSLoss(), "1")], "`losses` must have positive weights, got '1' for bss"),
        ([(one := BSSLoss(), 1.0), (one, 2.0)], "`losses` holds the same object twice"),
    ],
)
def test_bad_arguments(losses, message):
    with pytest.raises(InvalidArgumentError, match=message):
        WeightedSum(iter(losses))  # the type checks of the tests would look into a list


class _Asks(BSSLoss):
    """Asks teachers about some rows, and says how many outputs it was handed."""

    def __init__(self, *rows):
        super().__init__(weight=1.0)
        self.rows = rows

    def select(self, student):
        chosen = torch.zeros(len(student), 2, dtype=torch.bool)
        chosen[list(self.rows), 0] = True
        return chosen

    def forward(self, student, teachers, labels):
        assert [len(one) for one in teachers] == [len(self.rows), 0]
        return {"first": teachers[0].features[:, 0].sum()}


def test_teachers_are_asked_about_what_any_loss_chooses_and_each_loss_gets_its_own_rows():
    loss = WeightedSum({_Asks(0, 3): 1.0, _Asks(1, 3): 10.0})
    student = ModelOutputs(torch.zeros(5, 2))
    values = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    chosen = loss.select(student)
    assert chosen[:, 0].tolist() == [True, True, False, True, False] and not chosen[:, 1].any()
    teachers = on_selected_rows((ModelOutputs(values), ModelOutputs(values)), chosen)
    assert loss(student, teachers, torch.zeros(5, dtype=torch.long)) == {
        "0_first": 1.0 + 8.0,
        "1_first": 10 * (2.0 + 8.0),
    }


def test_teachers_are_asked_about_all_rows_where_one_loss_wants_all():
    loss = WeightedSum({_Asks(0, 3): 1.0, BSSLoss(weight=1.0): 1.0})
    student = ModelOutputs(torch.zeros(5, 2))
    assert loss.select(student) is None
    teachers = (ModelOutputs(torch.arange(5.0)[:, None]),) * 2
    assert loss(student, teachers, torch.zeros(5, dtype=torch.long))["first"] == 3.0


def test_share_of_the_input_is_the_mean_over_the_losses():
    case = LossCase.of()
    transport, alone = RowTransportLoss(), TeacherFreeLoss()
    both = WeightedSum({transport: 3.0, alone: 1.0})
    both.setup(case.context)
    assert 0 < transport.input_share() < 1 == alone.input_share()
    assert both.input_share() == pytest.approx((3 * transport.input_share() + 1) / 4)
    assert WeightedSum({BSSLoss(): 1.0}).input_share() == 0


def test_targets_of_all_parts_stand_side_by_side_where_every_part_has_some():
    case = LossCase.of()
    loss = WeightedSum({KLLoss(): 1.0, RowTransportLoss(): 2.0, TeacherFreeLoss(): 1.0})
    loss.setup(case.context)
    assert loss.row_targets(case.context).shape == (96, 2 * 4 + 4 + 4)
    with_projection = WeightedSum({KLLoss(): 1.0, InvertedProjectionLoss(): 1.0})
    with_projection.setup(case.context)
    assert with_projection.row_targets(case.context) is None
