"""What distillation adds to a training step: `DistillationTrainer` over plain `transformers.Trainer`, same student.

    python -m benchmarks.trainer [--steps 40]

Writes its section of `benchmarks/RESULTS.md`. Needs no network: students and teachers are made from configurations.
Every round takes one optimiser step of each trainer, in turn, so that other work on the machine slows all of them
alike. A step is all that a trainer does for it: it draws and collates the batch, runs the student forwards and
backwards, clips the gradient, and updates the weights. Teachers' outputs are computed beforehand, as by default.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from torch.utils.data import DataLoader
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainingArguments,
    ViTImageProcessorPil,
    default_data_collator,
)

from hf_ctkd.training import DistillationConfig, DistillationTrainer

RESULTS = Path(__file__).parent / "RESULTS.md"
BEGIN, END = "<!-- trainer:begin -->", "<!-- trainer:end -->"
BATCH, ROWS, SIDE = 32, 512, 32
CLASSES = ["dark", "bright", "striped"]
WARM_UP = 3


@dataclass(frozen=True)
class Size:
    """A student and the target of the ratio of its steps."""

    name: str
    hidden_sizes: tuple[int, ...]
    depths: tuple[int, ...]
    target: float


SIZES = (
    Size("ResNet, 40 thousand", (16, 24, 40), (1, 1, 1), 1.10),
    Size("ResNet, 1 million", (32, 64, 128, 192), (1, 1, 1, 1), 1.03),
    Size("ResNet-18, 11 million", (64, 128, 256, 512), (2, 2, 2, 2), 1.03),
)


def resnet(
    hidden_sizes: tuple[int, ...], depths: tuple[int, ...], classes: int, seed: int
) -> ResNetForImageClassification:
    torch.manual_seed(seed)
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=hidden_sizes[0],
            hidden_sizes=list(hidden_sizes),
            depths=list(depths),
            layer_type="basic",
            num_labels=classes,
        )
    )


def processor() -> ViTImageProcessorPil:
    return ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})


def rows() -> Dataset:
    generator = np.random.default_rng(0)
    images, labels = [], [row % len(CLASSES) for row in range(ROWS)]
    for label in labels:
        pixels = generator.integers(0, 90, (SIDE, SIDE)) + (60 if label == 1 else 0)
        pixels[:: 2 if label == 2 else SIDE] += 60
        images.append(PILImage.fromarray(pixels.astype(np.uint8)).convert("RGB"))
    features = Features({"image": Image(), "label": ClassLabel(names=CLASSES)})
    return Dataset.from_dict({"image": images, "label": labels}, features=features)


def save_teachers(folder: Path, count: int) -> list[str]:
    paths = [folder / f"teacher-{number}" for number in range(count)]
    for number, path in enumerate(paths):
        resnet((16, 32, 64), (1, 1, 1), 20, seed=100 + number).save_pretrained(path)
        processor().save_pretrained(path)
    return [str(path) for path in paths]


def plain_trainer(size: Size, dataset: Dataset, folder: Path, **changes) -> Trainer:
    pixels = processor()(dataset["image"][:], return_tensors="pt")["pixel_values"]
    inputs = [{"pixel_values": image, "labels": label} for image, label in zip(pixels, dataset["label"], strict=True)]
    args = TrainingArguments(str(folder / "plain"), **{**settings(), **changes})
    student = resnet(size.hidden_sizes, size.depths, len(CLASSES), seed=0)
    return Trainer(student, args, train_dataset=inputs, data_collator=default_data_collator)


def distillation_trainer(size: Size, dataset: Dataset, folder: Path, teachers: list[str]) -> DistillationTrainer:
    trainer = DistillationTrainer(
        resnet(size.hidden_sizes, size.depths, len(CLASSES), seed=0),
        DistillationConfig(
            str(folder / "distilled"), cache_student_inputs=True, cache_dir=str(folder / "cache"), **settings()
        ),
        teachers=teachers,
        train_dataset=dataset,
        processing_class=processor(),
    )
    if "targets" not in next(iter(trainer.get_train_dataloader())):
        raise RuntimeError("The default loss has no targets: this would measure another step than the documented one.")
    return trainer


def settings() -> dict:
    return {
        "per_device_train_batch_size": BATCH,
        "learning_rate": 1e-4,
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
    }


def endless(loader: DataLoader) -> Iterator:
    while True:
        yield from loader


def step(trainer: Trainer, batches: Iterator) -> tuple[float, float]:
    """Wall and processor seconds of one optimiser step."""
    start = time.perf_counter(), time.process_time()
    samples, counts = trainer.get_batch_samples(batches, 1, trainer.args.device)
    trainer.current_gradient_accumulation_steps = 1
    trainer.training_step(trainer.model, samples[0], counts)
    trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()
    trainer.lr_scheduler.step()
    trainer.model.zero_grad()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def compare(size: Size, dataset: Dataset, folder: Path, teachers: list[str], steps: int) -> list[str]:
    """One table row for each number of teachers."""
    counts = (1, len(teachers))
    trainers = [plain_trainer(size, dataset, folder)]
    trainers += [distillation_trainer(size, dataset, folder, teachers[:count]) for count in counts]
    for trainer in trainers:
        trainer.create_optimizer_and_scheduler(WARM_UP + steps)
        trainer.model.train()
    loaders = [endless(trainer.get_train_dataloader()) for trainer in trainers]
    rounds = [
        [step(trainer, loader) for trainer, loader in zip(trainers, loaders, strict=True)]
        for _ in range(WARM_UP + steps)
    ][WARM_UP:]
    parameters = sum(parameter.numel() for parameter in trainers[0].model.parameters())
    lines = []
    for place, count in enumerate(counts, start=1):
        wall, cpu = (
            [statistics.median(seconds[trainer][clock] for seconds in rounds) for trainer in (0, place)]
            for clock in (0, 1)
        )
        # The median of ratios within a round: other work on the machine changes from round to round.
        ratio = statistics.median(seconds[place][1] / seconds[0][1] for seconds in rounds)
        lines.append(
            f"| {size.name} ({parameters:,} parameters) | {count} | {1000 * wall[0]:.1f} | {1000 * wall[1]:.1f} | "
            f"{1000 * cpu[0]:.1f} | {1000 * cpu[1]:.1f} | {wall[1] / wall[0]:.3f} | {ratio:.3f} | "
            f"{size.target:.2f} {'met' if ratio <= size.target else '**missed**'} |"
        )
    return lines


def write_section(text: str) -> None:
    results = RESULTS.read_text()
    if BEGIN not in results:
        results = f"{results.rstrip()}\n\n## Cost of a distillation step\n\n{BEGIN}\n{END}\n"
    before, rest = results.split(BEGIN)
    RESULTS.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="timed optimiser steps of each trainer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = rows()
    lines = [
        "| student | teachers | plain, ms | distilled, ms | plain, processor ms | distilled, processor ms | "
        "ratio of medians, wall | median ratio, processor | target |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        teachers = save_teachers(folder, 3)
        for size in SIZES:
            lines += compare(size, dataset, folder, teachers, options.steps)
            print("\n".join(lines), flush=True)
    write_section(
        "\n".join(lines)
        + f"\n\nMedian optimiser step of {options.steps}, one of each trainer in turn, {BATCH} images of {SIDE} x "
        f"{SIDE} pixels, one thread, {os.cpu_count()} cores, load average {psutil.getloadavg()[0]:.1f}. "
        "The default loss, outputs of randomly initialised teachers computed beforehand. Targets are of the processor "
        "time.\nWritten by `python -m benchmarks.trainer`."
    )


if __name__ == "__main__":
    main()
