"""The rows that a command trains on and those that it evaluates on, which are never the same."""

from dataclasses import dataclass

from datasets import Dataset, NamedSplit
from transformers.utils.logging import get_logger

from hf_ctkd.cli.arguments import DistillArguments, GenericTeacherArguments
from hf_ctkd.cli.datasets import Rows
from hf_ctkd.data import TargetRows
from hf_ctkd.data.splits import held_out_rows, require_no_overlap
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.tasks import StudentTask, task_of
from hf_ctkd.training import DistillationConfig

logger = get_logger(__name__)

HELD_OUT = "heldout"
"""What records call the split that was held out of the training rows."""
_LARGEST_SHARE = 0.5


@dataclass(frozen=True)
class Data:
    """What is trained and evaluated on.

    Args:
        task: what the student is for.
        rows: the training rows, checked.
        train: the same, raw.
        evaluation: raw rows, None without any.
    """

    task: StudentTask
    rows: TargetRows
    train: Dataset
    evaluation: Dataset | None


def load_data(
    arguments: DistillArguments | GenericTeacherArguments, config: DistillationConfig, task: StudentTask | None = None
) -> Data:
    """The training rows of a command, and its evaluation rows: a split of their own, or a part that is held out.

    Args:
        arguments: which rows.
        config: of the run: columns and seed.
        task: what the student is for; found from the labels when None.

    Raises:
        DatasetError: if the rows cannot be used, or an evaluation row is a training row too.
        InvalidArgumentError: if the share to hold out is out of range.
    """
    if not 0 <= arguments.train_val_split <= _LARGEST_SHARE:
        raise InvalidArgumentError(
            f"`--train_val_split` must lie between 0 and {_LARGEST_SHARE}, got {arguments.train_val_split}. It is the "
            "share of the labelled rows that is held out for evaluation."
        )
    source = Rows.of(arguments, seed=config.seed)
    train = source.load(arguments.split, label_column=config.label_column)
    task = task or task_of(None, dataset=train, label_column=config.label_column)
    rows = task.rows(train, config)
    name = arguments.eval_split or source.evaluation_split(arguments.split)
    if name is None:
        return _held_out(Data(task, rows, train, None), arguments, config)
    evaluation = source.load(name, label_column=config.label_column)
    if not arguments.allow_overlap:
        require_no_overlap(
            rows,
            task.rows(evaluation, config, like=rows, evaluation=True),
            f"Results on these would be too good: take them out of {arguments.split} or {name}, or pass "
            "`--allow_overlap`.",
        )
    return Data(task, rows, train, evaluation)


def _held_out(data: Data, arguments: DistillArguments | GenericTeacherArguments, config: DistillationConfig) -> Data:
    """The same rows, of which a part is to be evaluated on where there are enough labels."""
    share, task, rows = arguments.train_val_split, data.task, data.rows
    if share == 0:
        return data
    labelled = task.rows_with_label(rows)
    stratify = task.loss_labels == "class"
    chosen = held_out_rows(rows, labelled, share=share, seed=config.seed, stratify=stratify)
    if not chosen:
        logger.warning(
            f"No rows are held out for evaluation: {len(labelled)} labelled rows are too few to spare any. Name some "
            "with `--eval_split`."
        )
        return data
    how = "the same share of every class, " if stratify else ""
    logger.warning(
        f"{len(chosen)} of {len(labelled)} labelled rows of {arguments.split} are held out for evaluation ({how}seed "
        f"{config.seed}). `--eval_split` names other rows, `--train_val_split 0` holds out none."
    )
    chosen_rows = {int(rows.origin[row]) for row in chosen}
    rest = data.train.select([row for row in range(len(data.train)) if row not in chosen_rows])
    evaluation = data.train.select(sorted(chosen_rows)).flatten_indices(keep_in_memory=True)
    # Records name the split that was evaluated on, which is not that of the training rows.
    evaluation = Dataset(evaluation.data, info=evaluation.info.copy(), split=NamedSplit(HELD_OUT))
    return Data(task, task.rows(rest, config), rest, evaluation)
