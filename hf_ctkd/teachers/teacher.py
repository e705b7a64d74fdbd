"""One frozen teacher: loaded safely, with its own preprocessing, giving logits and features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hf_ctkd.data.preprocessing import Preprocessor, load_processing_class
from hf_ctkd.data.rows import Modality, RowInput
from hf_ctkd.errors import CTKDError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import fetch_teacher
from hf_ctkd.hub.limits import check_memory
from hf_ctkd.records import TeacherCandidate, without_folder
from hf_ctkd.teachers.failures import skipped_on_failure
from hf_ctkd.teachers.features import FeatureReader
from hf_ctkd.teachers.independence import IndependentReader
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.teachers.quiet import quiet_loading
from hf_ctkd.types import LabelSpace, ModelOutputs

AutoClass = type[AutoModel] | type[AutoModelForImageClassification] | type[AutoModelForSequenceClassification]
_CLASSIFIERS: dict[Modality, tuple[str, AutoClass]] = {
    "image": ("ForImageClassification", AutoModelForImageClassification),
    "text": ("ForSequenceClassification", AutoModelForSequenceClassification),
}


@dataclass(frozen=True)
class LoadOptions:
    """How teachers are fetched and loaded.

    Args:
        allow_pickle: also load pickle weights, which run code when loaded.
        trust_remote_code: run the model code of a repository at its pinned commit; where its configuration names code
            of another repository, transformers uses the newest commit of that one.
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

    def fetch(self, candidate: TeacherCandidate) -> Path:
        """The folder of a teacher, downloaded first if it is on the Hub.

        Raises:
            TeacherUnavailableError: see `fetch_teacher`.
        """
        return fetch_teacher(
            candidate,
            allow_pickle=self.allow_pickle,
            trust_remote_code=self.trust_remote_code,
            max_bytes=self.max_bytes,
            token=self.token,
        )


@dataclass(frozen=True, eq=False)
class TeacherCollator:
    """A teacher's preprocessing without its model, so that the workers of a DataLoader can have it.

    Args:
        preprocessor: of the teacher.
        vocabulary: number of tokens that its model has embeddings of; None where it takes no tokens.
    """

    preprocessor: Preprocessor
    vocabulary: int | None = None

    def __call__(self, inputs: Sequence[RowInput]) -> dict[str, Tensor]:
        """A batch of tensors on the CPU.

        Raises:
            TeacherUnavailableError: if the tokenizer gives tokens that the model does not know.
        """
        batch = self.preprocessor(inputs)
        if self.vocabulary is not None and "input_ids" in batch:
            highest = int(batch["input_ids"].max())
            # On an accelerator this would end in an assertion that no later teacher survives.
            if highest >= self.vocabulary:
                raise TeacherUnavailableError(
                    f"its tokenizer gives token {highest}, but its model knows {self.vocabulary} tokens",
                    ProblemCode.BROKEN,
                )
        return batch


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen model in evaluation mode, with its own preprocessing of raw rows.

    Build it with `Teacher.load`. For the outputs of a whole data set use `compute_outputs`; `collate` and `outputs` are
    for single batches, such as augmented rows.

    Args:
        candidate: its source, with its number of parameters filled in.
        preprocessor: its preprocessing of raw rows.
        reader: gives logits and features.
        label_space: its classes; None without a head.
        seed: of its weights, where they are random.

    Example:
        >>> candidate = next(folder_teachers("models/resnet"))  # doctest: +SKIP
        >>> teacher = Teacher.load(candidate, "image")  # doctest: +SKIP
        >>> teacher.outputs(teacher.collate([image])).logits.shape  # doctest: +SKIP
        torch.Size([1, 1000])
    """

    candidate: TeacherCandidate
    preprocessor: Preprocessor
    reader: FeatureReader
    label_space: LabelSpace | None
    seed: int = 0

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
            modality: of the rows; of a model for both images and texts only this encoder is loaded.
            device: of its weights.
            options: how to fetch and load.

        Raises:
            TeacherUnavailableError: gated, missing, broken, oversized, for the other modality, or with weights that are
                missing or not finite.
        """
        candidate.check_usable(allow_pickle=options.allow_pickle)
        folder = options.fetch(candidate)
        try:
            with (
                skipped_on_failure(
                    # Reasons are published with the ranking: they must not show the path of the folder.
                    "cannot be loaded",
                    ProblemCode.BROKEN,
                    lambda text: without_folder(text, folder, candidate.name),
                ),
                quiet_loading(),
                # Missing or random weights are drawn without changing the caller's random numbers.
                torch.random.fork_rng(devices=[]),
            ):
                model, label_space, trust_pooler = _model(folder, modality, candidate, options)
                if model.main_input_name != ("pixel_values" if modality == "image" else "input_ids"):
                    raise TeacherUnavailableError(
                        f"takes {model.main_input_name}, not {modality} rows", ProblemCode.INCOMPATIBLE
                    )
                processing_class = load_processing_class(folder, modality, trust_remote_code=options.trust_remote_code)
                preprocessor = Preprocessor.of(processing_class, modality, model.config)
                _require_finite(model)
                if isinstance(preprocessor.processing_class, PreTrainedTokenizerBase):
                    _set_padding_token(model, preprocessor.processing_class)
                model.requires_grad_(False).eval().to(device)
        except TeacherUnavailableError:
            raise
        except CTKDError as error:
            raise TeacherUnavailableError(str(error), ProblemCode.INCOMPATIBLE) from error
        counted = replace(candidate, parameters=sum(parameter.numel() for parameter in model.parameters()))
        return cls(counted, preprocessor, FeatureReader(model, trust_pooler=trust_pooler), label_space, options.seed)

    @cached_property
    def _independent(self) -> IndependentReader:
        return IndependentReader(self.reader, self.seed)

    @property
    def model(self) -> PreTrainedModel:
        """The frozen model."""
        return self.reader.model

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.model.device

    def move(self, device: torch.device | str) -> "Teacher":
        """Move its model to another device, and return the same teacher."""
        self.model.eval().to(device)
        return self

    @property
    def collator(self) -> TeacherCollator:
        """Its preprocessing without its model."""
        embeddings = self.model.get_input_embeddings() if self.preprocessor.modality == "text" else None
        return TeacherCollator(
            self.preprocessor, embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else None
        )

    def collate(self, inputs: Sequence[RowInput]) -> dict[str, Tensor]:
        """Raw rows preprocessed for its model, as a batch on the CPU.

        Raises:
            TeacherUnavailableError: if its tokenizer gives tokens that its model does not know.
        """
        return self.collator(inputs)

    @torch.no_grad()
    def outputs(
        self,
        batch: Mapping[str, Tensor],
        hidden: Sequence[int] = (),
        *,
        layers: bool = False,
        max_layers: int = MOST_LAYERS,
    ) -> ModelOutputs:
        """Logits and features of a preprocessed batch, without gradient.

        Args:
            batch: from `collate`, on any device.
            hidden: indices of hidden layers to return as well.
            layers: also pool layers of all depths.
            max_layers: largest number of pooled layers, at least 1.
        """
        dtype = self.model.dtype
        on_device = {
            name: tensor.to(self.device, dtype if tensor.is_floating_point() else None, non_blocking=True)
            for name, tensor in batch.items()
        }
        outputs = self._independent.read(on_device, hidden, layers=layers, max_layers=max_layers)
        # A head whose labels are unknown to the loader (a headless encoder's stray output) is no classifier.
        return outputs if self.label_space is not None else replace(outputs, logits=None)


