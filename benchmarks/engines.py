"""Throughput of two one-thread processes against one, when teachers are scored.

    python -m benchmarks.engines [--teachers 12] [--rows 200] [--repeats 3] [--write]

Every run scores the same teachers (ResNets with random weights, made here) in a cache of its own. The processes are
started beforehand, as those of a long ranking are, and each has one thread. Runs of one and of two processes follow
each other in turn, so that other load falls on both; the medians count. With `--write` the table goes into RESULTS.md.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

from benchmarks.results_file import put
from hf_ctkd.hub import folder_teachers
from hf_ctkd.records import RankedTeacher
from hf_ctkd.selection import ProcessExecutor, TeacherSelector

RESULTS = Path(__file__).parent / "RESULTS.md"
BEGIN, END = "<!-- engines:begin -->", "<!-- engines:end -->"
GOAL = 1.8


def make_teachers(folder: Path, count: int) -> None:
    for number in range(count):
        torch.manual_seed(number)
        config = ResNetConfig(hidden_sizes=[32, 64, 128, 256], embedding_size=32, depths=[2, 2, 2, 2], num_labels=10)
        ResNetForImageClassification(config).save_pretrained(folder / f"teacher-{number:02}")
        ViTImageProcessorPil(size={"height": 96, "width": 96}).save_pretrained(folder / f"teacher-{number:02}")


def make_rows(count: int) -> Dataset:
    generator = np.random.default_rng(0)
    images = [
        PILImage.fromarray(generator.integers(0, 128, (96, 96, 3), dtype=np.uint8) + np.uint8(25 * (row % 5)))
        for row in range(count)
    ]
    features = Features({"image": Image(), "label": ClassLabel(names=[f"shade {number}" for number in range(5)])})
    return Dataset.from_dict({"image": images, "label": [row % 5 for row in range(count)]}, features=features)


def measure(zoo: Path, rows: Dataset, executor: ProcessExecutor) -> tuple[float, tuple[RankedTeacher, ...]]:
    with tempfile.TemporaryDirectory() as cache:
        selector = TeacherSelector(executor=executor, cache_dir=cache, progress=False)
        start = time.perf_counter()
        ranking = selector.rank(list(folder_teachers(zoo)), rows)
        return time.perf_counter() - start, ranking.scored


def warm(executor: ProcessExecutor, processes: int) -> None:
    """Start every process, which imports torch and transformers: a task that sleeps keeps each from taking two."""
    for future in [executor.submit(_import_and_wait, 2.0) for _ in range(processes)]:
        future.result()


def _import_and_wait(seconds: float) -> None:
    import hf_ctkd.selection.scoring_job  # noqa: F401

    time.sleep(seconds)


def section(seconds: dict[int, list[float]], teachers: int, rows: int, loads: list[float]) -> str:
    medians = {processes: statistics.median(runs) for processes, runs in seconds.items()}
    gain = medians[1] / medians[2]
    lines = [
        f"| {processes} | {len(runs)} | {medians[processes]:.1f} ± {(max(runs) - min(runs)) / 2:.1f} | "
        f"{teachers / medians[processes]:.2f} | {medians[1] / medians[processes]:.2f} |"
        for processes, runs in seconds.items()
    ]
    busy = max(loads) > 2 * (os.cpu_count() or 1)
    text = (
        "## Scoring on several processes\n\n"
        f"{teachers} small ResNets with random weights, {rows} rows of 96 x 96 pixels, the default "
        f"metrics; `TeacherSelector(executor=ProcessExecutor(n))`, one thread a process, processes started beforehand; "
        f"{os.cpu_count()} cores; load average {min(loads):.1f} to {max(loads):.1f}; torch {torch.__version__}. Runs "
        "are interleaved; medians ± half the range. Both rank the teachers alike.\n\n"
        "| processes | runs | seconds | teachers a second | throughput |\n|---|---|---|---|---|\n" + "\n".join(lines)
    )
    verdict = "met" if gain >= GOAL else "missed"
    text += f"\n\nGoal, twice the processes at least {GOAL} times the throughput: **{verdict}** ({gain:.2f} times)."
    if busy:
        text += " Other work had most of the cores during these runs, so this is no measurement of a free machine."
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teachers", type=int, default=12)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, seconds, loads, orders = make_rows(arguments.rows), {1: [], 2: []}, [], set()
    with tempfile.TemporaryDirectory() as folder:
        make_teachers(Path(folder), arguments.teachers)
        with ProcessExecutor(1) as one, ProcessExecutor(2) as two:
            executors = {1: one, 2: two}
            for processes, executor in executors.items():
                warm(executor, processes)
                measure(Path(folder), rows, executor)  # not counted
            for _ in range(arguments.repeats):
                for processes, executor in executors.items():
                    duration, scored = measure(Path(folder), rows, executor)
                    seconds[processes].append(duration)
                    loads.append(os.getloadavg()[0])
                    orders.add(tuple(teacher.candidate.name for teacher in scored))
                    print(processes, f"{duration:.1f} s, load {loads[-1]:.1f}", flush=True)
    if len(orders) != 1:
        raise SystemExit("the rankings differ")
    text = section(seconds, arguments.teachers, arguments.rows, loads)
    print(text)
    if arguments.write:
        put(f"{BEGIN}\n{text}\n{END}", BEGIN, END, RESULTS)


if __name__ == "__main__":
    main()
