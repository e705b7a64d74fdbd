"""A drop-in `transformers.Trainer` whose student also learns from teachers of other tasks."""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EvalPrediction, PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, PredictionOutput, TrainOutput

from hf_ctkd.cards import publish, write_card
from hf_ctkd.cards.metadata import repo_name
from hf_ctkd.data import ProcessingClass, TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import license_named
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.losses.base import numbers_beside_terms
from hf_ctkd.records import Confidence, DistillationRecord, TeacherRanking, default_cache
from hf_ctkd.tasks import Augmentation, StudentTask, task_of
from hf_ctkd.tasks.evaluation import as_confidences
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.teachers.cache import from_named
from hf_ctkd.training.adapter import StudentAdapter, student_of
from hf_ctkd.training.batch_norms import drops_single_row
from hf_ctkd.training.checkpoint import loss_signature, restore_checkpoint, save_student
from hf_ctkd.training.checks import (
    check_arguments,
    check_finite,
    check_loss,
    check_model,
    check_optimizer,
    check_student,
    check_task_loss,
    check_teachers_and_loss,
    evaluation_rows,
    first_split,
    initial_student,
    reference_rows,
    rows_to_predict,
    set_padding,
    student_preprocessor,
    training_rows,
    warn_of_frozen_head,
)
from hf_ctkd.training.collator import DistillationCollator, RowDataset
from hf_ctkd.training.command import command_line
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.evaluations import Evaluations
from hf_ctkd.training.files import in_memory, off_memory, removed_if_unfinished, resumed_from
from hf_ctkd.training.finite_rows import distilled
from hf_ctkd.training.labelled_rows import (
    epoch_length,
    largest_row_weight,
    log_repeats,
    rows_of_epoch,
    rows_to_train_on,
    task_weight,
)
from hf_ctkd.training.loss_context import StudentRows, loss_context, loss_of_run, with_student_rows
from hf_ctkd.training.optimizer import with_rates_of_loss
from hf_ctkd.training.outcome import LossTrace, warn_of_chance, warn_of_loss
from hf_ctkd.training.record import Run, evaluated_on, majority_share, rows_in_training, summarise, write_records
from hf_ctkd.training.resume_callback import ResumeCallback
from hf_ctkd.training.schedule import reopened, with_schedule
from hf_ctkd.training.sharded import gathered
from hf_ctkd.training.stream import Stream, StreamedRows
from hf_ctkd.training.student_with_loss import LOGITS, TASK, StudentWithLoss
from hf_ctkd.training.task_loss import ComputeLossFunc, TaskLoss
from hf_ctkd.training.teacher_runner import TeacherLike, TeacherRunner, run_before_training
from hf_ctkd.types import ModelOutputs

# Private parts of `transformers.Trainer` that this class overrides (o) or calls (c), each without a public equivalent.
# Tested with transformers 5.23.0.
#
#   _save                    o    writes the student alone, and the loss's weights into checkpoints
#   _save_checkpoint         o    removes a checkpoint that was not finished
#   _get_output_dir          c    the folder of checkpoints, which differs between trials of a search
#   _load_from_checkpoint    o    restores the student and the loss from what `_save` wrote
#   _load_best_model         o    the same for the best checkpoint
#   _push_from_checkpoint    o    leaves checkpoints off the Hub
#   _prepare_inputs          c    moves a batch of an evaluation to the device
#   save_model(_internal_call=)   tells whether `Trainer` saves a checkpoint or the user saves the student


