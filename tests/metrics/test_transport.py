import pytest
import torch

from hf_ctkd.costs import EmpiricalCost, SemanticCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import TransportScore
from hf_ctkd.metrics.base import content
from hf_ctkd.ot import OTProblem, exact
from hf_ctkd.probes.folds import deal_folds
from hf_ctkd.types import LabelSpace, ModelOutputs


def _teacher(rows=40, classes=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 2
    logits = torch.randn(rows, classes, generator=generator) + 2 * torch.eye(2, classes)[labels]
    return ModelOutputs(torch.randn(rows, 3, generator=generator), logits), labels


def test_agrees_with_loops_over_folds():
    outputs, labels = _teacher()
    space = LabelSpace(("a", "b"))
    fold = deal_folds(content(outputs), labels, 5)
    total = 0.0
    for i in range(40):
        others = fold != fold[i]
        matrix = EmpiricalCost().matrix(outputs.select(others), labels[others], target=space)
        total += sum(float(outputs.logits[i].softmax(0)[u] * matrix[u, labels[i]]) for u in range(6))
    assert TransportScore().score(outputs, labels) == pytest.approx(-total / 40, abs=1e-4)


def test_is_the_optimal_transport_onto_one_hot_labels():
    outputs, labels = _teacher()
    fold = deal_folds(content(outputs), labels, 5)
    one_hot = torch.eye(2, dtype=torch.float64)[labels]
    total = 0.0
    for number in range(5):
        inside, others = fold == number, fold != number
        matrix = EmpiricalCost().matrix(outputs.select(others), labels[others], target=LabelSpace(("a", "b")))
        problem = OTProblem(matrix.double(), outputs.logits[inside].double().softmax(dim=1), one_hot[inside])
        total += float(exact(problem).sum())
    assert TransportScore().score(outputs, labels) == pytest.approx(-total / 40, abs=1e-4)
    nearly = 0.999 * one_hot + 0.0005
    assert TransportScore().score_student(outputs, labels, student=nearly) == pytest.approx(-total / 40, abs=2e-3)


def test_many_teacher_classes_do_not_flatter():
    labels = torch.arange(40) % 2
    guesses = torch.randint(0, 200, (40,), generator=torch.Generator().manual_seed(0))
    outputs = ModelOutputs(torch.randn(40, 3), 50 * torch.eye(200)[guesses])
    assert TransportScore().score(outputs, labels) == pytest.approx(-0.5, abs=0.06)


def test_unlabelled_rows_are_transported_to_the_student():
    outputs, labels = _teacher()
    student = torch.full((40, 2), 0.5)
    labels[:10] = -100
    known = TransportScore().score_student(outputs.select(labels >= 0), labels[labels >= 0], student=student[10:])
    both = TransportScore().score_student(outputs, labels, student=student)
    unsure = TransportScore().score_student(ModelOutputs(outputs.features, 0 * outputs.logits), labels, student=student)
    assert both != known and -1 < both < 0 and unsure != both


def test_bad_input_is_named():
    outputs, labels = _teacher()
    with pytest.raises(InvalidArgumentError, match="`folds` must be at least 2"):
        TransportScore(folds=1)
    with pytest.raises(InvalidArgumentError, match="`student` must have one row a label, got 3 for 40"):
        TransportScore().score_student(outputs, labels, student=torch.ones(3, 2))
    with pytest.raises(InvalidArgumentError, match="semantic cost reads label names, so `target` and `teacher`"):
        TransportScore(SemanticCost())


def test_names_stay_with_their_label_ids():
    outputs = ModelOutputs(torch.randn(40, 2), 20 * torch.eye(2)[torch.arange(40) % 2])
    labels = 1 - torch.arange(40) % 2
    spaces = {"target": LabelSpace(("dogs", "cats")), "teacher": LabelSpace(("cat", "dog"))}
    right = TransportScore(SemanticCost(), **spaces).score(outputs, labels)
    assert right > TransportScore(SemanticCost(), **spaces).score(outputs, 1 - labels) + 0.3
