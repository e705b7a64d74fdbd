# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Choose a committee of teachers that complement each other, and distill from all of them at once.

It uses built-in images or texts. Every teacher preprocesses the raw row with its own image processor or tokenizer. See
README.md in this folder.
"""

from dataclasses import dataclass, field
from typing import Literal

from accelerate import PartialState
from transformers import HfArgumentParser

from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs, specs_named
from hf_ctkd.hub import folder_teachers
from hf_ctkd.losses import CommitteeLoss
from hf_ctkd.records import default_cache
from hf_ctkd.selection import TeacherSelector
from hf_ctkd.training import DistillationConfig, DistillationTrainer

TASKS = {"image": ("digits", 50, "handwriting"), "text": ("scipy-docstrings", 150, "scipy")}
"""Target task, its number of labels, and the teacher of the same task, which is left out."""


@dataclass
class Example:
    """Flags of this script; training flags are the fields of DistillationConfig."""

    modality: Literal["image", "text"] = field(default="image", metadata={"help": "Digits, or docstrings of SciPy."})
    members: int = field(default=3, metadata={"help": "Maximum number of teachers in the committee."})
    top_k: int | None = field(
        default=None, metadata={"help": "Maximum number of teachers that run on a row; all if not given."}
    )
    teachers: list[str] = field(default_factory=list, metadata={"help": "Built-in teachers to use; all if not given."})


def candidates_for(example: Example):
    """The built-in teachers of other tasks, which the first run trains."""
    same_task = TASKS[example.modality][2]
    specs = specs_named(example.teachers, [spec for spec in demo_specs(example.modality) if spec.name != same_task])
    with PartialState().main_process_first():
        folders = build_zoo(default_cache() / "zoo" / example.modality, specs)
    return [candidate for folder in folders for candidate in folder_teachers(folder)]


def main():
    example, config = HfArgumentParser((Example, DistillationConfig)).parse_args_into_dataclasses()
    name, labels, _ = TASKS[example.modality]
    config.dataset_name = name
    task = build_task(name, labels=labels, seed=config.seed)
    model, processing_class = build_student(task, seed=config.seed)

    committee = TeacherSelector().select_committee(candidates_for(example), task.labelled, example.members)

    trainer = DistillationTrainer(
        model=model,
        args=config,
        teachers=committee.members,
        loss=CommitteeLoss(top_k=example.top_k),
        train_dataset=task.train(),
        eval_dataset=task.test,
        processing_class=processing_class,
        ranking=committee.ranking,
    )
    trainer.train()
    metrics = trainer.evaluate()
    trainer.save_model()

    if trainer.is_world_process_zero():
        print(committee.ranking)
        print(f"gain of the committee\n{committee}")
        for member, weight in zip(committee.members, trainer.loss.weights(), strict=True):
            print(f"importance {weight:.2f}  {member.name}")
        print(f"accuracy {metrics['eval_accuracy']:.3f}")
        trainer.create_model_card()
        print(f"card: {config.output_dir}/README.md")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
