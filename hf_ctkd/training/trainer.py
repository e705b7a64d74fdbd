"""A drop-in `transformers.Trainer` whose student also learns from teachers of other tasks."""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor, nn
from transformers import EvalPrediction, PreTrainedModel, TrainerCallback
from transformers.trainer_utils import TrainOutput

from hf_ctkd.data import InputFeatureReader, ProcessingClass
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import DistillationLoss, LossContext
from hf_ctkd.losses.base import RESERVED, check_names
from hf_ctkd.records import Confidence, DistillationRecord, TeacherRanking, default_cache
from hf_ctkd.tasks import Augmentation, first_student, task_of
from hf_ctkd.teachers import LoadOptions, Teacher
from hf_ctkd.training.arguments import check_arguments, check_config, check_given
from hf_ctkd.training.collator import DistillationCollator, RowDataset
from hf_ctkd.training.command import command_line
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.evaluating import EvaluatedTrainer, Evaluations
from hf_ctkd.training.offloading import DeviceOffloading
from hf_ctkd.training.preparation import (
    check_optimizer,
    check_precision,
    check_student,
    check_teachers,
    computed_once,
    eval_rows,
    labelled_alone,
    labelled_row_weight,
    loss_context,
    student_view,
)
from hf_ctkd.training.record import Run, summarise
from hf_ctkd.training.resume_callback import ResumeCallback
from hf_ctkd.training.student_with_loss import LOGITS, TASK, StudentWithLoss
from hf_ctkd.training.teacher_runner import TeacherLike, TeacherRunner, load_teachers
from hf_ctkd.types import ModelOutputs, Needs


