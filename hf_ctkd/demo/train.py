"""Train the teachers of the zoo in plain PyTorch, reproducibly, with one thread per teacher."""

import contextlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ViTImageProcessorPil,
)
from transformers.utils import logging

from hf_ctkd.demo.architectures import IMAGE_ARCHITECTURES, TEXT_ARCHITECTURES
from hf_ctkd.demo.text import load_docstrings
from hf_ctkd.demo.zoo import TeacherSpec, teacher_rows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub.metadata import UNTRAINED
from hf_ctkd.records import write_json, write_text

RECORD_FILE = "teacher.json"
Preprocessor = ViTImageProcessorPil | PreTrainedTokenizerFast
_BATCH = 64
_HELD_OUT = 0.12


@dataclass(frozen=True)
class Encoded:
    """All rows of a data set, preprocessed for a model.

    Args:
        values: pixel values `[rows, channels, height, width]`, or padded token ids `[rows, length]`.
        labels: class of each row, `[rows]`.
        lengths: number of tokens of each row; None for images.
    """

    values: Float[Tensor, "rows channels height width"] | Int[Tensor, "rows length"]
    labels: Int[Tensor, " rows"]
    lengths: Int[Tensor, " rows"] | None = None

    def inputs(self, rows: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """The arguments of a model's `forward` for some rows, padded to the longest of them."""
        if self.lengths is None:
            return {"pixel_values": self.values[rows]}
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        mask = (torch.arange(longest) < lengths[:, None]).long()
        return {"input_ids": self.values[rows, :longest], "attention_mask": mask}

    def batches(self, rows: Int[Tensor, " chosen"], size: int) -> Iterator[Int[Tensor, " batch"]]:
        """Shuffled batches of some rows; texts of similar length share a batch, because padding costs time too."""
        order = rows[torch.randperm(len(rows))]
        if self.lengths is None:
            yield from order.split(size)
            return
        for chunk in order.split(8 * size):
            batches = chunk[self.lengths[chunk].argsort()].split(size)
            for index in torch.randperm(len(batches)).tolist():
                yield batches[index]


def build_zoo(folder: Path, specs: Sequence[TeacherSpec], *, processes: int = 2, progress: bool = True) -> list[Path]:
    """Train the teachers that are missing from `folder`, in parallel, and return the folder of each, in order.

    A teacher whose specification and libraries have not changed is not retrained, so an interrupted run continues where
    it stopped. With more than one process, call it under `if __name__ == "__main__":` in a script.

    Args:
        folder: output folder; each teacher gets a `save_pretrained` folder in it.
        specs: the teachers, with distinct names.
        processes: number of teachers to train in parallel, each with one thread; 1 trains in this process.
        progress: whether to show a progress bar.

    Raises:
        InvalidArgumentError: if two specifications share a name.
    """
    names = [spec.name for spec in specs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidArgumentError(f"`specs` must have distinct names, but {repeated[0]!r} occurs twice. Rename one.")
    folder.mkdir(parents=True, exist_ok=True)
    missing = [spec for spec in specs if not is_trained(spec, folder)]
    with tqdm(total=len(missing), desc="teachers", unit="teacher", disable=not progress or not missing) as bar:
        if processes == 1 or len(missing) < 2:
            for spec in missing:
                train_teacher(spec, folder)
                bar.update()
        else:
            _train_in_processes(missing, folder, processes, bar.update)
    return [folder / spec.name for spec in specs]


def _train_in_processes(
    specs: Sequence[TeacherSpec], folder: Path, processes: int, advance: Callable[[], object]
) -> None:
    libraries = sorted({library for spec in specs if spec.modality == "text" for library in spec.data.split("+")})
    # The longest runs first, so that no process idles at the end.
    ordered = sorted(specs, key=lambda spec: spec.epochs, reverse=True)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(specs)), mp_context=spawn) as pool:
        try:
            # Each library is parsed once, instead of by every teacher that uses it.
            list(pool.map(_parse_library, libraries))
            for future in as_completed([pool.submit(train_teacher, spec, folder) for spec in ordered]):
                future.result()
                advance()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # no further training after an error or interruption


def _parse_library(library: str) -> None:
    load_docstrings(library)


def is_trained(spec: TeacherSpec, folder: Path) -> bool:
    """Whether `folder` holds this teacher, trained with the same specification and library versions."""
    record = folder / spec.name / RECORD_FILE
    return record.is_file() and json.loads(record.read_text())["key"] == spec.key()


