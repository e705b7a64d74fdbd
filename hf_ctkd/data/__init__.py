"""The user's data set as raw rows, each model's preprocessing, and the input features of a row."""

from hf_ctkd.data.input_features import InputFeatureReader
from hf_ctkd.data.preprocessing import Preprocessor, ProcessingClass, load_processing_class
from hf_ctkd.data.rows import Modality, RowInput, TargetRows

__all__ = [
    "InputFeatureReader",
    "Modality",
    "Preprocessor",
    "ProcessingClass",
    "RowInput",
    "TargetRows",
    "load_processing_class",
]
