"""The step at which a run began: a run that resumes from a checkpoint does not begin at step 0."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ResumeCallback(TrainerCallback):
    """Remembers the step at which the last call of `train` began; 0 if it did not resume from a checkpoint.

    A callback because `Trainer` restores its state inside `train`, after the last method that a subclass overrides.
    """

    def __init__(self) -> None:
        self.first_step = 0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401 (as in the parent)
    ) -> None:
        """Read the step, once the state of a checkpoint is restored."""
        self.first_step = state.global_step
