"""Soft targets for other trainers: the targets of the default loss as a column of the data set."""

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import torch
import transformers
from accelerate import Accelerator
from datasets import Dataset, Image, List, Value
from datasets.table import embed_table_storage
from jaxtyping import Float
from torch import Tensor
from transformers.utils.logging import get_logger

from hf_ctkd._version import __version__
from hf_ctkd.cards.soft_targets import SoftTargetsRecord, soft_targets_card
from hf_ctkd.data import InputFeatureReader, TargetRows
from hf_ctkd.data.rows import require_rows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import push_folder
from hf_ctkd.losses import DistillationLoss, RowTransportLoss
from hf_ctkd.records import LossRecord, TeacherCandidate, TeacherRecord, default_cache, last_name, write_text
from hf_ctkd.teachers import LoadOptions, Teacher
from hf_ctkd.teachers.output_checks import MOST_NOT_FINITE
from hf_ctkd.training.finite_rows import FiniteRows
from hf_ctkd.training.teacher_runner import TeacherLike, TeacherRunner, load_teachers
from hf_ctkd.types import LossContext, ModelOutputs, Needs

logger = get_logger(__name__)

PARQUET = ".parquet"
_SHARD = "data/train-00000-of-00001.parquet"


def soft_targets(
    dataset: Dataset,
    teachers: Sequence[TeacherLike],
    loss: DistillationLoss | None = None,
    *,
    student: TeacherLike | None = None,
    column: str = "soft_targets",
    input_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    skip_bad_rows: bool = False,
    batch_size: int = 64,
    cache_dir: Path | str | None = None,
    seed: int = 0,
    options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
    progress: bool = True,
) -> Dataset:
    """The data set with a column of class probabilities, what the teachers tell of each row.

    Use it to distill with another trainer, or in another framework: the column is all that such a student needs. They
    are the targets that `DistillationTrainer` gives a student, without the share of its predictions, which changes from
    step to step. With `student`, a pretrained one's layers are read beside the teachers; without, input features, those
    of words and of small colour images, as there is no student that preprocesses the rows. Not for losses of features,
    and not for rows that are augmented much: targets are those of the plain rows. Rows for which the outputs of a
    teacher, or of the student, are NaN or infinite are left out, with a warning that counts them.

    Args:
        dataset: one split, with images, texts or pairs of texts, and labels; rows without a label get targets too.
        teachers: as in `DistillationTrainer`.
        loss: `RowTransportLoss()` when None, with `input_features="student"` if there is a `student`; it may be any
            whose targets are class probabilities.
        student: the pretrained checkpoint that the student will start from, named as a teacher is; it needs no
            teachers beside it. None for a student with random weights.
        column: name of the new column, of lists of float32 in the order of the classes.
        input_column: as in `TeacherSelector.rank`.
        label_column: as in `TeacherSelector.rank`.
        skip_bad_rows: leave out rows that cannot be read and classes with a single row, instead of an error.
        batch_size: rows a forward pass, at least 1; halved where the memory is too small.
        cache_dir: folder of cached outputs; `default_cache()` when None.
        seed: of the folds of the probes.
        options: how teachers are fetched and loaded.
        progress: show a bar for each teacher.

    Returns:
        The rows with their columns and the new one. Its `info` names teachers and licence.

    Raises:
        InvalidArgumentError: if the loss has no class probabilities, a needed teacher or student is missing, the loss
            reads no student but there is one, or the column exists.
        DatasetError: rows or labels that cannot be used.
        TeacherUnavailableError: a teacher or student that cannot be loaded, or whose outputs are NaN or infinite for
            more than half of the rows.

    Example:
        >>> from hf_ctkd import soft_targets
        >>> train = soft_targets(flowers["train"], ranking.top(1))  # doctest: +SKIP
        >>> train.save_to_disk("flowers-with-targets")  # doctest: +SKIP
        >>> own = soft_targets(flowers["train"], [], student="apple/mobilevit-xx-small")  # doctest: +SKIP
        >>> loss = torch.nn.functional.cross_entropy(logits, batch["soft_targets"])  # doctest: +SKIP
    """
    return compute_soft_targets(
        dataset,
        teachers,
        loss,
        student=student,
        column=column,
        input_column=input_column,
        label_column=label_column,
        skip_bad_rows=skip_bad_rows,
        batch_size=batch_size,
        cache_dir=cache_dir,
        seed=seed,
        options=options,
        progress=progress,
    ).dataset


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """A data set with soft targets, and how they were made.

    Args:
        dataset: the rows with the new column.
        record: for the card.
    """

    dataset: Dataset
    record: SoftTargetsRecord

    def save(self, path: Path | str) -> Path:
        """Write the data set and its card.

        Args:
            path: a folder for `datasets.load_from_disk`, or a file that ends in `.parquet`.

        Returns:
            The card, see `card_path`.

        Raises:
            InvalidArgumentError: if the path cannot be written.
        """
        path = Path(path)
        if path.suffix == PARQUET:
            path.parent.mkdir(parents=True, exist_ok=True)
            _with_image_files(self.dataset).to_parquet(path)
            code = f'from datasets import load_dataset\n\nrows = load_dataset("parquet", data_files={path.name!r})'
        else:
            self.dataset.save_to_disk(path)
            code = f"from datasets import load_from_disk\n\nrows = load_from_disk({path.name!r})"
        return write_text(card_path(path), soft_targets_card(self.record, load=code))

    def push(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Push the data set with its card to the Hub, as one commit.

        Args:
            repo_id: `"owner/name"`, or `"name"` for a data set of yours; made if there is none.
            private: whether only you see it.
            token: access token; by default the one that you are logged in with.

        Returns:
            The address of the commit.

        Raises:
            PublishingError: if the Hub refuses.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / _SHARD).parent.mkdir()
            _with_image_files(self.dataset).to_parquet(folder / _SHARD)
            code = f'from datasets import load_dataset\n\nrows = load_dataset({repo_id!r}, split="train")'
            write_text(folder / "README.md", soft_targets_card(self.record, load=code))
            return push_folder(
                folder,
                repo_id,
                files=["README.md", _SHARD],
                private=private,
                token=token,
                commit_message="Upload soft targets",
                repo_type="dataset",
            )


