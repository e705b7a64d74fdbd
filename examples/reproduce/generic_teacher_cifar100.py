"""Generic teacher network on CIFAR-100: one teacher for a pool of students, against plain and specialised ones."""

import argparse
from pathlib import Path

from cross_task import (
    Half,
    Setting,
    crop_and_flip,
    outcome,
    parse,
    processor,
    resnet,
    settings,
    trained,
    whole,
    written,
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
STUDENTS = 8
"""Drawn at random from the pool; the last one drawn besides them stands for a wrong target."""


def pool_of(options: argparse.Namespace) -> StudentPool:
    """ResNets of one or two blocks a stage, each stage as wide as `--student_widths` says or half of it."""
    widths = tuple((width // 2, width) for width in options.student_widths)
    return StudentPool("resnet", ((1, 2),) * len(widths), widths=widths, input_size=options.image_size)


def made_teacher(name: str, options: argparse.Namespace, rows: Half, pool: StudentPool | None, **branches: str) -> dict:
    """A trained teacher in a folder of its own, plain without a pool, with its outcome on the test rows."""
    folder = options.output / "teachers" / name.replace(" ", "-").replace(",", "")
    view = processor(options.image_size)
    trainer = GenericTeacherTrainer(
        resnet(options.teacher_widths, rows.names, options.seed + 1000),
        GenericTeacherConfig(str(options.output / "runs"), **settings(options), **branches),
        pool=pool,
        train_dataset=rows.train,
        eval_dataset=rows.test,
        processing_class=view,
        augmentation=crop_and_flip if options.augment else None,
    )
    trainer.train()
    trainer.teacher.save_pretrained(folder)
    view.save_pretrained(folder)
    return {"method": "the teacher itself", "teacher": name, "folder": str(folder)} | outcome(trainer)


def student_of(member: PoolMember, options: argparse.Namespace, rows: Half, teacher: Path | str | None) -> dict:
    """A student of the pool, trained alone or by ordinary distillation from a teacher."""
    model = member.build(LabelSpace(tuple(rows.names)), seed=options.seed)
    teachers = [] if teacher is None else [str(teacher)]
    loss = None if teacher is None else KLLoss()
    return outcome(trained(options, rows, model, processor(options.image_size), teachers=teachers, loss=loss))


def main() -> None:
    options = parse(SETTING)
    rows, pool = whole(SETTING, options), pool_of(options)
    *members, wrong = pool.sample(min(STUDENTS + 1, len(pool)), seed=options.seed)
    table = [
        made_teacher("plain teacher", options, rows, None),
        made_teacher("generic teacher", options, rows, pool),
        made_teacher("uniform paths", options, rows, pool, path_sampler="uniform"),
        made_teacher("SFTN, wrong student", options, rows, pool.only(wrong)),
        made_teacher("SFTN, exact student", options, rows, pool.only(members[0])),
    ]
    folders = {None: None} | {row["teacher"]: row.pop("folder") for row in table}
    for member in members:
        for name, folder in folders.items():
            if name != "SFTN, exact student" or member == members[0]:
                table.append({"method": member.name, "teacher": name} | student_of(member, options, rows, folder))
    classes = {"teacher": len(rows.names), "student": len(rows.names)}
    written(SETTING, options, rows, classes, table)


if __name__ == "__main__":
    main()
