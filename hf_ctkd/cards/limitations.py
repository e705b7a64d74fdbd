"""Limitations of a student, as far as they follow from its records."""

import math

from hf_ctkd.cards.licenses import Restriction
from hf_ctkd.cards.markdown import escape, listing
from hf_ctkd.cards.metadata import LONGEST_ID, binding_license
from hf_ctkd.records import DistillationRecord, TaskRecord, TeacherRanking, last_name

FEW_ROWS_A_CLASS = 100
SMALL_TEST_SET = 1000
FEW_LABELLED_ROWS = 1000
_LONGEST_LIMITATION = 1000


def limitations(record: DistillationRecord, ranking: TeacherRanking | None = None) -> list[str]:
    """Sentences for the card's list of limitations.

    Args:
        record: how the student was made and what came out.
        ranking: how its teachers were chosen, if there was a selection.
    """
    return [*_training(record), *_evaluation(record), *_baseline(record), *_teachers(record, ranking), *_pool(record)]


def _training(record: DistillationRecord) -> list[str]:
    task, words, sentences = record.task, record.task.words, []
    per_class = task.labelled_rows / max(1, len(task.label_names))
    if words.one_class_a_row and per_class < FEW_ROWS_A_CLASS:
        sentences.append(
            f"Few labels: {task.labelled_rows} labelled {escape(words.rows)}, {per_class:.3g} per class on average."
        )
    elif not words.one_class_a_row and task.labelled_rows < FEW_LABELLED_ROWS:
        sentences.append(f"Few labels: {task.labelled_rows} labelled {escape(words.rows)}.")
    if record.training.get("loss_fell") is False:
        sentences.append(
            f"The training loss did not fall: it went from {record.training['first_loss']} to "
            f"{record.training['last_loss']}, so the model has hardly learned from these rows."
        )
    unlabelled = task.train_rows - task.labelled_rows
    if unlabelled > 0:
        sentences.append(f"{unlabelled} of {task.train_rows} training rows have no label.{_targets(record)}")
    sentences += [escape(remark, _LONGEST_LIMITATION) for remark in record.loss.remarks]
    if words.limitation:
        limitation = escape(words.limitation, _LONGEST_LIMITATION)
        sentences.append(limitation.replace("{count}", str(len(task.label_names))))
    return sentences


def _targets(record: DistillationRecord) -> str:
    if not record.teachers_with_weight:
        return ""
    teachers = "the teacher" if len(record.teachers_with_weight) == 1 else "the teachers"
    source = f"{teachers} and {_teacher_free(record)}" if record.loss.input_share > 0 else f"{teachers} alone"
    return f" Their targets come from {source}, errors included."


def _teacher_free(record: DistillationRecord) -> str:
    """What the share of the targets that comes from no teacher was read from."""
    reads_student = record.loss.settings.get("input_features") == "student"
    return "the student's layers before training" if reads_student else "the input features"


def _control(record: DistillationRecord) -> str:
    """What to do for a student that differs in its teachers alone; empty where it was its own teacher."""
    to_see = "to see what the teachers added."
    if record.loss.settings.get("input_features") != "student":
        return f" Train the same student with `TeacherFreeLoss` {to_see}"
    names = {last_name(teacher.candidate.model_id) for teacher in record.teachers}
    if record.student.base_model is not None and names == {last_name(record.student.base_model)}:
        return ""
    return f" Train the same student with its own checkpoint as the only teacher {to_see}"


