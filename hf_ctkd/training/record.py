"""From a trained student to the record that its card is rendered from."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import datasets
import torch
from torch import Tensor
from transformers.utils.logging import get_logger

from hf_ctkd._version import __version__
from hf_ctkd.cards.metadata import is_repo_id
from hf_ctkd.data import Preprocessor, TargetRows
from hf_ctkd.hub.timm import is_timm
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.records import (
    NO_LOSS,
    Confidence,
    DistillationRecord,
    LossRecord,
    Reliability,
    StudentRecord,
    TaskRecord,
    TaskWords,
    TeacherRanking,
    TeacherRecord,
    TransportMap,
    last_name,
)
from hf_ctkd.tasks import StudentTask, adapter_words, timm_words
from hf_ctkd.tasks.evaluation import rows_per_second
from hf_ctkd.tasks.examples import example_of_pair
from hf_ctkd.teachers import Teacher
from hf_ctkd.training.collator import RowDataset
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.labelled_rows import has_part, why_unused
from hf_ctkd.training.outcome import LossEnds
from hf_ctkd.training.sharded import count_parameters, is_sharded
from hf_ctkd.training.student_with_loss import StudentWithLoss
from hf_ctkd.training.task_loss import TaskLoss
from hf_ctkd.training.teacher_runner import TeacherRunner
from hf_ctkd.types import LossContext, ModelOutputs

logger = get_logger(__name__)

RECORD_FILE = "distillation.json"
RANKING_FILE = "ranking.json"
OLD_RANKING_FILE = "ranking.old.json"
_TIMED_ROWS = 32
_LARGEST_MAP = 200_000
"""Most cells of a transport map in a record, which it makes 4 MB large."""
_PACKAGES = ("torch", "transformers", "datasets", "accelerate")
_ARGUMENTS = (
    "seed",
    "learning_rate",
    "weight_decay",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "warmup_steps",
    "label_smoothing_factor",
    "distillation_weight",
    "labelled_row_weight",
    "labelled_share",
)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run, as `summarise` reads it.

    Args:
        student_with_loss: the student with its loss.
        outputs: gives the outputs of the student, in the precision of the run.
        args: arguments of the run.
        teacher_runner: the teachers and their cached outputs.
        rows: rows trained on, or evaluated on when there was no training.
        preprocessor: the student's.
        eval_rows: number of rows evaluated on.
        eval_split: name of their split.
        steps: optimiser steps taken.
        epochs: passes over the training rows that they made.
        seconds: of training, since it was resumed.
        processes: that trained together.
        license: licence of the checkpoint that the student started from, if any.
        distils: whether the loss had a part; not where it has no strength.
        chosen: names of arguments that the user left open.
        loss_ends: the training loss at the start and at the end, where both are known.
        majority_share: share of the most frequent class among the rows evaluated on; None without classes of rows.
        eval_rows_in_training: evaluation rows whose input is also that of a training row; None without both.
        context: what the loss was set up with; None where nothing was trained.
        rows_seen: of a stream, the rows that were trained on, repetitions included, and those of them with a label.
        resumed_at: the step after which training went on from a checkpoint; 0 if it did not.
    """

    student_with_loss: StudentWithLoss
    outputs: Callable[[Mapping[str, Tensor]], ModelOutputs]
    args: DistillationConfig
    teacher_runner: TeacherRunner
    rows: TargetRows
    preprocessor: Preprocessor
    eval_rows: int
    eval_split: str
    steps: int
    epochs: float
    seconds: float
    processes: int
    license: str | None = None
    majority_share: float | None = None
    eval_rows_in_training: int | None = None
    context: LossContext | None = None
    resumed_at: int = 0
    distils: bool = True
    rows_seen: Sequence[int] | None = None
    chosen: tuple[str, ...] = ()
    loss_ends: LossEnds | None = None


