"""The zoo: specifications of teachers from closely related to unrelated; `train.build_zoo` trains them."""

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from datasets import ClassLabel, Dataset, concatenate_datasets

from hf_ctkd.demo.images import CHARSETS, DIGIT_NAMES, TEACHER_FONTS, glyphs_dataset, photos_dataset
from hf_ctkd.demo.tasks import Modality, digit_pools, docstring_pools, regroup, relabel
from hf_ctkd.demo.text import FORMAT as TEXT_FORMAT
from hf_ctkd.demo.text import distribution_of
from hf_ctkd.errors import InvalidArgumentError

FORMAT = 2
"""Increase it when the same specification trains to another teacher, so that cached teachers are retrained."""

FEWEST_ROWS_OF_A_CLASS = 90
"""Minimum number of docstrings of a class of a text teacher."""

GLYPHS_PER_CLASS = 48
FEWEST_GLYPHS = 1000
"""Minimum number of rows of a glyph teacher; with few characters, each gets more examples."""

MOST_ROWS_OF_A_CLASS = 240
"""Larger text classes are cut to this many rows; `torch.distributed` alone would be two fifths of its teacher's."""

_GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "pairs": {
        f"{first} or {second}": (first, second)
        for first, second in zip(DIGIT_NAMES[::2], DIGIT_NAMES[1::2], strict=True)
    },
    "low half": {name: (name,) for name in DIGIT_NAMES[:5]},
    "high half": {name: (name,) for name in DIGIT_NAMES[5:]},
    "parity": {"even": DIGIT_NAMES[::2], "odd": DIGIT_NAMES[1::2]},
}


