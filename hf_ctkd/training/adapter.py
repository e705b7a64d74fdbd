"""Students of which an adapter alone is trained, such as LoRA by peft, on weights that stay as they are."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import is_peft_available

from hf_ctkd.errors import InvalidArgumentError

if is_peft_available():  # `Trainer` imports it too, so that this costs nothing
    from peft import PeftModel, load_peft_weights, set_peft_model_state_dict

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_CARD = "README.md"
_NAME = "default"
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True, eq=False)
class StudentAdapter:
    """The adapter of a student: how it is saved, restored and merged.

    Everything else works on `student`, the transformers model that holds the adapter's layers.

    Args:
        peft_model: a `peft.PeftModel` with one adapter in the layers of a transformers model.
    """

    peft_model: Any

    @classmethod
    def of(cls, model: object) -> "StudentAdapter | None":
        """The adapter of a model as given to the trainer; None for a model without one.

        Raises:
            InvalidArgumentError: if the adapter is not in the layers of a transformers model, or is not the only one.
        """
        if not is_peft_available() or not isinstance(model, PeftModel):
            return None
        if model.active_peft_config.is_prompt_learning:
            kind = model.active_peft_config.peft_type.value
            raise InvalidArgumentError(
                f"`model` has an adapter of the kind {kind}, which changes the input and not the layers. Use LoRA or "
                "another adapter of layers."
            )
        if list(model.peft_config) != [_NAME]:
            raise InvalidArgumentError(
                f"`model` must have one adapter, called {_NAME!r}, got {list(model.peft_config)}. Make it with "
                "`get_peft_model`, without a name."
            )
        return cls(model)

    @property
    def student(self) -> PreTrainedModel:
        """The transformers model, with the layers of the adapter in it."""
        return self.peft_model.get_base_model()

    @property
    def kind(self) -> str:
        """Such as "LORA"."""
        return self.peft_model.active_peft_config.peft_type.value

    def save(self, folder: Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Write the adapter, and the configuration of the student with the names of its classes.

        Args:
            folder: receives the files.
            state_dict: of `student`, where its weights are gathered from several processes; its own when None.
        """
        # peft takes the names that its own model has.
        state = (
            None if state_dict is None else {f"base_model.model.{name}": value for name, value in state_dict.items()}
        )
        self.peft_model.save_pretrained(str(folder), state_dict=state, save_embedding_layers=False)
        (folder / _CARD).unlink(missing_ok=True)  # peft's draft would replace the student's card
        self.student.config.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Read the weights that `save` wrote.

        Args:
            folder: of a checkpoint.

        Raises:
            InvalidArgumentError: if there is no adapter.
        """
        if not (folder / ADAPTER_WEIGHTS).is_file():
            raise InvalidArgumentError(
                f"`resume_from_checkpoint` {folder} holds no adapter, but `model` has one. Name a checkpoint of this "
                "student, or train anew."
            )
        set_peft_model_state_dict(self.peft_model, load_peft_weights(str(folder), device="cpu"))

    def merged(self) -> PreTrainedModel:
        """A copy of the student with the adapter in its weights, which opens without peft."""
        return copy.deepcopy(self.peft_model).merge_and_unload()

    def freeze_statistics(self) -> None:
        """Keep frozen batch norms in evaluation mode: their running means would change, and no adapter saves them."""
        for module in self.student.modules():
            if isinstance(module, _NORMS) and not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()


def student_of(model: nn.Module) -> PreTrainedModel:
    """The transformers model of a student as given to the trainer: itself, or the one that holds its adapter.

    Args:
        model: checked by `check_model`.
    """
    adapter = StudentAdapter.of(model)
    return cast(PreTrainedModel, model) if adapter is None else adapter.student
