"""Processor time and peak memory of ranking a teacher and of preparing a training, by the number of rows.

    python -m benchmarks.size [--rows 10000 100000 1000000]

Each case and number of rows runs in a process of its own, on texts that are made up, with a tiny encoder as the
teacher. *rank* is `TeacherSelector.rank`: it samples rows, so the rest is reading the data set. *train* is
`DistillationTrainer` with a tiny student that starts from nothing, up to its first step: the teacher reads all rows,
and the default loss is set up with all of them. Writes its section of `benchmarks/RESULTS.md`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from benchmarks.memory import RESULTS, in_own_process, peak_memory, synthetic_rows, wide_teacher
from benchmarks.results_file import put
from hf_ctkd import DistillationConfig, DistillationTrainer, TeacherSelector
from hf_ctkd.hub import folder_teachers

BEGIN, END = "<!-- size:begin -->", "<!-- size:end -->"
ROWS = (10_000, 100_000, 1_000_000)
CASES = ("rank", "train")


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


def rank(rows: int, folder: Path) -> None:
    """Rank one teacher on some rows of a data set."""
    wide_teacher(folder / "teacher")
    selector = TeacherSelector(cache_dir=folder / "cache", progress=False)
    ranking = selector.rank(folder_teachers(folder / "teacher"), synthetic_rows(rows).dataset)
    ranking.top(1)  # an error if it was skipped


def train(rows: int, folder: Path) -> None:
    """Prepare a training by the default loss, which takes all rows, and take one step of it."""
    wide_teacher(folder / "teacher")
    tokenizer = AutoTokenizer.from_pretrained(folder / "teacher")
    config = BertConfig.from_pretrained(folder / "teacher", num_labels=2)
    args = DistillationConfig(
        str(folder / "student"),
        max_steps=1,
        teacher_batch_size=256,
        cache_dir=str(folder / "cache"),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    DistillationTrainer(
        model=BertForSequenceClassification(config),
        args=args,
        teachers=[str(folder / "teacher")],
        train_dataset=synthetic_rows(rows).dataset,
        processing_class=tokenizer,
    ).train()


def measure(case: str, rows: int) -> Measurement:
    """The time and the peak memory of this process, which should have done nothing else."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        before, start = peak_memory(), time.process_time()
        (rank if case == "rank" else train)(rows, Path(folder))
        return Measurement(case, rows, before, peak_memory(), time.process_time() - start)


def table(measurements: Sequence[Measurement]) -> str:
    """The section of RESULTS.md."""
    lines = [
        BEGIN,
        "## Growth with the rows",
        "",
        "Written by `python -m benchmarks.size`: processor seconds on one thread and peak resident memory of processes "
        "that rank one teacher, or prepare a training by the default loss with one teacher and a student that starts "
        "from nothing, up to its first step. *Before* is the peak before the first row, imports included. Making the "
        "texts up is part of both.",
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
    flags = (("--measure", case, "--rows", str(rows)) for case in CASES for rows in options.rows)
    measurements = [Measurement(**in_own_process("benchmarks.size", *of_one)) for of_one in flags]
    section = table(measurements)
    print(section)
    put(section, BEGIN, END, RESULTS)


if __name__ == "__main__":
    main()
