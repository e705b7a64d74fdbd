"""What users bring of their own, named as `package.module:attribute` wherever a name of ours would do."""

import importlib
from typing import Any

from hf_ctkd.errors import InvalidArgumentError


def is_import_path(name: str) -> bool:
    """Whether a name has the form `package.module:attribute`.

    Args:
        name: as the user wrote it.
    """
    module, _, attribute = name.partition(":")
    return bool(module and attribute)


def imported(name: str, argument: str) -> Any:  # noqa: ANN401 (whatever stands there: the caller checks)
    """What an import path stands for.

    Args:
        name: `package.module:attribute`.
        argument: that the user gave it for, for the message.

    Raises:
        InvalidArgumentError: if there is no such module, or nothing of that name in it.

    Example:
        >>> imported("math:pi", "metric")
        3.141592653589793
    """
    module, _, attribute = name.partition(":")
    try:
        return vars(importlib.import_module(module))[attribute]
    except (ImportError, KeyError) as error:
        raise InvalidArgumentError(
            f"`{argument}` {name!r} cannot be imported: {error}. Put its module on the Python path."
        ) from error
