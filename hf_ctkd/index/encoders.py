"""Names of classes to vectors: by spelling, without any download, or by a sentence encoder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from safetensors import SafetensorError
from sklearn.feature_extraction.text import HashingVectorizer

from hf_ctkd.errors import InvalidArgumentError, MissingExtraError

if TYPE_CHECKING:
    from wordllama import WordLlama

_SPELLING_WIDTH, _WORD_WIDTH = 256, 128
_SPELLING_SHARE = 0.6
"""Of the cosine, the share of n-grams of characters; words have the rest."""
_STOP_WORDS = ["a", "an", "and", "for", "in", "of", "on", "or", "other", "the", "to", "with"]
_BATCH = 256
_UNRELATED = (
    "airplane,anger,banana,bridge,carpenter,contract,diabetes,earthquake,elbow,furniture,galaxy,giraffe,hammer,"
    "holiday,keyboard,lawsuit,lemon,magazine,mushroom,neutral,ocean,painter,pharmacy,piano,politics,refund,rocket,"
    "sandstone,shirt,spam,sunflower,tax return,teapot,tennis,tractor,trousers,turtle,volcano,weather,wedding"
)
"""Names of things that have little to do with each other: how similar an encoder finds these is its zero."""


@runtime_checkable
class NameEncoder(Protocol):
    """What turns names of classes into vectors; any object with these two will do.

    Attributes:
        name: what tells its vectors from those of another encoder; they are cached under it.
    """

    @property
    def name(self) -> str:
        """What tells its vectors from those of another encoder."""

    def __call__(self, names: list[str]) -> Float[ndarray, "names width"]:
        """One vector a name; only their directions are read."""


@dataclass(frozen=True)
class SpellingEncoder:
    """Hashed n-grams of characters and whole words; needs no download and knows no meaning.

    Use it where names are alike in spelling: inflections ("cat", "cats") and shared words ("tabby cat") count. For
    "kitten" and "cat" use `WordLlamaEncoder` or `SentenceEncoder`.

    Example:
        >>> vectors = SpellingEncoder()(["tabby cat", "cats", "truck"])
        >>> similarity = vectors @ vectors.T
        >>> bool(similarity[0, 1] > similarity[0, 2] + 0.2)
        True
    """

    @property
    def name(self) -> str:
        """See `NameEncoder`."""
        return f"spelling-{_SPELLING_WIDTH}-{_WORD_WIDTH}"

    def __call__(self, names: list[str]) -> Float[ndarray, "names width"]:
        """See `NameEncoder`."""
        # Signed hashes into few columns are a random projection; unlike TruncatedSVD it needs no fit, so that the
        # vectors of an index stay valid as names are added to it.
        ngrams = HashingVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), n_features=_SPELLING_WIDTH, dtype=np.float32
        ).transform(names)
        words = HashingVectorizer(
            token_pattern=r"(?u)\b\w+\b", stop_words=_STOP_WORDS, n_features=_WORD_WIDTH, dtype=np.float32
        ).transform(names)
        shares = (_SPELLING_SHARE**0.5, (1 - _SPELLING_SHARE) ** 0.5)
        return np.hstack([share * part.toarray() for share, part in zip(shares, (ngrams, words), strict=True)])


@dataclass(frozen=True)
class SentenceEncoder:
    """The mean over the tokens of a sentence encoder's last layer.

    Use it where meaning counts and the model may be downloaded. A million names take an hour on a few cores. An index
    in a folder computes the vectors of its names at its first search and keeps them there, under the id of the model:
    delete its `vectors` if the model has changed.

    Args:
        model: id on the Hub, or a folder; safetensors only, and no code of its own is run.

    Raises:
        InvalidArgumentError: on first use, if it cannot be loaded.

    Reference:
        Mean pooling after Reimers and Gurevych, "Sentence-BERT", arXiv:1908.10084.

    Example:
        >>> index = TeacherIndex.load("teachers", encoder=SentenceEncoder("intfloat/e5-small-v2"))  # doctest: +SKIP
    """

    model: str

    @property
    def name(self) -> str:
        """See `NameEncoder`."""
        return f"sentence-{self.model}"

    def __call__(self, names: list[str]) -> Float[ndarray, "names width"]:
        """See `NameEncoder`."""
        tokenizer, model = self._loaded
        batches = (names[start : start + _BATCH] for start in range(0, len(names), _BATCH))
        return np.concatenate([_mean_states(tokenizer, model, batch) for batch in batches])

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.model)
            return tokenizer, AutoModel.from_pretrained(self.model, use_safetensors=True).eval()
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise InvalidArgumentError(
                f"`encoder` must be spelling, wordllama, or the id or folder of a sentence encoder, got "
                f"{self.model!r}: {reason}. Choose another."
            ) from error


@dataclass(frozen=True)
class WordLlamaEncoder:
    """Static word vectors of the package `wordllama`, which carries them along: meaning without a download.

    Use it where meaning counts and nothing may be downloaded, or where a sentence encoder is too slow.

    Raises:
        MissingExtraError: on first use, if the package is not installed.

    Reference:
        Miller, "WordLlama: recycled token embeddings from large language models", 2024,
        https://github.com/dleemiller/wordllama.

    Example:
        >>> TeacherIndex.load("teachers", encoder=WordLlamaEncoder()).search(["kitten"])  # doctest: +SKIP
    """

    @property
    def name(self) -> str:
        """See `NameEncoder`."""
        return "wordllama"

    def __call__(self, names: list[str]) -> Float[ndarray, "names width"]:
        """See `NameEncoder`."""
        return np.asarray(self._loaded.embed(names), dtype=np.float32)

    @cached_property
    def _loaded(self) -> "WordLlama":
        try:
            import wordllama
        except ImportError as error:
            raise MissingExtraError(
                '`encoder` wordllama needs a package that is not installed. Run `pip install "hf_ctkd[wordllama]"`.'
            ) from error
        # wordllama 0.4.0 overlooks the tokenizer that it ships, except where its own folder is its cache.
        return wordllama.WordLlama.load(disable_download=True, cache_dir=Path(wordllama.__file__).parent)


def encoder_named(name: str) -> NameEncoder:
    """The encoder that a word stands for.

    Args:
        name: `"spelling"`, `"wordllama"`, or the id or folder of a sentence encoder.

    Example:
        >>> encoder_named("spelling")
        SpellingEncoder()
    """
    plain: dict[str, NameEncoder] = {"spelling": SpellingEncoder(), "wordllama": WordLlamaEncoder()}
    return plain[name] if name in plain else SentenceEncoder(name)


def unit_vectors(encoder: NameEncoder, names: list[str]) -> Float[ndarray, "names width"]:
    """Vectors of length one; of length zero where a name has nothing that the encoder knows.

    Args:
        encoder: any.
        names: at least one.

    Raises:
        InvalidArgumentError: if the encoder does not give one finite vector a name.
    """
    vectors = np.asarray(encoder(names), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(names) or not np.isfinite(vectors).all():
        raise InvalidArgumentError(
            f"`encoder` must give one finite vector a name, got shape {vectors.shape} for {len(names)} names. Use "
            "another encoder."
        )
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


def unrelated_similarity(encoder: NameEncoder) -> float:
    """The cosine that an encoder gives to names that have nothing in common; that of most is lower.

    Encoders differ widely in this, from 0.1 by spelling to 0.8 by some sentence encoders.

    Args:
        encoder: any.
    """
    vectors = unit_vectors(encoder, _UNRELATED.split(","))
    similarity = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return float(np.clip(np.quantile(similarity, 0.99), 0.0, 0.99))


def _mean_states(tokenizer: Any, model: Any, names: list[str]) -> Float[ndarray, "names width"]:  # noqa: ANN401
    import torch

    batch = tokenizer(names, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None].to(states)
    return ((states * mask).sum(dim=1) / mask.sum(dim=1)).float().numpy()
