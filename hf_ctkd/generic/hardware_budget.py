"""Size and latency of the members of a pool, from built and timed models, and which members fit a hardware budget."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.pool import PoolMember, StudentPool
from hf_ctkd.tasks.evaluation import rows_per_second
from hf_ctkd.types import LabelSpace

_REPEATS = 20


@dataclass(frozen=True)
class MeasuredStudent:
    """A member of a pool with its size and its latency.

    Args:
        member: the member that was built and timed.
        parameters: number of parameters, those of the head included.
        latency_ms: median duration of a forward pass of one row, in milliseconds.
        device: the device that it was timed on, such as "cpu".
    """

    member: PoolMember
    parameters: int
    latency_ms: float
    device: str


def measure_student(
    member: PoolMember, label_space: LabelSpace, *, device: str = "cpu", repeats: int = _REPEATS
) -> MeasuredStudent:
    """Build a member with random weights and time it on one row of the pool's input size.

    Use it to compare members on the hardware that they will run on. It does not measure throughput: a batch uses the
    hardware better than a single row.

    Args:
        member: the member to build.
        label_space: classes of the task; in a small student the head is a large part of the parameters.
        device: the device to time on, such as "cpu" or "cuda"; a CPU runs with as many threads as PyTorch is set to.
        repeats: timed passes, at least 1; the median counts.

    Raises:
        InvalidArgumentError: if PyTorch cannot use the device.
    """
    torch_device = _device(device)
    model = member.build(label_space).to(torch_device).eval()  # type: ignore[arg-type] # hidden by a decorator
    batch = {name: tensor.to(torch_device) for name, tensor in _one_row(member).items()}
    speed = rows_per_second(lambda inputs: model(**inputs), batch, repeats=repeats)
    return MeasuredStudent(member, model.num_parameters(), 1000 / speed, device)


def count_parameters(member: PoolMember, label_space: LabelSpace) -> int:
    """Number of parameters of a member, counted without allocating its weights.

    Args:
        member: the member to count.
        label_space: classes of the task.
    """
    return member.skeleton(label_space).num_parameters()


def students_within_budget(
    pool: StudentPool,
    label_space: LabelSpace,
    *,
    parameters: int | None = None,
    latency_ms: float | None = None,
    device: str = "cpu",
    candidates: int = 200,
    seed: int = 0,
) -> tuple[MeasuredStudent, ...]:
    """The members of a pool that fit a budget, built and timed on the device, most parameters first.

    Use it to pick students for a device. It builds and times every candidate, which takes seconds to minutes; to draw
    members without a budget use `StudentPool.sample`.

    Args:
        pool: the pool to search. A pool of more than `candidates` members is searched over random members.
        label_space: classes of the task; the head counts as well.
        parameters: maximum number of parameters; None for no limit.
        latency_ms: maximum duration of a forward pass of one row, in milliseconds; None for no limit.
        device: the device to time on, such as "cpu" or "cuda".
        candidates: maximum number of members that are considered.
        seed: of the random members of a larger pool.

    Raises:
        InvalidArgumentError: if no candidate fits, a budget is not positive, or PyTorch cannot use the device.

    Example:
        >>> pool = StudentPool("resnet", ((1, 2), (1, 2)), widths=((8, 16), (16, 32)), input_size=16)
        >>> students = students_within_budget(pool, LabelSpace(("cat", "dog")), parameters=10_000)
        >>> all(student.parameters <= 10_000 for student in students)
        True
    """
    for name, budget in (("parameters", parameters), ("latency_ms", latency_ms)):
        if budget is not None and not budget > 0:
            raise InvalidArgumentError(f"`{name}` must be positive, got {budget}.")
    members = tuple(pool) if len(pool) <= candidates else pool.sample(candidates, seed)
    sizes = [(count_parameters(member, label_space), member) for member in members]
    small = [member for size, member in sizes if parameters is None or size <= parameters]
    if not small:
        smallest = min(size for size, _ in sizes)
        raise InvalidArgumentError(
            f"`parameters` {parameters} is too few for any of {len(sizes)} members: the smallest has {smallest}. "
            "Allow more parameters, or declare a pool of smaller students."
        )
    students = [measure_student(member, label_space, device=device) for member in small]
    fast = [student for student in students if latency_ms is None or student.latency_ms <= latency_ms]
    if not fast:
        fastest = min(student.latency_ms for student in students)
        raise InvalidArgumentError(
            f"`latency_ms` {latency_ms} is too short for any of {len(students)} members on {device}: the fastest takes "
            f"{fastest:.3g} ms. Allow more time, or declare a pool of smaller students."
        )
    return tuple(sorted(fast, key=lambda student: -student.parameters))


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> tuple[int, ...]:
    """Indices of the points that no other point dominates: at least as good and cheaper, or better and no dearer.

    Args:
        costs: lower is better, such as latencies.
        values: higher is better, such as accuracies; as many as costs.

    Returns:
        Indices into `costs`, cheapest first.

    Example:
        >>> pareto_front([3.0, 1.0, 2.0, 2.5], [0.9, 0.7, 0.8, 0.75])
        (1, 2, 0)
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda point: (costs[point], -values[point])):
        if not front or values[index] > values[front[-1]]:
            front.append(index)
    return tuple(front)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # PyTorch without CUDA asserts that it has it
        raise InvalidArgumentError(
            f"`device` {name!r} cannot be used on this machine: {str(error).splitlines()[0].rstrip('.')}. "
            "Name one that PyTorch has, such as 'cpu'."
        ) from error
    return device


def _one_row(member: PoolMember) -> dict[str, Tensor]:
    size = member.pool.input_size
    if member.pool.kind.modality == "text":
        return {"input_ids": torch.ones(1, size, dtype=torch.long)}
    return {"pixel_values": torch.zeros(1, int(member.pool.settings.get("num_channels", 3)), size, size)}
