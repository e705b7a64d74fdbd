"""The contract of distillation losses, checked on synthetic outputs; needs no test runner."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hf_ctkd.losses.base import RESERVED, DistillationLoss, LossContext, labelled_share, on_selected_rows, row_weights
from hf_ctkd.testing.promise import expect, present
from hf_ctkd.types import UNLABELLED, Hidden, LabelSpace, ModelOutputs, Needs


@dataclass(frozen=True, eq=False)
class LossCase:
    """A batch to evaluate a loss on, and the context that it belongs to.

    Args:
        context: argument of `setup`, with teachers over all rows.
        student: outputs of the student on the batch, which holds the first rows of the context.
        teachers: outputs of each teacher on the same batch.
        labels: labels of the batch, some of them -100.
    """

    context: LossContext
    student: ModelOutputs
    teachers: tuple[ModelOutputs, ...]
    labels: Tensor

    @classmethod
    def of(cls, layers: int = 0, *, teachers: int = 2, rows: int = 96, batch: int = 48, seed: int = 0) -> "LossCase":
        """Teachers whose features and predictions depend on the labels, and an unrelated student.

        Args:
            layers: hidden layers of each model's outputs; texts with the same padding.
            teachers: number of teachers; the first classes of teacher and target carry the same names.
            rows: number of training rows.
            batch: number of rows in the batch, the first ones.
            seed: of everything.
        """
        generator = torch.Generator().manual_seed(seed)
        names = ("cat", "dog", "owl", "carp")
        truth = torch.arange(rows) % len(names)
        mask = torch.arange(6) < torch.randint(2, 7, (rows, 1), generator=generator)
        student = _outputs(truth, mask, width=8, classes=len(names), layers=layers, signal=0.0, generator=generator)
        # A separate generator, so that the head does not depend on what else is drawn. The logits are not its outputs.
        head = torch.randn(8, len(names), generator=torch.Generator().manual_seed(seed))
        student = replace(student, head=lambda features: features @ head.to(features))
        committee = tuple(
            _outputs(truth, mask, width=5 + 2 * i, classes=len(names), layers=layers, signal=2.0, generator=generator)
            for i in range(teachers)
        )
        labels = torch.where(torch.rand(rows, generator=generator) < 0.6, truth, UNLABELLED)
        inputs = torch.nn.functional.one_hot(truth, len(names)) + torch.randn(rows, len(names), generator=generator)
        student = replace(student, inputs=inputs)
        space = LabelSpace(names)
        targets = torch.nn.functional.one_hot(truth, len(names)).float()
        targets[labels == UNLABELLED] = torch.nan
        context = LossContext(
            labels=labels,
            label_space=space,
            student=student,
            teachers=committee,
            teacher_label_spaces=(space,) * teachers,
            seed=seed,
            inputs=ModelOutputs(inputs),
            targets=targets,
            student_rows=student,
            steps=10,
        )
        first = torch.arange(batch)
        batch_teachers = tuple(teacher.select(first) for teacher in committee)
        return cls(context, student.select(first), batch_teachers, labels[:batch])

    def select(self, rows: Tensor) -> "LossCase":
        """The same context with other rows of the batch."""
        return replace(
            self,
            student=self.student.select(rows),
            teachers=tuple(teacher.select(rows) for teacher in self.teachers),
            labels=self.labels[rows],
        )

    def terms(self, loss: DistillationLoss) -> dict[str, Tensor]:
        """The terms of the loss on the batch, each teacher given on the rows that the loss selects for it."""
        return loss(self.student, on_selected_rows(self.teachers, loss.select(self.student)), self.labels)


class OutputsInParts:
    """Outputs that can only be read in parts, as those on disk, with a record of the largest part.

    Use it to check that a loss, a cost or a metric reads teachers over all rows in parts.

    Args:
        outputs: of all rows.
    """

    def __init__(self, outputs: ModelOutputs) -> None:
        self._outputs = outputs
        self.most_rows = 0
        """Rows of the largest part that was read."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._outputs)

    def select(self, rows: Tensor) -> ModelOutputs:
        """The outputs of some rows; see `RowOutputs.select`."""
        part = self._outputs.select(rows)
        self.most_rows = max(self.most_rows, len(part))
        return part

    def chunks(self, size: int) -> Iterator[tuple[slice, ModelOutputs]]:
        """The outputs in order; see `RowOutputs.chunks`."""
        for rows, part in self._outputs.chunks(size):
            self.most_rows = max(self.most_rows, len(part))
            yield rows, part


