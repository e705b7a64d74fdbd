"""A drop-in `transformers.Trainer` that trains one teacher for all students of a pool."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import torch
from transformers import EvalPrediction, PreTrainedModel, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_ctkd.data import ProcessingClass
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.conditioning import Conditioning, TeacherWithBranches, stages_of
from hf_ctkd.generic.config import GenericTeacherConfig
from hf_ctkd.generic.pool import PoolMember, StudentPool
from hf_ctkd.records import DistillationRecord, PoolRecord
from hf_ctkd.tasks import Augmentation, Classification, first_student
from hf_ctkd.training import DistillationTrainer, StudentWithLoss
from hf_ctkd.training.checks import check_config
from hf_ctkd.types import ModelOutputs

POOL_FILE = "pool.json"


class GenericTeacherTrainer(DistillationTrainer):
    """Trains a teacher on labels so that students of many architectures can learn from it.

    Use it once for a task and a pool; then distill any member of the pool from the teacher with `DistillationTrainer`
    and `KLLoss`. Compare with a teacher trained without a pool first (`pool=None`, the same rows and steps): in both
    cases of `benchmarks/RESULTS.md` its students were as good. It does not suit a single student: a pool of one member
    (`pool.only(member)`) gives a student-friendly teacher (SFTN) for that.

    Data sets hold raw rows. Every term and the distribution of paths are logged. Checkpoints hold the teacher, the
    supernet, the adapters and the paths; `save_model` and `push_to_hub` write the teacher alone, with a record of the
    pool. Members exported from the supernet are not trained students, because the branches never train its stem and
    first stage; `build_student` makes students that start from the weights of their branches. FSDP is not supported,
    because the branches slice whole weights.

    Args:
        model: the teacher, with a head for the data set's classes and at least as many stages as the pool.
        args: a `GenericTeacherConfig`.
        pool: the students; None to train the teacher on labels alone.
        train_dataset: raw rows with an image or text column and a label column.
        eval_dataset: the same, or a dict of them.
        processing_class: the teacher's image processor or tokenizer.
        model_init: creates the teacher, instead of `model`, as in `Trainer`.
        compute_metrics: from an `EvalPrediction` to metrics; accuracy and macro F1 with intervals when None.
        callbacks: as in `Trainer`.
        optimizers: as in `Trainer`; an optimizer must hold the parameters of the branches too.
        augmentation: from a raw row to a changed one.

    Raises:
        InvalidArgumentError: if the teacher is no classifier, has weights in half precision, or its stages do not suit
            the pool.
        DatasetError: if rows or labels cannot be used.

    Reference:
        See `Conditioning`.

    Example:
        ```python
        pool = StudentPool("resnet", ((1, 2, 3),) * 4, widths=((16, 32), (32, 64), (64, 128), (128, 256)))
        trainer = GenericTeacherTrainer(
            AutoModelForImageClassification.from_pretrained("microsoft/resnet-18", num_labels=102,
                                                            ignore_mismatched_sizes=True),
            GenericTeacherConfig("flowers-teacher", num_train_epochs=20),
            pool=pool,
            train_dataset=flowers["train"],
            eval_dataset=flowers["test"],
            processing_class=AutoImageProcessor.from_pretrained("microsoft/resnet-18"),
        )
        trainer.train()
        trainer.save_model()
        ```
    """

    args: GenericTeacherConfig

    def __init__(
        self,
        model: PreTrainedModel | None = None,
        args: GenericTeacherConfig | None = None,
        *,
        pool: StudentPool | None = None,
        train_dataset: datasets.Dataset | None = None,
        eval_dataset: datasets.Dataset | dict[str, datasets.Dataset] | None = None,
        processing_class: ProcessingClass | None = None,
        model_init: Callable[..., PreTrainedModel] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        augmentation: Augmentation | None = None,
    ) -> None:
        args = GenericTeacherConfig("tmp_trainer") if args is None else args
        check_config(args, GenericTeacherConfig)
        self.pool = pool
        super().__init__(
            model,
            args,
            loss=None if pool is None else _conditioning(pool, args, first_student(model, model_init)),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            model_init=model_init,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            augmentation=augmentation,
        )

    @property
    def teacher(self) -> PreTrainedModel:
        """The teacher, without its branches."""
        return self.student

    @property
    def conditioning(self) -> Conditioning | None:
        """The loss with the supernet, the adapters and the paths; None without a pool."""
        return self.loss if isinstance(self.loss, Conditioning) else None

    def build_student(self, member: PoolMember, *, from_branches: bool = True) -> PreTrainedModel:
        """A new student of the pool to distill from this teacher, once it is trained; its seed is that of the run.

        Args:
            member: a member of the pool.
            from_branches: start from the weights of its branches, all but the stem and the first stage, which no branch
                holds; otherwise from random weights.

        Raises:
            InvalidArgumentError: if there is no pool, or the member is of another one.
        """
        if self.pool is None or self.conditioning is None or member.pool != self.pool:
            raise InvalidArgumentError(
                f"`member` {member.name} must belong to the `pool` that this teacher is trained for. Draw it from "
                "there."
            )
        supernet = self.conditioning.supernet
        seed = self.args.seed
        return supernet.started(member, seed=seed) if from_branches else member.build(supernet.label_space, seed=seed)

    def _with_loss(self, model: torch.nn.Module) -> TeacherWithBranches:
        plain = super()._with_loss(model)
        return TeacherWithBranches(plain.student, plain.loss, adapter=plain.adapter, task_loss=plain.task_loss)

    def _first_outputs(self, student_with_loss: StudentWithLoss) -> ModelOutputs:
        if not isinstance(self.task, Classification):
            raise InvalidArgumentError(
                f"`model` {type(student_with_loss.student).__name__} must be a classifier. Load it with an "
                "AutoModelForImageClassification or AutoModelForSequenceClassification."
            )
        modality = self._reference_rows.modality
        if self.pool is not None and self.pool.kind.modality != modality:
            raise InvalidArgumentError(
                f"`pool` holds students of {self.pool.kind.modality} rows, but the data set has {modality} rows. "
                "Declare a pool of another family."
            )
        self._check_states(student_with_loss)
        return super()._first_outputs(student_with_loss)

    def _check_states(self, student_with_loss: StudentWithLoss) -> None:
        """Refuse a teacher of two stacks, or one that returns fewer hidden states than its configuration has stages."""
        conditioning = student_with_loss.loss
        if not isinstance(conditioning, Conditioning):
            return
        model = student_with_loss.student
        if model.config.is_encoder_decoder:
            raise InvalidArgumentError(
                f"`model` {type(model).__name__} has an encoder and a decoder, and a branch can only continue from the "
                "states of one stack. Choose a model of one stack."
            )
        inputs = self._preprocessor(self._reference_rows.inputs([0]))
        training = model.training
        with torch.no_grad():
            model.eval()
            count = student_with_loss.reader.count_states(
                {name: tensor.to(model.device) for name, tensor in inputs.items()}
            )
            model.train(training)
        if max(student_with_loss.hidden) >= count:
            raise InvalidArgumentError(
                f"`model` {type(model).__name__} must return a hidden state for each of the "
                f"{conditioning.teacher_stages} stages in its configuration, but returns {count} in all. "
                "Choose another architecture."
            )

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """As in `Trainer`, with the logits of the paths in a separate group: `path_learning_rate`, no weight decay."""
        made_by_trainer = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if not made_by_trainer or self.conditioning is None or self.args.path_sampler == "uniform":
            return optimizer
        logits = [parameter for parameter in self.conditioning.paths.parameters() if parameter.requires_grad]
        logit_ids = {id(parameter) for parameter in logits}
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in logit_ids]
        optimizer.add_param_group({"params": logits, "lr": self.args.path_learning_rate, "weight_decay": 0.0})
        return optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        """As in the parent; a checkpoint also holds the pool."""
        super()._save(output_dir, state_dict)
        folder = self.folder if output_dir is None else Path(output_dir)
        if self.pool is not None and self.args.should_save and folder.name.startswith(PREFIX_CHECKPOINT_DIR):
            self.pool.save(folder / POOL_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """As in the parent.

        Raises:
            InvalidArgumentError: if the checkpoint is for another pool.
        """
        file = Path(resume_from_checkpoint) / POOL_FILE
        if (StudentPool.load(file) if file.is_file() else None) != self.pool:
            advice = (
                f"Load it with `StudentPool.load({str(file)!r})`" if file.is_file() else "It has none: leave it out"
            )
            raise InvalidArgumentError(
                f"`pool` must be that of the checkpoint {resume_from_checkpoint}. {advice}, or start a new run."
            )
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def record(self, command: str | None = None) -> DistillationRecord:
        """How the teacher was trained, for which pool, and its results; see `DistillationTrainer.record`."""
        record = super().record(command)
        if self.pool is None:
            return record
        # Before the rows are read the loss is not set up, and has no paths yet.
        is_set_up = self.train_dataset is not None
        probabilities = self.conditioning.paths.probabilities() if self.conditioning and is_set_up else {}
        choices = {decision.name: decision.options for decision in self.pool.decisions}
        return replace(record, pool=PoolRecord(self.pool.to_dict(), len(self.pool), choices, probabilities))


def _conditioning(pool: StudentPool, args: GenericTeacherConfig, model: PreTrainedModel | None) -> Conditioning:
    if model is None:
        raise InvalidArgumentError("`model` must be the teacher to train, got None. Pass `model` or `model_init`.")
    return Conditioning(pool, args, teacher_stages=stages_of(model.config))
