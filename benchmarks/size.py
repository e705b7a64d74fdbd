"""Processor time and peak memory of ranking a teacher and of setting up the default loss, by the number of rows.

    python -m benchmarks.size [--rows 10000 100000 1000000]

Each case and number of rows runs in a process of its own. *rank* is `TeacherSelector.rank` on texts that are made up,
with a tiny encoder: of the rows it samples, so the rest is reading the data set. *set-up* is `RowTransportLoss.setup`
and `row_targets` on made-up features of one teacher, which are read in chunks as from the disk. Writes its section of
`benchmarks/RESULTS.md`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.memory import RESULTS, peak_memory, synthetic_rows, wide_teacher
from benchmarks.results_file import put
from hf_ctkd import RowTransportLoss, TeacherSelector
from hf_ctkd.hub import folder_teachers
from hf_ctkd.types import UNLABELLED, LabelSpace, LossContext, ModelOutputs

BEGIN, END = "<!-- size:begin -->", "<!-- size:end -->"
ROWS = (10_000, 100_000, 1_000_000)
CASES = ("rank", "set-up")
WIDTH, CLASSES, LABELLED = 256, 10, 0.1
_NOISES = 4096


@dataclass(frozen=True)
class Measurement:
    """What one process took.

    Args:
        case: of `CASES`.
        rows: number of rows.
        start: peak memory in MiB before.
        peak: peak memory in MiB at the end.
        seconds: of the processor, as wall time on a shared machine says more about its others.
    """

    case: str
    rows: int
    start: float
    peak: float
    seconds: float


class MadeUpOutputs:
    """Features of any number of rows, which are made as they are read: a class centre and one of some noises."""

    def __init__(self, rows: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.rows = rows
        self.centres = torch.randn(CLASSES, WIDTH, generator=generator)
        self.noises = 4 * torch.randn(_NOISES, WIDTH, generator=generator)

    def __len__(self) -> int:
        return self.rows

    def select(self, rows: Tensor) -> ModelOutputs:
        numbers = torch.arange(self.rows)[rows]
        return ModelOutputs(self.centres[numbers % CLASSES] + self.noises[numbers * 7919 % _NOISES])

    def chunks(self, size: int) -> Iterator[tuple[slice, ModelOutputs]]:
        for start in range(0, self.rows, size):
            rows = slice(start, min(start + size, self.rows))
            yield rows, self.select(torch.arange(rows.start, rows.stop))


def rank(rows: int, folder: Path) -> None:
    """Rank one teacher on some rows of a data set."""
    wide_teacher(folder / "teacher")
    selector = TeacherSelector(cache_dir=folder / "cache", progress=False)
    selector.rank(folder_teachers(folder / "teacher"), synthetic_rows(rows).dataset)


def set_up(rows: int, folder: Path) -> None:
    """Set up the default loss, without the input features, and compute its targets."""
    labels = torch.arange(rows) % CLASSES
    labels[int(rows * LABELLED) :] = UNLABELLED
    space = LabelSpace(tuple(f"class {number}" for number in range(CLASSES)))
    student = ModelOutputs(torch.zeros(1, 8), torch.zeros(1, CLASSES))
    context = LossContext(labels, space, student, teachers=(MadeUpOutputs(rows),), teacher_label_spaces=(None,))
    loss = RowTransportLoss(input_features=False)
    loss.setup(context)
    loss.row_targets(context)


def measure(case: str, rows: int) -> Measurement:
    """The time and the peak memory of this process, which should have done nothing else."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        before, start = peak_memory(), time.process_time()
        (rank if case == "rank" else set_up)(rows, Path(folder))
        return Measurement(case, rows, before, peak_memory(), time.process_time() - start)


def table(measurements: Sequence[Measurement]) -> str:
    """The section of RESULTS.md."""
    lines = [
        BEGIN,
        "## Growth with the rows",
        "",
        "Written by `python -m benchmarks.size`: processor seconds on one thread and peak resident memory of processes "
        f"that rank one teacher, or set up the default loss on features of width {WIDTH} with {CLASSES} "
        f"classes, {LABELLED:.0%} of the rows labelled. *Before* is the peak before the first row, imports included. "
        "Making the texts up is part of *rank*.",
        "",
        "| case | rows | processor seconds | before MiB | peak MiB | KiB a row above the fewest rows |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        of_case = [line for line in measurements if line.case == case]
        for line in of_case:
            more = line.rows - of_case[0].rows
            growth = f"{(line.peak - of_case[0].peak) * 1024 / more:.2f}" if more else ""
            cells = f"{line.seconds:.1f} | {line.start:.0f} | {line.peak:.0f} | {growth}"
            lines.append(f"| {case} | {line.rows:,} | {cells} |")
    left_out = [f"{rows:,}" for rows in ROWS if rows not in {line.rows for line in measurements}]
    if left_out:
        lines += ["", f"Not run yet: {', '.join(left_out)} rows."]
    return "\n".join([*lines, END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS), help="numbers of rows, fewest first")
    parser.add_argument("--measure", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(asdict(measure(options.measure, options.rows[0]))))
        return
    measurements = []
    for case in CASES:
        for rows in options.rows:
            command = [sys.executable, "-m", "benchmarks.size", "--measure", case, "--rows", str(rows)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            measurements.append(Measurement(**json.loads(output.splitlines()[-1])))
    section = table(measurements)
    print(section)
    put(section, BEGIN, END, RESULTS)


if __name__ == "__main__":
    main()