def check_loss(
    make: Callable[[], DistillationLoss],
    case: LossCase | None = None,
    *,
    row_mean: bool = True,
    reads_labels: bool = False,
    weighs_labelled_rows: bool = False,
) -> None:
    """Check that a loss keeps the contract of `DistillationLoss`.

    Args:
        make: returns a new loss, not set up yet.
        case: to evaluate it on; a synthetic one when None.
        row_mean: whether repeating all rows of a batch must leave the terms as they are.
        reads_labels: whether labels of the batch may change the terms.
        weighs_labelled_rows: whether a labelled row must count as `hf_ctkd.losses.base.row_weights` has it, whatever
            its class, as in a divergence from probes.

    Raises:
        AssertionError: naming the first promise that is broken.
    """
    case = case or LossCase.of(len(make().hidden))
    loss = make()
    loss.setup(case.context)
    _check_description(loss, case)
    _check_selection(loss, case)
    _check_terms(loss, case)
    _check_gradients(loss, case)
    if weighs_labelled_rows:
        _check_label_weights(loss, case)
    _check_labels(loss, case, reads_labels or weighs_labelled_rows)
    _check_targets(loss, case)
    _check_parts(make, loss, case)
    _check_padding(loss, case)
    _check_rows(loss, case, row_mean)
    _check_state(make, loss, case)
    _check_low_precision(loss, case)
    if Needs.TEACHER not in loss.needs:
        expect(bool(loss(case.student, (), case.labels)), "a loss that needs no teacher must work without one")


def _check_description(loss: DistillationLoss, case: LossCase) -> None:
    expect(bool(loss.name) and bool(loss.citation), "`name` and `citation` must say something")
    expect(isinstance(loss.needs, Needs), "`needs` must be a `Needs`")
    rate = loss.learning_rate
    expect(rate is None or (type(rate) is float and rate > 0), "`learning_rate` must be None or a positive float")
    expect(0 <= loss.task_factor() <= 1, "`task_factor()` must lie in [0, 1]")
    expect(all(type(remark) is str for remark in loss.remarks()), "`remarks()` must be sentences")
    settings = loss.settings()
    expect(json.loads(json.dumps(settings, allow_nan=False)) == settings, "`settings()` must be JSON values")
    expect(len(loss.weights()) in (0, len(case.teachers)), "`weights()` must hold one number a teacher, or none")
    expect(all(type(weight) is float for weight in loss.weights()), "`weights()` must be floats")
    accuracies = loss.probe_accuracies()
    expect(len(accuracies) in (0, len(case.teachers)), "`probe_accuracies()` must hold one share a teacher, or none")
    expect(all(type(value) is float for value in loss.diagnostics().values()), "`diagnostics()` must be floats")


def _check_terms(loss: DistillationLoss, case: LossCase) -> None:
    terms = case.terms(loss)
    expect(bool(terms), "at least one term must come back")
    diagnostics = loss.diagnostics()
    for name in (*terms, *diagnostics):
        expect(name not in RESERVED, f"the name {name!r} is taken: the trainer uses it itself")
    expect(not terms.keys() & diagnostics.keys(), "a diagnostic may not have the name of a term")
    for name, term in terms.items():
        expect(term.shape == () and bool(torch.isfinite(term)), f"term {name} must be one finite number, got {term}")
        expect(term.dtype in (torch.float32, torch.float64), f"term {name} must be computed in 32 bits or more")


def _check_gradients(loss: DistillationLoss, case: LossCase) -> None:
    tracked = replace(
        case, student=_tracked(case.student), teachers=tuple(_tracked(teacher) for teacher in case.teachers)
    )
    before = copy.deepcopy([_tensors(teacher) for teacher in case.teachers])
    loss.zero_grad()
    _total(tracked.terms(loss)).backward()
    gradients = [tensor.grad for tensor in _tensors(tracked.student) if tensor.grad is not None]
    expect(any(bool(gradient.any()) for gradient in gradients), "a gradient must reach the student")
    expect(all(bool(torch.isfinite(gradient).all()) for gradient in gradients), "the student's gradient must be finite")
    for name, parameter in loss.named_parameters():
        reached = f"a gradient must reach the loss's own `{name}`"
        gradient = present(parameter.grad, reached)
        expect(bool(gradient.any()), reached)
        expect(bool(torch.isfinite(gradient).all()), f"the gradient of `{name}` must be finite")
    for teacher, old in zip(tracked.teachers, before, strict=True):
        expect(all(tensor.grad is None for tensor in _tensors(teacher)), "no gradient may reach a teacher")
        same = all(torch.equal(now, then) for now, then in zip(_tensors(teacher), old, strict=True))
        expect(same, "a teacher's outputs may not be changed")


