"""How a repository of sentence-transformers pools tokens: what its `modules.json` and the files beside it ask for."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers.utils.logging import get_logger

from hf_ctkd.data.rows import RowInput
from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.hub.limits import read_object, read_text

logger = get_logger(__name__)

MODULES = "modules.json"
_SETTINGS = "config_sentence_transformers.json"
_TRANSFORMER_SETTINGS = "sentence_bert_config.json"
_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Before version 6 each mode was a switch; several of them give their vectors side by side, in this order."""


@dataclass(frozen=True)
class SentencePooling:
    """From the tokens of a text to its embedding, as sentence-transformers computes it.

    Args:
        modes: names of that library, whose vectors are put side by side.
        normalize: scale the result to length 1.

    Reference:
        Reimers and Gurevych, "Sentence-BERT", EMNLP 2019, arXiv:1908.10084.

    Example:
        >>> states, mask = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])
        >>> SentencePooling(("mean",))(states, mask), SentencePooling(("cls",))(states, mask)
        (tensor([[2.]]), tensor([[1.]]))
    """

    modes: tuple[str, ...]
    normalize: bool = False

    def __call__(
        self, states: Float[Tensor, "batch positions width"], mask: Int[Tensor, "batch positions"] | None
    ) -> Float[Tensor, "batch features"]:
        """One vector a text.

        Args:
            states: of the last layer.
            mask: 0 at padding; None if every position counts.
        """
        mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device) if mask is None else mask.long()
        pooled = torch.cat([_POOLINGS[mode](states, mask) for mode in self.modes], dim=1)
        return F.normalize(pooled, dim=1) if self.normalize else pooled


@dataclass(frozen=True)
class SentenceModules:
    """What a repository of sentence-transformers adds to its model.

    Args:
        pooling: of the last layer.
        max_length: longest text in tokens; None for the tokenizer's limit.
        prompt: what is put before every text, the default one of its prompts; "" for none.
        lower_case: whether texts are read in lower case.
    """

    pooling: SentencePooling
    max_length: int | None = None
    prompt: str = ""
    lower_case: bool = False

    @classmethod
    def of(cls, folder: Path) -> "SentenceModules | None":
        """Those of a folder; None without `modules.json`, or where its first modules are no transformer and pooling.

        Modules after the pooling other than a normalisation, such as a dense layer, are left out, which a line of the
        log says.

        Raises:
            TeacherUnavailableError: if a file is malformed.
        """
        if not (folder / MODULES).is_file():
            return None
        modules = _modules(folder)
        kinds = [kind for kind, _ in modules]
        if kinds[:2] != ["transformer", "pooling"]:
            logger.warning(f"{MODULES} names {', '.join(kinds)}: features are pooled as those of any encoder.")
            return None
        path = f"{modules[1][1]}/config.json"
        if not (folder / path).is_file():
            logger.warning(f"{MODULES} names {path}, which is missing: features are the mean over the tokens.")
            return None
        rest = kinds[2:]
        if set(rest) - {"normalize"}:
            logger.warning(f"Modules after the pooling are left out: {', '.join(rest)}.")
        settings = _optional(folder, _SETTINGS)
        pooling = read_object(folder, path)
        prompt = _prompt(settings)
        if prompt and not pooling.get("include_prompt", True):
            logger.warning(f"The tokens of the prompt {prompt!r} are pooled too, unlike in sentence-transformers.")
        transformer = _optional(folder, _TRANSFORMER_SETTINGS)
        length = transformer.get("max_seq_length")
        return cls(
            SentencePooling(_modes(pooling, path), normalize=rest == ["normalize"]),
            max_length=length if isinstance(length, int) and length > 0 else None,
            prompt=prompt,
            lower_case=transformer.get("do_lower_case") is True,
        )

    def prepare(self, content: RowInput) -> RowInput:
        """A text, or the first one of a pair, after the prompt; an image as it is.

        Args:
            content: of a row.
        """
        if isinstance(content, tuple):
            first, second = content
            return self._text(self.prompt + first), self._text(second)
        return self._text(self.prompt + content) if isinstance(content, str) else content

    def _text(self, text: str) -> str:
        return text.lower() if self.lower_case else text


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Kind and sub-folder of every module, in order."""
    try:
        entries = json.loads(read_text(folder, MODULES))
        # "sentence_transformers.models.Pooling", or since version 6 "....modules.pooling.Pooling"
        return [(str(entry["type"]).rpartition(".")[2].lower(), str(entry["path"])) for entry in entries]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TeacherUnavailableError(
            f"its file {MODULES} must hold a list of modules, each with a type and a path. Save the model again.",
            ProblemCode.BROKEN,
        ) from error


def _optional(folder: Path, name: str) -> Mapping[str, Any]:
    return read_object(folder, name) if (folder / name).is_file() else {}


def _modes(pooling: Mapping[str, Any], path: str) -> tuple[str, ...]:
    named = pooling.get("pooling_mode")
    if named is None:
        named = [mode for key, mode in _LEGACY_MODES.items() if pooling.get(key)] or "mean"
    modes = (named,) if isinstance(named, str) else tuple(named)
    unknown = [mode for mode in modes if mode not in _POOLINGS]
    if unknown:
        raise TeacherUnavailableError(
            f"its file {path} asks for the pooling {unknown[0]!r}; {', '.join(_POOLINGS)} are possible.",
            ProblemCode.INCOMPATIBLE,
        )
    return modes


def _prompt(settings: Mapping[str, Any]) -> str:
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    return str(prompts.get(name, "")) if isinstance(prompts, dict) and name is not None else ""


def _cls(states: Tensor, mask: Tensor) -> Tensor:
    return states[torch.arange(len(states), device=states.device), mask.argmax(dim=1)]


def _last(states: Tensor, mask: Tensor) -> Tensor:
    last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), last]


def _max(states: Tensor, mask: Tensor) -> Tensor:
    return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def _weighted(states: Tensor, weights: Tensor) -> Tensor:
    weights = weights.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp_min(1e-9)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return _weighted(states, mask)


def _mean_by_root(states: Tensor, mask: Tensor) -> Tensor:
    return _mean(states, mask) * mask.sum(1, keepdim=True).to(states.dtype).sqrt()


def _mean_by_position(states: Tensor, mask: Tensor) -> Tensor:
    """Weights 1, 2, 3, ... from the first token that is no padding."""
    return _weighted(states, mask * mask.cumsum(dim=1))


_POOLINGS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _mean_by_position,
    "lasttoken": _last,
}
