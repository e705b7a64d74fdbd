"""How long and how fast a student trains where the user leaves it open: one rule, in one place."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from transformers import PreTrainedModel
from transformers.utils.logging import get_logger

from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.sharded import count_parameters

logger = get_logger(__name__)

Config = TypeVar("Config", bound=DistillationConfig)

FEWEST_EPOCHS = 3
"""As `TrainingArguments` has it: what decides for large data sets."""
PRETRAINED_STEPS, RANDOM_STEPS = 400, 1000
PRETRAINED_STEPS_A_CLASS, RANDOM_STEPS_A_CLASS = 20, 50
DISTILLED_EPOCHS, DISTILLED_STEPS = 6, 3000
"""Soft targets take longer to learn than labels: six epochs of a pretrained student were better than three."""
RANDOM_RATE = 1e-3
BASE_RATE, BASE_PARAMETERS = 5e-5, 110e6
"""The usual learning rate for fine-tuning a model of the size of BERT base."""
LOWEST_RATE, HIGHEST_RATE = 1e-5, 4e-4
ADAPTER_FACTOR = 10


@dataclass(frozen=True)
class Start:
    """What the rule reads of a run.

    Args:
        rows: rows that an epoch reads.
        step_rows: rows of an optimiser step, over all processes.
        classes: outputs of the student: classes, or numbers that it estimates.
        parameters: of the student.
        pretrained: whether its weights come from training; see `is_pretrained`.
        adapter: whether only the weights of an adapter are trained.
        distils: whether the student also learns from a distillation loss.
    """

    rows: int
    step_rows: int
    classes: int
    parameters: int
    pretrained: bool
    adapter: bool = False
    distils: bool = False


def choose_epochs(start: Start) -> int:
    """Epochs for a student whose user gives neither `num_train_epochs` nor `max_steps`.

    Adam moves a weight by about the learning rate in a step. So steps teach, not epochs: a few tens of them leave any
    student where it was, and 100 rows in batches of 8 give 13 an epoch. A pretrained student gets at least 400 steps
    and 20 a class; one with random weights has its features to learn as well, and gets 1,000 and 50 a class. Three
    epochs are the least, which decides from a few thousand rows on, and six for a pretrained student that is distilled,
    as long as these are at most 3,000 steps (`python -m benchmarks.schedule`).

    Args:
        start: of the run.
    """
    least, a_class = (
        (PRETRAINED_STEPS, PRETRAINED_STEPS_A_CLASS) if start.pretrained else (RANDOM_STEPS, RANDOM_STEPS_A_CLASS)
    )
    steps_an_epoch = math.ceil(start.rows / start.step_rows)
    epochs = max(FEWEST_EPOCHS, math.ceil(max(least, a_class * start.classes) / steps_an_epoch))
    if start.pretrained and start.distils:
        return max(epochs, min(DISTILLED_EPOCHS, DISTILLED_STEPS // steps_an_epoch))
    return epochs


def choose_learning_rate(start: Start) -> float:
    """Peak learning rate for a student whose user gives none.

    Random weights are far from where they are to go, and small students take large steps well: 1e-3 is Adam's own
    default. Pretrained weights are to be kept largely, and the larger a model, the smaller the steps it takes: 5e-5 at
    110 million parameters, in inverse proportion to the size, between 1e-5 and 4e-4. An adapter starts from nothing
    beside frozen weights and takes ten times that, up to 1e-3.

    Args:
        start: of the run.
    """
    if not start.pretrained:
        return RANDOM_RATE
    rate = BASE_RATE * BASE_PARAMETERS / max(1, start.parameters)
    rate = min(HIGHEST_RATE, max(LOWEST_RATE, rate))
    rate = min(RANDOM_RATE, ADAPTER_FACTOR * rate) if start.adapter else rate
    return float(f"{rate:.1e}")  # a figure for people, who read it in the log and on the card


def is_pretrained(student: PreTrainedModel) -> bool:
    """Whether a student's weights come from training.

    The scales of its norms tell: every architecture starts them at one constant, and training moves them apart. The
    name in the configuration tells less, as a model made from the configuration of a checkpoint has it too. It decides
    for a model without norms.

    Args:
        student: the model, before training.
    """
    scales = [p for name, p in student.named_parameters() if p.ndim == 1 and name.endswith(".weight") and len(p) > 1]
    if scales:
        return any(bool((scale != scale[0]).any()) for scale in scales)
    return bool(student.config.name_or_path)


def with_schedule(
    args: Config,
    rows: int | None,
    student: PreTrainedModel,
    *,
    classes: int,
    adapter: bool = False,
    distils: bool = False,
) -> tuple[Config, tuple[str, ...]]:
    """A copy of the arguments with number of epochs and learning rate, and the names of those that were chosen.

    What the user gave stays: in a `DistillationConfig`, None stands for "not given". One line in the log says what was
    chosen, and from what.

    Args:
        args: of the run.
        rows: that an epoch reads; without any, the values that `TrainingArguments` has are set.
        student: the model, before training.
        classes: outputs of the student.
        adapter: whether only the weights of an adapter are trained.
        distils: whether the student also learns from a distillation loss.
    """
    resolved = copy.copy(args)
    resolved.num_train_epochs = FEWEST_EPOCHS if args.num_train_epochs is None else args.num_train_epochs
    resolved.learning_rate = BASE_RATE if args.learning_rate is None else args.learning_rate
    epochs_open = args.num_train_epochs is None and args.max_steps <= 0
    if rows is None or not (epochs_open or args.learning_rate is None):
        return resolved, ()
    step_rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    parameters = count_parameters(student)
    start = Start(rows, step_rows, classes, parameters, is_pretrained(student), adapter, distils)
    chosen: dict[str, str] = {}
    if epochs_open:
        epochs = choose_epochs(start)
        resolved.num_train_epochs = epochs
        chosen["num_train_epochs"] = f"{epochs} ({epochs * math.ceil(rows / step_rows):,} steps)"
    if args.learning_rate is None:
        resolved.learning_rate = choose_learning_rate(start)
        chosen["learning_rate"] = f"{resolved.learning_rate:g}"
    _log(start, chosen)
    return resolved, tuple(chosen)


def reopened(args: Config, chosen: tuple[str, ...]) -> Config:
    """A copy of the arguments without what `with_schedule` chose, so that it can choose again, for other rows.

    Args:
        args: with epochs and learning rate.
        chosen: names of those that the user left open.
    """
    again = copy.copy(args)
    again.num_train_epochs = None if "num_train_epochs" in chosen else args.num_train_epochs
    again.learning_rate = None if "learning_rate" in chosen else args.learning_rate
    return again


def _log(start: Start, chosen: Mapping[str, str]) -> None:
    values = " and ".join(f"`{name}` {value}" for name, value in chosen.items())
    weights = "an adapter of pretrained" if start.adapter else "pretrained" if start.pretrained else "random"
    logger.warning(
        f"Chosen for {start.rows:,} rows, {start.classes} outputs and a student of {start.parameters:,} parameters "
        f"with {weights} weights: {values}. Pass your own values to train otherwise."
    )
