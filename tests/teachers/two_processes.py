"""Run by test_outputs.py in two processes: each writes what it got."""

import pickle
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from datasets import load_from_disk

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import CTKDError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import Teacher, compute_outputs, on_all, on_main


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator()
    rank = accelerator.process_index
    rows = TargetRows.of(load_from_disk(folder / "rows"))
    teacher = Teacher.load(next(folder_teachers(folder / "resnet")), "image")
    stored = compute_outputs(
        teacher, rows, accelerator=accelerator, batch_size=2, cache_dir=folder / "cache", progress=False
    )
    outputs = stored.select(torch.arange(len(rows)))
    single = compute_outputs(
        teacher, rows.select([0]), accelerator=accelerator, progress=False
    )  # nothing for the other
    errors = []
    for together in (
        lambda: on_all(accelerator, lambda: fail_on(1, rank)),
        lambda: on_main(accelerator, lambda: fail_on(0, rank)),
        lambda: compute_outputs(
            teacher, TargetRows.of(load_from_disk(folder / "broken")), accelerator=accelerator, progress=False
        ),
    ):
        try:
            together()
        except CTKDError as error:
            errors.append(str(error))
    with open(folder / f"{rank}.pickle", "wb") as file:
        pickle.dump((outputs.features, outputs.logits, single.logits, errors), file)
    accelerator.end_training()  # or threads of the group may still run when the interpreter ends, which aborts


def fail_on(chosen: int, rank: int) -> None:
    if rank == chosen:
        raise CTKDError(f"failed on {rank}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
