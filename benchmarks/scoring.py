"""What scoring a teacher costs beside running it, and LogME and H-score beside their definitions and another library.

    python -m benchmarks.scoring [--parts scoring scoring-peers] [--rows 2000] [--pixels 64] [--write]

The teacher has the size of ViT-S and random weights; pictures are made up, with a pattern for each class. All seconds
are of the processor, on one thread, as wall time on a shared machine says more about its others. The loop that scoring
is compared with is a `DataLoader` whose batches the teacher's processor prepares, and `model(x)`. Both parts of it are
also timed inside scoring, so that what scoring adds does not depend on how two runs differ. What it adds begins with
loading the teacher.

The other library is transformer-ranker, whose estimators are timed where it is installed:
`pip install --no-deps transformer-ranker torchmetrics lightning-utilities`.
"""

import argparse
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from sklearn.covariance import ledoit_wolf
from torch.utils.data import DataLoader
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTConfig, ViTForImageClassification
from transformers import ViTImageProcessorPil as Processor

from benchmarks.metrics import rows_of
from benchmarks.results_file import put
from hf_ctkd.data import TargetRows
from hf_ctkd.hub import folder_teachers
from hf_ctkd.metrics import HScore, LogME, TransferabilityMetric
from hf_ctkd.selection.scorer import RunSettings, Scorer
from hf_ctkd.selection.scores import chosen_metrics, metric_names
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.types import ModelOutputs

RESULTS = Path(__file__).with_name("RESULTS.md")
VERSIONS = f"Python {platform.python_version()}, torch {torch.__version__}"
MACHINE = f"processor seconds on one thread of a shared machine; {VERSIONS}"
BATCH = 64
DEFAULT_GOAL, ALL_GOAL, PARITY_GOAL, PEER_GOAL = 0.05, 0.10, 1e-4, 10
SETS: dict[str, Sequence[TransferabilityMetric]] = {
    "default metric": chosen_metrics("information_gain", []),
    "all metrics": chosen_metrics("information_gain", metric_names()),
}
"""The metric that orders a ranking by default, and all that can be named."""
LARGE, LARGE_ROWS = 224, 64
"""Pictures as ViT-S reads them, of which a few are run for the time of a row."""


@dataclass
class Clock:
    """Processor seconds of parts of a run, by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:  # noqa: ANN401 (stands for any function)
            with self.part(name):
                return function(*arguments, **settings)

        return call


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Time the forward passes of the teacher and its processor, wherever they are called."""
    forward, prepare = ViTForImageClassification.forward, Processor.preprocess
    ViTForImageClassification.forward = clock.timed("forward", forward)
    Processor.preprocess = clock.timed("preparing", prepare)
    try:
        yield
    finally:
        ViTForImageClassification.forward, Processor.preprocess = forward, prepare


def teacher(folder: Path, pixels: int) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=384, num_attention_heads=6, intermediate_size=1536, image_size=pixels, num_labels=1000
    )
    ViTForImageClassification(config).save_pretrained(folder)
    Processor(size={"height": pixels, "width": pixels}).save_pretrained(folder)
    return folder


def pictures(rows: int, classes: int, pixels: int) -> Dataset:
    """Noise over a coarse pattern for each class."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 256, (classes, 8, 8, 3)).repeat(pixels // 8, axis=1).repeat(pixels // 8, axis=2)
    noise = generator.normal(0, 60, (rows, pixels, pixels, 3))
    images = [
        PILImage.fromarray((patterns[row % classes] + noise[row]).clip(0, 255).astype(np.uint8)) for row in range(rows)
    ]
    names = [f"pattern {number}" for number in range(classes)]
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": images, "label": [row % classes for row in range(rows)]}, features=features)


def bare_loop(folder: Path, dataset: Dataset) -> float:
    """Seconds of the loop that a user would write, once the teacher is loaded."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        collate_fn=lambda rows: processor([row["image"] for row in rows], return_tensors="pt"),
    )
    start = time.process_time()
    with torch.inference_mode():
        for batch in loader:
            model(**batch)
    return time.process_time() - start


def scoring(folder: Path, rows: TargetRows, metrics: Sequence[TransferabilityMetric], cache: Path) -> dict[str, float]:
    """Seconds of scoring a teacher by some metrics: `total`, of which `forward`, `preparing`, and each metric."""
    clock = Clock()
    scorer = Scorer(metrics, rows, None, Accelerator(), RunSettings(cache, LoadOptions(), BATCH, progress=False), 0)
    score_outputs = Scorer.score_outputs

    def timed(self: Scorer, metric: TransferabilityMetric, outputs: ModelOutputs) -> Any:  # noqa: ANN401
        with clock.part(metric.name):
            return score_outputs(self, metric, outputs)

    Scorer.score_outputs = timed
    try:
        with watched(clock), clock.part("total"):
            ranked = scorer.score(next(folder_teachers(folder)))
    finally:
        Scorer.score_outputs = score_outputs
    if ranked.skipped is not None:
        raise RuntimeError(ranked.skipped)
    return clock.seconds


