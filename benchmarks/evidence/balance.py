"""How much labelled rows are to count beside the teacher: trials judged on validation rows, with the tuning's seeds.

python -m benchmarks.evidence.balance run --processes 2
python -m benchmarks.evidence.balance report
"""

import argparse
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import pandas
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset, RandomSampler, Sampler
from transformers import PrinterCallback

from benchmarks.evidence.pretrained import pretrained_zoo
from benchmarks.evidence.report import table
from benchmarks.evidence.settings import Settings
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import candidates, config_of, measured, quiet
from benchmarks.results_file import replaced
from hf_ctkd.demo.pretrained import STUDENT, pretrained_student, student_folder
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import DemoTask, build_task
from hf_ctkd.losses import DistillationLoss, LossContext, ProbeLoss, RowTransportLoss
from hf_ctkd.losses.base import student_logits
from hf_ctkd.records import default_cache, write_text
from hf_ctkd.training import DistillationTrainer
from hf_ctkd.types import UNLABELLED, ModelOutputs

SEED = 1000
"""One of the tuning's: no measured run has it."""
COLUMNS = (
    "key", "task", "labels", "share", "student", "teacher", "loss", "labelled_row_weight", "labelled_rows", "batches",
    "seed", "learning_rate", "steps", "validation_accuracy", "accuracy", "seconds",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results"
REGULAR = {"image": Settings(weight_decay=0.1, label_smoothing=0.1), "text": Settings()}
LOSSES = {"transport": RowTransportLoss, "probe": ProbeLoss}
PLAIN = "plain"


@dataclass(frozen=True)
class Trial:
    """One student.

    Args:
        task: built-in task.
        labels: rows that keep their label; 0 for all but one.
        teacher: of the zoo; empty for the plain student on labelled rows alone.
        loss: of `LOSSES`, or "plain".
        labelled_row_weight: as in `DistillationConfig`; infinity for a mean over labelled rows.
        labelled_rows: "share" for the default loss, else see `LabelledRows`.
        batches: least share of labelled rows in a batch; 0 for batches as they come.
        seed: of labels, weights and batches.
        learning_rate: peak.
        student: "scratch" or "minilm-2".
        steps: optimiser steps.
    """

    task: str
    labels: int
    teacher: str = ""
    loss: str = PLAIN
    labelled_row_weight: float = math.inf
    labelled_rows: str = "target"
    batches: float = 0.0
    seed: int = 1000
    learning_rate: float = 3e-3
    student: str = "scratch"
    steps: int = 300

    @property
    def key(self) -> str:
        return "|".join(str(value) for value in asdict(self).values())


class LabelledRows(DistillationLoss):
    """The default loss with another weight of labelled rows than their share.

    Args:
        loss: the default loss.
        how: "target" distils labelled rows as all others, "left out" not at all; "label" neither, but gives their label
            the weight of the distillation.
    """

    name = "transport"
    citation = "Trial"

    def __init__(self, loss: RowTransportLoss, how: str) -> None:
        super().__init__()
        self.inner, self.how, self.needs = loss, how, loss.needs

    def setup(self, context: LossContext) -> None:
        self.inner.setup(context)
        self.inner.labelled_share.fill_(1.0 if self.how == "target" else 0.0)

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        self.inner.after_step(total)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        if self.how != "label":
            return self.inner(student, teachers, labels)
        logits = student_logits(student).float()
        cross_entropy = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum") / len(labels)
        (term,) = self.inner(student, teachers, labels).values()
        return {self.name: term + self.inner.strength() * cross_entropy}


class LabelledShare(Sampler[int]):
    """Batches of which a stated share is labelled; an epoch is as long as the rows are many."""

    def __init__(self, labels: Tensor, share: float, seed: int) -> None:
        self.labelled, self.rest = (labels != UNLABELLED).nonzero()[:, 0], (labels == UNLABELLED).nonzero()[:, 0]
        self.share, self.generator, self.count = share, torch.Generator().manual_seed(seed), len(labels)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        for _ in range(self.count):
            pool = self.labelled if float(torch.rand((), generator=self.generator)) < self.share else self.rest
            yield int(pool[torch.randint(len(pool), (), generator=self.generator)])


class TrialTrainer(DistillationTrainer):
    """The trainer with another sampler."""

    share = 0.0

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        rows = self.train_dataset.rows
        natural = len(rows.labelled) / len(rows)
        if self.share <= natural:
            return RandomSampler(self.train_dataset, generator=torch.Generator().manual_seed(self.args.seed))
        return LabelledShare(rows.labels, self.share, self.args.seed)


@lru_cache(maxsize=8)
def task_with(name: str, labels: int, seed: int) -> DemoTask:
    if labels:
        return build_task(name, labels=labels, seed=seed)
    size = len(build_task(name, labels=40, seed=seed).train())
    return build_task(name, labels=size - 1, seed=seed)


def run(trial: Trial) -> dict[str, object]:
    quiet()
    started = time.perf_counter()
    task = task_with(trial.task, trial.labels, trial.seed)
    cache = default_cache()
    if trial.student == "scratch":
        student, processor = build_student(task, seed=trial.seed)
    else:
        student, processor = pretrained_student(task, student_folder(cache / "zoo" / "students"), seed=trial.seed)
    settings = replace(REGULAR[task.modality], learning_rate=trial.learning_rate)
    config = config_of(settings, task.modality, seed=trial.seed, work=str(cache / "evidence"))
    config.max_steps = trial.steps
    if trial.student != "scratch":
        config.per_device_train_batch_size, config.max_length = 16, 32
    config.labelled_row_weight = trial.labelled_row_weight
    loss = None
    if trial.loss != PLAIN:
        loss = LOSSES[trial.loss]()
        if trial.labelled_rows != "share":
            loss = LabelledRows(loss, trial.labelled_rows)
    zoos = (str(cache / "zoo" / task.modality), str(pretrained_zoo(cache / "zoo" / "pretrained")))
    if trial.teacher == STUDENT:
        zoos = (str(cache / "zoo" / "students"),)
    trainer = TrialTrainer(
        student,
        config,
        teachers=[candidates(zoos)[trial.teacher]] if trial.teacher else None,
        loss=loss,
        train_dataset=task.labelled if trial.loss == PLAIN else task.train(),
        processing_class=processor,
    )
    trainer.share = trial.batches
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    labels = len(task.labelled)
    return {
        "key": trial.key,
        **asdict(trial),
        "labels": labels,
        "share": round(labels / len(task.train()), 4),
        "validation_accuracy": measured(trainer, task.validation)[0],
        "accuracy": measured(trainer, task.test)[0],
        "seconds": round(time.perf_counter() - started, 1),
    }


TEACHERS = {
    "scipy-docstrings": ("minilm", "torch", "random-weights"),
    "digits": ("handwriting", "font-letters", "random-weights"),
}
LABELS = {"scipy-docstrings": (20, 40, 120, 400, 0), "digits": (20, 60, 180, 0)}
RATES = {"scipy-docstrings": (1e-3, 3e-3), "digits": (1e-2, 3e-2)}
"""The plain student has both; the others the second, which the suite's tuning chose for them."""


def trials() -> Iterable[Trial]:
    """Students from scratch: every share of labels, every weight of a labelled row, then the other questions."""
    for task, shares in LABELS.items():
        for labels in shares:
            yield from (Trial(task, labels, learning_rate=rate) for rate in RATES[task])
            for teacher in TEACHERS[task]:
                taught = Trial(task, labels, teacher, "transport", 1.0, learning_rate=RATES[task][1])
                yield from (replace(taught, labelled_row_weight=weight) for weight in (math.inf, 10.0, 3.0, 1.0))
                yield from (replace(taught, labelled_rows=how) for how in ("left out", "label", "share"))
                if 20 < labels < 400:
                    yield replace(taught, batches=0.5)
    yield from pretrained()


def pretrained() -> Iterable[Trial]:
    """The same questions with a pretrained student."""
    for labels in (100, 300, 0):
        plain = Trial("scipy-docstrings", labels, learning_rate=3e-4, student="minilm-2")
        taught = replace(plain, teacher="minilm", loss="transport", labelled_row_weight=1.0)
        yield from (plain, taught)
        if labels:
            yield from (replace(taught, labelled_rows=how) for how in ("left out", "label", "share"))
            yield replace(taught, labelled_row_weight=math.inf)


BEGIN, END = "<!-- balance:begin -->", "<!-- balance:end -->"
_NOTE = (
    "Validation accuracy, in brackets test accuracy, which chose nothing; of seeds that no measured run has. "
    "Written by `python -m benchmarks.evidence.balance report`. Columns: the plain student on labelled rows "
    "alone, at the better of two rates; the default loss with the task loss as a mean over labelled rows (*all at "
    "once*, as it was) and with a labelled row counting 10, 3 and once in a mean over all rows, labelled rows "
    "being distilled as all others; then, at weight 1, with the label in place of the teacher's target on "
    "labelled rows, with labelled rows *left out* of the distillation, with labelled rows distilled *by share* "
    "(weighted by the labelled share of all rows: the default since), and with half of each batch labelled.\n"
)
_COLUMNS: tuple[tuple[str, float, str, float], ...] = (
    ("all at once", math.inf, "target", 0.0),
    ("10", 10.0, "target", 0.0),
    ("3", 3.0, "target", 0.0),
    ("1", 1.0, "target", 0.0),
    ("1, label", 1.0, "label", 0.0),
    ("1, left out", 1.0, "left out", 0.0),
    ("1, by share", 1.0, "share", 0.0),
    ("1, half-labelled batches", 1.0, "target", 0.5),
)


def report(rows: pandas.DataFrame) -> str:
    """The section of `RESULTS.md`."""
    body = []
    for (student, task, share, teacher), group in rows[rows["loss"] == "transport"].groupby(
        ["student", "task", "share", "teacher"]
    ):
        alike = rows[(rows["student"] == student) & (rows["task"] == task) & (rows["share"] == share)]
        rates = alike[alike["loss"] == PLAIN].groupby("learning_rate").mean(numeric_only=True)
        plain = rates.nlargest(1, "validation_accuracy")
        cells = [
            _accuracy(
                group[
                    (group["labelled_row_weight"] == weight)
                    & (group["labelled_rows"] == how)
                    & (group["batches"] == batches)
                ]
            )
            for _, weight, how, batches in _COLUMNS
        ]
        body.append([task, student, f"{100 * share:.0f} %", teacher, _accuracy(plain), *cells])
    header = ["task", "student", "labelled", "teacher", "plain", *(name for name, *_ in _COLUMNS)]
    return f"{BEGIN}\n## How much labelled rows count\n\n{_NOTE}\n{table(header, body)}\n{END}"


def _accuracy(rows: pandas.DataFrame) -> str:
    if rows.empty:
        return ""
    return f"{100 * rows['validation_accuracy'].mean():.1f} ({100 * rows['accuracy'].mean():.1f})"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(argv)
    store = Store(RESULTS, "balance", COLUMNS)
    if options.command == "report":
        rows = pandas.DataFrame(store.merge())
        numbers = ["share", "labelled_row_weight", "batches", "validation_accuracy", "accuracy", "seed"]
        rows[numbers] = rows[numbers].astype(float)
        target = RESULTS.parents[1] / "RESULTS.md"
        text = target.read_text(encoding="utf-8")
        if BEGIN not in text:
            text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
        write_text(target, replaced(text, BEGIN, END, report(rows)))
        return
    done = store.done()
    missing = [trial for trial in trials() if trial.key not in done]
    print(f"{len(missing)} trials missing", flush=True)
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, trial) for trial in missing]):
            row = future.result()
            store.add(str(row["key"]).replace("|", "-").replace(" ", "_"), [row])
    store.merge()


if __name__ == "__main__":
    main()
