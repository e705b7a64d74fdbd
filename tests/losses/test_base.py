import doctest
import json
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from hf_ctkd import losses
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import (
    CommitteeLoss,
    DistillationLoss,
    KLLoss,
    LabelMapLoss,
    ProbeLoss,
    RowTransportLoss,
    TeacherFreeLoss,
    WeightedSum,
)
from hf_ctkd.losses.base import (
    as_setting,
    labelled_share,
    labelled_share_read,
    numbers_beside_terms,
    on_selected_rows,
    row_weights,
    teacher_logits,
)
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import UNLABELLED, LabelSpace, LossContext, ModelOutputs, Needs


class Own(DistillationLoss):
    """A loss of somebody else's: nothing but the base class is needed."""

    name = "own"
    citation = "none"
    needs = Needs.NOTHING

    def __init__(self, power: float = 2.0, *, others: tuple = ()) -> None:
        super().__init__()
        self.power, self.others = power, others

    def forward(self, student, teachers, labels):
        return {"own": student.features.float().abs().pow(self.power).mean()}


def test_subclass_from_outside_keeps_the_contract():
    check_loss(Own)


def test_settings_are_nested_json():
    loss = Own(float("inf"), others=(KLLoss(2.0), {"a": (1, None)}, torch.relu))
    found = loss.settings()
    assert found["power"] == "inf"
    assert found["others"][:2] == [{"name": "kl", "temperature": 2.0, "mapping": None}, {"a": [1, None]}]
    assert json.loads(json.dumps(found)) == found
    assert as_setting("x") == "x"


def test_loss_without_weights_or_diagnostics():
    assert (Own().weights(), Own().diagnostics(), Own().hidden) == ((), {}, ())


def test_teachers_of_the_same_name_have_a_logged_weight_each():
    class Weighted(Own):
        def weights(self):
            return (0.5, 0.3, 0.2)

    logged = numbers_beside_terms(Weighted(), ["a/model", "b", "a/model"], ["own"])
    assert logged == {"weight/a/model": 0.5, "weight/b": 0.3, "weight/a/model (2)": 0.2}


def test_student_without_logits():
    case = LossCase.of()
    loss = KLLoss()
    loss.setup(case.context)
    with pytest.raises(InvalidArgumentError, match="`student` must be a classifier with logits"):
        loss(ModelOutputs(case.student.features), case.teachers, case.labels)


def test_outputs_on_selected_rows():
    teachers = (ModelOutputs(torch.arange(4.0)[:, None]), ModelOutputs(10 + torch.arange(4.0)[:, None]))
    assert on_selected_rows(teachers, None) == teachers
    chosen = torch.tensor([[True, False], [False, False], [True, True], [False, False]])
    assert [one.features[:, 0].tolist() for one in on_selected_rows(teachers, chosen)] == [[0, 2], [12]]
    given = torch.tensor([[True, False], [True, False], [True, True], [False, False]])
    handed = on_selected_rows(teachers, given)
    assert [one.features[:, 0].tolist() for one in on_selected_rows(handed, chosen, given)] == [[0, 2], [12]]


def test_a_loss_asks_about_all_rows_unless_it_says_otherwise():
    assert KLLoss().select(LossCase.of().student) is None


def test_logits_of_a_headless_teacher():
    with pytest.raises(InvalidArgumentError, match="`teachers` must have logits for this loss, got a headless"):
        teacher_logits(ModelOutputs(torch.zeros(2, 3)))


@pytest.mark.parametrize("make", [KLLoss, LabelMapLoss, ProbeLoss, RowTransportLoss, TeacherFreeLoss])
def test_a_step_never_waits_for_the_device(make, monkeypatch):
    case = LossCase.of()
    loss = make()
    loss.setup(case.context)
    targets = loss.row_targets(case.context)[: len(case.labels)]
    expected = loss.on_targets(case.student, targets, case.labels)
    loss.after_step(lambda sums: sums)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know "meta"
    # A tensor on "meta" has no values: reading one on the host, or an index whose size depends on values, raises.
    student = ModelOutputs(case.student.features.to("meta"), case.student.logits.to("meta"))
    terms = loss.to("meta").on_targets(student, targets.to("meta"), case.labels.to("meta"))
    assert terms.keys() == expected.keys() and all(term.is_meta for term in terms.values())


LOSSES = sorted(
    {value for value in vars(losses).values() if isinstance(value, type) and issubclass(value, DistillationLoss)},
    key=lambda loss: loss.__name__,
)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_every_loss_has_an_example_and_a_citation(loss):
    results = doctest.DocTestRunner(verbose=False)
    (example,) = (test for test in doctest.DocTestFinder(recurse=False).find(loss) if test.examples)
    assert results.run(example).failed == 0
    assert "DistillationTrainer(" in example.docstring
    if "arXiv:" in example.docstring:
        assert re.search(r"^@\w+\{\w+,\n(?:  .*\n)+\}$", loss.citation, re.MULTILINE)
    if "econstructed" in example.docstring:
        assert "econstructed" in loss.citation


def test_citation_of_a_sum_is_that_of_its_parts():
    assert WeightedSum([(KLLoss(), 1.0), (KLLoss(2.0), 1.0), (ProbeLoss(), 1.0)]).citation == (
        f"{KLLoss.citation}\n\n{ProbeLoss.citation}"
    )


@pytest.mark.parametrize(("percent", "weight"), [(1, 0.01), (3, 0.03), (10, 0.1), (30, 0.3), (60, 0.3), (100, 0.3)])
def test_a_labelled_row_counts_by_the_labelled_share_up_to_a_limit(percent, weight):
    of_all = torch.where(torch.arange(100) < percent, 0, UNLABELLED)
    weights = row_weights(torch.tensor([0, UNLABELLED, 3]), labelled_share(of_all))
    assert weights.tolist() == pytest.approx([weight, 1.0, weight])


def test_a_repeated_row_counts_each_time_in_the_labelled_share_of_the_rows_read():
    labels = torch.tensor([0, UNLABELLED, 3, UNLABELLED])
    context = LossContext(labels, LabelSpace(("a", "b", "c", "d")), ModelOutputs(torch.zeros(1, 1)))
    assert float(labelled_share_read(context)) == 0.5
    assert float(labelled_share_read(replace(context, times_read=torch.tensor([5, 1, 2, 2])))) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "loss",
    [ProbeLoss(), RowTransportLoss(input_features=False), CommitteeLoss(input_features=False),
     WeightedSum({KLLoss(): 1.0, ProbeLoss(): 0.5})],
    ids=lambda loss: loss.name,
)  # fmt: skip
def test_losses_with_probes_have_an_accuracy_for_every_teacher(loss):
    case = LossCase.of(teachers=2)
    loss.setup(case.context)
    expected = ProbeLoss()
    expected.setup(case.context)
    assert loss.probe_accuracies() == expected.probe_accuracies()
    labelled = int((case.context.labels != UNLABELLED).sum())
    assert [each.rows for each in loss.probe_accuracies()] == [labelled, labelled]


@pytest.mark.parametrize("loss", [KLLoss(), TeacherFreeLoss(), CommitteeLoss(prior=None)], ids=lambda loss: loss.name)
def test_losses_without_probes_of_teachers_have_none(loss):
    loss.setup(LossCase.of().context)
    assert loss.probe_accuracies() == ()
