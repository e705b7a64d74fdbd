"""Processor time and peak memory of ranking teachers and of preparing a training, by rows, classes and teachers.

    python -m benchmarks.size [--rows 10000 100000 1000000]

Each measurement runs in a process of its own, on texts that are made up, with tiny encoders as teachers. *rank* is
`TeacherSelector.rank`: it samples rows, so the rest is reading the data set. *train* is `DistillationTrainer` with a
tiny student that starts from nothing, up to its first step: the teachers read all rows, and the default loss is set up
with all of them. Rows are varied with two classes and one teacher, classes and teachers with the fewest rows. Writes
its section of `benchmarks/RESULTS.md` and its figure.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from datasets import Dataset
from matplotlib.figure import Figure
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from benchmarks.memory import RESULTS, in_own_process, peak_memory, synthetic_rows, wide_teacher
from benchmarks.results_file import put
from hf_ctkd import DistillationConfig, DistillationTrainer, TeacherSelector

BEGIN, END = "<!-- size:begin -->", "<!-- size:end -->"
ROWS = (10_000, 100_000, 1_000_000)
CLASSES, TEACHERS = (2, 20, 200), (1, 2, 4)
CASES = ("rank", "train")
FIGURE = RESULTS.parent / "figures" / "size.png"


@dataclass(frozen=True)
class Size:
    """How large a problem is.

    Args:
        rows: number of rows, all labelled.
        classes: number of classes.
        teachers: number of teachers.
    """

    rows: int
    classes: int = CLASSES[0]
    teachers: int = TEACHERS[0]

    def make_teachers(self, folder: Path) -> list[str]:
        """Folders of the teachers, which differ in their weights."""
        folders = [folder / f"teacher-{number}" for number in range(self.teachers)]
        for seed, of_teacher in enumerate(folders):
            wide_teacher(of_teacher, seed)
        return [str(of_teacher) for of_teacher in folders]

    def dataset(self) -> Dataset:
        """The rows."""
        return synthetic_rows(self.rows, self.classes).dataset


@dataclass(frozen=True)
class Measurement:
    """What one process took.

    Args:
        case: of `CASES`.
        size: of the problem.
        start: peak memory in MiB before.
        peak: peak memory in MiB at the end.
        seconds: of the processor, as wall time on a shared machine says more about its others.
    """

    case: str
    size: Size
    start: float
    peak: float
    seconds: float


def rank(size: Size, folder: Path) -> None:
    """Rank the teachers on some rows of a data set."""
    selector = TeacherSelector(cache_dir=folder / "cache", progress=False)
    ranking = selector.rank(size.make_teachers(folder), size.dataset())
    ranking.top(size.teachers)  # an error if one was skipped


def train(size: Size, folder: Path) -> None:
    """Prepare a training by the default loss, which takes all rows, and take one step of it."""
    teachers = size.make_teachers(folder)
    tokenizer = AutoTokenizer.from_pretrained(teachers[0])
    config = BertConfig.from_pretrained(teachers[0], num_labels=size.classes)
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
        teachers=teachers,
        train_dataset=size.dataset(),
        processing_class=tokenizer,
    ).train()


def measure(case: str, size: Size) -> Measurement:
    """The time and the peak memory of this process, which should have done nothing else."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        before, start = peak_memory(), time.process_time()
        (rank if case == "rank" else train)(size, Path(folder))
        return Measurement(case, size, before, peak_memory(), time.process_time() - start)


def sweeps(rows: Sequence[int]) -> dict[str, list[Size]]:
    """What is varied, and the sizes of each.

    Args:
        rows: numbers of rows, fewest first.
    """
    return {
        "rows": [Size(count) for count in rows],
        "classes": [Size(rows[0], classes=count) for count in CLASSES],
        "teachers": [Size(rows[0], teachers=count) for count in TEACHERS],
    }


def table(measurements: Sequence[Measurement]) -> str:
    """The section of RESULTS.md."""
    lines = [
        BEGIN,
        "## Growth with the rows",
        "",
        "Written by `python -m benchmarks.size`: processor seconds on one thread and peak resident memory of processes "
        "that rank teachers, or prepare a training by the default loss with a student that starts from nothing, up to "
        "its first step. *Before* is the peak before the first row, imports included. Making the texts up is part of "
        "both.",
        "",
        "| case | rows | classes | teachers | processor seconds | before MiB | peak MiB | KiB a row above the fewest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        of_case = [line for line in measurements if line.case == case]
        for line in of_case:
            size, more = line.size, line.size.rows - of_case[0].size.rows
            growth = f"{(line.peak - of_case[0].peak) * 1024 / more:.2f}" if more else ""
            cells = f"{line.seconds:.1f} | {line.start:.0f} | {line.peak:.0f} | {growth}"
            lines.append(f"| {case} | {size.rows:,} | {size.classes} | {size.teachers} | {cells} |")
    left_out = [f"{rows:,}" for rows in ROWS if rows not in {line.size.rows for line in measurements}]
    if left_out:
        lines += ["", f"Not run yet: {', '.join(left_out)} rows."]
    return "\n".join([*lines, "", f"![growth](figures/{FIGURE.name})", END])


def draw(measurements: Sequence[Measurement], rows: Sequence[int], path: Path) -> None:
    """Curves of time and memory against rows, classes and teachers; memory alone is on a linear axis.

    Args:
        measurements: of all sizes.
        rows: as for `sweeps`.
        path: of the figure.
    """
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row")
    found = {(line.case, line.size): line for line in measurements}
    for column, (name, sizes) in enumerate(sweeps(rows).items()):
        for case in CASES:
            lines = [found[case, size] for size in sizes if (case, size) in found]
            varied = [asdict(line.size)[name] for line in lines]
            axes[0, column].loglog(varied, [line.seconds for line in lines], "o-", label=case)
            axes[1, column].semilogx(varied, [line.peak for line in lines], "o-", label=case)
        varied = [asdict(size)[name] for size in sizes]
        for row in axes[:, column]:
            row.set_xticks(varied, [f"{number:,}" for number in varied])
            row.minorticks_off()
        axes[1, column].set_xlabel(name)
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("processor seconds")
    axes[1, 0].set_ylabel("peak memory, MiB")
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS), help="numbers of rows, fewest first")
    parser.add_argument("--measure", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(asdict(measure(options.measure, Size(*options.size)))))
        return
    sizes = list(dict.fromkeys(size for of_sweep in sweeps(options.rows).values() for size in of_sweep))
    measurements = []
    for case in CASES:
        for size in sizes:
            numbers = (str(number) for number in asdict(size).values())
            values = in_own_process("benchmarks.size", "--measure", case, "--size", *numbers)
            measurements.append(Measurement(**{**values, "size": size}))
    section = table(measurements)
    print(section)
    put(section, BEGIN, END, RESULTS)
    draw(measurements, options.rows, FIGURE)


if __name__ == "__main__":
    main()