def _with_image_files(dataset: Dataset) -> Dataset:
    """The data set with the content of image files in it, of which a Parquet file would hold the paths alone."""
    if not any(isinstance(feature, Image) for feature in dataset.features.values()):
        return dataset
    return dataset.with_format("arrow").map(embed_table_storage, batched=True, batch_size=100).with_format(None)


def card_path(path: Path) -> Path:
    """Where the card of saved targets lies: in their folder, or beside their file under its name."""
    return path.with_suffix(".README.md") if path.suffix == PARQUET else path / "README.md"


def compute_soft_targets(
    dataset: Dataset,
    teachers: Sequence[TeacherLike],
    loss: DistillationLoss | None = None,
    *,
    student: TeacherLike | None = None,
    column: str = "soft_targets",
    input_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    skip_bad_rows: bool = False,
    batch_size: int = 64,
    cache_dir: Path | str | None = None,
    seed: int = 0,
    options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
    progress: bool = True,
) -> SoftTargets:
    """The data set of `soft_targets` together with its record; arguments and errors are the same."""
    if loss is None:
        loss = RowTransportLoss(input_features=True if student is None else "student")
    loss = copy.deepcopy(loss)
    _check(loss, teachers, student, dataset, column, seed)
    rows = TargetRows.of(dataset, input_column=input_column, label_column=label_column, skip_bad_rows=skip_bad_rows)
    rows.require_two_rows_a_class()
    accelerator = Accelerator()
    # The student is frozen here, and read as a teacher is.
    sources = [*teachers, *([] if student is None else [student])]
    runner = TeacherRunner(
        load_teachers(sources, rows.modality, accelerator.device, options, rows.label_space),
        layers=Needs.LAYERS in loss.needs,
    )
    cache = Path(cache_dir) if cache_dir is not None else default_cache()
    outputs = runner.outputs_of_all(
        rows,
        accelerator=accelerator,
        batch_size=batch_size,
        cache_dir=cache / "outputs",
        progress=progress,
        max_not_finite=MOST_NOT_FINITE,
    )
    names = [teacher.candidate.name for teacher in runner.teachers]
    finite = FiniteRows.of(outputs, names, left_out_of="the data set with soft targets")
    rows = finite.select(rows)
    rows.require_two_rows_a_class()
    inputs = InputFeatureReader.without_model(rows, folder=cache) if Needs.INPUT in loss.needs else None
    read = finite.outputs(outputs)
    taught = runner.teachers[: len(teachers)]
    student_candidate = None if student is None else runner.teachers[-1].candidate
    context = LossContext(
        labels=rows.labels,
        label_space=rows.label_space,
        # No student is trained: losses whose targets are class probabilities read no outputs of one in training.
        student=ModelOutputs(torch.zeros(1, 1), torch.zeros(1, len(rows.label_space))),
        teachers=read[: len(teachers)],
        teacher_label_spaces=tuple(teacher.label_space for teacher in taught),
        seed=seed,
        inputs=inputs,
        student_rows=None if student is None else read[-1],
    )
    loss.setup(context)
    remarks = (*loss.remarks(), *_unknowing(loss, bool(teachers), student_candidate))
    for remark in remarks:
        logger.warning(remark)
    targets = loss.row_targets(context)
    if targets is None:
        raise _no_probabilities(loss)
    record = _record(rows, taught, student_candidate, loss, column, (*finite.remarks, *remarks))
    return _with_targets(rows, loss.class_probabilities(targets).cpu(), column, record)


