"""A model card from two records: how the student was made, and how its teachers were chosen."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from hf_ctkd.cards.figures import LEADERBOARD, RESULTS, TRANSPORT_MAP, drawable_figures
from hf_ctkd.cards.licenses import NOT_STATED
from hf_ctkd.cards.limitations import limitations
from hf_ctkd.cards.markdown import escape, fence, listing, number, plain, setting, size, table
from hf_ctkd.cards.metadata import binding_license, card_data, is_repo_id, short_name
from hf_ctkd.cards.signature import blank_signature, seal
from hf_ctkd.cards.usage import snippet
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import (
    Confidence,
    DistillationRecord,
    PoolRecord,
    RankedTeacher,
    TeacherCandidate,
    TeacherRanking,
)

HUB = "https://huggingface.co"
SHOWN_TEACHERS = 10
SHOWN_SKIPPED = 20
TEMPLATE = Path(__file__).with_name("template.md")

_BIBTEX = re.compile(r"^@[A-Za-z]+\s*\{", re.MULTILINE)
_YES_OR_NO = {True: "yes", False: "no", None: ""}
_LONGEST_SUMMARY = 300


def render_card(
    record: DistillationRecord,
    ranking: TeacherRanking | None = None,
    *,
    repo_id: str | None = None,
    figures: Sequence[str] = (),
) -> str:
    """The whole README.md of a student, metadata included, from its records alone.

    Use `hf_ctkd.cards.write_card` to write it with its figures into the student's folder; use this to see the
    text, or to put it elsewhere. The same records give the same text, byte for byte.

    Args:
        record: how the student was made and what came out.
        ranking: how its teachers were chosen, if there was a selection.
        repo_id: repository that it is published as, `"owner/name"`; None for a folder, from which the snippet loads.
        figures: which of `hf_ctkd.cards.figures.FIGURES` stand beside the card.

    Raises:
        InvalidArgumentError: if `repo_id` has another form.

    Example:
        >>> from hf_ctkd.records import DistillationRecord, LossRecord, StudentRecord, TaskRecord
        >>> task = TaskRecord("digits", "1f2e", "image-classification", "image", "label", ("zero", "one"), 60, 20)
        >>> student = StudentRecord("ResNetForImageClassification", parameters=10_000)
        >>> card = render_card(DistillationRecord(task, student, (), LossRecord("Spectral", {}, "Auty et al. 2024")))
        >>> "20 labelled rows" in card
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
        "results_figure": RESULTS if RESULTS in figures else None,
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
    origin = (
        "trained from its configuration"
        if student.base_model is None
        else (f"started from {escape(short_name(student.base_model))}")
    )
    return {
        "summary": (
            f"A model ({escape(student.architecture)}, {size(student.parameters)} parameters, {origin}) that "
            f"{_does(record)}. It was {made_from(record)}."
        ),
        "install": f"`pip install {escape(task.words.packages)}`; hf_ctkd itself is not needed"
        + (":" if repo_id else ". In this folder:"),
        "snippet": fence(snippet(task, repo_id), "python"),
        "dataset": (
            f"Data: {dataset_link(record, is_repo_id(task.dataset))}, columns {escape(task.input_column)} and "
            f"{escape(task.label_column)}, {task.train_rows} rows, of which {task.labelled_rows} have a label."
            f"{labelled_row_weight(record)}"
        ),
        "fingerprint": "".join(c for c in plain(task.fingerprint) if c.isalnum() or c in "-_."),
    }


def _does(record: DistillationRecord) -> str:
    names = record.task.label_names
    summary = escape(record.task.words.summary, _LONGEST_SUMMARY)
    return summary.replace("{classes}", f"{len(names)} classes: {listing(names)}")


def _outcome(record: DistillationRecord) -> dict[str, Any]:
    student = record.student
    measured = student.rows_per_second is not None
    return {
        "results": results_table(record) if record.results else "",
        "baseline": bool(record.baseline),
        "eval_rows": record.task.eval_rows,
        "eval_split": escape(record.task.eval_split),
        "levels": " and ".join(f"{100 * level:g} %" for level in record.confidence_levels),
        "cost": cost_table(record),
        "speed_note": (
            f"Forward passes on {escape(student.device or 'an unknown device')}, "
            f"{student.batch_size or 'an unknown number of'} rows at once, preprocessing left out."
            if measured
            else "Speed was not measured."
        ),
    }


