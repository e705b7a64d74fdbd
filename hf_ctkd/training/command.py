"""The command that made a student, fit to be published: quoted for a shell, without secrets."""

import shlex
from collections.abc import Sequence

_HIDDEN = "***"


def command_line(words: Sequence[str]) -> str:
    """Words as a shell takes them, the values of flags that end in "token" left out.

    Args:
        words: program and arguments.

    Example:
        >>> command_line(["hf-ctkd", "distill", "--hub_token", "hf_abc", "--student", "my model"])
        "hf-ctkd distill --hub_token '***' --student 'my model'"
    """
    shown, secret = [], False
    for word in words:
        flag, equals, _ = word.partition("=")
        is_secret = flag.startswith("-") and flag.lower().endswith("token")
        shown.append(_HIDDEN if secret else f"{flag}={_HIDDEN}" if is_secret and equals else word)
        secret = is_secret and not equals and not secret
    return shlex.join(shown)
