"""Weight sharing between the students of a pool: every path runs on slices of the largest student's weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.pool import PoolMember, StudentPool
from hf_ctkd.types import Hidden, LabelSpace

_MAX_CACHED_RUNNERS = 256
"""The oldest is dropped beyond so many; a skeleton holds no weights, but some kilobytes per module."""


@dataclass(frozen=True)
class _TensorSlot:
    """A named parameter or buffer of a module; reads the current tensor, which a move to a device may replace."""

    module: nn.Module
    tensors: Mapping[str, Any]
    name: str

    @property
    def tensor(self) -> Tensor:
        return self.tensors[self.name]


@dataclass(frozen=True)
class _SharedSlice:
    """The slice of a shared weight that a member uses under a name of its own."""

    name: str
    source: _TensorSlot
    index: tuple[slice, ...]

    @property
    def tensor(self) -> Tensor:
        """A view of the shared weight."""
        return self.source.tensor[self.index]


class _Runner(nn.Module):
    """The forward pass of a member, or of its tails after boundaries, with weights from `functional_call`."""

    def __init__(self, member: PoolMember, model: PreTrainedModel, slices: Sequence[_SharedSlice]) -> None:
        super().__init__()
        self.member = member
        self.model = model
        self.slices = slices

    def forward(
        self, inputs: Mapping[str, Tensor] | None = None, entries: Mapping[int, Hidden] | None = None
    ) -> list[Tensor]:
        if entries is None:
            return [self.model(**(inputs or {}), return_dict=True).logits]
        kind, depths = self.member.pool.kind, self.member.shape.depths
        return [kind.tail(self.model, entry, boundary, depths) for boundary, entry in entries.items()]


class Supernet(nn.Module):
    """Weight sharing over a pool: a smaller member uses the leading entries of the largest member's weights.

    Use it to run or train any member without weights of its own; `export` makes a member an independent model. A path
    runs the code of its `transformers` model with slices of the shared weights, so an exported model has the same
    outputs, and gradients reach the shared weights through the slices. `started` makes a student for distillation.

    Running statistics of batch norm are shared and sliced like weights, and every path that runs in training mode
    updates the entries that it uses. They are therefore statistics of a mixture of members.
    `export(..., calibration=batches)` estimates those of the exported model from data.

    Args:
        pool: the students.
        label_space: classes of the task.
        seed: of the initial shared weights.

    Example:
        >>> import torch
        >>> pool = StudentPool("resnet", ((1, 2), (1,)), widths=((8,), (8, 16)), input_size=16)
        >>> supernet, member = Supernet(pool, LabelSpace(("cat", "dog"))).eval(), pool.sample(1, seed=0)[0]
        >>> rows = {"pixel_values": torch.rand(2, 3, 16, 16)}
        >>> exported = supernet.export(member)
        >>> bool(torch.equal(exported(**rows).logits, supernet(rows, member)))
        True
    """

    def __init__(self, pool: StudentPool, label_space: LabelSpace, *, seed: int = 0) -> None:
        super().__init__()
        self.pool = pool
        self.label_space = label_space
        self.shared = pool.largest.build(label_space, seed=seed)
        self._slots = _tensor_slots(self.shared)
        self._runners: dict[tuple[tuple[int, ...], bool], _Runner] = {}

    def forward(self, inputs: Mapping[str, Tensor], member: PoolMember) -> Float[Tensor, "batch classes"]:
        """Logits of a member on preprocessed rows.

        Args:
            inputs: as the member's model takes them.
            member: a member of the pool.
        """
        return self._run(self._runner(member), inputs=dict(inputs))[0]

    def tails(self, member: PoolMember, entries: Mapping[int, Hidden]) -> list[Float[Tensor, "batch classes"]]:
        """Logits of the tails of a member: for each boundary, the stages after it and the head.

        Args:
            member: a member of the pool.
            entries: from boundary (1 follows the first stage) to the hidden states that enter the next stage,
                `member.shape.entry_width(boundary)` wide.
        """
        # No tail contains the first stage, so members that differ only in its depth share a runner.
        without_first_stage = PoolMember(member.pool, (0, *member.path[1:]))
        return self._run(self._runner(without_first_stage, tails=True), entries=dict(entries))

    def export(
        self, member: PoolMember, *, calibration: Iterable[Mapping[str, Tensor]] | None = None
    ) -> PreTrainedModel:
        """A member as an independent `transformers` model in evaluation mode, with copies of its weights.

        Args:
            member: a member of the pool.
            calibration: batches of inputs to estimate the statistics of batch norm from; None copies the shared ones,
                so that the model has the same outputs as the path.
        """
        model = member.build(self.label_space)
        self._copy(member, _tensor_slots(model))
        model.to(next(self.shared.parameters()).device)  # type: ignore[arg-type] # hidden by a decorator
        if calibration is not None:
            _calibrate(model, calibration)
        return model.eval()

    def started(self, member: PoolMember, *, seed: int = 0) -> PreTrainedModel:
        """A new model of a member that starts from the weights of its branches, in training mode.

        No branch contains the stem and the first stage, whose weights are drawn at random. Use it for a student that is
        distilled from the teacher that these branches were attached to.

        Args:
            member: a member of the pool.
            seed: of the random weights.
        """
        model = member.build(self.label_space, seed=seed)
        self._copy(member, self._behind_the_front(member, model))
        model.to(next(self.shared.parameters()).device)  # type: ignore[arg-type] # hidden by a decorator
        return model.train()

    def _copy(self, member: PoolMember, slots: Mapping[str, _TensorSlot]) -> None:
        """Copy the shared weights of a member into parameters and buffers of its model."""
        with torch.no_grad():
            for shared_slice in self._slices(member, slots):
                slots[shared_slice.name].tensor.copy_(shared_slice.tensor)

    def _behind_the_front(self, member: PoolMember, model: PreTrainedModel) -> dict[str, _TensorSlot]:
        """Parameters and buffers behind the first boundary: the part of a member that its branches hold."""
        front = self.pool.kind.front(model, member.shape.depths)
        front_modules = {id(module) for part in front for module in part.modules()}
        return {name: slot for name, slot in _tensor_slots(model).items() if id(slot.module) not in front_modules}

    def _run(self, runner: _Runner, **arguments: Any) -> list[Tensor]:  # noqa: ANN401 (those of the runner)
        runner.train(self.training)
        weights = {f"model.{shared_slice.name}": shared_slice.tensor for shared_slice in runner.slices}
        return functional_call(runner, weights, kwargs=arguments)

    def _runner(self, member: PoolMember, *, tails: bool = False) -> _Runner:
        """The cached runner of a member, or of its tails."""
        if member.pool != self.pool:
            raise InvalidArgumentError(f"`member` {member.name} must belong to the pool of this supernet.")
        key = (member.path, tails)
        if key not in self._runners:
            if len(self._runners) >= _MAX_CACHED_RUNNERS:
                self._runners.pop(next(iter(self._runners)))
            skeleton = member.skeleton(self.label_space)
            slots = self._behind_the_front(member, skeleton) if tails else _tensor_slots(skeleton)
            self._runners[key] = _Runner(member, skeleton, self._slices(member, slots))
        return self._runners[key]

    def _slices(self, member: PoolMember, slots: Mapping[str, _TensorSlot]) -> list[_SharedSlice]:
        """The slices of the shared weights for the parameters and buffers of a member."""
        slices = []
        depths, largest = member.shape.depths, self.pool.largest.shape.depths
        for name, slot in slots.items():
            source = self._slots[self.pool.kind.source(name, depths, largest)]
            sizes = zip(slot.tensor.shape, source.tensor.shape, strict=True)
            # A full dimension needs no slice; a slice costs a tensor of zeros in the backward pass.
            index = tuple(slice(None) if size == full_size else slice(size) for size, full_size in sizes)
            slices.append(_SharedSlice(name, source, index))
        return slices


def _tensor_slots(model: nn.Module) -> dict[str, _TensorSlot]:
    """The parameters and buffers of a model by their full names."""
    slots = {}
    for module_name, module in model.named_modules():
        prefix = f"{module_name}." if module_name else ""
        # Private, because `get_parameter` walks the modules, which takes too long in every step.
        for tensors in (module._parameters, module._buffers):
            slots.update(
                {
                    prefix + name: _TensorSlot(module, tensors, name)
                    for name, tensor in tensors.items()
                    if tensor is not None
                }
            )
    return slots


@torch.no_grad()
def _calibrate(model: PreTrainedModel, batches: Iterable[Mapping[str, Tensor]]) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean over the batches
    model.train()
    for batch in batches:
        model(**batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
