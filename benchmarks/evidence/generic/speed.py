"""Processor time of one training step of each kind of teacher, and latencies of the students."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import torch

from benchmarks.evidence.generic.design import EXACT_TARGET, GENERIC, PLAIN, STUDENTS, Tuning, teacher_of
from benchmarks.evidence.generic.train import task_of, teacher_trainer
from hf_ctkd.generic import measure_student
from hf_ctkd.records import read_json, write_json

KIND = "evidence-speed-generic"
FIRST, TURNS = 60, 8
"""Steps at the beginning, where most paths are new; turns of the latencies."""


def speed(path: Path, tuning: Tuning, work: Path) -> dict:
    """Milliseconds a step by arm, and of a row by student; measured now if the file is not there."""
    if not path.is_file():
        steps = step_times(tuning, work)
        space = task_of(tuning.case, 0).label_space
        turns = [
            {member.name: measure_student(member, label_space=space).latency_ms for member in STUDENTS}
            for _ in range(TURNS)
        ]
        # Other work on the machine can only add to a time, and the turns spread it over all students.
        latencies = {name: round(min(turn[name] for turn in turns), 4) for name in turns[0]}
        times_by_name = {
            "step_ms": {arm: round(mean(times), 3) for arm, times in steps.items()},
            "first_step_ms": {arm: round(median(times[:FIRST]), 3) for arm, times in steps.items()},
            "latency_ms": latencies,
        }
        write_json(
            path,
            {"kind": KIND, **times_by_name, "steps": tuning.case.teacher_steps, "threads": torch.get_num_threads()},
        )
    return read_json(path, KIND)


def step_times(tuning: Tuning, work: Path) -> dict[str, list[float]]:
    """Milliseconds of processor time of each step of a whole training, with all that is made on the way.

    The arms take turns, so that what else the machine does meets all alike.
    """
    runs = [
        teacher_of(PLAIN, 0, tuning),
        teacher_of(GENERIC, 0, tuning),
        teacher_of(EXACT_TARGET, 0, tuning, STUDENTS[0]),
    ]
    steps = {run.arm: _step(teacher_trainer(run, work)) for run in runs}
    times: dict[str, list[float]] = {arm: [] for arm in steps}
    for _ in range(tuning.case.teacher_steps):
        for arm, step in steps.items():
            started = time.process_time()
            step()
            times[arm].append(1000 * (time.process_time() - started))
    return times


def _step(trainer) -> Callable[[], None]:
    batch = next(iter(trainer.get_train_dataloader()))
    optimizer, model = trainer.create_optimizer(), trainer.model.train()

    def step() -> None:
        trainer.compute_loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
