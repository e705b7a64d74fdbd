"""What is written to disk and read back: candidates, rankings, distillation records. Needs no torch."""

from hf_ctkd.records.candidate import NOT_LOOKED_UP, ZERO_SHOT, TeacherCandidate
from hf_ctkd.records.chance import chance_level
from hf_ctkd.records.confidence import Confidence, Proportion
from hf_ctkd.records.distillation import (
    HELD_OUT,
    NO_LOSS,
    DistillationRecord,
    LossRecord,
    PoolRecord,
    StudentRecord,
    TaskRecord,
    TaskWords,
    TeacherRecord,
    TransportMap,
)
from hf_ctkd.records.expected_gain import ExpectedGain, expected_gain
from hf_ctkd.records.fields import from_json, read_record
from hf_ctkd.records.files import default_cache, read_json, write_bytes, write_json, write_text
from hf_ctkd.records.ranking import CommitteeMember, RankedTeacher, TeacherFreeBaseline, TeacherRanking
from hf_ctkd.records.reliability import RELIABILITY_BINS, Reliability, ReliabilityBin
from hf_ctkd.records.text import (
    distinct_names,
    drawable,
    last_name,
    parameter_count,
    parameters_in_words,
    text_table,
    without_folder,
)

__all__ = [
    "HELD_OUT",
    "NOT_LOOKED_UP",
    "NO_LOSS",
    "RELIABILITY_BINS",
    "ZERO_SHOT",
    "CommitteeMember",
    "Confidence",
    "DistillationRecord",
    "ExpectedGain",
    "LossRecord",
    "PoolRecord",
    "Proportion",
    "RankedTeacher",
    "Reliability",
    "ReliabilityBin",
    "StudentRecord",
    "TaskRecord",
    "TaskWords",
    "TeacherCandidate",
    "TeacherFreeBaseline",
    "TeacherRanking",
    "TeacherRecord",
    "TransportMap",
    "chance_level",
    "default_cache",
    "distinct_names",
    "drawable",
    "expected_gain",
    "from_json",
    "last_name",
    "parameter_count",
    "parameters_in_words",
    "read_json",
    "read_record",
    "text_table",
    "without_folder",
    "write_bytes",
    "write_json",
    "write_text",
]
