"""`hf-ctkd index`: build, search, push or pull an index of teachers."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ctkd.cli.arguments import IndexArguments, ParsedCommand, check_writable, given
from hf_ctkd.cli.next_step import flags_for
from hf_ctkd.cli.printing import next_command
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import HubSearch
from hf_ctkd.index import TeacherFilter, TeacherIndex, encoder_named
from hf_ctkd.index.table import HEADER, table_row
from hf_ctkd.records import text_table

if TYPE_CHECKING:
    from datasets import Dataset

_SHOWN_NAMES = 4
_BY_EVERY_ACTION = frozenset({"quiet", "json"})
_SHARING = frozenset({"index", "repo_id", "token"})
_READ: Mapping[str, frozenset[str]] = {
    "build": frozenset({"index", "zoo", "task", "search", "author", "license", "language", "limit", "token"}),
    "search": frozenset(
        {"index", "task", "license", "language", "max_parameters", "min_downloads", "gated", "k", "encoder"}
        | {"label_names", "dataset", "dataset_config", "split", "label_column"}
    ),
    "push": _SHARING | {"public"},
    "pull": _SHARING,
}
"""The flags of each action; others would be ignored."""
_CONDITIONS = ("encoder", "license", "language", "max_parameters")
_ROWS = ("dataset_config", "split", "label_column")
"""Flags of a search by which `hf-ctkd select` shortlists the same teachers for the same rows."""


def run(parsed: ParsedCommand[IndexArguments]) -> dict[str, Any]:
    """Do what the action says, and print what came of it."""
    actions = {"build": _build, "search": _search, "push": _push, "pull": _pull}
    action, arguments = parsed.positionals["action"], parsed.arguments
    read = _READ[action] | _BY_EVERY_ACTION
    unread = given(arguments, [field.name for field in fields(arguments) if field.name not in read])
    if unread:
        raise InvalidArgumentError(f"`hf-ctkd index {action}` does not read `--{unread[0]}`. Leave it out.")
    return actions[action](arguments)


def _build(arguments: IndexArguments) -> dict[str, Any]:
    source: Path | HubSearch
    if arguments.zoo is not None:
        unread = given(arguments, ("task", "search", "author", "license", "language", "limit"))
        if unread:
            raise InvalidArgumentError(
                f"`--{unread[0]}` searches the Hub, but `--zoo` names a folder. Leave one of them out."
            )
        source = Path(arguments.zoo)
    else:
        source = HubSearch(
            task=arguments.task,
            search=arguments.search,
            author=arguments.author,
            license=arguments.license,
            language=arguments.language,
            limit=arguments.limit,
            token=arguments.token,
        )
    check_writable(arguments.index, "--index")
    try:
        index = TeacherIndex.build(source, arguments.index)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"Teachers that were listed are kept in {arguments.index}; run the same command again to go on from there."
        ) from stop
    return _report(index, arguments)


def _search(arguments: IndexArguments) -> dict[str, Any]:
    if arguments.label_names and arguments.dataset:
        raise InvalidArgumentError("`--label_names` and `--dataset` both name classes. Leave one of them out.")
    if not arguments.label_names and not arguments.dataset:
        raise InvalidArgumentError(
            "No classes to search for. Name them with `--label_names`, or a data set with `--dataset`."
        )
    conditions = TeacherFilter(
        task=arguments.task,
        max_parameters=arguments.max_parameters,
        license=arguments.license,
        language=arguments.language,
        min_downloads=arguments.min_downloads,
        gated=arguments.gated,
    )
    index = TeacherIndex.load(arguments.index, encoder=encoder_named(arguments.encoder))
    classes = arguments.label_names or _rows(arguments)
    teachers = index.search_with_costs(classes, conditions, k=arguments.k, label_column=arguments.label_column)
    if not teachers:
        print(
            f"None of the {len(index):,} teachers has classes with similar names and meets all conditions. Try another "
            "`--encoder`, or fewer conditions."
        )
        return {"teachers": []}
    print(text_table(HEADER, [table_row(teacher, cost, names=_SHOWN_NAMES) for teacher, cost in teachers]))
    shared = _CONDITIONS if arguments.dataset is None else (*_CONDITIONS, *_ROWS)
    flags = flags_for("select", {name: vars(arguments)[name] for name in shared})
    words = ["select", "--dataset", arguments.dataset or "DATASET", *flags, "--index", arguments.index]
    task = [] if arguments.task is None else ["--task", arguments.task]
    print(f"\n{next_command([*words, *task, '--limit', str(arguments.k)])}")
    return {"teachers": [{**asdict(teacher), "cost": cost} for teacher, cost in teachers]}


def _push(arguments: IndexArguments) -> dict[str, Any]:
    repo_id = _repo_id(arguments)
    index = TeacherIndex.load(arguments.index)
    address = index.push_to_hub(repo_id, private=not arguments.public, token=arguments.token)
    print(f"Pushed {'for everyone' if arguments.public else 'for you alone'}: {address}")
    return {"address": address, "public": arguments.public}


def _pull(arguments: IndexArguments) -> dict[str, Any]:
    repo_id = _repo_id(arguments)
    check_writable(arguments.index, "--index")
    return _report(TeacherIndex.from_hub(repo_id, path=arguments.index, token=arguments.token), arguments)


def _report(index: TeacherIndex, arguments: IndexArguments) -> dict[str, Any]:
    print(f"{len(index):,} teachers in {arguments.index}.")
    print(next_command(["index", "search", "--index", arguments.index, "--label_names", "cat", "dog"]))
    return {"index": arguments.index, "teachers": len(index)}


def _repo_id(arguments: IndexArguments) -> str:
    if arguments.repo_id is None:
        raise InvalidArgumentError("`--repo_id` must name a data set on the Hub, such as me/teachers. Give one.")
    return arguments.repo_id


def _rows(arguments: IndexArguments) -> "Dataset":
    from hf_ctkd.cli.datasets import Rows

    rows = Rows(str(arguments.dataset), arguments.dataset_config)
    return rows.load(arguments.split, label_column=arguments.label_column)
