"""One frozen teacher: loaded safely, preprocessing in its own way, giving logits and features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image as PILImage
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    set_seed,
)

from hf_ctkd.errors import CTKDError, TeacherUnavailableError
from hf_ctkd.hub import fetch_teacher
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers.features import FeatureReader
from hf_ctkd.teachers.preprocessing import Preprocessor, load_processing_class
from hf_ctkd.teachers.rows import Modality
from hf_ctkd.types import LabelSpace, ModelOutputs

AutoClass = type[AutoModel] | type[AutoModelForImageClassification] | type[AutoModelForSequenceClassification]
_CLASSIFIERS: dict[Modality, tuple[str, AutoClass]] = {
    "image": ("ForImageClassification", AutoModelForImageClassification),
    "text": ("ForSequenceClassification", AutoModelForSequenceClassification),
}
# What loading a broken folder raises: missing files, malformed JSON, unknown model types, wrong shapes, bad safetensors.
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


@dataclass(frozen=True)
class LoadOptions:
    """How teachers are fetched and loaded.

    Args:
        allow_pickle: also load pickle weights, which run code when loaded.
        trust_remote_code: run the model code that a repository brings along.
        max_bytes: largest download of one teacher; None for no limit.
        dtype: of the weights.
        seed: of random weights, for candidates that ask for them.
        token: Hub token; the stored login when None.
    """

    allow_pickle: bool = False
    trust_remote_code: bool = False
    max_bytes: int | None = None
    dtype: torch.dtype = torch.float32
    seed: int = 0
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen model in evaluation mode that says its own things about raw rows.

    Build it with `Teacher.load`.

    Args:
        candidate: where it comes from, with its number of parameters filled in.
        preprocessor: its own view of raw rows.
        reader: gives logits and features.
        label_space: its classes; None without a head.
    """

    candidate: TeacherCandidate
    preprocessor: Preprocessor
    reader: FeatureReader
    label_space: LabelSpace | None

    @classmethod
    def load(
        cls,
        candidate: TeacherCandidate,
        modality: Modality,
        *,
        device: torch.device | str = "cpu",
        options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
    ) -> "Teacher":
        """Fetch and load a candidate: safetensors only and no remote code unless `options` say so.

        Args:
            candidate: the teacher, pinned to a revision.
            modality: of the rows it is to look at; of a model for both images and texts only that side is loaded.
            device: where it will run.
            options: how to fetch and load.

        Raises:
            TeacherUnavailableError: gated, missing, broken, oversized, for the other modality, or with weights that are
                missing or not finite.
        """
        if candidate.problem is not None:
            raise TeacherUnavailableError(candidate.problem)
        folder = fetch_teacher(
            candidate, allow_pickle=options.allow_pickle, max_bytes=options.max_bytes, token=options.token
        )
        try:
            config = _config(folder, modality, options)
            model, label_space, trust_pooler = _model(folder, config, modality, candidate, options)
            if model.main_input_name != ("pixel_values" if modality == "image" else "input_ids"):
                raise TeacherUnavailableError(f"takes {model.main_input_name}, not {modality} rows")
            preprocessor = Preprocessor.of(load_processing_class(folder, modality), modality, model.config)
        except CTKDError as error:
            raise TeacherUnavailableError(str(error)) from error
        except _BROKEN as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise TeacherUnavailableError(f"cannot be loaded: {reason[:300]}") from error
        _require_finite(model)
        if preprocessor.modality == "text" and model.config.pad_token_id is None:
            model.config.pad_token_id = preprocessor.processing_class.pad_token_id
        model.requires_grad_(False).eval().to(device)
        counted = TeacherCandidate(**{**vars(candidate), "parameters": sum(p.numel() for p in model.parameters())})
        return cls(counted, preprocessor, FeatureReader(model, trust_pooler=trust_pooler), label_space)

    @property
    def model(self) -> PreTrainedModel:
        """The frozen model."""
        return self.reader.model

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.model.device

    def collate(self, inputs: Sequence[PILImage.Image] | Sequence[str]) -> dict[str, Tensor]:
        """Its own view of raw rows, as a batch on the CPU."""
        return self.preprocessor(inputs)

    @torch.no_grad()
    def outputs(self, batch: Mapping[str, Tensor], hidden: Sequence[int] = ()) -> ModelOutputs:
        """Logits and features of a preprocessed batch, without gradient.

        Args:
            batch: from `collate`, on any device.
            hidden: indices of layers wanted besides.
        """
        on_device = {name: tensor.to(self.device) for name, tensor in batch.items()}
        outputs = self.reader.read(on_device, hidden)
        # A head whose labels are unknown to the loader (a headless encoder's stray output) is no classifier.
        return outputs if self.label_space is not None else ModelOutputs(outputs.features, None, outputs.hidden)


def _config(folder: Path, modality: Modality, options: LoadOptions) -> PreTrainedConfig:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=options.trust_remote_code)
    sides = config.to_dict()
    side = {"image": "vision_config", "text": "text_config"}[modality]
    other = {"image": "text_config", "text": "vision_config"}[modality]
    return vars(config)[side] if side in sides and other in sides else config


def _model(
    folder: Path, config: PreTrainedConfig, modality: Modality, candidate: TeacherCandidate, options: LoadOptions
) -> tuple[PreTrainedModel, LabelSpace | None, bool]:
    suffix, classifier = _CLASSIFIERS[modality]
    has_head = any(name.endswith(suffix) for name in config.architectures or ())
    auto: AutoClass = classifier if has_head else AutoModel
    if candidate.random_weights:
        set_seed(options.seed)
        model = auto.from_config(config, trust_remote_code=options.trust_remote_code)
        return model.to(options.dtype), _label_space(config) if has_head else None, True
    model, info = auto.from_pretrained(
        folder,
        config=config,
        dtype=options.dtype,
        use_safetensors=None if options.allow_pickle else True,
        trust_remote_code=options.trust_remote_code,
        output_loading_info=True,
    )
    pooler = {key for key in info["missing_keys"] if "pooler" in key}
    missing = sorted(set(info["missing_keys"]) - (set() if has_head else pooler))
    if missing:
        raise TeacherUnavailableError(
            f"its weights are incomplete: {len(missing)} tensors are missing, such as {missing[0]!r}"
        )
    return model, _label_space(config) if has_head else None, not pooler


def _label_space(config: PreTrainedConfig) -> LabelSpace:
    return LabelSpace.from_id2label(config.id2label)


def _require_finite(model: PreTrainedModel) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise TeacherUnavailableError(f"its weights are not finite: {name!r} holds NaN or infinity")
