"""Evaluation results in the Hub's own format, `.eval_results/*.yaml`, beside the metadata of the card."""

from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from hf_ctkd.cards.markdown import plain, slug
from hf_ctkd.cards.metadata import is_repo_id
from hf_ctkd.records import DistillationRecord, write_text

FOLDER = ".eval_results"
PREFIX = "hf_ctkd-"


def write_eval_results(folder: Path, record: DistillationRecord) -> list[str]:
    """Write one file a metric, and remove those that we wrote before and that the record no longer has.

    The format names a data set on the Hub, so that nothing is written for other data; the card has the results anyway.

    Args:
        folder: the student's folder.
        record: what came out.

    Returns:
        The files, relative to `folder`.

    Raises:
        InvalidArgumentError: if the folder cannot be written.
    """
    files = eval_result_files(record)
    for path in (folder / FOLDER).glob(f"{PREFIX}*.yaml"):
        if f"{FOLDER}/{path.name}" not in files:
            path.unlink()
    for name, text in files.items():
        write_text(folder / name, text)
    return sorted(files)


def eval_result_files(record: DistillationRecord) -> dict[str, str]:
    """The files of `write_eval_results`, by name.

    The Hub allows one value a file, data set and task. The task is `default`, as a data set's own list of tasks
    is not known here.
    """
    task = record.task
    if not is_repo_id(task.dataset):
        return {}
    files = {}
    for name, measured in record.results.items():
        notes = f"{plain(name)} on {task.eval_rows} rows of the split {plain(task.eval_split)}"
        if measured.interval is not None:
            low, high = measured.interval
            notes += f"; {100 * measured.level:g} % bootstrap interval {low:.4f} to {high:.4f}"
        entry = EvalResultEntry(dataset_id=task.dataset, task_id="default", value=measured.value, notes=notes)
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
        files[f"{FOLDER}/{PREFIX}{slug(name)}.yaml"] = text
    return files
