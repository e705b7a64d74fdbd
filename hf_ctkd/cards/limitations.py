"""What a reader should beware of, as far as it follows from the records."""

import math

from hf_ctkd.cards.licenses import Restriction
from hf_ctkd.cards.markdown import escape, listing
from hf_ctkd.cards.metadata import binding_license
from hf_ctkd.records import DistillationRecord, TeacherRanking

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
            f"Few labels: {task.labelled_rows} labelled {escape(words.rows)}, {per_class:.3g} a class on average."
        )
    elif not words.one_class_a_row and task.labelled_rows < FEW_LABELLED_ROWS:
        sentences.append(f"Few labels: {task.labelled_rows} labelled {escape(words.rows)}.")
    unlabelled = task.train_rows - task.labelled_rows
    if unlabelled > 0:
        source = f" {_unlabelled(record)}" if record.teachers else ""
        sentences.append(f"{unlabelled} of {task.train_rows} training rows had no label.{source}")
    if words.limitation:
        limitation = escape(words.limitation, _LONGEST_LIMITATION)
        sentences.append(limitation.replace("{count}", str(len(task.label_names))))
    return sentences


def _unlabelled(record: DistillationRecord) -> str:
    whom = "the teacher and the input" if record.loss.input_share > 0 else "the teacher alone"
    return f"They were learnt from {whom}, with whatever errors are made on them."


def _evaluation(record: DistillationRecord) -> list[str]:
    rows = record.task.eval_rows
    if not record.results or rows == 0:
        return ["It was not evaluated: nothing is known of how well it does."]
    sentences, words = [], record.task.words
    if rows < SMALL_TEST_SET and not words.one_class_a_row:
        sentences.append(f"Small test set: {rows} {escape(words.rows)}.")
    elif rows < SMALL_TEST_SET:
        widest = 100 * 1.96 * math.sqrt(0.25 / rows)
        sentences.append(
            f"Small test set: with {rows} rows, an accuracy is uncertain by up to {widest:.1f} points either way "
            "(95 %, at an accuracy of one half)."
        )
    sentences.append(
        "The intervals say how much the result depends on the choice of test rows, and nothing of other training seeds "
        "or of data from elsewhere."
        if record.confidence_levels
        else "No intervals were computed: how much the result depends on the choice of test rows is not known."
    )
    return sentences


def _baseline(record: DistillationRecord) -> list[str]:
    if not record.results or record.labels_only:
        return []
    if not record.baseline and record.teachers:
        return ["No student was trained without distillation, so what the teacher added is not known."]
    if not record.baseline:
        return ["The same model was not trained on the labels alone, so what the loss added is not known."]
    unsure = [
        name
        for name, value in record.results.items()
        if name in record.baseline and value.overlaps(record.baseline[name])
    ]
    if not unsure:
        return []
    return [f"The intervals with and without distillation overlap for {listing(unsure)}: the difference may be chance."]


def _teachers(record: DistillationRecord, ranking: TeacherRanking | None) -> list[str]:
    if not record.teachers:
        return []
    sentences = ["What the teachers were trained on is not recorded; it may include rows of this test set."]
    share = record.loss.input_share
    if share > 0:
        sentences.append(
            f"{100 * share:.0f} % of what it was taught beside its labels was read out of its own input, not out of a "
            "teacher: the same student taught by `TeacherFreeLoss` would show what the teachers brought."
        )
    local = [teacher.candidate.name for teacher in record.teachers if teacher.candidate.source == "folder"]
    if local:
        sentences.append(f"Not on the Hub, so that others may be unable to get it: {listing(local)}.")
    if ranking is None:
        sentences.append("The teachers were chosen by hand, not from a ranking.")
    elif _other_rows(record, ranking):
        sentences.append(
            "The teachers were ranked on other rows than those trained on: "
            f"{escape(str(ranking.dataset['fingerprint']))} instead of {escape(record.task.fingerprint)}."
        )
    binding = binding_license(record)
    if binding is not None and binding.restriction is Restriction.UNKNOWN:
        sentences.append(
            f"Under which terms it may be used is not settled: see the licence of {listing(binding.models)}."
        )
    return sentences


def _pool(record: DistillationRecord) -> list[str]:
    if record.pool is None:
        return []
    return [
        "Whether its students are better than those of a plainly trained teacher is not measured here; for students "
        "outside the pool it was not meant."
    ]


def _other_rows(record: DistillationRecord, ranking: TeacherRanking) -> bool:
    ranked_on = ranking.dataset.get("fingerprint")
    return ranked_on is not None and ranked_on != record.task.fingerprint