def _origin(record: DistillationRecord) -> dict[str, str]:
    binding = binding_license(record)
    if binding is None:
        text = "No other model went into this one, so no licence of another model binds it."
    else:
        text = (
            f"**Licence: {escape(binding.name)}** ({binding.meaning}). It is the most restrictive among the teachers "
            f"and the model that the student started from, brought by {listing(binding.models)}. Whether a student is "
            "bound by its teachers' licences is not settled; this card takes the careful side."
        )
    return {
        "license": text + " The licence of the data is not recorded here.",
        "teachers": teachers_table(record) if record.teachers else "",
    }


def _selection(record: DistillationRecord, ranking: TeacherRanking | None) -> dict[str, Any]:
    if ranking is None:
        return {"ranking": ""}
    if ranking.controls:
        controls = (
            f"*Control* marks scores that know nothing of this task. Whether {escape(ranking.metric)} predicts better "
            "than they do cannot be told from a ranking: it takes students trained from several of these teachers."
        )
    else:
        controls = (
            "No control (size, chance) was scored beside it, so nothing says whether this order is better than theirs."
        )
    return {
        "ranking": ranking_table(record, ranking),
        "metric": escape(ranking.metric),
        "candidates": len(ranking.teachers),
        "ranked_rows": max((teacher.rows for teacher in ranking.scored), default=0),
        "more": max(0, len(ranking.scored) - SHOWN_TEACHERS),
        "controls": controls,
        "skipped": skipped_list(ranking),
    }


