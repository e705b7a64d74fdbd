"""Which class of transformers the weights of a folder belong to, and the model with its classes."""

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForZeroShotImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import deepspeed as hf_deepspeed
from transformers.integrations import is_deepspeed_zero3_enabled, set_hf_deepspeed_config, unset_hf_deepspeed_config
from transformers.utils.quantization_config import QuantizationConfigMixin

from hf_ctkd.data.rows import Modality
from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.hub.limits import check_memory
from hf_ctkd.teachers.zero_shot import TEMPLATE, ZeroShotClassifier, is_zero_shot, zero_shot_tokenizer
from hf_ctkd.types import LabelSpace

Part = Literal["vision_config", "text_config", "encoder"]
_CLASSIFIERS: dict[Modality, tuple[str, Any, Any]] = {
    "image": (
        "ForImageClassification",
        AutoModelForImageClassification,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    ),
    "text": (
        "ForSequenceClassification",
        AutoModelForSequenceClassification,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    ),
}
_TIMM = "timm_wrapper"
_QUANTISED_BYTES = 0.5
"""Least memory of a quantised weight."""


@dataclass(frozen=True)
class LoadedModel:
    """A model as it came from its folder.

    Args:
        model: with its weights.
        label_space: its classes; None without a head.
        has_pooler: whether the weights of its pooler came with it.
    """

    model: PreTrainedModel
    label_space: LabelSpace | None
    has_pooler: bool


@dataclass(frozen=True)
class _Loader:
    """One way to load a folder: an Auto class or a model class, its configuration, and the part of it that is read."""

    model_class: Any
    config: PreTrainedConfig
    has_head: bool = False
    part: Part | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    """Of a zero-shot classifier: what reads the names of the target's classes."""

    def skeleton(self, **settings: Any) -> PreTrainedModel:  # noqa: ANN401 (as from_config takes them)
        if issubclass(self.model_class, PreTrainedModel):
            return self.model_class(self.config)
        return self.model_class.from_config(self.config, **settings)

    def read_part(self, model: PreTrainedModel) -> PreTrainedModel:
        if self.part is None:
            return model
        if self.part == "encoder":
            return model.get_encoder()
        kind = type(vars(model.config)[self.part])
        for module in model.modules():
            if module is not model and isinstance(module, PreTrainedModel) and isinstance(module.config, kind):
                return module
        raise TeacherUnavailableError(
            f"{type(model).__name__} has no encoder of its own for {self.part}. Choose another teacher.",
            ProblemCode.INCOMPATIBLE,
        )


@contextmanager
def unpartitioned() -> Iterator[None]:
    """Let transformers make a model whole in every process, where DeepSpeed ZeRO-3 would have it share out the weights.

    A teacher is frozen and run as it is; only the student is DeepSpeed's.
    """
    if not is_deepspeed_zero3_enabled():
        yield
        return
    # transformers has no public name for what it must be given back.
    config = hf_deepspeed._hf_deepspeed_config_weak_ref()  # type: ignore[misc] # set, since ZeRO-3 is on
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        set_hf_deepspeed_config(config)


