"""The columns that a student was trained on, as the record in its folder has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Features
from transformers.utils.logging import get_logger

from hf_ctkd.cards.folder import RECORD
from hf_ctkd.errors import DatasetError, InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import candidates_named, fetch_file
from hf_ctkd.records import DistillationRecord

logger = get_logger(__name__)


@dataclass(frozen=True)
class TrainedColumns:
    """Which columns of its training rows a student read.

    Args:
        student: its name, for messages.
        inputs: column of images or texts; names of a pair with a comma between them.
        label: column of labels.
    """

    student: str
    inputs: str
    label: str

    def inputs_in(self, features: Features) -> Sequence[str]:
        """The columns of inputs in other rows.

        Args:
            features: of these rows.

        Raises:
            DatasetError: if they lack one.
        """
        names = [self.inputs] if self.inputs in features else self.inputs.split(", ")
        return [self._present(features, name, "input_column") for name in names]

    def label_in(self, features: Features) -> str:
        """The column of labels in other rows.

        Args:
            features: of these rows.

        Raises:
            DatasetError: if they lack it.
        """
        return self._present(features, self.label, "label_column")

    def _present(self, features: Features, name: str, argument: str) -> str:
        if name not in features:
            raise DatasetError(
                f"The student {self.student!r} was trained on the column {name!r}, which these rows lack; they have "
                f"{sorted(features)}. Name the column that takes its place with `{argument}`."
            )
        return name


def trained_columns(student: str | Path, *, token: str | None = None) -> TrainedColumns | None:
    """The columns that a student was trained on; None for one without a record of this library.

    Args:
        student: folder, or id on the Hub.
        token: access token of the Hub; the stored login when None.
    """
    candidates = list(candidates_named(student, token=token))
    if len(candidates) != 1 or candidates[0].problem is not None:  # which loading the student refuses
        return None
    try:
        path = fetch_file(candidates[0], RECORD, token=token)
        record = None if path is None else DistillationRecord.load(path)
    except (TeacherUnavailableError, InvalidArgumentError) as error:
        logger.warning(f"Columns are chosen by their types and names: {RECORD} of {student} cannot be read. {error}")
        return None
    if record is None:
        return None
    return TrainedColumns(candidates[0].name, record.task.input_column, record.task.label_column)
