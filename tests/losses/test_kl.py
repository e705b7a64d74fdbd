import doctest
import time
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import KLLoss, LossContext, kl
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import LabelSpace, ModelOutputs

TARGET = LabelSpace(("cat", "dog", "owl"))


def loss_value(loss, ours, theirs, names, target=TARGET):
    student, teacher = ModelOutputs(torch.zeros(len(ours), 1), ours), ModelOutputs(torch.zeros(len(ours), 1), theirs)
    labels = torch.zeros(len(ours), dtype=torch.long)
    loss.setup(LossContext(labels, target, student, (teacher,), (None if names is None else LabelSpace(names),)))
    return loss(student, (teacher,), labels)["kl"]


def test_contract():
    check_loss(KLLoss)
    check_loss(lambda: KLLoss(2.0, mapping={"cat": "cat", "dog": "cat", "owl": "owl"}))


def test_doctests():
    assert doctest.testmod(kl).failed == 0


def test_same_classes_give_hintons_loss():
    ours, theirs = torch.randn(10, 3), torch.randn(10, 3)
    expected = 9 * F.kl_div((ours / 3).log_softmax(1), (theirs / 3).softmax(1), reduction="batchmean")
    assert torch.allclose(loss_value(KLLoss(3.0), ours, theirs, TARGET.names), expected)


def test_classes_are_matched_by_name_not_by_place():
    ours, theirs = torch.randn(10, 3), torch.randn(10, 3)
    straight = loss_value(KLLoss(), ours, theirs, TARGET.names)
    shuffled = loss_value(KLLoss(), ours, theirs[:, [2, 0, 1]], ("Owl", " CAT", "dog"))
    assert torch.allclose(straight, shuffled)


def test_classes_that_differ_in_case_alone_are_not_joined():
    letters = LabelSpace(("A", "a", "B", "b"))
    ours, theirs = torch.randn(10, 4), torch.randn(10, 4)
    expected = F.kl_div(ours.log_softmax(1), theirs.softmax(1), reduction="batchmean")
    assert torch.allclose(loss_value(KLLoss(1.0), ours, theirs, letters.names, letters), expected)
    shuffled = loss_value(KLLoss(1.0), ours, theirs[:, [3, 1, 2, 0]], (" b", "a", "B", "A"), letters)
    assert torch.allclose(shuffled, expected)


@pytest.mark.parametrize(
    ("names", "target", "members"),
    [
        (("Cat", "cat", "DOG", "owl"), ("cat", "dog", "owl"), [(1, 0), (2, 1), (3, 2)]),
        (("cat", "dog", "owl"), ("CAT", "cat", "Dog"), [(0, 1), (1, 2)]),
        (("CAT", "dog", "owl"), ("Cat", "cat", "dog", "owl"), [(1, 2), (2, 3)]),
    ],
)
def test_case_is_passed_over_only_where_one_class_is_meant(names, target, members):
    loss, logits = KLLoss(), torch.zeros(2, len(names))
    loss_value(loss, torch.zeros(2, len(target)), logits, names, LabelSpace(target))
    assert [tuple(pair) for pair in loss.matches_0.nonzero().tolist()] == members


def test_joined_classes_add_up_their_probabilities():
    ours, theirs = torch.randn(10, 3), torch.randn(10, 4)
    mapping = {"tabby": "cat", "siamese": "cat", "beagle": "dog", "barn owl": "owl"}
    found = loss_value(KLLoss(1.0, mapping=mapping), ours, theirs, tuple(mapping))
    said = theirs.softmax(1)
    target = torch.stack([said[:, 0] + said[:, 1], said[:, 2], said[:, 3]], 1)
    assert torch.allclose(found, F.kl_div(ours.log_softmax(1), target, reduction="batchmean"))


def test_only_shared_classes_count_and_only_as_far_as_the_teacher_sees_them():
    ours = torch.randn(2, 3, requires_grad=True)
    theirs = torch.tensor([[4.0, 0.0, -90.0], [0.0, 0.0, 90.0]])
    found = loss_value(KLLoss(1.0), ours, theirs, ("cat", "dog", "submarine"))
    expected = F.kl_div(ours[:1, :2].log_softmax(1), theirs[:1, :2].softmax(1), reduction="sum") / 2
    assert torch.allclose(found, expected)
    found.backward()
    assert float(ours.grad[0, 2].abs()) == 0
    assert float(ours.grad[1].abs().max()) < 1e-20