def _check(
    loss: DistillationLoss,
    teachers: Sequence[TeacherLike],
    student: TeacherLike | None,
    dataset: Dataset,
    column: str,
    seed: int,
) -> None:
    if isinstance(teachers, str | Path | TeacherCandidate):
        raise InvalidArgumentError(f"`teachers` must be a list, got {teachers!r} alone. Put it into a list.")
    if not 0 <= seed < 2**32:
        raise InvalidArgumentError(f"`seed` must be between 0 and {2**32 - 1}, got {seed}. Choose another.")
    require_rows(dataset)
    if not column.strip():
        raise InvalidArgumentError(f"`column` must be a name, got {column!r}. Choose one such as 'soft_targets'.")
    if type(loss).class_probabilities is DistillationLoss.class_probabilities:
        raise _no_probabilities(loss)
    reads_student = Needs.STUDENT in loss.needs
    if reads_student and student is None:
        raise InvalidArgumentError(
            f"`student` must name the checkpoint that {type(loss).__name__} reads beside the teachers, got None. Name "
            "it, or read the input features or teachers alone."
        )
    if student is not None and not reads_student:
        raise InvalidArgumentError(
            f"`student` is not read by {type(loss).__name__}. Leave one of them out, or use "
            "RowTransportLoss(input_features='student')."
        )
    if Needs.TEACHER in loss.needs and not teachers and student is None:
        raise InvalidArgumentError(
            f"`teachers` must hold at least one teacher for {type(loss).__name__}, got none. Name one, or use "
            "TeacherFreeLoss()."
        )
    if column in dataset.column_names:
        raise InvalidArgumentError(f"`column` {column!r} is in the data set already. Choose another name.")


def _no_probabilities(loss: DistillationLoss) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"`loss` {type(loss).__name__} has no class probabilities for each row. Use RowTransportLoss(), ProbeLoss() or "
        "TeacherFreeLoss()."
    )


def _unknowing(loss: DistillationLoss, teachers: bool, student: TeacherCandidate | None) -> tuple[str, ...]:
    """One sentence if the targets tell nothing of the labels that comes from a teacher, though there is one."""
    weights = loss.weights()
    if loss.strength() > 0 and (not weights or max(weights) > 0):
        return ()
    read = "None of the teachers knows anything of the labels" if teachers else "Nothing that was read tells the labels"
    if loss.strength() > 0:
        rest = "the input features of the rows" if student is None else "the student's layers"
        return (f"{read}: all that the soft targets tell is read from {rest}.",)
    return (f"{read}: the soft targets are hardly more than class shares.",)


def _record(
    rows: TargetRows,
    taught: Sequence[Teacher],
    student: TeacherCandidate | None,
    loss: DistillationLoss,
    column: str,
    remarks: tuple[str, ...],
) -> SoftTargetsRecord:
    weights = loss.weights()
    teachers = tuple(
        TeacherRecord(teacher.candidate.without_path(), weights[index] if weights else None)
        for index, teacher in enumerate(taught)
    )
    return SoftTargetsRecord(
        dataset=last_name(str(rows.dataset.info.dataset_name or "an unnamed data set")),
        modality=rows.modality,
        column=column,
        label_names=rows.label_space.names,
        rows=len(rows),
        labelled_rows=len(rows.labelled),
        teachers=teachers,
        loss=LossRecord(
            loss.name,
            loss.settings(),
            loss.citation,
            input_share=round(loss.input_share(), 3),
            weight_meaning=loss.weight_meaning,
            remarks=remarks,
        ),
        strength=loss.strength(),
        student=None if student is None else student.without_path(),
        versions={
            "hf_ctkd": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "datasets": datasets.__version__,
        },
    )


def _with_targets(
    rows: TargetRows, targets: Float[Tensor, "rows classes"], column: str, record: SoftTargetsRecord
) -> SoftTargets:
    feature = List(Value("float32"), length=targets.shape[1])
    dataset = rows.dataset.add_column(column, list(targets.float().numpy()), feature=feature)
    names = ", ".join(teacher.candidate.name for teacher in record.teachers) or "no teacher"
    names += "" if record.student is None else f" and the layers of the student {record.student.name}"
    dataset.info.description = f"Soft targets of {names}, made with hf_ctkd by the loss {record.loss.name}."
    dataset.info.license = "" if record.license is None else record.license.name
    dataset.info.citation = record.loss.citation
    return SoftTargets(dataset, record)
