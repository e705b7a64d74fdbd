# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""A recommender distilled from two kinds of teachers: a text model without recommendations and a two-tower model.

The setting of DiverseDistill at the size of a laptop: a tiny student learns which functions of SciPy go together, from
few labelled pairs. README.md in this folder says what this example shows and what it does not.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from links import pools
from transformers import HfArgumentParser
from two_tower import train_two_tower

from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import assemble_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs
from hf_ctkd.hub import folder_teachers
from hf_ctkd.losses import CommitteeLoss
from hf_ctkd.records import default_cache
from hf_ctkd.training import DistillationConfig, DistillationTrainer


@dataclass
class Example:
    """Flags of this script; training flags are the fields of DistillationConfig."""

    labels: int = field(default=100, metadata={"help": "Number of labelled pairs; the others are unlabelled."})
    text_teacher: str = field(default="torch", metadata={"help": "Built-in text teacher, such as torch or sklearn."})
    epochs: int = field(default=12, metadata={"help": "Training epochs of the two-tower teacher."})


def text_teacher(name: str):
    """A transformer that classifies the docstrings of another library by sub-package."""
    folders = build_zoo(default_cache() / "zoo" / "text", [spec for spec in demo_specs("text") if spec.name == name])
    (candidate,) = folder_teachers(folders[0])
    return replace(candidate, role="foundation")


def main():
    example, config = HfArgumentParser((Example, DistillationConfig)).parse_args_into_dataclasses()
    config.dataset_name = "See Also sections of SciPy"
    teacher_pairs, student_pairs = pools()
    task = assemble_task("see-also", "text", student_pairs, labels=example.labels, seed=config.seed)
    tower, text = train_two_tower(teacher_pairs, epochs=example.epochs), text_teacher(example.text_teacher)

    runs = {"without a teacher": [], "text model": [text], "two-tower model": [tower], "committee": [text, tower]}
    results = {}
    for name, teachers in runs.items():
        student, tokenizer = build_student(task, seed=config.seed)
        published = name == "committee"
        folder = Path(config.output_dir) if published else Path(config.output_dir) / name.replace(" ", "_")
        trainer = DistillationTrainer(
            model=student,
            args=replace(config, output_dir=str(folder)),
            teachers=teachers or None,
            loss=CommitteeLoss() if teachers else None,
            train_dataset=task.train(),
            eval_dataset=task.test,
            processing_class=tokenizer,
        )
        trainer.train()
        results[name] = trainer.evaluate()
        if published:
            trainer.save_model()
            trainer.create_model_card()
            print(f"card: {config.output_dir}/README.md")
    for name, metrics in results.items():
        interval = f"({metrics['eval_accuracy_low']:.3f} to {metrics['eval_accuracy_high']:.3f})"
        print(f"{metrics['eval_accuracy']:.3f} {interval}  {name}")
    print(f"trained on {len(task.train())} pairs, tested on {len(task.test)}; docstrings name half of them")


if __name__ == "__main__":
    main()
