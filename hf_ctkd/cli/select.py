"""`hf-ctkd select`: which teacher to distill from."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ctkd.cli.arguments import ParsedCommand, SelectArguments, given
from hf_ctkd.cli.budget import budget_of, downloads
from hf_ctkd.cli.next_step import flags_for, student_for
from hf_ctkd.cli.outputs import claim_file
from hf_ctkd.cli.printing import next_command
from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import RANDOM, candidates_named, hub_teachers
from hf_ctkd.records import NO_LOSS, TeacherCandidate, TeacherRanking, default_cache
from hf_ctkd.records.ranking import KIND as RANKING_KIND

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from datasets import Dataset

    from hf_ctkd.selection import Committee, TeacherSelector

_SHORTLIST = 20
"""So many of the best by the ranking are considered for a committee: each is loaded again."""


def run(parsed: ParsedCommand[SelectArguments]) -> dict[str, Any] | None:
    """Rank, write the ranking, print it; gives its record."""
    try:
        return _rank(parsed.arguments)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"Scores and outputs of finished teachers are kept in {parsed.arguments.cache_dir or default_cache()}; "
            "run the same command again to go on from there."
        ) from stop


def _rank(arguments: SelectArguments) -> dict[str, Any] | None:
    _check(arguments)
    candidates = _candidates(arguments)
    output = Path(arguments.output)
    if not arguments.dry_run:
        claim_file(output, "--output", kind=RANKING_KIND, overwrite=arguments.overwrite)
    from accelerate import PartialState

    from hf_ctkd.cli.loading import load_options
    from hf_ctkd.selection import TeacherSelector

    # Before the rows are loaded, since an address may be wrong.
    with _executor(arguments.scheduler) as executor:
        selector = TeacherSelector(
            arguments.metric,
            student=arguments.student,
            metrics=tuple(arguments.metrics) or None,
            max_rows=arguments.max_rows,
            batch_size=arguments.batch_size,
            teacher_workers=arguments.teacher_workers,
            cache_dir=arguments.cache_dir,
            seed=arguments.seed,
            options=load_options(arguments, token=arguments.token),
            processes=arguments.processes,
            executor=executor,
            progress=not arguments.quiet,
            budget=budget_of(arguments.budget),
            delete_downloads=arguments.delete_downloads,
        )
        rows = _rows(arguments)
        candidates = chain(candidates, _shortlist(arguments, rows))
        if arguments.dry_run:
            if PartialState().is_main_process:
                print(_downloads(candidates, rows, selector, arguments))
            return None
        if not (_searches(arguments) or arguments.teachers):
            candidates = list(candidates)  # cheap without the Hub, and their number tells how long it will take
        columns = {name: vars(arguments)[name] for name in ("input_column", "label_column", "skip_bad_rows")}
        committee = None
        if arguments.committee is None:
            ranking = selector.rank(candidates, rows, **columns)
        else:
            committee = selector.select_committee(
                candidates, rows, arguments.committee, shortlist=max(_SHORTLIST, arguments.committee), **columns
            )
            ranking = committee.ranking
    main_process = PartialState().is_main_process
    if main_process:
        _report(ranking, committee, output, arguments)
    PartialState().destroy_process_group()
    return ranking.to_dict() if main_process else None


def _downloads(
    candidates: Iterable[TeacherCandidate], rows: "Dataset", selector: "TeacherSelector", arguments: SelectArguments
) -> str:
    """What each candidate of the ranking would download, in the order in which it spends a budget of bytes."""
    from hf_ctkd.data.columns import find_label
    from hf_ctkd.data.labels import class_ids
    from hf_ctkd.selection.candidates import each_candidate
    from hf_ctkd.selection.metadata_order import by_metadata

    listed = list(each_candidate(candidates, token=arguments.token))
    if selector.budget is not None and selector.budget.bytes is not None:
        label_space, _ = class_ids(rows, find_label(rows.features, arguments.label_column))
        listed = by_metadata(listed, label_space.names)
    return downloads(listed, selector.options, selector.budget)


def _check(arguments: SelectArguments) -> None:
    """Refuse flags that contradict others, or that nothing would read."""
    if arguments.json and arguments.dry_run:
        raise InvalidArgumentError("`--json` prints a ranking, but `--dry_run` makes none. Leave one of them out.")
    if arguments.committee is not None and arguments.committee < 1:
        raise InvalidArgumentError(f"`--committee` must be at least 1, got {arguments.committee}. Try 3.")
    if arguments.index is None and not _searches(arguments) and given(arguments, ("limit",)):
        raise InvalidArgumentError(
            "`--limit` bounds a search, but nothing is searched. Leave it out, or search an index with `--index`, or "
            "the Hub with `--task`, `--search` or `--author`."
        )
    if arguments.index is None and given(arguments, ("encoder",)):
        raise InvalidArgumentError("`--encoder` compares names with those of an index. Name one with `--index`.")


def _candidates(arguments: SelectArguments) -> Iterable[TeacherCandidate]:
    """Folders first, then what the Hub is asked for, looked up one by one."""
    searching = _searches(arguments)
    if not (arguments.teachers or arguments.zoo or arguments.index or searching):
        raise InvalidArgumentError(
            "No candidates were named. Give `--teachers`, a folder with `--zoo`, an index with `--index`, or search "
            "the Hub with `--task`, `--search` or `--author`."
        )
    if arguments.index and searching:
        raise InvalidArgumentError(
            "`--search` and `--author` search the Hub, but `--index` was given. Leave one of them out."
        )
    controls = [teacher for teacher in arguments.teachers if teacher.startswith(RANDOM)]
    folders = [teacher for teacher in arguments.teachers if Path(teacher).is_dir()]
    gone = [name for name in arguments.teachers if name not in (*folders, *controls) and _looks_like_folder(name)]
    ids = [teacher for teacher in arguments.teachers if teacher not in (*folders, *gone, *controls)]
    unread = given(arguments, ("max_parameters", "license", "language"))
    if unread and not (ids or searching or arguments.index):
        raise InvalidArgumentError(
            f"`--{unread[0]}` is a condition for models on the Hub or of an index, but all candidates are folders. "
            "Leave it out."
        )
    zoo = [Path(arguments.zoo)] if arguments.zoo else []
    names: list[str | Path] = [*zoo, *folders, *controls]
    sources = [candidates_named(name, token=arguments.token) for name in names]
    missing = TeacherUnavailableError("there is no such folder.", ProblemCode.NOT_FOUND)
    sources.append(iter([TeacherCandidate(name, "", "folder").with_problem(missing) for name in gone]))
    if ids or searching:
        hub_candidates = hub_teachers(
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
        sources.append(hub_candidates)
    return chain.from_iterable(sources)


def _searches(arguments: SelectArguments) -> bool:
    return bool((arguments.task and not arguments.index) or arguments.search or arguments.author)


def _shortlist(arguments: SelectArguments, rows: "Dataset") -> list[TeacherCandidate]:
    """Teachers of the index with classes like those of the rows."""
    if arguments.index is None:
        return []
    from hf_ctkd.index import TeacherIndex, encoder_named

    index = TeacherIndex.load(arguments.index, encoder=encoder_named(arguments.encoder))
    teachers = index.search(
        rows,
        k=arguments.limit,
        label_column=arguments.label_column,
        task=arguments.task,
        max_parameters=arguments.max_parameters,
        license=arguments.license,
        language=arguments.language,
    )
    if not teachers:
        raise InvalidArgumentError(
            f"None of the {len(index):,} teachers of `--index` {arguments.index} that may be used has classes with "
            "names like those of the rows. Try another `--encoder`, or fewer conditions."
        )
    return teachers


def _executor(scheduler: str | None) -> "AbstractContextManager[Executor | None]":
    from hf_ctkd.selection import dask_executor

    return nullcontext() if scheduler is None else dask_executor(scheduler)


def _looks_like_folder(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _rows(arguments: SelectArguments) -> "Dataset":
    from hf_ctkd.cli.split_rows import rows_to_rank_on

    return rows_to_rank_on(arguments)


def _report(ranking: TeacherRanking, committee: "Committee | None", output: Path, arguments: SelectArguments) -> None:
    print(ranking)
    if committee is not None:
        print(f"\nCommittee, with what is known of the labels after each member:\n{committee}")
    ranking.top(1)  # says why each fell, before an older file is replaced by one without a teacher
    ranking.save(output)
    values = {**vars(arguments), "student": None}  # which is no checkpoint where it starts from nothing
    words = ["distill", *flags_for("distill", values)]
    if ranking.advises_own_layers:
        words += ["--teachers", str(arguments.student)]
    elif ranking.advises_no_teacher:
        words += ["--loss", NO_LOSS]
    else:
        words += ["--ranking", str(output), *([] if committee is None else ["--committee", "--loss", "committee"])]
    print(f"\nWritten to {output}.")
    chosen = arguments.student is not None and not arguments.student.startswith(RANDOM)
    print(next_command([*words, "--student", str(arguments.student) if chosen else student_for(ranking)]))
    if not chosen:
        print("       The student here is the smallest model of the ranking; any checkpoint of its kind will do.")
