"""What an evaluation of a student gave: one record, as text, as JSON, and as a folder of files."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils.logging import get_logger

from hf_ctkd.cards.figures import png
from hf_ctkd.errors import MissingExtraError
from hf_ctkd.evaluation.calibration import Calibration
from hf_ctkd.evaluation.figures import confusion_figure, reliability_figure
from hf_ctkd.records import Confidence, parameter_count, text_table, write_bytes, write_json, write_text

logger = get_logger(__name__)

RECORD = "evaluation.json"
_LISTED_PAIRS, _LISTED_ROWS = 10, 5


@dataclass(frozen=True)
class ModelResult:
    """One model on the evaluation rows.

    Args:
        name: id on the Hub, or last name of its folder.
        role: of the model.
        parameters: how many it has.
        metrics: by name, with intervals; none for a teacher of other classes.
        gain: the student's metric minus that of this model, on the same resampled rows; none for the student itself.
        milliseconds_a_row: to run the model on a single row that is preprocessed already; median of several.
        rows_per_second: the same in batches.
    """

    name: str
    role: str
    parameters: int
    metrics: Mapping[str, Confidence]
    gain: Mapping[str, Confidence]
    milliseconds_a_row: float
    rows_per_second: float


@dataclass(frozen=True)
class ConfusedPair:
    """Rows of one class that the student takes for another.

    Args:
        label: their class.
        predicted: the other one.
        count: of these rows.
        share: of all rows of the class, in (0, 1].
    """

    label: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class WrongRow:
    """A row that the student has wrong.

    Args:
        row: its number in the data set, from 0.
        label: what it is.
        predicted: what the student says.
        score: probability of that, or the estimate itself for a number.
        loss: the task loss of the row.
        input: how a text begins, or the file of an image; None where the data set does not name it.
    """

    row: int
    label: str
    predicted: str
    score: float
    loss: float
    input: str | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a student is, where it errs, whether its probabilities can be trusted, and how fast it is.

    `evaluate_student` makes it. `print(evaluation)` shows it, `save` writes a folder.

    Args:
        dataset: name of the data set.
        split: which rows.
        rows: how many of them have a label.
        labels: the student's classes.
        device: that the models ran on, such as `"cpu"`.
        models: the student first, then teacher and baseline.
        confused: pairs of classes, most rows first; empty unless a row has one class.
        wrong: rows with the largest loss first.
        calibration: of the probabilities; None for numbers.
        confusion: `[labels, labels]`, rows by their class and the student's; None unless a row has one class.
    """

    dataset: str
    split: str
    rows: int
    labels: tuple[str, ...]
    device: str
    models: tuple[ModelResult, ...]
    confused: tuple[ConfusedPair, ...]
    wrong: tuple[WrongRow, ...]
    calibration: Calibration | None
    confusion: np.ndarray | None

    @property
    def metrics(self) -> Mapping[str, Confidence]:
        """Those of the student."""
        return self.models[0].metrics

    def __str__(self) -> str:
        """Tables for a terminal."""
        split = f" (split {self.split})" if self.split else ""
        intervals = ", with 95 % intervals" if any(each.interval is not None for each in self.metrics.values()) else ""
        parts = [
            f"On {self.rows:,} labelled row{'' if self.rows == 1 else 's'} of {self.dataset}{split}{intervals}:",
            self._model_table(),
        ]
        if self.calibration is not None:
            parts += ["", *self._calibration_lines()]
        if self.confused:
            pairs = self.confused[:_LISTED_PAIRS]
            cells = [[pair.label, pair.predicted, str(pair.count), f"{100 * pair.share:.0f} %"] for pair in pairs]
            parts += ["", "Most confused:", text_table(["class", "taken for", "rows", "of the class"], cells)]
        if self.wrong:
            rows = self.wrong[:_LISTED_ROWS]
            cells = [
                [str(row.row), row.label, row.predicted, f"{row.score:.3f}", f"{row.loss:.2f}", row.input or ""]
                for row in rows
            ]
            parts += ["", "Most wrong:", text_table(["row", "label", "predicted", "score", "loss", ""], cells)]
        return "\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without the confusion matrix, which has a file of its own."""
        values = dataclasses.asdict(dataclasses.replace(self, confusion=None))
        del values["confusion"]
        return {"kind": "evaluation", "format": 1, **values}

    def save(self, folder: Path | str) -> Path:
        """Write `evaluation.json`, tables as CSV and figures as PNG.

        Without matplotlib the figures are left out, which a line of the log says.

        Args:
            folder: made if it does not exist; files of these names are replaced.

        Returns:
            The folder.
        """
        folder = Path(folder)
        write_json(folder / RECORD, self.to_dict())
        write_text(folder / "evaluation.txt", f"{self}\n")
        _write_table(folder / "most_wrong.csv", WrongRow, self.wrong)
        if self.confusion is not None:
            _write_table(folder / "most_confused.csv", ConfusedPair, self.confused)
            rows = [[name, *counts] for name, counts in zip(self.labels, self.confusion.tolist(), strict=True)]
            write_text(folder / "confusion_matrix.csv", _csv([["label \\ predicted", *self.labels], *rows]))
        try:
            if self.confusion is not None:
                write_bytes(folder / "confusion_matrix.png", png(confusion_figure(self.confusion, self.labels)))
            if self.calibration is not None:
                write_bytes(folder / "reliability.png", png(reliability_figure(self.calibration)))
        except MissingExtraError as error:
            logger.warning(f"Figures are left out. {error}")
        return folder

    def _model_table(self) -> str:
        names = list(self.metrics)
        header = ["", "model", "parameters", *names, "ms a row", "rows/s"]
        cells = []
        for model in self.models:
            speed = [f"{model.milliseconds_a_row:.2f}", f"{model.rows_per_second:.0f}"]
            values = [model.metrics[name].text() if name in model.metrics else "-" for name in names]
            cells.append([model.role, model.name, parameter_count(model.parameters), *values, *speed])
            if model.gain:
                gains = [model.gain[name].text(sign=True) for name in names]
                cells.append([f"student - {model.role}", "", "-", *gains, "-", "-"])
        return "\n".join([text_table(header, cells), *self._alike_lines()])

    def _alike_lines(self) -> list[str]:
        alike = {model.role: [name for name, gain in model.gain.items() if gain.always_zero] for model in self.models}
        return [
            f"In {', '.join(names)} student and {role} do alike on every row." for role, names in alike.items() if names
        ]

    def _calibration_lines(self) -> list[str]:
        calibration = self.calibration
        if calibration is None:
            return []
        line = f"Calibration error {calibration.before.error:.3f}, log loss {calibration.before.log_loss:.3f}"
        if calibration.after is None:
            return [f"{line}; too few rows to fit a temperature."]
        return [
            f"{line}; with a temperature fitted to the other half of the rows {calibration.after.error:.3f} and "
            f"{calibration.after.log_loss:.3f}.",
            "No temperature helps: the best is at the end of the range, as for a student at chance."
            if calibration.temperature is None
            else f"To use it, divide logits by {calibration.temperature:.3g}, which is fitted to all rows.",
        ]


def _write_table(path: Path, kind: type, rows: Sequence[Any]) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    write_text(path, _csv([names, *(list(dataclasses.astuple(row)) for row in rows)]))


def _csv(rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
