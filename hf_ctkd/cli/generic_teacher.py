"""`hf-ctkd generic-teacher train`: one teacher for all students of a pool."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed

from hf_ctkd.cards import write_card
from hf_ctkd.cli.arguments import GenericTeacherArguments, ParsedCommand
from hf_ctkd.cli.loading import load_options
from hf_ctkd.cli.next_step import PLACEHOLDER, flags_for
from hf_ctkd.cli.outputs import claim_folder
from hf_ctkd.cli.printing import next_command, results_text
from hf_ctkd.cli.split_rows import load_data
from hf_ctkd.cli.students import load_student
from hf_ctkd.cli.training import checkpoint_of, start_anew, training_config, what_is_kept
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import (
    GenericTeacherConfig,
    GenericTeacherTrainer,
    PoolMember,
    StudentPool,
    students_within_budget,
)
from hf_ctkd.generic.processor_check import check_processor
from hf_ctkd.generic.trainer import POOL_FILE
from hf_ctkd.tasks import Classification
from hf_ctkd.training.command import command_line
from hf_ctkd.types import LabelSpace

_DATA_FLAGS = ("input_column", "label_column", "skip_bad_rows", "max_length", "dataset_name", "seed", "cache_dir")
"""Of the trainer's configuration, those that a student of the same rows needs too."""


def run(parsed: ParsedCommand[GenericTeacherArguments]) -> dict[str, Any] | None:
    """Train, evaluate, save, render the card, print the results; gives the record and where all of it is."""
    arguments = parsed.arguments
    config = training_config(GenericTeacherConfig, parsed.training, dataset=arguments.dataset, quiet=arguments.quiet)
    try:
        return _train(parsed, config)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_what_is_kept(Path(str(config.output_dir)))) from stop


def _train(parsed: ParsedCommand[GenericTeacherArguments], config: GenericTeacherConfig) -> dict[str, Any] | None:
    arguments, folder = parsed.arguments, Path(str(config.output_dir))
    inputs = [("--teacher", arguments.teacher), ("--dataset", arguments.dataset)]
    claim_folder(folder, "--output_dir", command="generic-teacher", overwrite=arguments.overwrite, inputs=inputs)
    resume = checkpoint_of(config)
    pool = None if arguments.pool is None else StudentPool.load(arguments.pool)
    _check_students(arguments, pool)
    data = load_data(arguments, config, Classification())
    rows = data.rows
    members = () if pool is None else _members(arguments, pool, rows.label_space, seed=config.seed)
    set_seed(config.seed)
    teacher, processing_class = load_student(
        arguments.teacher,
        rows.modality,
        rows.label_space,
        options=load_options(arguments, token=config.hub_token, seed=config.seed),
        flag="--teacher",
    )
    trainer = GenericTeacherTrainer(
        teacher,
        config,
        pool=pool,
        train_dataset=data.train,
        eval_dataset=data.evaluation,
        processing_class=processing_class,
    )
    if pool is not None and members:
        check_processor(pool, processing_class, rows)  # it is saved with them
    trainer.command = command_line(["hf-ctkd", "generic-teacher", *parsed.words])
    if resume is None:
        start_anew(config)
    trainer.train(resume_from_checkpoint=resume)
    if data.evaluation is not None:
        trainer.evaluate()
    trainer.save_model()
    reported = None
    if trainer.is_world_process_zero():
        folders = [_save_student(member, trainer, arguments.students_from_branches) for member in members]
        of_data = {name: parsed.training[name] for name in _DATA_FLAGS}
        flags = flags_for("distill", {**vars(arguments), **of_data})
        reported = _report(trainer, flags, pool, folders, overwrite_card=arguments.overwrite)
    trainer.accelerator.end_training()
    return reported


def _check_students(arguments: GenericTeacherArguments, pool: StudentPool | None) -> None:
    count = arguments.students
    if count < 0:
        raise InvalidArgumentError(f"`--students` must be 0 or more, got {count}.")
    if arguments.students_from_branches and not count:
        raise InvalidArgumentError(
            "`--students_from_branches` needs students that start so. Say how many with `--students`."
        )
    if pool is None and count:
        raise InvalidArgumentError("`--students` needs a pool to take them from. Name one with `--pool`.")
    if pool is not None and count > len(pool):
        raise InvalidArgumentError(f"`--students` must be at most the {len(pool)} of the pool, got {count}.")
    for name in ("student_parameters", "student_latency_ms"):
        budget = vars(arguments)[name]
        if budget is None:
            continue
        if not count:
            raise InvalidArgumentError(f"`--{name}` needs students to choose. Say how many with `--students`.")
        if not 0 < budget < math.inf:
            raise InvalidArgumentError(f"`--{name}` must be positive and finite, got {budget}.")


def _members(
    arguments: GenericTeacherArguments, pool: StudentPool, classes: LabelSpace, *, seed: int
) -> Sequence[PoolMember]:
    """The students to write, found before the long part of the work: a budget may be too small."""
    if not arguments.students:
        return ()
    if arguments.student_parameters is None and arguments.student_latency_ms is None:
        return pool.sample(arguments.students, seed=seed)
    fitting = students_within_budget(
        pool,
        classes,
        parameters=None if arguments.student_parameters is None else int(arguments.student_parameters),
        latency_ms=arguments.student_latency_ms,
        seed=seed,
    )
    if len(fitting) < arguments.students:
        raise InvalidArgumentError(
            f"`--students` asks for {arguments.students}, but only {len(fitting)} of those looked at fit the budget. "
            "Ask for fewer, or allow more."
        )
    return [measured.member for measured in fitting[: arguments.students]]


def _save_student(member: PoolMember, trainer: GenericTeacherTrainer, from_branches: bool) -> Path:
    folder = trainer.folder / "students" / member.name.replace(" ", "-")
    trainer.build_student(member, from_branches=from_branches).save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)
    return folder


def _report(
    trainer: GenericTeacherTrainer,
    flags: Sequence[str],
    pool: StudentPool | None,
    students: Sequence[Path],
    *,
    overwrite_card: bool,
) -> dict[str, Any]:
    folder, (record, ranking) = trainer.folder, trainer.saved_records
    taught = "no pool" if pool is None else f"a pool of {len(pool):,} students ({pool.family})"
    print(f"\nTeacher of {record.student.parameters:,} parameters for {taught} saved in {folder}.")
    print(results_text(record))
    pool_file = None if pool is None else str(pool.save(folder / POOL_FILE))
    if pool_file is not None:
        print(f"Pool: {pool_file}")
    card = write_card(folder, record=record, ranking=ranking, overwrite_card=overwrite_card)
    print(f"Card: {card}")
    for student in students:
        print(f"Student, untrained: {student}")
    words = ["distill", *flags, "--teachers", str(folder), "--loss", "kl", "--student"]
    otherwise = PLACEHOLDER if pool is None else "ONE_OF_THE_POOL"
    print(next_command([*words, str(students[0]) if students else otherwise]))
    paths = {"folder": str(folder), "card": str(card), "pool": pool_file, "students": list(map(str, students))}
    return {**paths, "record": record.to_dict()}


def _what_is_kept(folder: Path) -> str:
    none = "There is no checkpoint yet; set `--save_steps` lower to have one, and run the same command again."
    return what_is_kept(folder) or none
