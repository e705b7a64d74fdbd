"""Teachers over raw rows: loaded safely, each preprocessing in its own way, outputs cached by row."""

from hf_ctkd.teachers.cache import OutputCache
from hf_ctkd.teachers.features import FeatureReader
from hf_ctkd.teachers.inputs import InputReader
from hf_ctkd.teachers.outputs import compute_outputs, open_cache
from hf_ctkd.teachers.preprocessing import Preprocessor, ProcessingClass, load_processing_class
from hf_ctkd.teachers.processes import on_all, on_main
from hf_ctkd.teachers.rows import Modality, TargetRows
from hf_ctkd.teachers.teacher import LoadOptions, Teacher

__all__ = [
    "FeatureReader",
    "InputReader",
    "LoadOptions",
    "Modality",
    "OutputCache",
    "Preprocessor",
    "ProcessingClass",
    "TargetRows",
    "Teacher",
    "compute_outputs",
    "load_processing_class",
    "on_all",
    "on_main",
    "open_cache",
]
