"""The contract of losses notices one that is broken."""

import pytest
import torch

from hf_ctkd.losses import DistillationLoss
from hf_ctkd.losses.base import labelled_share, row_weights
from hf_ctkd.testing import check_loss
from hf_ctkd.types import Needs


class Own(DistillationLoss):
    """Keeps the contract."""

    name = "own"
    citation = "none"
    needs = Needs.NOTHING

    def forward(self, student, teachers, labels):
        return {"own": student.features.float().square().mean()}


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (lambda student, teachers: {}, "at least one term"),
        (lambda student, teachers: {"x": student.features.sum() * float("nan")}, "must be one finite number"),
        (lambda student, teachers: {"x": student.features.float().square().sum()}, "no mean over rows"),
        (lambda student, teachers: {"x": student.features.bfloat16().square().mean()}, "32 bits or more"),
        (lambda student, teachers: {"x": teachers[0].features.float().square().mean()}, "reach the student"),
        (
            lambda student, teachers: {"x": (student.features.float().square().mean() * teachers[0].features.mean())},
            "no gradient may reach a teacher",
        ),
        (lambda student, teachers: {"x": student.features[0].float().square().mean()}, "order of the rows"),
    ],
)
def test_contract_finds_broken_losses(broken, promise):
    class Broken(Own):
        def forward(self, student, teachers, labels):
            return broken(student, teachers)

    with pytest.raises(AssertionError, match=promise):
        check_loss(Broken)


@pytest.mark.parametrize("name", ["logits", "task_loss", "loss", "learning_rate"])
def test_contract_finds_names_that_are_taken(name):
    class Term(Own):
        def forward(self, student, teachers, labels):
            return {name: student.features.float().square().mean()}

    class Diagnostic(Own):
        def diagnostics(self):
            return {name: 1.0}

    class Both(Own):
        def diagnostics(self):
            return {"own": 1.0}

    for broken in (Term, Diagnostic):
        with pytest.raises(AssertionError, match=f"the name '{name}' is taken"):
            check_loss(broken)
    with pytest.raises(AssertionError, match="may not have the name of a term"):
        check_loss(Both)


def test_contract_finds_state_that_is_lost():
    class Forgetful(Own):
        def setup(self, context):
            self.scale = torch.nn.Parameter(torch.ones(()))
            self.offset = 0.0

        def forward(self, student, teachers, labels):
            self.offset += 1.0
            return {"own": self.scale * student.features.float().square().mean() + self.offset}

    with pytest.raises(AssertionError):
        check_loss(Forgetful)


def test_contract_finds_parameters_out_of_reach():
    class Idle(Own):
        def setup(self, context):
            self.idle = torch.nn.Parameter(torch.ones(3))

    with pytest.raises(AssertionError, match="must reach the loss's own `idle`"):
        check_loss(Idle)


def test_contract_finds_labels_that_matter():
    class Labels(Own):
        def forward(self, student, teachers, labels):
            return {"own": student.features[labels >= 0].float().square().sum() / len(labels)}

    with pytest.raises(AssertionError, match="labels changed a term"):
        check_loss(Labels)
    check_loss(Labels, reads_labels=True)


def test_contract_finds_padding_that_matters():
    class Padding(Own):
        hidden = ((0, 0),)

        def forward(self, student, teachers, labels):
            return {"own": student.hidden[0].values.float().square().mean()}

    with pytest.raises(AssertionError, match="padding changed a term"):
        check_loss(Padding)


class Choosing(Own):
    """Asks every teacher about the rows whose first feature is positive."""

    needs = Needs.TEACHER | Needs.FEATURES

    def select(self, student):
        return (student.features[:, :1] > 0).expand(-1, 2)

    def forward(self, student, teachers, labels):
        asked = self.select(student)[:, 0]
        gap = student.features[asked].float().mean(1) - teachers[0].features.detach().float().mean(1)
        return {"own": gap.square().sum() / len(labels)}


def test_contract_asks_teachers_about_the_chosen_rows_alone():
    check_loss(Choosing)


