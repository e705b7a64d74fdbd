"""A model card from two records: how the student was made, and how its teachers were chosen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from hf_ctkd.cards.figures import LEADERBOARD, RESULTS, TRANSPORT_MAP, drawable_figures
from hf_ctkd.cards.limitations import limitations
from hf_ctkd.cards.markdown import escape, fence, listing, plain, setting, size
from hf_ctkd.cards.metadata import binding_license, card_data, is_repo_id, short_name
from hf_ctkd.cards.sections import (
    SHOWN_TEACHERS,
    cost_table,
    dataset_link,
    labelled_row_weight,
    levels,
    made_from,
    pool_table,
    ranking_table,
    results_table,
    settings_table,
    skipped_list,
    teachers_table,
)
from hf_ctkd.cards.signature import blank_signature, seal
from hf_ctkd.cards.usage import snippet
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import DistillationRecord, TeacherRanking

TEMPLATE = Path(__file__).with_name("template.md")

_NOUNS = {"image-classification": "images", "text-classification": "texts"}
_PACKAGES = dict.fromkeys(
    ("image-classification", "image-segmentation", "depth-estimation"), "transformers torch pillow"
)


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
        "install": f"`pip install {_PACKAGES.get(task.task, 'transformers torch')}`; hf_ctkd itself is not needed"
        + (":" if repo_id else ". In this folder:"),
        "snippet": fence(snippet(task.task, repo_id), "python"),
        "dataset": (
            f"Data: {dataset_link(record, is_repo_id(task.dataset))}, columns {escape(task.input_column)} and "
            f"{escape(task.label_column)}, {task.train_rows} rows, of which {task.labelled_rows} have a label."
            f"{labelled_row_weight(record)}"
        ),
        "fingerprint": "".join(c for c in plain(task.fingerprint) if c.isalnum() or c in "-_."),
    }


def _does(record: DistillationRecord) -> str:
    task, names = record.task.task, record.task.label_names
    if task == "depth-estimation":
        return "estimates how far away every pixel of an image is, in metres"
    classes = f"{len(names)} classes: {listing(names)}"
    if task == "image-segmentation":
        return f"puts every pixel of an image into one of {classes}"
    return f"sorts {_NOUNS.get(task, 'inputs')} into {classes}"


def _outcome(record: DistillationRecord) -> dict[str, Any]:
    student = record.student
    measured = student.rows_per_second is not None
    return {
        "results": results_table(record) if record.results else "",
        "baseline": bool(record.baseline),
        "eval_rows": record.task.eval_rows,
        "eval_split": escape(record.task.eval_split),
        "levels": levels(record),
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
            "`pool.sample(n, seed)` and `pool.under(label_space, parameters=, latency_ms=)` give students, and "
            "`DistillationTrainer` with `KLLoss` trains any of them from this model."
        ),
    }


def _making(record: DistillationRecord) -> dict[str, Any]:
    loss = record.loss
    bibtex = "bibtex" if loss.citation.lstrip().startswith("@") else "text"
    return {
        "loss_name": escape(loss.name),
        "labels_only": record.labels_only,
        "citation": fence(loss.citation, bibtex) if loss.citation.strip() else "",
        "loss_settings": settings_table(loss.settings) if loss.settings else "",
        "command": fence(record.command, "bash") if record.command else "",
        "training": settings_table(record.training) if record.training else "",
        "versions": ", ".join(f"{escape(name)} {setting(version)}" for name, version in record.versions.items()),
    }