def overhead(seconds: dict[str, float]) -> float:
    """What scoring adds, as a share of preparing the rows and of the forward pass."""
    bare = seconds["forward"] + seconds["preparing"]
    return seconds["total"] / bare - 1


def published_logme(features: np.ndarray, labels: np.ndarray) -> float:
    """The evidence at the fixed point of equations 2 and 4 of arXiv:2102.11005, as they stand there."""
    rows, width = features.shape
    power, axes = np.linalg.eigh(features.T @ features)
    power, evidences = power.clip(0), []
    for label in np.unique(labels):
        target, alpha, beta = (labels == label).astype(np.float64), 1.0, 1.0
        along = axes.T @ (features.T @ target)
        for _ in range(1000):
            mean = beta * along / (alpha + beta * power)
            gamma = float((beta * power / (alpha + beta * power)).sum())
            residual = _residual(mean, along, power, float(target.sum()))
            new_alpha, new_beta = gamma / float(mean @ mean), (rows - gamma) / residual
            done = abs(new_alpha / alpha - 1) + abs(new_beta / beta - 1) < 1e-9
            alpha, beta = new_alpha, new_beta
            if done:
                break
        mean = beta * along / (alpha + beta * power)
        residual = _residual(mean, along, power, float(target.sum()))
        evidence = rows / 2 * math.log(beta) + width / 2 * math.log(alpha) - rows / 2 * math.log(2 * math.pi)
        evidence -= beta / 2 * residual + alpha / 2 * float(mean @ mean)
        evidences.append(evidence - 0.5 * float(np.log(alpha + beta * power).sum()))
    return float(np.mean(evidences)) / rows


def _residual(mean: np.ndarray, along: np.ndarray, power: np.ndarray, total: float) -> float:
    """`|F m - y|^2`, with `m`, `F^T y` and `F^T F` in the coordinates of the latter's eigenvectors."""
    return total - 2 * float(mean @ along) + float((power * mean**2).sum())


def published_hscore(features: np.ndarray, labels: np.ndarray) -> float:
    """`tr(pinv((1 - a) cov(f) + a s I) (1 - a) cov(E[f | y]))` of arXiv:2110.06893, `a` after Ledoit and Wolf."""
    covariance, shrinkage = ledoit_wolf(features)
    centred = features - features.mean(axis=0)
    means = np.stack([centred[labels == label].mean(axis=0) for label in labels])
    return (1 - shrinkage) * float(np.trace(np.linalg.pinv(covariance) @ (means.T @ means / len(labels))))


def peers(rows: int, classes: int, width: int) -> list[dict[str, Any]]:
    """LogME and H-score: value and seconds beside the published definition and the other library."""
    features, _, labels = rows_of(classes, rows=rows, width=width)
    plain, numbers = features.double().numpy(), labels.numpy()
    compared = []
    for metric, published in ((LogME(), published_logme), (HScore(), published_hscore)):
        seconds, score = _least(lambda metric=metric: metric.score(ModelOutputs(features), labels))
        line = {"metric": metric.name, "score": score, "published": published(plain, numbers), "seconds": seconds}
        compared.append({**line, **_of_ranker(type(metric).__name__, features, labels)})
    return compared


