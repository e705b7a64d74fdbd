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

    The help of each added argument is in its field; `hf-ctkd distill --help` prints it. With neither epochs, steps nor
    a learning rate given, the trainer chooses them and says so in the log.

    Raises:
        InvalidArgumentError: if a number is out of its range, or a choice is none of those listed.

    Example:
        >>> from hf_ctkd import DistillationConfig
        >>> args = DistillationConfig("flowers-student", num_train_epochs=20, teacher_output_dtype="float16")
        >>> args.distillation_weight, args.teacher_batch_size
        (1.0, 64)
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
    # `TrainingArguments` declares it as `str | list[str] | None`, of which its parser makes one word of a command line.
    report_to: str | list[str] = field(  # type: ignore[assignment]
        default_factory=lambda: ["none"],
        metadata={
            "help": "Trackers that receive every term of the loss and each teacher's weight, such as tensorboard, "
            "wandb and trackio, one or several; all for those that are installed. None if not given."
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
            "help": "Weight of a labelled row in the task loss; positive. Beside a loss that teaches labels, the task "
            "loss of a step is this weight times the sum over its labelled rows, divided by the number of all its "
            "rows. The weight is capped at the number of training rows over that of labelled ones, at which the task "
            "loss is a mean over labelled rows. Beside other losses it always is that mean."
        },
    )
    labelled_share: float = field(
        default=0.5,
        metadata={
            "help": "Beside a loss that does not teach labels, such as one of features, labelled rows are repeated "
            "until they are this share of the rows of an epoch; 0 reads every row once. From 0 to below 1."
        },
    )
    class_weights: None | str | list[float] = field(  # in the order that `HfArgumentParser` takes for text
        default=None,
        metadata={
            "help": "Factors of the task loss of a row by its class: balanced, or one positive number for each class, "
            "separated by commas. They are scaled to a mean of 1 over the labelled rows, and are used in training only."
        },
    )
    merge_adapter: bool = field(
        default=False,
        metadata={
            "help": "Merge the adapter (LoRA of peft) of a student into its weights when the student is saved, so that "
            "it opens without peft. Checkpoints still hold the adapter alone."
        },
    )
    cache_teacher_outputs: bool = field(
        default=True,
        metadata={
            "help": "Run each teacher once over the rows and cache its outputs, instead of at every step. With an "
            "augmentation, a stream, or a loss that reads hidden layers, teachers run at every step all the same."
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
        metadata={"help": "Rows in a forward pass of a teacher; halved automatically when they do not fit in memory."},
    )
    teacher_workers: int = field(
        default=0,
        metadata={"help": "Worker processes that read and preprocess rows for a teacher's run over them; 0 for none."},
    )
    teacher_layers: int = field(
        default=4,  # as in `compute_outputs`
        metadata={
            "help": "Most layers of a teacher, or of a student that also teaches itself, that a loss reads and the "
            "cache keeps, evenly spaced up to the last; 1 for the last layer alone, which takes the least space."
        },
    )
    teacher_output_dtype: str = field(
        default="float32",
        metadata={
            "help": "Type of cached teacher outputs: float32, or float16 for half the disk space.",
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
            "help": "Most teachers on the device at a time; the others are offloaded to the memory of the machine. All "
            "if not given."
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
            "help": "Number of first rows of a stream (`datasets.IterableDataset`) that set up the loss, such as its "
            "probes, and show the classes. They are held in memory."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Texts are truncated to this many tokens for the student, at most as many as it takes. 512 if not "
            "given, or the most that the student takes if that is less. Teachers have limits of their own."
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
