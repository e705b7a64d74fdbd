"""What the commands that train have in common: fields of their configuration as flags, and where to go on from."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from transformers import HfArgumentParser
from transformers.trainer_utils import get_last_checkpoint

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.training import DistillationConfig

Config = TypeVar("Config", bound=DistillationConfig)


def add_training_flags(parser: argparse.ArgumentParser, kind: type[DistillationConfig], *, output_dir: str) -> None:
    """Add a flag for every field of a configuration.

    Args:
        parser: of a command.
        kind: the configuration.
        output_dir: default of that flag.
    """
    # What `parents=` of argparse does, for a parser that is there already. HfArgumentParser takes dataclasses, but is
    # annotated with a NewType that no class satisfies.
    parser._add_container_actions(HfArgumentParser([kind], add_help=False))  # type: ignore[list-item]
    parser.set_defaults(output_dir=output_dir, seed=0)


def training_config(kind: type[Config], arguments: argparse.Namespace, **changed: Any) -> Config:  # noqa: ANN401 (any field)
    """The configuration that the flags describe.

    Args:
        kind: the configuration.
        arguments: parsed flags, with those of `add_dataset_flags`.
        changed: fields that are to differ.

    Raises:
        InvalidArgumentError: if flags do not go together.
    """
    own = {field.name for field in fields(kind) if field.init}
    values = {name: value for name, value in vars(arguments).items() if name in own} | changed
    values["dataset_name"] = values["dataset_name"] or arguments.dataset
    try:
        return kind(**values)
    except (ValueError, ImportError) as error:  # how TrainingArguments refuses flags that do not go together
        raise InvalidArgumentError(" ".join(str(error).split())) from error


def checkpoint_of(config: DistillationConfig) -> str | None:
    """Where to go on from: a checkpoint's folder, or the last one of the output folder for `true`.

    Raises:
        InvalidArgumentError: if there is none.
    """
    wanted = config.resume_from_checkpoint
    if wanted is None or wanted.lower() in {"false", "no"}:
        return None
    if wanted.lower() not in {"true", "yes"}:
        if not Path(wanted).is_dir():
            raise InvalidArgumentError(
                f"`--resume_from_checkpoint` {wanted} is no folder. Name a checkpoint, or `true`."
            )
        return wanted
    last = get_last_checkpoint(str(config.output_dir))
    if last is None:
        raise InvalidArgumentError(
            f"`--resume_from_checkpoint` finds no checkpoint in {config.output_dir}. Leave it out to start anew."
        )
    return last


def load_options(arguments: argparse.Namespace) -> LoadOptions:
    """How models are fetched and loaded, from the flags of `add_loading_flags`."""
    return LoadOptions(
        allow_pickle=arguments.allow_pickle,
        trust_remote_code=arguments.trust_remote_code,
        max_bytes=None if arguments.max_bytes is None else int(arguments.max_bytes),
        seed=arguments.seed,
        token=arguments.hub_token,
    )
