"""Flags that commands share, and `--config file.yaml`, which holds flags by their names. Needs no torch."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_ctkd.errors import InvalidArgumentError

Flags = argparse.ArgumentParser | argparse._ArgumentGroup


def new_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser that shows defaults, takes no abbreviations, and knows `--config`."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"{description[:1].upper()}{description[1:]}.",
        usage=f"{prog} [flags]",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add_config_flag(parser)
    return parser


def add_flag(flags: Flags, name: str, **settings: Any) -> None:  # noqa: ANN401 (as argparse takes them)
    """Add `--some_name`, and `--some-name` for those who type it so.

    Args:
        flags: parser or group of flags.
        name: with underscores and without dashes in front.
        settings: as in `add_argument`.
    """
    spellings = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
    flags.add_argument(*spellings, **settings)


def add_switch(flags: Flags, name: str, **settings: Any) -> None:  # noqa: ANN401 (as argparse takes them)
    """Add a flag that is off, on when it stands alone, and otherwise as its value says (`--some_name false`)."""
    add_flag(flags, name, type=boolean, nargs="?", const=True, default=False, **settings)


def boolean(text: str) -> bool:
    """`true` or `false`, also as yes, no, on, off, 1 and 0."""
    values = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")
    return values[text.lower()]


def add_config_flag(flags: Flags) -> None:
    """Add `--config`."""
    add_flag(
        flags,
        "config",
        metavar="FILE.yaml",
        help="flags by name, one a line, such as `max_rows: 500`; flags on the command line win",
    )


def add_dataset_flags(flags: Flags, *, split: str) -> None:
    """Add the flags that say which rows: read by `hf_ctkd.cli.datasets`.

    Args:
        flags: parser or group of flags.
        split: what the rows are for, in a few words.
    """
    add_flag(
        flags,
        "dataset",
        required=True,
        help="id on the Hub, a folder or file (images in folders named by class, parquet, csv, json, `save_to_disk`), "
        "or demo:NAME for built-in rows, such as demo:digits",
    )
    add_flag(flags, "dataset_config", help="configuration of a data set that has several")
    add_flag(flags, "split", default="train", help=f"rows {split}")
    add_switch(flags, "encode_labels", help="make class ids of a label column that holds names as strings")
    add_flag(flags, "labels", type=int, default=50, help="rows that keep their label; for demo:NAME only")


def add_loading_flags(flags: Flags) -> None:
    """Add the flags that say what may be loaded."""
    add_switch(flags, "allow_pickle", help="also load pickle weights, which run code when loaded")
    add_switch(flags, "trust_remote_code", help="run model code that a repository brings along")
    add_flag(flags, "max_bytes", type=float, help="largest download of one teacher, in bytes")


def check_writable(folder: Path | str, flag: str) -> None:
    """Make a folder, and refuse one that cannot be written before any work is done.

    Raises:
        InvalidArgumentError: naming the flag.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidArgumentError(
            f"`{flag}`: {folder} cannot be written ({error.strerror}). Choose a folder of your own."
        ) from error


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse flags, those in the file of `--config` before those of the command line.

    The words that amount to the same without the file are kept as `words` of the result.

    Args:
        parser: of a command.
        words: of the command line, without the command.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_config_flag(first)
    found, rest = first.parse_known_args(list(words))
    given = [*([] if found.config is None else _words_of_file(parser, found.config)), *rest]
    arguments = parser.parse_args(given)
    arguments.words = given
    return arguments


def _words_of_file(parser: argparse.ArgumentParser, path: str) -> list[str]:
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"`--config` {path} cannot be read: {error}.")
    except yaml.YAMLError as error:
        parser.error(f"`--config` {path} is not valid YAML: {' '.join(str(error).split())}.")
    if values is None:
        return []
    if not isinstance(values, dict):
        parser.error(
            f"`--config` {path} must hold flags by name, such as `max_rows: 500`, got {type(values).__name__}."
        )
    words = []
    for key, value in values.items():
        words += _words_of_value(parser, path, str(key), value)
    return words


def _words_of_value(parser: argparse.ArgumentParser, path: str, key: str, value: object) -> list[str]:
    # argparse has no public list of its flags.
    known = {name: action for action in parser._actions for name in action.option_strings}
    action = known.get(f"--{key}")
    if action is None or key in {"config", "help"}:
        names = sorted(name[2:] for name in known if "-" not in name[2:] and name not in {"--config", "--help", "-h"})
        near = [name for name in names if key.replace("-", "_").rstrip("s") in name or name in key][:5]
        hint = f" Did you mean {' or '.join(near)}?" if near else f" `{parser.prog} --help` lists what there is."
        parser.error(f"`--config` {path} has the unknown key {key!r}.{hint}")
    if value is None:
        return []
    if action.nargs == 0:
        return [f"--{key}"] if value else []
    if isinstance(value, list):
        if action.nargs not in {"+", "*"}:
            parser.error(f"`--config` {path}: {key!r} takes one value, got a list.")
        return [f"--{key}", *map(_word, value)]
    return [f"--{key}={_word(value)}"]


def _word(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | bool | list) else str(value)
