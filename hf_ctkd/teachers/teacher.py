"""One frozen teacher: loaded safely, with its own preprocessing, giving logits and features."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from threading import TIMEOUT_MAX

import torch
from PIL import Image as PILImage
from torch import Tensor, nn
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.quantization_config import QuantizationConfigMixin

from hf_ctkd.data.preprocessing import Preprocessor, load_processing_class
from hf_ctkd.data.rows import Modality, RowInput
from hf_ctkd.errors import CTKDError, InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import download_bytes, fetch_teacher
from hf_ctkd.records import ZERO_SHOT, TeacherCandidate, without_folder
from hf_ctkd.teachers.failures import skipped_on_failure
from hf_ctkd.teachers.features import FeatureReader
from hf_ctkd.teachers.independence import IndependentReader
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.teachers.pretrained import load_pretrained
from hf_ctkd.teachers.quiet import quiet_loading
from hf_ctkd.teachers.sentence_transformer import SentenceModules
from hf_ctkd.teachers.zero_shot import TEMPLATE, ZeroShotClassifier
from hf_ctkd.types import LabelSpace, ModelOutputs
from hf_ctkd.worker import Worker

_TEXTS = ("a short text", "a long text " * 200)


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
        timeout: seconds that loading one teacher may take together with a forward pass of two rows. They are tried in a
            process of its own first, which is ended beyond the limit, so whatever ends or fills that process costs this
            teacher alone; then the teacher is loaded once more. A ranking also gives up a teacher whose pass over the
            rows takes longer, between two batches. Downloads are not counted. None for no limit and no such process.
        token: Hub token; the stored login when None.
        zero_shot_template: text of a class of the target, with `{}` for its name, where a zero-shot image classifier
            (CLIP, SigLIP and kin) is a teacher.
        quantization_config: of transformers, such as `TorchAoConfig` or `BitsAndBytesConfig`, to load teachers with
            weights of few bits, whose package must be installed; random weights stay as they are. None for the weights
            in `dtype`.

    Raises:
        InvalidArgumentError: if a value is out of range.

    Example:
        >>> from transformers import BitsAndBytesConfig
        >>> four_bits = LoadOptions(quantization_config=BitsAndBytesConfig(load_in_4bit=True))  # doctest: +SKIP
        >>> trainer = DistillationTrainer(..., teachers=["org/large"], options=four_bits)  # doctest: +SKIP
    """

    allow_pickle: bool = False
    trust_remote_code: bool = False
    max_bytes: int | None = None
    dtype: torch.dtype = torch.float32
    seed: int = 0
    timeout: float | int | None = None
    token: str | None = field(default=None, repr=False)
    zero_shot_template: str = TEMPLATE
    quantization_config: QuantizationConfigMixin | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.quantization_config, QuantizationConfigMixin | None):
            raise InvalidArgumentError(
                "`quantization_config` must be a configuration of transformers, such as BitsAndBytesConfig, got "
                f"{self.quantization_config!r}."
            )
        if self.zero_shot_template.count("{}") != 1:
            raise InvalidArgumentError(
                "`zero_shot_template` must hold {} once, where the name of a class goes, got "
                f"{self.zero_shot_template!r}. Write it as in {TEMPLATE!r}."
            )
        if self.timeout is not None and not 0 < self.timeout <= TIMEOUT_MAX:
            raise InvalidArgumentError(
                f"`timeout` must be a positive number of seconds, at most {TIMEOUT_MAX:,.0f}, got {self.timeout}. "
                "Leave it out for no limit."
            )

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

    def download_bytes(self, candidate: TeacherCandidate) -> int:
        """The number of bytes that `fetch` would download.

        Args:
            candidate: the teacher.

        Raises:
            TeacherUnavailableError: if it has a problem, or the Hub does not tell.
        """
        candidate.check_usable(allow_pickle=self.allow_pickle)
        return download_bytes(
            candidate, allow_pickle=self.allow_pickle, trust_remote_code=self.trust_remote_code, token=self.token
        )

    def prepare(
        self,
        candidate: TeacherCandidate,
        modality: Modality,
        device: torch.device | str,
        target: LabelSpace | None = None,
    ) -> Path:
        """The folder of a teacher, which has been tried in a process of its own if there is a `timeout`.

        Args:
            candidate: the teacher.
            modality: of the rows.
            device: to try it on.
            target: as in `Teacher.load`.

        Raises:
            TeacherUnavailableError: see `fetch_teacher` and `try_out`, or if it took too long or ended that process.
        """
        folder = self.fetch(candidate)
        if self.timeout is not None:
            _worker().run(self.timeout, try_out.__name__, folder, candidate, modality, str(device), self, target)
        return folder


