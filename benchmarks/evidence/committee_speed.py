"""How long an optimiser step takes with a committee, and without."""

import time
from collections.abc import Sequence
from typing import Any

import pandas
from transformers import TrainerCallback

from benchmarks.evidence.committee import ARMS, COMMITTEE, LOG_MEAN, Arm, members_of, settings_of, trainer_of
from benchmarks.evidence.grid import PLAIN, Cell
from benchmarks.evidence.run import Suite
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import task_of

COLUMNS = ("key", "modality", "method", "round", "milliseconds")
CELLS = (Cell("digits", 50), Cell("sklearn-docstrings", 100))
METHODS: dict[str, Arm | None] = {PLAIN: None, COMMITTEE: ARMS[COMMITTEE], LOG_MEAN: ARMS[LOG_MEAN]}
ROUNDS = 3
STEPS, WARM_UP = 120, 20


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
    for cell in CELLS:
        for number in range(ROUNDS):
            for method, arm in METHODS.items():
                key = f"{cell.modality}-{method.replace(', ', '-')}-{number}"
                if key in done:
                    continue
                teachers = () if arm is None else members_of(suite, cell, 0)
                trainer = trainer_of(suite, task_of(cell.task, cell.labels, 0), 0, arm, teachers, tuned)
                trainer.args.max_steps = STEPS
                times = StepTimes()
                trainer.add_callback(times)
                trainer.train()
                found = float(pandas.Series(times.milliseconds()).median())
                row = {"key": key, "modality": cell.modality, "method": method, "round": number}
                store.add(key, [{**row, "milliseconds": round(found, 3)}])
    return load(store.merge())


def load(rows: Sequence[dict[str, str]]) -> pandas.DataFrame:
    """The table with numbers in it."""
    frame = pandas.DataFrame(rows, columns=list(COLUMNS))
    return frame.assign(milliseconds=frame["milliseconds"].astype(float))
