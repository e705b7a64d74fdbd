"""What the commands that train have in common: the trainer's configuration from its flags, and where to resume."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from transformers.trainer_utils import get_last_checkpoint

from hf_ctkd.cli.arguments import LoadingArguments
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.training import DistillationConfig

Config = TypeVar("Config", bound=DistillationConfig)


def training_config(kind: type[Config], values: Mapping[str, Any], *, dataset: str, **changed: Any) -> Config:  # noqa: ANN401 (any field)
    """The configuration that the flags describe.

    Args:
        kind: the configuration.
        values: of its fields, `ParsedCommand.training`.
        dataset: what the card calls the data set if no flag says so.
        changed: fields that are to differ.

    Raises:
        InvalidArgumentError: if flags contradict each other.
    """
    fields = {**values, "dataset_name": values["dataset_name"] or dataset, **changed}
    try:
        return kind(**fields)
    except (ValueError, ImportError) as error:  # how TrainingArguments refuses flags that contradict each other
        raise InvalidArgumentError(" ".join(str(error).split())) from error


def checkpoint_of(config: DistillationConfig) -> str | None:
    """The checkpoint to resume from: the folder that is named, or the last one of the output folder for `true`.

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
        return checkpoint
    last = get_last_checkpoint(str(config.output_dir))
    if last is None:
        raise InvalidArgumentError(
            f"`--resume_from_checkpoint` finds no checkpoint in {config.output_dir}. Leave it out to start anew."
        )
    return last


def load_options(arguments: LoadingArguments, config: DistillationConfig) -> LoadOptions:
    """How models are fetched and loaded.

    Args:
        arguments: what may be loaded.
        config: has the seed and the token of the Hub.
    """
    return LoadOptions(
        allow_pickle=arguments.allow_pickle,
        trust_remote_code=arguments.trust_remote_code,
        max_bytes=None if arguments.max_bytes is None else int(arguments.max_bytes),
        seed=config.seed,
        token=config.hub_token,
    )