@unpartitioned()
def load_pretrained(
    folder: Path,
    modality: Modality,
    *,
    random_weights: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: torch.device | str = "cpu",
    target: LabelSpace | None = None,
    template: str = TEMPLATE,
    quantization_config: QuantizationConfigMixin | None = None,
) -> LoadedModel:
    """Load the model of a folder with its head, or the encoder of one modality without.

    A configuration that names no architecture belongs to a classifier if the weights of its head are there. A zero-shot
    image classifier gets the classes of the target. Of an encoder-decoder without a head the encoder is read, of
    another model for images and texts the encoder of `modality`.

    Args:
        folder: with `config.json` and weights.
        modality: of the rows.
        random_weights: draw them from `seed` instead of reading them.
        allow_pickle: also read pickle weights.
        trust_remote_code: run model code from the folder.
        dtype: of the weights.
        seed: of weights that are drawn.
        device: where texts of a zero-shot classifier are run, and quantised weights lie.
        target: classes of the target, for a zero-shot classifier; None to read its image encoder alone.
        template: text of a class of the target, with `{}` for its name.
        quantization_config: of weights that are read; None to read them as they are.

    Raises:
        TeacherUnavailableError: if weights are missing or have other shapes than the configuration asks for, or the
            model has no encoder for such rows.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    config.architectures = config.architectures or []  # an Auto class with several models goes through them
    problem: TeacherUnavailableError | None = None
    tokenizer = None
    if modality == "image" and is_zero_shot(config):
        tokenizer = zero_shot_tokenizer(folder, target, trust_remote_code=trust_remote_code)

    quantised: dict[str, Any] = {}
    if quantization_config is not None and not random_weights:
        quantised = {"quantization_config": quantization_config, "device_map": device}

    # `to` of transformers' models has no types, and refuses what some packages have quantised.
    def finished(loader: _Loader, model: Any, has_pooler: bool) -> LoadedModel:  # noqa: ANN401
        if loader.tokenizer is None or target is None:
            return LoadedModel(loader.read_part(model), _label_space(loader), has_pooler)
        placed = model if quantised else model.to(device)
        classifier = ZeroShotClassifier(placed, loader.tokenizer, target, template)
        return LoadedModel(classifier, target, has_pooler)

    for loader in _loaders(config, modality, tokenizer):
        _check_memory(loader, _QUANTISED_BYTES if quantised else dtype.itemsize, trust_remote_code)
        torch.manual_seed(seed)
        if random_weights:
            drawn: Any = loader.skeleton(trust_remote_code=trust_remote_code)
            return finished(loader, drawn.to(dtype), has_pooler=True)
        model, info = loader.model_class.from_pretrained(
            folder,
            config=loader.config,
            dtype=dtype,
            use_safetensors=None if allow_pickle else True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **quantised,
            ignore_mismatched_sizes=True,  # or the reason is no more than a reference to a report in the log
        )
        problem = _incomplete(info, loader)
        if problem is None:
            return finished(loader, model, not any("pooler" in key for key in info["missing_keys"]))
    raise problem or _unsuited(config, modality)


def _loaders(
    config: PreTrainedConfig, modality: Modality, tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[_Loader]:
    """Ways to load a model, the most complete first; the first one that finds all of its weights counts."""
    head, auto, mapping = _CLASSIFIERS[modality]
    architectures = config.architectures or []
    named = any(head in name for name in architectures)
    if named or (config.model_type == _TIMM and modality == "image" and config.num_labels):
        yield _Loader(auto, config, has_head=True)
        return
    if not architectures and type(config) in mapping:
        yield _Loader(auto, config, has_head=True)
    if tokenizer is not None:
        yield _Loader(AutoModelForZeroShotImageClassification, config, tokenizer=tokenizer)
    side, other = ("vision_config", "text_config") if modality == "image" else ("text_config", "vision_config")
    if {side, other} <= config.sub_configs.keys():
        part: Part = "vision_config" if modality == "image" else "text_config"
        if type(vars(config)[side]) in MODEL_MAPPING:
            yield _Loader(AutoModel, vars(config)[side])
        if type(config) in MODEL_MAPPING:
            yield _Loader(AutoModel, config, part=part)
        return
    yield from _encoders(config, architectures)


def _encoders(config: PreTrainedConfig, architectures: list[str]) -> Iterator[_Loader]:
    if config.is_encoder_decoder and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        yield _Loader(AutoModelForTextEncoding, config)
        return
    # An encoder may have a class beside that of `AutoModel`, as the two of DPR and that of LongT5.
    class_names = [
        name for name in architectures if name.endswith(("Encoder", "EncoderModel")) and type(config) in MODEL_MAPPING
    ]
    if class_names and class_names[0] in dir(transformers):
        yield _Loader(pkgutil.resolve_name(f"transformers:{class_names[0]}"), config)
        return
    yield _Loader(AutoModel, config, part="encoder" if config.is_encoder_decoder else None)


def _check_memory(loader: _Loader, itemsize: float | int, trust_remote_code: bool) -> None:
    """Refuse a model that its configuration makes larger than the memory, before any of it is allocated."""
    with torch.device("meta"):
        skeleton = loader.skeleton(trust_remote_code=trust_remote_code)
    check_memory(int(sum(parameter.numel() for parameter in skeleton.parameters()) * itemsize))


def _incomplete(info: dict[str, Any], loader: _Loader) -> TeacherUnavailableError | None:
    mismatched = sorted(str(key) for key, *_ in info["mismatched_keys"])
    if mismatched:
        return TeacherUnavailableError(
            f"its weights do not fit its configuration: {len(mismatched)} tensors have another shape, such as "
            f"{mismatched[0]!r}",
            ProblemCode.BROKEN,
        )
    missing = sorted(key for key in info["missing_keys"] if loader.has_head or "pooler" not in key)
    if missing:
        return TeacherUnavailableError(
            f"its weights are incomplete: {len(missing)} tensors are missing, such as {missing[0]!r}",
            ProblemCode.BROKEN,
        )
    return None


def _label_space(loader: _Loader) -> LabelSpace | None:
    if not loader.has_head:
        return None
    # PVT's configuration has a number of classes, but no names unless they are given.
    names = loader.config.id2label or {number: f"LABEL_{number}" for number in range(loader.config.num_labels or 0)}
    return LabelSpace.from_id2label(names)


def _unsuited(config: PreTrainedConfig, modality: Modality) -> TeacherUnavailableError:
    return TeacherUnavailableError(
        f"no class of transformers {transformers.__version__} reads {modality} rows with a {config.model_type} model. "
        "Choose another teacher.",
        ProblemCode.INCOMPATIBLE,
    )