def _of_ranker(name: str, features: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    if find_spec("transformer_ranker") is None:
        return {}
    from transformer_ranker import estimators

    seconds, score = _least(lambda: getattr(estimators, name)().fit(embeddings=features, labels=labels))
    return {"other": score, "other seconds": seconds}


def _least(function: Callable[[], float], runs: int = 3) -> tuple[float, float]:
    """The fewest processor seconds of some runs, and the result."""
    seconds, result = [], math.nan
    for _ in range(runs):
        start = time.process_time()
        result = float(function())
        seconds.append(time.process_time() - start)
    return min(seconds), result


def _verdict(value: float, goal: float, *, least: bool = False) -> str:
    return "met" if (value >= goal if least else value <= goal) else "missed"


def overhead_table(bare: float, runs: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        f"The loop alone took {bare:.1f} s in a run of its own.",
        "",
        "| scored by | preparing s | forward s | metrics s | the rest s | scoring adds |",
        "|---|---|---|---|---|---|",
    ]
    for name, seconds in runs.items():
        metrics = sum(value for part, value in seconds.items() if part not in ("forward", "preparing", "total"))
        rest = seconds["total"] - seconds["forward"] - seconds["preparing"] - metrics
        cells = f"{seconds['preparing']:.1f} | {seconds['forward']:.1f} | {metrics:.1f} | {rest:.1f}"
        lines.append(f"| {name} | {cells} | {overhead(seconds):.1%} |")
    parts = {
        name: value for name, value in runs["all metrics"].items() if name not in ("forward", "preparing", "total")
    }
    slowest = sorted(parts.items(), key=lambda part: -part[1])
    lines += ["", "Seconds of each metric: " + ", ".join(f"{name} {value:.2f}" for name, value in slowest) + "."]
    return [*lines, ""]


def goals_table(pixels: int, rows: int, runs: dict[str, dict[str, float]], large_row: float) -> list[str]:
    lines = [
        f"A row of {LARGE} x {LARGE} pixels takes {1000 * large_row:.0f} ms to prepare and to run ({LARGE_ROWS} rows); "
        "what scoring adds does not depend on the size of the pictures, as layers are pooled.",
        "",
    ]
    for name, goal in (("default metric", DEFAULT_GOAL), ("all metrics", ALL_GOAL)):
        added = overhead(runs[name])
        of_large = added * (runs[name]["forward"] + runs[name]["preparing"]) / (rows * large_row)
        lines.append(
            f"- at most {goal:.0%} by the {name}: {_verdict(added, goal)} at {pixels} pixels ({added:.1%}), "
            f"{_verdict(of_large, goal)} at {LARGE} ({of_large:.1%})"
        )
    return lines


def peers_table(compared: Sequence[dict[str, Any]], rows: int, classes: int, width: int) -> list[str]:
    lines = [
        f"LogME and H-score of {rows:,} rows of width {width} and {classes} classes, the least of three runs. The "
        "definition is that of the paper, step by step.",
        "",
        "| metric | score | definition | seconds | transformer-ranker | its seconds | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    goals = []
    for line in compared:
        other = f"{line['other']:.5f} | {line['other seconds']:.3f} | " if "other" in line else "- | - | "
        ratio = line.get("other seconds", math.nan) / line["seconds"]
        cells = f"{line['score']:.5f} | {line['published']:.5f} | {line['seconds']:.3f} | {other}"
        lines.append(f"| {line['metric']} | {cells}{ratio:.1f} |")
        away = abs(line["score"] / line["published"] - 1)
        goals.append(
            f"- {line['metric']}: within {PARITY_GOAL:g} of the definition {_verdict(away, PARITY_GOAL)} ({away:.1e}), "
            f"{PEER_GOAL} times as fast as transformer-ranker {_verdict(ratio, PEER_GOAL, least=True)} ({ratio:.1f})"
        )
    return [*lines, "", *goals]


def overhead_section(options: argparse.Namespace) -> list[str]:
    """What scoring adds, for one size of pictures."""
    pixels = options.pixels
    with tempfile.TemporaryDirectory() as name:
        folder, dataset = teacher(Path(name) / "teacher", pixels), pictures(options.rows, options.classes, pixels)
        rows = TargetRows.of(dataset)
        bare = bare_loop(folder, dataset)
        runs = {
            label: scoring(folder, rows, metrics, Path(name) / label.replace(" ", "-"))
            for label, metrics in SETS.items()
        }
        large = bare_loop(teacher(Path(name) / "large", LARGE), pictures(LARGE_ROWS, 8, LARGE)) / LARGE_ROWS
    return [
        "## Scoring a teacher",
        "",
        f"Written by `python -m benchmarks.scoring`: {options.rows:,} pictures of {pixels} x {pixels} pixels and "
        f"{options.classes} classes through a teacher of the size of ViT-S, {MACHINE}.",
        "",
        *overhead_table(bare, runs),
        *goals_table(pixels, options.rows, runs, large),
    ]


def peers_section(options: argparse.Namespace) -> list[str]:
    """LogME and H-score beside their definitions and the other library."""
    rows, classes, width = options.rows, options.classes, options.width
    head = ["## LogME and H-score", "", f"Written by `python -m benchmarks.scoring`, {MACHINE}.", ""]
    return [*head, *peers_table(peers(rows, classes, width), rows, classes, width)]


PARTS = {"scoring": overhead_section, "scoring-peers": peers_section}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--pixels", type=int, default=64, help="a multiple of 16")
    parser.add_argument("--width", type=int, default=768, help="of the features of the comparison of libraries")
    parser.add_argument("--write", action="store_true", help="write the sections of RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for part in options.parts:
        begin, end = f"<!-- {part}:begin -->", f"<!-- {part}:end -->"
        section = "\n".join([begin, *PARTS[part](options), end])
        print(section, flush=True)
        if options.write:
            put(section, begin, end, RESULTS)


if __name__ == "__main__":
    main()
