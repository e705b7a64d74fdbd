"""How long a pretrained student is to train where its user leaves it open: trials judged on validation rows alone.

python -m benchmarks.schedule --minutes 60

Batch and learning rate are those of a user who sets nothing; only the number of epochs varies.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas
from transformers import PrinterCallback

from benchmarks.evidence.grid import DEFAULT, PLAIN
from benchmarks.evidence.pretrained import missing_packages, pretrained_student
from benchmarks.evidence.pretrained_cell import ALL, ARMS, GAP, LENGTH, SAME_FAMILY, Cell, task_with
from benchmarks.evidence.report import table
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import candidates, measured, quiet
from benchmarks.results_file import put
from hf_ctkd.records import default_cache
from hf_ctkd.training import DistillationConfig, DistillationTrainer

BEGIN, END = "<!-- schedule:begin -->", "<!-- schedule:end -->"
COLUMNS = (
    "key", "cell", "labels", "arm", "epochs", "seed", "batch", "learning_rate", "steps", "validation_accuracy",
    "processor_seconds",
)  # fmt: skip
EPOCHS = (3, 6, 10, 20)
SEEDS = (1000, 1001)
"""No measured run has them."""
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Trial:
    """One student.

    Args:
        cell: gives task, student and teacher.
        labels: how many rows have one, as in the cell.
        arm: plain or the default.
        epochs: that it trains for.
        seed: of labels, head and batches.
    """

    cell: Cell
    labels: str
    arm: str
    epochs: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.cell.name}-{self.labels}-{self.arm}-{self.epochs}-{self.seed}".replace(" ", "_")


def trials() -> list[Trial]:
    """The default at every number of epochs; the plain student and all labels at the ends of what is in question."""
    return [
        *(
            Trial(cell, cell.labels[0], DEFAULT, epochs, seed)
            for cell in (GAP, SAME_FAMILY)
            for seed in SEEDS
            for epochs in EPOCHS
        ),
        *(Trial(GAP, ALL, arm, epochs, SEEDS[0]) for arm in (DEFAULT, PLAIN) for epochs in (3, 10)),
    ]


def train(trial: Trial, models: Path, work: Path) -> dict[str, object]:
    """Train a student with a user's defaults and measure it on validation rows."""
    started = time.process_time()
    task = task_with(trial.cell.task, trial.labels, trial.seed)
    student, tokenizer = pretrained_student(task, models, seed=trial.seed)
    config = DistillationConfig(
        str(work / "schedule"),
        num_train_epochs=trial.epochs,
        seed=trial.seed,
        max_length=LENGTH,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        bootstrap_resamples=0,
        metrics=[],
        cache_student_inputs=True,
        cache_dir=str(work / "outputs"),
    )
    loss = ARMS[trial.arm].make_loss(None)
    teachers = None if loss is None else [candidates((str(models),))[trial.cell.teacher]]
    trainer = DistillationTrainer(
        student, config, teachers=teachers, loss=loss, train_dataset=task.train(), processing_class=tokenizer
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return {
        "key": trial.key,
        "cell": trial.cell.name,
        "labels": trial.labels,
        "arm": trial.arm,
        "epochs": trial.epochs,
        "seed": trial.seed,
        "batch": trainer.args.train_batch_size,
        "learning_rate": trainer.args.learning_rate,
        "steps": trainer.state.global_step,
        "validation_accuracy": measured(trainer, task.validation)[0],
        "processor_seconds": round(time.process_time() - started, 1),
    }


def section(rows: Sequence[dict[str, str]]) -> str:
    """The section of `RESULTS.md`: validation accuracy by epochs."""
    frame = pandas.DataFrame(list(rows), columns=COLUMNS).astype({"epochs": int, "validation_accuracy": float})
    lines = []
    for (cell, labels, arm), part in frame.groupby(["cell", "labels", "arm"], sort=False):
        by_epochs = part.groupby("epochs")["validation_accuracy"]
        means, counts = by_epochs.mean(), by_epochs.count()
        line: list[object] = [cell, labels, arm]
        line += [f"{100 * means[epochs]:.1f} ({counts[epochs]})" if epochs in means else "" for epochs in EPOCHS]
        lines.append(line)
    header = ["cell", "labels", "student", *(f"{epochs} epochs" for epochs in EPOCHS)]
    return "\n".join(
        [
            BEGIN,
            "## How long a pretrained student trains\n",
            "Written by `python -m benchmarks.schedule`: validation accuracy in % (seeds) of a student of two "
            "pretrained layers, batch and rate as chosen for a user who sets nothing. Test rows were not read.\n",
            table(header, lines),
            END,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedule", description=__doc__)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no trial starts later")
    options = parser.parse_args()
    quiet()
    models, work = default_cache() / "zoo" / "encoders", default_cache() / "evidence"
    missing = missing_packages(models)
    store = Store(HERE / "evidence" / "results", "schedule", COLUMNS)
    until = time.monotonic() + 60 * options.minutes
    for trial in trials():
        needed = {trial.cell.task, trial.cell.teacher, trial.cell.student} & set(missing)
        if needed:
            print(f"left out: {trial.key}, which needs {', '.join(missing[name] for name in sorted(needed))}")
        elif trial.key not in store.done() and time.monotonic() < until:
            row = train(trial, models, work)
            print(row, flush=True)
            store.add(trial.key, [row])
    put(section(store.merge()), BEGIN, END, HERE / "RESULTS.md")


if __name__ == "__main__":
    main()
