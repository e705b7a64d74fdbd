"""Candidates however they are given: records, ids, folders, one or many, at once or as they come."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import candidates_named
from hf_ctkd.records import TeacherCandidate

Source = TeacherCandidate | str | Path
"""A candidate, the id of a model on the Hub (`"org/name@revision"`) or a folder of one model or of many, or
`"random:"` and the name of one model."""

REST = "all further candidates"
"""Stands in the ranking for what a source that broke off would have given."""


def each_candidate(sources: Iterable[Source] | Source, *, token: str | None = None) -> Iterator[TeacherCandidate]:
    """Every candidate once, in the order given, looked up as it is asked for.

    A source that breaks off (a search that the Hub refuses) ends the candidates with one that says so.

    Args:
        sources: one or many.
        token: Hub token; the stored login when None.

    Raises:
        InvalidArgumentError: while iterating, if something is neither a candidate, an id nor a folder.
    """
    seen = set()
    for candidate in _flat([sources] if isinstance(sources, Source) else sources, token):
        folder = candidate.source == "folder"
        where = str(Path(candidate.model_id).resolve()) if folder else candidate.model_id
        identity = (candidate.source, where, candidate.revision, candidate.random_weights)
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
