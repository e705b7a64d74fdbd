# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Rank teachers for an image data set, distill from the best one, publish the student.

Without `--dataset` it uses built-in data: 50 labelled digits and ten small teachers. See README.md in this folder.
"""

from dataclasses import dataclass, field

from accelerate import PartialState
from datasets import load_dataset
from transformers import AutoImageProcessor, AutoModelForImageClassification, HfArgumentParser

from hf_ctkd.cards import publish
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs, specs_named
from hf_ctkd.hub import folder_teachers, hub_teachers
from hf_ctkd.records import default_cache
from hf_ctkd.selection import TeacherSelector
from hf_ctkd.training import DistillationConfig, DistillationTrainer


@dataclass
class Example:
    """Flags of this script; training flags are the fields of DistillationConfig."""

    dataset: str | None = field(
        default=None, metadata={"help": "Hub data set with splits `train` and `test`; built-in data if not given."}
    )
    student: str = field(
        default="apple/mobilevit-xx-small", metadata={"help": "Checkpoint that the student starts from."}
    )
    search_limit: int = field(default=20, metadata={"help": "Number of teachers to search on the Hub."})
    max_parameters: float = field(
        default=100e6, metadata={"help": "Maximum number of parameters of a teacher on the Hub."}
    )
    teachers: list[str] = field(default_factory=list, metadata={"help": "Built-in teachers to use; all if not given."})
    publish_as: str | None = field(
        default=None, metadata={"help": "Hub repository to push to; if not given, the student stays in its folder."}
    )


def on_your_data(example: Example):
    """A data set and teachers from the Hub, and a pretrained student."""
    rows = load_dataset(example.dataset)
    candidates = hub_teachers(
        task="image-classification", limit=example.search_limit, max_parameters=example.max_parameters
    )
    label = rows["train"].features["label"]
    model = AutoModelForImageClassification.from_pretrained(
        example.student, num_labels=label.num_classes, ignore_mismatched_sizes=True, dtype="float32"
    )
    return rows["train"], rows["test"], candidates, model, AutoImageProcessor.from_pretrained(example.student)


def on_built_in_data(example: Example, seed: int):
    """Handwritten digits, teachers that the first run trains, and a tiny student; no network."""
    task = build_task("digits", labels=50, seed=seed)
    specs = specs_named(example.teachers, demo_specs("image"))
    with PartialState().main_process_first():
        folders = build_zoo(default_cache() / "zoo" / "image", specs)
    candidates = [candidate for folder in folders for candidate in folder_teachers(folder)]
    return task.train(), task.test, candidates, *build_student(task, seed=seed)


def main():
    example, config = HfArgumentParser((Example, DistillationConfig)).parse_args_into_dataclasses()
    if example.dataset is None:
        config.dataset_name = "digits of scikit-learn"
        train, test, candidates, model, processor = on_built_in_data(example, config.seed)
    else:
        config.dataset_name = example.dataset
        train, test, candidates, model, processor = on_your_data(example)

    ranking = TeacherSelector().rank(candidates, train)

    trainer = DistillationTrainer(
        model=model,
        args=config,
        teachers=ranking.top(1),
        train_dataset=train,
        eval_dataset=test,
        processing_class=processor,
        ranking=ranking,
    )
    trainer.train()
    metrics = trainer.evaluate()
    trainer.save_model()

    if trainer.is_world_process_zero():
        print(ranking)
        print(f"accuracy {metrics['eval_accuracy']:.3f} with {ranking.top(1)[0].name} as the teacher")
        if example.publish_as is None:
            trainer.create_model_card()
            print(f"card: {config.output_dir}/README.md")
        else:
            print(f"published: {publish(config.output_dir, example.publish_as)}")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
