# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Train one teacher for a pool of students, distill those that fit a budget, and plot accuracy against latency.

Without `--dataset` it uses built-in data: handwritten digits and a pool of 216 tiny ResNets. See README.md in this
folder.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import load_dataset
from matplotlib.figure import Figure
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    HfArgumentParser,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    set_seed,
)

from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task, digit_pools
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import (
    GenericTeacherConfig,
    GenericTeacherTrainer,
    MeasuredStudent,
    PoolMember,
    StudentPool,
    measure_student,
    pareto_front,
    students_within_budget,
)
from hf_ctkd.losses import KLLoss
from hf_ctkd.records import write_text
from hf_ctkd.training import DistillationConfig, DistillationTrainer
from hf_ctkd.types import LabelSpace

DIGITS = StudentPool("resnet", ((1, 2),) * 3, widths=((4, 6, 8), (8, 12, 16), (16, 24, 32)), input_size=16)


@dataclass
class Example:
    """Flags of this script; training flags are the fields of GenericTeacherConfig and apply to the teacher."""

    dataset: str | None = field(
        default=None, metadata={"help": "Hub data set with splits `train` and `test`; built-in data if not given."}
    )
    teacher: str = field(default="microsoft/resnet-50", metadata={"help": "Checkpoint that the teacher starts from."})
    pool: str | None = field(default=None, metadata={"help": "File of the pool, as StudentPool.save writes it."})
    students: int = field(default=8, metadata={"help": "Number of students to distill."})
    max_parameters: float | None = field(default=None, metadata={"help": "Maximum number of parameters of a student."})
    max_latency_ms: float | None = field(default=None, metadata={"help": "Maximum milliseconds per row of a student."})
    student_steps: int = field(default=200, metadata={"help": "Optimiser steps of each student."})

    def __post_init__(self):
        if self.dataset is not None and self.pool is None:
            raise InvalidArgumentError("`--dataset` needs a pool for its images. Name its file with `--pool`.")


@dataclass
class Job:
    """The data, the teacher and the pool; the teacher's training rows may differ from the students'."""

    teacher_rows: object
    student_rows: object
    test: object
    teacher: object
    processor: object
    pool: StudentPool

    @property
    def classes(self) -> LabelSpace:
        return LabelSpace.from_id2label(self.teacher.config.id2label)


def on_your_data(example: Example) -> Job:
    """A data set from the Hub and a pretrained teacher; the students use the same rows and the same processor."""
    rows = load_dataset(example.dataset)
    label = rows["train"].features["label"]
    teacher = AutoModelForImageClassification.from_pretrained(
        example.teacher, num_labels=label.num_classes, ignore_mismatched_sizes=True, dtype=torch.float32
    )
    processor = AutoImageProcessor.from_pretrained(example.teacher)
    pool = StudentPool.load(example.pool)
    return Job(rows["train"], rows["train"], rows["test"], teacher, processor, pool)


def on_built_in_data(example: Example) -> Job:
    """A teacher with 700 labelled digits; students with 50 labelled and 550 unlabelled digits."""
    task = build_task("digits", labels=50, seed=0)
    names = dict(enumerate(task.label_names))
    config = ResNetConfig(
        embedding_size=24, hidden_sizes=[24, 48, 96], depths=[2, 2, 2], layer_type="basic", id2label=names,
        label2id={name: index for index, name in names.items()},
    )  # fmt: skip
    pool = DIGITS if example.pool is None else StudentPool.load(example.pool)
    teacher = ResNetForImageClassification(config)
    return Job(digit_pools()[0], task.train(), task.test, teacher, build_student(task)[1], pool)


