# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Segmentation and depth students, distilled from a classifier of single digits and from random weights.

It uses built-in data and no network. See README.md in this folder.
"""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset
from scenes import GROUND, SIDE, scenes
from transformers import (
    GLPNConfig,
    GLPNForDepthEstimation,
    HfArgumentParser,
    PreTrainedModel,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    ViTImageProcessorPil,
    set_seed,
)

from hf_ctkd.demo.images import DIGIT_NAMES
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs
from hf_ctkd.hub import folder_teachers, random_like
from hf_ctkd.losses import DistillationLoss, InvertedProjectionLoss, SpectralLoss
from hf_ctkd.records import TeacherCandidate, default_cache
from hf_ctkd.training import DistillationConfig, DistillationTrainer


@dataclass
class Example:
    """Flags of this script; training flags are the fields of DistillationConfig."""

    scenes: int = field(default=300, metadata={"help": "Number of training scenes, labelled and unlabelled."})
    labelled: int = field(default=60, metadata={"help": "Number of training scenes with a mask and a depth map."})
    test_scenes: int = field(default=150, metadata={"help": "Number of test scenes."})
    teacher: str = field(default="handwriting", metadata={"help": "Built-in classifier to distill from."})
    tasks: list[str] = field(default_factory=lambda: ["mask", "depth"], metadata={"help": "Label columns to learn."})


@dataclass(frozen=True)
class Method:
    """One way to train the student."""

    name: str
    loss: DistillationLoss | None
    teacher: TeacherCandidate | None = None
    unlabelled: bool = True


def student(column: str, seed: int = 0) -> PreTrainedModel:
    """A new student of about 50,000 parameters with random weights."""
    encoder = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
    encoder["initializer_range"] = 0.1  # with the default of 0.02, weights hardly move in so few steps
    set_seed(seed)
    if column == "depth":
        return GLPNForDepthEstimation(GLPNConfig(**encoder, decoder_hidden_size=16, max_depth=round(GROUND) + 1))
    names = dict(enumerate(("ground", *DIGIT_NAMES)))
    ids = {name: index for index, name in names.items()}
    config = SegformerConfig(**encoder, decoder_hidden_size=32, id2label=names, label2id=ids)
    return SegformerForSemanticSegmentation(config)


def processor() -> ViTImageProcessorPil:
    """An image processor that keeps the size of the scenes, for students and teachers."""
    return ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def classifier(name: str, folder: Path) -> Path:
    """A classifier of the demo, with a processor that does not shrink scenes to the size of one digit."""
    (trained,) = build_zoo(
        default_cache() / "zoo" / "image", [spec for spec in demo_specs("image") if spec.name == name]
    )
    shutil.copytree(trained, folder)
    processor().save_pretrained(folder)
    return folder


def methods(column: str, folder: Path) -> list[Method]:
    """The methods to compare; the loss resizes the grid of the teacher's last layer to the student's."""
    layers = [(-2, -1)]
    (teacher,) = folder_teachers(folder)
    rank = 11 if column == "mask" else 8
    return [
        Method("plain, labelled rows", None, unlabelled=False),
        Method("spectral, no teacher", SpectralLoss(rank, layer=-2)),
        Method("inverted projection, random weights", InvertedProjectionLoss(layers=layers), random_like(folder)),
        Method("inverted projection, classifier", InvertedProjectionLoss(layers=layers), teacher),
    ]


def train(method: Method, column: str, rows: dict[str, Dataset], config: DistillationConfig) -> dict[str, float]:
    """Train a student and return its metrics on the test scenes."""
    trainer = DistillationTrainer(
        model=student(column),
        args=config,
        teachers=None if method.teacher is None else [method.teacher],
        loss=method.loss,
        train_dataset=(rows["all"] if method.unlabelled else rows["labelled"]).select_columns(["image", column]),
        eval_dataset=rows["test"].select_columns(["image", column]),
        processing_class=processor(),
    )
    trainer.train()
    metrics = trainer.evaluate()
    trainer.save_model()
    trainer.create_model_card()
    return metrics


def main():
    example, config = HfArgumentParser((Example, DistillationConfig)).parse_args_into_dataclasses()
    config.input_column = "image"
    task = build_task("digits", labels=300, seed=config.seed)
    digits = task.train().filter(lambda label: label >= 0, input_columns="label")
    rows = {"all": scenes(digits, example.scenes, labelled=example.labelled, seed=config.seed)}
    rows["labelled"] = rows["all"].select(range(example.labelled))
    rows["test"] = scenes(task.test, example.test_scenes, labelled=example.test_scenes, seed=config.seed + 1)
    config.dataset_name = "scenes of scikit-learn's digits on its photographs"
    output = Path(config.output_dir)
    with tempfile.TemporaryDirectory() as temporary:
        folder = classifier(example.teacher, Path(temporary) / example.teacher)
        for column in example.tasks:
            print(f"\n{column}: {config.max_steps} steps, {example.labelled} labelled scenes of {example.scenes}")
            for number, method in enumerate(methods(column, folder)):
                config.label_column, config.output_dir = column, str(output / column / str(number))
                metrics = train(method, column, rows, config)
                print(f"  {method.name:40}" + "".join(_cells(metrics)))
    print(f"\nstudents with their cards: {output}")


def _cells(metrics: dict[str, float]) -> list[str]:
    names = [key.removesuffix("_low").removeprefix("eval_") for key in metrics if key.endswith("_low")]
    cells = [(name, *(metrics[f"eval_{name}{end}"] for end in ("", "_low", "_high"))) for name in names]
    return [f"{name} {value:.3f} ({low:.3f} to {high:.3f})  " for name, value, low, high in cells]


if __name__ == "__main__":
    main()
