"""The card of a data set with soft targets: from which teachers, how, and under which licence."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from huggingface_hub import DatasetCard, DatasetCardData

from hf_ctkd.cards.card import citation_text, settings_table, teacher_link
from hf_ctkd.cards.licenses import NOT_STATED, BindingLicense, most_restrictive
from hf_ctkd.cards.markdown import escape, fence, listing, number, setting, table
from hf_ctkd.cards.metadata import LONGEST_ID, short_name
from hf_ctkd.records import LossRecord, TeacherCandidate, TeacherRecord, parameters_in_words

_TASKS = {"image": "image-classification", "text": "text-classification"}


@dataclass(frozen=True)
class SoftTargetsRecord:
    """How soft targets were made.

    Args:
        dataset: name of the data set.
        modality: of its rows, "image" or "text".
        column: that holds the targets.
        label_names: classes, in the order of the probabilities.
        rows: number of rows.
        labelled_rows: of these, rows with a label, on which probes were fitted.
        teachers: with their weights.
        loss: that made the targets.
        strength: information gain of all that the targets were read from, input features included, in [0, 1]; see
            `DistillationLoss.strength`.
        student: the checkpoint whose layers were read beside the teachers; None where input features were, or nothing.
        versions: of packages.
    """

    dataset: str
    modality: str
    column: str
    label_names: tuple[str, ...]
    rows: int
    labelled_rows: int
    teachers: tuple[TeacherRecord, ...]
    loss: LossRecord
    strength: float
    student: TeacherCandidate | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def license(self) -> BindingLicense | None:
        """The most restrictive licence of the models that were read; None where no trained weights were."""
        read = [*(teacher.candidate for teacher in self.teachers), *([] if self.student is None else [self.student])]
        trained = (candidate for candidate in read if not candidate.random_weights)
        return most_restrictive((candidate.name, candidate.license) for candidate in trained)

    @property
    def sources(self) -> str:
        """How much of the uncertainty about the labels what was read explains, and how much of it is no teacher's."""
        share = self.loss.input_share
        explain = f"explain {number(self.strength)} of the uncertainty about the labels"
        explain = f"{explain} (information gain, on rows held out)"
        what, whose = ("input features", "rows") if self.student is None else ("layers", "student")
        if not self.teachers:
            return f"The {what} of the {whose} {explain}."
        if share == 0:
            return f"Together the teachers {explain}."
        return (
            f"Together the teachers and the {what} of the {whose} {explain}. The share of the {what} in the targets is "
            f"{number(share)}, that of the teachers {number(1 - share)}."
        )


def soft_targets_card(record: SoftTargetsRecord, *, load: str) -> str:
    """The README.md of a data set with soft targets, metadata included.

    Args:
        record: how they were made.
        load: Python code that loads the data set.
    """
    binding = record.license
    license = binding.license if binding is not None and binding.known else None
    data = DatasetCardData(
        license=license,
        task_categories=[_TASKS[record.modality]],
        tags=["hf_ctkd", "knowledge-distillation", "soft-targets"],
        pretty_name=f"Soft targets for {short_name(record.dataset)}",
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# Soft targets for {escape(short_name(record.dataset), 120)}",
        f"The column {escape(record.column)} holds for each of {record.rows} rows the probabilities of "
        f"{len(record.label_names)} classes, in this order: {listing(record.label_names, len(record.label_names))}. "
        f"They were made with hf_ctkd, from {record.labelled_rows} rows with a label and the teachers below. They sum "
        "to one, and rows without a label have them too. Any trainer can use them in a cross-entropy, without hf_ctkd.",
        fence(load, "python"),
        "## Teachers and licence",
        _teachers(record),
        _student(record),
        _license(binding),
        "## How they were made",
        f"Loss: **{escape(record.loss.name)}**, without a student's own share. {record.sources}",
        settings_table(record.loss.settings) if record.loss.settings else "",
        citation_text(record.loss.citation),
        "Versions: "
        + ", ".join(f"{escape(name)} {setting(version)}" for name, version in record.versions.items())
        + ".",
        "## Limitations",
        *(escape(remark, 300) for remark in record.loss.remarks),
        "The targets repeat the errors of the teachers. A student that is trained on them is derived from these "
        "teachers and from the data; the licence of the data is not recorded here.",
    ]
    card = DatasetCard("\n\n".join(part for part in parts if part), ignore_metadata_errors=True)
    return str(card).rstrip() + "\n"


def _teachers(record: SoftTargetsRecord) -> str:
    if not record.teachers:
        return "No teacher was used."
    rows = [
        [
            teacher_link(teacher.candidate),
            escape(teacher.candidate.revision[:12]),
            parameters_in_words(teacher.candidate.parameters),
            escape(teacher.candidate.license) if teacher.candidate.license else NOT_STATED,
            number(teacher.weight),
        ]
        for teacher in record.teachers
    ]
    meaning = f"\n\nThe weight is {escape(record.loss.weight_meaning, 300)}." if record.loss.weight_meaning else ""
    return table(["teacher", "revision", "parameters", "licence", "weight"], rows) + meaning


def _student(record: SoftTargetsRecord) -> str:
    if record.student is None:
        return ""
    license = escape(record.student.license) if record.student.license else NOT_STATED
    return (
        f"The layers of {teacher_link(record.student)}, revision {escape(record.student.revision[:12])}, licence "
        f"{license}, were read too: the targets are for a student that starts from it."
    )


def _license(binding: BindingLicense | None) -> str:
    if binding is None:
        return "No trained weights went into the targets, so no licence of a model binds them."
    return (
        f"**Licence: {escape(binding.name)}** ({binding.meaning}), the most restrictive among the models. It comes "
        f"from {listing(binding.models, longest=LONGEST_ID)}. Whether the licence of a teacher binds its predictions "
        "is an open legal question; this card assumes that it does."
    )