def _check_labels(loss: DistillationLoss, case: LossCase, reads_labels: bool) -> None:
    expected = case.terms(loss)
    for labels in (torch.full_like(case.labels, UNLABELLED), torch.zeros_like(case.labels)):
        terms = replace(case, labels=labels).terms(loss)
        expect(terms.keys() == expected.keys(), "terms may not come and go with the labels")
        expect(all(bool(torch.isfinite(term)) for term in terms.values()), "terms must be finite for any labels")
        expect(
            reads_labels or _close(terms, expected),
            "labels changed a term, yet unlabelled rows are to be distilled too",
        )


def _check_label_weights(loss: DistillationLoss, case: LossCase) -> None:
    weight = float(row_weights(torch.zeros(1, dtype=torch.long), labelled_share(case.context.labels)))
    unlabelled = replace(case, labels=torch.full_like(case.labels, UNLABELLED)).terms(loss)
    expected = {name: weight * term for name, term in unlabelled.items()}
    n_classes = len(case.context.label_space)
    for class_id in (0, n_classes - 1):
        terms = replace(case, labels=torch.full_like(case.labels, class_id)).terms(loss)
        expect(_close(terms, expected), "labelled rows must count as `row_weights` has it, whatever the class")


def _check_targets(loss: DistillationLoss, case: LossCase) -> None:
    targets = loss.row_targets(case.context)
    if targets is None:
        return
    rows = len(case.context.labels)
    expect(targets.ndim == 2 and len(targets) == rows, f"`row_targets` must be [rows, width], got {targets.shape}")
    expect(bool(torch.isfinite(targets).all()), "`row_targets` must be finite")
    gradients, terms = [], []
    for on_targets in (False, True):
        student = _tracked(case.student)
        if on_targets:  # the step reads neither teachers nor inputs then
            student = replace(student, inputs=None)
            terms.append(loss.on_targets(student, targets[: len(case.labels)], case.labels))
        else:
            terms.append(replace(case, student=student).terms(loss))
        _total(terms[-1]).backward()
        gradients.append([tensor.grad for tensor in _tensors(student)])
    expect(_close(terms[1], terms[0]), "`on_targets` must give the terms of `forward`")
    same = all(
        (left is None) == (right is None) and (left is None or right is None or torch.allclose(left, right, atol=1e-5))
        for left, right in zip(*gradients, strict=True)
    )
    expect(same, "`on_targets` must give the gradients of `forward`")


def _check_parts(make: Callable[[], DistillationLoss], loss: DistillationLoss, case: LossCase) -> None:
    if loss.hidden:  # hidden layers are never stored, so they come in memory
        return
    parts = make()
    teachers = tuple(
        OutputsInParts(teacher) if isinstance(teacher, ModelOutputs) else teacher for teacher in case.context.teachers
    )
    student = case.context.student_rows
    student_rows = OutputsInParts(student) if isinstance(student, ModelOutputs) else student
    parts.setup(replace(case.context, teachers=teachers, student_rows=student_rows))
    if any(True for _ in loss.parameters()):  # drawn at random: compare what was read from the teachers alone
        parts.load_state_dict(loss.state_dict())
    expect(_close(case.terms(parts), case.terms(loss)), "`setup` must give the same loss for teachers read in parts")


def _check_padding(loss: DistillationLoss, case: LossCase) -> None:
    if not loss.hidden:
        return
    noisy = replace(case, student=_noise(case.student), teachers=tuple(_noise(teacher) for teacher in case.teachers))
    expect(_close(noisy.terms(loss), case.terms(loss)), "values at padding changed a term")


def _check_rows(loss: DistillationLoss, case: LossCase, row_mean: bool) -> None:
    rows = torch.arange(len(case.labels))
    terms = case.terms(loss)
    expect(_close(case.select(rows.flip(0)).terms(loss), terms), "the order of the rows changed a term")
    if row_mean:
        doubled = case.select(torch.cat([rows, rows])).terms(loss)
        expect(_close(doubled, terms), "repeating all rows changed a term: it is no mean over rows")
    single = case.select(rows[:1]).terms(loss)
    expect(all(bool(torch.isfinite(term)) for term in single.values()), "terms of a batch of one row must be finite")


