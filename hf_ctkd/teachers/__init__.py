"""One frozen teacher: loaded safely, run over raw rows, its outputs stored by row."""

from hf_ctkd.teachers.cache import OutputCache, StoredOutputs, finite_rows_of
from hf_ctkd.teachers.extraction import FeatureExtractor
from hf_ctkd.teachers.features import FeatureReader
from hf_ctkd.teachers.outputs import compute_outputs, open_cache
from hf_ctkd.teachers.processes import LocalAccelerator, on_all, on_main
from hf_ctkd.teachers.teacher import LoadOptions, Teacher

__all__ = [
    "FeatureExtractor",
    "FeatureReader",
    "LoadOptions",
    "LocalAccelerator",
    "OutputCache",
    "StoredOutputs",
    "Teacher",
    "compute_outputs",
    "finite_rows_of",
    "on_all",
    "on_main",
    "open_cache",
]
