"""Teachers on the Hub, from their metadata alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub.cached import cached_teacher
from hf_ctkd.hub.files import loadable_files
from hf_ctkd.hub.limits import check_config, check_max_parameters
from hf_ctkd.hub.metadata import is_untrained, label_names_of, languages_of, license_of, task_of
from hf_ctkd.hub.problems import HubFailure, explain, out_of_reach, problem_code, unavailable
from hf_ctkd.hub.waiting import ask_again, ask_again_for_list, bounded_waits, each_with_bounded_waits
from hf_ctkd.records import TeacherCandidate

_TIMEOUT = 30.0
_CARD = ("license", "license_name", "language")
METADATA: list[Any] = [
    "cardData",
    "config",
    "disabled",
    "downloads",
    "gated",
    "pipeline_tag",
    "private",
    "safetensors",
    "sha",
    "tags",
]
"""What the Hub is asked to list of each model."""


@dataclass(frozen=True)
class _Query:
    task: str | None
    limit: int
    max_parameters: float | int | None
    license: str | None
    search: str | None
    author: str | None
    language: str | None
    token: str | None

    def check(self, ids: tuple[str, ...]) -> None:
        if not ids and not self.searches:
            raise InvalidArgumentError(
                "`hub_teachers` must know what to look for. Give model ids, or `task`, `search` or `author`."
            )
        if self.limit < 1:
            raise InvalidArgumentError(f"`limit` must be at least 1, got {self.limit}.")
        check_max_parameters(self.max_parameters)
        for name in ids:
            if not name.partition("@")[0].strip() or name.endswith("@"):
                raise InvalidArgumentError(
                    f'A model id must look like "org/name" or "org/name@revision", got {name!r}.'
                )

    @property
    def searches(self) -> bool:
        return any(value is not None for value in (self.task, self.search, self.author))


def hub_teachers(
    *ids: str,
    task: str | None = None,
    limit: int = 50,
    max_parameters: float | int | None = None,
    license: str | None = None,
    search: str | None = None,
    author: str | None = None,
    language: str | None = None,
    token: str | None = None,
) -> Iterator[TeacherCandidate]:
    """Find teachers on the Hub, each pinned to a commit, with nothing downloaded.

    Use it to gather candidates for `TeacherSelector`, by name, by search, or both: named ones come first. For models on
    this machine use `folder_teachers`. One that cannot be used (gated without access, private or missing, without
    safetensors weights) is listed with its `problem`, so that a ranking can say why it was skipped. Where the Hub is
    out of reach, an id stands for its copy in the cache, if there is one.

    Args:
        ids: models to take in any case, `"org/name"` or `"org/name@revision"` with a branch, tag or commit.
        task: the Hub's task tag, such as `"image-classification"`.
        limit: at most so many from the search, most downloaded first; ids are not counted.
        max_parameters: largest number of parameters, such as `300e6`; a larger id is listed with that problem.
        license: licence identifier, such as `"apache-2.0"`; an id with another is listed with that problem.
        search: words that the model's name must hold.
        author: user or organisation.
        language: language tag, such as `"en"`.
        token: access token; by default the one of `hf auth login` or `HF_TOKEN`.

    Raises:
        InvalidArgumentError: at once, if nothing says what to look for, or a value is out of range.
        TeacherUnavailableError: while iterating, if the search itself fails; huggingface_hub has tried again by then.

    Example:
        >>> teachers = hub_teachers(task="image-classification", limit=20, max_parameters=100e6)
        >>> pinned = hub_teachers("microsoft/resnet-18@main", "facebook/deit-tiny-patch16-224")
    """
    query = _Query(task, limit, max_parameters, license, search, author, language, token)
    query.check(ids)
    return _candidates(ids, query)


def _candidates(ids: tuple[str, ...], query: _Query) -> Iterator[TeacherCandidate]:
    api = HfApi(token=query.token)
    named = set()
    for name in ids:
        model_id, _, revision = name.partition("@")
        named.add(model_id)
        yield _by_name(api, model_id, revision or None, query)
    if query.searches:
        yield from (candidate for candidate in _by_search(api, query) if candidate.model_id not in named)


def _by_name(api: HfApi, model_id: str, revision: str | None, query: _Query) -> TeacherCandidate:
    try:
        candidate = _candidate(api, model_info(api, model_id, revision))
    except HubFailure as error:
        candidate = _out_of_reach(error, model_id, revision)
    mismatch = None if candidate.problem else _mismatch(candidate, query)
    return candidate if mismatch is None else candidate.with_problem(mismatch)


def _out_of_reach(error: BaseException, model_id: str, revision: str | None) -> TeacherCandidate:
    """The copy in the cache where the Hub was not reached, else the model with what went wrong."""
    problem = unavailable(error, model_id)
    if _may_be_a_folder(error):
        problem = TeacherUnavailableError(f"it is no folder here, and on the Hub: {problem}", problem.code)
    try:
        copy = cached_teacher(model_id, revision) if out_of_reach(error) else None
    except TeacherUnavailableError as ambiguous:
        copy, problem = None, ambiguous
    return copy or TeacherCandidate(model_id, revision or "").with_problem(problem)


def _may_be_a_folder(error: BaseException) -> bool:
    """Whether nothing shows that the Hub has a model of this name: a misspelt folder is looked up there too."""
    if isinstance(error, GatedRepoError):  # it derives from RepositoryNotFoundError
        return False
    return out_of_reach(error) or isinstance(error, (HFValidationError, RepositoryNotFoundError))


def _by_search(api: HfApi, query: _Query) -> Iterator[TeacherCandidate]:
    tags = ["transformers", "safetensors"]
    tags += [] if query.license is None else [f"license:{query.license}"]
    tags += [] if query.language is None else [query.language]
    models = api.list_models(
        filter=tags,
        author=query.author,
        search=query.search,
        pipeline_tag=query.task,
        # In whole millions, rounded up: the exact bound is checked below, where the size is known.
        num_parameters=None if query.max_parameters is None else f"max:{math.ceil(query.max_parameters / 1e6)}M",
        sort="downloads",
        limit=query.limit,
        expand=METADATA,
    )
    try:
        for info in each_with_bounded_waits(models):
            candidate = _candidate(api, info)
            if _too_large(candidate, query.max_parameters) is None:
                yield candidate
    except HubFailure as error:
        raise TeacherUnavailableError(f"The Hub cannot be searched: {explain(error)}", problem_code(error)) from error


def model_info(api: HfApi, model_id: str, revision: str | None = None) -> ModelInfo:
    """Ask for one model's metadata; huggingface_hub tries again where it lists models, but not here.

    Args:
        api: with the token to ask with.
        model_id: `"org/name"`.
        revision: branch, tag or commit; main when None.

    Raises:
        HubFailure: one of these, if the Hub refuses or cannot be reached.
    """
    return ask_again(lambda: api.model_info(model_id, revision=revision, expand=METADATA, timeout=_TIMEOUT))


def _candidate(api: HfApi, info: ModelInfo) -> TeacherCandidate:
    return candidate_of(info, _problem(api, info))


def candidate_of(info: ModelInfo, problem: TeacherUnavailableError | None = None) -> TeacherCandidate:
    """The teacher that a model's metadata describe.

    Args:
        info: with the fields of `METADATA`.
        problem: that is known already; a configuration that cannot be read is one too.
    """
    config = info.config if isinstance(info.config, dict) else {}
    names = None
    try:
        check_config(config)
        names = label_names_of(config)
    except TeacherUnavailableError as error:
        problem = problem or error
    candidate = TeacherCandidate(
        model_id=info.id,
        revision=info.sha or "",
        task=info.pipeline_tag or task_of(config),
        label_names=names,
        parameters=None if info.safetensors is None else info.safetensors.total,
        license=stated_license(info),
        downloads=info.downloads,
        languages=languages_of(_card(info)),
        untrained=is_untrained(info.tags),
    )
    return candidate if problem is None else candidate.with_problem(problem)


def stated_license(info: ModelInfo) -> str | None:
    """The licence that a model's metadata state, None if they state none."""
    return license_of(_card(info), tuple(info.tags or ()))


