"""What the commands that train have in common: the trainer's configuration from its flags, and where to resume."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from transformers.utils.logging import get_logger

from hf_ctkd.cli.trainer_parts import REFUSALS, check_parts
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.training import DistillationConfig
from hf_ctkd.training.files import checkpoint_problem, newest_checkpoint, resumed_from, set_checkpoints_aside

logger = get_logger(__name__)

Config = TypeVar("Config", bound=DistillationConfig)


def training_config(
    kind: type[Config],
    values: Mapping[str, Any],
    *,
    dataset: str,
    quiet: bool = False,
    **changed: Any,  # noqa: ANN401 (any field)
) -> Config:
    """The configuration that the flags describe.

    Args:
        kind: the configuration.
        values: of its fields, `ParsedCommand.training`.
        dataset: what the card calls the data set if no flag says so.
        quiet: show no progress bar.
        changed: fields that are to differ.

    Raises:
        InvalidArgumentError: if a flag has a value that cannot be used, or flags contradict each other.
    """
    fields = {**values, "dataset_name": values["dataset_name"] or dataset, **changed}
    fields |= {"disable_tqdm": True} if quiet else {}
    try:
        config = kind(**fields)
    except InvalidArgumentError:
        raise
    except REFUSALS as error:
        raise InvalidArgumentError(_refusal(kind, fields, error)) from error
    check_parts(config)
    if config.report_to and config.run_name is None:
        # Without a name, Trackio puts the evaluation after a training into a run of its own.
        config.run_name = f"{Path(str(config.output_dir)).name}-{datetime.now():%Y%m%d-%H%M%S}"
    return config


def _refusal(kind: type[Config], values: Mapping[str, Any], error: Exception) -> str:
    """The message of a refused configuration: `TrainingArguments` does not always say which argument is at fault."""
    reason = " ".join(str(error).split()).rstrip(".")
    default = {field.name: _default(field) for field in dataclasses.fields(kind) if field.init}
    for name, value in values.items():
        if value == default[name] or name in ("output_dir", "use_cpu"):
            continue
        try:
            kind(**{"output_dir": values["output_dir"], "use_cpu": values["use_cpu"], name: value})
        except REFUSALS:
            return f"`--{name}` {value!r} cannot be used: {reason}. `--help-all` describes the flag."
    return f"The flags do not go together: {reason}. `--help-all` describes them."


def _default(field: dataclasses.Field) -> Any:  # noqa: ANN401 (of any type)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def checkpoint_of(config: DistillationConfig) -> str | None:
    """The checkpoint to resume from: the folder that is named, or the last complete one of the output for `true`.

    Raises:
        InvalidArgumentError: if there is none.
    """
    checkpoint = config.resume_from_checkpoint
    if checkpoint is None or checkpoint.lower() in {"false", "no"}:
        return None
    if checkpoint.lower() not in {"true", "yes"}:
        if not Path(checkpoint).is_dir():
            raise InvalidArgumentError(
                f"`--resume_from_checkpoint` {checkpoint} is no folder. Name a checkpoint, or `true`."
            )
        problem = checkpoint_problem(Path(checkpoint))
        if problem is not None:
            raise InvalidArgumentError(
                f"`--resume_from_checkpoint` {checkpoint} is no complete checkpoint: {problem}. Name another one, or "
                "`true` for the last complete one."
            )
        return checkpoint
    return resumed_from(True, str(config.output_dir))


def what_is_kept(folder: Path) -> str | None:
    """How to go on after an interruption, None if there is no checkpoint to go on from."""
    last = newest_checkpoint(folder)
    if last is None:
        return None
    return f"{last} is kept; run the same command with `--resume_from_checkpoint true` to go on from there."


def start_anew(config: DistillationConfig) -> None:
    """Set the checkpoints of an earlier run in the output folder aside, and say so."""
    renamed = set_checkpoints_aside(str(config.output_dir)) if config.should_save else []
    if renamed:
        logger.warning(
            f"Checkpoints of an earlier run in {config.output_dir} are set aside as "
            f"{', '.join(path.name for path in renamed)}."
        )
