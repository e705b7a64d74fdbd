"""`hf-ctkd distill`: a student from the teachers of a ranking, or from any that are named."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from hf_ctkd.cards import write_card
from hf_ctkd.cards.metadata import repo_name
from hf_ctkd.cli.arguments import (
    add_dataset_flags,
    add_flag,
    add_loading_flags,
    add_switch,
    check_writable,
)
from hf_ctkd.cli.baseline import train_baseline
from hf_ctkd.cli.datasets import Rows, encode_labels
from hf_ctkd.cli.methods import build_loss, loss_names
from hf_ctkd.cli.report import next_command, results_said
from hf_ctkd.cli.students import load_student
from hf_ctkd.cli.training import add_training_flags, checkpoint_of, load_options, training_config
from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.records import Confidence, DistillationRecord, TeacherCandidate, TeacherRanking, default_cache
from hf_ctkd.training import DistillationConfig, DistillationTrainer
from hf_ctkd.training.command import command_line
from hf_ctkd.training.teacher_runner import candidate_named

BASELINE_FOLDER = "without_distillation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags: every field of `DistillationConfig`, then those of this command, which a terminal shows last."""
    add_training_flags(parser, DistillationConfig, output_dir="student")
    rows = parser.add_argument_group("rows")
    add_dataset_flags(rows, split="to train on; those without a label are distilled on")
    add_flag(rows, "eval_split", help="rows to evaluate on; the test or else the validation rows if not given")
    models = parser.add_argument_group("models")
    add_flag(models, "student", required=True, metavar="ID_OR_FOLDER", help="checkpoint that the student starts from")
    add_flag(models, "ranking", metavar="FILE", help="what `hf-ctkd select` wrote: its best teachers are used")
    add_flag(models, "top", type=int, default=1, help="how many of the ranking's best to distill from")
    add_switch(models, "committee", help="distill from the committee of the ranking instead, see `hf-ctkd select`")
    add_flag(
        models,
        "teachers",
        nargs="+",
        default=[],
        metavar="ID_OR_FOLDER",
        help="teachers by name instead; after random: for random weights",
    )
    add_flag(
        models,
        "roles",
        nargs="+",
        default=[],
        metavar="ROLE",
        help="part of each teacher in a committee, in their order, for the card: foundation, complementary, ...",
    )
    add_loading_flags(models)
    method = parser.add_argument_group("method")
    add_flag(method, "loss", default="row_transport", help=f"{', '.join(loss_names())}, or package.module:Class")
    add_flag(method, "loss_settings", metavar="JSON", help="arguments of the loss, such as '{\"epsilon\": 0.2}'")
    add_switch(
        method,
        "baseline",
        help="also train the same student on the labels alone, with the same seed and as many steps, and record it",
    )


def run(arguments: argparse.Namespace) -> None:
    """Train, evaluate, save, render the card, print what came out."""
    try:
        _distill(arguments)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_what_is_kept(arguments)) from stop


def _distill(arguments: argparse.Namespace) -> None:
    config = training_config(DistillationConfig, arguments)
    check_writable(arguments.output_dir, "--output_dir")
    resume = checkpoint_of(config)
    loss = build_loss(arguments.loss, arguments.loss_settings)
    ranking = None if arguments.ranking is None else TeacherRanking.load(arguments.ranking)
    teachers = _teachers(arguments, ranking)
    data = _data(arguments, config)
    options = load_options(arguments)
    set_seed(config.seed)
    student, processing_class = load_student(
        arguments.student, data.rows.modality, data.rows.label_space, options=options
    )
    trainer = DistillationTrainer(
        model=student,
        args=config,
        teachers=teachers or None,
        loss=loss,
        train_dataset=data.train,
        eval_dataset=data.evaluation,
        processing_class=processing_class,
        ranking=ranking,
        options=options,
    )
    trainer.command = command_line(["hf-ctkd", "distill", *arguments.words])
    trainer.train(resume_from_checkpoint=resume)
    if data.evaluation is not None:
        trainer.evaluate()
    if arguments.baseline:
        trainer.baseline = _baseline(arguments, trainer, data, again=resume is None)
    trainer.save_model()
    if trainer.is_world_process_zero():
        _report(Path(arguments.output_dir))
    trainer.accelerator.end_training()


