"""What every label-space cost must hold; raises AssertionError where it does not."""

from dataclasses import FrozenInstanceError

import torch

from hf_ctkd.costs.base import LabelCost
from hf_ctkd.errors import CTKDError
from hf_ctkd.probes.labelled import logits_of
from hf_ctkd.testing.promise import expect
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs, Needs

TARGET = LabelSpace(("tabby cat", "racing car", "oak tree"))
TEACHER = LabelSpace(("oak trees", "tabby cats", "racing cars", "sailing boat"))
# Which teacher class each target class is shown as.
SHOWN_AS = (1, 2, 0)


def example(seed: int = 0, rows: int = 60) -> tuple[ModelOutputs, torch.Tensor]:
    """Outputs of a teacher that knows the target's classes under names of its own, and target labels, some missing."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % len(TARGET)
    teacher_classes = torch.tensor(SHOWN_AS)[labels]
    directions = torch.eye(len(TEACHER), 6)
    features = directions[teacher_classes] + 0.1 * torch.randn(rows, 6, generator=generator)
    logits = 6 * features @ directions.T
    labels[::10] = UNLABELLED
    return ModelOutputs(features=features, logits=logits), labels


def check_cost(cost: LabelCost) -> None:
    """In [0, 1], deterministic; follows a permutation of labels; blind to unlabelled rows; least at the right class."""
    outputs, labels = example()
    matrix = cost.matrix(outputs, labels, target=TARGET, teacher=TEACHER)
    expect(
        bool(cost.name and cost.citation) and isinstance(cost.needs, Needs),
        "`name`, `citation` and `needs` must be set",
    )
    expect(matrix.shape == (len(TEACHER), len(TARGET)), "the cost must be [teacher classes, target classes]")
    expect(
        bool(torch.isfinite(matrix).all()) and float(matrix.min()) >= 0 and (float(matrix.max()) <= 1),
        "the cost must be finite and in [0, 1]",
    )
    expect(torch.equal(matrix, cost.matrix(outputs, labels, target=TARGET, teacher=TEACHER)), "not deterministic")
    expect(matrix.argmin(dim=0).tolist() == list(SHOWN_AS), "a class is not nearest to its own counterpart")

    _check_permutations(cost, matrix)
    unlabelled = (labels == UNLABELLED)[:, None]
    noisy = ModelOutputs(
        torch.where(unlabelled, outputs.features + 100, outputs.features),
        torch.where(unlabelled, -logits_of(outputs), logits_of(outputs)),
    )
    expect(
        torch.allclose(cost.matrix(noisy, labels, target=TARGET, teacher=TEACHER), matrix, atol=1e-05),
        "unlabelled rows must change nothing",
    )

    try:
        type(cost).__setattr__(cost, "name", "other")
    except FrozenInstanceError:
        pass
    else:
        raise AssertionError("settings can be changed after construction")
    if Needs.LOGITS in cost.needs:
        try:
            cost.matrix(ModelOutputs(outputs.features), labels, target=TARGET, teacher=TEACHER)
        except CTKDError as error:
            expect("logits" in str(error), "the error for a headless teacher must speak of logits")
        else:
            raise AssertionError("no error for a teacher without logits")


def _check_permutations(cost: LabelCost, matrix: torch.Tensor) -> None:
    outputs, labels = example()
    order = torch.tensor([2, 0, 1])
    new_id = torch.argsort(order)
    renamed = torch.where(labels == UNLABELLED, labels, new_id[labels.clamp_min(0)])
    target = LabelSpace(tuple(TARGET.names[old] for old in order))
    moved = cost.matrix(outputs, renamed, target=target, teacher=TEACHER)
    expect(torch.allclose(moved, matrix[:, order], atol=1e-05), "does not follow a permutation of target classes")
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    again = cost.matrix(outputs.select(shuffled), labels[shuffled], target=TARGET, teacher=TEACHER)
    expect(torch.allclose(again, matrix, atol=1e-05), "depends on the order of rows")
    if Needs.LOGITS in cost.needs:
        order = torch.tensor([3, 1, 0, 2])
        teacher = LabelSpace(tuple(TEACHER.names[old] for old in order))
        swapped = ModelOutputs(outputs.features, logits_of(outputs)[:, order])
        moved = cost.matrix(swapped, labels, target=TARGET, teacher=teacher)
        expect(torch.allclose(moved, matrix[order], atol=1e-05), "does not follow a permutation of teacher classes")
