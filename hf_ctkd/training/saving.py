"""What is saved, restored and published: the student alone, with the loss's weights in checkpoints only."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_ctkd.cards import publish, write_card
from hf_ctkd.cards.metadata import repo_name
from hf_ctkd.data import ProcessingClass
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import license_named
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.records import DistillationRecord, TeacherRanking
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.student_with_loss import StudentWithLoss
from hf_ctkd.training.writing import all_or_none, whole_or_gone

LOSS_FILE = "distillation_loss.safetensors"
RECORD_FILE = "distillation.json"
RANKING_FILE = "ranking.json"
OLD_RANKING_FILE = "ranking.old.json"


class StudentTrainer(Trainer, ABC):
    """The part of `DistillationTrainer` that writes and reads: checkpoints, the published folder, the Hub."""

    args: DistillationConfig
    processing_class: ProcessingClass
    ranking: TeacherRanking | None

    @property
    def folder(self) -> Path:
        """Where the student is written."""
        return Path(self.args.output_dir or "tmp_trainer")

    @property
    def student_with_loss(self) -> StudentWithLoss:
        """Student and loss, unwrapped."""
        return self.accelerator.unwrap_model(self.model)

    @cached_property
    def base_license(self) -> str | None:
        """Licence of the checkpoint that the student started from: looked up once, for records are made often."""
        name = self.student_with_loss.student.config.name_or_path
        return license_named(name, token=self.args.hub_token) if name else None

    @abstractmethod
    def _teacher_signature(self) -> dict[str, str]:
        """The loss and the teachers of this run, in a form that tells them from others."""

    @abstractmethod
    def record(self, command: str | None = None) -> DistillationRecord:
        """How the student was made."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write the student and its processor, in a checkpoint the loss's own weights too; no pickle.

        Files that were there stay whole until all the new ones are.

        Raises:
            InvalidArgumentError: if the folder cannot be written or the disk is full.
        """
        folder = self.folder if output_dir is None else Path(output_dir)
        if not self.args.should_save:
            return
        student_with_loss = self.student_with_loss
        own = None
        if state_dict is not None:
            own = {name.removeprefix("student."): v for name, v in state_dict.items() if name.startswith("student.")}
        with all_or_none(folder) as fresh:
            student_with_loss.student.save_pretrained(fresh, state_dict=own)
            self.processing_class.save_pretrained(fresh)
            if folder.name.startswith(PREFIX_CHECKPOINT_DIR) and student_with_loss.loss is not None:
                source = student_with_loss.loss.state_dict() if state_dict is None else _of_loss(state_dict)
                tensors = {name: tensor.contiguous() for name, tensor in source.items()}
                save_file(tensors, fresh / LOSS_FILE, metadata=self._teacher_signature())

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:  # noqa: ANN401 (as in the parent)
        """A whole checkpoint or none.

        Raises:
            InvalidArgumentError: if the folder cannot be written or the disk is full.
        """
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with whole_or_gone(folder, ours=self.args.should_save):
            super()._save_checkpoint(model, trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The student with its processor, and unless in a checkpoint the record of how it was made."""
        super().save_model(output_dir, _internal_call=True)
        folder = self.folder if output_dir is None else Path(output_dir)
        if not _internal_call and self.args.should_save:
            self._write_records(folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As in `Trainer`, but a new repository is private unless told otherwise."""
        wanted = private if private is not None else self.args.hub_private_repo
        super().init_hf_repo(token, True if wanted is None else wanted)

    def _write_records(self, folder: Path) -> tuple[DistillationRecord, TeacherRanking | None]:
        record, ranking = self.record(), None if self.ranking is None else self.ranking.without_paths()
        record.save(folder / RECORD_FILE)
        place = folder / RANKING_FILE
        if ranking is not None:
            ranking.save(place)
        elif place.exists():  # of a student made here before: the card would show it as how this one's were chosen
            os.replace(place, folder / OLD_RANKING_FILE)
        return record, ranking

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Restore the student and the loss's own weights.

        Raises:
            InvalidArgumentError: if the checkpoint is of another loss, or of other teachers.
        """
        student_with_loss = self.accelerator.unwrap_model(self.model if model is None else model)
        saved = _saved_loss(Path(resume_from_checkpoint), student_with_loss.loss, self._teacher_signature())
        restored = type(student_with_loss.student).from_pretrained(
            resume_from_checkpoint, dtype=student_with_loss.student.dtype
        )
        student_with_loss.student.load_state_dict(restored.state_dict())
        if student_with_loss.loss is not None:
            student_with_loss.loss.load_state_dict(saved)

    def _load_best_model(self) -> None:
        """Restore the best checkpoint."""
        if self.state.best_model_checkpoint is not None:
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (as in the parent)
        """Write the card from the records, instead of `Trainer`'s draft; its arguments are not needed."""
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
            blocking: must be True: the card is checked before anything leaves.
            token: of the Hub; the stored login when None.
            revision: must be None or "main".
            private: whether a new repository is private.
            kwargs: none is accepted.

        Returns:
            Address of the commit.

        Raises:
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
        private = private if private is not None else self.args.hub_private_repo
        return publish(
            self.folder,
            self.args.hub_model_id or repo_name(self.folder),
            private=True if private is None else private,
            token=token or self.args.hub_token,
            commit_message=commit_message,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Leave the Hub alone between start and end: a checkpoint has no card and no results yet."""


def _of_loss(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("loss."): tensor for name, tensor in state_dict.items() if name.startswith("loss.")}


def _saved_loss(
    checkpoint: Path, loss: DistillationLoss | None, teacher_signature: Mapping[str, str]
) -> dict[str, Tensor]:
    """The loss's own weights in a checkpoint, made sure to be those of this loss with these teachers."""
    path = checkpoint / LOSS_FILE
    saved, told = None, dict(teacher_signature)
    if path.is_file():
        with safe_open(path, "pt") as file:
            saved, told = {name: file.get_tensor(name) for name in file.keys()}, told | (file.metadata() or {})  # noqa: SIM118
    if told != teacher_signature or _shapes(saved) != _shapes(None if loss is None else loss.state_dict()):
        now = "no loss" if loss is None else f"{type(loss).__name__} with the teachers given now"
        raise InvalidArgumentError(
            f"`resume_from_checkpoint` {checkpoint} was made with another loss or other teachers than {now}. "
            "Give those that it was made with, or train anew."
        )
    return saved or {}


def _shapes(state: Mapping[str, Tensor] | None) -> dict[str, torch.Size] | None:
    return None if state is None else {name: tensor.shape for name, tensor in state.items()}