def summarise(
    run: Run,
    *,
    results: Mapping[str, Confidence],
    baseline: Mapping[str, Confidence],
    gain: Mapping[str, Confidence],
    reliability: Reliability | None,
    command: str,
) -> DistillationRecord:
    """The record of a run; measures the speed of the student and its teachers on the run's device.

    Args:
        run: the finished run.
        results: metrics of the student.
        baseline: metrics of the same student without distillation, if there was one.
        gain: the former minus the latter, with intervals over the rows that both were evaluated on.
        reliability: of the student's probabilities; None where it has none.
        command: what to run to make it again.
    """
    rows, args, kind = run.rows, run.args, run.student_with_loss.task
    loss = run.student_with_loss.loss if run.distils else None
    values = args.to_dict()
    adapter = None if args.merge_adapter else run.student_with_loss.adapter
    return DistillationRecord(
        task=TaskRecord(
            dataset=_without_path(args.dataset_name or rows.dataset.info.dataset_name)
            or "a data set of the user's own",
            hub_dataset=_hub_dataset(args.dataset_name, rows.dataset),
            fingerprint=kind.fingerprint(rows),
            task=kind.tag(rows.modality),
            input_column=", ".join(rows.input_columns),
            label_column=rows.label_column,
            label_names=kind.label_names(rows),
            train_rows=len(rows) if run.rows_seen is None else run.rows_seen[0],
            labelled_rows=len(kind.rows_with_label(rows)) if run.rows_seen is None else run.rows_seen[1],
            eval_rows=run.eval_rows,
            eval_split=run.eval_split,
            majority_share=run.majority_share,
            problem_type=kind.problem_type,
            words=_words(kind, run) if adapter is None else adapter_words(_words(kind, run)),
            modality=rows.modality,
            auto_class=kind.auto_class(rows.modality).__name__,
            eval_rows_in_training=run.eval_rows_in_training,
        ),
        student=_student(run),
        teachers=_teachers(run) if run.distils else (),
        loss=_loss(loss, (*_unused(run), *run.teacher_runner.finite.remarks)),
        results=results,
        baseline=baseline,
        gain=gain,
        training={
            **{name: values[name] for name in _ARGUMENTS if name not in _without_effect(loss)},
            **_chosen(run.chosen),
            **({} if adapter is None else {"adapter": adapter.kind}),
            **_task_loss(run.student_with_loss.task_loss),
            "steps": run.steps,
            "epochs": round(run.epochs, 2),
            **_loss_ends(run.loss_ends),
            **_seconds(run),
            "processes": run.processes,
            "bootstrap_resamples": args.bootstrap_resamples,
            **({} if rows.modality == "image" else {"max_length": run.preprocessor.max_length}),
            **_passes(run.teacher_runner),
        },
        command=command,
        versions={
            "python": platform.python_version(),
            "hf_ctkd": __version__,
            **{name: version(name) for name in _PACKAGES},
        },
        transport_map=_transport_map(run, loss),
        reliability=reliability,
    )


def write_records(
    folder: Path, record: DistillationRecord, ranking: TeacherRanking | None
) -> tuple[DistillationRecord, TeacherRanking | None]:
    """Write the records of a student into its folder, and return what is in the files.

    Args:
        folder: of the student.
        record: how it was made.
        ranking: the selection that led to its teachers; None without one.
    """
    ranking = None if ranking is None else ranking.without_paths()
    record.save(folder / RECORD_FILE)
    path = folder / RANKING_FILE
    if ranking is not None:
        ranking.save(path)
    elif path.exists():  # of an earlier student: the card would present it as the selection of this one's teachers
        os.replace(path, folder / OLD_RANKING_FILE)
    return record, ranking


def evaluated_on(dataset: object) -> tuple[int, str]:
    """Number of rows of an evaluation, and the name of their split.

    Args:
        dataset: of the trainer: one, a dict of them, or None.
    """
    if isinstance(dataset, dict):
        return sum(len(rows) for rows in dataset.values()), " and ".join(dataset)
    if not isinstance(dataset, RowDataset):
        return 0, "test"
    split = dataset.rows.dataset.split
    return len(dataset), "test" if split is None else str(split)


