"""How long an optimiser step takes with a committee, and without."""

import time
from collections.abc import Sequence
from itertools import product
from statistics import median
from typing import Any

import pandas
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedModel,
    ResNetConfig,
    TrainerCallback,
)

from benchmarks.evidence.committee import (
    ARMS,
    COMMITTEE,
    LOG_MEAN,
    Arm,
    StudentBuilder,
    members_of,
    settings_of,
    trainer_of,
)
from benchmarks.evidence.grid import PLAIN, Cell
from benchmarks.evidence.run import Suite
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import task_of
from hf_ctkd.data import ProcessingClass
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import DemoTask

COLUMNS = ("key", "modality", "student", "parameters", "method", "round", "milliseconds")
CELLS = (Cell("digits", 50), Cell("sklearn-docstrings", 100))
METHODS: dict[str, Arm | None] = {PLAIN: None, COMMITTEE: ARMS[COMMITTEE], LOG_MEAN: ARMS[LOG_MEAN]}
ROUNDS = 3
STEPS, WARM_UP = 120, 20
TINY, SMALL = "the suite's", "small"


def small_student(task: DemoTask, *, seed: int = 0) -> tuple[PreTrainedModel, ProcessingClass]:
    """A student of one to two million parameters, still small, that reads rows as the suite's does."""
    tiny, processing_class = build_student(task, seed=seed)
    config = tiny.config
    if isinstance(config, BertConfig):
        wider = BertConfig(**{**config.to_dict(), "hidden_size": 192, "num_hidden_layers": 3, "intermediate_size": 768})
        return AutoModelForSequenceClassification.from_config(wider), processing_class
    sizes = {"embedding_size": 32, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 1, 1, 1], "stage_names": None}
    deeper = ResNetConfig(**{**config.to_dict(), **sizes, "out_features": None, "out_indices": None})
    return AutoModelForImageClassification.from_config(deeper), processing_class


STUDENTS: dict[str, StudentBuilder] = {TINY: build_student, SMALL: small_student}


class StepTimes(TrainerCallback):
    """Notes when each step ends, in seconds of this process: other work on the machine does not count."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401 (as in the parent)
        self.ends.append(time.process_time())

    def milliseconds(self) -> Sequence[float]:
        times = self.ends[WARM_UP:]
        return [1000 * (end - start) for start, end in zip(times, times[1:], strict=False)]


def measure(suite: Suite) -> pandas.DataFrame:
    """Median step of each arm, the arms in turn, several rounds; only what is missing is measured."""
    store, tuned = Store(suite.folder, "committee_speed", COLUMNS), settings_of(suite)
    done = store.done()
    for cell, size, number, method in product(CELLS, STUDENTS, range(ROUNDS), METHODS):
        key = "-".join([cell.modality, size, method.replace(", ", "-"), str(number)])
        if key in done:
            continue
        arm = METHODS[method]
        teachers = () if arm is None else members_of(suite, cell, 0)
        task = task_of(cell.task, cell.labels, 0)
        trainer = trainer_of(suite, task, 0, arm, teachers, tuned, STUDENTS[size])
        trainer.args.max_steps = STEPS
        times = StepTimes()
        trainer.add_callback(times)
        trainer.train()
        measured_step = {
            "milliseconds": round(median(times.milliseconds()), 3),
            "parameters": trainer.student.num_parameters(),
        }
        row = {
            "key": key,
            "modality": cell.modality,
            "student": size,
            "method": method,
            "round": number,
            **measured_step,
        }
        store.add(key, [row])
    return load(store.merge())


def load(rows: Sequence[dict[str, str]]) -> pandas.DataFrame:
    """The table with numbers in it."""
    frame = pandas.DataFrame(rows, columns=list(COLUMNS))
    return frame.assign(milliseconds=frame["milliseconds"].astype(float), parameters=frame["parameters"].astype(int))
