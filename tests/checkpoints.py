"""Folders that look like checkpoints of a `Trainer`."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def save_checkpoint(folder: Path, step: int) -> Path:
    folder.mkdir(parents=True)
    save_file({"weight": torch.ones(2)}, folder / "model.safetensors")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder
