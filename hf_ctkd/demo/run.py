"""The main job on built-in data: rank teachers, distill from the best, publish to a folder, and say what it gained."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from hf_ctkd.cards import write_card
from hf_ctkd.demo.arms import Arm, Outcome, train_arm
from hf_ctkd.demo.comparison import Comparison, compare, comparison_table
from hf_ctkd.demo.tasks import Modality, build_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs
from hf_ctkd.hub import folder_teachers
from hf_ctkd.records import DistillationRecord, TeacherCandidate, TeacherRanking, default_cache, write_text
from hf_ctkd.selection import TeacherSelector

WITHOUT, INPUT = "labels alone", "no teacher, input features"
BEST, CROSS, RANDOM = "best teacher", "best cross-task teacher", "random weights"
_RANDOM_TEACHER = "random-weights"


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does for one modality.

    Args:
        modality: "image" or "text".
        task: name of the built-in task.
        labels: rows that keep their label.
        seeds: how many draws of labels, weights and batches.
        steps: optimiser steps of every student but the one with labels alone.
        plain_steps: optimiser steps of the student with labels alone, chosen like its rate.
        learning_rate: of students with a teacher, of the one that its input features teaches, and of the one with
            labels
            alone: each is chosen on validation rows by the evidence suite.
        regularisation: weight decay and label smoothing of every student, chosen with the rates.
    """

    modality: Modality
    task: str
    labels: int
    seeds: int
    steps: int
    plain_steps: int
    learning_rate: tuple[float, float, float]
    regularisation: float


PLANS = {
    "image": DemoPlan(
        "image",
        "digits",
        labels=50,
        seeds=3,
        steps=300,
        plain_steps=300,
        learning_rate=(3e-2, 1e-2, 1e-2),
        regularisation=0.1,
    ),
    "text": DemoPlan(
        "text",
        "scipy-docstrings",
        labels=150,
        seeds=1,
        steps=300,
        plain_steps=300,
        learning_rate=(3e-3, 3e-3, 1e-3),
        regularisation=0.0,
    ),
}


@dataclass(frozen=True)
class DemoResult:
    """What came out for one modality.

    Args:
        plan: what was done.
        ranking: of the teachers, on the first seed's labelled rows.
        students: accuracies and gains.
        folder: of the published student: weights, card, figures, records.
    """

    plan: DemoPlan
    ranking: TeacherRanking
    students: Sequence[Comparison]
    folder: Path

    def __str__(self) -> str:
        """As printed at the end of the demo, and put into the README."""
        plan = self.plan
        seeds = "1 seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
        steps = f"{plan.steps} steps"
        if plan.plain_steps != plan.steps:
            steps += f" ({WITHOUT}: {plan.plain_steps})"
        return (
            f"{plan.modality}: task {plan.task}, {plan.labels} labelled rows, {seeds}, {steps}\n"
            f"{comparison_table(self.students)}"
        )


def run_demo(
    folder: Path | str, *, modalities: Sequence[Modality] = ("image", "text"), say: Callable[[str], None]
) -> list[DemoResult]:
    """Do the main job for each modality and write students, cards and `summary.txt` to a folder.

    Args:
        folder: where students go, one sub-folder a modality; what is there is written anew.
        modalities: which ones.
        say: takes each line for the user.
    """
    folder = Path(folder)
    processes = max(1, min(4, os.cpu_count() or 1))
    results = [_run(PLANS[modality], folder, processes, say) for modality in modalities]
    write_text(folder / "summary.txt", "\n\n".join(str(result) for result in results) + "\n")
    return results


def _run(plan: DemoPlan, folder: Path, processes: int, say: Callable[[str], None]) -> DemoResult:
    zoo = default_cache() / "zoo" / plan.modality
    say(f"\n{plan.modality}: teachers")
    build_zoo(zoo, demo_specs(plan.modality), processes=processes)
    say(f"{plan.modality}: ranking them on {plan.labels} labelled rows of {plan.task}")
    rankings = [_rank(plan, zoo, seed) for seed in range(plan.seeds)]
    say(str(rankings[0]))
    out = folder / f"{plan.modality}-student"
    lines = arms_of(plan, rankings, out)
    arms = list(dict.fromkeys(arm for line in zip(*lines.values(), strict=True) for arm in line))
    outcomes = dict(zip(arms, _train_all(arms, processes, f"{plan.modality}: students"), strict=True))
    correct = {name: [outcomes[arm].correct for arm in line] for name, line in lines.items()}
    _add_baseline(out, outcomes[lines[WITHOUT][0]])
    write_card(out)
    return DemoResult(plan, rankings[0], compare(correct, WITHOUT), out)


