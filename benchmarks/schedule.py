"""How long a pretrained student is to train, and on which rows: trials judged on validation rows alone.

python -m benchmarks.schedule --minutes 60

The learning rate is that of a user who sets nothing. First only the number of epochs varies; then, beside a loss that
does not teach labels, how often labelled rows are read in the same number of steps.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas
from transformers import PrinterCallback

from benchmarks.evidence.grid import DEFAULT, PLAIN
from benchmarks.evidence.pretrained import missing_packages
from benchmarks.evidence.pretrained_cell import ALL, ARMS, GAP, SAME_FAMILY, Cell, task_with
from benchmarks.evidence.report import table
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import candidates, measured, quiet
from benchmarks.results_file import put
from hf_ctkd.demo.pretrained import pretrained_student
from hf_ctkd.losses import AFTLoss, DistillationLoss, ProjectionLoss
from hf_ctkd.records import default_cache
from hf_ctkd.training import DistillationConfig, DistillationTrainer

BEGIN, END = "<!-- schedule:begin -->", "<!-- schedule:end -->"
COLUMNS = (
    "key", "cell", "labels", "arm", "epochs", "drawn", "seed", "batch", "learning_rate", "steps", "validation_accuracy",
    "processor_seconds",
)  # fmt: skip
EPOCHS = (3, 6, 10)
STEPS = 300
ALONE = "alone"
SHARES = {"as they are": 0.0, "half": 0.5, ALONE: 0.0}
"""How labelled rows are drawn beside a loss of features -> `labelled_share`; *alone*, there are no others."""
BATCH = 32
"""Of the trials beside a loss of features: AFT compares the rows of a batch."""
FEATURE_LOSSES: dict[str, Callable[[], DistillationLoss]] = {
    "AFT, weight 3": partial(AFTLoss, 3.0),
    "projection": ProjectionLoss,
}
SEEDS = (1000, 1001)
"""No measured run has them."""
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Trial:
    """One student.

    Args:
        cell: gives task, student and teacher.
        labels: how many rows have one, as in the cell.
        arm: plain, the default or a loss of features.
        seed: of labels, head and batches.
        epochs: that it trains for; None for a fixed number of steps.
        drawn: how labelled rows are drawn, of `SHARES`.
    """

    cell: Cell
    labels: str
    arm: str
    seed: int
    epochs: int | None = None
    drawn: str = "as they are"

    @property
    def key(self) -> str:
        parts = (self.cell.name, self.labels, self.arm, self.epochs or self.drawn, self.seed)
        return "-".join(map(str, parts)).replace(" ", "_")

    def loss(self) -> DistillationLoss | None:
        return FEATURE_LOSSES[self.arm]() if self.arm in FEATURE_LOSSES else ARMS[self.arm].make_loss(None)


def trials() -> list[Trial]:
    """All, the decisive ones first."""
    few = GAP.labels[0]
    ends = EPOCHS[0], EPOCHS[-1]
    return [
        *(Trial(GAP, few, DEFAULT, SEEDS[0], epochs) for epochs in EPOCHS),
        *(Trial(GAP, few, arm, SEEDS[0], drawn=drawn) for arm in FEATURE_LOSSES for drawn in SHARES),
        *(Trial(SAME_FAMILY, SAME_FAMILY.labels[0], DEFAULT, seed, epochs) for seed in SEEDS for epochs in EPOCHS),
        *(Trial(GAP, ALL, arm, SEEDS[0], epochs) for arm in (DEFAULT, PLAIN) for epochs in ends),
        *(Trial(GAP, few, DEFAULT, SEEDS[1], epochs) for epochs in EPOCHS),
    ]


def train(trial: Trial, models: Path, work: Path) -> dict[str, object]:
    """Train a student with a user's defaults and measure it on validation rows."""
    started = time.process_time()
    task = task_with(trial.cell.task, trial.labels, trial.seed)
    student, tokenizer = pretrained_student(task, models / trial.cell.student, seed=trial.seed)
    config = DistillationConfig(
        str(work / "schedule"),
        num_train_epochs=trial.epochs or 1,
        max_steps=STEPS if trial.epochs is None else -1,
        per_device_train_batch_size=BATCH if trial.epochs is None else 8,
        labelled_share=SHARES[trial.drawn],
        seed=trial.seed,
        max_length=trial.cell.length,
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
    loss = trial.loss()
    teachers = None if loss is None else [candidates((str(models),))[trial.cell.teacher]]
    rows = task.labelled if trial.drawn == ALONE else task.train()
    trainer = DistillationTrainer(
        student, config, teachers=teachers, loss=loss, train_dataset=rows, processing_class=tokenizer
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return {
        "key": trial.key,
        "cell": trial.cell.name,
        "labels": trial.labels,
        "arm": trial.arm,
        "epochs": trial.epochs or "",
        "drawn": trial.drawn,
        "seed": trial.seed,
        "batch": trainer.args.train_batch_size,
        "learning_rate": trainer.args.learning_rate,
        "steps": trainer.state.global_step,
        "validation_accuracy": measured(trainer, task.validation)[0],
        "processor_seconds": round(time.process_time() - started, 1),
    }


def section(rows: Sequence[dict[str, str]]) -> str:
    """The section of `RESULTS.md`: validation accuracy by epochs, and by how labelled rows are drawn."""
    frame = pandas.DataFrame(list(rows), columns=COLUMNS).astype({"validation_accuracy": float})
    by_steps = frame["epochs"] == ""
    return "\n".join(
        [
            BEGIN,
            "## How long a pretrained student trains, and on which rows\n",
            "Written by `python -m benchmarks.schedule`: validation accuracy in % (seeds) of a student of two "
            "pretrained layers, batch and rate as chosen for a user who sets nothing. Test rows were not read.\n",
            _table(frame[~by_steps], "epochs", {str(epochs): f"{epochs} epochs" for epochs in EPOCHS}),
            f"\nBeside a loss of features, {STEPS} steps of {BATCH} rows. Labelled rows as often as they are among all "
            "rows, repeated until they are half of the rows read, or alone:\n",
            _table(frame[by_steps], "drawn", {drawn: f"labelled rows {drawn}" for drawn in SHARES}),
            END,
        ]
    )


def _table(frame: pandas.DataFrame, column: str, titles: Mapping[str, str]) -> str:
    lines = []
    for (cell, labels, arm), part in frame.groupby(["cell", "labels", "arm"], sort=False):
        by_value = part.groupby(column)["validation_accuracy"]
        means, counts = by_value.mean(), by_value.count()
        values = [f"{100 * means[value]:.1f} ({counts[value]})" if value in means else "" for value in titles]
        lines.append([cell, labels, arm, *values])
    return table(["cell", "labels", "student", *titles.values()], lines)


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
