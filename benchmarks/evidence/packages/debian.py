"""Descriptions of Debian's packages by section: a text task of 20 classes from the lists that `apt` keeps.

`apt-cache dumpavail` prints them; the rows depend on the release and on the day of the lists.
"""

import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache

from datasets import ClassLabel, Dataset, Features, Value

from benchmarks.evidence.packages.splits import digest, split_of
from hf_ctkd.demo.tasks import DemoTask, Pools, assemble_task

NAME = "debian-sections"
TASK = "benchmarks.evidence.packages.debian:debian_sections"
"""Its name for `build_task`."""
INSTALL = "apt-get update, on Debian"
SECTIONS = (
    "admin", "database", "devel", "editors", "electronics", "fonts", "games", "gnome", "graphics", "interpreters",
    "mail", "math", "misc", "net", "science", "sound", "text", "utils", "video", "web",
)  # fmt: skip
"""Sections that say what a package is for; those of a form (libs, doc) or of a language are left out."""
ROWS_PER_SECTION = {"train": 150, "validation": 25, "test": 50}


def available() -> bool:
    """Whether this machine has the lists."""
    return shutil.which("apt-cache") is not None and bool(_descriptions())


def debian_sections(*, labels: int, seed: int) -> DemoTask:
    """The task: 3,000 training, 500 validation and 1,000 test rows, as many of each class as there are.

    Packages built from one source are in one split, and each description occurs once.

    Args:
        labels: number of labelled training rows.
        seed: of their draw.

    Raises:
        FileNotFoundError: where there are no lists of packages.
    """
    return assemble_task(NAME, "text", _pools(), labels=labels, seed=seed)


@lru_cache(maxsize=1)
def _pools() -> Pools:
    rows = _descriptions()
    if not rows:
        raise FileNotFoundError(f"The task {NAME} needs the lists of Debian's packages: {INSTALL}.")
    splits: dict[str, list[tuple[str, int]]] = {split: [] for split in ROWS_PER_SECTION}
    for number, section in enumerate(SECTIONS):
        for split, texts in _split(rows[section]).items():
            splits[split] += [(text, number) for text in texts]
    return Pools(**{split: _dataset(pairs) for split, pairs in splits.items()})


def _split(texts: dict[str, str]) -> dict[str, list[str]]:
    """Descriptions of one section, split by the digest of their source: twins fall into one split."""
    splits: dict[str, list[str]] = {split: [] for split in ROWS_PER_SECTION}
    for text, origin in sorted(texts.items(), key=lambda pair: digest(pair[1] + pair[0])):
        split = split_of(origin)
        if len(splits[split]) < ROWS_PER_SECTION[split]:
            splits[split].append(text)
    return splits


def _dataset(pairs: list[tuple[str, int]]) -> Dataset:
    pairs = sorted(pairs, key=lambda pair: digest(pair[0]))
    columns = {"text": [text for text, _ in pairs], "label": [label for _, label in pairs]}
    return Dataset.from_dict(columns, Features({"text": Value("string"), "label": ClassLabel(names=list(SECTIONS))}))


@lru_cache(maxsize=1)
def _descriptions() -> dict[str, dict[str, str]]:
    """Of each section: description -> source package. A description of two sections is left out of both."""
    sections: dict[str, set[str]] = {}
    sources: dict[str, str] = {}
    for package in _packages():
        text = package.get("Description", "")
        sections.setdefault(text, set()).add(package.get("Section", ""))
        sources.setdefault(text, package.get("Source", package["Package"]).split(" ")[0])
    rows: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for text, names in sections.items():
        if text and len(names) == 1 and names <= set(SECTIONS):
            rows[names.pop()][text] = sources[text]
    return rows if any(rows.values()) else {}


def _packages() -> Iterator[dict[str, str]]:
    output = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    for block in output.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(" ")]
        fields = {name: value for name, _, value in lines}
        if "Package" in fields:
            yield fields
