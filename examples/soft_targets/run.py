# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Write a teacher's soft targets as a column, and train on them with plain `transformers.Trainer`. See README.md."""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from datasets import load_dataset
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
)

from hf_ctkd import soft_targets
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs, specs_named
from hf_ctkd.records import default_cache


@dataclass
class Example:
    """Flags of this script; the others are those of TrainingArguments."""

    dataset: str | None = field(
        default=None, metadata={"help": "Hub data set with splits `train` and `test`; built-in digits if not given."}
    )
    teacher: str = field(
        default="font-digits", metadata={"help": "Id or folder of the teacher; a name of the zoo for built-in digits."}
    )
    student: str = field(
        default="WinKawaks/vit-tiny-patch16-224", metadata={"help": "Checkpoint that the student starts from."}
    )


def on_your_data(example: Example):
    """A data set and a teacher of the Hub, and a pretrained student."""
    rows = load_dataset(example.dataset)
    model = AutoModelForImageClassification.from_pretrained(
        example.student,
        num_labels=rows["train"].features["label"].num_classes,
        ignore_mismatched_sizes=True,
        dtype="float32",
    )
    return rows["train"], rows["test"], example.teacher, model, AutoImageProcessor.from_pretrained(example.student)


def on_built_in_data(example: Example, seed: int):
    """Digits of which 50 have a label, a teacher that the first run trains, and a tiny student; no network."""
    task = build_task("digits", labels=50, seed=seed)
    (teacher,) = build_zoo(default_cache() / "zoo" / "image", specs_named([example.teacher], demo_specs("image")))
    return task.train(), task.test, str(teacher), *build_student(task, seed=seed)


def main():
    example, args = HfArgumentParser((Example, TrainingArguments)).parse_args_into_dataclasses()
    built_in = example.dataset is None
    train, test, teacher, model, processor = on_built_in_data(example, args.seed) if built_in else on_your_data(example)
    train = soft_targets(train, [teacher])

    def collate(rows):
        # From here on it is a data set like any other, whose labels are probabilities.
        images = processor(images=[row["image"].convert("RGB") for row in rows], return_tensors="pt")
        labels = [row["soft_targets"] if "soft_targets" in row else row["label"] for row in rows]
        return {**images, "labels": torch.tensor(labels)}

    args.remove_unused_columns = False
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=test,
        data_collator=collate,
        # Cross-entropy takes class probabilities of training rows, and labels of test rows.
        compute_loss_func=lambda outputs, labels, num_items_in_batch=None: F.cross_entropy(outputs.logits, labels),
        compute_metrics=lambda result: {"accuracy": float(np.mean(result.predictions.argmax(1) == result.label_ids))},
    )
    trainer.train()
    print(f"accuracy {trainer.evaluate()['eval_accuracy']:.3f}")
    trainer.save_model()
    processor.save_pretrained(args.output_dir)


if __name__ == "__main__":
    main()