@dataclass(frozen=True)
class Data:
    """What is trained and evaluated on.

    Args:
        rows: the training rows, checked.
        train: the same, raw.
        evaluation: raw rows, None without any.
    """

    rows: TargetRows
    train: Dataset
    evaluation: Dataset | None


def _baseline(
    arguments: argparse.Namespace, trainer: DistillationTrainer, data: Data, *, again: bool
) -> Mapping[str, Confidence]:
    options = load_options(arguments)
    config = training_config(
        DistillationConfig,
        arguments,
        output_dir=str(Path(arguments.output_dir) / BASELINE_FOLDER),
        max_steps=trainer.state.global_step,  # not `max_steps`: a student may stop early or have gone further before
        save_strategy="no",
        load_best_model_at_end=False,
        push_to_hub=False,
        resume_from_checkpoint=None,
    )
    return train_baseline(
        lambda: load_student(arguments.student, data.rows.modality, data.rows.label_space, options=options),
        config,
        rows=data.rows,
        evaluation=data.evaluation,
        again=again,
    )


def _data(arguments: argparse.Namespace, config: DistillationConfig) -> Data:
    source = Rows.of(arguments)
    train = source.load(arguments.split)
    name = arguments.eval_split or source.evaluation_split(arguments.split)
    evaluation = None if name is None else source.load(name)
    if arguments.baseline and evaluation is None:
        raise DatasetError("`--baseline` needs rows to compare on, but there are none. Name them with `--eval_split`.")
    if arguments.encode_labels:
        train, *encoded = encode_labels(train, config.label_column, *([] if evaluation is None else [evaluation]))
        evaluation = encoded[0] if encoded else None
    rows = TargetRows.of(
        train,
        input_column=config.input_column,
        label_column=config.label_column,
        skip_bad_rows=config.skip_bad_rows,
    )
    return Data(rows, train, evaluation)


def _teachers(arguments: argparse.Namespace, ranking: TeacherRanking | None) -> list[TeacherCandidate | str]:
    found: list[TeacherCandidate | str] = list(arguments.teachers)
    if arguments.committee and (found or ranking is None):
        raise InvalidArgumentError("`--committee` takes the teachers of a `--ranking`: give one, and no `--teachers`.")
    if not found and ranking is not None:
        found = list(ranking.committee() if arguments.committee else ranking.top(arguments.top))
    if not arguments.roles:
        return found
    if len(arguments.roles) != len(found):
        raise InvalidArgumentError(
            f"`--roles` must hold one for each of {len(found)} teachers, in their order, got {len(arguments.roles)}."
        )
    candidates = (candidate_named(one) if isinstance(one, str) else one for one in found)
    return [replace(one, role=role) for one, role in zip(candidates, arguments.roles, strict=True)]


def _report(folder: Path) -> None:
    record = DistillationRecord.load(folder / "distillation.json")
    print(f"\nStudent of {record.student.parameters:,} parameters saved in {folder}.")
    print(results_said(record))
    print(f"Card: {write_card(folder)}")
    print(next_command(["publish", str(folder), f"YOUR_NAME/{repo_name(folder)}"]))


def _what_is_kept(arguments: argparse.Namespace) -> str:
    folder = Path(arguments.output_dir)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if last is not None:
        return f"{last} is kept; run the same command with `--resume_from_checkpoint true` to go on from there."
    cache = arguments.cache_dir or default_cache()
    return (
        f"Outputs of teachers are kept in {cache}, but there is no checkpoint yet; set `--save_steps` lower to have "
        "one, and run the same command again."
    )
