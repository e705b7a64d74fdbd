"""What the commands print at their end."""

import shlex
from collections.abc import Sequence

from hf_ctkd.records import Confidence, DistillationRecord, text_table


def results_text(record: DistillationRecord) -> str:
    """Metrics of the student under a line that says on what, or how to get any."""
    if not record.results:
        return "There was nothing to evaluate on; name rows with `--eval_split`."
    intervals = any(value.interval is not None for value in record.results.values())
    on = f"On {record.task.eval_rows} evaluation rows{', with 95 % intervals' if intervals else ''}:"
    uncertain = ", ".join(record.gain_within_chance)
    chance = (
        f"\nThe interval of the difference in {uncertain} includes 0: it may be due to chance." if uncertain else ""
    )
    return f"{on}\n{results_table(record)}{chance}"


def results_table(record: DistillationRecord) -> str:
    """Metrics of the student with their intervals, and beside the student without distillation when there is one."""
    if not record.baseline:
        return text_table(["metric", "student"], [[name, value.text()] for name, value in record.results.items()])
    header = ["metric", "student", "without distillation", "difference"]
    return text_table(header, [[name, *_compared(record, name, value)] for name, value in record.results.items()])


def next_command(words: Sequence[str]) -> str:
    """The command to type next, quoted for a shell."""
    return f"Next:  {shlex.join(['hf-ctkd', *words])}"


def _compared(record: DistillationRecord, name: str, value: Confidence) -> list[str]:
    if name not in record.baseline:
        return [value.text(), "-", "-"]
    return [value.text(), record.baseline[name].text(), record.differences[name].text(sign=True)]