def _evaluation(record: DistillationRecord) -> list[str]:
    rows, words = record.task.eval_rows, record.task.words
    if not record.results or rows == 0:
        return ["The model was not evaluated, so its quality is unknown."]
    sentences = []
    sentences += below_chance(record)
    if record.task.eval_rows_in_training:
        sentences.append(f"{overlap(record.task)} The results may be better than on new data.")
    if rows < SMALL_TEST_SET and not words.one_class_a_row:
        sentences.append(f"Small test set: {rows} {escape(words.rows)}.")
    elif rows < SMALL_TEST_SET:
        half_width = 100 * 1.96 * math.sqrt(0.25 / rows)  # of a binomial share, widest at one half
        sentences.append(
            f"Small test set: with {rows} rows, the 95 % interval of an accuracy of 0.5 is {half_width:.1f} points "
            "wide on either side."
        )
    sentences.append(
        "The intervals cover the choice of test rows only. They do not cover other training seeds or other data."
        if record.confidence_levels
        else "No intervals were computed, so the influence of the choice of test rows is unknown."
    )
    return sentences


def below_chance(record: DistillationRecord) -> list[str]:
    """Sentences on results below chance, and on those that are not measurably above it."""
    below = record.below_chance
    others = [name for name in record.not_above_chance if name not in below]
    sentences = [f"This model is worse than chance in {listing(below)}."] if below else []
    return sentences + ([f"This model is not measurably better than chance in {listing(others)}."] if others else [])


def overlap(task: TaskRecord) -> str:
    """How many evaluation rows are training rows too, as a sentence."""
    count = task.eval_rows_in_training
    if count is None:
        return "How many of these rows are also training rows was not counted."
    if count == 0:
        return "None of these rows has the same input as a training row."
    return f"{count} of the {task.eval_rows} evaluation rows have the same input as a training row."


def _baseline(record: DistillationRecord) -> list[str]:
    if not record.results or record.labels_only:
        return []
    if not record.baseline and record.teachers_with_weight:
        return ["No student was trained without distillation, so the effect of the teachers is unknown."]
    if not record.baseline:
        return ["The same model was not trained on the labels alone, so the effect of the loss is unknown."]
    if not record.gain and record.confidence_levels:
        return ["The difference to the student without distillation has no interval, so it may be due to chance."]
    sentences = []
    if record.gain_within_chance:
        sentences.append(
            "The interval of the difference to the student without distillation includes 0 for "
            f"{listing(record.gain_within_chance)}, so it may be due to chance."
        )
    if record.gain_nowhere:
        sentences.append(
            f"It does no better than the student without distillation in {listing(record.gain_nowhere)}: both do alike "
            "on every evaluation row."
        )
    return sentences


def _teachers(record: DistillationRecord, ranking: TeacherRanking | None) -> list[str]:
    if not record.teachers:
        return []
    sentences = ["The training data of the teachers is not recorded. It may include rows of this test set."]
    share = record.loss.input_share
    if share > 0:
        sentences.append(
            f"{100 * share:.0f} % of the distillation targets were predicted from {_teacher_free(record)} and not from "
            f"a teacher.{_control(record)}"
        )
    local = [teacher.candidate.name for teacher in record.teachers if teacher.candidate.source == "folder"]
    if local:
        sentences.append(f"Not on the Hub, so others may be unable to obtain it: {listing(local)}.")
    if ranking is None:
        sentences.append("The teachers were chosen by hand and not from a ranking.")
    elif _ranked_on_other_rows(record, ranking):
        sentences.append(
            "The rows that the teachers were ranked on are a part of the training rows, or other rows: their "
            f"fingerprint is {escape(str(ranking.dataset['fingerprint']))}."
        )
    binding = binding_license(record)
    if binding is not None and binding.restriction is Restriction.UNKNOWN:
        names = listing(binding.models, longest=LONGEST_ID)
        sentences.append(f"The terms of use are unclear: see the licence of {names}.")
    return sentences


def _pool(record: DistillationRecord) -> list[str]:
    if record.pool is None:
        return []
    return [
        "Students of this teacher were not compared with students of an ordinary teacher. It is not meant for students "
        "outside its pool."
    ]


def _ranked_on_other_rows(record: DistillationRecord, ranking: TeacherRanking) -> bool:
    fingerprint = ranking.dataset.get("fingerprint")
    return fingerprint is not None and fingerprint != record.task.fingerprint
