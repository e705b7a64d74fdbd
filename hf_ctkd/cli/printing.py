"""What the commands print at their end."""

import shlex
from collections.abc import Mapping, Sequence

from hf_ctkd.records import Confidence, DistillationRecord, text_table


def results_text(record: DistillationRecord) -> str:
    """Metrics of the student under a line that says on what, or how to get any."""
    if not record.results:
        return "There was nothing to evaluate on; name rows with `--eval_split`."
    intervals = any(value.interval is not None for value in record.results.values())
    on = f"On {record.task.eval_rows} evaluation rows{', with 95 % intervals' if intervals else ''}:"
    overlapping = [name for name, value in record.results.items() if _overlaps(value, record.baseline.get(name))]
    chance = (
        f"\nThe intervals overlap in {', '.join(overlapping)}: the gain may be due to chance." if overlapping else ""
    )
    return f"{on}\n{results_table(record)}{chance}"


def results_table(record: DistillationRecord) -> str:
    """Metrics of the student with their intervals, and beside the student without distillation when there is one."""
    header = ["metric", "student", *(["without distillation", "gain"] if record.baseline else [])]
    return text_table(header, [_line(name, value, record.baseline) for name, value in record.results.items()])


def next_command(words: Sequence[str]) -> str:
    """The command to type next, quoted for a shell."""
    return f"Next:  {shlex.join(['hf-ctkd', *words])}"


def _overlaps(value: Confidence, other: Confidence | None) -> bool:
    return other is not None and bool(value.overlaps(other))


def _line(name: str, value: Confidence, baseline: Mapping[str, Confidence]) -> list[str]:
    if not baseline:
        return [name, _interval(value)]
    other = baseline.get(name)
    return [
        name,
        _interval(value),
        "-" if other is None else _interval(other),
        "-" if other is None else f"{value.value - other.value:+.3f}",
    ]


def _interval(value: Confidence) -> str:
    if value.interval is None:
        return f"{value.value:.3f}"
    low, high = value.interval
    return f"{value.value:.3f} [{low:.3f}, {high:.3f}]"
