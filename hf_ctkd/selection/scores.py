"""Which scores a ranking shows, by name or as objects."""

import inspect
from collections.abc import Sequence

from hf_ctkd import metrics as library
from hf_ctkd.costs import EmpiricalCost, PrototypeCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.import_path import imported, is_import_path
from hf_ctkd.metrics import LEEP, InformationGain, NearestNeighbour, TransferabilityMetric, TransportScore

BESIDE: tuple[TransferabilityMetric, ...] = (
    InformationGain(),
    TransportScore(EmpiricalCost()),
    TransportScore(PrototypeCost()),
    LEEP(),
    NearestNeighbour(),
)
"""Shown beside the score that orders, unless told otherwise."""


def chosen_metrics(
    metric: TransferabilityMetric | str, beside: Sequence[TransferabilityMetric | str] | None
) -> tuple[TransferabilityMetric, ...]:
    """The metric that orders first, then those shown beside it, each name once.

    Args:
        metric: a name, `"package.module:Class"`, or an object.
        beside: the same; `BESIDE` when None.

    Raises:
        InvalidArgumentError: if a name is no metric, or two different metrics have the same name.
    """
    chosen: dict[str, TransferabilityMetric] = {}
    first = _resolve(metric, "metric")
    for found in (first, *(_resolve(one, "metrics") for one in (BESIDE if beside is None else beside))):
        if beside is not None and chosen.get(found.name, found) != found:
            raise InvalidArgumentError(
                f"`metrics` holds two different scores named {found.name!r}. Leave one out, or name it otherwise."
            )
        chosen.setdefault(found.name, found)
    return tuple(chosen.values())


def metric_names() -> tuple[str, ...]:
    """Names of all metrics that come with the library and can be built without arguments."""
    return tuple(sorted(_by_name()))


def _by_name() -> dict[str, TransferabilityMetric]:
    exported = [vars(library)[name] for name in library.__all__]
    built = [one() for one in exported if one is not TransferabilityMetric and _needs_no_argument(one)]
    return {metric.name: metric for metric in (*BESIDE, *built)}


def _needs_no_argument(kind: type[TransferabilityMetric]) -> bool:
    # A metric over rows of the teacher's own task is made for one teacher, and cannot be had by name.
    return all(parameter.default is not parameter.empty for parameter in inspect.signature(kind).parameters.values())


def _resolve(metric: TransferabilityMetric | str, argument: str) -> TransferabilityMetric:
    if isinstance(metric, TransferabilityMetric):
        return metric
    if not isinstance(metric, str):
        raise InvalidArgumentError(
            f"`{argument}` must be a name or a TransferabilityMetric, got {type(metric).__name__}. Pass one."
        )
    known = _by_name()
    if metric in known:
        return known[metric]
    if not is_import_path(metric):
        raise InvalidArgumentError(
            f"`{argument}` {metric!r} is no metric: choose one of {', '.join(sorted(known))}, or name your own class "
            "as `package.module:Class`."
        )
    found = imported(metric, argument)
    if not (isinstance(found, type) and issubclass(found, TransferabilityMetric)):
        raise InvalidArgumentError(f"`{argument}` {metric!r} is no TransferabilityMetric. Derive it from that class.")
    return found()