@dataclass(frozen=True, eq=False)
class TeacherCollator:
    """A teacher's preprocessing without its model, so that the workers of a DataLoader can have it.

    Args:
        preprocessor: of the teacher.
        vocabulary: number of tokens that its model has embeddings of; None where it takes no tokens.
        modules: of a repository of sentence-transformers, with the prompt that goes before every text.
    """

    preprocessor: Preprocessor
    vocabulary: int | None = None
    modules: SentenceModules | None = None

    def __call__(self, inputs: Sequence[RowInput]) -> dict[str, Tensor]:
        """A batch of tensors on the CPU.

        Raises:
            TeacherUnavailableError: if the tokenizer gives tokens that the model does not know.
        """
        if self.modules is not None:
            inputs = [self.modules.prepare(content) for content in inputs]
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
        modules: of a repository of sentence-transformers without a head.

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
    modules: SentenceModules | None = None

    @classmethod
    def load(
        cls,
        candidate: TeacherCandidate,
        modality: Modality,
        *,
        device: torch.device | str = "cpu",
        options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
        target: LabelSpace | None = None,
    ) -> "Teacher":
        """Fetch and load a candidate: safetensors only and no remote code unless `options` say so.

        Args:
            candidate: the teacher, pinned to a revision.
            modality: of the rows; of a model for both images and texts only this encoder is loaded.
            device: of its weights.
            options: how to fetch and load.
            target: classes of the target, which a zero-shot image classifier then tells apart; None to read its image
                encoder alone.

        Raises:
            TeacherUnavailableError: gated, missing, broken, oversized, for the other modality, with weights that are
                missing or not finite, or beyond `options.timeout`.
            InvalidArgumentError: if there is no such device.
        """
        check_device(device)
        candidate.check_usable(allow_pickle=options.allow_pickle)
        folder = options.prepare(candidate, modality, device, target)
        return cls._from_folder(folder, candidate, modality, device, options, target)

    @classmethod
    def _from_folder(
        cls,
        folder: Path,
        candidate: TeacherCandidate,
        modality: Modality,
        device: torch.device | str,
        options: LoadOptions,
        target: LabelSpace | None = None,
    ) -> "Teacher":
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
                loaded = load_pretrained(
                    folder,
                    modality,
                    random_weights=candidate.random_weights,
                    allow_pickle=options.allow_pickle,
                    trust_remote_code=options.trust_remote_code,
                    dtype=options.dtype,
                    seed=options.seed,
                    device=device,
                    target=target,
                    template=options.zero_shot_template,
                    quantization_config=options.quantization_config,
                )
                model = loaded.model
                _check_input(model, modality)
                processing_class = load_processing_class(folder, modality, trust_remote_code=options.trust_remote_code)
                modules = SentenceModules.of(folder) if modality == "text" and loaded.label_space is None else None
                preprocessor = _preprocessor(processing_class, modality, model, modules)
                _require_finite(model)
                if isinstance(preprocessor.processing_class, PreTrainedTokenizerBase):
                    _set_padding_token(model, preprocessor.processing_class)
                frozen = model.requires_grad_(False).eval()
                if options.quantization_config is None or candidate.random_weights:  # others were loaded onto it
                    frozen.to(device)
        except TeacherUnavailableError:
            raise
        except CTKDError as error:
            raise TeacherUnavailableError(str(error), ProblemCode.INCOMPATIBLE) from error
        pooling = None if modules is None else modules.pooling
        reader = FeatureReader(model, trust_pooler=loaded.has_pooler, pooling=pooling)
        return cls(_described(candidate, model), preprocessor, reader, loaded.label_space, options.seed, modules)

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
        return TeacherCollator(
            self.preprocessor,
            _vocabulary(self.model) if self.preprocessor.modality == "text" else None,
            self.modules,
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


def check_device(device: torch.device | str) -> None:
    """Refuse a device that is not there, which torch would notice once the teacher is downloaded and read.

    Args:
        device: such as "cpu" or "cuda:1".

    Raises:
        InvalidArgumentError: saying what there is.
    """
    try:
        torch_device = torch.device(device)
    except RuntimeError as error:
        raise InvalidArgumentError(
            f"`device` must be such as 'cpu' or 'cuda:0', got {device!r}. Choose one."
        ) from error
    count = torch.cuda.device_count()
    if torch_device.type == "cuda" and (torch_device.index or 0) >= count:
        raise InvalidArgumentError(
            f"`device` is {str(device)!r}, but torch sees {count} CUDA devices here. Choose one of them, or 'cpu'."
        )


@cache
def _worker() -> Worker:
    """The process of all trials: starting one takes seconds."""
    return Worker(__name__)


def try_out(
    folder: Path,
    candidate: TeacherCandidate,
    modality: Modality,
    device: str,
    options: LoadOptions,
    target: LabelSpace | None = None,
) -> None:
    """Load a teacher and run it on two rows; `Teacher.load` has this done in a process that can be ended.

    Args:
        folder: where its files are.
        candidate: the teacher.
        modality: of the rows.
        device: of its weights.
        options: how to load it.
        target: as in `Teacher.load`.

    Raises:
        TeacherUnavailableError: as `Teacher.load`, or if it cannot be run.
    """
    teacher = Teacher._from_folder(folder, candidate, modality, device, options, target)
    rows: Sequence[RowInput] = _TEXTS
    if modality == "image":
        rows = [PILImage.new("RGB", (256, 256), color) for color in ("gray", "white")]
    try:
        with skipped_on_failure("cannot be run", ProblemCode.INCOMPATIBLE):
            teacher.outputs(teacher.collate(rows))
    except InvalidArgumentError as error:
        raise TeacherUnavailableError(f"cannot be run: {error}", ProblemCode.INCOMPATIBLE) from error


def _described(candidate: TeacherCandidate, model: PreTrainedModel) -> TeacherCandidate:
    """The candidate with its number of parameters, a zero-shot one also with the classes that it was given."""
    if isinstance(model, ZeroShotClassifier):
        names = LabelSpace.from_id2label(model.config.id2label).names
        candidate, model = replace(candidate, task=ZERO_SHOT, label_names=names), model.base
    return replace(candidate, parameters=sum(parameter.numel() for parameter in model.parameters()))


def _check_input(model: PreTrainedModel, modality: Modality) -> None:
    expected = "pixel_values" if modality == "image" else "input_ids"
    parameters = inspect.signature(model.forward).parameters
    # Towers of some models keep the name of another input, and Perceiver takes `inputs` by the usual name too.
    if expected not in (model.main_input_name, next(iter(parameters))) and (
        model.main_input_name != "inputs" or expected not in parameters
    ):
        raise TeacherUnavailableError(f"takes {model.main_input_name}, not {modality} rows", ProblemCode.INCOMPATIBLE)


def _preprocessor(
    processing_class: BaseImageProcessor | PreTrainedTokenizerBase,
    modality: Modality,
    model: PreTrainedModel,
    modules: SentenceModules | None,
) -> Preprocessor:
    """The preprocessing of a model, texts no longer than sentence-transformers would read them."""
    preprocessor = Preprocessor.of(processing_class, modality, model.config)
    if modules is None or modules.max_length is None:
        return preprocessor
    return replace(preprocessor, max_length=min(modules.max_length, preprocessor.max_length))


def _vocabulary(model: PreTrainedModel) -> int | None:
    """Number of tokens that a model has embeddings of; None where that is not one table, as in CANINE."""
    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else None


def _set_padding_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell a decoder which token is padding: it classifies a text by the last token before the padding."""
    # A model for images and texts has a configuration of its own for its decoder.
    for config in (model.config, model.config.get_text_config()):
        if config.to_dict().get("pad_token_id") is None:
            config.pad_token_id = tokenizer.pad_token_id


def _require_finite(model: PreTrainedModel) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if type(tensor) not in (Tensor, nn.Parameter):  # packed by a quantiser, with few operations
            continue
        # Attention masks are buffers that hold minus infinity by right.
        if torch.isnan(tensor).any() or (isinstance(tensor, nn.Parameter) and torch.isinf(tensor).any()):
            raise TeacherUnavailableError(
                f"its weights are not finite: {name!r} holds NaN or infinity", ProblemCode.NOT_FINITE
            )
