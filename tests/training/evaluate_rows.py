"""Evaluation loss of a student on some rows, a part of them unlabelled; as a script, on several processes."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny
import torch
from accelerate import PartialState

from hf_ctkd.training import DistillationConfig, DistillationTrainer


def evaluation_loss(folder: Path, batch_size: int) -> float:
    """Of 13 rows, the last 8 of them unlabelled."""
    rows = tiny.image_rows(13, unlabelled=8, seed=5)
    trainer = DistillationTrainer(
        tiny.normless_student(),
        DistillationConfig(
            str(folder / "out"), per_device_eval_batch_size=batch_size, use_cpu=True, disable_tqdm=True,
            bootstrap_resamples=0, report_to="none",
        ),
        eval_dataset=rows,
        processing_class=tiny.processor(),
    )  # fmt: skip
    return trainer.evaluate()["eval_loss"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    losses = [evaluation_loss(folder, int(size)) for size in sys.argv[2:]]
    if int(os.environ["RANK"]) == 0:
        (folder / "losses.json").write_text(json.dumps(losses))
    PartialState().destroy_process_group()  # or its threads may still run when the interpreter ends, which aborts
