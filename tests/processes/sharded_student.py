"""A training whose student is shared out over two processes, without a GPU.

    accelerate launch --config_file examples/accelerate/fsdp2.yaml sharded_student.py FOLDER NAME

accelerate has FSDP and DeepSpeed for accelerators alone, though torch and DeepSpeed run both on the CPU: what it takes
for the backend and the device of a process is replaced here. The folder holds a student and a teacher; the second half
of the training is done again from the checkpoint in its middle.
"""

import pickle
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), *(str(TESTS / name) for name in ("", "training"))]

import tiny  # noqa: E402
import torch  # noqa: E402
from accelerate.state import PartialState  # noqa: E402
from accelerate.utils import DistributedType  # noqa: E402
from transformers import ViTForImageClassification  # noqa: E402

from hf_ctkd.losses import RowTransportLoss  # noqa: E402
from hf_ctkd.training import DistillationConfig, DistillationTrainer  # noqa: E402

STEPS, ROWS = 4, 8


def on_the_processor() -> None:
    """Let accelerate take the processor for an accelerator."""

    def backend(self: PartialState, *_: object) -> tuple[str, DistributedType]:
        return "gloo", DistributedType.MULTI_GPU

    def device(self: PartialState) -> None:
        self.device = torch.device("cpu")

    PartialState._prepare_backend, PartialState.set_device = backend, device


def trainer(folder: Path, name: str, processes: int) -> DistillationTrainer:
    """A trainer of as many rows a step, whatever the number of processes; the best checkpoint is taken at the end."""
    args = DistillationConfig(
        str(folder / name), max_steps=STEPS, per_device_train_batch_size=ROWS // processes, learning_rate=1e-2,
        disable_tqdm=True, report_to="none", save_steps=2, eval_strategy="steps", eval_steps=2, logging_steps=1,
        load_best_model_at_end=True, cache_dir=str(folder / "cache"), bootstrap_resamples=10,
    )  # fmt: skip
    return DistillationTrainer(
        ViTForImageClassification.from_pretrained(folder / "start"),  # after the arguments, as in a user's script
        args,
        teachers=[str(folder / "squares")],
        loss=RowTransportLoss(),
        train_dataset=tiny.image_rows(),
        eval_dataset=tiny.image_rows(),
        processing_class=tiny.processor(),
    )


def outcome(trained: DistillationTrainer) -> dict[str, object]:
    """Training losses, and what the restored best checkpoint gives in an evaluation."""
    losses = [entry["loss"] for entry in trained.state.log_history if "loss" in entry]
    return {"losses": losses, "evaluated": trained.evaluate()["eval_loss"]}


def main(folder: Path, name: str) -> None:
    on_the_processor()
    first = trainer(folder, name, 2)
    first.train()
    result = {"wrapped": type(first.model_wrapped).__name__, "whole": outcome(first)}
    first.save_model()
    teacher = first.teacher_runner.teachers[0].model
    result["teacher"] = sum(parameter.numel() for parameter in teacher.parameters())
    resumed = trainer(folder, name, 2)
    resumed.train(resume_from_checkpoint=str(folder / name / "checkpoint-2"))
    result["resumed"] = outcome(resumed)
    if first.is_world_process_zero():
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
