"""A model card from two records: how the student was made, and how its teachers were chosen."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from hf_ctkd.cards.calibration import calibration_alternative, calibration_text
from hf_ctkd.cards.costs import accuracy_note, cost_alternative, cost_table
from hf_ctkd.cards.figures import COSTS, LEADERBOARD, RELIABILITY, RESULTS, TRANSPORT_MAP, drawable_figures
from hf_ctkd.cards.licenses import NOT_STATED
from hf_ctkd.cards.limitations import below_chance, limitations, overlap
from hf_ctkd.cards.markdown import escape, fence, listing, number, plain, setting, table, with_interval
from hf_ctkd.cards.metadata import LONGEST_ID, binding_license, card_data, hub_dataset, is_repo_id, short_name
from hf_ctkd.cards.signature import blank_signature, seal
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import (
    ZERO_SHOT,
    DistillationRecord,
    PoolRecord,
    RankedTeacher,
    TaskRecord,
    TeacherCandidate,
    TeacherFreeBaseline,
    TeacherRanking,
    parameters_in_words,
)
from hf_ctkd.records.ranking import INTERVAL, interval_text

HUB = "https://huggingface.co"
MAX_TEACHERS = 10
MAX_SKIPPED = 20
TEMPLATE = Path(__file__).with_name("template.md")

_BIBTEX = re.compile(r"^@[A-Za-z]+\s*\{", re.MULTILINE)
_LONGEST_SUMMARY, _LONGEST_CERTAINTY = 300, 600
_PIPELINE = """
from transformers import pipeline

