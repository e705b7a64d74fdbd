"""How a student is trained: tuned once per kind of task on validation rows, the same grid for every arm."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean

from benchmarks.evidence.grid import ALONE, CONTROLS, DEFAULT, METHODS, PLAIN, STEPS, Cell, Run
from hf_ctkd.records import read_json, write_json

KIND = "evidence-tuning"
SEEDS = (1000, 1001)
"""Tuning draws other labels, weights and batches than any measured run."""
TUNED_ON = {
    "image": ((Cell("digits", 50), "font-letters"), (Cell("greek-letters", 72), "handwriting-pairs")),
    "text": ((Cell("sklearn-docstrings", 100), "torch"), (Cell("pandas-docstrings", 100), "which-library")),
}
"""Cells of each kind of task, with the teacher of methods that have one; on a single cell and seed, chance chooses."""
FEATURE_LOSSES = ("inverted projection", "traditional projection", "relationship matching", "spectral")
"""Losses of features, the scale of which no two models share: their weight is tuned as well."""
ARMS = (PLAIN, DEFAULT, "input features, transported", "self-training, transported", *FEATURE_LOSSES)
"""What is tuned; the others take the settings of their kin."""
PLAIN_AT_STEPS = f"plain, {STEPS} steps"
"""The plain student as it is best at everybody else's number of steps: for its kin, which have that number."""
KIN = {
    "input features, probe": "input features, transported",
    "self-training": "self-training, transported",
    "bss": PLAIN_AT_STEPS,
}
"""Every other method takes those of the default."""


@dataclass(frozen=True)
class Settings:
    """Optimiser settings of one arm.

    Args:
        learning_rate: peak of the linear schedule.
        weight_decay: of AdamW.
        label_smoothing: of the task loss.
        steps: of the optimiser.
        loss_weight: of the distillation loss; None for its default.
    """

    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    steps: int = STEPS
    loss_weight: float | None = None

    def recorded(self) -> dict[str, float]:
        """What is written down, and identifies a run: only what was set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


RATES = {"image": (1e-3, 3e-3, 1e-2, 3e-2), "text": (1e-3, 3e-3, 1e-2)}
"""Slower ones leave a text student with the most frequent class after so few steps, which accuracy would reward."""
REGULAR = (Settings(), Settings(weight_decay=0.1, label_smoothing=0.1))
OTHER_STEPS = (STEPS // 3, 3 * STEPS)
"""Numbers of steps that the plain student alone is tried at, besides everybody's."""
WEIGHTS = (0.03, 0.1, 0.3, 1.0)
"""Weights of losses of features."""


def first_round(modality: str) -> list[tuple[Run, Settings]]:
    """The student without a teacher: every learning rate with and without regularisation."""
    return [trial for regular in REGULAR for trial in _at_all_rates(PLAIN, modality, regular)]


def steps_round(modality: str, plain: Settings) -> list[tuple[Run, Settings]]:
    """The student without a teacher for fewer and for more steps: every learning rate, its best regularisation.

    Args:
        modality: of the tasks.
        plain: the best settings of the first round.
    """
    return [trial for steps in OTHER_STEPS for trial in _at_all_rates(PLAIN, modality, replace(plain, steps=steps))]


def second_round(modality: str, plain: Settings, arms: Sequence[str] = ARMS) -> list[tuple[Run, Settings]]:
    """All others: every learning rate, with the regularisation that was best without a teacher."""
    regular = replace(plain, steps=STEPS)
    return [trial for arm in arms if arm != PLAIN for trial in _at_all_rates(arm, modality, regular)]


def weights_round(modality: str, arm: str, settings: Settings) -> list[tuple[Run, Settings]]:
    """A loss of features with the weights that are not its default's, at its best learning rate.

    Args:
        modality: of the tasks.
        arm: one of `FEATURE_LOSSES`.
        settings: the best of the second round.
    """
    usual = (METHODS | ALONE)[arm]().settings()["weight"]
    return [
        (run, replace(settings, loss_weight=weight))
        for weight in WEIGHTS
        if weight != usual
        for run in _tuning_runs(arm, modality)
    ]


def _tuning_runs(arm: str, modality: str) -> list[Run]:
    return [
        Run(cell, arm, seed, "" if arm in CONTROLS else teacher)
        for (cell, teacher), seed in product(TUNED_ON[modality], SEEDS)
    ]


def _at_all_rates(arm: str, modality: str, regular: Settings) -> Iterable[tuple[Run, Settings]]:
    for rate, run in product(RATES[modality], _tuning_runs(arm, modality)):
        yield run, replace(regular, learning_rate=rate)


def best(outcomes: Sequence[tuple[Settings, float]]) -> Settings:
    """The settings with the highest mean validation accuracy; the first of equals."""
    accuracies: dict[Settings, list[float]] = {}
    for settings, accuracy in outcomes:
        accuracies.setdefault(settings, []).append(accuracy)
    return max(accuracies, key=lambda settings: mean(accuracies[settings]))


class Tuned:
    """Settings of each arm for each kind of task, as found by tuning.

    An arm that was not tuned takes those of its kin.

    Args:
        chosen: modality -> arm -> settings.
    """

    def __init__(self, chosen: Mapping[str, Mapping[str, Settings]]) -> None:
        self.chosen = chosen

    @classmethod
    def load(cls, path: Path) -> "Tuned":
        """From the file that tuning wrote; library defaults for all arms if there is none."""
        if not path.is_file():
            return cls({})
        chosen = read_json(path, KIND)["chosen"]
        return cls({kind: {arm: Settings(**values) for arm, values in arms.items()} for kind, arms in chosen.items()})

    def save(self, path: Path, trials: Sequence[Mapping[str, object]]) -> None:
        chosen = {
            kind: {arm: settings.recorded() for arm, settings in arms.items()} for kind, arms in self.chosen.items()
        }
        grid = {
            "rates": {kind: list(rates) for kind, rates in RATES.items()},
            "weights": list(WEIGHTS),
            "regularisation": [settings.recorded() for settings in REGULAR],
            "seeds": list(SEEDS),
            "steps": STEPS,
            "plain_steps": sorted([STEPS, *OTHER_STEPS]),
        }
        write_json(path, {"kind": KIND, "grid": grid, "chosen": chosen, "trials": list(trials)})

    def of(self, method: str, modality: str) -> Settings:
        """Settings of an arm, those of its kin if it was not tuned; steps of its own has the plain student alone."""
        arms = self.chosen.get(modality, {})
        tuned = arms.get(method) or arms.get(KIN.get(method, DEFAULT))
        return tuned or replace(arms.get(PLAIN, Settings()), steps=STEPS)
