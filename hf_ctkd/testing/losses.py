"""What every distillation loss must do, checked on made-up outputs; needs no test runner."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hf_ctkd.losses.base import RESERVED, DistillationLoss, LossContext, on_chosen
from hf_ctkd.testing.promise import expect, present
from hf_ctkd.types import UNLABELLED, Hidden, LabelSpace, ModelOutputs, Needs


@dataclass(frozen=True, eq=False)
class LossCase:
    """A batch to try a loss on, and the context that it belongs to.

    Args:
        context: what `setup` is told.
        student: outputs of the student on a batch.
        teachers: outputs of each teacher on the same batch.
        labels: labels of the batch, some of them -100.
    """

    context: LossContext
    student: ModelOutputs
    teachers: tuple[ModelOutputs, ...]
    labels: Tensor

    @classmethod
    def of(cls, layers: int = 0, *, teachers: int = 2, rows: int = 96, batch: int = 48, seed: int = 0) -> "LossCase":
        """Teachers whose features and predictions say something about the labels, and an unrelated student.

        Args:
            layers: hidden layers a model hands over; texts, padded alike.
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
        # Its own generator: a head says the same whatever else is drawn. The logits are not what it says.
        head = torch.randn(8, len(names), generator=torch.Generator().manual_seed(seed))
        student = replace(student, head=lambda features: features @ head.to(features))
        committee = tuple(
            _outputs(truth, mask, width=5 + 2 * i, classes=len(names), layers=layers, signal=2.0, generator=generator)
            for i in range(teachers)
        )
        labels = torch.where(torch.rand(rows, generator=generator) < 0.6, truth, UNLABELLED)
        shown = torch.nn.functional.one_hot(truth, len(names)) + torch.randn(rows, len(names), generator=generator)
        student = replace(student, inputs=shown)
        space = LabelSpace(names)
        context = LossContext(labels, space, student, committee, (space,) * teachers, seed, shown)
        first = torch.arange(batch)
        return cls(context, student.select(first), tuple(one.select(first) for one in committee), labels[:batch])

    def select(self, rows: Tensor) -> "LossCase":
        """The same context with other rows of the batch."""
        return replace(
            self,
            student=self.student.select(rows),
            teachers=tuple(one.select(rows) for one in self.teachers),
            labels=self.labels[rows],
        )

    def terms(self, loss: DistillationLoss) -> dict[str, Tensor]:
        """What the loss says about the batch, each teacher having been asked about the rows that it chose alone."""
        return loss(self.student, on_chosen(self.teachers, loss.select(self.student)), self.labels)


def check_loss(
    make: Callable[[], DistillationLoss],
    case: LossCase | None = None,
    *,
    row_mean: bool = True,
    reads_labels: bool = False,
) -> None:
    """Check that a loss keeps the contract of `DistillationLoss`.

    Args:
        make: returns a new loss, not set up yet.
        case: what to try it on; made up when None.
        row_mean: whether repeating all rows of a batch must leave the terms as they are.
        reads_labels: whether labels of the batch may change the terms.

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
    _check_labels(loss, case, reads_labels)
    _check_padding(loss, case)
    _check_rows(loss, case, row_mean)
    _check_state(make, loss, case)
    _check_low_precision(loss, case)
    if Needs.TEACHER not in loss.needs:
        expect(bool(loss(case.student, (), case.labels)), "a loss that needs no teacher must work without one")


def _check_description(loss: DistillationLoss, case: LossCase) -> None:
    expect(bool(loss.name) and bool(loss.citation), "`name` and `citation` must say something")
    expect(isinstance(loss.needs, Needs), "`needs` must be a `Needs`")
    settings = loss.settings()
    expect(json.loads(json.dumps(settings, allow_nan=False)) == settings, "`settings()` must be JSON values")
    expect(len(loss.weights()) in (0, len(case.teachers)), "`weights()` must hold one number a teacher, or none")
    expect(all(type(one) is float for one in loss.weights()), "`weights()` must be floats")
    expect(all(type(one) is float for one in loss.diagnostics().values()), "`diagnostics()` must be floats")


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
    found = [tensor.grad for tensor in _tensors(tracked.student) if tensor.grad is not None]
    expect(any(bool(one.any()) for one in found), "a gradient must reach the student")
    expect(all(bool(torch.isfinite(one).all()) for one in found), "the student's gradient must be finite")
    for name, parameter in loss.named_parameters():
        reached = f"a gradient must reach the loss's own `{name}`"
        gradient = present(parameter.grad, reached)
        expect(bool(gradient.any()), reached)
        expect(bool(torch.isfinite(gradient).all()), f"the gradient of `{name}` must be finite")
    for teacher, old in zip(tracked.teachers, before, strict=True):
        expect(all(tensor.grad is None for tensor in _tensors(teacher)), "no gradient may reach a teacher")
        same = all(torch.equal(one, two) for one, two in zip(_tensors(teacher), old, strict=True))
        expect(same, "a teacher's outputs may not be changed")


def _check_labels(loss: DistillationLoss, case: LossCase, reads_labels: bool) -> None:
    found = case.terms(loss)
    for labels in (torch.full_like(case.labels, UNLABELLED), torch.zeros_like(case.labels)):
        terms = replace(case, labels=labels).terms(loss)
        expect(terms.keys() == found.keys(), "terms may not come and go with the labels")
        expect(all(bool(torch.isfinite(term)) for term in terms.values()), "terms must be finite for any labels")
        expect(
            reads_labels or _close(terms, found), "labels changed a term, yet unlabelled rows are to be distilled too"
        )


def _check_padding(loss: DistillationLoss, case: LossCase) -> None:
    if not loss.hidden:
        return
    noisy = replace(case, student=_noise(case.student), teachers=tuple(_noise(teacher) for teacher in case.teachers))
    expect(_close(noisy.terms(loss), case.terms(loss)), "what stands at padding changed a term")


def _check_rows(loss: DistillationLoss, case: LossCase, row_mean: bool) -> None:
    rows = torch.arange(len(case.labels))
    found = case.terms(loss)
    expect(_close(case.select(rows.flip(0)).terms(loss), found), "the order of the rows changed a term")
    if row_mean:
        doubled = case.select(torch.cat([rows, rows])).terms(loss)
        expect(_close(doubled, found), "repeating all rows changed a term: it is no mean over rows")
    one = case.select(rows[:1]).terms(loss)
    expect(all(bool(torch.isfinite(term)) for term in one.values()), "terms of a batch of one row must be finite")


def _check_selection(loss: DistillationLoss, case: LossCase) -> None:
    chosen = loss.select(_tracked(case.student))
    if chosen is None:
        return
    shape = (len(case.labels), len(case.teachers))
    expect(chosen.shape == shape and chosen.dtype == torch.bool, "`select` must return a mask, [rows, teachers]")
    again = loss.select(case.student)
    expect(again is not None and torch.equal(again, chosen), "`select` must say the same of the same rows")
    for row in range(len(case.labels)):
        alone = loss.select(case.student.select(torch.tensor([row])))
        same = alone is not None and torch.equal(alone, chosen[row : row + 1])
        expect(same, "`select` must choose for each row by itself, whatever batch it stands in")


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
    expect(all(bool(torch.isfinite(one).all()) for one in gradients), "gradients in bfloat16 must be finite")
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


def _close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 2e-4) -> bool:
    return found.keys() == expected.keys() and all(
        torch.allclose(found[name], expected[name], rtol=tolerance, atol=tolerance) for name in found
    )
