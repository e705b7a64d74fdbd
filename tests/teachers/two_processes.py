"""Run by test_outputs.py under `accelerate launch`: each process writes what it got."""

import pickle
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from datasets import load_from_disk

from hf_ctkd.errors import CTKDError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import TargetRows, Teacher, compute_outputs, on_all, on_main


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator()
    rank = accelerator.process_index
    rows = TargetRows.of(load_from_disk(folder / "rows"))
    teacher = Teacher.load(next(folder_teachers(folder / "resnet")), "image")
    outputs = compute_outputs(
        teacher, rows, accelerator=accelerator, batch_size=2, cache_dir=folder / "cache", progress=False
    )
    single = compute_outputs(
        teacher, rows.select([0]), accelerator=accelerator, progress=False
    )  # nothing for the other
    errors = []
    for together, work in (
        (on_all, lambda: teacher.collate(1 / 0) if rank > 1 else fail(rank)),
        (on_main, lambda: fail(rank)),
        (lambda a, rows: compute_outputs(teacher, rows, accelerator=a, progress=False), broken(folder)),
    ):
        try:
            together(accelerator, work)
        except CTKDError as error:
            errors.append(str(error))
    with open(folder / f"{rank}.pickle", "wb") as file:
        pickle.dump((outputs.features, outputs.logits, single.logits, errors), file)


def fail(rank: int) -> int:
    if rank == 0 and fail.calls == 0:
        fail.calls += 1
        return 0
    raise CTKDError(f"failed on {rank}")


fail.calls = 0


def broken(folder: Path) -> TargetRows:
    return TargetRows.of(load_from_disk(folder / "broken"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