def select_students(example: Example, job: Job) -> list[MeasuredStudent]:
    """Students that fit the budget, spread from the largest to the smallest; random students without a budget."""
    if example.max_parameters is None and example.max_latency_ms is None:
        return [measure_student(member, job.classes) for member in job.pool.sample(example.students, seed=0)]
    parameters = None if example.max_parameters is None else int(example.max_parameters)
    fitting = students_within_budget(job.pool, job.classes, parameters=parameters, latency_ms=example.max_latency_ms)
    count = min(example.students, len(fitting))
    return [fitting[index * len(fitting) // count] for index in range(count)]


def distill(
    student: PreTrainedModel, member: PoolMember, job: Job, teacher: Path, args: GenericTeacherConfig, steps: int
) -> float:
    """Distill a student from the teacher, save it, and return its accuracy."""
    trainer = DistillationTrainer(
        model=student,
        args=DistillationConfig(
            str(Path(args.output_dir) / "students" / member.name.replace(" ", "-")),
            max_steps=steps, learning_rate=args.learning_rate, seed=args.seed, use_cpu=args.use_cpu,
            per_device_train_batch_size=args.per_device_train_batch_size, save_strategy="no",
            bootstrap_resamples=args.bootstrap_resamples, dataset_name=args.dataset_name, cache_dir=args.cache_dir,
        ),
        teachers=[str(teacher)],
        loss=KLLoss(),
        train_dataset=job.student_rows,
        eval_dataset=job.test,
        processing_class=job.processor,
    )  # fmt: skip
    trainer.train()
    metrics = trainer.evaluate()
    trainer.save_model()
    return metrics["eval_accuracy"]


def table(students: list[MeasuredStudent], accuracies: list[float], front: set[int]) -> str:
    """The students in a Markdown table, fastest first."""
    lines = ["| student | parameters | ms per row | accuracy | on the Pareto front |", "|---|---|---|---|---|"]
    for index in sorted(range(len(students)), key=lambda student: students[student].latency_ms):
        student, on_front = students[index], "yes" if index in front else ""
        lines.append(
            f"| {student.member.name} | {student.parameters:,} | {student.latency_ms:.2f} | {accuracies[index]:.3f} "
            f"| {on_front} |"
        )
    return "\n".join(lines)


def draw(students: list[MeasuredStudent], accuracies: list[float], front: tuple[int, ...], path: Path) -> None:
    """Plot accuracy against latency, with the Pareto front."""
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    latencies = [student.latency_ms for student in students]
    axes.scatter(latencies, accuracies, color="#9a9a9a", label="students")
    axes.plot([latencies[index] for index in front], [accuracies[index] for index in front], "o-", color="#3d6b99",
              label="Pareto front")  # fmt: skip
    for index in front:
        axes.annotate(f"{students[index].parameters / 1000:.1f} k", (latencies[index], accuracies[index]), (4, -10),
                      textcoords="offset points", fontsize=8)  # fmt: skip
    axes.set_xlabel(f"milliseconds per row on {students[0].device}, {torch.get_num_threads()} thread(s)")
    axes.set_ylabel("test accuracy")
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def main():
    example, args = HfArgumentParser((Example, GenericTeacherConfig)).parse_args_into_dataclasses()
    args.dataset_name = example.dataset or "digits of scikit-learn"
    set_seed(args.seed)
    job = on_built_in_data(example) if example.dataset is None else on_your_data(example)
    students = select_students(example, job)  # before the training, since a budget may be too small

    trainer = GenericTeacherTrainer(
        model=job.teacher,
        args=args,
        pool=job.pool,
        train_dataset=job.teacher_rows,
        eval_dataset=job.test,
        processing_class=job.processor,
    )
    trainer.train()
    accuracy = trainer.evaluate()["eval_accuracy"]
    trainer.save_model()
    folder = Path(args.output_dir)
    trainer.create_model_card()
    print(f"teacher: accuracy {accuracy:.3f}, card: {folder / 'README.md'}")

    accuracies = [
        # A student starts from the weights that its branches learned beside the teacher.
        distill(trainer.build_student(student.member), student.member, job, folder, args, example.student_steps)
        for student in students
    ]
    front = pareto_front([student.latency_ms for student in students], accuracies)
    text = table(students, accuracies, set(front))
    write_text(folder / "students.md", text + "\n")
    draw(students, accuracies, front, folder / "pareto.png")
    print(f"{text}\ntable: {folder / 'students.md'}\nplot: {folder / 'pareto.png'}")


if __name__ == "__main__":
    main()