@pytest.mark.parametrize(
    ("chosen", "promise"),
    [
        (lambda features: (features[:, :1] > 0).expand(-1, 2).long(), "must return a mask"),
        (lambda features: (features[:, :1] > features[:, :1].mean()).expand(-1, 2), "for each row by itself"),
    ],
)
def test_contract_finds_bad_choices(chosen, promise):
    class Bad(Choosing):
        def select(self, student):
            return chosen(student.features)

        def forward(self, student, teachers, labels):
            return Own.forward(self, student, teachers, labels)

    with pytest.raises(AssertionError, match=promise):
        check_loss(Bad)


class Targets(Own):
    """A loss whose targets are computed once."""

    needs = Needs.TEACHER | Needs.FEATURES | Needs.FIT

    def row_targets(self, context):
        return torch.cat([part.features[:, :1] for _, part in context.teachers[0].chunks(40)])

    def on_targets(self, student, targets, labels):
        return {"own": (student.features.float().mean(1, keepdim=True) - targets).square().mean()}

    def forward(self, student, teachers, labels):
        return self.on_targets(student, teachers[0].features[:, :1].detach().float(), labels)


def test_contract_holds_for_fixed_targets():
    check_loss(Targets)


@pytest.mark.parametrize(
    ("row_targets", "promise"),
    [
        (lambda targets: targets[:, 0], "must be .rows, width."),
        (lambda targets: targets[:-1], "must be .rows, width."),
        (lambda targets: targets / 0, "must be finite"),
        (lambda targets: targets + 0.1, "must give the terms of `forward`"),
    ],
)
def test_contract_finds_targets_that_differ_from_the_teachers(row_targets, promise):
    class Broken(Targets):
        def row_targets(self, context):
            return row_targets(super().row_targets(context))

    with pytest.raises(AssertionError, match=promise):
        check_loss(Broken)


def test_contract_finds_targets_whose_gradient_differs():
    class Twice(Targets):
        def forward(self, student, teachers, labels):
            targets = teachers[0].features[:, :1].detach().float()
            (term,) = Targets.on_targets(self, student, targets, labels).values()
            features = student.features.float().mean()
            return {"own": term + features - features.detach()}

    with pytest.raises(AssertionError, match="must give the gradients of `forward`"):
        check_loss(Twice)


def test_contract_finds_teachers_that_are_read_in_one_piece():
    class Whole(Targets):
        def setup(self, context):
            self.register_buffer("mean", context.teachers[0].features.mean())

    with pytest.raises(AttributeError, match="features"):
        check_loss(Whole)


class Weighing(Own):
    """Counts a labelled row as `row_weights` has it."""

    def setup(self, context):
        self.register_buffer("share", labelled_share(context.labels))

    def forward(self, student, teachers, labels):
        weights = row_weights(labels, self.share)
        return {"own": (weights * student.features.float().square().mean(1)).mean()}


def test_contract_finds_labelled_rows_that_count_otherwise():
    check_loss(Weighing, weighs_labelled_rows=True)

    class ByClass(Weighing):
        def forward(self, student, teachers, labels):
            return super().forward(student, teachers, torch.where(labels == 0, labels, -100))

    class InFull(Weighing):
        def forward(self, student, teachers, labels):
            return super().forward(student, teachers, torch.full_like(labels, -100))

    for broken in (ByClass, InFull):
        with pytest.raises(AssertionError, match="must count as `row_weights` has it"):
            check_loss(broken, weighs_labelled_rows=True)


@pytest.mark.parametrize(
    ("attribute", "value", "promise"),
    [
        ("learning_rate", 0.0, "`learning_rate` must be None or a positive float"),
        ("task_factor", lambda loss: 2.0, "`task_factor\\(\\)` must lie in"),
        ("remarks", lambda loss: (1,), "`remarks\\(\\)` must be sentences"),
    ],
)
def test_contract_finds_what_the_trainer_could_not_use(attribute, value, promise):
    with pytest.raises(AssertionError, match=promise):
        check_loss(type("Broken", (Own,), {attribute: value}))
