"""Loads a student as others will, before it is published. Needs torch, unlike the other files of this folder."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from hf_ctkd.data import Modality, load_processing_class
from hf_ctkd.errors import InvalidArgumentError, PublishingError, resolve_name
from hf_ctkd.records import DistillationRecord
from hf_ctkd.teachers.quiet import quiet_loading

_AGAIN = "Save the student again with `save_pretrained`."
_PROCESSORS: dict[Modality, str] = {"image": "image processor", "text": "tokenizer"}
# What transformers raises for files that are missing, malformed, of another kind or of other shapes.
_LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)


def check_loads(folder: Path, record: DistillationRecord) -> None:
    """Refuse a student that others could not load with plain transformers, or whose weights are of no use.

    Args:
        folder: where the student was saved, with safetensors weights.
        record: says which class loads it, and whether it has an image processor or a tokenizer.

    Raises:
        PublishingError: if the model or its processor cannot be loaded, tensors are missing, foreign or of another
            shape, or weights are not finite.
    """
    name = record.task.auto_class or record.student.architecture
    model_class = _model_class(name)
    try:
        # Missing weights are drawn without changing the caller's random numbers.
        with quiet_loading(), torch.random.fork_rng(devices=[]):
            model, info = model_class.from_pretrained(
                folder, output_loading_info=True, local_files_only=True, use_safetensors=True
            )
    except _LOADING_ERRORS as error:
        raise PublishingError(f"{name} cannot load the student in {folder}: {_reason(error)}. {_AGAIN}") from error
    if info["missing_keys"]:
        raise PublishingError(
            f"The weights in {folder} lack tensors of the model: {_some(info['missing_keys'])}. {_AGAIN}"
        )
    if info["unexpected_keys"]:
        foreign = _some(info["unexpected_keys"])
        raise PublishingError(f"The weights in {folder} hold tensors that the model does not have: {foreign}. {_AGAIN}")
    _require_finite(folder, model)
    _check_processor(folder, record.task.modality)


def _model_class(name: str) -> Any:  # noqa: ANN401 (Auto classes have no common public type)
    try:
        model_class = resolve_name(f"transformers:{name}", "auto_class")
    except InvalidArgumentError:
        model_class = None
    is_model = isinstance(model_class, type) and issubclass(model_class, PreTrainedModel)
    if not is_model and (model_class is None or not name.startswith("AutoModel")):
        raise PublishingError(
            f"distillation.json says that {name!r} loads the student, but transformers has no such model class. "
            "Publish a student of an architecture that transformers has."
        )
    return model_class


def _require_finite(folder: Path, model: PreTrainedModel) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        # Attention masks are buffers that hold minus infinity by right.
        if torch.isnan(tensor).any() or (isinstance(tensor, nn.Parameter) and torch.isinf(tensor).any()):
            raise PublishingError(
                f"The weights in {folder} are not finite: {name!r} holds NaN or infinity. Train the student again with "
                "a lower learning rate."
            )


def _check_processor(folder: Path, modality: str | None) -> None:
    for kind, processor in _PROCESSORS.items():
        try:
            if kind == modality:
                with quiet_loading():
                    load_processing_class(folder, kind)
        except _LOADING_ERRORS as error:
            raise PublishingError(
                f"The {processor} in {folder} cannot be loaded: {_reason(error)}. {_AGAIN}"
            ) from error


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{min(names)!r}{more}"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
    return f"{type(error).__name__} {text}" if isinstance(error, KeyError) else text
