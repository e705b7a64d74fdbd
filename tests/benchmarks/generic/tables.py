"""Tables of runs made by hand."""

from benchmarks.evidence.generic.design import (
    ABLATED,
    ABLATIONS,
    ALONE,
    EXACT,
    EXACT_TARGET,
    GENERIC,
    PLAIN,
    STARTED,
    STUDENTS,
    UNIFORM,
    WRONG_TARGET,
)
from benchmarks.evidence.generic.train import COLUMNS

SEEDS = (0, 1, 2)
SPEED = {
    "steps": 300,
    "step_ms": {PLAIN: 10.0, GENERIC: 29.0, EXACT_TARGET: 20.0},
    "first_step_ms": {PLAIN: 10.0, GENERIC: 33.0, EXACT_TARGET: 20.0},
    "latency_ms": {student.name: 1.0 + place for place, student in enumerate(STUDENTS)},
}


def row(kind: str, arm: str, seed: int, accuracy: float, *, student: str = "", **changes: object) -> dict[str, str]:
    values = {
        "key": f"{kind} {arm} {student} {seed}", "kind": kind, "arm": arm, "student": student, "seed": seed,
        "accuracy": accuracy, "validation_accuracy": accuracy, "parameters": 1000, "steps": 300,
        "learning_rate": 0.003, "seconds": 9.0, "processor_seconds": 4.0, **changes,
    }  # fmt: skip
    return {name: str(values.get(name, "")) for name in COLUMNS}


def runs(gain: float = 0.02) -> list[dict[str, str]]:
    """All arms; the generic teacher's students gain so much on all but the last student, whose loss is a point."""
    found = []
    arms = {ALONE: ABLATED, PLAIN: 20, GENERIC: 20, STARTED: 20, UNIFORM: 20, WRONG_TARGET: 20, EXACT_TARGET: EXACT}
    for arm, count in {**arms, **dict.fromkeys(ABLATIONS, ABLATED)}.items():
        for seed in SEEDS:
            if arm not in (ALONE, STARTED):
                seconds = {PLAIN: 4.0, EXACT_TARGET: 8.0}.get(arm, 12.0)
                found.append(row("teacher", arm, seed, 0.98, processor_seconds=seconds))
            for place, student in enumerate(STUDENTS[:count]):
                own = 0.0 if arm == PLAIN else gain if place < 19 else -0.01
                found.append(row("student", arm, seed, 0.9 + 0.001 * place + own, student=student.name))
    return found
