"""Write README's table of metrics from the classes.

    python -m benchmarks.readme_tables [--check]

With `--check` nothing is written, and the exit status is 1 if the table is not current.
"""

import argparse
import re
import sys
import unicodedata
from pathlib import Path

from hf_ctkd import metrics
from hf_ctkd.metrics import TransferabilityMetric
from hf_ctkd.selection import metric_names
from hf_ctkd.selection.scores import chosen_metrics
from hf_ctkd.types import Needs

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- metrics:begin -->", "<!-- metrics:end -->"
WORDS = {
    Needs.LOGITS: "class predictions",
    Needs.FEATURES: "features",
    Needs.HIDDEN: "chosen layers",
    Needs.LAYERS: "layers of all depths",
    Needs.LABEL_NAMES: "label names",
}


def metric_table() -> str:
    """One row for each metric that the selector takes by name, then those that are constructed for one teacher."""
    named = [chosen_metrics(name, ())[0] for name in metric_names()]
    exported = [vars(metrics)[name] for name in metrics.__all__]
    alone = {type(metric) for metric in named} | {TransferabilityMetric}
    rows = [_row(f"`{metric.name}`", metric, type(metric)) for metric in named]
    rows += [_row("made for one teacher", kind, kind) for kind in exported if kind not in alone]
    return "\n".join(["| metric | by name | teacher gives | reference |", "|---|---|---|---|", *rows])


def _row(by_name: str, metric: TransferabilityMetric | type[TransferabilityMetric], kind: type) -> str:
    gives = ", ".join(word for need, word in WORDS.items() if need in metric.needs) or "nothing"
    if kind is metric:
        gives += ", also of rows of its own task"
    return f"| `{kind.__name__}` | {by_name} | {gives} | {reference(metric.citation)} |"


_ENTRY = re.compile(r"^@\w+\{.*?^\}", re.DOTALL | re.MULTILINE)
_ACCENTS = {"'": "\N{COMBINING ACUTE ACCENT}", "`": "\N{COMBINING GRAVE ACCENT}", '"': "\N{COMBINING DIAERESIS}"}


def reference(citation: str) -> str:
    """Authors, year and arXiv number of each BibTeX entry of a citation, in one line; then what else it says."""
    entries = "; ".join(_short(entry) for entry in _ENTRY.findall(citation))
    return ". ".join(filter(None, (entries, " ".join(_ENTRY.sub("", citation).split()))))


def _short(entry: str) -> str:
    fields = {
        name.lower(): " ".join(value.split()) for name, value in re.findall(r"(\w+)\s*=\s*\{(.*)\}", _lines(entry))
    }
    names = [author.partition(",")[0] for author in fields["author"].split(" and ")]
    authors = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    accented = re.sub(r"\{\\(['`\"])(\w)\}", lambda match: match[2] + _ACCENTS[match[1]], authors)
    number = f", arXiv:{fields['eprint']}" if "eprint" in fields else ""
    return f"{unicodedata.normalize('NFC', accented)}, {fields['year']}{number}"


def _lines(entry: str) -> str:
    """The entry with each field on one line."""
    return re.sub(r"\n {4,}", " ", entry)


def filled(text: str) -> str:
    """The README with a new table of metrics.

    Raises:
        ValueError: if the markers of the table do not occur once each, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after:
        raise ValueError(f"README must hold {BEGIN} and {END} once each, in this order.")
    return f"{before}{BEGIN}\n{metric_table()}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Write nothing; fail if the table is not current.")
    check = parser.parse_args().check
    text = README.read_text()
    if check:
        return int(filled(text) != text)
    README.write_text(filled(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
