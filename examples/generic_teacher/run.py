"""Make one teacher for a pool of students, distill those that fit a budget, and draw accuracy against latency.

Without arguments it works on built-in data (handwritten digits, a pool of 216 tiny ResNets); see README.md beside it.
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
    ResNetConfig,
    ResNetForImageClassification,
    set_seed,
)

from hf_ctkd.cards import write_card
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task, digit_pools
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import (
    GenericTeacherConfig,
    GenericTeacherTrainer,
    MeasuredStudent,
    PoolMember,
    StudentPool,
    measure,
    pareto,
)
from hf_ctkd.losses import KLLoss
from hf_ctkd.records import write_text
from hf_ctkd.training import DistillationConfig, DistillationTrainer
from hf_ctkd.types import LabelSpace

DIGITS = StudentPool("resnet", ((1, 2),) * 3, widths=((4, 6, 8), (8, 12, 16), (16, 24, 32)), input_size=16)


@dataclass
class Example:
    """What this script does; flags of training are those of GenericTeacherConfig, for the teacher."""

    dataset: str | None = field(
        default=None, metadata={"help": "Hub data set with `train` and `test`; built-in if none."}
    )
    teacher: str = field(default="microsoft/resnet-50", metadata={"help": "Checkpoint that the teacher starts from."})
    pool: str | None = field(default=None, metadata={"help": "Students, as StudentPool.save writes them."})
    students: int = field(default=8, metadata={"help": "Students to distill."})
    max_parameters: float | None = field(default=None, metadata={"help": "Most parameters of a student."})
    max_latency_ms: float | None = field(default=None, metadata={"help": "Most milliseconds a row of a student."})
    student_steps: int = field(default=200, metadata={"help": "Optimiser steps of each student."})

    def __post_init__(self):
        if self.dataset is not None and self.pool is None:
            raise InvalidArgumentError("`--dataset` needs a pool for its images. Name a file of one with `--pool`.")


@dataclass
class Job:
    """Rows, and who learns them: the teacher's rows may be others than the students'."""

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
    """Rows of the Hub and a pretrained teacher; students see the same rows, through the same processor."""
    rows = load_dataset(example.dataset)
    label = rows["train"].features["label"]
    teacher = AutoModelForImageClassification.from_pretrained(
        example.teacher, num_labels=label.num_classes, ignore_mismatched_sizes=True, dtype=torch.float32
    )
    processor = AutoImageProcessor.from_pretrained(example.teacher)
    pool = StudentPool.load(example.pool)
    return Job(rows["train"], rows["train"], rows["test"], teacher, processor, pool)


def on_built_in_data(example: Example) -> Job:
    """A teacher of 700 labelled digits; students with 50 labelled and 550 unlabelled ones of other writers."""
    task = build_task("digits", labels=50, seed=0)
    names = dict(enumerate(task.label_names))
    config = ResNetConfig(
        embedding_size=24, hidden_sizes=[24, 48, 96], depths=[2, 2, 2], layer_type="basic", id2label=names,
        label2id={name: number for number, name in names.items()},
    )  # fmt: skip
    pool = DIGITS if example.pool is None else StudentPool.load(example.pool)
    teacher = ResNetForImageClassification(config)
    return Job(digit_pools()[0], task.train(), task.test, teacher, build_student(task)[1], pool)


def chosen(example: Example, job: Job) -> list[MeasuredStudent]:
    """Students that fit the budget, from the largest to the smallest; drawn at random without one."""
    if example.max_parameters is None and example.max_latency_ms is None:
        return [measure(member, job.classes) for member in job.pool.sample(example.students, seed=0)]
    parameters = None if example.max_parameters is None else int(example.max_parameters)
    fitting = job.pool.under(job.classes, parameters=parameters, latency_ms=example.max_latency_ms)
    count = min(example.students, len(fitting))
    return [fitting[place * len(fitting) // count] for place in range(count)]


def distilled(member: PoolMember, job: Job, teacher: Path, args: GenericTeacherConfig, steps: int) -> float:
    """Train a student from the teacher as from any other, save it, and give its accuracy."""
    trainer = DistillationTrainer(
        model=member.build(job.classes, seed=args.seed),
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
    """Students against latency, fastest first."""
    lines = ["| student | parameters | ms a row | accuracy | best for its latency |", "|---|---|---|---|---|"]
    for place in sorted(range(len(students)), key=lambda one: students[one].latency_ms):
        one = students[place]
        marked = "yes" if place in front else ""
        lines.append(
            f"| {one.member.name} | {one.parameters:,} | {one.latency_ms:.2f} | {accuracies[place]:.3f} | {marked} |"
        )
    return "\n".join(lines)


def draw(students: list[MeasuredStudent], accuracies: list[float], front: tuple[int, ...], path: Path) -> None:
    """Accuracy against latency, with the Pareto front."""
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    latencies = [one.latency_ms for one in students]
    axes.scatter(latencies, accuracies, color="#9a9a9a", label="students")
    axes.plot([latencies[one] for one in front], [accuracies[one] for one in front], "o-", color="#3d6b99",
              label="Pareto front")  # fmt: skip
    for one in front:
        axes.annotate(f"{students[one].parameters / 1000:.1f} k", (latencies[one], accuracies[one]), (4, -10),
                      textcoords="offset points", fontsize=8)  # fmt: skip
    axes.set_xlabel(f"milliseconds a row on {students[0].device}, {torch.get_num_threads()} thread(s)")
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
    students = chosen(example, job)  # before the long part of the work: a budget may be too small

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
    print(f"teacher: accuracy {accuracy:.3f}, card: {write_card(folder)}")

    accuracies = [distilled(one.member, job, folder, args, example.student_steps) for one in students]
    front = pareto([one.latency_ms for one in students], accuracies)
    text = table(students, accuracies, set(front))
    write_text(folder / "students.md", text + "\n")
    draw(students, accuracies, front, folder / "pareto.png")
    print(f"{text}\ntable: {folder / 'students.md'}\nplot: {folder / 'pareto.png'}")


if __name__ == "__main__":
    main()
