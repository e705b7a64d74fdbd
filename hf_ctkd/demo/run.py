"""The demo: rank teachers on built-in data, distill from the best, publish to a folder, and report the gain."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from hf_ctkd.cards import PageSection, StudentOutcome, write_card, write_page
from hf_ctkd.demo.comparison import Comparison, compare, comparison_table
from hf_ctkd.demo.pretrained import encoder_folder, pretrained_teachers, student_folder
from hf_ctkd.demo.student_run import RunResult, StudentRun, train_student
from hf_ctkd.demo.tasks import Modality, build_task
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import demo_specs
from hf_ctkd.evaluation import EvaluationSettings, gain_over
from hf_ctkd.hub import folder_teachers
from hf_ctkd.records import DistillationRecord, TeacherCandidate, TeacherRanking, default_cache, write_text
from hf_ctkd.selection import TeacherSelector
from hf_ctkd.tasks import Classification

WITHOUT, INPUT, OWN = "labels alone", "no teacher, input features", "no teacher, own features"
BEST, CROSS, RANDOM = "best teacher", "best cross-task teacher", "random weights"
REPORT = "report.html"
"""Name of the page on rankings and students."""


@dataclass(frozen=True)
class DemoPlan:
    """Settings of a part of the demo; the evidence suite chose the hyperparameters on validation rows.

    Args:
        name: of the part, and of the folder of its student.
        modality: "image" or "text".
        task: name of the built-in task.
        labels: number of labelled rows.
        seeds: number of draws of labelled rows, weights and batches.
        steps: optimiser steps of every student but the one with labels alone.
        plain_steps: optimiser steps of the student with labels alone.
        learning_rate: of students with a teacher, of the student with input features, and of the student with labels
            alone.
        regularisation: value of both weight decay and label smoothing, for every student.
        batch_size: rows of a step.
        pretrained: whether student and teachers come out of a package (`hf_ctkd.demo.pretrained`).
    """

    name: str
    modality: Modality
    task: str
    labels: int
    seeds: int
    steps: int
    plain_steps: int
    learning_rate: tuple[float, float, float]
    regularisation: float
    batch_size: int = 64
    pretrained: bool = False

    @property
    def control(self) -> str:
        """Name of the student that learns from what is there without a teacher."""
        return OWN if self.pretrained else INPUT


PRETRAINED = "pretrained"
PLANS = {
    "image": DemoPlan(
        name="image",
        modality="image",
        task="digits",
        labels=50,
        seeds=3,
        steps=300,
        plain_steps=900,
        learning_rate=(3e-2, 3e-2, 3e-2),
        regularisation=0.1,
    ),
    "text": DemoPlan(
        name="text",
        modality="text",
        task="scipy-docstrings",
        labels=150,
        seeds=1,
        steps=300,
        plain_steps=300,
        learning_rate=(3e-3, 3e-3, 1e-2),
        regularisation=0.0,
    ),
    PRETRAINED: DemoPlan(
        name=PRETRAINED,
        modality="text",
        task="scipy-docstrings",
        labels=100,
        seeds=1,
        steps=300,  # of the suite's 900, for the time of a demo
        plain_steps=300,
        learning_rate=(3e-4, 3e-4, 3e-4),
        regularisation=0.0,
        batch_size=16,
        pretrained=True,
    ),
}
"""The last one needs the package of the pretrained models."""


@dataclass(frozen=True)
class DemoResult:
    """Results of a part of the demo.

    Args:
        plan: settings of the run.
        ranking: of the teachers, on the labelled rows of the first seed.
        students: accuracies and gains.
        folder: folder of the published student, with weights, card, figures and records.
    """

    plan: DemoPlan
    ranking: TeacherRanking
    students: Sequence[Comparison]
    folder: Path

    def __str__(self) -> str:
        """The summary that the demo prints last, and that the README holds."""
        plan = self.plan
        seeds = "1 seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
        steps = f"{plan.steps} steps"
        if plan.plain_steps != plan.steps:
            steps += f" ({WITHOUT}: {plan.plain_steps})"
        return (
            f"{plan.name}: task {plan.task}, {plan.labels} labelled rows, {seeds}, {steps}\n"
            f"{comparison_table(self.students)}"
        )

    @property
    def model_folders(self) -> list[Path]:
        """Where the teachers of the demo are kept for the next run."""
        return [_zoo(self.plan), *([_models()] if self.plan.pretrained else [])]

    @property
    def section(self) -> PageSection:
        """The ranking and the students, for a page."""
        plan = self.plan
        return PageSection(
            self.ranking,
            title=f"{plan.name}: {plan.task}, {plan.labels} labelled rows",
            record=DistillationRecord.load(self.folder / "distillation.json"),
            students=[StudentOutcome(student.name, student.accuracy, student.gain) for student in self.students],
        )


def run_demo(
    folder: Path | str,
    *,
    modalities: Sequence[Modality] = ("image", "text"),
    report: Callable[[str], None],
    progress: bool = True,
) -> list[DemoResult]:
    """Run the demo for each modality, and write students, cards, `report.html` and `summary.txt` to a folder.

    With the package of the pretrained models there is a part on a pretrained student of texts as well.

    Args:
        folder: output folder, with one sub-folder per part; existing files are overwritten.
        modalities: "image", "text" or both.
        report: receives each line of output, such as `print`.
        progress: show bars of teachers and students in training.
    """
    folder = Path(folder)
    processes = max(1, min(4, os.cpu_count() or 1))
    parts = [PLANS[modality] for modality in modalities]
    if "text" in modalities and encoder_folder() is not None:
        parts.append(PLANS[PRETRAINED])
    results = [_run(plan, folder, processes, report, progress) for plan in parts]
    write_text(folder / "summary.txt", "\n\n".join(str(result) for result in results) + "\n")
    write_page(folder / REPORT, [result.section for result in results], title="hf-ctkd demo")
    return results


def _run(plan: DemoPlan, folder: Path, processes: int, report: Callable[[str], None], progress: bool) -> DemoResult:
    report(f"\n{plan.name}: teachers")
    build_zoo(_zoo(plan), demo_specs(plan.modality), processes=processes, progress=progress)
    report(f"{plan.name}: ranking them on {plan.labels} labelled rows of {plan.task}")
    rankings = [_rank(plan, seed) for seed in range(plan.seeds)]
    report(str(rankings[0]))
    out = folder / f"{plan.name}-student"
    runs_by_kind = student_runs(plan, rankings, out)
    # Seed by seed, and each run once, although two kinds of student may share it.
    runs = list(dict.fromkeys(run for runs_of_seed in zip(*runs_by_kind.values(), strict=True) for run in runs_of_seed))
    trained = _train_all(runs, processes, f"{plan.name}: students", progress)
    results = dict(zip(runs, trained, strict=True))
    correct = {kind: [results[run].correct for run in of_kind] for kind, of_kind in runs_by_kind.items()}
    record = _add_baseline(out, results[runs_by_kind[BEST][0]], results[runs_by_kind[WITHOUT][0]])
    write_card(out, record=record, ranking=rankings[0].without_paths())
    return DemoResult(plan, rankings[0], compare(correct, WITHOUT), out)


def _zoo(plan: DemoPlan) -> Path:
    return default_cache() / "zoo" / plan.modality


def _models() -> Path:
    """The folder of the pretrained models."""
    return default_cache() / "zoo" / PRETRAINED


def _rank(plan: DemoPlan, seed: int) -> TeacherRanking:
    task = build_task(plan.task, labels=plan.labels, seed=seed)
    candidates = zoo_candidates(plan.modality, _zoo(plan))
    student = None
    if plan.pretrained:
        candidates, student = [*pretrained_teachers(_models()), *candidates], student_folder(_models())
    # Rows without a label are not scored on, but their share tells how much a teacher can add.
    return TeacherSelector(progress=False, seed=seed, student=student).rank(candidates, task.train())


def zoo_candidates(modality: Modality, zoo: Path) -> list[TeacherCandidate]:
    """The demo's teachers in the folder of its zoo.

    Args:
        modality: "image" or "text".
        zoo: written by `build_zoo`.
    """
    names = {spec.name for spec in demo_specs(modality)}
    return [candidate for candidate in folder_teachers(zoo) if candidate.name in names]


def student_runs(plan: DemoPlan, rankings: Sequence[TeacherRanking], out: Path) -> dict[str, list[StudentRun]]:
    """For each kind of student one run per seed; where two kinds have the same teacher they share the run.

    A kind whose teacher is missing from a ranking is left out.

    Args:
        plan: settings of the demo.
        rankings: of the teachers, one per seed.
        out: folder of the published student.
    """
    label_names = build_task(plan.task, labels=plan.labels, seed=0).label_names
    runs: dict[str, list[StudentRun]] = {}
    for seed, ranking in enumerate(rankings):
        plain = _plain_run(plan, seed, out)
        distilled = replace(plain, steps=plan.steps, learning_rate=plan.learning_rate[0])
        path = ranking.save(out / "ranking.json") if seed == 0 else None
        best = replace(
            distilled,
            teacher=ranking.scored[0].candidate,
            folder=str(out) if seed == 0 else plain.folder,
            ranking=None if path is None else str(path),
            command=f"hf-ctkd demo --modality {plan.modality}",
        )
        runs.setdefault(WITHOUT, []).append(plain)
        runs.setdefault(plan.control, []).append(
            replace(distilled, learning_rate=plan.learning_rate[1], input_features=True)
        )
        runs.setdefault(BEST, []).append(best)
        for name, teacher in _other_teachers(ranking, label_names):
            runs.setdefault(name, []).append(best if teacher == best.teacher else replace(distilled, teacher=teacher))
    return {kind: runs_of_kind for kind, runs_of_kind in runs.items() if len(runs_of_kind) == len(rankings)}


def _plain_run(plan: DemoPlan, seed: int, out: Path) -> StudentRun:
    return StudentRun(
        task=plan.task,
        labels=plan.labels,
        seed=seed,
        steps=plan.plain_steps,
        learning_rate=plan.learning_rate[2],
        regularisation=plan.regularisation,
        teacher=None,
        folder=str(out.parent / ".runs" / f"{plan.name}-{seed}"),
        models=str(_models()) if plan.pretrained else None,
        batch_size=plan.batch_size,
    )


def _other_teachers(ranking: TeacherRanking, label_names: Sequence[str]) -> Iterable[tuple[str, TeacherCandidate]]:
    """The best teacher of another task, and the teacher with random weights."""
    ranked = [scored.candidate for scored in ranking.scored]
    random = next((teacher for teacher in ranked if teacher.is_control), None)
    trained = [teacher for teacher in ranked if not teacher.is_control]
    cross = next((teacher for teacher in trained if is_cross_task(teacher, label_names)), None)
    return [(name, teacher) for name, teacher in ((CROSS, cross), (RANDOM, random)) if teacher is not None]


def is_cross_task(teacher: TeacherCandidate, label_names: Sequence[str]) -> bool:
    """Whether a teacher lacks a class of the student; a teacher without a head lacks them all.

    Args:
        teacher: the teacher.
        label_names: classes of the student.
    """
    return teacher.label_names is None or not set(label_names) <= set(teacher.label_names)


def _train_all(runs: Sequence[StudentRun], processes: int, title: str, progress: bool) -> list[RunResult]:
    # Spawned, not forked, because a fork of a process with threads of PyTorch may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        results = pool.map(train_student, runs)
        return list(tqdm(results, title, len(runs), unit="student", leave=False, disable=not progress))


def _add_baseline(folder: Path, student: RunResult, without: RunResult) -> DistillationRecord:
    """The record that another process wrote, with the results of the student without distillation."""
    path = folder / "distillation.json"
    gain = gain_over(Classification(), student.labels, student.logits, without.logits, EvaluationSettings())
    record = replace(DistillationRecord.load(path), baseline=without.results, gain=gain)
    record.save(path)
    return record
