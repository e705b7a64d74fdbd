"""Finding the columns of inputs and labels of a data set."""

from collections.abc import Sequence

from datasets import ClassLabel, Features, Image, Value

from hf_ctkd.data.notices import warn_once
from hf_ctkd.errors import DatasetError

InputColumn = str | Sequence[str]
"""A column of images or texts, or two columns of texts that are read as a pair."""

_TEXT_NAMES = ("text", "sentence", "content", "review", "document", "utterance", "question")
_PAIR_NAMES = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("text", "text_pair"),
    ("question", "sentence"),
    ("question", "answer"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "text"),
    ("claim", "evidence"),
)
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "class", "category", "intent")
_MOST_COLUMNS = 2


def find_inputs(features: Features, named: InputColumn | None, label_column: str | None = None) -> tuple[str, ...]:
    """The column of images or texts, or the two columns of a text pair: those named, or those of a usual name.

    Args:
        features: of all columns.
        named: one column, or two columns of texts in the order in which models read them; None to find them.
        label_column: column of labels, which is no input even where it holds names; None without any.

    Raises:
        DatasetError: if there is no candidate, or more than one.
    """
    if named is not None:
        return _named_inputs(features, (named,) if isinstance(named, str) else tuple(named))
    others = {name: feature for name, feature in features.items() if name != label_column}
    images = [name for name, feature in others.items() if isinstance(feature, Image)]
    texts = [name for name, feature in others.items() if is_text(feature)]
    candidates = [(name,) for name in images] if images else _text_candidates(texts)
    if len(candidates) != 1:
        listed = f": {' or '.join(map(and_, candidates))}" if candidates else ""
        raise DatasetError(
            f"Found {len(candidates)} columns or pairs that may hold the input among {sorted(features)}{listed}. "
            "Name it with `input_column`; two columns of texts are read as a pair."
        )
    left_out = [name for name in texts if name not in candidates[0]]
    if left_out:
        warn_once(
            f"Models read {and_(candidates[0])} of each row, but not {and_(left_out)}; `input_column` names other "
            "columns."
        )
    return candidates[0]


def _text_candidates(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Usual pairs and single columns, those that are no part of a pair; or any column of texts without these."""
    pairs: list[tuple[str, ...]] = [pair for pair in _PAIR_NAMES if set(pair) <= set(texts)]
    in_pairs = {name for pair in pairs for name in pair}
    usual: list[tuple[str, ...]] = [(name,) for name in _TEXT_NAMES if name in texts and name not in in_pairs]
    if pairs:
        return pairs + usual
    return usual[:1] or [(name,) for name in texts]


def _named_inputs(features: Features, names: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(names) <= _MOST_COLUMNS or len(set(names)) != len(names):
        raise DatasetError(
            f"`input_column` must name one column, or two different columns of texts that are read as a pair, got "
            f"{list(names)}."
        )
    for name in names:
        require_column(features, "input_column", name)
        feature = features[name]
        if not (is_text(feature) or (isinstance(feature, Image) and len(names) == 1)):
            kind = "images or texts" if len(names) == 1 else "texts, as both columns of a pair do"
            advice = " An image and a text are no pair: name one of them." if isinstance(feature, Image) else ""
            raise DatasetError(f"`input_column` {name!r} must hold {kind}, got {feature}.{advice}")
    return names


def and_(names: Sequence[str]) -> str:
    """Names of columns in a sentence: `question` and `sentence`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def find_label(features: Features, named: str | None) -> str:
    """The column of classes: the named one, or the one with their type or a usual name.

    Raises:
        DatasetError: if there is none.
    """
    if named is not None:
        require_column(features, "label_column", named)
        return named
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    usual = [name for name in _LABEL_NAMES if name in (classes or features)]
    candidates = classes if len(classes) == 1 else usual[:1]
    if not candidates:
        images = any(isinstance(feature, Image) for feature in features.values())
        raise DatasetError(
            f"Found no label column among {sorted(features)}. "
            "Name it with `label_column`; it must hold classes, as whole numbers or as names."
            + (" Pictures in a folder get it from sub-folders named by class, or from metadata.csv." if images else "")
        )
    return candidates[0]


def require_column(features: Features, argument: str, name: str) -> None:
    """Refuse a name that is not a column.

    Raises:
        DatasetError: if there is no such column; the message lists the columns.
    """
    if name not in features:
        raise DatasetError(f"`{argument}` {name!r} is not a column; the data set has {sorted(features)}.")


def is_text(feature: object) -> bool:
    """Whether a column holds texts."""
    return isinstance(feature, Value) and feature.dtype in {"string", "large_string"}