student = pipeline({task}, model={model})
"""


def render_card(
    record: DistillationRecord,
    ranking: TeacherRanking | None = None,
    *,
    repo_id: str | None = None,
    figures: Sequence[str] = (),
) -> str:
    """The whole README.md of a student, metadata included, from its records alone.

    Use it to see the text or to store it elsewhere; `hf_ctkd.cards.write_card` writes it with its figures into the
    student's folder. The same records give the same text, byte for byte.

    Args:
        record: how the student was made and what came out.
        ranking: how its teachers were chosen, if there was a selection.
        repo_id: repository that it is published as, `"owner/name"`; None for a folder, from which the code loads it.
        figures: those of `hf_ctkd.cards.figures.FIGURES` that lie beside the card.

    Raises:
        InvalidArgumentError: if `repo_id` has another form.

    Example:
        >>> from hf_ctkd.records import DistillationRecord, LossRecord, StudentRecord, TaskRecord
        >>> task = TaskRecord("digits", "1f2e", "image-classification", "image", "label", ("zero", "one"), 60, 20)
        >>> student = StudentRecord("ResNetForImageClassification", parameters=10_000)
        >>> card = render_card(DistillationRecord(task, student, (), LossRecord("Spectral", {}, "Auty et al. 2024")))
        >>> "20 of 60 training rows have a label" in card
        True
    """
    if repo_id is not None and not is_repo_id(repo_id):
        raise InvalidArgumentError(f"`repo_id` must be 'owner/name', got {repo_id!r}.")
    title = repo_id.split("/")[1] if repo_id else f"{record.student.architecture} for {short_name(record.task.dataset)}"
    values: dict[str, Any] = {
        **_about(record, repo_id),
        **_outcome(record),
        **_origin(record),
        **_selection(record, ranking),
        **_making(record),
        **_pool(record),
        "limitations": "\n".join(f"- {line}" for line in limitations(record, ranking)),
        "calibration": calibration_text(record),
        "calibration_alternative": calibration_alternative(record),
        "results_figure": RESULTS if RESULTS in figures else None,
        "cost_figure": COSTS if COSTS in figures else None,
        "reliability_figure": RELIABILITY if RELIABILITY in figures else None,
        "transport_map": TRANSPORT_MAP if TRANSPORT_MAP in figures else None,
        "leaderboard": LEADERBOARD if LEADERBOARD in figures else None,
        "figures_missing": not figures and drawable_figures(record, ranking),
    }
    card = ModelCard.from_template(
        card_data(record, plain(title)),
        template_path=str(TEMPLATE),
        title=escape(title, 120),
        signature=blank_signature(repo_id),
        **values,
    )
    return seal(str(card).rstrip() + "\n")


def _about(record: DistillationRecord, repo_id: str | None) -> dict[str, str]:
    task, student = record.task, record.student
    base = student.base_model
    origin = (
        "trained from its configuration" if base is None else f"started from {escape(short_name(base), LONGEST_ID)}"
    )
    return {
        "summary": (
            f"A model ({escape(student.architecture)}, {parameters_in_words(student.parameters)} parameters, {origin}) "
            f"that {_does(record)}. It was {made_from(record)}."
        ),
        "install": f"Run `pip install {escape(task.words.packages)}` first. The model does not need hf_ctkd."
        + ("" if repo_id else " Start this code in the folder of the model:"),
        "snippet": fence(snippet(task, repo_id), "python"),
        "dataset": (
            f"Data: {dataset_link(task)}, columns {escape(task.input_column)} and {escape(task.label_column)}. "
            f"{task.labelled_rows} of {task.train_rows} training rows have a label.{labelled_rows_counted(record)}"
        ),
        "fingerprint": "".join(c for c in plain(task.fingerprint) if c.isalnum() or c in "-_."),
    }


def _does(record: DistillationRecord) -> str:
    names = record.task.label_names
    summary = escape(record.task.words.summary, _LONGEST_SUMMARY)
    return summary.replace("{classes}", f"{len(names)} classes: {listing(names)}")


def _outcome(record: DistillationRecord) -> dict[str, Any]:
    student = record.student
    device, batch = escape(student.device or "an unknown device"), student.batch_size or "an unknown number of"
    return {
        "results": results_table(record) if record.results else "",
        "baseline": bool(record.baseline),
        "paired": any(gain.interval is not None for gain in record.gain.values()),
        "evaluation_rows": escape(record.task.evaluation_rows),
        "overlap": overlap(record.task),
        "levels": " and ".join(f"{100 * level:g} %" for level in record.confidence_levels),
        "chance": _chance_note(record),
        "cost": cost_table(record),
        "cost_alternative": cost_alternative(record),
        "accuracy_note": accuracy_note(record),
        "speed_note": (
            "Speed was not measured."
            if student.rows_per_second is None
            else f"Speed: forward passes on {device} with {batch} rows per batch, without preprocessing."
        ),
    }


def _chance_note(record: DistillationRecord) -> str:
    levels = record.chance_levels
    if not levels:
        return ""
    share, uniform = record.task.majority_share, 1 / len(record.task.label_names)
    one_of_all = f"one divided by the number of classes ({number(uniform)})"
    if "accuracy" not in levels or share is None:
        texts = [one_of_all]
    else:
        texts = [f"the share of the most frequent class ({number(share)}) for accuracy"]
        texts += [f"{one_of_all} for macro F1"] if "macro_f1" in levels else []
    sentences = [f"*Chance* is the score of guessing without the input: {' and '.join(texts)}."]
    if "accuracy" in levels and share is None:
        sentences.append("The share of the most frequent class, which always guessing it would reach, was not counted.")
    return " ".join([*sentences, *(f"**{sentence}**" for sentence in below_chance(record))])


def _origin(record: DistillationRecord) -> dict[str, str]:
    binding = binding_license(record)
    if binding is None:
        text = "No other model went into this one, so no licence of another model binds it."
    else:
        text = (
            f"**Licence: {escape(binding.name)}** ({binding.meaning}). It is {_licensed(record)}. It comes from "
            f"{listing(binding.models, longest=LONGEST_ID)}. Whether the licence of a teacher binds its student is an "
            "open legal question; this card assumes that it does."
        )
    return {
        "license": text + " The licence of the data is not recorded.",
        "teachers": teachers_table(record) if record.teachers else "",
        "weights": f"The weight is {escape(record.loss.weight_meaning, _LONGEST_SUMMARY)}."
        if record.loss.weight_meaning and any(teacher.weight is not None for teacher in record.teachers)
        else "",
        "transport_meaning": escape(record.transport_map.meaning, _LONGEST_SUMMARY) if record.transport_map else "",
    }


def _licensed(record: DistillationRecord) -> str:
    """Whose licence it is, or the models whose licences were compared."""
    count = len(record.pretrained_teachers)
    origins = [] if count == 0 else ["the teacher"] if count == 1 else ["the teachers"]
    origins += [] if record.student.base_model is None else ["the model that training started from"]
    if count <= 1 and len(origins) == 1:
        return f"that of {origins[0]}"
    return f"the most restrictive licence among {' and '.join(origins)}"


def _selection(record: DistillationRecord, ranking: TeacherRanking | None) -> dict[str, Any]:
    if ranking is None:
        return {"ranking": ""}
    metric = escape(ranking.metric)
    rows = {teacher.rows for teacher in ranking.scored if teacher.rows}
    return {
        "ranking": ranking_table(record, ranking),
        "metric": metric,
        "candidates": len(ranking.teachers),
        "ranked_rows": f"{'at most ' if len(rows) > 1 else ''}{max(rows)}" if rows else "",
        "certainty": escape(ranking.certainty, _LONGEST_CERTAINTY),
        "more": max(0, len(ranking.scored) - MAX_TEACHERS),
        "controls": (
            f"Scores marked *control* know nothing of this task. This ranking alone cannot show that {metric} chooses "
            "better teachers than a control does; that would take students trained from several of these teachers."
            if ranking.controls
            else f"No control, such as size or chance, was scored. So nothing here shows that {metric} chooses better "
            "teachers than chance does."
        ),
        "advice": baseline_note(ranking),
        "left_out": "\n".join(f"- {line}" for line in _left_out(ranking)),
        "skipped": skipped_list(ranking),
    }


def _pool(record: DistillationRecord) -> dict[str, str]:
    pool = record.pool
    if pool is None:
        return {"pool": ""}
    probabilities = " Each option has its probability at the end of training." if pool.probabilities else ""
    return {
        "pool": (
            f"This model is a generic teacher for a pool of {pool.members:,} architectures of the family "
            f"{escape(str(pool.description.get('family')))}. During training, branches of such students were attached "
            "to its stages, so that it learned outputs that they can imitate. The branches are not part of this model. "
            f"The members of the pool differ in these choices.{probabilities}"
        ),
        "pool_table": pool_table(pool),
        "pool_use": (
            "`StudentPool.from_dict(record.pool.description)` rebuilds the pool from `distillation.json`. "
            "`pool.sample(n, seed)` draws students and `students_within_budget(pool, label_space)` finds small ones. "
            "`DistillationTrainer` with `KLLoss` trains any of them from this model."
        ),
    }


def _making(record: DistillationRecord) -> dict[str, Any]:
    loss = record.loss
    return {
        "loss_name": escape(loss.name),
        "labels_only": record.labels_only,
        "citation": citation_text(loss.citation),
        "loss_settings": settings_table(loss.settings) if loss.settings else "",
        "command": fence(record.command, "bash") if record.command else "",
        "training": settings_table(record.training) if record.training else "",
        "versions": ", ".join(f"{escape(name)} {setting(version)}" for name, version in record.versions.items()),
    }


def snippet(task: TaskRecord, repo_id: str | None = None) -> str:
    """Python code that loads the student and shows it one row: the example that its task wrote, or a pipeline.

    Args:
        task: the record of the task.
        repo_id: the student's repository; None for the folder in which the reader runs the code.
    """
    template = task.words.example or _PIPELINE.replace("{task}", json.dumps(task.task))
    return template.replace("{model}", json.dumps(repo_id or ".")).strip()


def teacher_link(candidate: TeacherCandidate) -> str:
    """The teacher's name; for a teacher on the Hub a link to its revision, unless its weights are random."""
    name = escape(candidate.name, LONGEST_ID)
    if candidate.random_weights or candidate.source != "hub" or not candidate.revision.isalnum():
        return name
    return f"[{name}]({HUB}/{_url(candidate.model_id)}/tree/{candidate.revision})"