@dataclass(frozen=True)
class TeacherSpec:
    """The complete specification of a teacher: with the same library versions it gives the same weights.

    Args:
        name: name of the teacher and of its folder.
        modality: "image" or "text".
        data: "handwriting", "photos" or a name of `images.CHARSETS`; for text, libraries joined by "+".
        grouping: labels of the data: "each" for its own classes; "pairs", "low half", "high half" or "parity" for
            handwritten digits; "kind" or "library" for docstrings.
        architecture: a name of `architectures.IMAGE_ARCHITECTURES` or `TEXT_ARCHITECTURES`.
        seed: of the weights and the order of rows.
        epochs: passes over the rows; 0 leaves the weights random.
        head: whether to save the classification head; without it the folder holds an encoder.
    """

    name: str
    modality: Modality
    data: str
    grouping: str
    architecture: str
    epochs: int
    seed: int = 0
    head: bool = True

    def key(self) -> str:
        """A hash of the specification and of the versions of the libraries that the rows come from."""
        libraries = self.data.split("+") if self.modality == "text" else ["sklearn", "matplotlib"]
        versions = {library: importlib.metadata.version(distribution_of(library)) for library in libraries}
        tag = [] if self.epochs else ["tagged"]  # of models whose cards had no tag before, which train in no time
        content = json.dumps([FORMAT, TEXT_FORMAT, asdict(self), versions, *tag], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def teacher_rows(spec: TeacherSpec) -> Dataset:
    """The labelled rows that a teacher is trained on; no built-in task contains any of them.

    Args:
        spec: the teacher.

    Raises:
        InvalidArgumentError: if the specification's `data` or `grouping` is unknown.
    """
    return _text_rows(spec) if spec.modality == "text" else _image_rows(spec)


def _image_rows(spec: TeacherSpec) -> Dataset:
    if spec.data == "handwriting":
        rows = digit_pools()[0]
    elif spec.data == "photos":
        rows = photos_dataset()
    elif spec.data in CHARSETS:
        characters = CHARSETS[spec.data]
        per_class = max(GLYPHS_PER_CLASS, FEWEST_GLYPHS // len(characters))
        rows = glyphs_dataset(characters, fonts=TEACHER_FONTS, per_class=per_class, seed=spec.seed)
    else:
        raise InvalidArgumentError(
            f"`data` {spec.data!r} of teacher {spec.name!r} is unknown. Use handwriting, photos or one of "
            f"{', '.join(CHARSETS)}."
        )
    if spec.grouping == "each":
        return rows
    if spec.grouping not in _GROUPS:
        raise InvalidArgumentError(
            f"`grouping` {spec.grouping!r} of teacher {spec.name!r} is unknown. Use each, {', '.join(_GROUPS)}."
        )
    return regroup(rows, _GROUPS[spec.grouping])


def _text_rows(spec: TeacherSpec) -> Dataset:
    libraries = spec.data.split("+")
    if spec.grouping == "library":
        parts = [docstring_pools(library, min_rows=1)[0] for library in libraries]
        labels = [library for library, part in enumerate(parts) for _ in range(len(part))]
        feature = ClassLabel(names=libraries)
        # `concatenate_datasets` refuses parts whose labels have different features.
        same_features = [relabel(part, [0] * len(part), feature) for part in parts]
        return _capped(relabel(concatenate_datasets(same_features), labels, feature))
    if spec.grouping not in ("each", "kind") or len(libraries) > 1:
        raise InvalidArgumentError(
            f"`grouping` {spec.grouping!r} of teacher {spec.name!r} does not fit `data` {spec.data!r}. "
            "Use each or kind for one library, library for several."
        )
    label = "kind" if spec.grouping == "kind" else "package"
    return _capped(docstring_pools(libraries[0], min_rows=FEWEST_ROWS_OF_A_CLASS, label=label)[0])


def _capped(rows: Dataset) -> Dataset:
    labels = np.asarray(rows["label"][:])
    generator = np.random.default_rng(len(labels))
    rows_by_class = [
        generator.permutation(np.flatnonzero(labels == label))[:MOST_ROWS_OF_A_CLASS] for label in np.unique(labels)
    ]
    return rows.select(np.sort(np.concatenate(rows_by_class)))


def _image(name: str, data: str, grouping: str, architecture: str, epochs: int, head: bool = True) -> TeacherSpec:
    return TeacherSpec(name, "image", data, grouping, architecture, epochs, head=head)


def _text(name: str, data: str, grouping: str, architecture: str, epochs: int, head: bool = True) -> TeacherSpec:
    return TeacherSpec(name, "text", data, grouping, architecture, epochs, head=head)


_IMAGE_DEMO = (
    _image("handwriting", "handwriting", "each", "resnet", 20),
    _image("handwriting-pairs", "handwriting", "pairs", "convnext", 20),
    _image("handwriting-5-to-9", "handwriting", "high half", "vit", 32),
    _image("handwriting-0-to-4", "handwriting", "low half", "convnextv2", 20),
    _image("handwriting-parity", "handwriting", "parity", "resnet-wide", 12),
    _image("font-digits", "digits", "each", "vit-wide", 26),
    _image("font-letters", "latin-lowercase", "each", "resnet-wide", 8),
    _image("cyrillic", "cyrillic", "each", "convnext-wide", 12),
    _image("arrows", "arrows", "each", "convnext", 16),
    _image("random-weights", "latin-lowercase", "each", "resnet", 0),
)

_IMAGE_MORE = (
    _image("capital-letters", "latin-capitals", "each", "convnextv2", 12),
    _image("greek", "greek", "each", "resnet", 12),
    _image("armenian", "armenian", "each", "resnet-wide", 6),
    _image("georgian", "georgian", "each", "resnet", 8),
    _image("mathematics", "mathematics", "each", "vit-wide", 20),
    _image("shapes", "shapes", "each", "convnext", 16),
    _image("photographs", "photos", "each", "convnextv2", 6),
    _image("letters-encoder", "latin-lowercase", "each", "resnet-wide", 7, head=False),
    _image("random-transformer", "digits", "each", "vit", 0),
)

_TEXT_DEMO = (
    _text("scipy", "scipy", "each", "bert", 10),
    _text("sklearn", "sklearn", "each", "distilbert", 10),
    _text("torch", "torch", "each", "roberta", 10),
    _text("scipy-kinds", "scipy", "kind", "electra", 10),
    _text("random-weights", "pandas", "each", "bert-wide", 0),
)

_TEXT_MORE = (
    _text("numpy", "numpy", "each", "bert", 10),
    _text("pandas", "pandas", "each", "roberta", 10),
    _text("sympy", "sympy", "each", "electra", 10),
    _text("networkx", "networkx", "each", "distilbert", 10),
    _text("transformers", "transformers", "each", "bert-wide", 10),
    _text("matplotlib", "matplotlib", "each", "electra", 10),
    _text("fonttools", "fontTools", "each", "bert", 10),
    _text("which-library", "scipy+sklearn+torch+pandas+numpy+sympy", "library", "distilbert", 10),
    _text("pandas-kinds", "pandas", "kind", "bert-wide", 10),
    _text("torch-encoder", "torch", "each", "bert", 10, head=False),
    _text("random-transformer", "sklearn", "each", "roberta", 0),
)


def demo_specs(modality: Modality) -> Sequence[TeacherSpec]:
    """The teachers that `hf-ctkd demo` trains: ten of images, five of text."""
    return _TEXT_DEMO if modality == "text" else _IMAGE_DEMO


def all_specs(modality: Modality) -> Sequence[TeacherSpec]:
    """Every teacher of the zoo, those of the demo first; the evidence suite uses them all."""
    return _TEXT_DEMO + _TEXT_MORE if modality == "text" else _IMAGE_DEMO + _IMAGE_MORE


def specs_named(names: Sequence[str], specs: Sequence[TeacherSpec]) -> list[TeacherSpec]:
    """The specifications with the given names, in their own order; all of them without names.

    Args:
        names: names of teachers; empty for all.
        specs: specifications to choose from.

    Raises:
        InvalidArgumentError: if no specification has a name.
    """
    choices = [spec.name for spec in specs]
    for name in names:
        if name not in choices:
            raise InvalidArgumentError(f"`teachers` must be of {', '.join(choices)}, got {name!r}.")
    return [spec for spec in specs if not names or spec.name in names]
