"""From a source of teachers to the parts of an index: page by page, without what is there already."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from hf_ctkd.data.progress import counted
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import HubSearch, folder_teachers
from hf_ctkd.hub.listing import ListedModel
from hf_ctkd.index.specification import TeacherSpecification, table_of
from hf_ctkd.index.store import PartFolder
from hf_ctkd.records import TeacherCandidate

logger = logging.getLogger(__name__)

Source = HubSearch | Path | str | Iterable[TeacherCandidate]
"""A search of the Hub, a folder of models, or teachers."""

_PAGE = 1000
"""Teachers of one part: an interruption costs no more than these."""
_FEW, _FEW_SHARE = 100, 0.01
"""Up to so many models, or such a share of the listing, are looked up one by one; a listing has hundreds on a page."""


def add_teachers(source: Source, store: PartFolder) -> None:
    """Write the teachers of a source to a store, those that it holds at the same revision left out.

    Args:
        source: of teachers.
        store: that they are added to.

    Raises:
        InvalidArgumentError: if one of several teachers is no TeacherCandidate.
    """
    table = store.read()
    columns = (table[name].to_pylist() for name in ("source", "id", "revision"))
    revisions = {(kind, name): revision for kind, name, revision in zip(*columns, strict=True)}
    downloads: dict[str, int] = {}
    if isinstance(source, HubSearch):
        indexed = {name: revision for (kind, name), revision in revisions.items() if kind == "hub"}
        specifications = _of_search(source, indexed, downloads)
    else:
        candidates = folder_teachers(source) if isinstance(source, str | Path) else source
        specifications = map(_of_candidate, candidates)
    total = source.limit if isinstance(source, HubSearch) else None
    new = (
        specification
        for specification in counted(specifications, total, "teachers listed", unit="teacher")
        if revisions.get((specification.candidate.source, specification.candidate.model_id))
        != specification.candidate.revision
    )
    while page := list(islice(new, _PAGE)):
        store.append(table_of(page))
    store.compact(downloads)


def _of_candidate(candidate: object) -> TeacherSpecification:
    if not isinstance(candidate, TeacherCandidate):
        raise InvalidArgumentError(
            f"`source` must hold TeacherCandidate records, got {candidate!r}. List them with `hub_teachers` or "
            "`folder_teachers`, or pass one folder alone."
        )
    return TeacherSpecification(candidate)


def _of_search(
    search: HubSearch, indexed: Mapping[str, str], downloads: dict[str, int]
) -> Iterator[TeacherSpecification]:
    """New and changed models; `downloads` gets the numbers of the others."""
    if not indexed:
        yield from map(_specification, search.models())
        return
    changed, count = [], 0
    for listed in search.revisions():
        count += 1
        if indexed.get(listed.model_id) == listed.revision:
            downloads[listed.model_id] = listed.downloads
        else:
            changed.append(listed.model_id)
    if len(changed) > max(_FEW, _FEW_SHARE * count):
        yield from map(_specification, search.models())
        return
    gone = 0
    for model_id in changed:
        model = search.model(model_id)
        gone += model is None
        if model is not None:
            yield _specification(model)
    if gone:
        logger.warning("%d of %d new models could not be read any more and are left out.", gone, len(changed))


def _specification(model: ListedModel) -> TeacherSpecification:
    return TeacherSpecification(model.candidate, model.tags, model.gated)