def teachers_table(record: DistillationRecord) -> str:
    """Every teacher with its revision, classes, size, licence and weight."""
    rows = []
    for teacher in record.teachers:
        candidate = teacher.candidate
        rows.append(
            [
                teacher_link(candidate) + (f" ({escape(candidate.role)})" if candidate.role else ""),
                escape(candidate.revision[:12]),
                _classes(candidate),
                parameters_in_words(candidate.parameters),
                _license(candidate),
                number(teacher.weight),
            ]
        )
    return table(["teacher", "revision", "classes of the teacher", "parameters", "licence", "weight"], rows)


def _classes(candidate: TeacherCandidate) -> str:
    names = candidate.label_names
    if names is None:
        return "none, or not recorded"
    classes = f"{len(names)}: {listing(names, 6)}"
    return f"those of the target, by their names: {classes}" if candidate.task == ZERO_SHOT else classes


def ranking_table(record: DistillationRecord, ranking: TeacherRanking) -> str:
    """The ten best teachers with their scores; those that taught the student are marked."""
    used = {_identity(teacher.candidate) for teacher in record.teachers_with_weight}
    names = [name for name in ranking.score_names if name != "parameters"]  # a column of its own
    size = "parameters (control)" if "parameters" in ranking.controls else "parameters"
    titles = [_score_title(name, ranking) for name in names]
    if ranking.has_intervals:
        titles.insert(1, INTERVAL)
    header = ["rank", "teacher", "used", *titles, size, "licence"]
    rows = [
        [
            str(rank),
            teacher_link(teacher.candidate) + (" (control)" if teacher.candidate.is_control else ""),
            "yes" if _identity(teacher.candidate) in used else "",
            *_score_cells(teacher, names, ranking),
            parameters_in_words(teacher.candidate.parameters),
            _license(teacher.candidate),
        ]
        for rank, teacher in enumerate(ranking.scored[:MAX_TEACHERS], 1)
    ]
    position = ranking.rank_of_baseline - 1
    if rows and ranking.baseline is not None and position <= len(rows):
        rows.insert(position, _baseline_row(ranking.baseline, _score_cells(ranking.baseline, names, ranking)))
    return table(header, rows) if rows else "No candidate could be scored."


