"""What the Hub reads by machine: the metadata block on top of a card, and `.eval_results/*.yaml` beside it."""

import re
from pathlib import Path, PurePosixPath

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from hf_ctkd.cards.licenses import BindingLicense, most_restrictive
from hf_ctkd.cards.markdown import plain, slug
from hf_ctkd.records import NOT_LOOKED_UP, DistillationRecord, TaskRecord, write_text

LIBRARY = "hf_ctkd"
DISTILLED = ("knowledge-distillation", "cross-task-distillation")
GENERIC = "generic-teacher"
EVAL_RESULTS = ".eval_results"
EVAL_RESULTS_PREFIX = "hf_ctkd-"

LONGEST_ID = 193
"""Most characters of an id on the Hub: 96 for its owner, 96 for its name, and the slash."""
_LONGEST_NAME = 96
_LOCAL_DATA = "not-on-the-hub"
"""What the metadata gives as the type of local data: any other name might be the id of a data set on the Hub."""
_REPO_ID = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


def is_repo_id(name: str) -> bool:
    """Whether a name has the form `owner/name` of a repository on the Hub; a relative folder may have it too."""
    return _REPO_ID.fullmatch(name) is not None and not name.endswith((".", "-", ".git"))


def hub_dataset(task: TaskRecord) -> str | None:
    """The id of the data set on the Hub; None for local data, or where the record holds no valid id."""
    return task.hub_dataset if task.hub_dataset is not None and is_repo_id(task.hub_dataset) else None


def repo_name(folder: Path) -> str:
    """The name of the repository for a folder: the folder's own where the Hub accepts it, else one made from it."""
    name = folder.absolute().name
    return name if is_repo_id(f"owner/{name}") else slug(name)[:_LONGEST_NAME].rstrip("-.")


def short_name(name: str) -> str:
    """A repository id or a description unchanged; of a path its last name, as the rest is private."""
    path = plain(name).replace("\\", "/").rstrip("/")
    looks_local = path.startswith(("/", "./", "../", "~")) or path[1:3] == ":/" or path.count("/") > 1
    return PurePosixPath(path).name if looks_local and " " not in path else plain(name)


def binding_license(record: DistillationRecord) -> BindingLicense | None:
    """The licence that binds the student; None when no weights of another model went into it."""
    student = record.student
    base = [] if student.base_model is None else [(short_name(student.base_model), student.license)]
    return most_restrictive([*base, *((t.candidate.name, t.candidate.license) for t in record.pretrained_teachers)])


def card_data(record: DistillationRecord, title: str) -> ModelCardData:
    """Metadata of a card: base model, data set, licence, tags and results.

    Args:
        record: how the student was made.
        title: name of the student.
    """
    base = record.student.base_model
    on_hub = base is not None and is_repo_id(base)
    teachers = [t.candidate.model_id for t in record.pretrained_teachers if t.candidate.source == "hub"]
    dataset = hub_dataset(record.task)
    adapter = "adapter" in record.training
    license, license_name = _license(binding_license(record))
    return ModelCardData(
        base_model=plain(base) if base is not None and on_hub else None,
        base_model_relation=("adapter" if adapter else "finetune") if on_hub else None,
        datasets=None if dataset is None else [dataset],
        library_name="peft" if adapter else "transformers",
        pipeline_tag=slug(record.task.task),
        tags=_tags(record),
        teachers=[plain(teacher) for teacher in teachers] or None,
        metrics=[plain(name) for name in record.results] or None,
        model_name=title,
        eval_results=_eval_results(record) or None,
        license=license,
        license_name=license_name,
    )


def write_eval_results(folder: Path, record: DistillationRecord) -> list[str]:
    """Write one file for each metric, and remove files of an earlier card for metrics that the record no longer has.

    The format names a data set on the Hub, so nothing is written for local data. The card has the results anyway.

    Args:
        folder: the student's folder.
        record: holds the results.

    Returns:
        The files, relative to `folder`.

    Raises:
        InvalidArgumentError: if the folder cannot be written.
    """
    files = eval_result_files(record)
    for path in (folder / EVAL_RESULTS).glob(f"{EVAL_RESULTS_PREFIX}*.yaml"):
        if f"{EVAL_RESULTS}/{path.name}" not in files:
            path.unlink()
    for name, text in files.items():
        write_text(folder / name, text)
    return sorted(files)


def eval_result_files(record: DistillationRecord) -> dict[str, str]:
    """The files of `write_eval_results`, by name.

    The Hub allows one value for each file, data set and task. The task is `default`, because the record does not hold
    the list of tasks that a data set may define.
    """
    task, dataset = record.task, hub_dataset(record.task)
    if dataset is None:
        return {}
    files = {}
    for name, measured in record.results.items():
        notes = f"{plain(name)} on {plain(task.evaluation_rows)}"
        if measured.interval is not None:
            low, high = measured.interval
            notes += f"; {100 * measured.level:g} % interval {low:.4f} to {high:.4f}"
        entry = EvalResultEntry(dataset_id=dataset, task_id="default", value=measured.value, notes=notes)
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
        files[f"{EVAL_RESULTS}/{EVAL_RESULTS_PREFIX}{slug(name)}.yaml"] = text
    return files


def _tags(record: DistillationRecord) -> list[str]:
    kind = [*(DISTILLED if record.teachers_with_weight else ()), *([] if record.pool is None else [GENERIC])]
    problem = record.task.problem_type
    # The Hub's task tag already implies single labels.
    special = [] if problem in (None, "single_label_classification") else [slug(problem)]
    return [LIBRARY, *kind, slug(record.task.task), *special]


def _license(binding: BindingLicense | None) -> tuple[str | None, str | None]:
    if binding is None:
        return None, None
    if binding.license is None or binding.license == NOT_LOOKED_UP:
        return "unknown", None
    return (binding.license, None) if binding.known else ("other", slug(binding.license))


def _eval_results(record: DistillationRecord) -> list[EvalResult]:
    task = record.task
    return [
        EvalResult(
            task_type=slug(task.task),
            dataset_type=hub_dataset(task) or _LOCAL_DATA,
            dataset_name=short_name(task.dataset),
            dataset_split=plain(task.eval_split),
            metric_type=slug(name),
            metric_name=plain(name),
            metric_value=measured.value,
            metric_args=None
            if measured.interval is None
            else {"confidence_level": measured.level, "low": measured.low, "high": measured.high},
        )
        for name, measured in record.results.items()
    ]
