"""Small stand-ins for the data, teachers and students of the guides.

Run it in an empty folder, then the guides in the same folder. It needs no network; on two cores it takes a minute.
"""

import csv
from pathlib import Path

import torch
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    set_seed,
)

from hf_ctkd.demo.architectures import wordpiece_tokenizer
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs, specs_named

ANIMALS = {"mammal": ["cat", "dog", "horse"], "bird": ["owl", "crow", "heron"], "fish": ["carp", "trout", "eel"]}
PLACES = ["in the river", "on the roof", "behind the barn", "near the road", "under a tree", "by the lake"]


def write_images() -> None:
    """Handwritten digits of scikit-learn: a folder for each class, and a folder without labels."""
    task = build_task("digits", labels=50, seed=0)
    names = task.train().features["label"].names
    for split, rows in (("train", task.labelled), ("test", task.test)):
        for number, row in enumerate(rows):
            folder = Path("images", split, names[row["label"]])
            folder.mkdir(parents=True, exist_ok=True)
            row["image"].save(folder / f"{number}.png")
    Path("unlabelled").mkdir()
    for number, row in enumerate(task.unlabelled):
        row["image"].save(Path("unlabelled", f"{number}.png"))
    student, processor = build_student(task)
    student.config.num_labels = 2  # a checkpoint has classes of its own
    AutoModelForImageClassification.from_config(student.config).save_pretrained("students/resnet")
    processor.save_pretrained("students/resnet")


def write_texts() -> None:
    """Sentences about animals, of which the class is to be told, and pairs of them."""
    rows = [
        (f"The {animal} was seen {place}.", label)
        for place in PLACES
        for label, animals in ANIMALS.items()
        for animal in animals
    ]
    pairs = [(text, other, str(kind == same)) for (text, kind), (other, same) in zip(rows, rows[7:], strict=False)]
    for name, header, lines in (
        ("texts", ("text", "label"), rows),
        ("pairs", ("premise", "hypothesis", "label"), pairs),
    ):
        with open(f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines])
    set_seed(0)
    tokenizer = wordpiece_tokenizer([text for text, _ in rows], vocabulary=200, length=64)
    size = {"vocab_size": len(tokenizer), "num_hidden_layers": 1, "num_attention_heads": 4}
    size["pad_token_id"] = tokenizer.pad_token_id
    teacher = BertConfig(hidden_size=64, intermediate_size=128, **size)
    student = BertConfig(hidden_size=32, intermediate_size=64, **size)
    save = {"text-teachers/bert": AutoModel.from_config(teacher)}
    save["students/bert"] = AutoModelForSequenceClassification.from_config(student)
    for folder, model in save.items():
        model.to(torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def main() -> None:
    write_images()
    write_texts()
    names = ["random-weights", "handwriting-parity", "font-letters"]
    build_zoo(Path("teachers"), specs_named(names, demo_specs("image")), processes=1)
    print("Pictures of digits: images, unlabelled; texts: texts.csv, pairs.csv")
    print("Models: teachers, text-teachers, students/resnet, students/bert")


if __name__ == "__main__":
    main()
