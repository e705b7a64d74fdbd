"""Losses by name: from `--loss` and `--loss_settings` to an object."""

import inspect
import json
from collections.abc import Mapping
from types import MappingProxyType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hf_ctkd import costs, losses
from hf_ctkd.costs import LabelCost
from hf_ctkd.errors import InvalidArgumentError, resolve_name
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.probes import LinearProbe


def loss_names() -> tuple[str, ...]:
    """Names of all losses that come with the library."""
    return tuple(sorted(_losses()))


def build_loss(
    name: str, settings: str | None = None, defaults: Mapping[str, Any] = MappingProxyType({})
) -> DistillationLoss:
    """A loss by its name, or anybody's as `package.module:Class`.

    Args:
        name: of the loss.
        settings: its constructor's arguments as a JSON object; a cost or another loss in it is an object with a "name"
            beside its own settings.
        defaults: arguments that `settings` may replace.

    Raises:
        InvalidArgumentError: if the name is unknown or the settings do not fit.

    Example:
        >>> build_loss("label_transport", '{"cost": {"name": "empirical"}, "epsilon": 0.2}').epsilon
        0.2
    """
    loss_class = _find(name, _losses(), "--loss")
    if not (isinstance(loss_class, type) and issubclass(loss_class, DistillationLoss)):
        raise InvalidArgumentError(f"`--loss` {name!r} is no DistillationLoss. Derive it from that class.")
    return _build(loss_class, {**defaults, **_settings(settings)}, name)


def _settings(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InvalidArgumentError(
            f"`--loss_settings` is not valid JSON: {error}. Write it as '{{\"epsilon\": 0.2}}'."
        ) from error
    if not isinstance(values, dict):
        raise InvalidArgumentError(
            f"`--loss_settings` must be a JSON object such as '{{\"epsilon\": 0.2}}', got {text}."
        )
    return values


def _build(kind: type, settings: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 (a loss or a cost)
    values = {key: _value(value) for key, value in settings.items()}
    accepted = inspect.signature(kind)
    try:
        accepted.bind(**values)
        for key, value in values.items():
            hint = accepted.parameters[key].annotation if key in accepted.parameters else inspect.Parameter.empty
            if hint is not inspect.Parameter.empty and not _fits(value, hint):
                raise TypeError(f"{key!r} must be {_described(hint)}, got {json.dumps(settings[key])}")
        return kind(**values)
    except TypeError as error:
        raise InvalidArgumentError(
            f"`--loss_settings` does not fit {name}: {' '.join(str(error).split())[:200]}. "
            f"It takes {', '.join(accepted.parameters) or 'none'}."
        ) from error


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401 (any JSON value, any type hint)
    """Whether a value is of a type; True for a type hint that no `isinstance` can check, such as a protocol."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, alternative) for alternative in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    kind = get_origin(hint) or hint
    if not isinstance(kind, type):
        return True
    if isinstance(value, bool | str):  # which Python takes for a number and for a sequence
        return kind in (type(value), object)
    if not isinstance(value, int | float if kind is float else kind):
        return False
    return not isinstance(value, tuple) or _items_fit(value, kind, get_args(hint))


def _items_fit(items: tuple, kind: type, hints: tuple) -> bool:
    if not hints:
        return True
    if kind is tuple and hints[-1] is not Ellipsis:
        return len(items) == len(hints) and all(map(_fits, items, hints))
    return all(_fits(item, hints[0]) for item in items)


def _described(hint: Any) -> str:  # noqa: ANN401 (any type hint)
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _value(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    if isinstance(value, dict) and "name" in value:
        classes = {**_losses(), **_costs(), "linear_probe": LinearProbe}
        settings = {key: item for key, item in value.items() if key != "name"}
        return _build(_find(str(value["name"]), classes, "--loss_settings"), settings, str(value["name"]))
    return value


def _losses() -> dict[str, type]:
    exported = [vars(losses)[name] for name in losses.__all__]
    return {
        loss_class.name: loss_class
        for loss_class in exported
        if isinstance(loss_class, type)
        and issubclass(loss_class, DistillationLoss)
        and not inspect.isabstract(loss_class)
    }


def _costs() -> dict[str, type]:
    exported = [vars(costs)[name] for name in costs.__all__]
    cost_classes = [
        cost_class for cost_class in exported if isinstance(cost_class, type) and issubclass(cost_class, LabelCost)
    ]
    return {cost_class.name: cost_class for cost_class in cost_classes if not inspect.isabstract(cost_class)}


def _find(name: str, classes: Mapping[str, type], flag: str) -> Any:  # noqa: ANN401 (whatever stands there)
    if name in classes:
        return classes[name]
    if ":" not in name:
        raise InvalidArgumentError(
            f"`{flag}` {name!r} is unknown: choose one of {', '.join(sorted(classes))}, or name a class of your own as "
            "`package.module:Class`."
        )
    return resolve_name(name, flag)
