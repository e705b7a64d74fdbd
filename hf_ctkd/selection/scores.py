"""The metrics of a ranking, by name or as objects."""

import inspect
from collections.abc import Sequence

from hf_ctkd import metrics as library
from hf_ctkd.costs import EmpiricalCost, PrototypeCost
from hf_ctkd.errors import InvalidArgumentError, resolve_name
from hf_ctkd.metrics import LEEP, InformationGain, NearestNeighbour, TransferabilityMetric, TransportScore

BESIDE: tuple[TransferabilityMetric, ...] = (
    InformationGain(),
    TransportScore(EmpiricalCost()),
    TransportScore(PrototypeCost()),
    LEEP(),
    NearestNeighbour(),
)
"""Scores that every ranking has beside the one that orders it, unless `metrics` names others."""


def chosen_metrics(
    metric: TransferabilityMetric | str, beside: Sequence[TransferabilityMetric | str] | None
) -> tuple[TransferabilityMetric, ...]:
    """The metric that orders, then the others, each name once.

    Args:
        metric: a name, `"package.module:Class"`, or an object; it orders the ranking.
        beside: the others, in the same forms; `BESIDE` when None.

    Raises:
        InvalidArgumentError: if `beside` is no list, a name is no metric, or two different metrics have the same name.
    """
    if isinstance(beside, str | TransferabilityMetric):
        raise InvalidArgumentError(f"`metrics` must be a list, got {beside!r} alone. Put it into a list.")
    chosen: dict[str, TransferabilityMetric] = {}
    first = _resolve(metric, "metric")
    for candidate in (first, *(_resolve(other, "metrics") for other in (BESIDE if beside is None else beside))):
        if beside is not None and chosen.get(candidate.name, candidate) != candidate:
            raise InvalidArgumentError(
                f"`metrics` holds two different scores named {candidate.name!r}. Leave one out, or rename it."
            )
        chosen.setdefault(candidate.name, candidate)
    return tuple(chosen.values())


def metric_names() -> tuple[str, ...]:
    """Names of the metrics of hf_ctkd that can be built without arguments."""
    return tuple(sorted(_by_name()))


def _by_name() -> dict[str, TransferabilityMetric]:
    exported = [vars(library)[name] for name in library.__all__]
    built = [kind() for kind in exported if kind is not TransferabilityMetric and _needs_no_argument(kind)]
    return {metric.name: metric for metric in (*BESIDE, *built)}


def _needs_no_argument(kind: type[TransferabilityMetric]) -> bool:
    # A metric that reads rows of the teacher's own task is built for one teacher, so no name can stand for it.
    return all(parameter.default is not parameter.empty for parameter in inspect.signature(kind).parameters.values())


def _resolve(metric: TransferabilityMetric | str, argument: str) -> TransferabilityMetric:
    if isinstance(metric, TransferabilityMetric):
        return metric
    if not isinstance(metric, str):
        raise InvalidArgumentError(
            f"`{argument}` must be a name or a TransferabilityMetric, got {type(metric).__name__}. Pass one."
        )
    by_name = _by_name()
    if metric in by_name:
        return by_name[metric]
    if ":" not in metric:
        raise InvalidArgumentError(
            f"`{argument}` {metric!r} is no metric: choose one of {', '.join(sorted(by_name))}, or name your own class "
            "as `package.module:Class`."
        )
    kind = resolve_name(metric, argument)
    if not (isinstance(kind, type) and issubclass(kind, TransferabilityMetric)):
        raise InvalidArgumentError(f"`{argument}` {metric!r} is no TransferabilityMetric. Derive it from that class.")
    return kind()
