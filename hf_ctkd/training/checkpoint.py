"""The student and the loss on disk: written into a checkpoint or the published folder, and restored from there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers.utils import SAFE_WEIGHTS_NAME

from hf_ctkd.data import ProcessingClass
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub.timm import is_timm
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.teachers import Teacher
from hf_ctkd.teachers.pretrained import unpartitioned
from hf_ctkd.training.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from hf_ctkd.training.files import LOSS_FILE, load_loss_state, part_of, replaced_together
from hf_ctkd.training.sharded import load_weights
from hf_ctkd.training.student_with_loss import StudentWithLoss


def save_student(
    folder: Path,
    student_with_loss: StudentWithLoss,
    processing_class: ProcessingClass,
    *,
    state_dict: Mapping[str, Tensor] | None = None,
    signature: Mapping[str, str] | None = None,
    merge_adapter: bool = False,
) -> None:
    """Write the student and its processor, and the weights of the loss into a checkpoint; no pickle.

    The files that were there stay whole until all the new ones are written.

    Args:
        folder: made if it is not there.
        student_with_loss: unwrapped.
        processing_class: the student's.
        state_dict: of `student_with_loss`, where its weights are gathered from several processes; its own when None.
        signature: of the loss, which is written with its weights; None leaves the loss out.
        merge_adapter: write a student with an adapter as one model instead of the adapter alone.

    Raises:
        InvalidArgumentError: if the folder cannot be written or the disk is full.
    """
    student, loss, adapter = student_with_loss.student, student_with_loss.loss, student_with_loss.adapter
    student_state = None if state_dict is None else part_of(state_dict, "student.")
    if is_timm(student.config.to_dict()) and student.config.id2label:
        # transformers writes `label_names` as they were read, were the head replaced or not.
        student.config.label_names = list(student.config.id2label.values())
    with replaced_together(folder) as temporary:
        if adapter is None:
            student.save_pretrained(temporary, state_dict=student_state)
        elif merge_adapter:
            adapter.merged().save_pretrained(temporary)
        else:
            adapter.save(temporary, student_state)
        processing_class.save_pretrained(temporary)
        if signature is not None and loss is not None:
            loss_state = loss.state_dict() if state_dict is None else part_of(state_dict, "loss.")
            tensors = {name: tensor.contiguous() for name, tensor in loss_state.items()}
            save_file(tensors, temporary / LOSS_FILE, metadata=dict(signature))
    _remove_earlier(folder, whole=adapter is None or merge_adapter)


def _remove_earlier(folder: Path, *, whole: bool) -> None:
    """Remove the weights of the other form that were written here before: transformers would open both together."""
    earlier = [ADAPTER_CONFIG, ADAPTER_WEIGHTS] if whole else [SAFE_WEIGHTS_NAME]
    for name in earlier:
        (folder / name).unlink(missing_ok=True)


def restore_checkpoint(checkpoint: Path, student_with_loss: StudentWithLoss, signature: Mapping[str, str]) -> None:
    """Restore the student and the weights of the loss.

    Args:
        checkpoint: its folder.
        student_with_loss: unwrapped; receives the weights.
        signature: of the loss and teachers of the run.

    Raises:
        InvalidArgumentError: if the checkpoint is of another loss, of other teachers, or of a student with an adapter
            where this one has none, or the other way round.
    """
    student, loss = student_with_loss.student, student_with_loss.loss
    loss_state = load_loss_state(checkpoint, loss, signature)
    if student_with_loss.adapter is not None:
        student_with_loss.adapter.load(checkpoint)
    elif (checkpoint / ADAPTER_CONFIG).is_file():
        raise InvalidArgumentError(
            f"`resume_from_checkpoint` {checkpoint} holds an adapter, but `model` has none. Give the `PeftModel` that "
            "it was made with, or train anew."
        )
    else:
        with unpartitioned():
            restored = type(student).from_pretrained(checkpoint, dtype=student.dtype)
        load_weights(student, restored.state_dict())
    if loss is not None:
        load_weights(loss, loss_state)


def loss_signature(loss: DistillationLoss | None, teachers: Sequence[Teacher]) -> dict[str, str]:
    """Names of the loss and of its teachers' weights, to be compared with those of a checkpoint.

    Args:
        loss: in training; None without one.
        teachers: of the run.
    """
    # The revision of a folder is a digest of its files, which says nothing about weights drawn at random.
    names = [
        teacher.candidate.revision + (f" random {teacher.seed}" if teacher.candidate.random_weights else "")
        for teacher in teachers
    ]
    return {"loss": "" if loss is None else loss.name, "teachers": ", ".join(names)}
