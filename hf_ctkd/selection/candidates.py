"""Candidates from records, ids or folders, one or many, as a list or as an iterator."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import candidates_named
from hf_ctkd.records import TeacherCandidate

Source = TeacherCandidate | str | Path
"""A candidate, the id of a model on the Hub (`"org/name@revision"`), a folder of one model or of several, or
`"random:"` before the name of one model for the same architecture with random weights."""

REST = "all further candidates"
"""Name, in the ranking, of the candidates that a failed search could not list."""


def each_candidate(sources: Iterable[Source] | Source, *, token: str | None = None) -> Iterator[TeacherCandidate]:
    """Every candidate once, in the order of the sources; each is looked up when the iteration reaches it.

    When a search fails halfway, because the Hub refuses it for example, the last candidate is `REST`, with the reason
    as its problem.

    Args:
        sources: one or many.
        token: Hub token; the stored login when None.

    Raises:
        InvalidArgumentError: while iterating, if a source is neither a candidate, an id nor a folder.
    """
    seen = set()
    for candidate in _flat([sources] if isinstance(sources, Source) else sources, token):
        in_folder = candidate.source == "folder"
        location = str(Path(candidate.model_id).resolve()) if in_folder else candidate.model_id
        identity = (candidate.source, location, candidate.revision, candidate.random_weights)
        if identity not in seen:
            seen.add(identity)
            yield candidate


def _flat(sources: Iterable[Source], token: str | None) -> Iterator[TeacherCandidate]:
    try:
        for source in sources:
            if isinstance(source, TeacherCandidate):
                yield source
            elif isinstance(source, str | Path):
                yield from candidates_named(source, token=token)
            else:
                raise InvalidArgumentError(
                    "`candidates` must hold TeacherCandidate records, ids of models or folders, got "
                    f"{type(source).__name__}. Use `hub_teachers` or `folder_teachers`."
                )
    except TeacherUnavailableError as error:
        yield TeacherCandidate(REST, "").with_problem(error)
