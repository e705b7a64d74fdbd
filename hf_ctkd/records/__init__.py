"""What is written to disk and read back: candidates, rankings, distillation records. Needs no torch."""

from hf_ctkd.records.candidate import NOT_LOOKED_UP, TeacherCandidate
from hf_ctkd.records.distillation import (
    NO_LOSS,
    Confidence,
    DistillationRecord,
    LossRecord,
    PoolRecord,
    StudentRecord,
    TaskRecord,
    TeacherRecord,
    TransportMap,
)
from hf_ctkd.records.drawing import drawable
from hf_ctkd.records.files import default_cache, read_json, write_bytes, write_json, write_text
from hf_ctkd.records.paths import last_name, without_folder
from hf_ctkd.records.ranking import RankedTeacher, TeacherRanking

__all__ = [
    "NOT_LOOKED_UP",
    "NO_LOSS",
    "Confidence",
    "DistillationRecord",
    "LossRecord",
    "PoolRecord",
    "RankedTeacher",
    "StudentRecord",
    "TaskRecord",
    "TeacherCandidate",
    "TeacherRanking",
    "TeacherRecord",
    "TransportMap",
    "drawable",
    "default_cache",
    "last_name",
    "read_json",
    "without_folder",
    "write_bytes",
    "write_json",
    "write_text",
]
