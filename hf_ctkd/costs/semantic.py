"""The cost between names of classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from hf_ctkd.costs.base import SELECTIVE_CROSS_TASK_DISTILLATION, LabelCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.index.encoders import SentenceEncoder
from hf_ctkd.index.names import plain_name
from hf_ctkd.types import LabelSpace, ModelOutputs, Needs

NameEmbedding = Callable[[Sequence[str]], Tensor]
"""Names to vectors `[names, width]`."""


@dataclass(frozen=True)
class SemanticCost(LabelCost):
    """One minus the cosine of embedded class names; names that point apart cost 1.

    Use it to shortlist teachers before any of them runs: it reads neither data nor outputs. Do not trust it alone:
    names lie, and the offline default compares spelling, not meaning. Name a sentence encoder in `model` for that.

    Args:
        embed: names of both label spaces together -> one vector each; spelling (character n-grams) by default.
        model: a sentence encoder on the Hub, or a folder, instead of `embed`; safetensors only, mean over its tokens.

    Raises:
        InvalidArgumentError: if both `embed` and `model` are given.

    Reference:
        Reconstructed from Lu, Ye and Zhan, "Selective cross-task distillation", arXiv:2204.11526; mean pooling after
        Reimers and Gurevych, arXiv:1908.10084.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import LabelSpace, ModelOutputs
        >>> nothing = ModelOutputs(features=torch.zeros(0, 1)), torch.zeros(0, dtype=torch.long)
        >>> pets, animals = LabelSpace(("tabby cat", "dog")), LabelSpace(("dogs", "cat"))
        >>> SemanticCost().matrix(*nothing, target=animals, teacher=pets).argmin(dim=1)
        tensor([1, 0])
    """

    embed: NameEmbedding | None = None
    model: str | None = None

    name: ClassVar[str] = "semantic"
    citation: ClassVar[str] = SELECTIVE_CROSS_TASK_DISTILLATION
    needs: ClassVar[Needs] = Needs.LABEL_NAMES

    def __post_init__(self) -> None:
        if self.embed is not None and self.model is not None:
            raise InvalidArgumentError("`embed` and `model` exclude each other, got both. Give one of them.")

    def matrix(
        self,
        outputs: ModelOutputs,
        labels: Int[Tensor, " rows"],
        *,
        target: LabelSpace,
        teacher: LabelSpace | None = None,
    ) -> Float[Tensor, "teacher_classes target_classes"]:
        """See `LabelCost.matrix`; raises InvalidArgumentError for names that are missing or say nothing."""
        if teacher is None:
            raise InvalidArgumentError("`teacher` must hold the teacher's label names, got None. Use another cost.")
        for whose, space in (("teacher", teacher), ("target", target)):
            if not space.informative:
                raise InvalidArgumentError(
                    f"`{whose}` has label names that say nothing, such as {space.names[0]!r}. Name the classes, or use "
                    "`EmpiricalCost`."
                )
        names = [plain_name(name) for name in (*teacher.names, *target.names)]
        vectors = self._embedding()(names).double()
        if vectors.shape[0] != len(names) or not bool(torch.isfinite(vectors).all()):
            raise InvalidArgumentError(
                f"`embed` must give one finite vector a name, got shape {tuple(vectors.shape)} for {len(names)} names."
            )
        unit = torch.nn.functional.normalize(vectors, dim=1)
        return (1 - unit[: len(teacher)] @ unit[len(teacher) :].T).clamp(0, 1).float()

    def _embedding(self) -> NameEmbedding:
        if self.model is not None:
            encoder = SentenceEncoder(self.model)
            return lambda names: torch.from_numpy(encoder(list(names)))
        return self.embed or embed_spelling


def embed_spelling(names: Sequence[str]) -> Float[Tensor, "names width"]:
    """Names as weighted counts of their character n-grams, rare ones weighing more.

    Args:
        names: of both label spaces, so that they share one vocabulary.
    """
    # `HashingVectorizer` needs no vocabulary, but has no weights for rare n-grams ("racing car" and "cat" come to a
    # cosine of 0.19 instead of 0.13), and its 2**20 columns would be 8 MiB a name in the dense form read here.
    vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    return torch.from_numpy(vectoriser.fit_transform(names).toarray())