def test_uninformative_names_match_only_when_they_are_the_same():
    ours, theirs = torch.randn(4, 2), torch.randn(4, 2)
    numbers = LabelSpace(("LABEL_0", "LABEL_1"))
    assert torch.isfinite(loss_value(KLLoss(), ours, theirs, numbers.names, numbers))
    with pytest.raises(InvalidArgumentError, match="those of teacher 0 or of the target are mere numbers.*`mapping`"):
        loss_value(KLLoss(), ours, torch.randn(4, 3), ("LABEL_0", "LABEL_1", "LABEL_2"), numbers)


@pytest.mark.parametrize(
    ("arguments", "names", "message"),
    [
        ({}, ("cat", "boat"), "teacher 0 shares 1. Pass `mapping`, or use RowTransportLoss"),
        ({}, None, "KLLoss reads class predictions, but teacher 0 has no head"),
        ({"mapping": {"tabby": "tiger"}}, ("tabby", "x"), "`mapping` leads to 'tiger', but the target has no class"),
        ({"mapping": {"tabbi": "cat"}}, ("tabby", "x"), "`mapping` starts at 'tabbi', but no teacher has a class"),
    ],
)
def test_classes_that_do_not_match(arguments, names, message):
    with pytest.raises(InvalidArgumentError, match=message):
        loss_value(KLLoss(**arguments), torch.randn(4, 3), torch.randn(4, 2), names)


def test_bad_temperature():
    with pytest.raises(InvalidArgumentError, match="`temperature` must be positive, got 0.0"):
        KLLoss(0.0)


def test_settings_hold_the_mapping():
    assert KLLoss(mapping={"a": "b"}).settings() == {"temperature": 4.0, "mapping": {"a": "b"}}


def test_targets_are_fixed_only_where_all_rows_are_given():
    case = LossCase.of()
    loss = KLLoss()
    loss.setup(case.context)
    assert loss.row_targets(case.context).shape == (96, 2 * 4)
    assert loss.row_targets(replace(case.context, teachers=case.teachers)) is None


class Operations(TorchDispatchMode):
    """Names of all operations, in order."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("with_mapping", [False, True])
def test_a_step_takes_as_many_operations_for_many_classes_as_for_few_and_reads_no_scalar(with_mapping):
    steps = []
    for classes in (10, 300):
        names = tuple(f"class of {number}" for number in range(classes))
        loss = KLLoss(mapping=dict(zip(names, names, strict=True)) if with_mapping else None)
        student, teacher = (ModelOutputs(torch.zeros(4, 1), torch.randn(4, classes).requires_grad_()) for _ in range(2))
        labels = torch.zeros(4, dtype=torch.long)
        loss.setup(LossContext(labels, LabelSpace(names), student, (teacher,), (LabelSpace(names),)))
        with Operations() as operations:
            loss(student, (teacher,), labels)["kl"].backward()
        steps.append(operations.names)
    few, many = steps
    assert few == many and not any("_local_scalar_dense" in name or "nonzero" in name for name in many)


def test_a_mapping_of_all_classes_of_imagenet_21k_is_matched_in_a_moment():
    names = tuple(f"class of {number}" for number in range(21_841))
    target, student = LabelSpace(("even", "odd")), ModelOutputs(torch.zeros(2, 1), torch.zeros(2, 2))
    teacher = ModelOutputs(torch.zeros(2, 1), torch.zeros(2, len(names)))
    loss = KLLoss(mapping={name: target.names[number % 2] for number, name in enumerate(names)})
    began = time.process_time()
    loss.setup(LossContext(torch.zeros(2, dtype=torch.long), target, student, (teacher,), (LabelSpace(names),)))
    # Searching the names for each pair took 2 s.
    assert time.process_time() - began < 1
    assert loss.get_buffer("matches_0").sum(dim=0).tolist() == [10_921, 10_920]
