"""The pretrained student: the first two layers of a sentence encoder, taught by all six, and its controls.

Whoever has a pretrained encoder has most of the gain without any teacher: what is left is measured here.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel, PrinterCallback

from benchmarks.evidence.grid import DEFAULT, LONGER, PLAIN, STEPS
from benchmarks.evidence.pretrained import MINILM_STUDENT, NAME, pretrained_student, student_folder
from benchmarks.evidence.run import in_processes, reason_of
from benchmarks.evidence.settings import Settings
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import FORMAT, candidates, config_of, measured
from hf_ctkd.data import ProcessingClass, TargetRows
from hf_ctkd.data.preprocessing import Preprocessor
from hf_ctkd.demo.tasks import DemoTask, build_task
from hf_ctkd.losses import DistillationLoss, ProbeLoss, RowTransportLoss
from hf_ctkd.records import TeacherCandidate, read_json, write_json
from hf_ctkd.teachers.features import FeatureReader
from hf_ctkd.training import DistillationTrainer

COLUMNS = (
    "key", "arm", "labels", "seed", "times", "accuracy", "validation_accuracy", "test_rows", "correct", "steps",
    "learning_rate", "seconds", "error",
)  # fmt: skip
TASK = "scipy-docstrings"
ALL = "all"
"""Every training row but one, as a task needs one without a label."""
LABELS = ("100", "300", ALL)
SEEDS = (0, 1, 2)
RATES = (1e-4, 3e-4, 1e-3)
TUNING_SEED = 1000
TUNING, KIND = "pretrained_tuning.json", "evidence-pretrained-tuning"
LINEAR_PROBE, CONTROL = "LP-FT", "own features"
ROWS, LENGTH = 16, 32
"""Rows a step and tokens a text: nine texts of ten are no longer, and a step of 32 whole ones takes thrice as long."""
GUESS = 240.0
"""Seconds that the first run may take."""


@dataclass(frozen=True)
class Arm:
    """One way to train the pretrained student.

    Args:
        loss: None for labels alone.
        teacher: its short name; empty for none.
    """

    loss: Callable[[], DistillationLoss] | None = None
    teacher: str = ""


ARMS = {
    PLAIN: Arm(),
    LINEAR_PROBE: Arm(),
    CONTROL: Arm(lambda: RowTransportLoss(input_features=False), MINILM_STUDENT),
    DEFAULT: Arm(RowTransportLoss, NAME),
    "probe": Arm(ProbeLoss, NAME),
}
"""`LP-FT` starts from a head that was fitted to frozen features; `own features` learns from its own frozen layers."""


@dataclass(frozen=True)
class PretrainedCell:
    """Where the runs find their models and leave results.

    Args:
        folder: of the results.
        encoder: folder that holds the encoder.
        students: folder that holds the student, which is made if missing.
        work: cached teacher outputs.
        processes: how many runs at once, each on one thread.
        say: takes each line for the user.
    """

    folder: Path
    encoder: str
    students: str
    work: str
    processes: int = 2
    say: Callable[[str], None] = print

    @property
    def runs(self) -> Store:
        return Store(self.folder, "pretrained", COLUMNS)

    @property
    def trials(self) -> Store:
        return Store(self.folder / ".tuning", "pretrained", COLUMNS)

    def model(self, name: str) -> TeacherCandidate:
        """The encoder or the headless student, by its short name."""
        return candidates((self.encoder, self.students))[name]


@dataclass(frozen=True)
class Job:
    """One student to train; `labels` is a number or "all", `times` multiplies the steps."""

    arm: str
    labels: str
    seed: int
    learning_rate: float
    times: int = 1


def trials() -> list[Job]:
    """Every learning rate of every arm at the fewest labels, on a seed that no measured run has."""
    return [Job(arm, LABELS[0], TUNING_SEED, rate) for arm in ARMS for rate in RATES]


def plan(rates: Mapping[str, float]) -> list[Job]:
    """All runs: what the goals speak of first, at three times the steps last.

    Args:
        rates: learning rate of each arm.
    """
    jobs = [Job(arm, labels, seed, rates[arm]) for labels in LABELS for seed in SEEDS for arm in ARMS]
    return [*jobs, *(Job(arm, LABELS[0], SEEDS[0], rates[arm], LONGER) for arm in ARMS)]


def measure(cell: PretrainedCell, *, seconds: float | None) -> None:
    """Tune what is not tuned and make the missing runs, until the time is up.

    Args:
        cell: models and results.
        seconds: stop in time for no run to end later than this; None for all.
    """
    until = None if seconds is None else time.monotonic() + seconds
    student_folder(Path(cell.students))  # here, so that no two processes make it at once
    rates = _tuned(cell, until)
    if rates is None:
        cell.say("the pretrained student is not tuned yet: give it more time")
        return
    _make(cell, cell.runs, plan(rates), until)
    cell.say(f"{len(cell.runs.merge())} runs of the pretrained student in {cell.folder}")


def rates_of(cell: PretrainedCell) -> dict[str, float] | None:
    """The learning rate of each arm as tuned; None before that."""
    path = cell.folder / TUNING
    return read_json(path, KIND)["chosen"] if path.is_file() else None


def rows_of(cell: PretrainedCell) -> list[dict[str, str]]:
    """The finished runs of the plan; none of an older format, tuning or loss."""
    rates = rates_of(cell)
    planned = {key_of(cell, job) for job in plan(rates)} if rates else set()
    return [row for row in cell.runs.rows() if row["key"] in planned]


def _tuned(cell: PretrainedCell, until: float | None) -> dict[str, float] | None:
    keys = {key_of(cell, job): job for job in trials()}
    _make(cell, cell.trials, trials(), until)
    rows = {row["key"]: row for row in cell.trials.merge() if row["key"] in keys and not row["error"]}
    if set(rows) != set(keys):
        return None
    accuracies = {job: float(rows[key]["validation_accuracy"]) for key, job in keys.items()}
    chosen = {arm: _best_rate(arm, accuracies) for arm in ARMS}
    trial_rows = [{**asdict(job), "validation_accuracy": accuracy} for job, accuracy in accuracies.items()]
    write_json(cell.folder / TUNING, {"kind": KIND, "rates": list(RATES), "chosen": chosen, "trials": trial_rows})
    return chosen


def _best_rate(arm: str, accuracies: Mapping[Job, float]) -> float:
    mine = {job.learning_rate: accuracy for job, accuracy in accuracies.items() if job.arm == arm}
    return max(mine, key=lambda rate: mine[rate])


def _make(cell: PretrainedCell, store: Store, jobs: Sequence[Job], until: float | None) -> None:
    done = store.done()
    missing = [job for job in jobs if key_of(cell, job) not in done]
    cell.say(f"pretrained student: {len(jobs)} runs, {len(missing)} missing")
    in_processes(
        missing,
        partial(work, cell, store),
        partial(_note_failure, cell, store),
        processes=cell.processes,
        until=until,
        weight=lambda job: job.times,
        say=cell.say,
        guess=GUESS,
    )


def key_of(cell: PretrainedCell, job: Job) -> str:
    """Identifies a run by all that shapes it."""
    arm = ARMS[job.arm]
    loss = {} if arm.loss is None else {"name": arm.loss().name, **arm.loss().settings()}
    models = [cell.model(name).revision for name in (MINILM_STUDENT, arm.teacher) if name]
    content = [FORMAT, TASK, STEPS, ROWS, LENGTH, asdict(job), loss, models]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def work(cell: PretrainedCell, store: Store, job: Job) -> None:
    """One run, in a process of its own; writes its row."""
    store.add(key_of(cell, job), [train(cell, job)])


def _blank(cell: PretrainedCell, job: Job) -> dict[str, object]:
    return {**dict.fromkeys(COLUMNS, ""), **asdict(job), "key": key_of(cell, job), "steps": STEPS * job.times}


def _note_failure(cell: PretrainedCell, store: Store, job: Job, error: BaseException) -> None:
    reason = reason_of(error)
    cell.say(f"{job.arm}, {job.labels} labels, seed {job.seed} failed: {reason}")
    store.add(key_of(cell, job), [{**_blank(cell, job), "error": reason}])


@lru_cache(maxsize=4)
def task_with(labels: str, seed: int) -> DemoTask:
    """The task with a number of labels, or with all that it can have."""
    count = int(LABELS[0] if labels == ALL else labels)
    task = build_task(TASK, labels=count, seed=seed)
    return build_task(TASK, labels=len(task.train()) - 1, seed=seed) if labels == ALL else task


def train(cell: PretrainedCell, job: Job) -> dict[str, object]:
    """Train and measure one student; what comes back is a row of the table."""
    started = time.perf_counter()
    task, arm = task_with(job.labels, job.seed), ARMS[job.arm]
    student, tokenizer = pretrained_student(task, Path(cell.students), seed=job.seed)
    if job.arm == LINEAR_PROBE:
        start_from_linear_probe(student, tokenizer, task)
    settings = Settings(job.learning_rate, steps=STEPS * job.times)
    config = config_of(settings, task.modality, seed=job.seed, work=cell.work)
    config.per_device_train_batch_size, config.max_length = ROWS, LENGTH
    trainer = DistillationTrainer(
        student,
        config,
        teachers=[cell.model(arm.teacher)] if arm.teacher else None,
        loss=None if arm.loss is None else arm.loss(),
        train_dataset=task.train(),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    output = trainer.predict(task.test)
    correct = np.asarray(output.predictions).argmax(axis=1) == np.asarray(output.label_ids)
    return {
        **_blank(cell, job),
        "accuracy": float(correct.mean()),
        "validation_accuracy": measured(trainer, task.validation)[0],
        "test_rows": len(correct),
        "correct": packed(correct),
        "seconds": round(time.perf_counter() - started, 2),
    }


def start_from_linear_probe(model: PreTrainedModel, tokenizer: ProcessingClass, task: DemoTask) -> None:
    """Let the head begin as the logistic regression on the frozen features that it reads, of the labelled rows.

    Args:
        model: the student, with a linear `classifier`.
        tokenizer: of the student.
        task: gives labelled rows.

    Reference:
        Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", ICLR 2022.
    """
    rows = TargetRows.of(task.labelled)
    features = torch.cat(list(_features(model, Preprocessor.of(tokenizer, "text", model.config), rows)))
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp_min(1e-12)  # a pooler may hardly vary from row to row
    probe = LogisticRegression(max_iter=2000).fit(((features - mean) / scale).numpy(), rows.labels.numpy())
    weight = torch.from_numpy(probe.coef_) / scale
    bias = torch.from_numpy(probe.intercept_) - weight @ mean.to(weight.dtype)
    if len(weight) == 1:  # of two classes the one is the other's opposite
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    head = model.get_submodule("classifier")
    head.load_state_dict({"weight": weight, "bias": bias})


@torch.no_grad()
def _features(model: PreTrainedModel, view: Preprocessor, rows: TargetRows) -> Iterable[torch.Tensor]:
    reader = FeatureReader(model.eval())
    for start in range(0, len(rows), 64):
        yield reader.read(view(rows.inputs(range(start, min(start + 64, len(rows)))))).features.float()


def packed(correct: np.ndarray) -> str:
    """Which rows are right, eight to a byte, as text."""
    return np.packbits(correct).tobytes().hex()


def unpacked(text: str, rows: int) -> np.ndarray:
    """What `packed` made of `rows` rows."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=rows).astype(bool)
