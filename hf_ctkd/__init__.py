"""Selective cross-task knowledge distillation for the Hugging Face ecosystem.

Public names are imported on first use, so that `import hf_ctkd` and `hf-ctkd --help` load neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_DEFINED_IN = {
    "DistillationRecord": "hf_ctkd.records",
    "TeacherCandidate": "hf_ctkd.records",
    "TeacherRanking": "hf_ctkd.records",
    "LabelSpace": "hf_ctkd.types",
    "ModelOutputs": "hf_ctkd.types",
    "Needs": "hf_ctkd.types",
}

__all__ = ["__version__", *sorted(_DEFINED_IN)]  # noqa: PLE0604

if TYPE_CHECKING:
    from hf_ctkd.records import DistillationRecord, TeacherCandidate, TeacherRanking
    from hf_ctkd.types import LabelSpace, ModelOutputs, Needs


def __getattr__(name: str) -> object:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module 'hf_ctkd' has no attribute {name!r}")
    value = vars(import_module(_DEFINED_IN[name]))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
