# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Generic teacher network on CIFAR-100: one teacher for a pool of students, beside plain and specialised teachers."""

import argparse
from pathlib import Path

from cross_task import (
    Half,
    Setting,
    crop_and_flip,
    parse,
    processor,
    resnet,
    results,
    settings,
    train,
    whole,
    write_table,
)

from hf_ctkd.generic import GenericTeacherConfig, GenericTeacherTrainer, PoolMember, StudentPool
from hf_ctkd.losses import KLLoss
from hf_ctkd.types import LabelSpace

SETTING = Setting(
    paper="Binici, Wu and Mitra, generic teacher network, arXiv:2407.16040: CIFAR-100, students of a pool",
    dataset="uoft-cs/cifar100",
    image_column="img",
    label_column="fine_label",
    methods={},
)


def pool_of(options: argparse.Namespace) -> StudentPool:
    """ResNets of one or two blocks per stage; each stage has the width of `--student_widths` or half of it."""
    widths = tuple((width // 2, width) for width in options.student_widths)
    return StudentPool("resnet", ((1, 2),) * len(widths), widths=widths, input_size=options.image_size)


def train_teacher(
    name: str, options: argparse.Namespace, rows: Half, pool: StudentPool | None, **branches: str
) -> dict:
    """Train a teacher, save it, and return its results on the test rows; without a pool it is a plain teacher."""
    folder = options.output / "teachers" / name.replace(" ", "-").replace(",", "")
    image_processor = processor(options.image_size)
    trainer = GenericTeacherTrainer(
        resnet(options.teacher_widths, rows.names, options.seed + 1000),
        GenericTeacherConfig(str(options.output / "runs"), **settings(options), **branches),
        pool=pool,
        train_dataset=rows.train,
        eval_dataset=rows.test,
        processing_class=image_processor,
        augmentation=crop_and_flip if options.augment else None,
    )
    trainer.train()
    trainer.teacher.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    return {"method": "the teacher itself", "teacher": name, "folder": str(folder)} | results(trainer)


def train_student(member: PoolMember, options: argparse.Namespace, rows: Half, teacher: Path | str | None) -> dict:
    """Train a student of the pool on labels alone or by distillation, and return its results on the test rows."""
    model = member.build(LabelSpace(tuple(rows.names)), seed=options.seed)
    teachers = [] if teacher is None else [str(teacher)]
    loss = None if teacher is None else KLLoss()
    return results(train(options, rows, model, processor(options.image_size), teachers=teachers, loss=loss))


def main() -> None:
    options = parse(SETTING, pool=True)
    rows, pool = whole(SETTING, options), pool_of(options)
    *members, wrong = pool.sample(min(options.students + 1, len(pool)), seed=options.seed)
    table = [
        train_teacher("plain teacher", options, rows, None),
        train_teacher("generic teacher", options, rows, pool),
        train_teacher("uniform paths", options, rows, pool, path_sampler="uniform"),
        train_teacher("SFTN, wrong student", options, rows, pool.only(wrong)),
        train_teacher("SFTN, exact student", options, rows, pool.only(members[0])),
    ]
    folders = {None: None} | {row["teacher"]: row.pop("folder") for row in table}
    for member in members:
        for name, folder in folders.items():
            if name != "SFTN, exact student" or member == members[0]:
                table.append({"method": member.name, "teacher": name} | train_student(member, options, rows, folder))
    classes = {"teacher": len(rows.names), "student": len(rows.names)}
    write_table(SETTING, options, rows, classes, table)


if __name__ == "__main__":
    main()