def _score_cells(
    scored: RankedTeacher | TeacherFreeBaseline, names: Sequence[str], ranking: TeacherRanking
) -> list[str]:
    cells = [number(scored.scores.get(name)) for name in names]
    return [cells[0], interval_text(scored.interval), *cells[1:]] if ranking.has_intervals else cells


def _baseline_row(baseline: TeacherFreeBaseline, scores: list[str]) -> list[str]:
    student = baseline.student
    name = "*input features*" if student is None else f"*a student that starts from {teacher_link(student)}*"
    size = "" if student is None else parameters_in_words(student.parameters)
    return ["", name, "", *scores, size, ""]


def baseline_note(ranking: TeacherRanking) -> str:
    """What the line of the student itself, or of the input features, says of the candidates; empty without it."""
    baseline = ranking.baseline
    if baseline is None or not ranking.scored:
        return ""
    if baseline.student is None:
        what = "The row *input features* is what a linear probe reads from the input without any model"
    else:
        what = "The row in italics is the model that a student starts from, scored like a teacher"
    compared = [teacher for teacher in ranking.scored if ranking.is_compared(teacher)]
    controls = sum(teacher.candidate.is_control for teacher in compared)
    apart = f" {ranking.apart}" if ranking.apart else ""
    left_out = " without random weights" if controls else ""
    above_it = "above it and above random weights" if controls else "above it"
    if not ranking.above_baseline:
        return f"{what}. No candidate{left_out} scores {above_it}: none knows more of this task.{apart}"
    above = f"{len(ranking.above_baseline)} of {len(compared) - controls} scored candidates{left_out}"
    gain = ranking.expected_gain(ranking.above_baseline[0])
    tie = f" {ranking.tie}" if ranking.tie else ""
    alone = "its input features" if baseline.student is None else "its own features"
    expected = (
        "" if gain is None else f" The first was expected to add {gain} to the same student taught by {alone} alone."
    )
    return (
        f"{what}. {above_it.capitalize()}, by {escape(ranking.metric)}: {above}. Those below it know no more of this "
        f"task.{apart}{tie}{expected}"
    )


def _identity(candidate: TeacherCandidate) -> tuple[str, str, bool]:
    """What tells a teacher from others, one with random weights from the model that it is like included."""
    return candidate.model_id, candidate.revision, candidate.random_weights


def _license(candidate: TeacherCandidate) -> str:
    if candidate.random_weights:
        return "none: random weights"
    return escape(candidate.license) if candidate.license else NOT_STATED


def _left_out(ranking: TeacherRanking) -> list[str]:
    """Whose scores leave rows out, of the student and the teachers in the table."""
    table = replace(ranking, teachers=ranking.scored[:MAX_TEACHERS], members=())
    return [f"{escape(name, LONGEST_ID)}: {remark}" for name, remark in table.remarks]


def skipped_list(ranking: TeacherRanking) -> str:
    """The teachers that could not be scored, each with its reason."""
    skipped: list[RankedTeacher] = [teacher for teacher in ranking.teachers if teacher.skipped is not None]
    lines = [f"- {escape(t.candidate.name, LONGEST_ID)}: {escape(t.skipped or '', 240)}" for t in skipped[:MAX_SKIPPED]]
    more = len(skipped) - len(lines)
    return "\n".join([*lines, *([f"- and {more} more, in `ranking.json`"] if more else [])])


