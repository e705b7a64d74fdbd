"""The command that made a student, fit to be published: quoted for a shell, without secrets or paths of a machine."""

import shlex
from collections.abc import Iterator, Sequence

from hf_ctkd.hub import RANDOM
from hf_ctkd.records import last_name

_HIDDEN = "***"
_RESUME = ("--resume_from_checkpoint", "--resume-from-checkpoint")


def command_line(words: Sequence[str]) -> str:
    """Words as a shell takes them, without secrets, absolute paths or the checkpoint of an interrupted run.

    Values of flags that end in "token" are left out, of absolute paths the last name is kept, and
    `--resume_from_checkpoint` is dropped: who runs the command anew has no checkpoint.

    Args:
        words: program and arguments.

    Example:
        >>> command_line(["hf-ctkd", "distill", "--hub_token", "hf_abc", "--student", "/home/me/my model"])
        "hf-ctkd distill --hub_token '***' --student 'my model'"
    """
    printable, secret = [], False
    for word in _from_the_start(words):
        flag, equals, _ = word.partition("=")
        is_secret = flag.startswith("-") and flag.lower().endswith("token")
        printable.append(_HIDDEN if secret else f"{flag}={_HIDDEN}" if is_secret and equals else _without_path(word))
        secret = is_secret and not equals and not secret
    return shlex.join(printable)


def _from_the_start(words: Sequence[str]) -> Iterator[str]:
    dropping = False
    for word in words:
        is_value = dropping and not word.startswith("-")
        dropping = word in _RESUME
        if not (is_value or dropping or word.partition("=")[0] in _RESUME):
            yield word


def _without_path(word: str) -> str:
    """A word, a flag's value after "=", or a model after "random:"."""
    if word.startswith("-") and "=" in word:
        flag, _, value = word.partition("=")
        return f"{flag}={_without_path(value)}"
    if word.startswith(RANDOM):
        return RANDOM + last_name(word.removeprefix(RANDOM))
    return last_name(word)
