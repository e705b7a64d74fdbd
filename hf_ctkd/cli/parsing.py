"""From the words of a command line to the dataclasses of `hf_ctkd.cli.arguments`, by `transformers.HfArgumentParser`.

Two parts are our own. `HfArgumentParser.parse_yaml_file` fills dataclasses from a file alone: it does not merge the
file with the command line, takes `1e-4` for a string as YAML 1.1 does, and names no flag when a value is wrong. So
`--config` is turned into words that come before those of the command line. And argparse takes the word after a switch
for its value, although in `publish --public FOLDER` it is none.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import yaml
from transformers import HfArgumentParser

from hf_ctkd.cli.arguments import Command, ParsedCommand
from hf_ctkd.cli.help import did_you_mean
from hf_ctkd.errors import resolve_name

_WRONG_USAGE = 2
_TRUTH_VALUES = {"yes", "true", "t", "y", "1", "no", "false", "f", "n", "0"}


class CommandParser(HfArgumentParser):
    """A parser without help and abbreviations, whose errors are one line.

    Args:
        name: of the command.
        command: its arguments.
    """

    def __init__(self, name: str, command: Command) -> None:
        self.command = command
        self.kinds: list[Any] = [command.arguments]
        if command.training is not None:
            self.kinds.append(resolve_name(command.training.config, "config"))
        super().__init__(self.kinds, prog=f"hf-ctkd {name}", add_help=False, allow_abbrev=False)
        if command.training is not None:
            self.set_defaults(output_dir=command.training.output_dir, seed=0)
        for positional, text in command.positionals.items():
            choices = re.split(", | or ", text) if positional == "action" else None
            nargs = "+" if positional == command.repeated else None
            self.add_argument(positional, metavar=positional.upper(), choices=choices, nargs=nargs)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(_WRONG_USAGE, f"{self.prog}: error: {message}. `{self.prog} --help` lists the flags.\n")

    def parse(self, words: Sequence[str]) -> ParsedCommand:
        """Parse the words of a command line, those in the file of `--config` before the others.

        Args:
            words: without the command.
        """
        paths, rest = _without_config(words, self)
        from_files = [word for path in paths for word in self._words_of_file(path)]
        # Positional arguments come first on the command line, so a flag with many values must not precede them.
        count = next((index for index, word in enumerate(rest) if word.startswith("-")), len(rest))
        joined = list(self._explicit_switches([*rest[:count], *from_files, *rest[count:]]))
        self._refuse_misspelt(joined)
        namespace, unknown = self.parse_known_args(joined)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        values = vars(namespace)
        arguments, *configs = self.kinds
        return ParsedCommand(
            arguments(**_values_of(arguments, values)),
            tuple(joined),
            {name: values[name] for name in self.command.positionals if name != self.command.repeated},
            _values_of(configs[0], values) if configs else {},
            () if self.command.repeated is None else tuple(values[self.command.repeated]),
        )

    def _refuse_misspelt(self, words: Sequence[str]) -> None:
        """Refuse a flag that is nearly one that there is, before argparse says that the right one is missing."""
        types = self._types()
        for word in words:
            name = word.partition("=")[0].lstrip("-").replace("-", "_")
            hint = did_you_mean(name, types, prefix="--") if word.startswith("--") else ""
            if hint and name.removeprefix("no_") not in types:
                self.error(f"unrecognized arguments: {word}{hint}")

    def _explicit_switches(self, words: Sequence[str]) -> Iterator[str]:
        switches = {name for name, hint in self._types().items() if hint is bool}
        for word, following in zip_longest(words, words[1:], fillvalue=""):
            is_switch = word.startswith("--") and word[2:].replace("-", "_") in switches
            yield f"{word}=true" if is_switch and following.lower() not in _TRUTH_VALUES else word

    def _types(self) -> dict[str, Any]:
        hints = {name: hint for kind in self.kinds for name, hint in get_type_hints(kind).items()}
        names = {field.name for kind in self.kinds for field in dataclasses.fields(kind) if field.init}
        return {name: hint for name, hint in hints.items() if name in names}

    def _words_of_file(self, path: str) -> list[str]:
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            self.error(f"`--config` {path} cannot be read: {error}")
        except yaml.YAMLError as error:
            self.error(f"`--config` {path} is not valid YAML: {' '.join(str(error).split())}")
        if values is None:
            return []
        if not isinstance(values, dict):
            self.error(
                f"`--config` {path} must hold flags by name, such as `max_rows: 500`, got {type(values).__name__}"
            )
        types = self._types()
        return [word for key, value in values.items() for word in self._words_of_value(path, str(key), value, types)]

    def _words_of_value(self, path: str, key: str, value: object, types: Mapping[str, Any]) -> list[str]:
        name = key.replace("-", "_")
        if name not in types:
            self.error(f"`--config` {path} has the unknown key {key!r}{did_you_mean(name, types)}")
        if value is None:
            return []
        if isinstance(value, list):
            if not _takes_many(types[name]):
                self.error(f"`--config` {path}: {key!r} takes one value, got a list")
            return [f"--{name}", *map(_word, value)] if value else []
        return [f"--{name}={_word(value)}"]


def _without_config(words: Sequence[str], parser: CommandParser) -> tuple[list[str], list[str]]:
    """The files of `--config`, and the other words."""
    paths, rest = [], []
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        if flag != "--config":
            rest.append(word)
            continue
        path = value if equals else next(remaining, "")
        if not path:
            parser.error("argument --config: expected the name of a YAML file")
        paths.append(path)
    return paths, rest


def _values_of(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 (a dataclass)
    return {field.name: values[field.name] for field in dataclasses.fields(kind) if field.init}


def _takes_many(hint: Any) -> bool:  # noqa: ANN401 (a type hint)
    """Whether `HfArgumentParser` gives a flag of this type several words: of `str | list[str]`, but not with None."""
    options = get_args(hint)
    left = set(options) - ({type(None)} if type(None) in options else {str})
    return get_origin(hint) is list or (bool(left) and all(get_origin(option) is list for option in left))


def _word(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | bool | list) else str(value)