def _config(folder: Path, modality: Modality, options: LoadOptions) -> tuple[PreTrainedConfig, bool]:
    """Its configuration, and whether it is a classifier's; of a model for images and texts, that of one encoder."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=options.trust_remote_code)
    if any(name.endswith(_CLASSIFIERS[modality][0]) for name in config.architectures or ()):
        return config, True
    side, other = ("vision_config", "text_config") if modality == "image" else ("text_config", "vision_config")
    return (vars(config)[side] if {side, other} <= config.sub_configs.keys() else config), False


def _model(
    folder: Path, modality: Modality, candidate: TeacherCandidate, options: LoadOptions
) -> tuple[PreTrainedModel, LabelSpace | None, bool]:
    config, has_head = _config(folder, modality, options)
    auto: AutoClass = _CLASSIFIERS[modality][1] if has_head else AutoModel
    label_space = LabelSpace.from_id2label(config.id2label) if has_head else None
    _check_memory(auto, config, options)
    torch.manual_seed(options.seed)
    if candidate.random_weights:
        model = auto.from_config(config, trust_remote_code=options.trust_remote_code)
        return model.to(options.dtype), label_space, True
    model, info = auto.from_pretrained(
        folder,
        config=config,
        dtype=options.dtype,
        use_safetensors=None if options.allow_pickle else True,
        trust_remote_code=options.trust_remote_code,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # or the reason is no more than a reference to a report in the log
    )
    mismatched = sorted(str(key) for key, *_ in info["mismatched_keys"])
    if mismatched:
        raise TeacherUnavailableError(
            f"its weights do not fit its configuration: {len(mismatched)} tensors have another shape, such as "
            f"{mismatched[0]!r}",
            ProblemCode.BROKEN,
        )
    pooler = {key for key in info["missing_keys"] if "pooler" in key}
    missing = sorted(set(info["missing_keys"]) - (set() if has_head else pooler))
    if missing:
        raise TeacherUnavailableError(
            f"its weights are incomplete: {len(missing)} tensors are missing, such as {missing[0]!r}",
            ProblemCode.BROKEN,
        )
    return model, label_space, not pooler


def _check_memory(auto: AutoClass, config: PreTrainedConfig, options: LoadOptions) -> None:
    """Refuse a model that its configuration makes larger than the memory, before any of it is allocated."""
    with torch.device("meta"):
        skeleton = auto.from_config(config, trust_remote_code=options.trust_remote_code)
    check_memory(sum(parameter.numel() for parameter in skeleton.parameters()) * options.dtype.itemsize)


def _set_padding_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell a decoder which token is padding: it classifies a text by the last token before the padding."""
    if model.config.to_dict().get("pad_token_id") is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def _require_finite(model: PreTrainedModel) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        # Attention masks are buffers that hold minus infinity by right.
        if torch.isnan(tensor).any() or (isinstance(tensor, nn.Parameter) and torch.isinf(tensor).any()):
            raise TeacherUnavailableError(
                f"its weights are not finite: {name!r} holds NaN or infinity", ProblemCode.NOT_FINITE
            )
