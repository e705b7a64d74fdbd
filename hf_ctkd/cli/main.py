"""The command `hf-ctkd`: looks at its first word and loads that command alone; `--help` needs no torch."""

import argparse
import errno
import re
import sys
from collections.abc import Sequence
from importlib import import_module

from hf_ctkd._version import __version__
from hf_ctkd.cli.arguments import COMMANDS, ParsedCommand
from hf_ctkd.cli.help import did_you_mean, help_text
from hf_ctkd.cli.outputs import absent_outputs, remove_unused
from hf_ctkd.errors import CTKDError

OK, ERROR, INTERRUPTED = 0, 1, 130
_WRONG_USAGE = 2
_COMMAND_NAMES = f"choose one of {', '.join(COMMANDS)}; `hf-ctkd --help` says what they do"
_HELP_ALL = {"--help-all", "--help_all"}
_HELP = {"-h", "--help"} | _HELP_ALL
_DISK = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_ARGUMENT = re.compile(r"`(?P<name>[a-z0-9_]+)(=(?P<value>[^`]*))?`")
_OTHERS_BY_THE_SAME_NAME = {"labels"}
"""Flags that set something else than the argument of this name in the library."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 0 done, 1 an error, 2 wrong usage, 130 interrupted.

    What this library raises on purpose, and a disk that refuses, become one line on stderr; anything else is a bug and
    keeps its traceback.

    Args:
        argv: words after `hf-ctkd`; those of this process when None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        name = _command(words)
        if _HELP & set(words[1:]):
            print(help_text(name, COMMANDS[name], everything=bool(_HELP_ALL & set(words[1:]))), end="")
            return OK
        from hf_ctkd.cli.parsing import CommandParser  # imports transformers

        parsed = CommandParser(name, COMMANDS[name]).parse(words[1:])
    except SystemExit as stop:  # how argparse ends after --help and after wrong usage
        return stop.code if isinstance(stop.code, int) else ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return _run(name, parsed)


def _command(words: Sequence[str]) -> str:
    listed = "\n".join(f"  {name:15} {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="hf-ctkd",
        usage="hf-ctkd COMMAND [--help] [flags]",
        description="Rank teachers for your data set, distill from the best, and publish the student.\n\n"
        f"commands:\n{listed}",
        epilog="`hf-ctkd COMMAND --help` lists the flags of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hf_ctkd {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of those above")
    if not words:
        parser.exit(_WRONG_USAGE, f"hf-ctkd: error: a command is missing: {_COMMAND_NAMES}.\n")
    name = parser.parse_args(list(words[:1])).command
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        parser.exit(_WRONG_USAGE, f"hf-ctkd: error: there is no command {name!r}{hint}: {_COMMAND_NAMES}.\n")
    return name


def _run(name: str, parsed: ParsedCommand) -> int:
    from hf_ctkd.cli.printing import run_and_print  # imports what help and wrong usage do not need

    absent = absent_outputs({**vars(parsed.arguments), **parsed.training})
    try:
        run_and_print(import_module(f"hf_ctkd.cli.{name.replace('-', '_')}").run, parsed)
    except CTKDError as error:
        remove_unused(absent)
        print(f"hf-ctkd {name}: error: {_in_flags(str(error), parsed)}", file=sys.stderr)
        return ERROR
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"hf-ctkd {name}: error: {where}{error.strerror}. Choose a folder that can be written and has room.",
            file=sys.stderr,
        )
        return ERROR
    except KeyboardInterrupt as stop:
        # A command that knows what is kept raises the interruption again with a sentence on it.
        advice = " ".join(map(str, stop.args)) or "Run the same command again."
        print(f"\nhf-ctkd {name}: interrupted. {advice}", file=sys.stderr)
        return INTERRUPTED
    return OK


def _in_flags(message: str, parsed: ParsedCommand) -> str:
    """A message of the library, with the flags of the command line for the arguments that they set."""
    names = (vars(parsed.arguments).keys() | parsed.training.keys()) - _OTHERS_BY_THE_SAME_NAME

    def flag(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        if name not in names:
            return match[0]
        return f"`--{name}`" if value in (None, "True") else f"`--{name} {value}`"

    return _ARGUMENT.sub(flag, message)


if __name__ == "__main__":
    sys.exit(main())
