"""Processor seconds of transferability metrics, before and now, and the order that a part of the classes gives.

    python benchmarks/metrics.py [--before CHECKOUT] [--metrics NAME ...] [--classes NUMBER ...]

CHECKOUT is a folder with an older `hf_ctkd`, which is measured in a process of its own. Writes its section of
`benchmarks/RESULTS.md`. Processor seconds on one thread, as wall time on a shared machine says more about its others.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch

# The folder of this file would come first on the path, where its modules could stand for others.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]

HERE = Path(__file__).resolve().parent
Table: TypeAlias = dict[str, list[tuple[float, float]]]
"""Seconds and score of each metric, for each number of classes."""
ROWS, WIDTH, CLASSES = 2000, 768, (10, 100, 1000)
METRICS = (
    "InformationGain",
    "LogME",
    "HScore",
    "LEEP",
    "NCE",
    "NearestNeighbour",
    "PACTran",
    "SFDA",
    "GBC",
    "TransRate",
)
NOISES = (1.0, 1.4, 2.0, 2.8)
WIDE_NOISES = (4.0, 5.6, 8.0, 11.0)


def rows_of(classes: int, *, rows: int = ROWS, width: int = WIDTH, noise: float = 4.0) -> tuple[torch.Tensor, ...]:
    """Features whose spectrum falls as that of a trained network does, logits, and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    spectrum = torch.arange(1, width + 1).float().rsqrt()
    centres, turn = torch.randn(classes, width, generator=generator), torch.randn(width, width, generator=generator)
    points = (centres[labels] + noise * torch.randn(rows, width, generator=generator)) * spectrum
    features = points @ torch.linalg.qr(turn)[0]
    return features, features @ torch.randn(width, 50, generator=generator) / 4, labels


def seconds(score: Callable[[], float]) -> tuple[float, float]:
    """Processor seconds of a call, and its result."""
    began = time.process_time()
    result = score()
    return time.process_time() - began, result


def measured(names: list[str], numbers: list[int]) -> Table:
    """Seconds and score of every metric for each number of classes, by the `hf_ctkd` on the path."""
    from hf_ctkd import metrics
    from hf_ctkd.types import ModelOutputs

    table: Table = {}
    for classes in numbers:
        features, logits, labels = rows_of(classes)
        outputs = ModelOutputs(features, logits)
        for name in names:
            metric = getattr(metrics, name)()
            table.setdefault(name, []).append(seconds(partial(metric.score, outputs, labels)))
            print(name, classes, table[name][-1], file=sys.stderr, flush=True)
    return table


def order() -> list[str]:
    """Information gain of teachers of growing noise over all classes and over a part of them."""
    from hf_ctkd.metrics import InformationGain
    from hf_ctkd.types import ModelOutputs

    lines = ["", "| noise of the teacher | all 400 classes | 256 of them |", "|---|---|---|"]
    for noise in NOISES:
        features, _, labels = rows_of(400, rows=1200, width=96, noise=noise)
        outputs = ModelOutputs(features)
        whole, part = (InformationGain(max_size=size).score(outputs, labels) for size in (math.inf, 1e6))
        lines.append(f"| {noise} | {whole:.4f} | {part:.4f} |")
    return lines


def axes() -> list[str]:
    """Information gain of wide features along all their principal axes and along those of the default."""
    from hf_ctkd.metrics import InformationGain
    from hf_ctkd.types import ModelOutputs

    lines = ["", "| noise of the teacher | all 1,536 axes, seconds | the default's 512, seconds |", "|---|---|---|"]
    for noise in WIDE_NOISES:
        features, _, labels = rows_of(50, rows=2000, width=1536, noise=noise)
        outputs, cells = ModelOutputs(features), []
        for metric in (InformationGain(max_axes=1536), InformationGain()):
            spent, gain = seconds(partial(metric.score, outputs, labels))
            cells.append(f"{gain:.4f}, {spent:.1f}")
        lines.append(f"| {noise} | {cells[0]} | {cells[1]} |")
    return lines


def by_other(path: str, options: argparse.Namespace) -> Table:
    """A table from a process with another folder first on its path."""
    command = [sys.executable, str(HERE / "metrics.py"), "--measure", "--metrics", *options.metrics]
    command += ["--classes", *map(str, options.classes)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def section(now: Table, before: Table, numbers: list[int]) -> list[str]:
    """The section of the results."""
    head = " | ".join(f"{classes} classes" for classes in numbers)
    lines = [
        f"Processor seconds on one thread, {ROWS:,} rows of width {WIDTH}, one run (`benchmarks/metrics.py`)."
        + (" Of each pair the first is before, the second now." if before else ""),
        "",
        f"| metric | {head} |",
        "|---|" + "---|" * len(numbers),
    ]
    for name, cells in now.items():
        texts = []
        for index, (current, _) in enumerate(cells):
            text = f"{before[name][index][0]:.2f} -> {current:.2f}" if name in before else f"{current:.2f}"
            texts.append(text)
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    lines += ["", "Scores, before and now:" if before else "Scores:"]
    lines += ["", f"| metric | {head} |", "|---|" + "---|" * len(numbers)]
    for name, cells in now.items():
        texts = []
        for index, (_, score) in enumerate(cells):
            texts.append(f"{before[name][index][1]:.5f}, {score:.5f}" if name in before else f"{score:.5f}")
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return lines


def write(lines: list[str]) -> None:
    """Put the section between its markers, at the end of the file the first time."""
    path, begin, end = HERE / "RESULTS.md", "<!-- metrics:begin -->", "<!-- metrics:end -->"
    text = path.read_text()
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    start, rest = text.split(begin)[0], text.split(end)[1]
    path.write_text("\n".join([f"{start}{begin}", "## Cost of the metrics", "", *lines, f"{end}{rest}"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", help="folder with an older hf_ctkd")
    parser.add_argument("--measure", action="store_true", help="print the table of the hf_ctkd on the path and stop")
    parser.add_argument("--metrics", nargs="+", default=list(METRICS))
    parser.add_argument("--classes", nargs="+", type=int, default=list(CLASSES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(json.dumps(measured(options.metrics, options.classes)))
        return
    now = measured(options.metrics, options.classes)
    before = by_other(options.before, options) if options.before else {}
    write([*section(now, before, options.classes), *order(), *axes()])


if __name__ == "__main__":
    main()