def _check_selection(loss: DistillationLoss, case: LossCase) -> None:
    chosen = loss.select(_tracked(case.student))
    if chosen is None:
        return
    shape = (len(case.labels), len(case.teachers))
    expect(chosen.shape == shape and chosen.dtype == torch.bool, "`select` must return a mask, [rows, teachers]")
    again = loss.select(case.student)
    expect(again is not None and torch.equal(again, chosen), "`select` must choose the same for the same rows")
    for row in range(len(case.labels)):
        alone = loss.select(case.student.select(torch.tensor([row])))
        same = alone is not None and torch.equal(alone, chosen[row : row + 1])
        expect(same, "`select` must choose for each row by itself, whatever batch it is in")


def _check_state(make: Callable[[], DistillationLoss], loss: DistillationLoss, case: LossCase) -> None:
    trained = copy.deepcopy(loss)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    fresh = make()
    fresh.setup(case.context)
    fresh.load_state_dict(trained.state_dict())
    for mode in (True, False):
        same = _close(case.terms(fresh.train(mode)), case.terms(trained.train(mode)))
        expect(same, "a new loss with the saved state must give the same terms")
    expect(fresh.weights() == trained.weights(), "a new loss with the saved state must give the same weights")


def _check_low_precision(loss: DistillationLoss, case: LossCase) -> None:
    exact = case.terms(loss)
    low = replace(
        case, student=_tracked(_cast(case.student)), teachers=tuple(_cast(teacher) for teacher in case.teachers)
    )
    terms = low.terms(loss)
    _total(terms).backward()
    gradients = [tensor.grad for tensor in _tensors(low.student) if tensor.grad is not None]
    expect(all(bool(torch.isfinite(gradient).all()) for gradient in gradients), "gradients in bfloat16 must be finite")
    # Eight bits of mantissa: a relative error of 1/256 in each input, taken to a fourth power at most.
    expect(_close(terms, exact, 0.05), "terms of bfloat16 outputs must agree with those of float32")
    with torch.autocast("cpu", torch.bfloat16):
        expect(_close(low.terms(loss), exact, 0.05), "terms under autocast must agree with those of float32")


def _outputs(
    truth: Tensor, mask: Tensor, *, width: int, classes: int, layers: int, signal: float, generator: torch.Generator
) -> ModelOutputs:
    means = torch.randn(classes, width, generator=generator)
    noise = torch.randn(len(truth), width, generator=generator)
    logits = torch.randn(len(truth), classes, generator=generator)
    logits = logits + signal * torch.nn.functional.one_hot(truth, classes)
    shape = (len(truth), mask.shape[1], width)
    hidden = tuple(
        Hidden(torch.randn(shape, generator=generator), (mask.shape[1],), mask.clone()) for _ in range(layers)
    )
    return ModelOutputs(noise + signal * means[truth], logits, hidden)


def _tensors(outputs: ModelOutputs) -> list[Tensor]:
    logits = [] if outputs.logits is None else [outputs.logits]
    return [outputs.features, *logits, *(layer.values for layer in outputs.hidden)]


def _mapped(outputs: ModelOutputs, change: Callable[[Tensor], Tensor]) -> ModelOutputs:
    return replace(
        outputs,
        features=change(outputs.features),
        logits=None if outputs.logits is None else change(outputs.logits),
        hidden=tuple(replace(layer, values=change(layer.values)) for layer in outputs.hidden),
    )


def _tracked(outputs: ModelOutputs) -> ModelOutputs:
    return _mapped(outputs, lambda tensor: tensor.detach().clone().requires_grad_())


def _cast(outputs: ModelOutputs) -> ModelOutputs:
    return _mapped(outputs, lambda tensor: tensor.bfloat16())


def _noise(outputs: ModelOutputs) -> ModelOutputs:
    return replace(
        outputs,
        hidden=tuple(
            layer
            if layer.mask is None
            else replace(layer, values=layer.values.masked_fill(~layer.mask[..., None], 99.0))
            for layer in outputs.hidden
        ),
    )


def _total(terms: dict[str, Tensor]) -> Tensor:
    return sum(terms.values(), start=torch.zeros(()))


def _close(terms: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 2e-4) -> bool:
    return terms.keys() == expected.keys() and all(
        torch.allclose(terms[name], expected[name], rtol=tolerance, atol=tolerance) for name in terms
    )
