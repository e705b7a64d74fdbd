"""The lines of code on a card that open the student with plain transformers."""

import json

from hf_ctkd.records import TaskRecord

_PIPELINE = """
from transformers import pipeline

student = pipeline({task}, model={model})
"""


def snippet(task: TaskRecord, repo_id: str | None = None) -> str:
    """Python code that loads the student and shows it one row: the example that its task wrote, or a pipeline.

    Args:
        task: the record of the task.
        repo_id: the student's repository; None for a folder that the reader stands in.
    """
    template = task.words.example or _PIPELINE.replace("{task}", json.dumps(task.task))
    return template.replace("{model}", json.dumps(repo_id or ".")).strip()
