"""One optimiser step over some rows, cut into micro-batches; as a script, on several processes."""

import json
import os
import sys
from pathlib import Path

import tiny
import torch
from transformers import TrainerCallback

from hf_ctkd.losses import ReadoutLoss
from hf_ctkd.training import DistillationConfig, DistillationTrainer

TERMS = ("loss", "task_loss", "readout")


class Keep(TrainerCallback):
    """Keeps the gradient that the optimiser is about to use."""

    gradient: list[float] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        named = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        self.gradient = torch.cat(named)[::7].tolist()


def one_step(folder: Path, teacher: str, *, accumulation: int, rows: int) -> dict:
    """Logged terms and gradient of one step; some rows are unlabelled, unevenly so over the micro-batches."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    keep = Keep()
    trainer = DistillationTrainer(
        tiny.normless_student(),
        DistillationConfig(
            str(folder / "out"), max_steps=1, per_device_train_batch_size=-(-rows // accumulation // processes),
            gradient_accumulation_steps=accumulation, use_cpu=True, disable_tqdm=True, logging_steps=1,
            save_strategy="no", max_grad_norm=0.0, learning_rate=0.0, train_sampling_strategy="sequential",
            cache_dir=str(folder / "cache"),
        ),
        teachers=[teacher],
        loss=ReadoutLoss(),
        train_dataset=tiny.image_rows(rows, unlabelled=rows // 3),
        processing_class=tiny.processor(),
        callbacks=[keep],
    )  # fmt: skip
    trainer.train()
    first = trainer.state.log_history[0]
    return {"logged": {name: first[name] for name in TERMS}, "gradient": keep.gradient}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, teacher, rows = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    steps = {cut: one_step(folder, teacher, accumulation=int(cut), rows=rows) for cut in sys.argv[4:]}
    if int(os.environ["RANK"]) == 0:
        (folder / "steps.json").write_text(json.dumps(steps))
