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
class _Place:
    """Where a parameter or buffer is kept: what a module has under this name now, though it may be replaced."""

    module: nn.Module
    held: Mapping[str, Any]
    name: str

    @property
    def tensor(self) -> Tensor:
        return self.held[self.name]


@dataclass(frozen=True)
class _Cut:
    """Where a weight of a member lies in the shared ones."""

    name: str
    source: _Place
    index: tuple[slice, ...]

    @property
    def tensor(self) -> Tensor:
        """A view of the shared weight."""
        return self.source.tensor[self.index]


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
        self._places = _places_of(self.shared)
        self._runners: dict[tuple[tuple[int, ...], bool], _Runner] = {}

    def forward(self, inputs: Mapping[str, Tensor], member: PoolMember) -> Float[Tensor, "batch classes"]:
        """Logits of a member on preprocessed rows.

        Args:
            inputs: as its plain model takes them.
            member: of the pool.
        """
        return self._run(self._runner(member), inputs=dict(inputs))[0]

    def tails(self, member: PoolMember, entries: Mapping[int, Hidden]) -> list[Float[Tensor, "batch classes"]]:
        """Logits of a member that is entered at boundaries between its stages, each with hidden states of its own.

        Args:
            member: of the pool.
            entries: boundary, at least 1 (it lies behind the first stage) -> what the stage behind it reads,
                `member.shape.entry_width(boundary)` wide.
        """
        # Nothing of the first stage lies behind a boundary: members that differ in its depth alone share a skeleton.
        stub = PoolMember(member.pool, (0, *member.path[1:]))
        return self._run(self._runner(stub, tails=True), entries=dict(entries))

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
        own = _places_of(model)
        with torch.no_grad():
            for cut in self._cuts(member, own):
                own[cut.name].tensor.copy_(cut.tensor)
        model.to(next(self.shared.parameters()).device)  # type: ignore[arg-type] # hidden by a decorator
        if calibration is not None:
            _calibrate(model, calibration)
        return model.eval()

    def _run(self, runner: _Runner, **arguments: Any) -> list[Tensor]:  # noqa: ANN401 (those of the runner)
        runner.train(self.training)
        return functional_call(runner, {f"model.{cut.name}": cut.tensor for cut in runner.cuts}, kwargs=arguments)

    def _runner(self, member: PoolMember, *, tails: bool = False) -> _Runner:
        """What runs a member, or its tails alone."""
        if member.pool != self.pool:
            raise InvalidArgumentError(f"`member` {member.name} must be of this supernet's own pool.")
        key = (member.path, tails)
        if key not in self._runners:
            if len(self._runners) >= _MOST_SKELETONS:
                self._runners.pop(next(iter(self._runners)))
            skeleton = member.skeleton(self.label_space)
            own = _places_of(skeleton)
            if tails:
                front = {id(one) for part in self.pool.kind.front(skeleton, member.shape.depths)
                         for one in part.modules()}  # fmt: skip
                own = {name: place for name, place in own.items() if id(place.module) not in front}
            self._runners[key] = _Runner(member, skeleton, self._cuts(member, own))
        return self._runners[key]

    def _cuts(self, member: PoolMember, own: Mapping[str, _Place]) -> list[_Cut]:
        """Where parameters and buffers of a member lie, by its own names."""
        cuts = []
        depths, largest = member.shape.depths, self.pool.largest.shape.depths
        for name, place in own.items():
            source = self._places[self.pool.kind.source(name, depths, largest)]
            sizes = zip(place.tensor.shape, source.tensor.shape, strict=True)
            # A dimension taken whole costs nothing, while a slice costs a tensor of zeros in the backward pass.
            index = tuple(slice(None) if one == all_ else slice(one) for one, all_ in sizes)
            cuts.append(_Cut(name, source, index))
        return cuts


def _places_of(model: nn.Module) -> dict[str, _Place]:
    """Where the parameters and buffers of a model are kept, by their names."""
    found = {}
    for owner, module in model.named_modules():
        prefix = f"{owner}." if owner else ""
        for held in (module._parameters, module._buffers):  # `get_parameter` takes too long for every step
            found.update({prefix + name: _Place(module, held, name) for name, one in held.items() if one is not None})
    return found


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
