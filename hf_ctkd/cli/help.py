"""`--help` and `--help-all` of a command, from the dataclasses of its arguments.

`transformers.HfArgumentParser` would print the same flags, but only after 0.9 s for importing transformers and 5 to
20 s for the class of the trainer's configuration, and with no way to leave out the 120 flags of `TrainingArguments`. So
help is printed from the dataclasses by argparse. Fields of the trainer's configuration are read from its source text,
as its class needs torch; `tests/cli/test_help.py` compares them with the class.
"""

import argparse
import ast
import dataclasses
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hf_ctkd.cli.arguments import Command, TrainingFlags, is_required
from hf_ctkd.errors import resolve_name

_CONFIG_FILES = ("training/config.py", "generic/config.py")
_TRAINER = "the trainer's configuration"
_METAVARS = {"int": "INTEGER", "float": "NUMBER", "bool": "[BOOL]", "str": "TEXT", "list[str]": "TEXT"}
_OFTEN = "--num_train_epochs, --learning_rate, --per_device_train_batch_size, --output_dir, --seed"


@dataclass(frozen=True)
class Flag:
    """One line of help.

    Args:
        name: without dashes.
        help: what it is for.
        default: as it is printed; None for nothing.
        metavar: what stands for its value.
        choices: values that it may have.
    """

    name: str
    help: str
    default: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] | None = None


def did_you_mean(word: str, options: Iterable[str], *, prefix: str = "") -> str:
    """The option nearest to a word, in brackets, for the end of a message; empty where none is near.

    Args:
        word: that is none of the options.
        options: that there are.
        prefix: to write before it, such as the dashes of a flag.

    Example:
        >>> did_you_mean("slect", ["select", "report"])
        ' (did you mean select?)'
    """
    near = difflib.get_close_matches(word, list(options), n=1, cutoff=0.7)
    return f" (did you mean {prefix}{near[0]}?)" if near else ""


def help_text(name: str, command: Command, *, everything: bool = False) -> str:
    """The help of a command.

    Args:
        name: of the command.
        command: its arguments.
        everything: also list the fields of `transformers.TrainingArguments`, and losses; this imports them.
    """
    parser = argparse.ArgumentParser(
        prog=f"hf-ctkd {name}",
        usage=command.usage(name),
        description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
        epilog=_epilog(command, everything),
        add_help=False,
    )
    for positional, text in command.positionals.items():
        parser.add_argument(positional, metavar=positional.upper(), help=text)
    flags = list(_flags(command, everything))
    for title in dict.fromkeys(title for title, _ in flags):
        group = parser.add_argument_group(title)
        for flag in (flag for flag_title, flag in flags if flag_title == title):
            text = flag.help if flag.default is None else f"{flag.help} (default: {flag.default})"
            group.add_argument(
                f"--{flag.name}", help=text.replace("%", "%%"), metavar=flag.metavar, choices=flag.choices
            )
    return parser.format_help()


def flags_of(arguments: type) -> Iterator[tuple[str, Flag]]:
    """The flags of a dataclass of arguments, each with the title of its group, in the order of the groups.

    Args:
        arguments: of a command.
    """
    fields = {argument.name: argument for argument in dataclasses.fields(arguments)}
    for group in reversed(arguments.__mro__):
        for name in vars(group).get("__annotations__", {}):
            if name in fields:
                yield vars(group).get("_argument_group_name", "flags"), _flag_of(fields[name])


def flags_in_source(class_name: str) -> list[Flag]:
    """The fields that a trainer's configuration adds to those of `transformers.TrainingArguments`, without its import.

    Args:
        class_name: `"DistillationConfig"` or `"GenericTeacherConfig"`.
    """
    package = Path(__file__).parents[1]
    trees = [ast.parse((package / name).read_text(encoding="utf-8")) for name in _CONFIG_FILES]
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    return list(_inherited(class_name, classes))


def _inherited(class_name: str, classes: dict[str, ast.ClassDef]) -> Iterator[Flag]:
    if class_name not in classes:
        return
    for base in reversed(classes[class_name].bases):
        yield from _inherited(ast.unparse(base), classes)
    for node in classes[class_name].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(node.value, ast.Call):
            settings = {keyword.arg: keyword.value for keyword in node.value.keywords}
            metadata = ast.literal_eval(settings["metadata"]) if "metadata" in settings else {}
            default = ast.unparse(settings["default"]).strip("'") if "default" in settings else "None"
            yield Flag(
                node.target.id,
                metadata.get("help", ""),
                None if default == "None" else default,
                _metavar(ast.unparse(node.annotation)),
            )


def _flags(command: Command, everything: bool) -> Iterator[tuple[str, Flag]]:
    yield from flags_of(command.arguments)
    yield (
        "flags of every command",
        Flag(
            "config", "flags by name, one per line, such as `max_rows: 500`; the command line wins", metavar="FILE.yaml"
        ),
    )
    if command.training is not None:
        class_name = command.training.config.partition(":")[2]
        added = flags_in_source(class_name)
        yield from ((_TRAINER, flag) for flag in added)
        if everything:
            names = {flag.name for flag in added}
            yield from (
                (f"{_TRAINER}: transformers.TrainingArguments", flag) for flag in _of_class(command.training, names)
            )


def _of_class(training: TrainingFlags, listed: set[str]) -> Iterator[Flag]:
    config = resolve_name(training.config, "config")
    for argument in dataclasses.fields(config):
        if argument.init and argument.name not in listed:
            flag = _flag_of(argument)
            changed = {"output_dir": training.output_dir, "seed": "0"}
            yield dataclasses.replace(flag, default=changed.get(flag.name, flag.default))


def _flag_of(argument: dataclasses.Field) -> Flag:
    text = " ".join(str(argument.metadata.get("help", "")).replace("%%", "%").split())
    annotation = argument.type.__name__ if isinstance(argument.type, type) else str(argument.type)
    return Flag(
        argument.name,
        f"{text} (required)" if is_required(argument) else text,
        None if argument.default in (None, dataclasses.MISSING) else str(argument.default),
        argument.metadata.get("metavar", _metavar(annotation)),
        argument.metadata.get("choices"),
    )


def _metavar(annotation: str) -> str:
    return _METAVARS.get(annotation.split(" |")[0], "VALUE")


def _epilog(command: Command, everything: bool) -> str:
    spelling = "A flag may also be written with dashes, as in --some-flag; true or false may follow a switch."
    if command.training is None:
        return spelling
    if not everything:
        return (
            f"{spelling} Every field of `transformers.TrainingArguments` is a flag too, such as {_OFTEN}: `--help-all` "
            "lists them."
        )
    from hf_ctkd.cli.methods import loss_names

    return f"{spelling} Losses: {', '.join(loss_names())}."