class DistillationTrainer(EvaluatedTrainer):
    """Trains a student on its own labels and on what frozen teachers, each with its own labels and preprocessing, say.

    Data sets hold raw rows (images or texts); rows whose label is -100 are unlabelled and still distilled. Every term
    of the loss is logged under its name; `eval_loss` is the task loss alone, a mean over labels. Checkpoints hold the
    student and the loss's own weights; `save_model` and `push_to_hub` write the student alone, with a record of how it
    was made. A script for `accelerate launch` ends with `trainer.accelerator.end_training()`, as with any `Trainer`:
    processes that leave their group behind are now and then aborted by torch on the way out.

    Args:
        model: the student, with a head for the data set's classes.
        args: a `DistillationConfig`.
        teachers: candidates (`ranking.top(1)`), Hub ids (`"org/model@revision"`), folders, or loaded teachers; None
            for a loss without teachers.
        loss: how to learn from them: `RowTransportLoss()` for classes when None. Without teachers, None trains on the
            labels alone, as a baseline does.
        train_dataset: raw rows with an image or text column and a label column.
        eval_dataset: the same, or a dict of them.
        processing_class: the student's image processor or tokenizer.
        model_init: makes the student anew, instead of `model`, as in `Trainer`.
        compute_metrics: from an `EvalPrediction` to metrics; accuracy and macro F1 with intervals when None.
        callbacks: as in `Trainer`.
        optimizers: as in `Trainer`; an optimizer must hold the loss's own parameters too, if it has any.
        augmentation: from a raw row to a changed one, applied once for student and teachers alike.
        ranking: the selection that led to the teachers, for the card.
        options: how teachers are fetched and loaded.

    Raises:
        InvalidArgumentError: a student without a head or with another number of classes, or with weights in half
            precision, no processor, an empty list of teachers, a teacher that lacks what the loss reads, an argument
            that cannot be followed over raw rows.
        DatasetError: rows or labels that cannot be used.
        TeacherUnavailableError: a teacher that cannot be loaded.
    """

    def __init__(
        self,
        model: PreTrainedModel | None = None,
        args: DistillationConfig | None = None,
        *,
        teachers: Sequence[TeacherLike] | None = None,
        loss: DistillationLoss | None = None,
        train_dataset: datasets.Dataset | None = None,
        eval_dataset: datasets.Dataset | dict[str, datasets.Dataset] | None = None,
        processing_class: ProcessingClass | None = None,
        model_init: Callable[..., PreTrainedModel] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        augmentation: Augmentation | None = None,
        ranking: TeacherRanking | None = None,
        options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
    ) -> None:
        args = DistillationConfig("tmp_trainer") if args is None else args
        check_config(args, DistillationConfig)
        check_given(teachers, loss)
        check_arguments(args, compute_metrics)
        if processing_class is None:
            raise InvalidArgumentError(
                "`processing_class` must be the student's image processor or tokenizer, got None."
            )
        self.task = task_of(first_student(model, model_init), processing_class)
        self.task.check_arguments(args)
        self._rows = None if train_dataset is None else self.task.rows(train_dataset, args)
        loss = self.task.default_loss() if loss is None and teachers else loss
        if loss is None and self._rows is not None:
            self._rows = labelled_alone(self._rows, self.task, "There is no distillation loss")
        evaluated = eval_rows(eval_dataset, args, self._rows, self.task)
        self._space_rows = self._rows or next(iter(evaluated.values()), None)
        self._labelled_row_weight = labelled_row_weight(args.labelled_row_weight, self._rows, self.task)
        self._distils = loss is not None
        self._loss_as_given, self._label_smoothing = loss, args.label_smoothing_factor
        self._context: LossContext | None = None
        self._input_reader: InputFeatureReader | None = None
        self._terms: dict[str, Tensor] = {}
        self._evaluations = Evaluations()
        self._resume_callback = ResumeCallback()
        self._steps_to_log, self._train_seconds = 0, 0.0
        self.ranking = ranking
        self.baseline: Mapping[str, Confidence] = {}
        self.command: str | None = None
        check_teachers(teachers, loss, self._rows, self.task)
        super().__init__(
            model=None if model is None else self._trainee(model),
            args=args,
            train_dataset=None if self._rows is None else RowDataset(self._rows, train=True, task=self.task),
            eval_dataset=self._evaluated(evaluated, eval_dataset),
            processing_class=processing_class,
            model_init=model_init,
            compute_metrics=compute_metrics or self.task.compute_metrics(args),
            callbacks=[*(callbacks or ()), self._resume_callback],
            optimizers=optimizers,
        )
        if args.n_gpu > 1:
            raise InvalidArgumentError("Several GPUs need one process each. Start the script with `accelerate launch`.")
        # `compute_loss` normalises every term over the whole accumulated batch of all processes by itself.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = False
        self.teacher_runner = self._prepare(teachers or (), options, augmentation)

    # ---- the student and the loss -----------------------------------------------------------------------------------

    @property
    def student(self) -> PreTrainedModel:
        """The student, without the loss."""
        return self.student_with_loss.student

    @property
    def loss(self) -> DistillationLoss | None:
        """The distillation loss in training, with its own weights."""
        return self.student_with_loss.loss

    def _trainee(self, student: PreTrainedModel) -> StudentWithLoss:
        check_precision(student)
        loss = copy.deepcopy(self._loss_as_given)
        if loss is not None and self._context is not None:
            loss.setup(self._context)
        return StudentWithLoss(
            student,
            loss,
            label_smoothing=self._label_smoothing,
            task=self.task,
            input_feature_reader=self._input_reader,
        )

    def call_model_init(self, trial: Any = None) -> nn.Module:  # noqa: ANN401 (as in the parent)
        """A fresh student from `model_init` with a fresh loss, checked as the first one was; see `Trainer`."""
        student = super().call_model_init(trial)
        if not isinstance(student, PreTrainedModel):
            raise InvalidArgumentError(f"`model_init` must return a PreTrainedModel, got {type(student).__name__}.")
        student_with_loss = self._trainee(student)
        if self._context is not None:  # the first of them is checked when all is prepared
            self._first_outputs(student_with_loss)
        return student_with_loss

    def _first_outputs(self, student_with_loss: StudentWithLoss) -> ModelOutputs:
        with self.accelerator.autocast():
            return check_student(student_with_loss, self._view, self._known_rows())

    def _outputs(self, inputs: Mapping[str, Tensor]) -> ModelOutputs:
        """What the student says, in the precision of the run."""
        with self.accelerator.autocast():
            return self.student_with_loss.outputs(inputs)

    def _prepare(
        self, teachers: Sequence[TeacherLike], options: LoadOptions, augmentation: Augmentation | None
    ) -> TeacherRunner:
        space_rows = self._known_rows()
        student_with_loss = self.student_with_loss
        config, max_length = student_with_loss.student.config, self.args.max_length
        self._view = view = student_view(self.processing_class, space_rows, config, max_length)
        first = self._first_outputs(student_with_loss)
        most = self.args.resident_teachers
        offloading = None if most is None else DeviceOffloading(self.args.device, most)
        place = self.args.device if offloading is None else torch.device("cpu")
        loaded = load_teachers(teachers, space_rows.modality, place, options)
        teacher_runner, self._context = self._run_teachers(loaded, offloading, first, augmentation)
        if student_with_loss.loss is not None and self._context is not None:
            student_with_loss.loss.setup(self._context)
            student_with_loss.loss.to(self.args.device)
            check_optimizer(self.optimizer, student_with_loss.loss)
            self._leave_out_a_loss_that_knows_nothing(student_with_loss.loss)
        views = () if teacher_runner.kept else tuple(teacher.preprocessor for teacher in loaded)
        self.data_collator = DistillationCollator(view, views, augmentation, self.task)
        if self._rows is not None and self.args.cache_student_inputs and augmentation is None:
            self.train_dataset = RowDataset(self._rows, train=True, keep=view, contents=bool(views), task=self.task)
        return teacher_runner

    def _leave_out_a_loss_that_knows_nothing(self, loss: DistillationLoss) -> None:
        """Train as without a loss where this one has no weight: steps on unlabelled rows would teach nothing."""
        if loss.strength() > 0 or self._rows is None:
            return
        self._distils = False
        self._rows = labelled_alone(self._rows, self.task, f"The teachers know nothing that {loss.name} can use")
        self._space_rows = self._rows
        self.train_dataset = RowDataset(self._rows, train=True, task=self.task)

    def _run_teachers(
        self,
        loaded: tuple[Teacher, ...],
        offloading: DeviceOffloading | None,
        first: ModelOutputs,
        augmentation: Augmentation | None,
    ) -> tuple[TeacherRunner, LossContext | None]:
        """Run teachers over all rows where that is asked for; what guides the training, and what the loss is told."""
        loss, rows, args = self._loss_as_given, self._rows, self.args
        needs = Needs.NOTHING if loss is None else loss.needs
        layers = Needs.LAYERS in needs
        teacher_runner = TeacherRunner(loaded, hidden=_teacher_layers(loss), layers=layers, offloading=offloading)
        if rows is None:
            return teacher_runner, None
        inputs: Tensor | None = None
        if Needs.INPUT in needs:
            self._input_reader, inputs = InputFeatureReader.of(self._view, rows)
            self.student_with_loss.input_feature_reader = self._input_reader
        once = computed_once(args, augmentation, teacher_runner.hidden)
        kept = teacher_runner
        if loaded and (once or Needs.FIT in needs):
            kept = TeacherRunner.computed_once(
                loaded,
                rows,
                accelerator=self.accelerator,
                batch_size=args.teacher_batch_size,
                cache_dir=Path(args.cache_dir or default_cache()) / "outputs",
                progress=not args.disable_tqdm,
                layers=layers,
                offloading=offloading,
            )
        context = loss_context(rows, first, kept, inputs=inputs, seed=args.seed, batch_size=args.teacher_batch_size)
        return (kept if once else teacher_runner.with_samples(context.teachers)), context

    # ---- data -------------------------------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Tensor]:
        """The batches of one optimiser step with `[rows, labelled rows, labels]` in them, over all processes."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._steps_to_log += 1  # not told by `global_step`, which a resumed run does not begin at 0
        counts = torch.zeros(3, dtype=torch.long)
        for sample in samples:
            counts += self._counts(sample["labels"])
        return samples, self.accelerator.reduce(counts.to(device), reduction="sum")

    def _counts(self, labels: Tensor) -> Tensor:
        """`[rows, labelled rows, labels]` of a batch; the last two differ where every pixel has a label."""
        rows = torch.tensor(len(labels), device=labels.device)
        return torch.stack([rows, self.task.labelled(labels).sum(), self.task.count(labels)])

    def _task_weight(self, step: Tensor) -> Tensor | float:
        """The factor of the task loss of an optimiser step, which is a mean over its labels.

        With it, a labelled row counts for `labelled_row_weight` rows of the step. A mean over the labelled rows alone
        would let a few of them weigh as much as all others together, and the student would learn them by heart.

        Args:
            step: `[rows, labelled rows, labels]` of the step.
        """
        return self._labelled_row_weight * step[1] / step[0].clamp_min(1) if self._distils else 1.0

    # ---- the loss ---------------------------------------------------------------------------------------------------

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """As in `Trainer`; with the last batch of an optimiser step the loss is told that it has seen all of it."""
        found = super().training_step(model, inputs, num_items_in_batch)
        if self.loss is not None and self.accelerator.sync_gradients:
            self.loss.after_step(partial(self.accelerator.reduce, reduction="sum"))
        return found

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Task loss plus weighted distillation terms, each a mean over the rows of the whole optimiser step.

        Args:
            model: the student_with_loss, wrapped or not.
            inputs: a batch from the collator.
            return_outputs: whether to return logits and terms as well.
            num_items_in_batch: `[rows, labelled rows, labels]` of the optimiser step; this batch alone when None.
        """
        labels = inputs["labels"]
        # The student speaks first: only then does a loss know which teachers to ask about which rows.
        teachers = partial(self.teacher_runner.outputs, inputs) if self._distils else None
        outputs = model(student=inputs["student"], labels=labels, teachers=teachers)
        here = self._counts(labels)
        whole, processes = here, 1
        if isinstance(num_items_in_batch, Tensor):
            # Gradients are averaged over processes, so that each has to count for as many as there are.
            whole, processes = num_items_in_batch, self.accelerator.num_processes
        rows, _, labelled = processes * here / whole.clamp_min(1)
        task_weight = self._task_weight(whole)
        scaled = {
            name: value * (labelled * task_weight if name == TASK else rows * self.args.distillation_weight)
            for name, value in outputs.items()
            if name != LOGITS
        }
        for name, value in scaled.items():
            self._terms[name] = self._terms.get(name, torch.zeros_like(value)) + value.detach()
        loss = torch.stack([value.float() for value in scaled.values()]).sum()
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add every term, as a mean over the steps since the last log, to what `Trainer` logs."""
        if "loss" in logs and self._terms:
            steps = max(self._steps_to_log, 1)
            reduced = self.accelerator.reduce(self._terms, reduction="mean")
            logs |= {name: float(value) / steps for name, value in reduced.items()}
            if self.loss is not None:
                diagnostics = self.loss.diagnostics()
                check_names(self.loss, diagnostics, RESERVED | self._terms.keys())
                logs |= diagnostics
            logs |= self._passes()
            self._steps_to_log = 0
            self._terms = {}
        super().log(logs, start_time)

    def _passes(self) -> dict[str, float]:
        """Rows that teachers were asked about and those they were not, since the start and over all processes."""
        passes = self.teacher_runner.passes
        counts = torch.tensor([passes.read, passes.skipped], device=self.args.device)
        read, skipped = self.accelerator.reduce(counts, reduction="sum").tolist()
        return {"teacher_passes": float(read), "teacher_passes_skipped": float(skipped)} if skipped else {}

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:  # noqa: ANN401 (as in the parent)
        """As in `Trainer`; the seconds are kept for the record."""
        output = super().train(*args, **kwargs)
        self._train_seconds = output.metrics["train_runtime"]
        return output

    def _teacher_signature(self) -> dict[str, str]:
        # A revision is a digest where a teacher is a folder, and says nothing of weights that are drawn.
        found = [(one.candidate, one.seed) for one in self.teacher_runner.teachers]
        teachers = [one.revision + (f" random {seed}" if one.random_weights else "") for one, seed in found]
        return {"loss": "" if self.loss is None else self.loss.name, "teachers": ", ".join(teachers)}

    def record(self, command: str | None = None) -> DistillationRecord:
        """How this student was made and what came out: all that its card says.

        What came out are its `results`: of the weights that it has now, on the trainer's own `eval_dataset`.

        Args:
            command: what to run to make it again; when None, the attribute of that name, or the present command
                line without its tokens.
        """
        eval_rows, eval_split = _evaluated_on(self.eval_dataset)
        run = Run(
            student_with_loss=self.student_with_loss,
            outputs=self._outputs,
            args=self.args,
            teacher_runner=self.teacher_runner,
            rows=self._known_rows(),
            view=self._view,
            eval_rows=eval_rows,
            eval_split=eval_split,
            steps=self.state.global_step,
            epochs=self.state.epoch or 0.0,
            seconds=self._train_seconds,
            resumed_at=self._resume_callback.first_step,
            processes=self.accelerator.num_processes,
            license=self.base_license,
            distils=self._distils,
        )
        return summarise(
            run,
            results=self.results,
            baseline=self.baseline,
            command=command or self.command or command_line(["python", *sys.argv]),
        )


def _evaluated_on(dataset: object) -> tuple[int, str]:
    """Number of rows of an evaluation, and what they are called."""
    if isinstance(dataset, dict):
        return sum(len(rows) for rows in dataset.values()), " and ".join(dataset)
    if not isinstance(dataset, RowDataset):
        return 0, "test"
    split = dataset.rows.dataset.split
    return len(dataset), "test" if split is None else str(split)


def _teacher_layers(loss: DistillationLoss | None) -> tuple[int, ...]:
    return () if loss is None else tuple(pair[1] for pair in loss.hidden)
