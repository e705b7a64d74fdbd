"""`hf-ctkd distill`: a student from the teachers of a ranking, or from any that are named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed

from hf_ctkd.cards import write_card
from hf_ctkd.cards.metadata import repo_name
from hf_ctkd.cli.arguments import DistillArguments, ParsedCommand, given
from hf_ctkd.cli.baseline import Baseline, gain_of, train_baseline
from hf_ctkd.cli.loading import load_options
from hf_ctkd.cli.methods import build_loss
from hf_ctkd.cli.outputs import claim_folder
from hf_ctkd.cli.printing import next_command, results_text
from hf_ctkd.cli.split_rows import Data, load_data
from hf_ctkd.cli.students import load_student
from hf_ctkd.cli.teachers import named_teachers
from hf_ctkd.cli.training import checkpoint_of, start_anew, training_config, what_is_kept
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import DistillationLoss, RowTransportLoss
from hf_ctkd.records import NO_LOSS, TeacherCandidate, TeacherRanking, default_cache
from hf_ctkd.tasks import StudentTask
from hf_ctkd.training import DistillationConfig, DistillationTrainer
from hf_ctkd.training.command import command_line
from hf_ctkd.training.loss_context import default_loss
from hf_ctkd.training.teacher_runner import candidate_named

BASELINE_FOLDER = "without_distillation"


def run(parsed: ParsedCommand[DistillArguments]) -> dict[str, Any] | None:
    """Train, evaluate, save, render the card, print the results; gives the record and where it is."""
    arguments = parsed.arguments
    config = training_config(DistillationConfig, parsed.training, dataset=arguments.dataset, quiet=arguments.quiet)
    try:
        return _distill(parsed, config)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_what_is_kept(config)) from stop


def _distill(parsed: ParsedCommand[DistillArguments], config: DistillationConfig) -> dict[str, Any] | None:
    arguments, folder = parsed.arguments, str(config.output_dir)
    _claim(arguments, folder)
    resume = checkpoint_of(config)
    loss = _loss(arguments)
    ranking = None if arguments.ranking is None else TeacherRanking.load(arguments.ranking)
    teachers = _teachers(arguments, ranking)
    data = _data(arguments, config)
    options = load_options(arguments, token=config.hub_token, seed=config.seed)
    set_seed(config.seed)
    student, processing_class = load_student(
        arguments.student, data.rows.modality, data.rows.label_space, task=data.task, options=options
    )
    trainer = DistillationTrainer(
        model=student,
        args=config,
        teachers=teachers or None,
        loss=_loss_for(loss, arguments, student, data.task, config, teachers=bool(teachers)),
        train_dataset=data.train,
        eval_dataset=data.evaluation,
        processing_class=processing_class,
        ranking=ranking,
        options=options,
    )
    trainer.command = command_line(["hf-ctkd", "distill", *parsed.words])
    if resume is None:
        start_anew(config)
    trainer.train(resume_from_checkpoint=resume)
    if data.evaluation is not None:
        trainer.evaluate()
    if arguments.baseline:
        # Before the baseline, which trackers see as a run of its own.
        prediction = trainer.predict(trainer.eval_dataset)
        baseline = _baseline(parsed, trainer, data, again=resume is None)
        trainer.baseline, trainer.gain = baseline.results, gain_of(prediction, baseline, data.task, config)
    trainer.save_model()
    reported = _report(trainer, overwrite_card=arguments.overwrite) if trainer.is_world_process_zero() else None
    trainer.accelerator.end_training()
    return reported


def _loss(arguments: DistillArguments) -> DistillationLoss | None:
    """The loss that is named; None for that of the task, and for labels alone.

    Raises:
        InvalidArgumentError: if there is no such loss, its settings do not fit, or labels alone are to be trained on
            and another flag would have no effect.
    """
    if arguments.loss == NO_LOSS:
        unread = given(arguments, ("teachers", "ranking", "top", "committee", "roles", "loss_settings", "baseline"))
        if unread:
            raise InvalidArgumentError(
                f"`--loss {NO_LOSS}` trains on the labels alone and does not read `--{unread[0]}`. Leave one of them "
                "out."
            )
        return None
    name = arguments.loss or (None if arguments.loss_settings is None else RowTransportLoss.name)
    return None if name is None else build_loss(name, arguments.loss_settings)


def _loss_for(
    loss: DistillationLoss | None,
    arguments: DistillArguments,
    student: PreTrainedModel,
    task: StudentTask,
    config: DistillationConfig,
    *,
    teachers: bool,
) -> DistillationLoss | None:
    """What the trainer is given: None leaves the choice to it, or trains on the labels alone where there is no teacher.

    A row transport reads beside the teachers what the trainer's default does, unless the command line says it.
    """
    if loss is None:
        return None if teachers or arguments.loss == NO_LOSS else task.default_loss()  # which asks for teachers
    usual = default_loss(task, student, config, fixed_rows=True)
    if type(loss) is RowTransportLoss and isinstance(usual, RowTransportLoss):
        return build_loss(loss.name, arguments.loss_settings, {"input_features": usual.input_features})
    return loss


def _claim(arguments: DistillArguments, folder: str) -> None:
    inputs = [("--student", arguments.student), ("--dataset", arguments.dataset)]
    inputs += [("--teachers", teacher) for teacher in arguments.teachers]
    claim_folder(folder, "--output_dir", command="distill", overwrite=arguments.overwrite, inputs=inputs)


def _baseline(
    parsed: ParsedCommand[DistillArguments], trainer: DistillationTrainer, data: Data, *, again: bool
) -> Baseline:
    arguments = parsed.arguments
    options = load_options(arguments, token=trainer.args.hub_token, seed=trainer.args.seed)
    config = training_config(
        DistillationConfig,
        parsed.training,
        dataset=arguments.dataset,
        output_dir=str(Path(str(trainer.args.output_dir)) / BASELINE_FOLDER),
        learning_rate=trainer.args.learning_rate,
        max_steps=trainer.state.global_step,  # not `max_steps`: a student may stop early or have gone further before
        save_strategy="no",
        load_best_model_at_end=False,
        push_to_hub=False,
        resume_from_checkpoint=None,
        quiet=arguments.quiet,
        run_name=None if trainer.args.run_name is None else f"{trainer.args.run_name}-{BASELINE_FOLDER}",
    )
    return train_baseline(
        lambda folder: load_student(
            str(folder or arguments.student),
            data.rows.modality,
            data.rows.label_space,
            task=data.task,
            options=options,
        ),
        config,
        task=data.task,
        rows=data.rows,
        evaluation=data.evaluation,
        again=again,
    )


def _data(arguments: DistillArguments, config: DistillationConfig) -> Data:
    data = load_data(arguments, config)
    if arguments.baseline and data.evaluation is None:
        raise DatasetError("`--baseline` needs rows to compare on, but there are none. Name them with `--eval_split`.")
    return data


def _teachers(arguments: DistillArguments, ranking: TeacherRanking | None) -> list[TeacherCandidate | str]:
    teachers = named_teachers(arguments, ranking)
    if not arguments.roles:
        return teachers
    if len(arguments.roles) != len(teachers):
        raise InvalidArgumentError(
            f"`--roles` must hold one for each of {len(teachers)} teachers, in their order, got {len(arguments.roles)}."
        )
    candidates = (candidate_named(teacher) if isinstance(teacher, str) else teacher for teacher in teachers)
    return [replace(teacher, role=role) for teacher, role in zip(candidates, arguments.roles, strict=True)]


def _report(trainer: DistillationTrainer, *, overwrite_card: bool) -> dict[str, Any]:
    folder, (record, ranking) = trainer.folder, trainer.saved_records
    print(f"\nStudent of {record.student.parameters:,} parameters saved in {folder}.")
    print(results_text(record))
    card = write_card(folder, record=record, ranking=ranking, overwrite_card=overwrite_card)
    print(f"Card: {card}")
    print(next_command(["publish", str(folder), f"YOUR_NAME/{repo_name(folder)}"]))
    return {"folder": str(folder), "card": str(card), "record": record.to_dict()}


def _what_is_kept(config: DistillationConfig) -> str:
    advice = what_is_kept(Path(str(config.output_dir)))
    if advice is not None:
        return advice
    cache = config.cache_dir or default_cache()
    return (
        f"Outputs of teachers are kept in {cache}, but there is no checkpoint yet; set `--save_steps` lower to have "
        "one, and run the same command again."
    )
