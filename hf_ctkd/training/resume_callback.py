"""Which steps the last call of `train` took: a run that goes on from a checkpoint does not begin at the first one."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ResumeCallback(TrainerCallback):
    """Remembers after which step the last call of `train` began; 0 if it did not go on from a checkpoint."""

    def __init__(self) -> None:
        self.first_step = 0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401 (as in the parent)
    ) -> None:
        """Training begins, with the state of the checkpoint if there is one."""
        self.first_step = state.global_step
