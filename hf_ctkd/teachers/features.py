"""Features (the input of a model's head) and chosen layers of any `transformers` model, whatever its family."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils import ModelOutput

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.teachers.layers import MOST_LAYERS, depths, pool_layers
from hf_ctkd.teachers.sentence_transformer import SentencePooling
from hf_ctkd.types import Hidden, ModelOutputs

_MOST_EXTRA_TOKENS = 8
"""A vision transformer puts a class token, a distillation token and registers before the grid of its patches."""


@dataclass
class _Call:
    """Input and output of one layer that may be the head, in one forward pass."""

    input: Tensor
    output: Tensor


class FeatureReader:
    """Runs a model and returns its logits together with its features, the input of its head.

    `Teacher` uses it; use it directly for a model that is loaded already. The head is identified on the first batch of
    training and of evaluation, since the comparison makes the host wait for an accelerator: it is the linear layer
    whose output equals the logits. That covers heads of one layer and of several (the last one counts), decoders that
    score every position and select one, models that average the scores of all positions, and distilled ones that
    average two heads, whose inputs are then read side by side. Where there is no such layer, the features are the
    pooled output: the pooler of an image model (if `trust_pooler`), what a repository of sentence-transformers asks
    for (`pooling`), or the mean over the positions of the last layer.

    Args:
        model: a `transformers` model for classification, semantic segmentation or depth estimation, or a headless
            encoder.
        trust_pooler: whether the pooler's weights came with the checkpoint.
        pooling: of a text encoder's last layer, as its repository asks for; None for the mean.

    Example:
        >>> from transformers import ResNetConfig, ResNetForImageClassification
        >>> config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
        >>> reader = FeatureReader(ResNetForImageClassification(config).eval())
        >>> outputs = reader.read({"pixel_values": torch.zeros(2, 3, 16, 16)})
        >>> outputs.logits.shape, outputs.features.shape
        (torch.Size([2, 3]), torch.Size([2, 16]))
    """

    def __init__(
        self, model: PreTrainedModel, *, trust_pooler: bool = True, pooling: SentencePooling | None = None
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.trust_pooler = trust_pooler and model.main_input_name == "pixel_values"
        self._head: nn.Module | None = None
        self._scorers: tuple[nn.Module, ...] = ()
        self._searched = False
        self._compared: set[bool] = set()
        """Modes of the model, training or not, in which the logits were compared with those of the head."""
        self._needs_states = False
        accepted = set(inspect.signature(model.forward).parameters)
        # Tokenizers are saved that give inputs which their model does not take, such as segment ids of DistilBERT.
        self._accepted = accepted if model.main_input_name in accepted else None

    @property
    def head(self) -> nn.Module | None:
        """The layer whose input is read, or the mean of several; None before the first batch, and without a head."""
        return self._head

    def classify(self, features: Tensor) -> Tensor:
        """Logits that the head gives for any features, of this model or of another.

        Args:
            features: `[rows, width]`, as wide as those that `read` returns.

        Raises:
            InvalidArgumentError: if the logits come from no single linear layer, or no batch was read yet.
        """
        if self._head is None:
            raise InvalidArgumentError(
                f"`model` {type(self.model).__name__} has no linear head, or was not run yet. Run it on a batch first."
            )
        return self._head(features.to(next(self._head.parameters()).dtype))

    def read(
        self,
        batch: Mapping[str, Tensor],
        hidden: Sequence[int] = (),
        *,
        layers: bool = False,
        max_layers: int = MOST_LAYERS,
        whole: bool = False,
    ) -> ModelOutputs:
        """Run the model on a preprocessed batch.

        Args:
            batch: the model's own inputs, without labels.
            hidden: indices into the model's `hidden_states` (negative ones count from the end).
            layers: also pool layers of all depths; see `pool_layers`.
            max_layers: largest number of these, evenly spaced up to the last; at least 1.
            whole: keep the class token and the registers of a vision transformer in its hidden layers, so that its next
                layer could continue from there; their grid is then `(positions,)`.

        Raises:
            InvalidArgumentError: if the model returns neither logits nor hidden states, or has no such layer.
        """
        inputs = self._inputs(batch)
        states = {"output_hidden_states": True} if hidden or layers or self._needs_states or not self._searched else {}
        calls: dict[nn.Module, _Call] = {}
        handles = [
            module.register_forward_hook(
                lambda module, inputs, output: calls.update({module: _Call(inputs[0], output)})
            )
            for module in self._watched()
        ]
        try:
            output = self.model(**inputs, **states, return_dict=True)
        finally:
            for handle in handles:
                handle.remove()
        logits = _logits(output)
        features = self._features(output, logits, calls, batch.get("attention_mask"))
        if self._head is None and "logits" not in output:
            logits = None
        pooled_states = depths(len(_states(output)), most=max_layers) if layers else ()
        return ModelOutputs(
            features,
            logits,
            _layers(output, hidden, batch, whole),
            pool_layers(_layers(output, pooled_states, batch)),
            _dense(output),
        )

    def count_states(self, batch: Mapping[str, Tensor]) -> int:
        """How many hidden states the model returns, the first of them before its first layer.

        Args:
            batch: the model's own inputs, without labels.
        """
        output = self.model(**self._inputs(batch), output_hidden_states=True, return_dict=True)
        return len(_states(output))

    def _inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in batch.items() if self._accepted is None or name in self._accepted}

    def _watched(self) -> Sequence[nn.Module]:
        if self._searched:
            return self._scorers
        classes = self.model.config.num_labels
        # Only layers as wide as the logits: to hold what enters all others would cost the memory of a training step.
        return [
            module
            for module in self.model.modules()
            if (isinstance(module, nn.Linear) and module.out_features == classes)
            or (isinstance(module, Conv1D) and module.nf == classes)
        ]

    def _features(
        self, output: ModelOutput, logits: Tensor | None, calls: dict[nn.Module, _Call], mask: Tensor | None
    ) -> Tensor:
        head_input = None if logits is None else self._head_input(calls, logits, mask)
        self._searched = True
        self._needs_states = self._head is None and output.get("last_hidden_state") is None
        return self._pooled(output, mask) if head_input is None else head_input

    def _head_input(self, calls: dict[nn.Module, _Call], logits: Tensor, mask: Tensor | None) -> Tensor | None:
        head_calls = [call for module, call in calls.items() if module in self._scorers]
        if self.model.training in self._compared and len(head_calls) == len(self._scorers) > 0:
            return _input_of_known_heads(head_calls, logits, mask)
        head_input = self._compared_input(calls, logits, mask)
        if head_input is not None:
            self._compared.add(self.model.training)
        return head_input

    def _compared_input(self, calls: dict[nn.Module, _Call], logits: Tensor, mask: Tensor | None) -> Tensor | None:
        head_input = None
        for module, call in calls.items():
            candidate_input = _input_of_head(call, logits, mask)
            if candidate_input is not None:
                head_input, self._head, self._scorers = candidate_input, module, (module,)
        if head_input is not None:
            return head_input
        scorers = {module: call for module, call in calls.items() if call.output.shape == logits.shape}
        if len(scorers) < 2 or not _close(torch.stack([call.output for call in scorers.values()]).mean(0), logits):
            return None
        inputs = [call.input for call in scorers.values()]
        self._scorers = tuple(scorers)
        widths = [part.shape[1] for part in inputs]
        self._head = self._head or _MeanOfHeads(self._scorers, widths, _is_shared(inputs))
        return _side_by_side(inputs)

    def _pooled(self, output: ModelOutput, mask: Tensor | None) -> Tensor:
        pooled = output.get("pooler_output")
        if pooled is not None and self.trust_pooler:
            return pooled.flatten(1)
        last = output.get("last_hidden_state")
        if last is None:
            states = _states(output)
            if not states:
                raise InvalidArgumentError(
                    f"`model` {type(self.model).__name__} returns no hidden state to read features from. "
                    "Use a model with a linear head, or load its encoder with AutoModel."
                )
            last = states[-1]
        if last.ndim == 2:
            return last
        if last.ndim == 4:
            return last.mean((2, 3))
        if self.pooling is not None:
            return self.pooling(last, mask if mask is not None and mask.shape == last.shape[:2] else None)
        return _mean(last, mask)


class _MeanOfHeads(nn.Module):
    """Heads whose logits a model averages, as distilled ones do: each reads a part of the features, or all of them."""

    def __init__(self, heads: Sequence[nn.Module], widths: Sequence[int], shared: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.widths = widths
        self.shared = shared

    def forward(self, features: Tensor) -> Tensor:
        parts = [features] * len(self.widths) if self.shared else features.split(list(self.widths), dim=1)
        return torch.stack([head(part) for head, part in zip(self.heads, parts, strict=True)]).mean(0)


def _close(scores: Tensor, logits: Tensor) -> bool:
    # Sums in another order than the model's differ by a few roundings.
    scores, logits = scores.detach(), logits.detach()
    rounding = 32 * torch.finfo(logits.dtype).eps
    return torch.allclose(scores, logits, rtol=rounding, atol=rounding * float(logits.abs().max()))


def _logits(output: ModelOutput) -> Tensor | None:
    # PP-LCNet's classifier calls its logits `last_hidden_state`; the search for its head tells whether they are.
    logits = output.get("logits", output.get("last_hidden_state"))
    return logits if isinstance(logits, Tensor) and logits.ndim == 2 else None


def _states(output: ModelOutput) -> tuple[Tensor, ...]:
    """All hidden states, those of an encoder before those of its decoder."""
    states = output.get("hidden_states")
    if states is not None:
        return tuple(states)
    return (*(output.get("encoder_hidden_states") or ()), *(output.get("decoder_hidden_states") or ()))


def _dense(output: ModelOutput) -> Tensor | None:
    depth, logits = output.get("predicted_depth"), output.get("logits")
    if isinstance(depth, Tensor):
        return depth
    return logits if isinstance(logits, Tensor) and logits.ndim == 4 else None


def _input_of_head(call: _Call, logits: Tensor, mask: Tensor | None) -> Tensor | None:
    """The input of a layer whose output is the logits: directly, at one position of a sequence, or as their mean."""
    inputs, scores = call.input, call.output
    if scores.shape[-1] != logits.shape[-1] or scores.shape[0] != logits.shape[0]:
        return None
    if scores.ndim == 2:
        return inputs if inputs.ndim == 2 and bool(_equal(scores, logits).all()) else None
    if scores.ndim != 3 or inputs.ndim != 3:
        return None
    same = _equal(scores, logits.unsqueeze(1)).all(-1)
    if not same.any(1).all():
        return _mean(inputs, mask) if _close(_mean(scores, mask), logits) else None
    # Positions of padding may have equal scores: any of them serves.
    position = same.int().argmax(1)
    return inputs[torch.arange(len(inputs), device=inputs.device), position]


def _input_of_known_heads(calls: Sequence[_Call], logits: Tensor, mask: Tensor | None) -> Tensor:
    """The input of a head, or of several, that gave the logits of an earlier batch: nothing the host has to wait for.

    Of a model that scores every position, the logits are those of one position or their mean, which is told apart on
    the device in every batch: in texts of a single token both are the same.
    """
    inputs, scores = calls[0].input, calls[0].output
    if len(calls) > 1 or scores.ndim == 2:
        return _side_by_side([call.input for call in calls])
    same = _equal(scores, logits.unsqueeze(1)).all(-1)
    at_position = inputs[torch.arange(len(inputs), device=inputs.device), same.int().argmax(1)]
    return torch.where(same.any(1).all(), at_position, _mean(inputs, mask))


def _side_by_side(inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0] if _is_shared(inputs) else torch.cat(list(inputs), dim=1)


def _is_shared(inputs: Sequence[Tensor]) -> bool:
    return all(part is inputs[0] for part in inputs)


def _equal(scores: Tensor, logits: Tensor) -> Tensor:
    """Where two tensors are equal, entries that are not numbers included: a model that diverged has its head still."""
    return (scores == logits) | (scores.isnan() & logits.isnan())


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the positions, without padding where the mask fits."""
    if mask is None or mask.shape != values.shape[:2]:
        return values.mean(1)
    weights = mask.unsqueeze(-1).to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1.0)