def train_teacher(spec: TeacherSpec, folder: Path) -> Path:
    """Train one teacher and save it with its processor or tokenizer, `README.md` and `teacher.json`.

    The folder `folder / spec.name` appears complete or not at all.

    Args:
        spec: the teacher.
        folder: parent of the teacher's folder.
    """
    started = time.perf_counter()
    rows = teacher_rows(spec)
    with _reproducible(spec.seed):
        held_out, train = split_rows(len(rows), seed=spec.seed)
        model, preprocessor, encoded, rate = _untrained(spec, rows)
        fit_classifier(model, encoded, train, epochs=spec.epochs, learning_rate=rate)
        accuracy = classifier_accuracy(model, encoded, held_out)
    record = {
        "key": spec.key(),
        "spec": asdict(spec),
        "rows": len(train),
        "classes": model.config.num_labels,
        "held_out_rows": len(held_out),
        "held_out_accuracy": round(accuracy, 4),
        "parameters": model.num_parameters(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return _save(spec, folder, model, preprocessor, record)


def _body(model: PreTrainedModel) -> PreTrainedModel:
    body = model.base_model
    if not isinstance(body, PreTrainedModel):
        raise InvalidArgumentError(
            f"`spec` asks for a model without its head, but {type(model).__name__} has no separate body. "
            "Choose another architecture."
        )
    return body


def _save(spec: TeacherSpec, folder: Path, model: PreTrainedModel, preprocessor: Preprocessor, record: dict) -> Path:
    target, partial = folder / spec.name, folder / f".{spec.name}.{os.getpid()}.partial"
    saved = model if spec.head else _body(model)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _no_progress_bar():
            saved.save_pretrained(partial)
        preprocessor.save_pretrained(partial)
        write_text(partial / "README.md", _card(spec, record))
        write_json(partial / RECORD_FILE, record)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def split_rows(count: int, *, seed: int) -> tuple[Int[Tensor, " held_out"], Int[Tensor, " train"]]:
    """Random held-out rows for evaluation, and the training rows."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    held_out = max(1, int(_HELD_OUT * count))
    return order[:held_out], order[held_out:]


def fit_classifier(
    model: PreTrainedModel, encoded: Encoded, rows: Int[Tensor, " chosen"], *, epochs: int, learning_rate: float
) -> None:
    """Train a classifier on some rows with AdamW, a one-cycle learning rate and cross-entropy."""
    if epochs == 0:
        return
    # With very few steps the warm-up of the cycle would have length 0, which the schedule divides by.
    steps = max(10, epochs * -(-len(rows) // _BATCH))
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=learning_rate, total_steps=steps, pct_start=0.2)
    model.train()
    for _ in range(epochs):
        for batch in encoded.batches(rows, _BATCH):
            logits = model(**encoded.inputs(batch)).logits
            loss = torch.nn.functional.cross_entropy(logits, encoded.labels[batch])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()


@torch.no_grad()
def classifier_accuracy(model: PreTrainedModel, encoded: Encoded, rows: Int[Tensor, " chosen"]) -> float:
    """Accuracy of a classifier on some rows, in [0, 1]; leaves the model in evaluation mode."""
    model.eval()
    correct = [
        (model(**encoded.inputs(batch)).logits.argmax(-1) == encoded.labels[batch]).sum() for batch in rows.split(256)
    ]
    return float(sum(correct)) / len(rows)


def encode_images(rows: Dataset, processor: ViTImageProcessorPil) -> Encoded:
    """Preprocess all images of a data set."""
    pixels = processor(list(rows["image"]), return_tensors="pt")["pixel_values"]
    return Encoded(pixels, torch.tensor(rows["label"][:]))


def encode_texts(rows: Dataset, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """Tokenize all texts of a data set, truncated to the tokenizer's `model_max_length`."""
    batch = tokenizer(rows["text"][:], truncation=True, padding=True, return_tensors="pt")
    return Encoded(batch["input_ids"], torch.tensor(rows["label"][:]), batch["attention_mask"].sum(dim=1))


def _untrained(spec: TeacherSpec, rows: Dataset) -> tuple[PreTrainedModel, Preprocessor, Encoded, float]:
    names = rows.features["label"].names
    if spec.modality == "image":
        image = IMAGE_ARCHITECTURES[spec.architecture]
        processor = image.processor()
        model = AutoModelForImageClassification.from_config(_named(image.config(), names))
        return model, processor, encode_images(rows, processor), image.learning_rate
    text = TEXT_ARCHITECTURES[spec.architecture]
    tokenizer = text.tokenizer(rows["text"][:])
    model = AutoModelForSequenceClassification.from_config(_named(text.config(tokenizer), names))
    return model, tokenizer, encode_texts(rows, tokenizer), text.learning_rate


def _named(config: PreTrainedConfig, names: Sequence[str]) -> PreTrainedConfig:
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    return config


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    threads = torch.get_num_threads()
    # The number of threads changes the order of sums, and so the last digits of the weights.
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _card(spec: TeacherSpec, record: dict) -> str:
    task = "image-classification" if spec.modality == "image" else "text-classification"
    task = task if spec.head else "feature-extraction"
    training = (
        f"Trained for {spec.epochs} epochs on {record['rows']} rows" if spec.epochs else "Random weights, no training"
    )
    untrained = "" if spec.epochs else f"- {UNTRAINED}\n"
    return (
        f"---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: {task}\ntags:\n"
        f"- hf_ctkd\n{untrained}---\n\n"
        f"# {spec.name}\n\nA teacher of the hf_ctkd demo: a tiny `{spec.architecture}` over {spec.data} "
        f"({spec.grouping}, {record['classes']} classes).\n\n{training}; held-out accuracy "
        f"{record['held_out_accuracy']:.3f} over {record['held_out_rows']} rows.\n"
    )
