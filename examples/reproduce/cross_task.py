"""Shared code of the reproduction scripts: one data set, half of its classes for the teacher, several methods.

This module is no script. See README.md in this folder.
"""

import argparse
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from PIL import Image, ImageOps
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ViTImageProcessorPil,
)

from hf_ctkd.cli.datasets import Rows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.records import text_table, write_json
from hf_ctkd.training import DistillationConfig, DistillationTrainer

NOTE = (
    "No full run of this setting was made by this project: the table holds the figures of your own run, and no figure "
    "of the paper is claimed or reproduced."
)
OTHER, SAME, RANDOM = "other task", "same task", "random weights"
Method = Callable[[], DistillationLoss]


@dataclass(frozen=True)
class Setting:
    """The setting of a paper.

    Args:
        paper: authors, title, identifier and data.
        dataset: id on the Hub, with splits `train` and `test`.
        image_column: column of the images.
        label_column: column of the class ids.
        methods: from the name of a method to its loss, run with every teacher.
        teacher_free: from the name of a method to its loss, run once without a teacher, beside plain training.
        teachers: kinds of teachers that are trained if `--teacher` is not given.
        steps: optimiser steps of a full run, for teacher and student.
        batch_size: rows per step.
        image_size: side to which images are resized, in pixels.
        student: checkpoint that students start from; None for a small ResNet with random weights.
    """

    paper: str
    dataset: str
    image_column: str
    label_column: str
    methods: Mapping[str, Method]
    teacher_free: Mapping[str, Method] = field(default_factory=dict)
    teachers: tuple[str, ...] = (OTHER,)
    steps: int = 39_000
    batch_size: int = 128
    image_size: int = 64
    student: str | None = None


def parse(setting: Setting, argv: Sequence[str] | None = None, *, pool: bool = False) -> argparse.Namespace:
    """Parse the flags of a script."""
    parser = argparse.ArgumentParser(description=f"Setting of {setting.paper}.", epilog=NOTE)
    add = parser.add_argument
    add("--dataset", default=setting.dataset, help="Data set on the Hub, or a folder that `save_to_disk` wrote.")
    add("--max_rows", type=int, help="Maximum rows of each split, spread evenly over its classes; all by default.")
    add("--steps", type=int, default=setting.steps, help="Optimiser steps of every model; the default is a full run.")
    add("--seed", type=int, default=0, help="Seed of weights and batches.")
    add("--teacher", nargs="+", default=[], help="Hub ids or folders of teachers; trained by the script if not given.")
    add("--student", default=setting.student, help="Checkpoint that students start from; a small ResNet by default.")
    add("--batch_size", type=int, default=setting.batch_size, help="Rows per step.")
    add("--learning_rate", type=float, default=0.1, help="Peak learning rate of SGD with Nesterov momentum.")
    add("--image_size", type=int, default=setting.image_size, help="Side to which images are resized, in pixels.")
    add("--teacher_widths", type=int, nargs="+", default=[64, 128, 256, 512], help="Stage widths of trained teachers.")
    add("--student_widths", type=int, nargs="+", default=[16, 32, 64], help="Stage widths of students.")
    if pool:
        add("--students", type=int, default=8, help="Number of random students of the pool, of 1 or more.")
    add("--augment", action="store_true", help="Random crops and flips; teachers then run in every step.")
    add("--output", type=Path, default=Path("reproduction"), help="Folder for teachers and `table.json`.")
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Half:
    """Training and test rows of some classes, with columns `image` and `label`."""

    train: Dataset
    test: Dataset

    @property
    def names(self) -> list[str]:
        return self.train.features["label"].names


def whole(setting: Setting, options: argparse.Namespace) -> Half:
    """The rows of all classes."""
    rows = Rows(options.dataset)
    splits = [rows.load(name) for name in ("train", "test")]
    classes = range(splits[0].features[setting.label_column].num_classes)
    return Half(*(of_classes(split, setting, classes, options.max_rows) for split in splits))