class DistillationTrainer(Trainer):
    """Trains a student on its labels and on the outputs of frozen teachers, which may be of any other task.

    Use it as `transformers.Trainer`, with raw images or texts as rows: the student and each teacher preprocess them in
    their own way. It is not for models that generate text, or that share one tokenised data set: trl has trainers for
    these. Rows with the label -100 are unlabelled: they have no task loss, but are distilled. Every term of the loss is
    logged under its name; `eval_loss` is the task loss alone, a mean over labels. Checkpoints hold the student and the
    weights of the loss; `save_model` and `push_to_hub` write the student alone, with a record of how it was made. End a
    script for `accelerate launch` with `trainer.accelerator.end_training()`: torch may abort processes that are still
    in its process group.

    Args:
        model: the student, with a head for the data set's classes: a model of transformers, or a `PeftModel`, of which
            the adapter alone is trained and saved; see `DistillationConfig.merge_adapter`.
        args: a `DistillationConfig`.
        teachers: candidates (`ranking.top(1)`), Hub ids (`"org/model@revision"`), folders, or loaded teachers; None
            for a loss without teachers.
        loss: how to learn from them; the task's default when None: `RowTransportLoss()` for a classifier, with
            `input_features="student"` for a pretrained one. With neither teachers nor a loss, the student trains on
            the labels alone, as a baseline does.
        task: what the student is for; found from the student's class and its labels when None.
        train_dataset: raw rows with an image or text column and a label column. Of a stream, an `IterableDataset`, the
            first rows (`stream_rows`) set up the loss, teachers run at every step, and `max_steps` must be given.
        eval_dataset: raw rows with the same columns, or a dict of such data sets by name.
        processing_class: the student's image processor or tokenizer; required.
        model_init: returns a new student, instead of `model`, as in `Trainer`.
        compute_loss_func: takes the place of the task loss, as in `Trainer`; it sees labelled rows only.
        compute_metrics: from an `EvalPrediction` to metrics; those of the task with intervals when None.
        callbacks: as in `Trainer`.
        optimizers: as in `Trainer`; an optimizer must hold the loss's own parameters too, if it has any.
        preprocess_logits_for_metrics: as in `Trainer`; needs a `compute_metrics` that reads what it returns.
        augmentation: from a row's image or text to a changed one, the same for student and teachers, which then run at
            every step.
        ranking: the ranking from which the teachers were chosen, for the card.
        options: how teachers are fetched and loaded.

    Raises:
        InvalidArgumentError: a student without a head, with another number of classes than the data or with weights in
            half precision; no processing class; an empty list of teachers; a teacher that lacks what the loss reads; an
            argument of `TrainingArguments` that does not work on raw rows.
        DatasetError: rows or labels that cannot be used.
        TeacherUnavailableError: a teacher that cannot be loaded.

    Example:
        A student learns from a teacher of another task, then goes to the Hub with its card::

            model = AutoModelForImageClassification.from_pretrained(name, num_labels=102, ignore_mismatched_sizes=True)
            trainer = DistillationTrainer(
                model,
                DistillationConfig("flowers-student", num_train_epochs=20),
                teachers=["google/vit-base-patch16-224"],
                train_dataset=flowers["train"],
                eval_dataset=flowers["test"],
                processing_class=AutoImageProcessor.from_pretrained(name),
            )
            trainer.train()
            trainer.push_to_hub()
    """

    args: DistillationConfig
    processing_class: ProcessingClass
    command: str | None
    baseline: Mapping[str, Confidence]
    gain: Mapping[str, Confidence]
    _rows_seen: Tensor | int
    _terms: dict[str, Tensor]

    def __init__(
        self,
        model: nn.Module | None = None,
        args: DistillationConfig | None = None,
        *,
        teachers: Sequence[TeacherLike] | None = None,
        loss: DistillationLoss | None = None,
        task: StudentTask | None = None,
        train_dataset: datasets.Dataset | datasets.IterableDataset | None = None,
        eval_dataset: datasets.Dataset | dict[str, datasets.Dataset] | None = None,
        processing_class: ProcessingClass | None = None,
        model_init: Callable[..., nn.Module] | None = None,
        compute_loss_func: ComputeLossFunc | None = None,
        compute_metrics: Callable[[EvalPrediction], dict] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        preprocess_logits_for_metrics: Callable[[Tensor, Tensor], Tensor] | None = None,
        augmentation: Augmentation | None = None,
        ranking: TeacherRanking | None = None,
        options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
    ) -> None:
        args = DistillationConfig("tmp_trainer") if args is None else args
        check_teachers_and_loss(teachers, loss)
        processing_class = check_arguments(args, processing_class, compute_metrics, preprocess_logits_for_metrics)
        check_task_loss(args, compute_loss_func)
        student = student_of(model := initial_student(model, model_init, args.seed))
        self._stream = Stream.of(train_dataset, args)
        train_dataset = train_dataset if self._stream is None else self._stream.first
        split = first_split(train_dataset, eval_dataset)
        self.task = task or task_of(student, processing_class, split, label_column=args.label_column)
        self.task.check_arguments(args)
        fixed_rows = augmentation is None and self._stream is None
        given = loss_of_run(loss, self.task, student, args, teachers=bool(teachers), fixed_rows=fixed_rows)
        rows = training_rows(train_dataset, args, self.task, only_labels=given is None)
        check_loss(given, teachers, rows, self.task)
        eval_rows = evaluation_rows(eval_dataset, args, rows, self.task)
        self._reference_rows = reference_rows(rows, eval_rows)
        self._preprocessor = student_preprocessor(processing_class, self._reference_rows, student, args.max_length)
        classes = max(1, len(self.task.label_names(self._reference_rows)))
        schedule = partial(with_schedule, student=student, classes=classes, adapter=student is not model)
        args, self._chosen = schedule(args, epoch_length(rows, self.task, given, args), distils=given is not None)
        self._task_loss = TaskLoss.of(self.task, args, rows, compute_loss_func)
        self._loss_as_given, self.ranking, self.command, self._rows_seen = given, ranking, None, 0
        self.baseline, self.gain = {}, {}
        self._saved: tuple[DistillationRecord, TeacherRanking | None] | None = None
        self._terms, self._steps_to_log, self._train_seconds, self._computed_loss = {}, 0, 0.0, False
        self._evaluations, self._resume_callback, self._loss_trace = Evaluations(), ResumeCallback(), LossTrace()
        super().__init__(
            model=self._with_loss(model),
            args=args,
            eval_dataset=self._as_datasets(eval_rows, eval_dataset),
            processing_class=self._preprocessor.processing_class,
            compute_metrics=compute_metrics or self.task.compute_metrics(args),
            callbacks=[*(callbacks or ()), self._resume_callback],
            optimizers=optimizers,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        if model_init is not None:  # the parent's constructor would call it before a loss can be set up
            self.model_init = model_init  # type: ignore[assignment] # a `PeftModel` is no PreTrainedModel
        self._prepare_teaching(teachers or (), options, rows, augmentation)
        self._adapt_arguments(schedule)

    # ---- the student, the teachers and the loss ---------------------------------------------------------------------

    def _prepare_teaching(
        self,
        teachers: Sequence[TeacherLike],
        options: LoadOptions,
        rows: TargetRows | None,
        augmentation: Augmentation | None,
    ) -> None:
        """Load the teachers, set up the loss and prepare what a batch holds: the second half of the constructor."""
        once = self._computes_once(augmentation)
        first = self._first_outputs(self.student_with_loss)
        warn_of_frozen_head(self.student_with_loss)
        loss, reference = self._loss_as_given, self._reference_rows
        runner = TeacherRunner.load(
            teachers, loss, reference.modality, self.args, options, target=reference.label_space
        )
        self.teacher_runner, outputs, once = run_before_training(
            runner, rows, loss, self.args, self.accelerator, once=once, cache_dir=self._cache / "outputs"
        )
        self._input_reader, self._context = loss_context(
            loss,
            rows,
            student=first,
            teachers=outputs,
            runner=self.teacher_runner,
            preprocessor=self._preprocessor,
            task=self.task,
            args=self.args,
            once=once,
            folder=self._cache,
        )
        self._set_up_loss(self.student_with_loss)
        check_optimizer(self.optimizer, self.loss)
        self._distils, rows = rows_to_train_on(rows, self.task, self.loss, self.args)
        self._labelled_row_weight = largest_row_weight(self.args.labelled_row_weight, rows, self.task)
        self.train_dataset, self.data_collator = self._training_data(rows, augmentation, once)

    def _adapt_arguments(self, schedule: Callable[..., tuple[DistillationConfig, tuple[str, ...]]]) -> None:
        """Adapt the schedule and the batches to the rows that are left where no teacher has a part in training."""
        if not isinstance(self.train_dataset, RowDataset):
            return
        rows = len(self.train_dataset)
        if self.loss is not None and not self._distils:
            self.args, self._chosen = schedule(reopened(self.args, self._chosen), rows, distils=False)
        self.args.dataloader_drop_last |= drops_single_row(self.student, rows, self.args)

    @property
    def student_with_loss(self) -> StudentWithLoss:
        """Student and loss, unwrapped."""
        # `unwrap_model` walks over all modules: twice in a step, that takes 1 of the 13 ms of a tiny student.
        return self.model if isinstance(self.model, StudentWithLoss) else self.accelerator.unwrap_model(self.model)

    @property
    def student(self) -> PreTrainedModel:
        """The student, without the loss."""
        return self.student_with_loss.student

    @property
    def loss(self) -> DistillationLoss | None:
        """The distillation loss in training, with its own weights."""
        return self.student_with_loss.loss

    @property
    def _active_loss(self) -> DistillationLoss | None:
        """The loss, if it has a part in training; see `rows_to_train_on`."""
        return self.loss if self._distils else None

    def _with_loss(self, model: nn.Module) -> StudentWithLoss:
        """The student, or that of an adapter, with a copy of the loss that is not set up yet."""
        student = student_of(model)
        set_padding(student, self._preprocessor.processing_class)
        loss = copy.deepcopy(self._loss_as_given)
        return StudentWithLoss(student, loss, adapter=StudentAdapter.of(model), task_loss=self._task_loss)

    def call_model_init(self, trial: Any = None) -> nn.Module:  # noqa: ANN401 (as in the parent)
        """A new student from `model_init` with a new loss, checked as the first one was; see `Trainer`."""
        model = check_model(super().call_model_init(trial), "`model_init` must return")
        student_with_loss = self._with_loss(model)
        self._first_outputs(student_with_loss)
        self._set_up_loss(student_with_loss)
        return student_with_loss

    def _first_outputs(self, student_with_loss: StudentWithLoss) -> ModelOutputs:
        """The untrained student's outputs on a few rows, after a check that they fit the labels."""
        with self.accelerator.autocast(), gathered(student_with_loss.student):
            return check_student(student_with_loss, self._preprocessor, self._reference_rows)

    def _set_up_loss(self, student_with_loss: StudentWithLoss) -> None:
        student_with_loss.input_feature_reader = self._input_reader
        if student_with_loss.loss is not None and self._context is not None:
            batch_size, autocast = self.args.per_device_eval_batch_size, self.accelerator.autocast
            rows = self.teacher_runner.finite.select(self._reference_rows)
            outputs = StudentRows(student_with_loss, self._preprocessor, rows, batch_size, autocast)
            with gathered(student_with_loss.student):
                loss, args = student_with_loss.loss, self.args
                self._context, context = with_student_rows(self._context, outputs, loss, args, self._cache)
                loss.setup(context)
            student_with_loss.loss.to(self.args.device)

    def _computes_once(self, augmentation: Augmentation | None) -> bool:
        """Whether outputs and targets are computed before training: if rows do not change and no layer is `hidden`."""
        hidden = self._loss_as_given is not None and bool(self._loss_as_given.hidden)
        whole = augmentation is None and not hidden and self._stream is None
        return self.args.cache_teacher_outputs and whole

    @property
    def _cache(self) -> Path:
        return Path(self.args.cache_dir or default_cache())

    # ---- data -------------------------------------------------------------------------------------------------------

    def _training_data(
        self, rows: TargetRows | None, augmentation: Augmentation | None, once: bool
    ) -> tuple[RowDataset | StreamedRows | None, DistillationCollator]:
        """The training rows and the collator, which put into each batch what a step reads.

        That is the targets of a loss that computes them once, or else cached outputs of the teachers. A loss that
        selects rows by the student's outputs has the teachers read after the student, in `_read_by_loss`.
        """
        loss = self._active_loss
        targets = None if not once or loss is None or self._context is None else loss.row_targets(self._context)
        targets = None if targets is None else self.teacher_runner.finite.targets(targets.detach().cpu())
        selects = loss is not None and loss.selects_rows
        every_step = once and loss is not None and targets is None
        if every_step:
            cached = tuple(in_memory(outputs) for outputs in self.teacher_runner.cached)
            self.teacher_runner = replace(self.teacher_runner, cached=cached)
        runs = () if once or loss is None else self.teacher_runner.teachers
        collator = DistillationCollator(
            self._preprocessor,
            tuple(teacher.preprocessor for teacher in runs),
            augmentation,
            self.task,
            self.teacher_runner.cached if every_step and not selects else None,
            self.teacher_runner.finite,
        )
        if rows is None:
            return None, collator
        if self._stream is not None:
            return StreamedRows(self._stream, rows, self.task, only_labelled=loss is None), collator
        caches = self.args.cache_student_inputs and augmentation is None
        epoch = rows_of_epoch(rows, self.task, loss, self.args)
        if loss is not None:
            log_repeats(rows, len(epoch), loss)
        return RowDataset(
            rows,
            train=True,
            numbers=epoch,
            preprocessor=self._preprocessor if caches else None,
            contents=bool(runs),
            task=self.task,
            targets=None if targets is None else off_memory(targets, self._cache),
        ), collator

    def _as_datasets(self, rows: Mapping[str, TargetRows], given: object) -> Any:  # noqa: ANN401 (as Trainer takes it)
        """Evaluation rows as `Trainer` takes them: a data set, or a dict of them if a dict was given."""
        wrapped = {name: RowDataset(part, train=False, task=self.task) for name, part in rows.items()}
        return wrapped if isinstance(given, dict) else wrapped.get("")

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:  # noqa: ANN401 (as in the parent)
        """Batches of raw rows for evaluation; see `Trainer`."""
        if isinstance(eval_dataset, datasets.Dataset):
            reference = None if self.train_dataset is None else self._reference_rows
            rows = evaluation_rows(eval_dataset, self.args, reference, self.task)
            eval_dataset = self._as_datasets(rows, eval_dataset)
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:  # noqa: ANN401 (as in the parent)
        """Batches of raw rows for prediction; see `Trainer`."""
        return super().get_test_dataloader(self._to_predict(test_dataset))

    def _to_predict(self, dataset: Any) -> Any:  # noqa: ANN401 (as in the parent)
        if not isinstance(dataset, datasets.Dataset):
            return dataset
        rows = rows_to_predict(dataset, self._reference_rows, self.task)
        return RowDataset(rows, train=False, task=self.task)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Tensor]:
        """The batches of one optimiser step, and the number of labels in them, over all processes.

        `step_counts` in each batch also counts rows and labelled rows.
        """
        # Not by the parent, which would count labels too and gather their number from all processes.
        samples = list(islice(epoch_iterator, num_batches))
        self._steps_to_log += 1  # not `global_step`, which does not begin at 0 in a resumed run
        start = torch.zeros(3, dtype=torch.long, device=device)
        step_counts = self._total(sum((sample["counts"].to(device) for sample in samples), start))
        self._rows_seen = self._rows_seen + step_counts
        for sample in samples:
            sample["step_counts"] = step_counts
        return samples, step_counts[2].clamp_min(1)

    def create_optimizer(self, *args: Any) -> torch.optim.Optimizer:  # noqa: ANN401 (as in the parent)
        """As in `Trainer`; parameters of a loss that sets a learning rate are a group of their own."""
        given = self.optimizer is not None
        optimizer = super().create_optimizer(*args)
        return optimizer if given else with_rates_of_loss(optimizer, self.loss)

    # ---- a training step --------------------------------------------------------------------------------------------

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """As in `Trainer`; after the last batch of an optimiser step, the loss takes all its rows into account."""
        step_loss = super().training_step(model, inputs, num_items_in_batch)
        loss, last_batch = self._active_loss, self.accelerator.sync_gradients
        self._loss_trace.add(step_loss, last_batch=last_batch, phase=1.0 if loss is None else loss.task_factor())
        if loss is not None and last_batch:
            loss.after_step(self._total)
        return step_loss

    def _total(self, values: Tensor) -> Tensor:
        """A sum over all processes; `reduce` is left out for one, where it takes as long as the terms of the loss."""
        return values if self.accelerator.num_processes == 1 else self.accelerator.reduce(values, reduction="sum")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Task loss plus weighted distillation terms, each a mean over the rows of the whole optimiser step.

        Args:
            model: the student with its loss, wrapped or not.
            inputs: a batch from the collator.
            return_outputs: whether to return the outputs of `StudentWithLoss.forward` as well.
            num_items_in_batch: not read: a batch has its own counts, see `get_batch_samples`.
        """
        outputs = model(student=inputs["student"], labels=inputs["labels"], **self._read_by_loss(inputs))
        counts = inputs["counts"]
        step_counts, processes = counts, 1
        if "step_counts" in inputs:
            # DDP averages gradients over processes: times their number, the loss is a mean over the rows of all.
            step_counts, processes = inputs["step_counts"], self.accelerator.num_processes
        row_share, _, label_share = processes * counts / step_counts.clamp_min(1)
        row_share = row_share * distilled(inputs)[1]
        weight = task_weight(self._active_loss, self._labelled_row_weight, step_counts)
        scaled = {
            name: value * (label_share * weight if name == TASK else row_share * self.args.distillation_weight)
            for name, value in outputs.items()
            if name != LOGITS
        }
        self._computed_loss = True
        self._terms |= {name: self._terms.get(name, 0.0) + value.detach() for name, value in scaled.items()}
        loss = torch.stack([value.float() for value in scaled.values()]).sum()
        return (loss, outputs) if return_outputs else loss

    def _read_by_loss(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of `StudentWithLoss.forward`: what the distillation loss reads besides the student."""
        if not self._distils:
            return {}
        rows, _ = distilled(inputs)
        every = slice(None) if rows is None else rows
        if "targets" in inputs:
            return {"targets": inputs["targets"][every], "rows": rows}
        if "teacher_outputs" in inputs:
            teachers = [{name: part[every] for name, part in tensors.items()} for tensors in inputs["teacher_outputs"]]
            return {"teachers": tuple(from_named(tensors) for tensors in teachers), "rows": rows}
        # Only after the student's forward pass does a loss select which rows each teacher runs on.
        batch = inputs if rows is None else {**inputs, "numbers": inputs["numbers"][rows]}
        return {"teachers": partial(self.teacher_runner.outputs, batch), "rows": rows}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add every term, as a mean over the steps since the last log, and each teacher's weight to `Trainer`'s log."""
        if "loss" in logs and self._terms:
            self.teacher_runner.require_finite()
            steps = max(self._steps_to_log, 1)
            terms = self.accelerator.reduce(self._terms, reduction="mean")
            logs |= {name: float(value) / steps for name, value in terms.items()}
            if self.loss is not None:
                names = [teacher.candidate.name for teacher in self.teacher_runner.teachers]
                logs |= numbers_beside_terms(self.loss, names, self._terms.keys())
            logs |= self._teacher_passes()
            self._steps_to_log = 0
            self._terms = {}
        super().log(logs, start_time)

    def _teacher_passes(self) -> dict[str, float]:
        """Rows that teachers read and skipped so far, over all processes; empty if none was skipped."""
        passes = self.teacher_runner.passes
        read, skipped = self._total(torch.tensor([passes.read, passes.skipped], device=self.args.device)).tolist()
        return {"teacher_passes": float(read), "teacher_passes_skipped": float(skipped)} if skipped else {}

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:  # noqa: ANN401 (as in the parent)
        """As in `Trainer`, but True resumes from the last complete checkpoint; the duration goes into the record."""
        self._evaluations, self._loss_trace = Evaluations(), LossTrace()
        output = super().train(resumed_from(resume_from_checkpoint, self.folder), *args, **kwargs)
        self._train_seconds = output.metrics["train_runtime"]
        self.teacher_runner.require_finite()
        check_finite(self.student, self.args, self.state.global_step)
        warn_of_loss(self._loss_trace.ends(self._resume_callback.first_step), self.args.learning_rate)
        warn_of_chance(self.results, majority_share(self.eval_dataset))
        return output

    # ---- evaluation: teachers do not run ----------------------------------------------------------------------------

    @property
    def results(self) -> dict[str, Confidence]:
        """Metrics of the student's current weights on the trainer's own `eval_dataset`; empty before an evaluation.

        Those of several data sets begin with the name of the data set, as in `"name_accuracy"`.
        """
        return as_confidences(self._evaluations.by_step.get(self._step_of_weights, {}))

    @property
    def _step_of_weights(self) -> int:
        restored = self._evaluations.restored_step
        return self.state.global_step if restored is None else restored

    def evaluate(
        self,
        eval_dataset: Any = None,  # noqa: ANN401 (as in the parent)
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """As in `Trainer`; metrics on the trainer's own `eval_dataset` are remembered for the record."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        # `Trainer` evaluates several data sets one by one, by their names.
        if isinstance(dataset, str) or (dataset is self.eval_dataset and not isinstance(dataset, dict)):
            self._evaluations.remember(self._step_of_weights, dataset if isinstance(dataset, str) else None)
            if self.state.global_step and not self.is_in_train:
                warn_of_chance(self.results, majority_share(self.eval_dataset))
        return metrics

    def predict(
        self,
        test_dataset: Any,  # noqa: ANN401 (as in the parent)
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "test",
    ) -> PredictionOutput:
        """As in `Trainer`, for raw rows with or without labels: without any there are no metrics and no `label_ids`.

        There is a prediction for every row, in order: `skip_bad_rows` has no effect here.

        Raises:
            DatasetError: naming a row that cannot be used.
        """
        rows = self._to_predict(test_dataset)
        if not isinstance(rows, RowDataset) or self.task.has_labels(rows.rows):
            return super().predict(rows, ignore_keys, metric_key_prefix)
        compute_metrics, self.compute_metrics = self.compute_metrics, None
        try:
            return super().predict(rows, ignore_keys, metric_key_prefix)._replace(label_ids=None)
        finally:
            self.compute_metrics = compute_metrics

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Task loss, prediction and labels of a batch."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs["labels"]
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(student=inputs["student"], labels=labels)
        loss, prediction = outputs[TASK].detach(), outputs[LOGITS].detach()
        row_losses = self._task_loss.row_losses(prediction, labels)
        self._evaluations.row_losses.append(self.accelerator.gather_for_metrics(row_losses).cpu().double())
        if prediction_loss_only:
            return loss, None, None
        return loss, self.task.evaluated(prediction, labels), labels

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """As in `Trainer`, but the loss is the mean over all labels, and left out where there is none."""
        self._evaluations.row_losses = []
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        return self._evaluations.take(
            output,
            metric_key_prefix,
            finite_only=self.args.logging_nan_inf_filter,
            reliability=self.task.reliability if self.preprocess_logits_for_metrics is None else None,
        )

    # ---- checkpoints and the published folder -----------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Where the student is written."""
        return Path(self.args.output_dir or "tmp_trainer")

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the student with its processor and, unless into a checkpoint, the record of how it was made."""
        super().save_model(output_dir, _internal_call=True)
        folder = self.folder if output_dir is None else Path(output_dir)
        if not _internal_call and self.args.should_save:
            self._write_records(folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write the student and its processor, in a checkpoint the weights of the loss too; no pickle.

        The files that were there stay whole until all the new ones are written.

        Raises:
            InvalidArgumentError: if the folder cannot be written or the disk is full.
        """
        folder = self.folder if output_dir is None else Path(output_dir)
        if not self.args.should_save:
            return
        checkpoint = folder.name.startswith(PREFIX_CHECKPOINT_DIR)
        signature = self._loss_signature() if checkpoint else None
        save_student(
            folder,
            self.student_with_loss,
            self.processing_class,
            state_dict=state_dict,
            signature=signature,
            merge_adapter=self.args.merge_adapter and not checkpoint,
        )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:  # noqa: ANN401 (as in the parent)
        """Write a whole checkpoint or none.

        Raises:
            InvalidArgumentError: if the folder cannot be written or the disk is full.
        """
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with removed_if_unfinished(folder, main_process=self.args.should_save):
            super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Restore the student and the weights of the loss.

        Raises:
            InvalidArgumentError: if the checkpoint is of another loss, or of other teachers.
        """
        student_with_loss = self.accelerator.unwrap_model(self.model if model is None else model)
        restore_checkpoint(Path(resume_from_checkpoint), student_with_loss, self._loss_signature())

    def _load_best_model(self) -> None:
        """Restore the best checkpoint."""
        best = self.state.best_model_checkpoint
        if best is not None:
            self._load_from_checkpoint(best)
            self._evaluations.restored_step = int(Path(best).name.rpartition("-")[2])

    def _loss_signature(self) -> dict[str, str]:
        """What a checkpoint must have been made with, to be compared."""
        return loss_signature(self.loss, self.teacher_runner.teachers)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (as in the parent)
        """Write the card from the records, instead of `Trainer`'s draft; its arguments have no effect."""
        if self.is_world_process_zero():
            record, ranking = self._write_records(self.folder)
            write_card(self.folder, self.hub_model_id, record=record, ranking=ranking)

    def push_to_hub(  # type: ignore[override] # a commit's address is what the parent's CommitInfo reads as
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,  # noqa: ANN401 (as in the parent)
    ) -> str:
        """Publish the student with its card; private unless `private=False` or `hub_private_repo=False` says otherwise.

        Args:
            commit_message: of the commit.
            blocking: must be True: the card is checked before anything is sent.
            token: of the Hub; the stored login when None.
            revision: must be None or "main".
            private: whether a new repository is private.
            kwargs: none is accepted.

        Returns:
            Address of the commit.

        Raises:
            InvalidArgumentError: if `blocking`, `revision` or another argument asks for something else.
            PublishingError: if the folder is not fit to publish or the Hub refuses it.
        """
        if not blocking or revision not in {None, "main"} or kwargs:
            raise InvalidArgumentError(
                "`push_to_hub` publishes to main at once; leave out `blocking`, `revision` and others."
            )
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return ""
        self._write_records(self.folder)
        return publish(
            self.folder,
            self.args.hub_model_id or repo_name(self.folder),
            private=bool(self.args.hub_private_repo if private is None else private),
            token=token or self.args.hub_token,
            commit_message=commit_message,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push nothing during training: a checkpoint has no card and no results yet."""

    # ---- the record -------------------------------------------------------------------------------------------------

    def _write_records(self, folder: Path) -> tuple[DistillationRecord, TeacherRanking | None]:
        self._saved = write_records(folder, self.record(), self.ranking)
        return self._saved

    @property
    def saved_records(self) -> tuple[DistillationRecord, TeacherRanking | None]:
        """How the student was made and how its teachers were chosen, as last written beside it.

        Raises:
            InvalidArgumentError: if this process has written none.
        """
        if self._saved is None:
            raise InvalidArgumentError("`saved_records` are written with the student. Call `save_model` first.")
        return self._saved

    @cached_property
    def base_license(self) -> str | None:
        """Licence of the checkpoint that the student started from; looked up once, as records are made often."""
        name = self.student.config.name_or_path
        return license_named(name, token=self.args.hub_token) if name else None

    def _student_outputs(self, inputs: Mapping[str, Tensor]) -> ModelOutputs:
        """Outputs of the student, in the precision of the run."""
        with self.accelerator.autocast():
            return self.student_with_loss.outputs(inputs)

    def record(self, command: str | None = None) -> DistillationRecord:
        """How this student was made, and its `results`: everything that its card states.

        Args:
            command: what to run to make it again; when None, the attribute of that name, or the present command
                line without its tokens.
        """
        eval_rows, eval_split = evaluated_on(self.eval_dataset)
        train = self.train_dataset
        seen = None if self._stream is None or isinstance(self._rows_seen, int) else self._rows_seen.tolist()[:2]
        run = Run(
            student_with_loss=self.student_with_loss,
            outputs=self._student_outputs,
            args=self.args,
            teacher_runner=self.teacher_runner,
            rows=train.rows if isinstance(train, RowDataset) else self._reference_rows,
            preprocessor=self._preprocessor,
            eval_rows=eval_rows,
            eval_split=eval_split,
            majority_share=majority_share(self.eval_dataset),
            eval_rows_in_training=rows_in_training(self.eval_dataset, self.train_dataset),
            context=self._context,
            steps=self.state.global_step,
            epochs=self.state.epoch or 0.0,
            seconds=self._train_seconds,
            resumed_at=self._resume_callback.first_step,
            processes=self.accelerator.num_processes,
            license=self.base_license,
            # A subclass may override `compute_loss` without a call of this one, so that no teacher teaches.
            distils=self._distils and (self._computed_loss or not self.state.global_step),
            chosen=self._chosen,
            loss_ends=self._loss_trace.ends(self._resume_callback.first_step),
            rows_seen=seen,
        )
        return summarise(
            run,
            results=self.results,
            baseline=self.baseline,
            gain=self.gain,
            reliability=self._evaluations.reliability_by_step.get(self._step_of_weights),
            command=command or self.command or command_line(["python", *sys.argv]),
        )
