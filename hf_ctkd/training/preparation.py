"""Checks before training starts, so that nothing is found out half an hour into it."""

from collections.abc import Mapping

import datasets
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import LossContext
from hf_ctkd.teachers import Preprocessor, TargetRows
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.data import Augmentation
from hf_ctkd.training.guidance import Guidance
from hf_ctkd.training.trainee import Trainee
from hf_ctkd.types import LabelSpace, ModelOutputs

_FIRST_ROWS = 4


def train_rows(dataset: datasets.Dataset | None, args: DistillationConfig) -> TargetRows | None:
    """The training rows, checked.

    Raises:
        DatasetError: if they cannot be used.
    """
    if dataset is None:
        return None
    return TargetRows.of(
        dataset,
        input_column=args.input_column,
        label_column=args.label_column,
        skip_bad_rows=args.skip_bad_rows,
    )


def eval_rows(
    dataset: datasets.Dataset | Mapping[str, datasets.Dataset] | None,
    args: DistillationConfig,
    train: TargetRows | None,
) -> dict[str, TargetRows]:
    """The evaluation rows by name; a single data set has the empty name.

    Raises:
        DatasetError: if they cannot be used, or their classes are not those of the training rows.
    """
    given = {} if dataset is None else dict(dataset) if isinstance(dataset, dict) else {"": dataset}
    found = {}
    for name, split in given.items():
        rows = TargetRows.of(
            split,
            input_column=args.input_column if train is None else train.input_column,
            label_column=args.label_column if train is None else train.label_column,
            skip_bad_rows=args.skip_bad_rows,
            evaluation=True,
        )
        if (
            train is not None
            and rows.label_space != train.label_space
            and len(rows.label_space) > len(train.label_space)
        ):
            raise DatasetError(
                f"`eval_dataset` {name} must have the classes of `train_dataset`: {_listed(train.label_space)}, "
                f"got {_listed(rows.label_space)}."
            )
        if train is not None and rows.label_space != train.label_space and _both_named(rows, train):
            raise DatasetError(
                f"`eval_dataset` {name} must name its classes as `train_dataset` does, in the same order: "
                f"{_listed(train.label_space)}, got {_listed(rows.label_space)}."
            )
        found[name] = rows
    return found


def check_student(trainee: Trainee, view: Preprocessor, rows: TargetRows, device: torch.device) -> ModelOutputs:
    """Run the student on a few rows, compare its classes with the data's, and give it their names if it has none.

    Raises:
        InvalidArgumentError: no head, another number of classes, or the same classes in another order.
    """
    training = trainee.training
    trainee.eval()
    batch = {name: tensor.to(device) for name, tensor in view(rows.inputs(range(min(_FIRST_ROWS, len(rows))))).items()}
    with torch.no_grad():
        first = trainee.outputs(batch)
    trainee.train(training)
    if first.logits is None:
        raise InvalidArgumentError(
            f"`model` {type(trainee.student).__name__} has no classification head. Load it with an "
            f"AutoModelFor... class."
        )
    wanted = rows.label_space
    if first.logits.shape[1] != len(wanted):
        raise InvalidArgumentError(
            f"`model` must have {len(wanted)} classes as the data set has, got {first.logits.shape[1]}. "
            f"Load it with `num_labels={len(wanted)}, ignore_mismatched_sizes=True`."
        )
    config = trainee.student.config
    named = LabelSpace.from_id2label(config.id2label)
    if named.informative and wanted.informative and named != wanted:
        raise InvalidArgumentError(
            f"`model` calls its classes {_listed(named)}, the data set {_listed(wanted)}. "
            "Set `id2label` and `label2id` of the model to the data set's names, in its order."
        )
    if not named.informative:
        config.id2label = dict(enumerate(wanted.names))
        config.label2id = {name: index for index, name in enumerate(wanted.names)}
    return first


def computed_once(args: DistillationConfig, augmentation: Augmentation | None, hidden: tuple[int, ...]) -> bool:
    """Whether teachers run once over all rows, or at every step: rows that change and hidden layers are not kept."""
    return args.cache_teacher_outputs and augmentation is None and not hidden


def loss_context(rows: TargetRows, student: ModelOutputs, guidance: Guidance, *, seed: int) -> LossContext:
    """What the loss is told: all outputs of the teachers where they were computed, those of a few rows otherwise."""
    first = rows.inputs(range(min(_FIRST_ROWS, len(rows))))
    outputs = guidance.kept or tuple(
        teacher.outputs(teacher.collate(first), guidance.hidden, layers=guidance.layers).to("cpu")
        for teacher in guidance.teachers
    )
    return LossContext(
        labels=rows.labels,
        label_space=rows.label_space,
        student=student.to("cpu"),
        teachers=outputs,
        teacher_label_spaces=tuple(teacher.label_space for teacher in guidance.teachers),
        seed=seed,
    )


def _both_named(one: TargetRows, other: TargetRows) -> bool:
    return one.label_space.informative and other.label_space.informative


def _listed(space: LabelSpace) -> str:
    shown = ", ".join(space.names[:6])
    return f"{len(space)} ({shown}{', ...' if len(space) > 6 else ''})"