def _rank(plan: DemoPlan, zoo: Path, seed: int) -> TeacherRanking:
    wanted = {spec.name for spec in demo_specs(plan.modality)}
    candidates = [candidate for candidate in folder_teachers(zoo) if candidate.name in wanted]
    task = build_task(plan.task, labels=plan.labels, seed=seed)
    return TeacherSelector(progress=False, seed=seed).rank(candidates, task.labelled)


def arms_of(plan: DemoPlan, rankings: Sequence[TeacherRanking], out: Path) -> dict[str, list[Arm]]:
    """The students of each line of the table, one a seed; a student of two lines is the same arm in both.

    A line whose teacher a ranking lacks is left out.

    Args:
        plan: what the demo does.
        rankings: of the teachers, one a seed.
        out: folder of the published student.
    """
    label_names = build_task(plan.task, labels=plan.labels, seed=0).label_names
    lines: dict[str, list[Arm]] = {}
    for seed, ranking in enumerate(rankings):
        plain = _plain_arm(plan, seed, out)
        taught = replace(plain, steps=plan.steps, learning_rate=plan.learning_rate[0])
        path = ranking.save(out / "ranking.json") if seed == 0 else None
        best = replace(
            taught,
            teacher=ranking.scored[0].candidate,
            folder=str(out) if seed == 0 else plain.folder,
            ranking=None if path is None else str(path),
            command=f"hf-ctkd demo --modality {plan.modality}",
        )
        lines.setdefault(WITHOUT, []).append(plain)
        lines.setdefault(INPUT, []).append(replace(taught, learning_rate=plan.learning_rate[1], input_features=True))
        lines.setdefault(BEST, []).append(best)
        for name, teacher in _other_teachers(ranking, label_names):
            lines.setdefault(name, []).append(best if teacher == best.teacher else replace(taught, teacher=teacher))
    return {name: line for name, line in lines.items() if len(line) == len(rankings)}


def _plain_arm(plan: DemoPlan, seed: int, out: Path) -> Arm:
    return Arm(
        task=plan.task,
        labels=plan.labels,
        seed=seed,
        steps=plan.plain_steps,
        learning_rate=plan.learning_rate[2],
        regularisation=plan.regularisation,
        teacher=None,
        folder=str(out.parent / ".runs" / f"{plan.modality}-{seed}"),
    )


def _other_teachers(ranking: TeacherRanking, label_names: Sequence[str]) -> Iterable[tuple[str, TeacherCandidate]]:
    """The best teacher of another task, and the one that learned nothing."""
    ranked = [scored.candidate for scored in ranking.scored]
    cross = next((teacher for teacher in ranked if is_cross_task(teacher, label_names)), None)
    random = next((teacher for teacher in ranked if teacher.name == _RANDOM_TEACHER), None)
    return [(name, teacher) for name, teacher in ((CROSS, cross), (RANDOM, random)) if teacher is not None]


def is_cross_task(teacher: TeacherCandidate, label_names: Sequence[str]) -> bool:
    """Whether a teacher lacks some class of the student, as one without a head does; one with more classes has them.

    Args:
        teacher: to look at.
        label_names: classes of the student.
    """
    return teacher.label_names is None or not set(label_names) <= set(teacher.label_names)


def _train_all(arms: Sequence[Arm], processes: int, title: str) -> list[Outcome]:
    # Spawned, not forked: a fork of a process in which torch has run threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        return list(tqdm(pool.map(train_arm, arms), total=len(arms), desc=title, unit="student", leave=False))


def _add_baseline(folder: Path, without: Outcome) -> None:
    path = folder / "distillation.json"
    record = replace(DistillationRecord.load(path), baseline=without.results)
    record.save(path)
