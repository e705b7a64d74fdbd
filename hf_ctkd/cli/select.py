"""`hf-ctkd select`: which teacher to distill from."""

import argparse
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ctkd.cli.arguments import (
    add_dataset_flags,
    add_flag,
    add_loading_flags,
    add_switch,
    check_writable,
)
from hf_ctkd.cli.report import next_command
from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import RANDOM, candidates_named, hub_teachers
from hf_ctkd.records import TeacherCandidate, TeacherRanking, default_cache

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_ctkd.selection import Committee
    from hf_ctkd.teachers import LoadOptions

_SHORTLIST = 20
"""So many of the best by the ranking are considered for a committee: each is loaded again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    rows = parser.add_argument_group("rows")
    add_dataset_flags(rows, split="to score on; only labelled ones are")
    add_flag(rows, "input_column", help="column of images or texts; found by its type if not given")
    add_flag(rows, "label_column", help="column of labels; found by its type if not given")
    add_switch(rows, "skip_bad_rows", help="leave out rows that cannot be read, and classes with one row")
    _add_candidate_flags(parser.add_argument_group("candidates"))
    scores = parser.add_argument_group("scores")
    add_flag(scores, "metric", default="information_gain", help="orders the ranking: a name, or package.module:Class")
    add_flag(scores, "metrics", nargs="+", help="shown beside it; a choice of ours if not given")
    add_flag(
        scores,
        "committee",
        type=int,
        help="also choose up to so many teachers that complement each other, to teach together",
    )
    add_flag(scores, "max_rows", type=int, default=2000, help="labelled rows to score on")
    add_flag(scores, "batch_size", type=int, default=64, help="rows a forward pass; halved where memory is too small")
    add_flag(scores, "seed", type=int, default=0, help="of the draw of rows and of the random control")
    add_flag(scores, "cache_dir", help="where outputs and scores are kept; $HF_CTKD_CACHE or ~/.cache/hf_ctkd")
    add_flag(parser, "output", default="ranking.json", help="file to write")


def _add_candidate_flags(flags: argparse._ArgumentGroup) -> None:
    add_flag(
        flags,
        "teachers",
        nargs="+",
        default=[],
        metavar="ID_OR_FOLDER",
        help="ids (org/name@revision), folders; after random: for random weights",
    )
    add_flag(flags, "zoo", metavar="FOLDER", help="a folder of models that `save_pretrained` wrote")
    add_flag(flags, "task", help="search the Hub for this task, such as image-classification")
    add_flag(flags, "search", help="search the Hub for models whose name holds these words")
    add_flag(flags, "author", help="search the Hub for models of this user or organisation")
    add_flag(flags, "limit", type=int, default=50, help="at most so many from the search, most downloaded first")
    add_flag(flags, "max_parameters", type=float, help="largest number of parameters on the Hub, such as 300e6")
    add_flag(flags, "license", help="licence that a model on the Hub must have, such as apache-2.0")
    add_flag(flags, "language", help="language tag that a model of the search must have, such as en")
    add_loading_flags(flags)
    add_flag(flags, "token", help="access token of the Hub; the stored login or $HF_TOKEN if not given")


def run(arguments: argparse.Namespace) -> None:
    """Rank, write the ranking, print it."""
    try:
        _rank(arguments)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"Scores and outputs of finished teachers are kept in {arguments.cache_dir or default_cache()}; "
            "run the same command again to go on from there."
        ) from stop


def _rank(arguments: argparse.Namespace) -> None:
    candidates = _candidates(arguments)
    output = Path(arguments.output)
    check_writable(output.parent, "--output")
    from accelerate import PartialState

    from hf_ctkd.selection import TeacherSelector

    selector = TeacherSelector(
        arguments.metric,
        metrics=None if arguments.metrics is None else tuple(arguments.metrics),
        max_rows=arguments.max_rows,
        batch_size=arguments.batch_size,
        cache_dir=arguments.cache_dir,
        seed=arguments.seed,
        options=_options(arguments),
    )
    rows = _rows(arguments)
    columns = {name: vars(arguments)[name] for name in ("input_column", "label_column", "skip_bad_rows")}
    committee = None
    if arguments.committee is None:
        ranking = selector.rank(candidates, rows, **columns)
    else:
        committee = selector.select_committee(
            candidates, rows, arguments.committee, shortlist=max(_SHORTLIST, arguments.committee), **columns
        )
        ranking = committee.ranking
    if PartialState().is_main_process:
        _report(ranking, committee, output, arguments)
    PartialState().destroy_process_group()


def _candidates(arguments: argparse.Namespace) -> Iterable[TeacherCandidate]:
    """Folders first, then what the Hub is asked for, looked up one by one."""
    searching = arguments.task or arguments.search or arguments.author
    if not (arguments.teachers or arguments.zoo or searching):
        raise InvalidArgumentError(
            "No candidates were named. Give `--teachers`, a folder with `--zoo`, or search the Hub with `--task`, "
            "`--search` or `--author`."
        )
    controls = [teacher for teacher in arguments.teachers if teacher.startswith(RANDOM)]
    folders = [teacher for teacher in arguments.teachers if Path(teacher).is_dir()]
    gone = [name for name in arguments.teachers if name not in (*folders, *controls) and _looks_like_folder(name)]
    ids = [teacher for teacher in arguments.teachers if teacher not in (*folders, *gone, *controls)]
    zoo = [Path(arguments.zoo)] if arguments.zoo else []
    sources = [candidates_named(name, token=arguments.token) for name in (*zoo, *folders, *controls)]
    missing = TeacherUnavailableError("there is no such folder.", ProblemCode.NOT_FOUND)
    sources.append(iter([TeacherCandidate(name, "", "folder").with_problem(missing) for name in gone]))
    if ids or searching:
        found = hub_teachers(
            *ids,
            task=arguments.task,
            limit=arguments.limit,
            max_parameters=arguments.max_parameters,
            license=arguments.license,
            search=arguments.search,
            author=arguments.author,
            language=arguments.language,
            token=arguments.token,
        )
        sources.append(found)
    return chain.from_iterable(sources)


def _looks_like_folder(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _options(arguments: argparse.Namespace) -> "LoadOptions":
    from hf_ctkd.teachers import LoadOptions

    return LoadOptions(
        allow_pickle=arguments.allow_pickle,
        trust_remote_code=arguments.trust_remote_code,
        max_bytes=None if arguments.max_bytes is None else int(arguments.max_bytes),
        token=arguments.token,
    )


def _rows(arguments: argparse.Namespace) -> "Dataset":
    from hf_ctkd.cli.datasets import Rows, encode_labels

    dataset = Rows.of(arguments).load(arguments.split)
    return encode_labels(dataset, arguments.label_column)[0] if arguments.encode_labels else dataset


def _report(
    ranking: TeacherRanking, committee: "Committee | None", output: Path, arguments: argparse.Namespace
) -> None:
    print(ranking)
    if committee is not None:
        print(f"\nCommittee, with what is known of the labels after each member:\n{committee}")
    ranking.top(1)  # says why each fell, before an older file is replaced by one without a teacher
    ranking.save(output)
    words = ["distill", "--dataset", arguments.dataset]
    for flag, default in (("dataset_config", None), ("split", "train"), ("labels", 50)):
        value = vars(arguments)[flag]
        words += [] if value == default else [f"--{flag}", str(value)]
    words += ["--encode_labels"] if arguments.encode_labels else []
    words += ["--ranking", str(output)]
    words += [] if committee is None else ["--committee", "--loss", "committee"]
    print(f"\nWritten to {output}.")
    print(next_command([*words, "--student", "ORG/MODEL"]))
