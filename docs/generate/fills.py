"""What fills the marked places of the pages: tables of methods from their classes, and tables of results."""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.evidence.readme import KIND, LOSSES
from benchmarks.readme_tables import reference as short_reference
from docs.generate.code import ROOT, between
from docs.generate.equations import EQUATIONS
from docs.generate.mathml import distance_entries, entries, symbol_table
from docs.generate.reference import first_sentence, in_cell
from hf_ctkd import costs, losses, metrics
from hf_ctkd.costs import LabelCost
from hf_ctkd.losses import AFTLoss, BTuningLoss, CommitteeLoss, DistillationLoss, WeightedSum
from hf_ctkd.losses.base import DistillationLoss as Loss
from hf_ctkd.metrics import TransferabilityMetric
from hf_ctkd.records import read_json
from hf_ctkd.types import Needs

NEEDS = {
    Needs.LOGITS: "class predictions of the teacher",
    Needs.FEATURES: "features of the teacher",
    Needs.LAYERS: "layers of all depths",
    Needs.HIDDEN: "chosen layers",
    Needs.LABEL_NAMES: "informative class names",
    Needs.INPUT: "the student's input features",
    Needs.TARGETS: "labels that are numbers",
}
_USE = re.compile(r"\buse it\b|\bit serves\b", re.IGNORECASE)
_NOT = re.compile(
    r"^Not |\bDo not\b|\bflatter|[Pp]refer |[Ee]lsewhere|\bnoisy\b|`\w+` (is simpler|instead)|\buse `|\btake `"
    r"|\bcoarse\b|\bWith few\b|\bbut it\b|\bneeds at least\b|\bdecides much\b|\boverlapped\b|near zero"
)
_SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-Z`*])")


def fill(name: str) -> str:
    """The text for one marked place.

    Args:
        name: as the page names it.
    """
    return FILLS[name]()


def advice(kind: type) -> tuple[str, str]:
    """When to use a method and when not, in the words of its docstring.

    Args:
        kind: its class.
    """
    prose = re.split(r"\n\n(?:Args|Raises|Reference|Example|Attributes):", inspect.getdoc(kind) or "")[0]
    sentences = [
        " ".join(sentence.split())
        for paragraph in prose.split("\n\n")[1:]
        if not re.match(r"\d\. ", paragraph)
        for sentence in _SENTENCE.split(paragraph)
    ]
    when = [sentence for sentence in sentences if _USE.search(sentence)]
    unless = [sentence for sentence in sentences if _NOT.search(sentence) and sentence not in when]
    return " ".join(when), " ".join(unless)


def _row(module: str, kind: type, cells: list[str]) -> str:
    link = f"[`{kind.__name__}`](reference/{module}.md#hf_ctkd.{module}.{kind.__name__})"
    return "| " + " | ".join([link, first_sentence(kind), *map(in_cell, cells)]) + " |"


def _exported(module: Any, base: type) -> list[type]:  # noqa: ANN401 (a module)
    kinds = (vars(module)[name] for name in sorted(module.__all__, key=str.lower))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, base) and kind is not base]


def _needs(needs: Needs) -> str:
    return ", ".join(words for need, words in NEEDS.items() if need in needs) or "nothing"


def loss_table() -> str:
    """One row for each loss."""
    record = read_json(ROOT / "benchmarks" / "evidence" / "results" / "losses.json", KIND)["losses"]
    rows = [
        _row(
            "losses", kind, [*advice(kind), _loss_needs(kind), _loss_cost(kind), _evidence(kind, record), _paper(kind)]
        )
        for kind in _exported(losses, DistillationLoss)
    ]
    head = "| loss | what it is | when | when not, and with care | needs | cost a step | gain, points (95 %) | paper |"
    return "\n".join([head, "|---" * 8 + "|", *rows])


def _loss_needs(kind: type[Loss]) -> str:
    if kind is WeightedSum:
        return "what its parts need"
    needs = _MADE[kind.__name__]().needs
    return _needs(needs) if Needs.TEACHER in needs else f"no teacher; {_needs(needs)}"


# Their needs follow from their arguments: these are the needs with the default ones.
_MADE: Mapping[str, Callable[[], Loss]] = {
    kind.__name__: kind for kind in _exported(losses, DistillationLoss) if kind is not WeightedSum
}


def _loss_cost(kind: type[Loss]) -> str:
    if kind is WeightedSum:
        return "that of its parts"
    loss = _MADE[kind.__name__]()
    if Needs.HIDDEN in loss.needs:
        return "each teacher runs at every step"
    if Needs.TEACHER not in loss.needs and type(loss).row_targets is DistillationLoss.row_targets:
        return "no teacher runs"
    if type(loss).row_targets is not DistillationLoss.row_targets:
        return "targets are computed once, before training"
    return "reads teacher outputs that were stored before training"


def _evidence(kind: type[Loss], record: Mapping[str, Any]) -> str:
    if kind is CommitteeLoss:
        return "[Committees](results.md#committees)"
    if kind in (AFTLoss, BTuningLoss):
        return "[Pretrained students](results.md#pretrained-students)"
    methods = [method for method, (code, *_) in LOSSES.items() if code == f"{kind.__name__}()"]
    methods += [method for method, (code, *_) in LOSSES.items() if code.startswith(f"{kind.__name__}(")]
    measured = [record[method]["gain"] for method in methods[:1] if method in record]
    return (
        f"{measured[0]['mean']:+.1f} ({measured[0]['low']:+.1f} to {measured[0]['high']:+.1f})"
        if measured
        else "not measured"
    )


def _paper(kind: type) -> str:
    return short_reference(vars(kind).get("citation") or kind.__dict__.get("citation", "")) or "none"


def cost_table() -> str:
    """One row for each label cost."""
    rows = [
        _row("costs", kind, [*advice(kind), _needs(kind.needs), short_reference(kind.citation)])
        for kind in _exported(costs, LabelCost)
    ]
    return "\n".join(
        ["| cost | what it is | when | when not, and with care | needs | paper |", "|---" * 6 + "|", *rows]
    )


def metric_table() -> str:
    """One row for each metric."""
    rows = [
        _row("metrics", kind, [*advice(kind), _needs(kind.needs), _tau(kind), short_reference(kind.citation)])
        for kind in _exported(metrics, TransferabilityMetric)
    ]
    head = "| metric | what it is | when | when not, and with care | needs | weighted tau (95 %) | paper |"
    return "\n".join([head, "|---" * 7 + "|", *rows])


def _tau(kind: type[TransferabilityMetric]) -> str:
    lines = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|")[1:3] for line in lines if line.startswith(f"| {kind.name} |")]
    return cells[0][1].strip() if cells else "not measured"


FILLS: dict[str, Callable[[], str]] = {
    "losses": loss_table,
    "costs": cost_table,
    "metrics": metric_table,
    "symbols": symbol_table,
    **{f"equations-{module}": partial(entries, module) for module in EQUATIONS},
    "equations-distances": distance_entries,
    "pretrained": lambda: between(
        "README.md", "<!-- pretrained students:begin -->", "<!-- pretrained students:end -->"
    ),
    "demo": lambda: between("README.md", "<!-- demo:begin -->", "<!-- demo:end -->"),
    "twenty-lines": lambda: "```python\n" + between("README.md", "## Twenty lines\n\n```python", "```") + "\n```",
    "commands": lambda: "```bash\n" + between("README.md", "read the student's folder:\n\n```bash", "```") + "\n```",
    "goals": lambda: (
        between("benchmarks/RESULTS.md", "## Does a teacher of another task help?", "**State of these")
        .partition("### Goals")[2]
        .strip()
    ),
    "step": lambda: between("benchmarks/RESULTS.md", "<!-- trainer:begin -->", "<!-- trainer:end -->"),
}
"""Name of a marked place -> what fills it."""
