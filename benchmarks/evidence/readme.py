"""README's table of losses, from what was measured."""

from collections.abc import Mapping
from pathlib import Path

import pandas

from benchmarks.evidence.analysis import Estimate, estimate, worst_teacher
from benchmarks.evidence.grid import CONTROLS, DEFAULT, PLAIN
from benchmarks.evidence.report import comparable, table
from benchmarks.results_file import replaced
from hf_ctkd.records import read_json, write_json, write_text

KIND = "evidence-losses"
BEGIN, END = "<!-- losses:begin -->", "<!-- losses:end -->"

LOSSES = {
    DEFAULT: (
        "RowTransportLoss()",
        "features",
        "ours: rows transported onto classes at the cost of cross-fitted probes, the input features' among them",
    ),
    "default, teacher alone": (
        "RowTransportLoss(input_features=False)",
        "features",
        "the same, read out of teachers alone",
    ),
    "probe": ("ProbeLoss()", "features", "ours"),
    "transport, empirical": (
        "LabelTransportLoss(EmpiricalCost())",
        "class predictions",
        "Lu et al., selective cross-task distillation (reconstructed), weighted by relatedness",
    ),
    "transport, literal": (
        "LabelTransportLoss(EmpiricalCost(), gain_exponent=0)",
        "class predictions",
        "the same as the paper has it, unweighted",
    ),
    "inverted projection": ("InvertedProjectionLoss()", "features", "Auty et al., learning to project (reconstructed)"),
    "traditional projection": ('ProjectionLoss("traditional")', "features", "its counterpart"),
    "label map": ("LabelMapLoss()", "class predictions", "the soft label map that transport alone amounts to"),
    "relationship matching": ("RelationshipMatchingLoss()", "features", "Ye et al., REFILLED"),
    "input features, transported": (
        "TeacherFreeLoss()",
        "no teacher",
        "ours: the same, read out of the input features alone",
    ),
    "spectral": ("SpectralLoss()", "no teacher", "Auty et al. (reconstructed)"),
    "bss": ("BSSLoss()", "no teacher", "Chen et al."),
}
"""Method -> how to write it, what its teacher must give, whom it is after."""
UNMEASURED = (
    ("BTuningLoss()", "features", "see the first table", "You et al., B-Tuning: for pretrained students"),
    ("AFTLoss()", "features", "see the first table", "Qiu et al., adaptive feature transfer: for pretrained students"),
    ("KLLoss()", "class predictions, same or mapped labels", "not measured", "Hinton et al."),
    ("RegressionProbeLoss()", "features", "not measured", "ours: for labels that are numbers"),
    (
        "CommitteeLoss()",
        "layers of several",
        "see Committees in the results",
        "Liu et al., DiverseDistill (reconstructed)",
    ),
    ("WeightedSum([...])", "what its parts need", "not measured", ""),
)
"""Losses that the table of runs does not speak of."""


def losses_record(runs: pandas.DataFrame) -> dict[str, object]:
    """Mean gain and worst teacher of each method, on the cells and teachers that all of them ran on."""
    part = comparable(runs)
    entries = {}
    for method in [name for name in LOSSES if name in set(part["method"])]:
        mine = part[part["method"] == method]
        if set(mine["cell"]) != set(part["cell"]):
            continue  # a mean over fewer cells cannot be compared with the others
        entry: dict[str, object] = {"gain": _values(estimate(mine)), "runs": len(mine)}
        if method not in CONTROLS:
            name, worst = worst_teacher(part, method)
            entry |= {"worst_teacher": name, "worst": _values(worst)}
        entries[method] = entry
    cells = sorted(part["cell"].unique())
    return {"kind": KIND, "over": PLAIN, "cells": cells, "losses": entries}


def _values(estimated: Estimate) -> dict[str, float]:
    return {"mean": round(estimated.value, 2), "low": round(estimated.low, 2), "high": round(estimated.high, 2)}


def losses_table(record: Mapping[str, dict]) -> str:
    """The table for the README."""
    rows = []
    for method, (code, gives, after) in LOSSES.items():
        entry = record["losses"].get(method)
        gain = "not measured" if entry is None else _as_text(entry["gain"])
        worst = (
            "" if entry is None or "worst" not in entry else f"{entry['worst']['mean']:+.1f}, {entry['worst_teacher']}"
        )
        rows.append([f"`{code}`", gives, gain, worst, after])
    rows += [[f"`{code}`", gives, gain, "", after] for code, gives, gain, after in UNMEASURED]
    return table(["loss", "teacher gives", "mean gain, points (95 %)", "worst teacher", "after"], rows)


def _as_text(gain: Mapping[str, float]) -> str:
    return f"{gain['mean']:+.1f} ({gain['low']:+.1f} to {gain['high']:+.1f})"


def save(runs: pandas.DataFrame, path: Path) -> None:
    write_json(path, losses_record(runs))


def fill(readme: Path, record: Path) -> None:
    """Put the table between its markers in the README.

    Raises:
        InvalidArgumentError: if the markers are missing.
    """
    text = replaced(
        readme.read_text(encoding="utf-8"), BEGIN, END, f"{BEGIN}\n{losses_table(read_json(record, KIND))}\n{END}"
    )
    write_text(readme, text)