def majority_share(dataset: object) -> float | None:
    """Share of the most frequent class among the labelled evaluation rows; None where rows have no class ids.

    Args:
        dataset: of the trainer, as in `evaluated_on`.
    """
    if not isinstance(dataset, RowDataset) or dataset.task.loss_labels != "class":
        return None
    labels = dataset.rows.labels[dataset.rows.labelled]
    return float(torch.bincount(labels).max()) / len(labels) if len(labels) else None


def _words(kind: StudentTask, run: Run) -> TaskWords:
    words = kind.words(run.rows.modality)
    if is_timm(run.student_with_loss.student.config.to_dict()):
        return timm_words(words)
    return words if len(run.rows.input_columns) == 1 else replace(words, example=example_of_pair(words.example))


def rows_in_training(evaluation: object, train: object) -> int | None:
    """How many evaluation rows have the input of a training row; None without rows of both.

    Args:
        evaluation: data set of the trainer, as in `evaluated_on`.
        train: data set of the trainer, or None.
    """
    sets = evaluation.values() if isinstance(evaluation, dict) else [evaluation]
    evaluated = [dataset.rows for dataset in sets if isinstance(dataset, RowDataset)]
    if not evaluated or not isinstance(train, RowDataset):
        return None
    digests = set(train.rows.digests)
    return sum(digest in digests for rows in evaluated for digest in rows.digests)


def _hub_dataset(name: str | None, dataset: datasets.Dataset) -> str | None:
    """The id of the data set on the Hub that the rows were loaded from; what other rows are called is no such id."""
    if not name or not is_repo_id(name):
        return None
    folders = {folder for file in dataset.cache_files for folder in Path(file["filename"]).parts}
    return name if any(_is_cache_of(folder, name) for folder in folders) else None


def _is_cache_of(folder: str, repo_id: str) -> bool:
    """Whether a folder of the cache of `datasets` holds a data set of the Hub."""
    # `owner___name`, the name in lower case and with underscores; data of this machine have their name alone.
    owner, _, name = folder.partition("___")
    expected_owner, _, expected = repo_id.partition("/")
    return owner == expected_owner and name.replace("_", "") == expected.replace("_", "").lower()


def _loss(loss: DistillationLoss | None, remarks: tuple[str, ...]) -> LossRecord:
    if loss is None:
        return LossRecord(NO_LOSS, {}, "", remarks=remarks)
    return LossRecord(
        name=loss.name,
        settings=loss.settings(),
        citation=loss.citation,
        input_share=round(loss.input_share(), 3),
        remarks=(*loss.remarks(), *remarks),
        weight_meaning=loss.weight_meaning if loss.weights() else "",
    )


def _unused(run: Run) -> tuple[str, ...]:
    """A sentence on teachers that were given and had no part in training; nothing where there were none."""
    loss, teachers = run.student_with_loss.loss, run.teacher_runner.teachers
    if loss is None or not teachers or has_part(loss, run.args):
        return ()
    names = ", ".join(teacher.candidate.name for teacher in teachers)
    return (f"{why_unused(loss, run.args)}. So the model was trained on the labels alone, and not by {names}.",)


def _seconds(run: Run) -> dict[str, float]:
    """How long training took; the time before it was resumed is not known."""
    seconds = round(run.seconds, 1)
    return {"resumed_at_step": run.resumed_at, "seconds_since": seconds} if run.resumed_at else {"seconds": seconds}


def _chosen(names: tuple[str, ...]) -> dict[str, str]:
    """Which arguments followed from the rows and the student, as the user gave none."""
    return {"chosen_by_default": ", ".join(names)} if names else {}


def _task_loss(task_loss: TaskLoss) -> dict[str, object]:
    """How the task loss departs from the task's own."""
    if task_loss.compute_loss_func is not None:
        return {"task_loss": "a function of the user's own"}
    weights = task_loss.class_weights
    return {} if weights is None else {"class_weights": [_rounded(weight) for weight in weights.tolist()]}


