"""All models of a search on the Hub, with what the Hub lists of them: pages of metadata, no request for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from huggingface_hub import HfApi, ModelInfo

from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub.problems import HubFailure, explain, problem_code
from hf_ctkd.hub.search import METADATA, candidate_of, listed_problem, model_info
from hf_ctkd.hub.waiting import each_with_bounded_waits
from hf_ctkd.records import TeacherCandidate

_REVISION: list[Any] = ["downloads", "sha"]


class ListedModel(NamedTuple):
    """A model of a listing: the teacher, all its tags, and whether its author must grant access first."""

    candidate: TeacherCandidate
    tags: tuple[str, ...]
    gated: bool


class ListedRevision(NamedTuple):
    """The commit that a model is at, and its downloads of the last 30 days."""

    model_id: str
    revision: str
    downloads: int


@dataclass(frozen=True, kw_only=True)
class HubSearch:
    """A search of the Hub for every model that transformers loads from safetensors; the source of a `TeacherIndex`.

    Use it where thousands of models are listed; for a few, each of them checked, use `hub_teachers`. Nothing is asked
    for a single model, so one whose author must grant access first is listed as gated, whoever asks.

    Args:
        task: the Hub's task tag, such as `"image-classification"`; every task when None.
        search: words that the model's name must hold.
        author: user or organisation.
        license: licence identifier, such as `"apache-2.0"`.
        language: language tag, such as `"en"`.
        limit: at most so many, most downloaded first; all when None.
        token: access token; by default the one of `hf auth login` or `HF_TOKEN`.

    Raises:
        InvalidArgumentError: if `limit` is below one.

    Example:
        >>> HubSearch(task="image-classification", license="apache-2.0").limit is None
        True
    """

    task: str | None = None
    search: str | None = None
    author: str | None = None
    license: str | None = None
    language: str | None = None
    limit: int | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InvalidArgumentError(f"`limit` must be at least 1, got {self.limit}. Leave it out for no limit.")

    def revisions(self) -> Iterator[ListedRevision]:
        """The commit of every model, and nothing else: the cheapest listing that shows what has changed.

        Raises:
            TeacherUnavailableError: if the Hub refuses or cannot be reached; huggingface_hub has tried again by then.
        """
        return (ListedRevision(info.id, info.sha or "", info.downloads or 0) for info in self._infos(_REVISION))

    def models(self) -> Iterator[ListedModel]:
        """Every model with its metadata.

        Raises:
            TeacherUnavailableError: as for `revisions`.
        """
        return map(_listed, self._infos(METADATA))

    def model(self, model_id: str) -> ListedModel | None:
        """One model with its metadata; None if it was deleted in the meantime, or cannot be read.

        Args:
            model_id: `"org/name"`.
        """
        try:
            return _listed(model_info(HfApi(token=self.token), model_id))
        except HubFailure:
            return None

    def _infos(self, expand: list[Any]) -> Iterator[ModelInfo]:
        tags = ["transformers", "safetensors"]
        tags += [] if self.license is None else [f"license:{self.license}"]
        tags += [] if self.language is None else [self.language]
        models = HfApi(token=self.token).list_models(
            filter=tags,
            author=self.author,
            search=self.search,
            pipeline_tag=self.task,
            sort="downloads",
            limit=self.limit,
            expand=expand,
        )
        try:
            yield from each_with_bounded_waits(models)
        except HubFailure as error:
            raise TeacherUnavailableError(
                f"The Hub cannot be searched: {explain(error)}", problem_code(error)
            ) from error


def _listed(info: ModelInfo) -> ListedModel:
    return ListedModel(candidate_of(info, listed_problem(info)), tuple(info.tags or ()), bool(info.gated))
