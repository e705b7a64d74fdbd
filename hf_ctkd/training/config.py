"""The arguments of a distillation run: those of `transformers.TrainingArguments`, and a few of its own."""

from dataclasses import dataclass, field

import torch
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.training.ranges import check_ranges


@dataclass
class DistillationConfig(TrainingArguments):
    """Arguments of a `DistillationTrainer`: those of `transformers.TrainingArguments`, and a few more.

    Raises:
        InvalidArgumentError: if a number is out of its range.
    """

    # None tells what the user gave from what is left open; `hf_ctkd.training.schedule` has the rule.
    num_train_epochs: float | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Epochs to train. If neither this nor --max_steps is given, chosen from the rows, the classes and "
            "whether the student is pretrained."
        },
    )
    learning_rate: float | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Peak learning rate. If not given, chosen from the size of the student and whether it is "
            "pretrained."
        },
    )
    distillation_weight: float = field(
        default=1.0,
        metadata={
            "help": "Weight of the distillation loss beside the task loss; 0 or more. It multiplies a loss's own "
            "`weight`, where it has one."
        },
    )
    labelled_row_weight: float = field(
        default=1.0,
        metadata={
            "help": "Weight of a labelled row; positive. With a loss that teaches labels, the task loss of a step is "
            "this weight times the sum over its labelled rows, divided by all its rows. The weight is at most all rows "
            "over labelled rows, which gives the usual mean over labelled rows. Other losses always use that mean."
        },
    )
    labelled_share: float = field(
        default=0.5,
        metadata={
            "help": "Beside a loss that does not teach labels, such as one of features: labelled rows are repeated "
            "until they are this share of the rows of an epoch; 0 to read every row once. From 0 to below 1."
        },
    )
    class_weights: None | str | list[float] = field(  # in the order that `HfArgumentParser` takes for text
        default=None,
        metadata={
            "help": "Factors of the task loss of a row by its class: balanced, or one positive number for each class, "
            "separated by commas. They are scaled to a mean of 1 over the labelled rows, and belong to training alone."
        },
    )
    merge_adapter: bool = field(
        default=False,
        metadata={
            "help": "Save a student that trains an adapter (LoRA of peft) as one model, which opens without peft, and "
            "not as the adapter alone. Checkpoints hold the adapter."
        },
    )
    cache_teacher_outputs: bool = field(
        default=True,
        metadata={
            "help": "Run each teacher once over the rows and keep its outputs, instead of at every step. Not possible "
            "with an augmentation or a loss that reads hidden layers: teachers then run at every step."
        },
    )
    cache_student_inputs: bool = field(
        default=False,
        metadata={
            "help": "Preprocess the training rows once and keep them in memory, instead of in every epoch: for data "
            "sets that fit. Without effect with an augmentation."
        },
    )
    cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder for cached teacher outputs, as in the selector; $HF_CTKD_CACHE or huggingface_hub's assets "
            "if not given."
        },
    )
    teacher_batch_size: int = field(
        default=64,
        metadata={"help": "Rows a forward pass of a teacher; halved by itself when they do not fit the memory."},
    )
    teacher_workers: int = field(
        default=0,
        metadata={"help": "Processes that read and preprocess rows while a teacher runs over them once; 0 for none."},
    )
    teacher_output_dtype: str = field(
        default="float32",
        metadata={
            "help": "Of cached teacher outputs: float32, or float16 for half the disk.",
            "choices": ["float32", "float16"],
        },
    )
    max_cache_bytes: int | None = field(
        default=None,
        metadata={"help": "Most bytes that the outputs of one teacher may take; half of the free disk if not given."},
    )
    resident_teachers: int | None = field(
        default=None,
        metadata={
            "help": "Most teachers on the device at a time; the others wait in the memory of the machine. All if not "
            "given."
        },
    )
    input_column: list[str] | None = field(
        default=None,
        metadata={
            "help": "Column of images or texts, or two columns of texts that are read as a pair, such as premise and "
            "hypothesis; found by types and usual names if not given."
        },
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column of labels; found by its type if not given."}
    )
    stream_rows: int = field(
        default=2000,
        metadata={
            "help": "Of a stream (`datasets.IterableDataset`), so many first rows set up the loss, such as its probes, "
            "and show the classes. They are in memory."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Texts are cut to this many tokens for the student, which must take as many. 512 if not given, or "
            "what the student takes where that is less. Teachers have their own limit."
        },
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "What the card calls the data set: its id on the Hub, if loaded from there."}
    )
    skip_bad_rows: bool = field(
        default=False,
        metadata={"help": "Leave out rows that cannot be read, and classes with one row, instead of stopping."},
    )
    metrics: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Evaluation metrics; those of the task if not given (accuracy and macro_f1 for a classifier). Any "
            "other name is loaded from the Hub."
        },
    )
    bootstrap_resamples: int = field(
        default=1000, metadata={"help": "Resamples of the evaluation rows for confidence intervals; 0 for none."}
    )

    def __post_init__(self) -> None:
        if isinstance(self.input_column, str):
            self.input_column = [self.input_column]
        check_ranges(vars(self))
        if self.teacher_output_dtype not in ("float32", "float16"):
            raise InvalidArgumentError(
                f"`teacher_output_dtype` must be float32 or float16, got {self.teacher_output_dtype!r}. Choose one."
            )
        # `Trainer` reads its own argument alone: each of several processes on the CPU would then train as if it were
        # the only one, and write over the others' files.
        self.use_cpu = self.use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
        super().__post_init__()
        # Pinned memory is for copies to an accelerator: without one torch warns of it, and ignores it.
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()
        if self.hub_private_repo is None:
            self.hub_private_repo = True  # nobody's data become public by surprise
