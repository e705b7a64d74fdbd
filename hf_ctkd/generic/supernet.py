"""All students of a pool in the weights of the largest: any path runs, and leaves as a plain model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.member import PoolMember
from hf_ctkd.generic.pool import StudentPool
from hf_ctkd.types import Hidden, LabelSpace

_MOST_SKELETONS = 256


@dataclass(frozen=True)
class _Cut:
    """Where a weight of a member lies in the shared ones."""

    name: str
    source: str
    index: tuple[slice, ...]


class _Runner(nn.Module):
    """A member as a function of weights that are handed to it: the whole of it, or its tails behind boundaries."""

    def __init__(self, member: PoolMember, model: PreTrainedModel, cuts: Sequence["_Cut"]) -> None:
        super().__init__()
        self.member = member
        self.model = model
        self.cuts = cuts

    def forward(
        self, inputs: Mapping[str, Tensor] | None = None, entries: Mapping[int, Hidden] | None = None
    ) -> list[Tensor]:
        if entries is None:
            return [self.model(**(inputs or {}), return_dict=True).logits]
        kind, depths = self.member.pool.kind, self.member.shape.depths
        return [kind.tail(self.model, entry, boundary, depths) for boundary, entry in entries.items()]


class Supernet(nn.Module):
    """Weight sharing over a pool: a smaller member uses the leading entries of the largest one's weights.

    A path runs through the very code of its plain `transformers` model, with slices of the shared weights in place of
    its own, so that `export` gives a model of the same outputs. Gradients reach the shared weights through the slices.

    Batch norm: running statistics are shared and sliced like weights, and every path that runs in training mode moves
    the entries that it uses. So they belong to a mixture of members and suit none exactly; an exported model gives the
    same outputs as its path because it has the same statistics. `export(..., calibration=batches)` estimates those of
    the exported model anew, from data, and leaves the supernet as it is.

    Args:
        pool: the students.
        label_space: classes of the task.
        seed: of the shared weights.

    Example:
        >>> import torch
        >>> pool = StudentPool("resnet", ((1, 2), (1,)), widths=((8,), (8, 16)), input_size=16)
        >>> supernet, member = Supernet(pool, LabelSpace(("cat", "dog"))).eval(), pool.sample(1, seed=0)[0]
        >>> rows = {"pixel_values": torch.rand(2, 3, 16, 16)}
        >>> plain = supernet.export(member)
        >>> bool(torch.equal(plain(**rows).logits, supernet(rows, member)))
        True
    """

    def __init__(self, pool: StudentPool, label_space: LabelSpace, *, seed: int = 0) -> None:
        super().__init__()
        self.pool = pool
        self.label_space = label_space
        self.shared = pool.largest.build(label_space, seed=seed)
        self._runners: dict[tuple[int, ...], _Runner] = {}

    def forward(self, inputs: Mapping[str, Tensor], member: PoolMember) -> Float[Tensor, "batch classes"]:
        """Logits of a member on preprocessed rows.

        Args:
            inputs: as its plain model takes them.
            member: of the pool.
        """
        return self._run(member, inputs=dict(inputs))[0]

    def tails(self, member: PoolMember, entries: Mapping[int, Hidden]) -> list[Float[Tensor, "batch classes"]]:
        """Logits of a member that is entered at boundaries between its stages, each with hidden states of its own.

        Args:
            member: of the pool.
            entries: boundary, at least 1 (it lies behind the first stage) -> what the stage behind it reads,
                `member.shape.entry_width(boundary)` wide.
        """
        # Nothing of the first stage lies behind a boundary: members that differ in its depth alone share a skeleton.
        return self._run(PoolMember(member.pool, (0, *member.path[1:])), entries=dict(entries))

    def export(
        self, member: PoolMember, *, calibration: Iterable[Mapping[str, Tensor]] | None = None
    ) -> PreTrainedModel:
        """A member as a plain `transformers` model with copies of its weights, in evaluation mode.

        Args:
            member: of the pool.
            calibration: batches of inputs from which statistics of batch norm are estimated anew; None keeps the
                shared ones, and the same outputs as this path.
        """
        model = member.build(self.label_space)
        taken = self._taken(self._cuts(member, model))
        with torch.no_grad():
            for name, tensor in _tensors_of(model).items():
                tensor.copy_(taken[name])
        model.to(next(self.shared.parameters()).device)  # type: ignore[arg-type] # hidden by a decorator
        if calibration is not None:
            _calibrate(model, calibration)
        return model.eval()

    def _run(self, member: PoolMember, **arguments: Any) -> list[Tensor]:  # noqa: ANN401 (those of the runner)
        runner = self._runner(member)
        runner.train(self.training)
        weights = {f"model.{name}": tensor for name, tensor in self._taken(runner.cuts).items()}
        return functional_call(runner, weights, kwargs=arguments)

    def _runner(self, member: PoolMember) -> _Runner:
        if member.pool != self.pool:
            raise InvalidArgumentError(f"`member` {member.name} must be of this supernet's own pool.")
        if member.path not in self._runners:
            if len(self._runners) >= _MOST_SKELETONS:
                self._runners.pop(next(iter(self._runners)))
            skeleton = member.skeleton(self.label_space)
            self._runners[member.path] = _Runner(member, skeleton, self._cuts(member, skeleton))
        return self._runners[member.path]

    def _cuts(self, member: PoolMember, model: PreTrainedModel) -> list[_Cut]:
        """Where the parameters and buffers of a member lie."""
        shared, cuts = _tensors_of(self.shared), []
        depths, largest = member.shape.depths, self.pool.largest.shape.depths
        for name, own in _tensors_of(model).items():
            source = self.pool.kind.source(name, depths, largest)
            sizes = zip(own.shape, shared[source].shape, strict=True)
            # A dimension taken whole costs nothing, while a slice costs a tensor of zeros in the backward pass.
            cuts.append(_Cut(name, source, tuple(slice(None) if one == all_ else slice(one) for one, all_ in sizes)))
        return cuts

    def _taken(self, cuts: Sequence[_Cut]) -> dict[str, Tensor]:
        """A member's parameters and buffers by its own names, as views of the shared ones."""
        shared = _tensors_of(self.shared)
        return {cut.name: shared[cut.source][cut.index] for cut in cuts}


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def _calibrate(model: PreTrainedModel, batches: Iterable[Mapping[str, Tensor]]) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    model.train()
    for batch in batches:
        model(**batch)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
