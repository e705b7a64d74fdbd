"""A recommender distilled from a text model that knows no recommendations, and a two-tower model that knows some.

The setting of DiverseDistill at the size of a laptop: a tiny student learns which functions of SciPy go
together, from few labelled pairs. See README.md beside it for what this is and what it is not.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from links import pools
from transformers import HfArgumentParser
from two_tower import train_two_tower

from hf_ctkd.cards import write_card
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
    """What this script does; flags of training are those of DistillationConfig."""

    labels: int = field(default=100, metadata={"help": "Pairs with a label; the others have none."})
    text_teacher: str = field(default="torch", metadata={"help": "Built-in text teacher: torch, sklearn, ..."})
    epochs: int = field(default=12, metadata={"help": "Of the two-tower teacher over its own pairs."})


def text_teacher(name: str):
    """A transformer that learned the sub-packages of another library's docstrings."""
    folders = build_zoo(default_cache() / "zoo" / "text", [spec for spec in demo_specs("text") if spec.name == name])
    (candidate,) = folder_teachers(folders[0])
    return replace(candidate, role="foundation")


def main():
    example, config = HfArgumentParser((Example, DistillationConfig)).parse_args_into_dataclasses()
    config.dataset_name = "See Also sections of SciPy"
    its_pairs, pairs = pools()
    task = assemble_task("see-also", "text", pairs, labels=example.labels, seed=config.seed)
    tower, text = train_two_tower(its_pairs, epochs=example.epochs), text_teacher(example.text_teacher)

    arms = {"without a teacher": [], "text model": [text], "two-tower model": [tower], "committee": [text, tower]}
    found = {}
    for name, teachers in arms.items():
        student, tokenizer = build_student(task, seed=config.seed)
        last = name == "committee"
        folder = Path(config.output_dir) if last else Path(config.output_dir) / name.replace(" ", "_")
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
        found[name] = trainer.evaluate()
        if last:
            trainer.save_model()
            print(f"card: {write_card(config.output_dir)}")
    for name, one in found.items():
        interval = f"({one['eval_accuracy_low']:.3f} to {one['eval_accuracy_high']:.3f})"
        print(f"{one['eval_accuracy']:.3f} {interval}  {name}")
    print(f"on {len(task.test)} pairs, half of which a docstring names; {len(task.train())} pairs trained on")


if __name__ == "__main__":
    main()