def _card(info: ModelInfo) -> dict[str, Any]:
    return {} if info.card_data is None else {key: info.card_data.get(key) for key in _CARD}


def listed_problem(info: ModelInfo) -> TeacherUnavailableError | None:
    """Why a model cannot be used, as far as its metadata tell; None for no reason.

    Args:
        info: with the fields of `METADATA`.
    """
    if info.disabled:
        return TeacherUnavailableError("its access is disabled on the Hub. Choose another.", ProblemCode.DISABLED)
    if not info.sha:
        return TeacherUnavailableError("the Hub gives no commit to pin it to. Choose another.", ProblemCode.NOT_PINNED)
    return None


def _problem(api: HfApi, info: ModelInfo) -> TeacherUnavailableError | None:
    problem = listed_problem(info)
    if problem is not None:
        return problem
    try:
        with bounded_waits():
            if info.gated:
                api.auth_check(info.id)
            if info.safetensors is None:
                # The Hub counts parameters some time after an upload, and not of every file: the list of files decides.
                entries = ask_again_for_list(lambda: api.list_repo_tree(info.id, revision=info.sha))
                loadable_files(entry.path for entry in entries)
    except TeacherUnavailableError as error:
        return error
    except HubFailure as error:
        return unavailable(error, info.id)
    return None


def _mismatch(candidate: TeacherCandidate, query: _Query) -> TeacherUnavailableError | None:
    if query.license is not None and candidate.license != query.license:
        return TeacherUnavailableError(
            f"its licence is {candidate.license or 'not stated'}, not {query.license} as `license` asks.",
            ProblemCode.LICENSE,
        )
    return _too_large(candidate, query.max_parameters)


def _too_large(candidate: TeacherCandidate, max_parameters: float | int | None) -> TeacherUnavailableError | None:
    if max_parameters is None or candidate.parameters is None or candidate.parameters <= max_parameters:
        return None
    return TeacherUnavailableError(
        f"it has {candidate.parameters:,} parameters, more than `max_parameters` {max_parameters:,.0f}.",
        ProblemCode.TOO_LARGE,
    )
