# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]", "sentence-transformers>=5"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""Write a teacher's soft targets as a column, and train a sentence encoder on them with sentence-transformers."""

import tempfile
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from datasets import load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import HfArgumentParser

from hf_ctkd import soft_targets
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs, specs_named
from hf_ctkd.records import default_cache


@dataclass
class Example:
    """Flags of this script; the others are those of SentenceTransformerTrainingArguments."""

    dataset: str | None = field(
        default=None,
        metadata={"help": "Hub data set with splits `train` and `test`; docstrings of SciPy if not given."},
    )
    text_column: str = field(default="text", metadata={"help": "Column of the texts."})
    teacher: str = field(
        default="sklearn", metadata={"help": "Id or folder of the teacher; a name of the zoo for built-in docstrings."}
    )
    student: str = field(
        default="sentence-transformers/all-MiniLM-L6-v2", metadata={"help": "Sentence encoder to start from."}
    )


class SoftTargetLoss(nn.Module):
    """Cross-entropy of a linear head on the embedding of a text, against probabilities of the classes."""

    def __init__(self, encoder: SentenceTransformer, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(len(encoder.encode("any text")), classes)

    def forward(self, sentence_features, labels):
        embeddings = self.encoder(next(iter(sentence_features)))["sentence_embedding"]
        return F.cross_entropy(self.head(embeddings), labels.float())


def on_built_in_data(example: Example, seed: int):
    """Docstrings of which 150 have a label, a teacher that the first run trains, and a tiny encoder; no network."""
    task = build_task("scipy-docstrings", labels=150, seed=seed)
    (teacher,) = build_zoo(default_cache() / "zoo" / "text", specs_named([example.teacher], demo_specs("text")))
    student, tokenizer = build_student(task, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        student.base_model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        encoder = SentenceTransformer(folder, device="cpu")  # an embedding is the mean over the tokens
    encoder.max_seq_length = student.config.max_position_embeddings
    return task.train(), task.test, str(teacher), encoder


def on_your_data(example: Example):
    """A data set and a teacher of the Hub, and a pretrained sentence encoder."""
    rows = load_dataset(example.dataset)
    return rows["train"], rows["test"], example.teacher, SentenceTransformer(example.student)


def main():
    parser = HfArgumentParser((Example, SentenceTransformerTrainingArguments))
    example, args = parser.parse_args_into_dataclasses()
    built_in = example.dataset is None
    train, test, teacher, encoder = on_built_in_data(example, args.seed) if built_in else on_your_data(example)
    train = soft_targets(train, [teacher])

    # From here on it is a data set like any other, whose labels are probabilities.
    rows = train.select_columns([example.text_column, "soft_targets"]).rename_column("soft_targets", "label")
    loss = SoftTargetLoss(encoder, classes=test.features["label"].num_classes)
    SentenceTransformerTrainer(model=encoder, args=args, train_dataset=rows, loss=loss).train()

    embeddings = encoder.encode(test[example.text_column][:], convert_to_tensor=True)
    with torch.no_grad():
        predicted = loss.head(embeddings.to(loss.head.weight.device)).argmax(dim=1).tolist()
    right = sum(one == other for one, other in zip(predicted, test["label"], strict=True))
    print(f"accuracy {right / len(predicted):.3f}")
    encoder.save_pretrained(args.output_dir)


if __name__ == "__main__":
    main()
