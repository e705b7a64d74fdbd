"""What two processes make of the same work, out of one launch: starting processes is what takes long.

    accelerate launch --config_file examples/accelerate/two_cpu_processes.yaml two_processes.py FOLDER

The folder holds the rows and teachers; each part adds what it made to `main.pickle`, or `other.pickle` for the second
process, under its name.
"""

import pickle
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), *(str(TESTS / name) for name in ("", "training", "generic"))]

import tiny  # noqa: E402
import torch  # noqa: E402
from accelerate import Accelerator  # noqa: E402
from branch_steps import steps  # noqa: E402
from datasets import load_from_disk  # noqa: E402
from evaluate_rows import evaluation_loss  # noqa: E402
from one_step import LOSSES, for_loss, one_step  # noqa: E402
from pools import POOLS  # noqa: E402

from hf_ctkd.data import TargetRows  # noqa: E402
from hf_ctkd.errors import CTKDError  # noqa: E402
from hf_ctkd.hub import folder_teachers  # noqa: E402
from hf_ctkd.losses import RowTransportLoss  # noqa: E402
from hf_ctkd.teachers import Teacher, compute_outputs, on_all, on_main  # noqa: E402
from hf_ctkd.training import DistillationConfig, DistillationTrainer  # noqa: E402


def frozen_teacher(folder: Path) -> dict[str, object]:
    """How student and teacher of a training are wrapped, whose arguments leave the processes to accelerate."""
    trainer = DistillationTrainer(
        tiny.normless_student(),
        DistillationConfig(
            str(folder / "student"), max_steps=2, per_device_train_batch_size=4, disable_tqdm=True, save_strategy="no",
            report_to="none", cache_dir=str(folder / "cache"), cache_teacher_outputs=False, bootstrap_resamples=10,
        ),
        teachers=[str(folder / "squares")],
        loss=RowTransportLoss(),
        train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(),
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    teacher = trainer.teacher_runner.teachers[0].model
    wrapped = {id(parameter) for parameter in trainer.model_wrapped.parameters()}
    return {
        "student": type(trainer.model_wrapped).__name__,
        "teacher": type(teacher).__name__,
        "apart": not any(id(parameter) in wrapped for parameter in teacher.parameters()),
    }


def teacher_outputs(folder: Path) -> dict[str, object]:
    """Outputs of a teacher for many rows and for a single one, and the error of either process as both see it."""
    accelerator = Accelerator()
    rows, broken = (TargetRows.of(load_from_disk(folder / name)) for name in ("rows", "broken"))
    teacher = Teacher.load(next(folder_teachers(folder / "resnet")), "image")
    stored = compute_outputs(
        teacher, rows, accelerator=accelerator, batch_size=2, cache_dir=folder / "outputs", progress=False
    )
    single = compute_outputs(  # nothing for the other process
        teacher, rows.select([0]), accelerator=accelerator, progress=False
    )
    rank = accelerator.process_index
    errors = []
    for together in (
        lambda: on_all(accelerator, lambda: fail_on(1, rank)),
        lambda: on_main(accelerator, lambda: fail_on(0, rank)),
        lambda: compute_outputs(teacher, broken, accelerator=accelerator, progress=False),
    ):
        try:
            together()
        except CTKDError as error:
            errors.append(str(error))
    outputs = stored.select(torch.arange(len(rows)))
    return {"features": outputs.features, "logits": outputs.logits, "single": single.logits, "errors": errors}


def fail_on(chosen: int, rank: int) -> None:
    if rank == chosen:
        raise CTKDError(f"failed on {rank}")


def steps_of_losses(folder: Path) -> dict[str, list[dict]]:
    """The second step of every loss, in one piece and in two."""
    teachers = f"{folder / 'squares'},{folder / 'other'}"
    return {
        loss: [one_step(folder, for_loss(loss, teachers), accumulation=cut, rows=16, loss=loss) for cut in (1, 2)]
        for loss in LOSSES
    }


def evaluation_losses(folder: Path) -> list[float]:
    return [evaluation_loss(folder, size) for size in (1, 2, 4)]


def steps_of_branches(folder: Path) -> dict:
    return steps(folder, POOLS["vit"], accumulation=1, rows=16, count=4)


PARTS = (frozen_teacher, teacher_outputs, steps_of_losses, evaluation_losses, steps_of_branches)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    made = {part.__name__: part(folder) for part in PARTS}
    accelerator = Accelerator()
    (folder / ("main.pickle" if accelerator.is_main_process else "other.pickle")).write_bytes(pickle.dumps(made))
    accelerator.end_training()  # or threads of the group may still run when the interpreter ends, which aborts


if __name__ == "__main__":
    main(Path(sys.argv[1]))
