"""How a student was made and how well it does: the record from which its card is rendered."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records.candidate import TeacherCandidate
from hf_ctkd.records.confidence import Confidence, Proportion
from hf_ctkd.records.fields import read_record
from hf_ctkd.records.files import write_json
from hf_ctkd.records.reliability import Reliability

KIND = "distillation"
FORMAT = 2
"""Version of the fields of `distillation.json`; raised when one is renamed, removed, or added without a default."""
NO_LOSS = "none"
"""Name of the loss in the record of a student that was trained on labels alone."""
HELD_OUT = "heldout"
"""Name of the split of evaluation rows that were taken out of the training rows."""


@dataclass(frozen=True)
class TaskWords:
    """Sentences about the task for the card of a student, written by the task when the record was made.

    Args:
        summary: what the student does, to follow "A model that"; `{classes}` stands for the number and names of its
            classes.
        limitation: what the student cannot do, in whole sentences; `{count}` stands for the number of its classes.
        example: Python code that opens the student with plain transformers and shows it one row; `{model}` stands for
            its quoted id on the Hub or its folder. A pipeline when empty.
        packages: what has to be installed to run that code.
        rows: what the rows are called, `"rows"` or `"images"`.
        one_class_a_row: whether every row has one class, so that labels per class and accuracy have a meaning.
    """

    summary: str = "sorts inputs into {classes}"
    limitation: str = "It knows {count} classes and puts every input into one, also what belongs to none."
    example: str = ""
    packages: str = "transformers torch"
    rows: str = "rows"
    one_class_a_row: bool = True


@dataclass(frozen=True)
class TaskRecord:
    """The user's own task.

    Args:
        dataset: name for people: its id on the Hub, the last name of its folder or file, or a description.
        fingerprint: digest of the rows that were trained on.
        task: Hub task tag, such as `"image-classification"`.
        input_column: column of images or texts; the two of a text pair with a comma between them.
        label_column: column of labels.
        label_names: names of the classes, by id.
        train_rows: number of training rows, labelled and unlabelled.
        labelled_rows: number of training rows with a label.
        eval_rows: rows of the evaluation; 0 if there was none.
        eval_split: name of the evaluation rows, such as "test"; `HELD_OUT` for a part of the training rows.
        majority_share: share of the most frequent class among the evaluation rows, in (0, 1]; None where it was not
            counted, or where labels are no classes of rows.
        problem_type: of the student's configuration, such as `"multi_label_classification"`; None for none.
        words: sentences about the task for the card.
        hub_dataset: id of the data set on the Hub, `"owner/name"`; None for local data, which the metadata of a card
            must not confuse with a data set on the Hub.
        modality: what the rows are, `"image"` or `"text"`; None where it is not known.
        auto_class: name of the class of transformers that loads the student, such as
            `"AutoModelForImageClassification"`; None where it is not known.
        eval_rows_in_training: evaluation rows whose input is also that of a training row; None where this was not
            counted.

    Raises:
        InvalidArgumentError: if the numbers of rows do not fit each other.
    """

    dataset: str
    fingerprint: str
    task: str
    input_column: str
    label_column: str
    label_names: tuple[str, ...]
    train_rows: int
    labelled_rows: int
    eval_rows: int = 0
    eval_split: str = "test"
    majority_share: float | None = None
    problem_type: str | None = None
    words: TaskWords = TaskWords()
    hub_dataset: str | None = None
    modality: str | None = None
    auto_class: str | None = None
    eval_rows_in_training: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.labelled_rows <= self.train_rows:
            raise InvalidArgumentError(
                f"`labelled_rows` must lie between 0 and `train_rows` = {self.train_rows}, got {self.labelled_rows}."
            )
        if self.eval_rows < 0:
            raise InvalidArgumentError(f"`eval_rows` must be at least 0, got {self.eval_rows}.")
        if self.majority_share is not None and not 0 < self.majority_share <= 1:
            raise InvalidArgumentError(f"`majority_share` must lie in (0, 1], got {self.majority_share}.")
        if self.eval_rows_in_training is not None and not 0 <= self.eval_rows_in_training <= self.eval_rows:
            raise InvalidArgumentError(
                f"`eval_rows_in_training` must lie between 0 and `eval_rows` = {self.eval_rows}, got "
                f"{self.eval_rows_in_training}."
            )

    @property
    def evaluation_rows(self) -> str:
        """Which rows the student was evaluated on, in words."""
        origin = "held out of the training rows" if self.eval_split == HELD_OUT else f"of the split {self.eval_split}"
        return f"{self.eval_rows} rows {origin}"


@dataclass(frozen=True)
class StudentRecord:
    """The student: where it came from, how large and how fast it is.

    Args:
        architecture: class of the model, such as `"ResNetForImageClassification"`.
        base_model: checkpoint that it started from, of a folder its last name; None when it was trained from its
            configuration.
        parameters: number of parameters.
        rows_per_second: speed of a forward pass at `batch_size` on `device`, preprocessing left out.
        device: where the speed was measured.
        batch_size: rows a pass of the speed measurement.
        license: licence of the base model, if it states any; `NOT_LOOKED_UP` where that could not be read.

    Raises:
        InvalidArgumentError: if a number is negative.
    """

    architecture: str
    parameters: int
    base_model: str | None = None
    rows_per_second: float | None = None
    device: str | None = None
    batch_size: int | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        _refuse_negative(parameters=self.parameters, rows_per_second=self.rows_per_second, batch_size=self.batch_size)


@dataclass(frozen=True)
class TeacherRecord:
    """A teacher that was used.

    Args:
        candidate: which one, pinned to its revision.
        weight: in the loss, 0 or more, as `LossRecord.weight_meaning` explains it; 0 for a teacher that had no part in
            training, None for a loss without weights.
        rows_per_second: its speed, measured as the student's.
        probe_accuracy: labelled training rows that linear probes of its layers get right, fitted without the row: what
            a teacher of other classes has in the place of an accuracy. None for a loss that fits no such probes.

    Raises:
        InvalidArgumentError: if a number is negative.
    """

    candidate: TeacherCandidate
    weight: float | None = None
    rows_per_second: float | None = None
    probe_accuracy: Proportion | None = None

    def __post_init__(self) -> None:
        _refuse_negative(weight=self.weight, rows_per_second=self.rows_per_second)


@dataclass(frozen=True)
class LossRecord:
    """The distillation loss: class name, settings as given, source, and where it departs from the source.

    Args:
        name: of the loss; `NO_LOSS` without any.
        settings: arguments of its constructor.
        citation: its source, as BibTeX entries, words, or both.
        input_share: share of the targets that was predicted from the student's input features, or from its own features
            before training (`input_features="student"`), and not from a teacher, in [0, 1].
        remarks: sentences on what went wrong in training, such as features that collapsed.
        weight_meaning: what the weight of a teacher is, to follow "The weight is"; empty for a loss without weights.

    Raises:
        InvalidArgumentError: if the share is out of its range.
    """

    name: str
    settings: Mapping[str, Any]
    citation: str
    input_share: float = 0.0
    remarks: tuple[str, ...] = ()
    weight_meaning: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.input_share <= 1:
            raise InvalidArgumentError(f"`input_share` must lie in [0, 1], got {self.input_share}.")


@dataclass(frozen=True)
class TransportMap:
    """How the loss that was trained takes a teacher's classes to the target's: `mass[u][v]`, summing to one.

    Args:
        teacher: name of the teacher.
        teacher_labels: names of its classes (rows of `mass`).
        target_labels: names of the target's classes (columns of `mass`).
        mass: share of the rows whose teacher class `u` is taken to target class `v`.
        meaning: what the map shows, as a sentence of the loss.

    Raises:
        InvalidArgumentError: if there are no classes, the shape of `mass` does not fit the names, or a share is
            negative.
    """

    teacher: str
    teacher_labels: tuple[str, ...]
    target_labels: tuple[str, ...]
    mass: tuple[tuple[float, ...], ...]
    meaning: str = ""

    def __post_init__(self) -> None:
        rows, columns = len(self.teacher_labels), len(self.target_labels)
        if not rows or not columns:
            raise InvalidArgumentError(
                f"`teacher_labels` and `target_labels` must name classes, got {rows} and {columns} of them."
            )
        if len(self.mass) != rows or any(len(row) != columns for row in self.mass):
            raise InvalidArgumentError(
                f"`mass` must be {rows} by {columns}: one row for each teacher class, one column for each target class."
            )
        lowest = min(min(row) for row in self.mass)
        if lowest < 0:
            raise InvalidArgumentError(f"`mass` must hold shares of 0 or more, got {lowest}.")


@dataclass(frozen=True)
class PoolRecord:
    """The students that a generic teacher was made for.

    Args:
        description: the pool as JSON values, as `StudentPool.from_dict` takes them.
        members: number of student architectures.
        choices: what members differ in -> its options.
        probabilities: the same -> probability of each option when training ended; empty if not known.

    Raises:
        InvalidArgumentError: if there are no members, or the probabilities of a choice are not as many as its options.
    """

    description: Mapping[str, Any]
    members: int
    choices: Mapping[str, tuple[int, ...]]
    probabilities: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.members < 1:
            raise InvalidArgumentError(f"`members` must be at least 1, got {self.members}.")
        for name, options in self.choices.items():
            if name in self.probabilities and len(self.probabilities[name]) != len(options):
                raise InvalidArgumentError(
                    f"`probabilities` of {name!r} must be {len(options)}, one for each option, got "
                    f"{len(self.probabilities[name])}."
                )


@dataclass(frozen=True)
class DistillationRecord:
    """How one student was made and how well it does.

    Args:
        task: the user's task.
        student: the student.
        teachers: the teachers of the run; empty without any, and when the loss had no weight.
        loss: the distillation loss.
        results: metric name -> value, with interval where there is one, on the evaluation rows.
        baseline: the same for the student trained without distillation, when there was one.
        gain: metric name -> the student's minus that of the baseline, with an interval over the rows that both were
            evaluated on; below 0 is better where the metric is an error. Empty where it was not measured.
        training: seed, steps, learning rate, batch size, seconds and other arguments that shape the outcome; for a
            resumed run, `resumed_at_step` and `seconds_since` instead of `seconds`.
        command: command line that reproduces it.
        versions: package -> version.
        transport_map: how the loss takes the classes of the first teacher to the target's; None where the teacher has
            no classes, or the loss transports nothing.
        pool: the students that it was made for, when it is a generic teacher itself.
        reliability: of the student's probabilities on the evaluation rows; None for students without probabilities of
            classes, several sets of evaluation rows, and without an evaluation.
    """

    task: TaskRecord
    student: StudentRecord
    teachers: tuple[TeacherRecord, ...]
    loss: LossRecord
    results: Mapping[str, Confidence] = field(default_factory=dict)
    baseline: Mapping[str, Confidence] = field(default_factory=dict)
    gain: Mapping[str, Confidence] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    transport_map: TransportMap | None = None
    pool: PoolRecord | None = None
    reliability: Reliability | None = None

    @property
    def labels_only(self) -> bool:
        """Whether it was trained on labels alone, without a distillation loss."""
        return self.loss.name == NO_LOSS

    @property
    def teachers_with_weight(self) -> tuple[TeacherRecord, ...]:
        """The teachers that the student was distilled from: those whose weight in the loss is not 0."""
        return () if self.labels_only else tuple(teacher for teacher in self.teachers if teacher.weight != 0)

    @property
    def pretrained_teachers(self) -> tuple[TeacherRecord, ...]:
        """Those of `teachers_with_weight` whose own weights taught: not those with random weights, a control."""
        return tuple(teacher for teacher in self.teachers_with_weight if not teacher.candidate.random_weights)

    @property
    def chance_levels(self) -> dict[str, float]:
        """Score of guessing without the input, for those of the results for which it is defined.

        For `accuracy` the share of the most frequent class, or one divided by the number of classes where that share
        was not counted; for `macro_f1` one divided by the number of classes, which guesses drawn from the class shares
        reach. Empty for tasks in which a row has not one class.
        """
        if not self.task.words.one_class_a_row or not self.task.label_names:
            return {}
        uniform = 1 / len(self.task.label_names)
        levels = {"accuracy": self.task.majority_share or uniform, "macro_f1": uniform}
        return {name: levels[name] for name in self.results if name in levels}

    @property
    def not_above_chance(self) -> tuple[str, ...]:
        """Results at or below chance, or whose interval reaches down to it."""
        lowest = {name: value.value if value.low is None else value.low for name, value in self.results.items()}
        return tuple(name for name, level in self.chance_levels.items() if lowest[name] <= level)

    @property
    def below_chance(self) -> tuple[str, ...]:
        """Those of `not_above_chance` that lie below chance, with the whole interval where there is one."""
        highest = {name: value.value if value.high is None else value.high for name, value in self.results.items()}
        return tuple(name for name in self.not_above_chance if highest[name] < self.chance_levels[name])

    @property
    def differences(self) -> dict[str, Confidence]:
        """By how much each result differs from that of the baseline: `gain`, or without an interval where it lacks."""
        return {
            name: self.gain.get(name, Confidence(value.value - self.baseline[name].value))
            for name, value in self.results.items()
            if name in self.baseline
        }

    @property
    def gain_within_chance(self) -> tuple[str, ...]:
        """The metrics in which the interval of the gain includes 0, without those of `gain_nowhere`."""
        return tuple(
            name
            for name, gain in self.gain.items()
            if gain.interval and gain.interval[0] <= 0 <= gain.interval[1] and not gain.always_zero
        )

    @property
    def gain_nowhere(self) -> tuple[str, ...]:
        """The metrics in which student and baseline do alike on every evaluation row."""
        return tuple(name for name, gain in self.gain.items() if gain.always_zero)

    @property
    def confidence_levels(self) -> tuple[float, ...]:
        """Coverage of the intervals of results and baseline, ascending; empty without any interval."""
        values = [*self.results.values(), *self.baseline.values()]
        return tuple(sorted({value.level for value in values if value.interval is not None}))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": KIND, "format": FORMAT, **asdict(self)}

    def save(self, path: Path | str) -> Path:
        """Write `distillation.json`, whole or not at all."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> "DistillationRecord":
        """Read a record that `save` wrote.

        Raises:
            InvalidArgumentError: if the file is missing, damaged, or of another version; file and field are named.
        """
        return read_record(path, cls, kind=KIND, format=FORMAT)


def _refuse_negative(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and value < 0:
            raise InvalidArgumentError(f"`{name}` must not be negative, got {value}.")
