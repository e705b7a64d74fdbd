"""Candidates in the order in which their metadata recommend them, before any weights are downloaded."""

from collections.abc import Sequence

from hf_ctkd.index import TeacherIndex
from hf_ctkd.index.names import is_informative
from hf_ctkd.index.specification import TeacherSpecification, table_of
from hf_ctkd.records import TeacherCandidate


def by_metadata(candidates: Sequence[TeacherCandidate], label_names: Sequence[str]) -> list[TeacherCandidate]:
    """Teachers with the nearest names of classes first, then the others in the order in which they were given.

    Names are compared by spelling, and classes carried over by unbalanced transport, as `TeacherIndex.search` does. A
    search of the Hub gives the most downloaded teachers first, so that downloads order those without names.

    Args:
        candidates: in any order.
        label_names: of the target.
    """
    specifications = [TeacherSpecification(candidate) for candidate in candidates if not candidate.random_weights]
    if not specifications or not any(is_informative(name) for name in label_names):
        return list(candidates)
    nearest = TeacherIndex(table_of(specifications)).search(list(label_names), k=len(specifications), gated=True)
    ranks = {(teacher.source, teacher.model_id, teacher.revision): number for number, teacher in enumerate(nearest)}

    def number(candidate: TeacherCandidate) -> int:
        identity = (candidate.source, candidate.model_id, candidate.revision)
        return len(ranks) if candidate.random_weights else ranks.get(identity, len(ranks))

    return sorted(candidates, key=number)
