"""A finished student on rows: metrics with intervals, errors, calibration, speed, and predictions."""

from hf_ctkd.evaluation.calibration import Calibration, calibrate, fit_temperature
from hf_ctkd.evaluation.export import OnnxExport, export_onnx
from hf_ctkd.evaluation.gain import gain_over
from hf_ctkd.evaluation.predict import predict
from hf_ctkd.evaluation.result import ConfusedPair, Evaluation, ModelResult, WrongRow
from hf_ctkd.evaluation.settings import EvaluationSettings
from hf_ctkd.evaluation.student import evaluate_student

__all__ = [
    "Calibration",
    "ConfusedPair",
    "Evaluation",
    "EvaluationSettings",
    "ModelResult",
    "OnnxExport",
    "WrongRow",
    "calibrate",
    "evaluate_student",
    "export_onnx",
    "fit_temperature",
    "gain_over",
    "predict",
]
