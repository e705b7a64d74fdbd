"""What the commands print."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Any

from hf_ctkd.cli.arguments import ParsedCommand
from hf_ctkd.records import Confidence, DistillationRecord, text_table


def run_and_print(run: Callable[[ParsedCommand], Mapping[str, Any] | None], parsed: ParsedCommand) -> None:
    """Run a command, without progress bars for `--quiet`, and with one JSON object on stdout for `--json`.

    What the command, the trainer, trackers and programs that they start print goes to stderr then.

    Args:
        run: gives what came of it; None on a process that prints nothing.
        parsed: the command line.
    """
    arguments = parsed.arguments
    with ExitStack() as stack:
        if arguments.quiet:
            from hf_ctkd.cli.bars import no_bars  # imports torch

            stack.enter_context(no_bars())
        if arguments.json:
            stack.enter_context(_words_on_stderr())
        values = run(parsed)
    if arguments.json and values is not None:
        print(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))


@contextmanager
def _words_on_stderr() -> Iterator[None]:
    """Send to stderr what this process prints, and what its children and libraries in C write to its stdout."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def results_text(record: DistillationRecord) -> str:
    """Metrics of the student under a line that says on what, or how to get any."""
    if not record.results:
        return "There was nothing to evaluate on; name rows with `--eval_split`."
    intervals = any(value.interval is not None for value in record.results.values())
    on = f"On {record.task.eval_rows} evaluation rows{', with 95 % intervals' if intervals else ''}:"
    uncertain = ", ".join(record.gain_within_chance)
    lines = [on, results_table(record)]
    if uncertain:
        lines.append(f"The interval of the difference in {uncertain} includes 0: it may be due to chance.")
    if record.gain_nowhere:
        lines.append(f"In {', '.join(record.gain_nowhere)} both students do alike on every row.")
    return "\n".join(lines)


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
