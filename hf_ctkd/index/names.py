"""Names of classes as they are compared: without codes, separators and capitals."""

import re

_WORDNET_ID = re.compile(r"^n\d{8}[\s_-]*")
_SEPARATORS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-/.,;:]+")
_NUMBERED = re.compile(r"(label|class)?[\s_-]*\d+")


def plain_name(name: str) -> str:
    """A class name in lower case, without WordNet ids and separators.

    Args:
        name: as a configuration has it.

    Example:
        >>> plain_name("n02123045_tabbyCat")
        'tabby cat'
    """
    return " ".join(_SEPARATORS.sub(" ", _WORDNET_ID.sub("", name)).lower().split()) or name


def is_informative(name: str) -> bool:
    """Whether a name describes its class; `LABEL_0`, `class_3` and bare numbers do not.

    Args:
        name: of one class.
    """
    return bool(name.strip()) and _NUMBERED.fullmatch(name.strip().lower()) is None