def _layers(
    output: ModelOutput, hidden: Sequence[int], batch: Mapping[str, Tensor], whole: bool = False
) -> tuple[Hidden, ...]:
    if not hidden:
        return ()
    states = _states(output)
    if not all(-len(states) <= index < len(states) for index in hidden):
        raise InvalidArgumentError(
            f"`hidden` asks for layers {list(hidden)}, but the model returns {len(states)} hidden states. "
            "Ask for others."
        )
    return tuple(_as_hidden(states[index], batch, whole) for index in hidden)


def _as_hidden(state: Tensor, batch: Mapping[str, Tensor], whole: bool) -> Hidden:
    if state.ndim == 4:
        return Hidden(state.flatten(2).transpose(1, 2), (state.shape[2], state.shape[3]))
    positions = state.shape[1]
    if "pixel_values" not in batch:
        mask = batch.get("attention_mask")
        fits = mask is not None and mask.shape == state.shape[:2]
        return Hidden(state, (positions,), mask.bool() if mask is not None and fits else None)
    if whole:
        return Hidden(state, (positions,))
    height, width = batch["pixel_values"].shape[-2:]
    for extra in range(min(_MOST_EXTRA_TOKENS + 1, positions)):
        rows = math.isqrt((positions - extra) * height // width)
        if rows and (positions - extra) % rows == 0 and rows * width == (positions - extra) // rows * height:
            return Hidden(state[:, extra:], (rows, (positions - extra) // rows))
    return Hidden(state, (positions,))
