"""How large and how fast the members of a pool are: built and timed, not estimated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.member import PoolMember
from hf_ctkd.tasks.evaluation import rows_per_second
from hf_ctkd.types import LabelSpace

_REPEATS = 20


@dataclass(frozen=True)
class MeasuredStudent:
    """A member of a pool with its size and its speed.

    Args:
        member: which one.
        parameters: of the model with its head.
        latency_ms: median milliseconds of a forward pass of one row.
        device: where it was timed.
    """

    member: PoolMember
    parameters: int
    latency_ms: float
    device: str


def measure(
    member: PoolMember, label_space: LabelSpace, *, device: str = "cpu", repeats: int = _REPEATS
) -> MeasuredStudent:
    """Build a member with random weights and time it on one row of the pool's input size.

    Args:
        member: which one.
        label_space: classes of the task: in a small student many of them are a large part of its parameters.
        device: where to time, such as "cpu" or "cuda"; on a CPU with as many threads as PyTorch has.
        repeats: timed passes, of which the median counts.

    Raises:
        InvalidArgumentError: if the device is not there.
    """
    place = _device(device)
    model = member.build(label_space).to(place).eval()  # type: ignore[arg-type] # hidden by a decorator
    batch = {name: tensor.to(place) for name, tensor in _one_row(member).items()}
    speed = rows_per_second(lambda inputs: model(**inputs), batch, repeats=repeats)
    return MeasuredStudent(member, model.num_parameters(), 1000 / speed, device)


def count_parameters(member: PoolMember, label_space: LabelSpace) -> int:
    """Parameters of a member, which is built without memory for them.

    Args:
        member: which one.
        label_space: classes of the task.
    """
    return member.skeleton(label_space).num_parameters()


def fitting(
    members: Iterable[PoolMember],
    label_space: LabelSpace,
    *,
    parameters: int | None,
    latency_ms: float | None,
    device: str,
) -> tuple[MeasuredStudent, ...]:
    """Those members that keep within a budget, most parameters first; see `StudentPool.under`.

    Raises:
        InvalidArgumentError: if none does, or a budget is not positive.
    """
    for name, budget in (("parameters", parameters), ("latency_ms", latency_ms)):
        if budget is not None and not budget > 0:
            raise InvalidArgumentError(f"`{name}` must be positive, got {budget}.")
    sizes = [(count_parameters(member, label_space), member) for member in members]
    small = [member for size, member in sizes if parameters is None or size <= parameters]
    if not small:
        smallest = min(size for size, _ in sizes)
        raise InvalidArgumentError(
            f"`parameters` {parameters} is too few for any of {len(sizes)} members: the smallest has {smallest}."
        )
    measured = [measure(member, label_space, device=device) for member in small]
    fast = [one for one in measured if latency_ms is None or one.latency_ms <= latency_ms]
    if not fast:
        fastest = min(one.latency_ms for one in measured)
        raise InvalidArgumentError(
            f"`latency_ms` {latency_ms} is too short for any of {len(measured)} members on {device}: the fastest takes "
            f"{fastest:.3g} ms."
        )
    return tuple(sorted(fast, key=lambda one: -one.parameters))


def pareto(costs: Sequence[float], values: Sequence[float]) -> tuple[int, ...]:
    """Which points no other one beats: none is at least as good and cheaper, or better and not dearer.

    Args:
        costs: lower is better, such as latencies.
        values: higher is better, such as accuracies; one a cost.

    Returns:
        Their places, cheapest first.

    Example:
        >>> pareto([3.0, 1.0, 2.0, 2.5], [0.9, 0.7, 0.8, 0.75])
        (1, 2, 0)
    """
    front: list[int] = []
    for place in sorted(range(len(costs)), key=lambda one: (costs[one], -values[one])):
        if not front or values[place] > values[front[-1]]:
            front.append(place)
    return tuple(front)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # PyTorch without CUDA asserts that it has it
        raise InvalidArgumentError(f"`device` {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def _one_row(member: PoolMember) -> dict[str, Tensor]:
    size = member.pool.input_size
    if member.pool.kind.modality == "text":
        return {"input_ids": torch.ones(1, size, dtype=torch.long)}
    return {"pixel_values": torch.zeros(1, int(member.pool.settings.get("num_channels", 3)), size, size)}