def halves(setting: Setting, options: argparse.Namespace) -> tuple[Half, Half]:
    """The rows of the first half of the classes, for the teacher, and of the second half, for the student."""
    rows = Rows(options.dataset)
    splits = [rows.load(name) for name in ("train", "test")]
    count = splits[0].features[setting.label_column].num_classes
    parts = (range(count // 2), range(count // 2, count))
    return tuple(Half(*(of_classes(split, setting, part, options.max_rows) for split in splits)) for part in parts)


def of_classes(dataset: Dataset, setting: Setting, classes: range, max_rows: int | None) -> Dataset:
    """The rows of a range of classes, renumbered from 0; at most `max_rows`, spread evenly over the classes."""
    labels = np.asarray(dataset[setting.label_column][:])
    selected = np.flatnonzero((labels >= classes.start) & (labels < classes.stop))
    if max_rows is not None:
        class_of = labels[selected]
        rank_in_class = np.array([np.count_nonzero(class_of[:i] == label) for i, label in enumerate(class_of)])
        selected = np.sort(selected[np.argsort(rank_in_class, kind="stable")[:max_rows]])
    names = dataset.features[setting.label_column].names[classes.start : classes.stop]
    images = dataset.select(selected).select_columns(setting.image_column)
    if setting.image_column != "image":
        images = images.rename_column(setting.image_column, "image")
    return images.add_column("label", (labels[selected] - classes.start).tolist(), feature=ClassLabel(names=names))


def resnet(widths: Sequence[int], names: Sequence[str], seed: int) -> PreTrainedModel:
    """A ResNet with random weights and two basic blocks per stage."""
    torch.manual_seed(seed)
    config = ResNetConfig(
        embedding_size=widths[0], hidden_sizes=list(widths), depths=[2] * len(widths), layer_type="basic"
    )
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    return AutoModelForImageClassification.from_config(config)


def student(options: argparse.Namespace, names: Sequence[str]):
    """A new student and its image processor; every method starts from the same weights."""
    if options.student is None:
        return resnet(options.student_widths, names, options.seed), processor(options.image_size)
    torch.manual_seed(options.seed)
    model = AutoModelForImageClassification.from_pretrained(
        options.student, num_labels=len(names), ignore_mismatched_sizes=True, dtype=torch.float32
    )
    return model, AutoImageProcessor.from_pretrained(options.student)


def processor(size: int) -> ViTImageProcessorPil:
    return ViTImageProcessorPil(size={"height": size, "width": size})


def crop_and_flip(image: Image.Image) -> Image.Image:
    """A random crop after padding by an eighth, and a horizontal flip with probability one half."""
    width, height = image.size
    padded = ImageOps.expand(image.convert("RGB"), border=max(1, width // 8))
    left, top = (random.randint(0, slack) for slack in (padded.width - width, padded.height - height))
    cropped = padded.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cropped) if random.random() < 0.5 else cropped


def settings(options: argparse.Namespace) -> dict:
    """Arguments of every training run: SGD with Nesterov momentum and a cosine schedule."""
    return {
        "max_steps": options.steps,
        "per_device_train_batch_size": options.batch_size,
        "per_device_eval_batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": "cosine",
        "optim": "sgd",
        "optim_args": "momentum=0.9,nesterov=true",
        "weight_decay": 5e-4,
        "seed": options.seed,
        "save_strategy": "no",
        "logging_strategy": "no",
        "dataloader_pin_memory": torch.cuda.is_available(),
        "metrics": ["accuracy"],
        "dataset_name": options.dataset,
        "cache_dir": str(options.output / "teacher-outputs"),
    }


def train(options: argparse.Namespace, rows: Half, model, processing_class, *, teachers=(), loss=None):
    """Train a model and return its trainer."""
    random.seed(options.seed)
    trainer = DistillationTrainer(
        model,
        DistillationConfig(str(options.output / "runs"), **settings(options)),
        teachers=list(teachers) or None,
        loss=loss,
        train_dataset=rows.train,
        eval_dataset=rows.test,
        processing_class=processing_class,
        augmentation=crop_and_flip if options.augment else None,
    )
    trainer.train()
    return trainer


def teacher_folder(kind: str, options: argparse.Namespace, for_teacher: Half, for_student: Half) -> Path:
    """The folder of a teacher; it is trained unless an earlier run with the same flags has left it."""
    rows = for_student if kind == SAME else for_teacher
    keys = ("dataset", "max_rows", "steps", "seed", "batch_size", "learning_rate", "image_size", "teacher_widths")
    provenance = {"kind": kind, "augment": options.augment} | {key: vars(options)[key] for key in keys}
    digest = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:8]
    folder = options.output / "teachers" / f"{kind.replace(' ', '-')}-{digest}"
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        # The student may have the same architecture, so its seed must differ.
        model, image_processor = (
            resnet(options.teacher_widths, rows.names, options.seed + 1000),
            processor(options.image_size),
        )
        provenance["accuracy"] = (
            None if kind == RANDOM else results(train(options, rows, model, image_processor))["accuracy"]
        )
        model.save_pretrained(partial)
        image_processor.save_pretrained(partial)
        write_json(partial / "teacher.json", provenance)
        partial.rename(folder)
    return folder


def results(trainer: DistillationTrainer) -> dict[str, float]:
    """The mean training loss over all terms, and the accuracy on the test rows with its interval."""
    loss = trainer.state.log_history[-1]["train_loss"]
    metrics = trainer.evaluate()
    return {"train_loss": loss} | {
        name: metrics[f"eval_{name}"] for name in ("accuracy", "accuracy_low", "accuracy_high")
    }


def run(setting: Setting, argv: Sequence[str] | None = None) -> dict:
    """Train a student with every method and teacher, print the table and write it to `table.json`."""
    options = parse(setting, argv)
    for_teacher, for_student = halves(setting, options)
    teachers = {name: name for name in options.teacher} or {
        kind: str(teacher_folder(kind, options, for_teacher, for_student)) for kind in setting.teachers
    }
    cells = [("plain", None, None), *((name, make, None) for name, make in setting.teacher_free.items())]
    cells += [(name, make, teacher) for teacher in teachers for name, make in setting.methods.items()]
    table = []
    for name, make, teacher in cells:
        row = {"method": name, "teacher": teacher}
        try:
            trainer = train(
                options,
                for_student,
                *student(options, for_student.names),
                teachers=[] if teacher is None else [teachers[teacher]],
                loss=None if make is None else make(),
            )
            row |= results(trainer)
        except InvalidArgumentError as error:  # such as a teacher without a head, for a loss that reads logits
            row["not_possible"] = str(error)
        table.append(row)
    classes = {"teacher": len(for_teacher.names), "student": len(for_student.names)}
    return write_table(setting, options, for_student, classes, table)


def write_table(
    setting: Setting, options: argparse.Namespace, rows: Half, classes: dict[str, int], table: list
) -> dict:
    """Print the table, and write it with the flags of the run to `table.json`."""
    record = {
        "setting": setting.paper,
        "note": NOTE,
        "flags": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
        "full_length": options.steps >= setting.steps and options.max_rows is None,
        "classes": classes,
        "rows": {"train": len(rows.train), "test": len(rows.test)},
        "table": table,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "table.json", record)
    print(format_table(table))
    print(NOTE)
    return record


def format_table(table: Sequence[Mapping]) -> str:
    """The table as text, accuracies in per cent."""
    body = [
        [row["method"], row["teacher"] or "", row["not_possible"], ""]
        if "not_possible" in row
        else [
            row["method"],
            row["teacher"] or "",
            f"{100 * row['accuracy']:.1f}",
            f"{100 * row['accuracy_low']:.1f} to {100 * row['accuracy_high']:.1f}",
        ]
        for row in table
    ]
    return text_table(["method", "teacher", "accuracy %", "95 % interval"], body)