def _loss_ends(ends: LossEnds | None) -> dict[str, float | bool]:
    """The training loss at both ends, and whether it fell, as the card's limitations read it."""
    if ends is None:
        return {}
    return {"first_loss": _rounded(ends.first), "last_loss": _rounded(ends.last), "loss_fell": ends.fell}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _passes(teacher_runner: TeacherRunner) -> dict[str, float]:
    """Which share of the teachers' passes a loss did without, where it chose."""
    passes = teacher_runner.passes
    return {"teacher_passes_skipped": round(passes.skipped / passes.offered, 3)} if passes.skipped else {}


def _student(run: Run) -> StudentRecord:
    student = run.student_with_loss.student
    return StudentRecord(
        architecture=type(student).__name__,
        parameters=count_parameters(student),
        base_model=_without_path(student.config.name_or_path),
        rows_per_second=None if is_sharded() else _student_speed(run),
        device=str(run.args.device),
        batch_size=min(_TIMED_ROWS, len(run.rows)),
        license=run.license,
    )


def _student_speed(run: Run) -> float:
    training = run.student_with_loss.training
    run.student_with_loss.eval()
    batch = {name: tensor.to(run.args.device) for name, tensor in run.preprocessor(_timed_inputs(run.rows)).items()}
    speed = rows_per_second(run.outputs, batch)
    run.student_with_loss.train(training)
    return speed


def _without_path(name: str | None) -> str | None:
    """An id on the Hub or a description unchanged; of a folder or file of this machine the last name; None for none."""
    if not name:
        return None
    return Path(name).resolve().name if Path(name).exists() else last_name(name)


def _teachers(run: Run) -> tuple[TeacherRecord, ...]:
    loss = run.student_with_loss.loss
    weights, accuracies = ((), ()) if loss is None else (loss.weights(), loss.probe_accuracies())
    return tuple(
        TeacherRecord(
            candidate=teacher.candidate.without_path(),
            weight=weights[index] if index < len(weights) else None,
            rows_per_second=_teacher_speed(run.teacher_runner.ready(index), run.rows),
            probe_accuracy=accuracies[index] if index < len(accuracies) else None,
        )
        for index, teacher in enumerate(run.teacher_runner.teachers)
    )


def _teacher_speed(teacher: Teacher, rows: TargetRows) -> float:
    batch = {name: tensor.to(teacher.device) for name, tensor in teacher.collate(_timed_inputs(rows)).items()}
    return rows_per_second(teacher.outputs, batch)


def _timed_inputs(rows: TargetRows) -> list:
    return rows.inputs(range(min(_TIMED_ROWS, len(rows))))


def _transport_map(run: Run, loss: DistillationLoss | None) -> TransportMap | None:
    """How the loss that was trained takes the classes of the first teacher to the target's; None where it does not."""
    if loss is None or run.context is None:
        return None
    mass = loss.transport_map(run.context)
    teacher = run.teacher_runner.teachers[0] if run.teacher_runner.teachers else None
    if mass is None or teacher is None or teacher.label_space is None:
        return None
    if mass.numel() > _LARGEST_MAP:
        logger.warning(f"The record has no transport map: {' by '.join(map(str, mass.shape))} classes are too many.")
        return None
    return TransportMap(
        teacher=teacher.candidate.name,
        teacher_labels=teacher.label_space.names,
        target_labels=run.context.label_space.names,
        mass=tuple(tuple(round(value, 8) for value in row) for row in mass.tolist()),
        meaning=loss.transport_meaning,
    )


def _without_effect(loss: DistillationLoss | None) -> set[str]:
    """Arguments about labelled rows that had no effect beside this loss."""
    if loss is None:
        return {"labelled_row_weight", "labelled_share"}
    return {"labelled_share" if loss.teaches_labels else "labelled_row_weight"}