def _pool(record: DistillationRecord) -> dict[str, str]:
    pool = record.pool
    if pool is None:
        return {"pool": ""}
    trained = " with the probability that training left each option with" if pool.probabilities else ""
    return {
        "pool": (
            f"It is a generic teacher: while it learned, branches of students from a pool of {pool.members:,} "
            f"architectures of the family {escape(str(pool.description.get('family')))} were grafted onto its stages, "
            "and it learned to say what they can follow. The branches are not in this model. The pool, by what its "
            f"members differ in{trained}:"
        ),
        "pool_table": pool_table(pool),
        "pool_use": (
            "`distillation.json` describes the pool: `StudentPool.from_dict(record.pool.description)` gives it back, "
            "`pool.sample(n, seed)` draws students, `students_within_budget(pool, label_space)` finds small ones, and "
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


def teacher_link(candidate: TeacherCandidate) -> str:
    """The teacher's name, linked to the very revision when it lies on the Hub."""
    name = escape(candidate.name)
    if candidate.source != "hub" or not candidate.revision.isalnum():
        return name
    return f"[{name}]({HUB}/{_url(candidate.model_id)}/tree/{candidate.revision})"


def teachers_table(record: DistillationRecord) -> str:
    """Every teacher with its revision, classes, size, licence and weight."""
    rows = []
    for teacher in record.teachers:
        candidate = teacher.candidate
        names = candidate.label_names
        rows.append(
            [
                teacher_link(candidate) + (f" ({escape(candidate.role)})" if candidate.role else ""),
                escape(candidate.revision[:12]),
                "none, or not known" if names is None else f"{len(names)}: {listing(names, 6)}",
                size(candidate.parameters),
                escape(candidate.license) if candidate.license else NOT_STATED,
                number(teacher.weight),
            ]
        )
    return table(["teacher", "revision", "its own classes", "parameters", "licence", "weight"], rows)


def ranking_table(record: DistillationRecord, ranking: TeacherRanking) -> str:
    """The ten best teachers with every score, those used marked."""
    used = {(teacher.candidate.model_id, teacher.candidate.revision) for teacher in record.teachers}
    names = ranking.score_names
    header = ["rank", "teacher", "used", *(_score_title(name, ranking) for name in names), "parameters", "licence"]
    rows = [
        [
            str(rank),
            teacher_link(teacher.candidate),
            "yes" if (teacher.candidate.model_id, teacher.candidate.revision) in used else "",
            *(number(teacher.scores.get(name)) for name in names),
            size(teacher.candidate.parameters),
            escape(teacher.candidate.license) if teacher.candidate.license else NOT_STATED,
        ]
        for rank, teacher in enumerate(ranking.scored[:SHOWN_TEACHERS], 1)
    ]
    return table(header, rows) if rows else "No candidate could be scored."


def skipped_list(ranking: TeacherRanking) -> str:
    """The teachers that could not be scored, each with its reason."""
    skipped: list[RankedTeacher] = [teacher for teacher in ranking.teachers if teacher.skipped is not None]
    lines = [f"- {escape(t.candidate.name)}: {escape(t.skipped or '', 240)}" for t in skipped[:SHOWN_SKIPPED]]
    more = len(skipped) - len(lines)
    return "\n".join([*lines, *([f"- and {more} more, in `ranking.json`"] if more else [])])


def results_table(record: DistillationRecord) -> str:
    """Metrics with their intervals, if any, beside the student trained without distillation where there is one."""
    if not record.baseline:
        return table(["metric", "student"], [[escape(n), _interval(v)] for n, v in record.results.items()])
    rows = []
    for name, student in record.results.items():
        baseline = record.baseline.get(name)
        difference = None if baseline is None else student.value - baseline.value
        rows.append(
            [
                escape(name),
                _interval(student),
                _interval(baseline),
                number(difference, sign=True),
                _YES_OR_NO[None if baseline is None else student.overlaps(baseline)],
            ]
        )
    return table(["metric", "student", "without distillation", "difference", "intervals overlap"], rows)


def cost_table(record: DistillationRecord) -> str:
    """Size and speed of the student and of its teachers."""
    student = record.student
    rows = [["this student", size(student.parameters), "", _speed(student.rows_per_second), ""]]
    for teacher in record.teachers:
        parameters = teacher.candidate.parameters
        rows.append(
            [
                escape(teacher.candidate.name),
                size(parameters),
                _times(parameters, student.parameters),
                _speed(teacher.rows_per_second),
                _times(student.rows_per_second, teacher.rows_per_second),
            ]
        )
    return table(["model", "parameters", "size in students", "rows a second", "student is faster by"], rows)


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


def labelled_row_weight(record: DistillationRecord) -> str:
    """For how many rows a labelled row counted, as a sentence; empty where every row has a label, or without a loss."""
    task, weight = record.task, record.training.get("labelled_row_weight")
    if record.labels_only or weight is None or not 0 < task.labelled_rows < task.train_rows:
        return ""
    most = task.train_rows / task.labelled_rows
    if float(weight) >= most:
        return " The task loss was a mean over labelled rows."
    return f" In the task loss, a mean over all rows, a labelled row counted {float(weight):g} times."


def pool_table(pool: PoolRecord) -> str:
    """What the members of a pool differ in, with the probability of each option."""
    rows = []
    for name, options in pool.choices.items():
        chances = pool.probabilities.get(name, ())
        with_chances = [f"{option} ({chance:.2f})" for option, chance in zip(options, chances, strict=False)]
        rows.append([escape(name), ", ".join(with_chances or map(str, options))])
    return table(["choice", "options"], rows)


def made_from(record: DistillationRecord) -> str:
    """From what the student was distilled, in half a sentence."""
    if record.pool is not None:
        return "trained with hf_ctkd on labels, as a teacher for a whole pool of student architectures"
    names: Sequence[str] = [teacher.candidate.name for teacher in record.teachers]
    if record.labels_only:
        return "trained with hf_ctkd on the labels alone, without distillation"
    if not names:
        return "trained with hf_ctkd, with a loss that needs no teacher"
    kind = "the teacher" if len(names) == 1 else f"a committee of {len(names)} teachers,"
    return (
        f"distilled with hf_ctkd from {kind} {listing(names, 4)}, by cross-task knowledge distillation: a teacher need "
        "not know this task"
    )


def dataset_link(record: DistillationRecord, linked: bool) -> str:
    """The data set's name, linked when it is on the Hub."""
    name = escape(short_name(record.task.dataset), 120)
    return f"[{name}]({HUB}/datasets/{_url(record.task.dataset)})" if linked else name


def _url(repo_id: str) -> str:
    return "".join(c for c in repo_id if c.isascii() and (c.isalnum() or c in "/-_."))


def _score_title(name: str, ranking: TeacherRanking) -> str:
    title = escape(name)
    if name in ranking.controls:
        return f"{title} (control)"
    return f"**{title}**" if name == ranking.metric else title


def _interval(value: Confidence | None) -> str:
    if value is None:
        return ""
    if value.interval is None:
        return number(value.value)
    low, high = value.interval
    return f"{number(value.value)} ({number(low)} to {number(high)})"


def _speed(rows_per_second: float | None) -> str:
    return "not measured" if rows_per_second is None else f"{rows_per_second:,.0f}"


def _times(large: int | float | None, small: int | float | None) -> str:
    return "" if large is None or not small else f"{large / small:.1f}"
