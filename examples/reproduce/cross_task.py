"""What the reproduction scripts share: one data set, its classes halved between teacher and student, several methods.

Not run by itself; see README.md beside it.
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
    "No full run of this setting was made by this project: the figures in the table are those of your own run, and no "
    "figure of the paper is claimed or reproduced."
)
OTHER, SAME, RANDOM = "other task", "same task", "random weights"
Method = Callable[[], DistillationLoss]


@dataclass(frozen=True)
class Setting:
    """A paper's setting as a script states it.

    Args:
        paper: whose setting it is.
        dataset: id on the Hub, with splits `train` and `test`.
        image_column: of the images.
        label_column: of the class ids.
        methods: name -> loss, for every teacher.
        teacher_free: name -> loss, run once without a teacher, beside plain training.
        teachers: which ones are made where no `--teacher` is given.
        steps: of a full run, for teacher and student alike.
        batch_size: rows a step.
        image_size: to which images are resized.
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


def parse(setting: Setting, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags of a script."""
    parser = argparse.ArgumentParser(description=f"Setting of {setting.paper}.", epilog=NOTE)
    add = parser.add_argument
    add("--dataset", default=setting.dataset, help="Data set on the Hub, or a folder that `save_to_disk` wrote.")
    add("--max_rows", type=int, help="Rows of each split and half, taken evenly from its classes; all by default.")
    add("--steps", type=int, default=setting.steps, help="Optimiser steps of every model; the default is a full run.")
    add("--seed", type=int, default=0, help="Of weights and batches.")
    add("--teacher", nargs="+", default=[], help="Hub ids or folders to distill from, instead of training teachers.")
    add("--student", default=setting.student, help="Checkpoint that students start from; a small ResNet by default.")
    add("--batch_size", type=int, default=setting.batch_size, help="Rows a step.")
    add("--learning_rate", type=float, default=0.1, help="Peak learning rate of SGD with Nesterov momentum.")
    add("--image_size", type=int, default=setting.image_size, help="Side to which images are resized, in pixels.")
    add("--teacher_widths", type=int, nargs="+", default=[64, 128, 256, 512], help="Stages of trained teachers.")
    add("--student_widths", type=int, nargs="+", default=[16, 32, 64], help="Stages of students.")
    add("--augment", action="store_true", help="Random crops and flips; teachers then run at every step.")
    add("--output", type=Path, default=Path("reproduction"), help="Folder for teachers and `table.json`.")
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Half:
    """The rows of one half of the classes, as columns `image` and `label`."""

    train: Dataset
    test: Dataset

    @property
    def names(self) -> list[str]:
        return self.train.features["label"].names


def whole(setting: Setting, options: argparse.Namespace) -> Half:
    """All classes."""
    rows = Rows(options.dataset)
    splits = [rows.load(name) for name in ("train", "test")]
    classes = range(splits[0].features[setting.label_column].num_classes)
    return Half(*(of_classes(split, setting, classes, options.max_rows) for split in splits))


def halves(setting: Setting, options: argparse.Namespace) -> tuple[Half, Half]:
    """The first half of the classes, which is the teacher's, and the second, which is the student's."""
    rows = Rows(options.dataset)
    splits = [rows.load(name) for name in ("train", "test")]
    count = splits[0].features[setting.label_column].num_classes
    parts = (range(count // 2), range(count // 2, count))
    return tuple(Half(*(of_classes(split, setting, part, options.max_rows) for split in splits)) for part in parts)


def of_classes(dataset: Dataset, setting: Setting, classes: range, max_rows: int | None) -> Dataset:
    """The rows of some classes, renumbered from 0; at most `max_rows`, evenly from the classes."""
    labels = np.asarray(dataset[setting.label_column][:])
    chosen = np.flatnonzero((labels >= classes.start) & (labels < classes.stop))
    if max_rows is not None:
        found = labels[chosen]
        rank = np.array([np.count_nonzero(found[:place] == label) for place, label in enumerate(found)])
        chosen = np.sort(chosen[np.argsort(rank, kind="stable")[:max_rows]])
    names = dataset.features[setting.label_column].names[classes.start : classes.stop]
    images = dataset.select(chosen).select_columns(setting.image_column)
    if setting.image_column != "image":
        images = images.rename_column(setting.image_column, "image")
    return images.add_column("label", (labels[chosen] - classes.start).tolist(), feature=ClassLabel(names=names))


def resnet(widths: Sequence[int], names: Sequence[str], seed: int) -> PreTrainedModel:
    """A ResNet of two basic blocks a stage, with random weights."""
    torch.manual_seed(seed)
    config = ResNetConfig(
        embedding_size=widths[0], hidden_sizes=list(widths), depths=[2] * len(widths), layer_type="basic"
    )
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    return AutoModelForImageClassification.from_config(config)


def student(options: argparse.Namespace, names: Sequence[str]):
    """A fresh student and its image processor, the same for every method."""
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
    """A crop after padding by an eighth, and a flip half of the time."""
    width, height = image.size
    padded = ImageOps.expand(image.convert("RGB"), border=max(1, width // 8))
    left, top = (random.randint(0, slack) for slack in (padded.width - width, padded.height - height))
    cropped = padded.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cropped) if random.random() < 0.5 else cropped


def settings(options: argparse.Namespace) -> dict:
    """Arguments of every training: SGD with Nesterov momentum and a cosine schedule."""
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


def trained(options: argparse.Namespace, rows: Half, model, processing_class, *, teachers=(), loss=None):
    """A trainer that has trained a model."""
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


def made_teacher(kind: str, options: argparse.Namespace, for_teacher: Half, for_student: Half) -> Path:
    """The folder of a teacher of some kind: found from an earlier run with the same flags, or made now."""
    rows = for_student if kind == SAME else for_teacher
    keys = ("dataset", "max_rows", "steps", "seed", "batch_size", "learning_rate", "image_size", "teacher_widths")
    facts = {"kind": kind, "augment": options.augment} | {key: vars(options)[key] for key in keys}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    folder = options.output / "teachers" / f"{kind.replace(' ', '-')}-{digest}"
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        # Another seed than the student's, whose architecture may be the same.
        model, view = resnet(options.teacher_widths, rows.names, options.seed + 1000), processor(options.image_size)
        facts["accuracy"] = None if kind == RANDOM else outcome(trained(options, rows, model, view))["accuracy"]
        model.save_pretrained(partial)
        view.save_pretrained(partial)
        write_json(partial / "teacher.json", facts)
        partial.rename(folder)
    return folder


def outcome(trainer: DistillationTrainer) -> dict[str, float]:
    """Mean training loss, all terms together, and accuracy on the test rows with its interval."""
    loss = trainer.state.log_history[-1]["train_loss"]
    found = trainer.evaluate()
    return {"train_loss": loss} | {
        name: found[f"eval_{name}"] for name in ("accuracy", "accuracy_low", "accuracy_high")
    }


def run(setting: Setting, argv: Sequence[str] | None = None) -> dict:
    """Train a student with every method and teacher, print the table and write it to `table.json`."""
    options = parse(setting, argv)
    for_teacher, for_student = halves(setting, options)
    teachers = {name: name for name in options.teacher} or {
        kind: str(made_teacher(kind, options, for_teacher, for_student)) for kind in setting.teachers
    }
    cells = [("plain", None, None), *((name, make, None) for name, make in setting.teacher_free.items())]
    cells += [(name, make, teacher) for teacher in teachers for name, make in setting.methods.items()]
    table = []
    for name, make, teacher in cells:
        row = {"method": name, "teacher": teacher}
        try:
            trainer = trained(
                options,
                for_student,
                *student(options, for_student.names),
                teachers=[] if teacher is None else [teachers[teacher]],
                loss=None if make is None else make(),
            )
            row |= outcome(trainer)
        except InvalidArgumentError as error:  # such as a teacher without a head, for a loss that reads logits
            row["not_possible"] = str(error)
        table.append(row)
    classes = {"teacher": len(for_teacher.names), "student": len(for_student.names)}
    return written(setting, options, for_student, classes, table)


def written(setting: Setting, options: argparse.Namespace, rows: Half, classes: dict[str, int], table: list) -> dict:
    """Print the table and write it, with all that it took, to `table.json`."""
    found = {
        "setting": setting.paper,
        "note": NOTE,
        "flags": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
        "full_length": options.steps >= setting.steps and options.max_rows is None,
        "classes": classes,
        "rows": {"train": len(rows.train), "test": len(rows.test)},
        "table": table,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "table.json", found)
    print(printed(table))
    print(NOTE)
    return found


def printed(table: Sequence[Mapping]) -> str:
    """The table for the terminal, accuracies in per cent."""
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