def results_table(record: DistillationRecord) -> str:
    """Metrics with their intervals, beside chance and the student trained without distillation where they exist."""
    chance = record.chance_levels
    header = ["metric", "student"]
    header += ["chance"] if chance else []
    header += ["without distillation", "difference"] if record.baseline else []
    rows = []
    for name, student in record.results.items():
        row = [escape(name), with_interval(student)]
        row += [number(chance.get(name))] if chance else []
        if record.baseline:
            row += [with_interval(record.baseline.get(name)), with_interval(record.differences.get(name), sign=True)]
        rows.append(row)
    return table(header, rows)


def citation_text(citation: str) -> str:
    """Where a loss comes from: each BibTeX entry as a block to copy, the words around them as sentences.

    Args:
        citation: BibTeX entries, words, or both; an entry starts with `@kind{` at the start of a line and ends with
            the brace that closes it.
    """
    parts = []
    rest = citation.strip()
    while rest:
        entry = _BIBTEX.match(rest)
        end = _closing_brace(rest) if entry else None
        if end is not None:
            parts.append(fence(rest[:end], "bibtex"))
        else:
            next_entry = _BIBTEX.search(rest, 1)
            end = len(rest) if next_entry is None else next_entry.start()
            parts.append(escape(rest[:end], 1000))
        rest = rest[end:].strip()
    return "\n\n".join(parts)


def _closing_brace(text: str) -> int | None:
    """Where the first group in braces ends; None when it is never closed."""
    depth = 0
    for index, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "}" and depth == 0:
            return index + 1
    return None


def settings_table(values: Mapping[str, object]) -> str:
    """Names and values, as recorded."""
    return table(["argument", "value"], [[escape(name), setting(value)] for name, value in values.items()])


def labelled_rows_counted(record: DistillationRecord) -> str:
    """How much or how often a labelled row counted, as a sentence; empty where every row has a label."""
    task, training = record.task, record.training
    if record.labels_only or not 0 < task.labelled_rows < task.train_rows:
        return ""
    share = training.get("labelled_share")
    if isinstance(share, int | float) and share > task.labelled_rows / task.train_rows:
        return f" Labelled rows were repeated until they were {share:.0%} of those read."
    weight = training.get("labelled_row_weight")
    if not isinstance(weight, int | float):
        return ""
    if weight >= task.train_rows / task.labelled_rows:
        return " The task loss was a mean over labelled rows."
    times = "once, like any other" if weight == 1 else f"{weight:g} times"
    return f" The task loss was a mean over all rows, in which a labelled row counted {times}."


def pool_table(pool: PoolRecord) -> str:
    """The choices in which members of a pool differ, with the probability of each option."""
    rows = []
    for name, options in pool.choices.items():
        probabilities = pool.probabilities.get(name, ())
        pairs = [f"{option} ({chance:.2f})" for option, chance in zip(options, probabilities, strict=False)]
        rows.append([escape(name), ", ".join(pairs or map(str, options))])
    return table(["choice", "options"], rows)


def made_from(record: DistillationRecord) -> str:
    """The end of the sentence "It was ...": from which teachers, or without any."""
    if record.pool is not None:
        return "trained with hf_ctkd on labels, as a teacher for a whole pool of student architectures"
    if record.labels_only:
        return "trained with hf_ctkd on the labels alone, without distillation"
    if not record.teachers:
        return "trained with hf_ctkd, with a loss that needs no teacher"
    names = [teacher.candidate.name for teacher in record.teachers_with_weight]
    if not names:
        return "trained with hf_ctkd; its teachers had no weight in the loss"
    teachers = "the teacher" if len(names) == 1 else f"a committee of {len(names)} teachers:"
    return (
        f"distilled with hf_ctkd from {teachers} {listing(names, 4, LONGEST_ID)}. In cross-task distillation a teacher "
        "may have been trained for other classes than its student"
    )


def dataset_link(task: TaskRecord) -> str:
    """The name of the data set; for one on the Hub a link to it."""
    repo_id = hub_dataset(task)
    name = escape(short_name(task.dataset), LONGEST_ID)
    return name if repo_id is None else f"[{escape(repo_id, LONGEST_ID)}]({HUB}/datasets/{_url(repo_id)})"


def _url(repo_id: str) -> str:
    return "".join(c for c in repo_id if c.isascii() and (c.isalnum() or c in "/-_."))


def _score_title(name: str, ranking: TeacherRanking) -> str:
    title = escape(name)
    if name in ranking.controls:
        return f"{title} (control)"
    return f"**{title}**" if name == ranking.metric else title
