"""The rows that a command trains on and those that it evaluates on, which are never the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset, NamedSplit
from transformers.utils.logging import get_logger

from hf_ctkd.cli.arguments import DistillArguments, GenericTeacherArguments, HoldOutArguments, SelectArguments
from hf_ctkd.cli.datasets import Rows
from hf_ctkd.data import TargetRows
from hf_ctkd.data.splits import held_out_rows, require_no_overlap
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import HELD_OUT
from hf_ctkd.tasks import StudentTask, task_of
from hf_ctkd.training import DistillationConfig

logger = get_logger(__name__)

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
    _check_share(arguments)
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


def rows_to_rank_on(arguments: SelectArguments) -> Dataset:
    """The rows that teachers are ranked on: all but those that `distill` is going to hold out for evaluation.

    Args:
        arguments: which rows; with the same ones and the same seed `distill` trains on what is ranked on.

    Raises:
        DatasetError: if the rows cannot be used.
        InvalidArgumentError: if the share to hold out is out of range.
    """
    _check_share(arguments)
    source = Rows.of(arguments, seed=arguments.seed)
    if arguments.eval_split is not None:
        source.require_split(arguments.eval_split, "--eval_split")
    dataset = source.load(arguments.split, label_column=arguments.label_column)
    if arguments.train_val_split == 0 or (arguments.eval_split or source.evaluation_split(arguments.split)) is not None:
        return dataset
    rows = TargetRows.of(
        dataset,
        input_column=arguments.input_column,
        label_column=arguments.label_column,
        skip_bad_rows=arguments.skip_bad_rows,
    )
    labelled = rows.labelled.tolist()
    chosen = held_out_rows(rows, labelled, share=arguments.train_val_split, seed=arguments.seed, stratify=True)
    if not chosen:
        return dataset
    logger.warning(
        f"{len(chosen)} of {len(labelled)} labelled rows of {arguments.split}, which `distill` holds out for "
        f"evaluation (the same share of every class, seed {arguments.seed}), are left out of the ranking. "
        "`--eval_split` names other rows, `--train_val_split 0` leaves out none."
    )
    return _parts(dataset, rows, chosen)[0]


def _check_share(arguments: HoldOutArguments) -> None:
    if not 0 <= arguments.train_val_split <= _LARGEST_SHARE:
        raise InvalidArgumentError(
            f"`--train_val_split` must lie between 0 and {_LARGEST_SHARE}, got {arguments.train_val_split}. It is the "
            "share of the labelled rows that is held out for evaluation."
        )


def _parts(dataset: Dataset, rows: TargetRows, chosen: Sequence[int]) -> tuple[Dataset, Dataset]:
    """The raw rows without those that are held out, and the latter."""
    held_out = {int(rows.origin[row]) for row in chosen}
    rest = dataset.select([row for row in range(len(dataset)) if row not in held_out])
    return rest, dataset.select(sorted(held_out)).flatten_indices(keep_in_memory=True)


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
    rest, evaluation = _parts(data.train, rows, chosen)
    # Records name the split that was evaluated on, which is not that of the training rows.
    evaluation = Dataset(evaluation.data, info=evaluation.info.copy(), split=NamedSplit(HELD_OUT))
    return Data(task, task.rows(rest, config), rest, evaluation)
