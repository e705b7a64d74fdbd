"""An index of teachers without their weights, built from the Hub and searched by the names of classes."""

from hf_ctkd.index.encoders import NameEncoder, SentenceEncoder, SpellingEncoder, WordLlamaEncoder, encoder_named
from hf_ctkd.index.filters import TeacherFilter
from hf_ctkd.index.specification import TeacherSpecification
from hf_ctkd.index.teacher_index import TeacherIndex

__all__ = [
    "NameEncoder",
    "SentenceEncoder",
    "SpellingEncoder",
    "TeacherFilter",
    "TeacherIndex",
    "TeacherSpecification",
    "WordLlamaEncoder",
    "encoder_named",
]
