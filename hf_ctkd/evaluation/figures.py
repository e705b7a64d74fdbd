"""The figures of an evaluation: confusion matrix and reliability diagram."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from hf_ctkd.cards.figures import new_figure
from hf_ctkd.evaluation.calibration import Calibration
from hf_ctkd.records import RELIABILITY_BINS, drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES = 25
_BEFORE, _AFTER = "#9a9a9a", "#3d6b99"


def confusion_figure(confusion: Int[ndarray, "classes classes"], names: Sequence[str]) -> "Figure":
    """A heatmap: each row the classes that the student takes one class for, in percent.

    Of more than 25 classes those with most errors are drawn.

    Args:
        confusion: rows by their class and the student's.
        names: of the classes.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    errors = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-(errors.sum(axis=0) + errors.sum(axis=1)), kind="stable")
    chosen = np.sort(order[:MAX_CLASSES])
    share = 100 * confusion[np.ix_(chosen, chosen)] / np.maximum(confusion.sum(axis=1)[chosen, None], 1)
    figure = new_figure(3.2 + 0.36 * len(chosen), 2.4 + 0.32 * len(chosen))
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    labels = [drawable(names[number], 24, f"class {number}") for number in chosen]
    axes.set_xticks(range(len(chosen)), labels, rotation=50, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(chosen)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("class")
    if len(chosen) < len(names):
        axes.set_title(f"the {len(chosen)} of {len(names)} classes with most errors", fontsize=10)
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.5 and len(chosen) <= 12:
            color = "white" if value > 60 else "#333333"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)
    figure.colorbar(image, ax=axes, label="% of the class", fraction=0.05, pad=0.02).outline.set_visible(False)
    return figure


def reliability_figure(calibration: Calibration) -> "Figure":
    """Accuracy over probability, before and after temperature scaling; on the diagonal they agree.

    The area of a point is the share of the decisions in its bin.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    figure = new_figure(4.6, 4.4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    for label, color, reliability in (
        ("as it is", _BEFORE, calibration.before),
        ("with a temperature", _AFTER, calibration.after),
    ):
        if reliability is None:
            continue
        total = sum(each.count for each in reliability.bins)
        points = np.array([(each.confidence, each.accuracy, each.count / total) for each in reliability.bins])
        legend = f"{label}: calibration error {reliability.error:.3f}"
        axes.plot(points[:, 0], points[:, 1], color=color, linewidth=1, label=legend)
        axes.scatter(points[:, 0], points[:, 1], 10 + 300 * points[:, 2], color=color)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"probability, in {RELIABILITY_BINS} bins", ylabel="share that is right")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure
